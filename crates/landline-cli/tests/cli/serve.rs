//! The server as a process.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use testkit::{Outcome, RawClient, Stage, wait_for};

use crate::{login::client_key, noise, stage};

fn start(stage: &Stage, address: &str) -> Outcome {
    stage.run_command(stage.serve_command(address))
}

/// Proves `missing-state` in docs/faults.md.
#[test]
fn second_server_on_address_or_state_is_refused() {
    let first = stage();
    let server = first.serve(&[]);
    start(&first, "127.0.0.1:0").fails(31, "in-use");
    let second = stage();
    for address in [&server.address, "nonsense", "192.0.2.1:0"] {
        start(&second, address).fails(30, "listen");
    }
    start(&second, "127.0.0.1:99999").fails(2, "settings");
    assert!(
        !second.path("server/server").exists(),
        "a server that cannot listen creates nothing"
    );
    // Nor does it write to a state that exists.
    drop(server);
    let log = || first.run_at_server(&["--json", "audit", "show"]).ok();
    let before = log();
    start(&first, "192.0.2.1:0").fails(30, "listen");
    assert_eq!(log(), before);
}

/// A service that has no journal keeps a log for people.
#[test]
fn log_file_has_events_with_times() {
    let stage = stage();
    let log = stage.path("serve.log");
    let server = stage.serve(&["--log", &log.display().to_string()]);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    wait_for("the line of the login", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("alice joined from 127.0.0.1")
    });
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains(&server.address), "{text}");
    for line in text.lines() {
        let date = line.get(..10).unwrap_or_default();
        assert!(
            date.split('-')
                .filter_map(|part| part.parse::<u32>().ok())
                .count()
                == 3,
            "{line}"
        );
    }
}

/// A client of an IPv6 socket that uses IPv4 has one name everywhere.
#[test]
fn peer_of_ipv6_socket_is_its_ipv4_address() {
    let stage = stage();
    let server = stage.serve_at("[::]:0", &[]);
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    let invite = server.invite();
    let (_, secret) = invite.rsplit_once('/').unwrap();
    let invite = format!("landline://127.0.0.1:{port}/{secret}");
    stage
        .run_with_input(&["join", "-", "--as", "alice"], invite.as_bytes())
        .ok();
    let peer = server.event("login")["peer"].as_str().unwrap().to_owned();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    let who = stage.run(&["--json", "who", "127.0.0.1"]).ok();
    assert!(!who.contains("ffff") && who.contains("127.0.0.1:"), "{who}");
    let log = stage.run_at_server(&["audit", "show"]).ok();
    assert!(!log.contains("ffff"), "{log}");
}

#[test]
fn server_as_root_needs_an_option() {
    let stage = stage();
    if !landline::paths::is_root() {
        eprintln!("SKIPPED: this test needs root");
        return;
    }
    stage
        .run_at_server(&["--json", "serve", "--listen", "127.0.0.1:0"])
        .fails(2, "settings");
}

#[test]
fn drain_finishes_transfers_and_starts_none() {
    let stage = stage();
    let mut server = stage.joined();
    let mut child = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"before ").unwrap();
    wait_for("the staging file", || {
        std::fs::read_dir(stage.home()).unwrap().count() == 1
    });
    server.terminate();
    assert_eq!(server.event("draining")["connections"], 1);
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(10, "connect");
    stdin.write_all(b"after").unwrap();
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(stage.read("home/slow"), b"before after");
    assert_eq!(server.wait(), Some(0));
}

/// A client that logs in while the server drains gets an error.
#[test]
fn login_during_drain_gets_an_error() {
    let stage = stage();
    let mut server = stage.joined();
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    server.terminate();
    server.event("draining");
    let login = client.login_header("alice", &client_key(&stage), None);
    client.send_json(&login).unwrap();
    assert_eq!(client.error_code().unwrap().as_deref(), Some("draining"));
    assert_eq!(server.event("refused")["code"], "draining");
    assert_eq!(server.wait(), Some(0));
}

