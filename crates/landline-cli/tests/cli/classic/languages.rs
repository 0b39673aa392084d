//! What a class sees on the screen, in English and in Chinese.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use snapbox::{Assert, Data, assert::DEFAULT_ACTION_ENV};
use testkit::Stage;

use super::{PATIENCE, Server};
use crate::stage;

/// Servers, and what a client sends to each.
const SERVERS: &[(&str, &[u8])] = &[
    ("echo", b"hello"),
    ("echo --upper", b"\xb1\xa8\xb8\xe6"),
    ("text", b"\x05\0\0\0hello"),
    ("text", b"\0\0\0\x05hello"),
    ("text", b"\x05\0\0\0\0\0\0\0hello"),
    ("text", b"5555hello"),
    ("text", b"\x05\0he"),
    ("text", b"\x09\0\0\0hello"),
    ("text", b"\x04\0\0\0\xb1\xa8\xb8\xe6"),
    ("sink", b"hello"),
    ("command --open", b"echo hi"),
    ("command-raw --open", b"GET / HTTP/1.1\r\n"),
    ("command-json --open", b"false"),
    (
        "upload",
        b"\x25\0\0\0{\"file_name\": \"a\", \"file_size\": 1   }x",
    ),
    (
        "upload",
        b"\x25\0\0\0{\"file_name\": \"a\", \"file_size\": 1   }x",
    ),
    (
        "upload",
        b"\x25\0\0\0{\"file_name\": \".a\", \"file_size\": 1  }x",
    ),
    (
        "upload",
        b"\x23\0\0\0{\"filename\": \"a\", \"filesize\": 1   }x",
    ),
    ("upload", b"\x08\0\0\0{'a': 1}  "),
    ("upload", b"\x08\0\0\0\"{\\\"a\\\"}"),
    ("upload", b"\0\0\0\0\0\0\0\x14"),
    (
        "upload",
        b"\x27\0\0\0{\"file_name\": \"a\", \"file_size\": \"1\"   }x",
    ),
    ("upload-bare", b"\x02\0\0\0{}"),
    (
        "upload-bare",
        b"{\"filename\": \"b\", \"filesize\": 3, \"msg\": \"hi\"}abc",
    ),
    (
        "download",
        b"\x24\0\0\0{\"cmd\": \"get\", \"file_name\": \"a\"    }",
    ),
    (
        "download",
        b"\x24\0\0\0{\"cmd\": \"get\", \"file_name\": \"none\" }",
    ),
    (
        "download",
        b"\x24\0\0\0{\"cmd\": \"get\", \"file_name\": \"/etc\" }",
    ),
    (
        "download",
        b"\x24\0\0\0{\"cmd\": \"put\", \"file_name\": \"a\"    }",
    ),
    ("login --accounts accounts", b"zd\n1\n"),
    ("login --accounts accounts", b"zd\n2\n"),
    ("login --accounts accounts", b"zd2"),
    ("login --accounts accounts", b"li"),
    ("challenge --secret-file secret", b"0123"),
    ("challenge --secret-file secret", &[7; 32]),
    ("talk --reply hello", b"hi\n"),
    ("talk --reply hello --bye bye", b"bye\n"),
    ("udp-echo", b"hello"),
    ("udp-echo --upper", b"\xb1\xa8\xb8\xe6"),
    ("udp-sink", b"hello"),
];

/// Commands that fail or have a result. `SERVER` is the address of a server of `echo`, and `GONE`
/// is one where nothing listens.
const COMMANDS: &[&str] = &[
    "serve challenge",
    "serve command",
    "serve echo --secret-file absent",
    "serve echo --secret-file home/open-secret",
    "serve login --accounts home/bad-accounts",
    "serve download --dir absent",
    "serve echo --listen SERVER",
    "serve --profile absent",
    "dial echo GONE hello",
    "dial text SERVER --reply hello",
    "dial challenge SERVER",
    "dial upload SERVER absent",
    "dial upload SERVER --ack home/accounts",
    "dial download SERVER x",
    "dial login SERVER zd",
    "dial udp-echo GONE hello",
];

