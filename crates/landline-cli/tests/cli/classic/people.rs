//! `talk` and `udp-chat` between people.

use std::io::{BufRead, BufReader, Write};

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
        .stdin(std::process::Stdio::piped())
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

/// Proves `amplification` in docs/faults.md.
#[test]
fn chat_relays_without_amplifying() {
    let stage = stage();
    let mut server = Server::start(&stage, "udp-chat", &["--name", "teacher", "--json"]);
    let mut keyboard = server.keyboard();
    // Bob sends a line and waits for two.
    let bob = client(&stage, &server, "udp-chat", &["bob", "hi", "?", "?", "886"])
        .spawn()
        .unwrap();
    assert_eq!(server.event("said")["text"], "hi");
    let long = "x".repeat(200);
    // What Bob has sent entitles him to a short line of Alice, but not to a long one.
    let alice = client(&stage, &server, "udp-chat", &["alice", &long, "ho"])
        .spawn()
        .unwrap();
    assert_eq!(server.event("said")["spared"], 1);
    assert_eq!(server.event("said")["spared"], 0);
    assert!(alice.wait_with_output().unwrap().status.success());
    // The operator's lines go to all members, however long they are.
    keyboard.write_all(format!("{long}\n").as_bytes()).unwrap();
    let output = bob.wait_with_output().unwrap();
    let expected = format!("alice的消息:ho\nteacher的消息:{long}\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(server.event("left")["why"], "goodbye");
    server.stop();
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
    let server = Server::start(&stage, "command", &[]);
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = std::process::Command::new("python3");
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
    command.stdin(std::process::Stdio::null());
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
