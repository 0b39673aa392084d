//! Clients in Python that cut their messages anywhere.

use std::process::Command;

use super::{MODELS, SEGMENTS, Server, client, output_of, run_client};
use crate::stage;

#[test]
fn echo_returns_bytes_or_upper_case() {
    let stage = stage();
    let text = "straße, naïve, 消息, ŉ, z".repeat(30);
    for (arguments, expected) in [
        (&[][..], text.clone()),
        (&["--upper"], text.to_uppercase()),
        (&["--upper=unicode"], text.to_uppercase()),
        (&["--upper=ascii"], text.to_ascii_uppercase()),
    ] {
        let server = Server::start(&stage, "echo", arguments);
        for segments in SEGMENTS {
            assert_eq!(
                run_client(&stage, &server, "echo", segments, &[&text]),
                expected,
                "{arguments:?} {segments}"
            );
        }
    }
}

#[test]
fn texts_of_every_length_are_received() {
    let stage = stage();
    let lengths = ["0", "1", "1023", "1024", "1025", "0", "1048576", "3"];
    for model in MODELS {
        let server = Server::start(&stage, "text", &["--reply", "--json", "--model", model]);
        for segments in SEGMENTS {
            let answer = run_client(&stage, &server, "text", segments, &lengths);
            assert_eq!(
                answer.lines().collect::<Vec<_>>(),
                lengths,
                "{model} {segments}"
            );
            for length in lengths {
                assert_eq!(
                    server.event("text")["text"]
                        .as_str()
                        .unwrap()
                        .len()
                        .to_string(),
                    length
                );
            }
        }
    }
}

#[test]
fn text_server_and_client_send_given_reply() {
    let stage = stage();
    let server = Server::start(&stage, "text", &["--reply=ok", "--encoding", "gbk"]);
    assert_eq!(
        super::dial(
            &stage,
            "text",
            &server.address,
            &["--encoding", "gbk", "--reply", "消息"]
        )
        .ok(),
        "ok\n"
    );
    assert!(server.line().ends_with(": 消息"));
}

#[test]
fn command_output_has_length_prefix() {
    let stage = stage();
    for model in MODELS {
        let server = Server::start(&stage, "command", &["--open", "--model", model]);
        // Without a newline, a pause ends a command.
        let commands = ["echo one", "echo two >&2; echo 2", "exit 3", "echo é"];
        let answer = run_client(&stage, &server, "command", "whole", &commands);
        assert_eq!(answer, "one\n2\ntwo\né\n", "{model}");
        for segments in SEGMENTS {
            let commands = ["echo a", "echo b", "seq 20000 | tail -1"];
            let answer = run_client(&stage, &server, "command_newlines", segments, &commands);
            assert_eq!(answer, "a\nb\n20000\n", "{model} {segments}");
        }
    }
}

#[test]
fn command_output_is_transcoded() {
    let stage = stage();
    let server = Server::start(&stage, "command", &["--open", "--child-encoding", "gbk"]);
    assert_eq!(
        run_client(
            &stage,
            &server,
            "command",
            "whole",
            &[r"printf '\317\373\317\242'"]
        ),
        "消息"
    );
}

#[test]
fn raw_output_is_complete_in_reads_of_1024() {
    let stage = stage();
    let server = Server::start(&stage, "command-raw", &["--open"]);
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    for segments in SEGMENTS {
        // `true` has no output, so nothing is sent. `seq` has more output than one read takes. The
        // goodbye closes the connection.
        let answer = run_client(
            &stage,
            &server,
            "command-raw",
            segments,
            &["echo first", "true", "seq 5000"],
        );
        assert_eq!(answer, format!("first\n{expected}"), "{segments}");
    }
}

#[test]
fn json_command_reports_size_and_exit_status() {
    let stage = stage();
    let server = Server::start(&stage, "command-json", &["--open", "--json"]);
    let answer = run_client(
        &stage,
        &server,
        "command-json",
        "whole",
        &["head -c 5000000 /dev/zero; exit 7"],
    );
    let zeros = output_of(Command::new("sh").args([
        "-c",
        "head -c 5000000 /dev/zero | sha256sum | cut -d' ' -f1",
    ]));
    assert_eq!(answer.trim(), format!("5000000 7 {}", zeros.trim()));
    let event = server.event("command");
    assert_eq!(
        (&event["code"], &event["bytes"]),
        (&7.into(), &5_000_000.into())
    );
    let killed = run_client(&stage, &server, "command-json", "whole", &["kill -9 $$"]);
    assert!(killed.starts_with("0 -9 "), "{killed}");
}