#[test]
fn screens_of_a_class_match_snapshots() {
    for language in ["en", "zh"] {
        let stage = stage();
        write_files(&stage);
        let mut text = String::new();
        for (words, bytes) in SERVERS {
            text.push_str(&screen_of_server(&stage, language, words, bytes));
        }
        text.push_str(&screens_of_commands(&stage, language));
        let name = format!("tests/snapshots/classic.{language}.txt");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        Assert::new()
            .action_env(DEFAULT_ACTION_ENV)
            .eq(text, Data::read_from(&file, None).raw());
    }
}

fn write_files(stage: &Stage) {
    for (name, content, mode) in [
        ("accounts", "zd:1\n", 0o600),
        ("bad-accounts", "zd\n", 0o600),
        ("secret", "s3cret\n", 0o600),
        ("open-secret", "s3cret\n", 0o644),
    ] {
        let file = stage.write(&format!("home/{name}"), content.as_bytes());
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// What a server prints about one client, and what the client gets.
fn screen_of_server(stage: &Stage, language: &str, words: &str, bytes: &[u8]) -> String {
    let mut words = words.split(' ');
    let dialect = words.next().unwrap();
    let mut arguments: Vec<&str> = words.collect();
    let shown = [&[dialect], &arguments[..]].concat().join(" ");
    arguments.extend(["--lang", language]);
    let server = Server::start(stage, dialect, &arguments);
    let answer = if dialect.starts_with("udp-") {
        exchange_datagram(&server, bytes, dialect != "udp-sink")
    } else {
        exchange(&server, bytes)
    };
    let nonce = if dialect == "challenge" { 32 } else { 0 };
    let answer = landline_classic::codec::python_literal(&answer[nonce..]);
    let sent = landline_classic::codec::python_literal(bytes);
    if dialect == "udp-sink" {
        assert!(server.line().contains("hello"));
    }
    let (out, errors) = server.stop();
    let text = format!(
        "$ landline classic serve {shown}\nclient sends {sent}\n{out}{errors}client gets {answer}\n\n"
    );
    without_values(&text, stage)
}

/// Sends the bytes and reads until the server closes.
fn exchange(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn exchange_datagram(server: &Server, bytes: &[u8], has_answer: bool) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(bytes, &server.address).unwrap();
    let mut answer = vec![0; 2000];
    let count = if has_answer {
        socket.recv(&mut answer).unwrap()
    } else {
        0
    };
    answer.truncate(count);
    answer
}

fn screens_of_commands(stage: &Stage, language: &str) -> String {
    let server = Server::start(stage, "echo", &[]);
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone_address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let mut text = String::new();
    for command in COMMANDS {
        let line = command
            .replace("SERVER", &server.address)
            .replace("GONE", &gone_address);
        let mut words = vec!["classic"];
        words.extend(line.split(' '));
        let mut command_line = stage.command(&words);
        command_line
            .args(["--lang", language])
            .env("LANG", if language == "zh" { "zh_CN.UTF-8" } else { "C" })
            .current_dir(stage.path(""));
        let outcome = stage.run_command(command_line);
        text.push_str(&format!(
            "$ landline classic {command}\n{}{}[status {}]\n\n",
            String::from_utf8_lossy(&outcome.stdout),
            outcome.stderr,
            outcome.status.unwrap(),
        ));
    }
    without_values(&text, stage)
}

/// The text without values that differ between runs.
fn without_values(text: &str, stage: &Stage) -> String {
    let text = text.replace(&stage.path("").display().to_string(), "STAGE/");
    let mut pieces = text.split("127.0.0.1:");
    let mut found = pieces.next().unwrap().to_owned();
    for piece in pieces {
        found.push_str("127.0.0.1:PORT");
        found.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    found
}
