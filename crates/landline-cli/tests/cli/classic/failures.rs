//! A failure is a failure: `dial` ends with a reason and a status, and a mistake is named.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use super::{Server, dial, output_of};
use crate::{passwords::file as private_file, stage};

/// Two files with different secrets.
fn secrets(stage: &testkit::Stage) -> [String; 2] {
    ["right", "wrong"].map(|name| private_file(stage, &format!("home/{name}"), name))
}

/// A server that accepts one connection and hands it to `serve`.
fn serve_once(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

/// The outcome of the first attempt that the server refuses in time. `dial` waits only a moment for
/// that: servers without a secret, or that accept it, say nothing.
fn dial_until_refused(
    stage: &testkit::Stage,
    dialect: &str,
    address: &str,
    arguments: &[&str],
) -> testkit::Outcome {
    let mut last = dial(stage, dialect, address, arguments);
    testkit::wait_for("a refusal in time", || {
        let is_refused = last.status == Some(12);
        if !is_refused {
            last = dial(stage, dialect, address, arguments);
        }
        is_refused
    });
    last
}

/// Proves `classic-silent-failure` in docs/faults.md.
#[test]
fn wrong_or_missing_secret_fails_in_every_dialect() {
    let stage = stage();
    let [right, wrong] = secrets(&stage);
    let file = stage.write("user/f", b"content");
    let file = file.to_str().unwrap();
    for (dialect, arguments) in [
        ("echo", &["hello"][..]),
        ("text", &["hello"]),
        ("text", &["--reply", "hello"]),
        ("command", &["echo x"]),
        ("command-raw", &["echo x"]),
        ("command-json", &["echo x"]),
        ("upload", &[file]),
        ("upload", &["--ack", file]),
        ("upload-bare", &[file]),
        ("download", &["f"]),
        ("talk", &[]),
        ("send", &["x"]),
    ] {
        let served = if dialect == "send" { "sink" } else { dialect };
        let server = Server::start(&stage, served, &["--secret-file", &right]);
        for secret in [&["--secret-file", &wrong][..], &[]] {
            let arguments = [&["--json"], secret, arguments].concat();
            let outcome = dial_until_refused(&stage, dialect, &server.address, &arguments);
            assert!(outcome.stdout.is_empty(), "{dialect}");
            outcome.fails(12, "login-refused");
        }
        for digest in ["md5", "sha512", "md5-key-nonce"] {
            let arguments = [
                &["--json", "--secret-file", &right, "--hmac", digest],
                arguments,
            ]
            .concat();
            let outcome = dial_until_refused(&stage, dialect, &server.address, &arguments);
            let said = outcome.fails(12, "login-refused");
            assert!(
                served == "sink" || said.contains(digest),
                "{dialect}: {said}"
            );
            testkit::wait_for("the digest to be named", || {
                server
                    .said
                    .lock()
                    .unwrap()
                    .contains(&format!(" is {digest}, "))
            });
        }
    }
}

/// Proves `classic-silent-failure` in docs/faults.md.
#[test]
fn refused_upload_fails_without_ack_too() {
    let stage = stage();
    let file = stage.write("user/f", b"new");
    let file = file.to_str().unwrap();
    for (dialect, options) in [
        ("upload", &[][..]),
        ("upload", &["--ack"]),
        ("upload-bare", &[]),
        ("upload-bare", &["--ack"]),
    ] {
        stage.write("home/f", b"old");
        let server = Server::start(&stage, dialect, options);
        for arguments in [&["--json", file][..], &["--json", "--ack", file]] {
            let outcome = dial(&stage, dialect, &server.address, arguments);
            assert!(outcome.stdout.is_empty());
            let said = outcome.fails(27, "not-stored");
            assert!(said.contains("exists"), "{said}");
        }
        assert_eq!(stage.read("home/f"), b"old");
    }
}

/// Proves `classic-silent-failure` in docs/faults.md.
#[test]
fn upload_with_ack_fails_without_good_receipt() {
    let stage = stage();
    let file = stage.write("user/f", b"content");
    let file = file.to_str().unwrap();
    let address = serve_once(|mut stream| {
        let receipt = br#"{"ok": false}"#;
        let length = (receipt.len() as i32).to_le_bytes();
        stream.write_all(&[&length[..], receipt].concat()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    dial(&stage, "upload", &address, &["--json", "--ack", file]).fails(27, "not-stored");
    // A server without receipts that keeps the connection open.
    let address = serve_once(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        std::thread::sleep(Duration::from_secs(60));
    });
    let arguments = ["--json", "--ack", "--wait", "1", file];
    dial(&stage, "upload", &address, &arguments).fails(10, "lost");
    let server = Server::start(&stage, "upload", &[]);
    let arguments = ["--json", "--ack", "--wait", "1", file];
    dial(&stage, "upload", &server.address, &arguments).fails(10, "lost");
}

/// Proves `classic-silent-failure` in docs/faults.md.
#[test]
fn echo_ends_when_all_came_back_and_fails_otherwise() {
    let stage = stage();
    // A server that sends all back and keeps the connection open.
    let address = serve_once(|mut stream| {
        let mut chunk = [0; 100];
        while let Ok(count) = stream.read(&mut chunk) {
            if count == 0 {
                std::thread::sleep(Duration::from_secs(60));
            }
            stream.write_all(&chunk[..count]).unwrap();
        }
    });
    let outcome = dial(&stage, "echo", &address, &["--wait", "50", "hello"]);
    assert_eq!(outcome.ok(), "hello\n");
    // Only a part comes back, with and without the end of the connection.
    for stays_open in [false, true] {
        let address = serve_once(move |mut stream| {
            stream.read_exact(&mut [0; 5]).unwrap();
            stream.write_all(b"hel").unwrap();
            if stays_open {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        let arguments = ["--json", "--wait", "1", "hello"];
        dial(&stage, "echo", &address, &arguments).fails(10, "lost");
    }
    // Upper case can be shorter than what was sent.
    let server = Server::start(&stage, "echo", &["--upper"]);
    let outcome = dial(&stage, "echo", &server.address, &["ıı"]);
    assert_eq!(outcome.ok(), "II\n");
}

/// Proves `classic-mistake` in docs/faults.md.
#[test]
fn big_endian_answer_is_named() {
    let stage = stage();
    let address = serve_once(|mut stream| {
        stream.read_exact(&mut [0; 7]).unwrap();
        stream.write_all(b"\0\0\0\x03hi\n").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    });
    let outcome = dial(&stage, "command", &address, &["--json", "echo hi"]);
    let said = outcome.fails(13, "dialect");
    assert!(said.contains("big-endian"), "{said}");
}

#[test]
fn raw_client_never_sends_word_to_be_run() {
    let stage = stage();
    let (said, heard) = std::sync::mpsc::channel();
    let address = serve_once(move |mut stream| {
        let mut chunk = [0; 1000];
        while let Ok(count) = stream.read(&mut chunk) {
            let _ = said.send(String::from_utf8_lossy(&chunk[..count]).into_owned());
            if count == 0 {
                // It keeps the connection open.
                std::thread::sleep(Duration::from_secs(60));
            }
            stream.write_all(b"output\n").unwrap();
        }
    });
    let outcome = dial(&stage, "command-raw", &address, &["--wait", "10", "echo x"]);
    assert_eq!(outcome.ok(), "output\n");
    assert_eq!(
        [heard.recv().unwrap(), heard.recv().unwrap()],
        ["echo x", ""]
    );
}

/// Sends the bytes and returns the answer as text.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let start = Instant::now();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(start.elapsed() < Duration::from_secs(50));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Proves `classic-mistake` in docs/faults.md.
#[test]
fn answer_names_the_mistake() {
    let stage = stage();
    let accounts = stage.write("home/accounts", b"zd:1\n");
    output_of(Command::new("chmod").arg("600").arg(accounts));
    let json = br#"{"file_name": "f", "file_size": 1}"#;
    let bare = br#"{"filename": "f", "filesize": 1}"#;
    let request = br#"{"cmd": "get", "file_name": "f"}"#;
    let text = b"hello world";
    let prefixed = |prefix: &[u8], message: &[u8]| [prefix, message].concat();
    let le = |message: &[u8]| (message.len() as i32).to_le_bytes().to_vec();
    let be = |message: &[u8]| (message.len() as i32).to_be_bytes().to_vec();
    let long = |message: &[u8]| (message.len() as i64).to_le_bytes().to_vec();
    let gbk = b"{\"file_name\": \"\xb1\xa8\xb8\xe6\", \"file_size\": 1}";
    let cases: Vec<(&str, Vec<&str>, Vec<u8>, &str)> = vec![
        ("upload", vec![], prefixed(&be(json), json), "`!` or `>`"),
        ("upload", vec![], prefixed(&long(json), json), "'q'"),
        ("upload", vec![], json.to_vec(), "begins with"),
        ("upload", vec![], prefixed(&le(gbk), gbk), "--encoding gbk"),
        ("upload", vec![], prefixed(&le(bare), bare), "`upload-bare`"),
        (
            "upload",
            vec![],
            prefixed(&le(request), request),
            "`download`",
        ),
        (
            "upload",
            vec![],
            prefixed(&le(b"{'a': 1}"), b"{'a': 1}"),
            "json.dumps",
        ),
        ("upload-bare", vec![], json.to_vec(), "`upload`"),
        ("upload-bare", vec![], prefixed(&le(json), json), "`upload`"),
        ("upload-bare", vec![], gbk.to_vec(), "--encoding gbk"),
        (
            "download",
            vec![],
            prefixed(&be(request), request),
            "`!` or `>`",
        ),
        ("download", vec![], request.to_vec(), "begins with"),
        ("download", vec![], prefixed(&le(json), json), "cmd"),
        ("text", vec![], prefixed(&be(text), text), "`!` or `>`"),
        ("text", vec![], prefixed(&long(text), text), "'q'"),
        ("text", vec![], text.to_vec(), "begins with"),
        (
            "text",
            vec![],
            prefixed(&le(b"\xb1\xa8"), b"\xb1\xa8"),
            "--encoding gbk",
        ),
        (
            "text",
            vec![],
            prefixed(&le(text), b"hello"),
            "within a message",
        ),
        (
            "command",
            vec!["--open"],
            b"echo \xb1\xa8".to_vec(),
            "--encoding gbk",
        ),
        (
            "command-raw",
            vec!["--open"],
            b"echo \xb1\xa8".to_vec(),
            "--encoding gbk",
        ),
        (
            "command-json",
            vec!["--open"],
            b"echo \xb1\xa8".to_vec(),
            "--encoding gbk",
        ),
        (
            "login",
            vec!["--accounts", "accounts"],
            b"\xb1\xa8\n".to_vec(),
            "--encoding gbk",
        ),
        ("talk", vec![], b"\xb1\xa8\n".to_vec(), "--encoding gbk"),
        (
            "echo",
            vec!["--upper"],
            b"\xb1\xa8\n".to_vec(),
            "--encoding gbk",
        ),
    ];
    for (dialect, options, bytes, word) in cases {
        let server = Server::start(&stage, dialect, &options);
        let answer = exchange(&server, &bytes);
        assert!(answer.contains(word), "{dialect} {bytes:?}: {answer:?}");
        testkit::wait_for("the mistake to be reported", || {
            server.said.lock().unwrap().contains(word)
        });
    }
    assert_eq!(std::fs::read_dir(stage.home()).unwrap().count(), 1);
}

/// Proves `classic-encoding` in docs/faults.md.
#[test]
fn reply_has_its_own_encoding() {
    let stage = stage();
    let options = ["--encoding", "utf_8", "--reply-encoding", "cp936"];
    let server = Server::start(&stage, "text", &[&["--reply"][..], &options].concat());
    let text = "你好".as_bytes();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .write_all(&[&(text.len() as i32).to_le_bytes()[..], text].concat())
        .unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"\x04\0\0\0\xc4\xe3\xba\xc3");
    let arguments = [&options[..], &["--reply", "你好"]].concat();
    let outcome = dial(&stage, "text", &server.address, &arguments);
    assert_eq!(outcome.ok(), "你好\n");
    let server = Server::start(&stage, "command", &[&["--open"][..], &options].concat());
    let arguments = [&options[..], &["echo", "你好"]].concat();
    let outcome = dial(&stage, "command", &server.address, &arguments);
    // Not on a terminal, the output is written as it comes.
    assert_eq!(outcome.stdout, b"\xc4\xe3\xba\xc3\n");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (_, peer) = socket.recv_from(&mut [0; 100]).unwrap();
        socket.send_to(b"\xc4\xe3\xba\xc3", peer).unwrap();
    });
    let arguments = ["--json", "--timeout", "60000", "hi"];
    dial(&stage, "udp-echo", &address, &arguments).fails(13, "dialect");
    let refused = ["--json", "--encoding", "gbk", "--reply", "你"];
    let server = Server::start(&stage, "text", &["--reply"]);
    dial(&stage, "text", &server.address, &refused).fails(13, "dialect");
}
