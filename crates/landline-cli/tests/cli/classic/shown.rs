//! `--show`, `sink` and `send`: the bytes of each receive and each send.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    process::Command,
};

use super::{MODELS, PythonServer, Server, dial, output_of};
use crate::stage;

/// The rest of a line after the peer's address.
fn without_peer(line: &str) -> String {
    line.split_once(' ').unwrap().1.to_owned()
}

#[test]
fn sink_shows_each_receive_and_answers_nothing() {
    let stage = stage();
    for model in MODELS {
        let server = Server::start(&stage, "sink", &["--model", model]);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(b"hello").unwrap();
        let first = server.line();
        stream.write_all(b"world").unwrap();
        let second = server.line();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let lines = [first, second, server.line()];
        assert_eq!(
            lines.each_ref().map(|line| without_peer(line)),
            ["recv 5 b'hello'", "recv 5 b'world'", "recv 0 b''"],
            "{model}"
        );
        let peer = lines[0].split(' ').next().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    }
    let server = Server::start(&stage, "sink", &[]);
    let arguments = ["--show", "--pause", "1", "hello", "world"];
    let outcome = dial(&stage, "send", &server.address, &arguments);
    let shown: Vec<String> = outcome.stderr.lines().map(without_peer).collect();
    assert_eq!(shown[..2], ["send 5 b'hello'", "send 5 b'world'"]);
    let server = Server::start(&stage, "sink", &["--json"]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(b"\x05\0\0\0hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let event = server.event("recv");
    assert_eq!(
        (&event["size"], &event["bytes"]),
        (&9.into(), &r"b'\x05\x00\x00\x00hello'".into())
    );
    assert_eq!(event["peer"], stream.local_addr().unwrap().to_string());
    assert_eq!(server.event("recv")["size"], 0);
}

#[test]
fn server_shows_receives_and_sends_of_any_dialect() {
    let stage = stage();
    let accounts = stage.write("home/accounts", b"zd:1\n");
    output_of(Command::new("chmod").arg("600").arg(accounts));
    for (dialect, options) in [
        ("echo", &[][..]),
        ("text", &["--reply=ok"]),
        ("command", &["--open"]),
        ("command-raw", &["--open"]),
        ("command-json", &["--open"]),
        ("upload", &["--ack"]),
        ("upload-bare", &["--ack"]),
        ("download", &[]),
        ("login", &["--accounts", "accounts"]),
        ("talk", &["--first", "hi"]),
    ] {
        for model in MODELS {
            let options = [options, &["--show", "--json", "--model", model]].concat();
            let server = Server::start(&stage, dialect, &options);
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(b"zd\nx\nzd\nx\n").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let sent = (!answer.is_empty()).then(|| server.event("send"));
            assert!(sent.is_none_or(|sent| sent["size"] != 0), "{dialect}");
            drop(server);
            let server = Server::start(&stage, dialect, &options);
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(b"abc").unwrap();
            assert_eq!(server.event("recv")["bytes"], "b'abc'", "{dialect} {model}");
        }
    }
}

#[test]
fn client_shows_receives_and_sends_on_stderr() {
    let stage = stage();
    let server = PythonServer::start(&stage, "echo", "whole", &[]);
    let outcome = dial(&stage, "echo", &server.address, &["--show", "hello"]);
    let shown: Vec<String> = outcome.stderr.lines().map(without_peer).collect();
    assert_eq!(shown, ["send 5 b'hello'", "recv 5 b'HELLO'", "recv 0 b''"]);
    assert!(outcome.stderr.starts_with(&server.address));
    assert_eq!(outcome.ok(), "HELLO\n");
    let server = PythonServer::start(&stage, "text", "whole", &[]);
    let arguments = ["--json", "--show", "--reply", "hello"];
    let outcome = dial(&stage, "text", &server.address, &arguments);
    let first: serde_json::Value =
        serde_json::from_str(outcome.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["event"], &first["bytes"]),
        (&"send".into(), &r"b'\x05\x00\x00\x00hello'".into())
    );
}

#[test]
fn datagrams_are_shown_and_need_no_answer() {
    let stage = stage();
    let server = Server::start(&stage, "udp-sink", &[]);
    dial(&stage, "udp-send", &server.address, &["one", "", "two"]).ok();
    let lines = [server.line(), server.line(), server.line()].map(|line| without_peer(&line));
    assert_eq!(lines, ["recv 3 b'one'", "recv 0 b''", "recv 3 b'two'"]);

    let server = Server::start(&stage, "udp-echo", &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to("你好".as_bytes(), &server.address).unwrap();
    assert_eq!(
        server.line(),
        format!("{}: 你好", socket.local_addr().unwrap())
    );

    let server = Server::start(&stage, "udp-echo", &["--upper", "--show"]);
    let arguments = ["--timeout", "60000", "--show", "hello"];
    let outcome = dial(&stage, "udp-echo", &server.address, &arguments);
    let shown: Vec<String> = outcome.stderr.lines().map(without_peer).collect();
    assert_eq!(shown, ["send 5 b'hello'", "recv 5 b'HELLO'"]);
    let lines = [server.line(), server.line()].map(|line| without_peer(&line));
    assert_eq!(lines, ["recv 5 b'hello'", "send 5 b'HELLO'"]);

    let server = Server::start(&stage, "udp-chat", &["--show", "--json"]);
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for socket in &sockets {
        socket.send_to(b"li: hi", &server.address).unwrap();
    }
    assert_eq!(server.event("recv")["bytes"], "b'li: hi'");
    assert_eq!(server.event("send")["bytes"], "b'li: hi'");
}

#[test]
fn shown_bytes_have_colors_on_terminal_only() {
    let stage = stage();
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    for (variable, has_color) in [("LANG", true), ("NO_COLOR", false)] {
        let server = Server::start(&stage, "echo", &[]);
        let mut command = Command::new("python3");
        command
            .args(["-c", spawn, env!("CARGO_BIN_EXE_landline")])
            .args([
                "classic",
                "dial",
                "echo",
                &server.address,
                "--show",
                "x\u{1b}[2J",
            ])
            .env("LANDLINE_STATE", stage.path("client"))
            .env_remove("NO_COLOR")
            .env(variable, "C")
            .stdin(std::process::Stdio::null());
        let screen = output_of(&mut command);
        assert!(screen.contains(r"send 5 b'x\x1b[2J'"), "{screen:?}");
        assert_eq!(screen.contains("\u{1b}[3"), has_color, "{screen:?}");
        assert!(!screen.contains("\u{1b}[2J"), "{screen:?}");
    }
}
