//! `talk` and `udp-chat` between people.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

use super::{MODELS, Server, client, dial};
use crate::stage;

#[test]
fn operator_serves_callers_in_turn() {
    let stage = stage();
    for model in MODELS {
        let mut server = Server::start(&stage, "talk", &["--json", "--model", model]);
        let mut keyboard = server.keyboard();
        let first = client(&stage, &server, "talk", &["hello", "how are you"])
            .spawn()
            .unwrap();
        assert_eq!(server.event("said")["text"], "hello", "{model}");
        keyboard.write_all(b"good day\n").unwrap();
        assert_eq!(server.event("said")["text"], "how are you");
        // An empty line hangs up.
        keyboard.write_all(b"\n").unwrap();
        let output = first.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "good day\n\n");
        // The next caller hangs up before it is answered.
        let mut second = client(&stage, &server, "talk", &["me too"])
            .spawn()
            .unwrap();
        assert_eq!(server.event("said")["text"], "me too");
        second.kill().unwrap();
        second.wait().unwrap();
        server.event("left");
        let third = client(&stage, &server, "talk", &["third"]).spawn().unwrap();
        assert_eq!(server.event("said")["text"], "third");
        keyboard.write_all("最后\n".as_bytes()).unwrap();
        let output = third.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "最后\n");
    }
}

#[test]
fn script_answers_many_callers_at_once() {
    let stage = stage();
    for model in ["threads", "processes", "tasks"] {
        let options = [
            "--first", "nihao", "--reply", "hao", "--bye", "bye", "--model", model,
        ];
        let server = Server::start(&stage, "talk", &options);
        // All callers are served while the first one stays connected.
        let mut callers: Vec<_> = (0..20)
            .map(|_| TcpStream::connect(&server.address).unwrap())
            .collect();
        for caller in callers.iter_mut().rev() {
            let mut answer = [0; 5];
            caller.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"nihao", "{model}");
        }
        for line in ["one", "two"] {
            for caller in callers.iter_mut().rev() {
                caller.write_all(line.as_bytes()).unwrap();
                let mut answer = [0; 3];
                caller.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"hao", "{model}");
            }
        }
        for caller in &mut callers {
            caller.write_all(b"bye").unwrap();
            assert_eq!(caller.read(&mut [0]).unwrap(), 0, "{model}");
        }
        server.stop();
    }
    let server = Server::start(&stage, "talk", &["--reply", "hao", "--model", "inline"]);
    for _ in 0..2 {
        let caller = client(&stage, &server, "talk", &["one", "two"]).output();
        assert_eq!(
            String::from_utf8_lossy(&caller.unwrap().stdout),
            "hao\nhao\n"
        );
    }
}