/// Proves `half-file` in docs/faults.md.
#[test]
fn drain_deadline_leaves_no_half_file() {
    let stage = stage();
    let server = stage.serve(&["--drain", "1"]);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    let mut server = server;
    let mut child = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(1000, 1)).unwrap();
    wait_for("the staging file", || {
        std::fs::read_dir(stage.home()).unwrap().count() == 1
    });
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(33));
    drop(stdin);
    assert_eq!(std::fs::read_dir(stage.home()).unwrap().count(), 0);
}

#[test]
fn usage_errors_exit_with_2() {
    let stage = stage();
    stage.write("user/f", b"x");
    for arguments in [
        &["cp", "f"][..],
        &["cp", "f", "g"],
        &["cp", "-", "-"],
        &["cp", "host:0:x:", "::1"],
        &["ping", "ho st"],
        &["ping", "host:0"],
        &["fly"],
        &["join"],
        &["serve", "--drain", "soon"],
        &["demo", "--size", "0"],
    ] {
        stage
            .run(&[&["--json"], arguments].concat())
            .fails(2, "usage");
    }
}

/// Runs a program at a terminal, and closes the terminal once the program listens. Prints the exit
/// status.
const CLOSED_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b''
while b'listening' not in shown:
    shown += os.read(terminal, 4096)
os.close(terminal)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
";

/// Starts a server in the background of a shell. The shell ends, and the server gets SIGHUP.
/// Prints whether the server runs on.
const LOGGED_OUT: &str = "
import os, pty, signal, sys
signal.alarm(60)
rights = sys.argv.pop(1)
shown, into = os.pipe()
number, tell = os.pipe()
go, going = os.pipe()
shell, terminal = pty.fork()
if shell == 0:
    server = os.fork()
    if server == 0:
        os.setpgid(0, 0)
        os.dup2(into, 1)
        os.dup2(into, 2)
        os.execv(sys.argv[1], sys.argv[1:])
    os.write(tell, str(server).encode())
    os.read(go, 1)
    os._exit(0)
os.close(into)
server = int(os.read(number, 16))
text = b''
while b'listening' not in text:
    text += os.read(shown, 4096)
os.write(going, b'x')
os.waitpid(shell, 0)
os.close(terminal)
os.kill(server, signal.SIGHUP)
with open(rights, 'a') as file:
    file.write('\\n[users.bob]\\nfiles = [\"r:~\"]\\n')
text = piece = os.read(shown, 4096)
while piece and b'rights-loaded' not in text:
    piece = os.read(shown, 4096)
    text += piece
has_ended = not piece or b'draining' in text
print('ended' if has_ended else 'runs')
if not has_ended:
    os.kill(server, signal.SIGTERM)
    while os.read(shown, 4096):
        pass
";

/// Runs a script of Python with the command that starts a server.
fn run_with_server(stage: &Stage, script: &str, arguments: &[&Path]) -> Outcome {
    let server = stage.serve_command("127.0.0.1:0");
    let mut command = Command::new("python3");
    command
        .args(["-c", script])
        .args(arguments)
        .arg(server.get_program())
        .args(server.get_args())
        .env_clear()
        .envs(
            server
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    stage.run_command(command)
}

#[test]
fn server_ends_with_its_terminal() {
    let stage = stage();
    let ended = run_with_server(&stage, CLOSED_TERMINAL, &[]);
    assert_eq!(str::from_utf8(&ended.stdout), Ok("0\n"), "{ended:?}");
}

/// A shell that ends sends nothing to what it has in the background.
#[test]
fn server_in_the_background_outlives_its_terminal() {
    let stage = stage();
    let rights = stage.path("server/server/rights.toml");
    let ended = run_with_server(&stage, LOGGED_OUT, &[&rights]);
    assert_eq!(str::from_utf8(&ended.stdout), Ok("runs\n"), "{ended:?}");
}

#[test]
fn second_server_names_the_first() {
    let stage = stage();
    let server = stage.serve(&[]);
    let refused = start(&stage, "127.0.0.1:0");
    let named = format!("(process {})", server.id());
    assert!(refused.stderr.contains(&named), "{refused:?}");
}
