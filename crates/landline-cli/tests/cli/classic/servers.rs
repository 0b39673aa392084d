//! Servers in Python that cut their messages anywhere.

use std::process::Command;

use super::{PythonServer, SEGMENTS, dial, output_of};
use crate::stage;

#[test]
fn echo_takes_arguments_and_stdin() {
    let stage = stage();
    let server = PythonServer::start(&stage, "echo", "whole", &[]);
    assert_eq!(
        dial(&stage, "echo", &server.address, &["hello", "there"]).ok(),
        "HELLO THERE\n"
    );
    let server = PythonServer::start(&stage, "echo", "whole", &[]);
    let much = b"abc\n".repeat(2_000_000);
    let outcome = stage.run_with_input(&["classic", "dial", "echo", &server.address], &much);
    assert!(
        outcome.stdout == much.to_ascii_uppercase(),
        "{} bytes, {}",
        outcome.stdout.len(),
        outcome.stderr
    );
}

#[test]
fn texts_are_answered() {
    let stage = stage();
    for segments in SEGMENTS {
        let server = PythonServer::start(&stage, "text", segments, &[]);
        let long = "é".repeat(1000);
        let said = dial(
            &stage,
            "text",
            &server.address,
            &["--reply", "one", "", &long],
        )
        .ok();
        assert_eq!(said, format!("one\n\n{long}\n"), "{segments}");
        assert_eq!(
            [server.line(), server.line(), server.line()],
            ["3", "0", "2000"]
        );
    }
}

#[test]
fn commands_run_in_sequence() {
    let stage = stage();
    for segments in SEGMENTS {
        let server = PythonServer::start(&stage, "command", segments, &[]);
        let input = b"echo one\n\nseq 3000 | tail -1\necho two >&2\n";
        let outcome = stage.run_with_input(&["classic", "dial", "command", &server.address], input);
        assert_eq!(outcome.ok(), "one\n3000\ntwo\n", "{segments}");
        let server = PythonServer::start(&stage, "command", segments, &[]);
        assert_eq!(
            dial(&stage, "command", &server.address, &["echo", "-n", "x"]).ok(),
            "x"
        );
        let server = PythonServer::start(&stage, "command-json", segments, &[]);
        let outcome = dial(
            &stage,
            "command-json",
            &server.address,
            &["--json", "echo no; exit 5"],
        );
        assert_eq!(outcome.stdout, b"no\n");
        outcome.fails(5, "command-failed");
        let server = PythonServer::start(&stage, "command-json", segments, &[]);
        assert_eq!(
            dial(&stage, "command-json", &server.address, &["echo yes"]).ok(),
            "yes\n"
        );
    }
}

#[test]
fn raw_output_is_read_until_end_or_silence() {
    let stage = stage();
    for segments in ["whole", "random"] {
        let commands = ["echo one", "true", "sleep 1.5; seq 3000"];
        let server = PythonServer::start(&stage, "command-raw", segments, &commands);
        let input = commands.join("\n");
        let dial = ["classic", "dial", "command-raw", "--wait", "60"];
        let arguments = [&dial[..], &[&server.address]].concat();
        let outcome = stage.run_with_input(&arguments, input.as_bytes());
        let expected: String = (1..=3000).map(|number| format!("{number}\n")).collect();
        assert_eq!(outcome.ok(), format!("one\n{expected}"), "{segments}");
    }
}

#[test]
fn login_sends_name_and_password_separately() {
    let stage = stage();
    for (password, answer) in [("1\n", "welcome zd\n"), ("2\n", "no\n")] {
        let server = PythonServer::start(&stage, "login", "whole", &[]);
        let outcome = stage.run_with_input(
            &["classic", "dial", "login", "--show", &server.address, "zd"],
            password.as_bytes(),
        );
        let sent = outcome.stderr.lines().filter(|line| line.contains("send"));
        let sent: Vec<_> = sent.map(|line| line.split_once(' ').unwrap().1).collect();
        assert!(
            matches!(sent[..], ["send 2 b'zd'", second] if second.starts_with("send 1 ")),
            "{sent:?}"
        );
        assert_eq!(outcome.ok(), answer);
    }
}

#[test]
fn dial_answers_challenge() {
    let stage = stage();
    let secret = stage.write("home/secret", b"s3cret");
    let secret = secret.to_str().unwrap();
    stage
        .run(&[
            "--json",
            "classic",
            "dial",
            "challenge",
            "127.0.0.1:9",
            "--secret-file",
            secret,
        ])
        .fails(32, "secret");
    output_of(Command::new("chmod").args(["600", secret]));
    for digest in ["md5", "sha256", "sha512"] {
        let server = PythonServer::start(&stage, "challenge", "whole", &[secret, digest]);
        let arguments = ["--secret-file", secret, "--hmac", digest];
        assert_eq!(
            dial(&stage, "challenge", &server.address, &arguments).ok(),
            "ok\n"
        );
    }
    let server = PythonServer::start(&stage, "challenge", "whole", &[secret, "md5"]);
    let outcome = dial(
        &stage,
        "challenge",
        &server.address,
        &["--secret-file", secret, "--hmac", "sha512"],
    );
    // The reset of the connection may be the only answer.
    assert!(matches!(outcome.status, Some(10 | 12)), "{outcome:?}");
}

#[test]
fn datagrams_are_echoed() {
    let stage = stage();
    let server = PythonServer::start(&stage, "udp-echo", "whole", &["3"]);
    assert_eq!(
        dial(
            &stage,
            "udp-echo",
            &server.address,
            &["--timeout", "60000", "one", "", "é"]
        )
        .ok(),
        "ONE\n\né\n"
    );
    // The program has ended, so its port is closed.
    testkit::wait_for("the server to end", || {
        let outcome = dial(
            &stage,
            "udp-echo",
            &server.address,
            &["--timeout", "200", "x"],
        );
        outcome.status == Some(10)
    });
}

#[test]
fn udp_chat_goes_both_ways() {
    use std::io::{BufRead, BufReader, Write};
    let stage = stage();
    let server = PythonServer::start(&stage, "udp-chat", "whole", &[]);
    let mut child = stage
        .command(&[
            "classic",
            "dial",
            "udp-chat",
            &server.address,
            "--name",
            "小明",
        ])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = BufReader::new(child.stdout.take().unwrap()).lines();
    for text in ["你好", "second"] {
        keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
        assert_eq!(server.line(), format!("小明的消息:{text}"));
        assert!(screen.next().unwrap().unwrap().starts_with("老师: heard "));
    }
    drop(keyboard);
    assert_eq!(server.line(), "小明的消息:886");
    assert!(child.wait().unwrap().success());
}

#[test]
fn talk_alternates_between_caller_and_server() {
    let stage = stage();
    let server = PythonServer::start(&stage, "talk", "whole", &[]);
    // The empty line is not sent.
    let input = b"hello\n\nhow are you\nbye\nnever\n";
    let outcome = stage.run_with_input(
        &["classic", "dial", "talk", &server.address, "--bye", "bye"],
        input,
    );
    assert_eq!(outcome.ok(), "you said hello\nyou said how are you\n");
    assert_eq!(
        [server.line(), server.line(), server.line()],
        ["hello", "how are you", "bye"]
    );
}