#[test]
fn login_accepts_one_or_two_messages() {
    let stage = stage();
    stage.write("home/accounts", b"zd:1\nli:secret\n");
    output_of(
        Command::new("chmod")
            .arg("600")
            .arg(stage.path("home/accounts")),
    );
    let server = Server::start(
        &stage,
        "login",
        &["--accounts", "accounts", "--greeting", "你好"],
    );
    for (messages, expected) in [
        (&["zd", "1", "?"][..], "你好\nend\n"),
        (&["zd1", "?"], "你好\nend\n"),
        (
            r"li\nsecret\n,?".split(',').collect::<Vec<_>>().as_slice(),
            "你好\nend\n",
        ),
        (
            &["zd\\n", "2\\n", "?", "zd\\n", "1\\n", "?"],
            "refused: the name or the password is wrong\n你好\nend\n",
        ),
        (
            &["zd2", "?", "zd1", "?"],
            "refused: name and password arrived as one, and the password is wrong\n你好\nend\n",
        ),
        (
            &["wu\\n", "1\\n", "?"],
            "refused: the name or the password is wrong\n",
        ),
    ] {
        let mut command = client(&stage, &server, "login", messages);
        if messages[0].starts_with("wu") {
            // Two more wrong passwords, and the server closes the connection.
            command.args(messages).args(messages);
            assert_eq!(
                output_of(&mut command),
                format!("{}end\n", expected.repeat(3))
            );
        } else {
            assert_eq!(output_of(&mut command), expected, "{messages:?}");
        }
    }
}

#[test]
fn challenge_works_alone_and_before_any_dialect() {
    let stage = stage();
    let secret = stage.write("home/secret", b"s3cret\n");
    let wrong = stage.write("home/wrong", b"other\n");
    output_of(Command::new("chmod").arg("600").arg(&secret).arg(&wrong));
    let (secret, wrong) = (secret.to_str().unwrap(), wrong.to_str().unwrap());
    for digest in ["md5", "sha256", "sha512"] {
        let server = Server::start(
            &stage,
            "challenge",
            &["--secret-file", "secret", "--hmac", digest],
        );
        assert_eq!(
            run_client(&stage, &server, "challenge", "whole", &[secret, digest]),
            "ok\n"
        );
        assert_eq!(
            run_client(&stage, &server, "challenge", "bytes", &[wrong, digest]),
            "\n"
        );
        let arguments = ["--secret-file", secret, "--hmac", digest];
        assert_eq!(
            super::dial(&stage, "challenge", &server.address, &arguments).ok(),
            "ok\n"
        );
        let arguments = ["--json", "--secret-file", wrong, "--hmac", digest];
        super::dial(&stage, "challenge", &server.address, &arguments).fails(12, "login-refused");
    }
    for model in MODELS {
        let server = Server::start(
            &stage,
            "text",
            &["--reply", "--secret-file", "secret", "--model", model],
        );
        for segments in SEGMENTS {
            assert_eq!(
                run_client(
                    &stage,
                    &server,
                    "challenge",
                    segments,
                    &[secret, "sha256", "你好"]
                ),
                "你好\n"
            );
        }
        assert!(server.line().ends_with(": 你好"));
        let refused = client(&stage, &server, "challenge", &[wrong, "sha256", "x"])
            .output()
            .unwrap();
        assert!(!refused.status.success());
    }
}

#[test]
fn every_datagram_is_answered_even_empty() {
    let stage = stage();
    let server = Server::start(&stage, "udp-echo", &["--upper"]);
    let long = "x".repeat(9000);
    let answer = run_client(
        &stage,
        &server,
        "udp-echo",
        "whole",
        &["é", "", "two", "", &long],
    );
    let long = format!("'{}'", "X".repeat(9000));
    assert_eq!(
        answer.lines().collect::<Vec<_>>(),
        ["'É'", "''", "'TWO'", "''", &long]
    );
    super::dial(
        &stage,
        "udp-echo",
        "127.0.0.1:9",
        &["--json", "--timeout", "300", "x"],
    )
    .fails(10, "lost");
}

#[test]
fn every_model_survives_disconnect_and_restart() {
    use std::{io::Write, net::TcpStream};
    for model in MODELS {
        let stage = stage();
        let server = Server::start(&stage, "echo", &["--model", model, "--backlog", "7"]);
        let address = server.address.clone();
        for _ in 0..3 {
            let mut rude = TcpStream::connect(&address).unwrap();
            rude.write_all(&[b'x'; 100_000]).unwrap();
            // Unread bytes make this a reset.
            drop(rude);
        }
        let mut open = TcpStream::connect(&address).unwrap();
        if model == "inline" {
            open.shutdown(std::net::Shutdown::Write).unwrap();
        }
        assert_eq!(
            run_client(&stage, &server, "echo", "whole", &["still there"]),
            "still there",
            "{model}"
        );
        open.write_all(b"").unwrap();
        server.stop();
        let again = Server::start(&stage, "echo", &["--model", model, "--listen", &address]);
        assert_eq!(again.address, address, "{model}");
        assert_eq!(
            run_client(&stage, &again, "echo", "whole", &["back"]),
            "back",
            "{model}"
        );
        again.stop();
    }
}