#[test]
fn operator_speaks_first_and_bye_ends_call() {
    let stage = stage();
    let mut server = Server::start(
        &stage,
        "talk",
        &["--first", "at your service", "--bye", "bye", "--once"],
    );
    let mut keyboard = server.keyboard();
    let mut caller = stage
        .command(&["classic", "dial", "talk", &server.address, "--bye", "bye"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(caller.stdout.take().unwrap()).lines();
    let mut caller_keyboard = caller.stdin.take().unwrap();
    assert_eq!(screen.next().unwrap().unwrap(), "at your service");
    caller_keyboard.write_all(b"\n\nhello\x1b[2J\n").unwrap();
    assert!(server.line().ends_with(": hello\\u{1b}[2J"));
    keyboard.write_all(b"bye\n").unwrap();
    assert_eq!(screen.next().unwrap().unwrap(), "bye");
    assert!(caller.wait().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn operator_and_members_chat() {
    let stage = stage();
    let mut server = Server::start(&stage, "udp-chat", &["--name", "teacher", "--json"]);
    let mut keyboard = server.keyboard();
    // Bob sends a line and waits for three.
    let arguments = ["bob", "hi", "?", "?", "?", "886"];
    let bob = client(&stage, &server, "udp-chat", &arguments)
        .spawn()
        .unwrap();
    assert_eq!(server.event("said")["text"], "hi");
    let long = "x".repeat(200);
    let alice = client(&stage, &server, "udp-chat", &["alice", &long, "ho"])
        .spawn()
        .unwrap();
    assert_eq!(server.event("said")["held"], 0);
    assert_eq!(server.event("said")["held"], 0);
    assert!(alice.wait_with_output().unwrap().status.success());
    keyboard.write_all(b"good day\n").unwrap();
    let output = bob.wait_with_output().unwrap();
    let expected = format!("alice的消息:{long}\nalice的消息:ho\nteacher的消息:good day\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(server.event("left")["why"], "goodbye");
    server.stop();
}

/// A bridge between network namespaces; removed when dropped.
struct Network {
    names: Vec<String>,
}

impl Network {
    /// A server's namespace with `address`, and namespaces of clients with theirs. `None` without
    /// root.
    fn create(tag: &str, address: &str, clients: &[String]) -> Option<Self> {
        if !landline::paths::is_root() {
            eprintln!("skipped: only root can create network namespaces");
            return None;
        }
        let name = |number: usize| format!("ll{tag}{}n{number}", std::process::id());
        let names: Vec<String> = (0..=clients.len()).map(name).collect();
        let server = &names[0];
        let mut script = format!(
            "set -e; ip netns add {server}; ip -n {server} link set lo up; \
             ip -n {server} link add br0 type bridge; ip -n {server} link set br0 up; \
             ip -n {server} addr add {address} dev br0\n"
        );
        for (index, (client, own)) in names.iter().skip(1).zip(clients).enumerate() {
            script += &format!(
                "ip netns add {client}; ip -n {server} link add v{index} type veth peer name eth0 netns {client}; \
                 ip -n {server} link set v{index} master br0 up; ip -n {client} addr add {own} dev eth0; \
                 ip -n {client} link set eth0 up; ip -n {client} route add default dev eth0 || true\n"
            );
        }
        let network = Self { names };
        let made = Command::new("sh").args(["-c", &script]).status().unwrap();
        if !made.success() {
            eprintln!("skipped: network namespaces cannot be created here");
            return None;
        }
        Some(network)
    }

    /// Runs a command in a namespace; 0 is that of the server.
    fn enter(&self, number: usize, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside
            .args(["netns", "exec", &self.names[number]])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.current_dir(command.get_current_dir().unwrap());
        inside
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A member in plain Python: it joins, says five lines, and prints the lines that it gets.
const TALKER: &str = "
import socket, sys
name, server = sys.argv[1], (sys.argv[2], int(sys.argv[3]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto((name + '的消息:join').encode(), server)
sys.stdin.readline()
for i in range(5):
    s.sendto((name + '的消息:line %d' % i).encode(), server)
s.settimeout(30)
lines = set()
while len(lines) < 145:
    line = s.recv(1024).decode()
    if 'line' in line:
        lines.add(line)
print(len(lines))
";

#[test]
fn class_of_thirty_gets_every_line_over_network() {
    let stage = stage();
    let addresses: Vec<String> = (0..30)
        .map(|number| format!("10.77.0.{}/24", number + 10))
        .collect();
    let Some(network) = Network::create("c", "10.77.0.1/24", &addresses) else {
        return;
    };
    let serve = Server::command(&stage, "udp-chat", &["--json", "--listen", "10.77.0.1:0"]);
    let server = Server::spawn(network.enter(0, &serve).stdin(Stdio::piped()));
    let (host, port) = server.address.rsplit_once(':').unwrap();
    let mut talkers: Vec<_> = (0..30)
        .map(|number| {
            let mut python = Command::new("python3");
            python
                .args(["-c", TALKER, &format!("s{number}"), host, port])
                .current_dir(stage.home());
            let mut inside = network.enter(number + 1, &python);
            let inside = inside.stdin(Stdio::piped()).stdout(Stdio::piped());
            inside.spawn().unwrap()
        })
        .collect();
    for _ in &talkers {
        server.event("joined");
    }
    // The end of its input lets each of them speak.
    talkers
        .iter_mut()
        .for_each(|talker| drop(talker.stdin.take()));
    for talker in talkers {
        let output = talker.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "145\n");
    }
}

/// Proves `amplification` in docs/faults.md.
#[test]
fn distant_member_is_not_flooded_until_it_returns_token() {
    let stage = stage();
    // The addresses share no network.
    let addresses = ["10.78.0.2/24", "10.79.0.2/24", "10.79.1.2/24"].map(str::to_owned);
    let Some(network) = Network::create("d", "10.78.0.1/24", &addresses) else {
        return;
    };
    for distant in ["10.79.0.2", "10.79.1.2"] {
        let route = [
            "-n",
            &network.names[0],
            "route",
            "add",
            distant,
            "dev",
            "br0",
        ];
        assert!(Command::new("ip").args(route).status().unwrap().success());
    }
    let serve = Server::command(&stage, "udp-chat", &["--json", "--listen", "10.78.0.1:0"]);
    let server = Server::spawn(network.enter(0, &serve).stdin(Stdio::piped()));
    let (host, port) = server.address.rsplit_once(':').unwrap();
    // A plain client gets less than three times what it has sent.
    let program = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line = 'far: a line of this length'.encode()
s.sendto(line, (sys.argv[1], int(sys.argv[2])))
s.settimeout(3)
count = 0
try:
    while True:
        count += len(s.recv(1024))
except socket.timeout:
    pass
print(count, 3 * len(line))
";
    let mut python = Command::new("python3");
    python
        .args(["-c", program, host, port])
        .current_dir(stage.home());
    let far = network
        .enter(2, &python)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.event("said");
    let mut join = stage.command(&["classic", "dial", "udp-chat", &server.address]);
    join.args(["--name", "proven"]).current_dir(stage.home());
    let mut proven = network
        .enter(3, &join)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = proven.stdin.take().unwrap();
    keyboard
        .write_all("a line that is long enough for the token\n".as_bytes())
        .unwrap();
    server.event("said");
    // Once it has returned the token, only the other one does not get all.
    testkit::wait_for("the token", || {
        let probe = format!(
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.sendto(b'near: {}', ('{host}', {port}))",
            "p".repeat(500)
        );
        let mut python = Command::new("python3");
        python.args(["-c", &probe]).current_dir(stage.home());
        super::output_of(&mut network.enter(1, &python));
        server.event("said")["held"] == 1
    });
    let mut near = Command::new("python3");
    let long = "x".repeat(500);
    let talk = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         for i in range(20): s.sendto(b'near: %d {long}' % i, ('{host}', {port}))"
    );
    near.args(["-c", &talk]).current_dir(stage.home());
    super::output_of(&mut network.enter(1, &near));
    let output = far.wait_with_output().unwrap();
    let counts = String::from_utf8_lossy(&output.stdout).into_owned();
    let (count, limit) = counts.trim().split_once(' ').unwrap();
    let (count, limit): (usize, usize) = (count.parse().unwrap(), limit.parse().unwrap());
    assert!(count < limit, "{counts}");
    drop(keyboard);
    let output = proven.wait_with_output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(lines.matches(&long).count(), 20, "{lines}");
    assert!(!lines.contains("token"), "{lines}");
}

#[test]
fn silent_members_expire() {
    let stage = stage();
    let server = Server::start(&stage, "udp-chat", &["--json", "--forget", "1"]);
    let address = &server.address;
    let outcome = stage.run_with_input(
        &[
            "classic", "dial", "udp-chat", address, "--name", "li", "--bye", "x",
        ],
        b"hi\n",
    );
    outcome.ok();
    assert_eq!(server.event("said")["name"], "li");
    assert_eq!(server.event("left")["why"], "has said nothing for too long");
}

/// Proves `classic-escape` in docs/faults.md.
#[test]
fn received_line_is_escaped_on_terminal() {
    let stage = stage();
    let server = Server::start(&stage, "text", &[]);
    let text = "a\u{1b}]52;c;aGk=\u{7}\u{9b}31m\rb\u{202e}c";
    dial(&stage, "text", &server.address, &[text]).ok();
    let line = server.line();
    assert!(
        line.chars()
            .all(|character| !character.is_control() && character != '\u{202e}'),
        "{line:?}"
    );
}

/// Proves `classic-escape` in docs/faults.md.
#[test]
fn command_output_is_escaped_on_terminal() {
    let stage = stage();
    let server = Server::start(&stage, "command", &["--open"]);
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new("python3");
    command.args([
        "-c",
        spawn,
        env!("CARGO_BIN_EXE_landline"),
        "classic",
        "dial",
        "command",
        &server.address,
    ]);
    command
        .arg(r"printf 'a\033]0;evil\007b\302\233c\n\tend\n'")
        .env("LANDLINE_STATE", stage.path("client"));
    command.stdin(Stdio::null());
    let screen = super::output_of(&mut command);
    assert!(
        screen.contains("a\\u{1b}]0;evil\\u{7}b\\u{9b}c") && screen.contains("\tend"),
        "{screen:?}"
    );
    assert!(
        !screen.contains(['\u{1b}', '\u{7}', '\u{9b}']),
        "{screen:?}"
    );
}
