//! Hostile input from clients: path traversal, false lengths, endless and slow input.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use testkit::Census;

use super::{MODELS, Server, client, run_client};
use crate::{passwords::file as private_file, stage};

fn framed(json: &str) -> Vec<u8> {
    [
        &i32::try_from(json.len()).unwrap().to_le_bytes()[..],
        json.as_bytes(),
    ]
    .concat()
}

/// Sends the bytes and reads until the server closes.
fn exchange(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Path traversal names: every sequence of three hostile parts.
fn hostile_names() -> Vec<String> {
    let parts = [
        "..", ".", "", "/", "\\", "a", "C:", "\0", "~", ":", " ", "\u{2215}", "%2e%2e",
    ];
    let mut names = vec![
        "x".repeat(256),
        "../".repeat(5000),
        "a/".repeat(5000),
        ".landline-1.part".to_owned(),
    ];
    for first in parts {
        for second in parts {
            for third in parts {
                names.push(format!("{first}{second}{third}"));
                names.push(format!("{first}/{second}\\{third}"));
            }
        }
    }
    names
}

/// Proves `classic-path-traversal` in docs/faults.md.
#[test]
fn hostile_name_creates_no_file_outside_folder() {
    let stage = stage();
    fs::create_dir(stage.path("home/in")).unwrap();
    stage.write("home/a", b"precious");
    std::os::unix::fs::symlink(stage.path("home/a"), stage.path("home/in/link")).unwrap();
    std::os::unix::fs::symlink(stage.path("home"), stage.path("home/in/folder")).unwrap();
    let server = Server::start(&stage, "upload", &["--dir", "in", "--overwrite"]);
    let before = Census::of(&stage.path("client"));
    let names = hostile_names();
    let mut stream = Vec::new();
    for name in
        names
            .iter()
            .map(String::as_str)
            .chain(["link", "folder", "folder/x", "in/../folder/y"])
    {
        let header = serde_json::json!({"file_name": name, "file_size": 4}).to_string();
        stream.extend(framed(&header));
        stream.extend(b"evil");
    }
    exchange(&server, &stream);
    assert_eq!(stage.read("home/a"), b"precious");
    let mut found: Vec<_> = fs::read_dir(stage.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(
        found,
        ["a", "in"],
        "a file was created outside of the folder"
    );
    assert_eq!(Census::of(&stage.path("client")), before);
    for entry in fs::read_dir(stage.path("home/in")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        assert!(
            kind.is_file() || ["link", "folder"].contains(&name.as_str()),
            "{name:?} is not a regular file"
        );
        assert!(
            !name.contains(['\\', '\0']) && !name.starts_with(".landline-"),
            "{name:?}"
        );
    }
    assert!(stage.path("home/in/link").is_symlink() && stage.path("home/in/folder").is_symlink());
    // These two names are harmless. Their files show that the server read the stream to its end.
    assert_eq!(
        (stage.read("home/in/x"), stage.read("home/in/y")),
        (b"evil".to_vec(), b"evil".to_vec())
    );
    assert!(still_serves(&stage, &server), "the server still serves");
}

fn still_serves(stage: &testkit::Stage, server: &Server) -> bool {
    stage.write("user/last", b"last");
    run_client(stage, server, "upload", "whole", &["last"]);
    stage.read("home/in/last") == b"last"
}

/// Proves `classic-length` in docs/faults.md.
#[test]
fn false_length_or_header_ends_connection() {
    let stage = stage();
    let lies: Vec<Vec<u8>> = vec![
        (-1i32).to_le_bytes().to_vec(),
        i32::MIN.to_le_bytes().to_vec(),
        i32::MAX.to_le_bytes().to_vec(),
        65_537i32.to_le_bytes().to_vec(),
        framed("[]"),
        framed("{"),
        framed(r#"{"file_name": "f"}"#),
        framed(r#"{"file_name": "f", "file_size": -1}"#),
        framed(r#"{"file_name": "f", "file_size": 1e3}"#),
        framed(r#"{"file_name": ["f"], "file_size": 1}"#),
        framed(&format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000))),
        // A file larger than the disk, and fewer bytes than announced.
        [
            framed(r#"{"file_name": "f", "file_size": 9223372036854775807}"#),
            vec![b'x'; 1000],
        ]
        .concat(),
        [
            framed(r#"{"file_name": "f", "file_size": 1001}"#),
            vec![b'x'; 1000],
        ]
        .concat(),
        b"{\"filename\": \"f\", ".to_vec(),
        b" \n[1]".to_vec(),
        [b"{\"a\": \"", vec![b'x'; 70_000].as_slice()].concat(),
    ];
    for dialect in ["upload", "upload-bare", "text", "download"] {
        let server = Server::start(&stage, dialect, &["--json"]);
        for lie in &lies {
            exchange(&server, lie);
        }
        exchange(&server, b"");
        server.event("failed");
        testkit::wait_for("an empty folder", || {
            fs::read_dir(stage.home()).unwrap().count() == 0
        });
    }
}

/// Proves `classic-half-file` in docs/faults.md.
#[test]
fn aborted_upload_leaves_nothing() {
    let stage = stage();
    for model in MODELS {
        let server = Server::start(&stage, "upload", &["--json", "--model", model]);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream
            .write_all(&framed(r#"{"file_name": "f", "file_size": 1000000}"#))
            .unwrap();
        stream.write_all(&[7; 400_000]).unwrap();
        testkit::wait_for("the staging file to appear", || {
            fs::read_dir(stage.home()).unwrap().count() == 1
        });
        drop(stream);
        testkit::wait_for("its end", || {
            fs::read_dir(stage.home()).unwrap().count() == 0
        });
        server.event("failed");
    }
}

/// Proves `classic-slow-header` in docs/faults.md.
#[test]
fn trickled_header_ends_at_deadline() {
    let stage = stage();
    private_file(&stage, "home/secret", "s3cret");
    let header =
        framed(&serde_json::json!({"file_name": "f".repeat(200), "file_size": 1}).to_string());
    let servers = [
        (Server::start(&stage, "upload", &["--json"]), header),
        (
            Server::start(&stage, "upload-bare", &["--json"]),
            b"{\"filename\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec(),
        ),
        (
            Server::start(&stage, "echo", &["--json", "--secret-file", "secret"]),
            vec![0; 100],
        ),
        (
            Server::start(&stage, "command", &["--open", "--json", "--pause", "5000"]),
            vec![b'x'; 100],
        ),
    ];
    std::thread::scope(|scope| {
        for (server, bytes) in servers {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(&server.address).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(1)))
                    .unwrap();
                let (start, mut closed) = (Instant::now(), false);
                // The deadline is 10 s. The limit of 40 bytes only ends a test that fails.
                for byte in bytes.iter().take(40) {
                    let mut answer = [0; 64];
                    closed = stream.write_all(&[*byte]).is_err();
                    closed |= match stream.read(&mut answer) {
                        Ok(0) => true,
                        Ok(_) => false,
                        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
                    };
                    if closed {
                        break;
                    }
                }
                assert!(
                    closed,
                    "{} is still open after {:?}",
                    server.address,
                    start.elapsed()
                );
                server.event("failed");
            });
        }
    });
}

/// Proves `classic-slow-reader` and `classic-command` in docs/faults.md.
#[test]
fn command_pauses_while_client_does_not_read() {
    let stage = stage();
    let server = Server::start(&stage, "command-raw", &["--open", "--json"]);
    let mut lazy = TcpStream::connect(&server.address).unwrap();
    lazy.write_all(b"yes; echo never").unwrap();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // The command has filled all buffers between it and the client.
    let mut chunk = [0; 4096];
    lazy.read_exact(&mut chunk).unwrap();
    let before = memory();
    assert_eq!(
        run_client(
            &stage,
            &server,
            "command-raw",
            "whole",
            &["echo others work"]
        ),
        "others work\n"
    );
    assert!(
        memory() < before + 20_000,
        "{} KiB, and {before} before",
        memory()
    );
    // The command ends with its connection.
    let children = || {
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.child.id()))
            .unwrap_or_default()
    };
    drop(lazy);
    server.event("failed");
    testkit::wait_for("the command to end", || children().trim().is_empty());
}

/// Proves `classic-command` in docs/faults.md.
#[test]
fn endless_command_is_stopped() {
    let stage = stage();
    let server = Server::start(
        &stage,
        "command-json",
        &["--open", "--time-limit", "1", "--json"],
    );
    let said = run_client(
        &stage,
        &server,
        "command-json",
        "whole",
        &["sleep 1000 & sleep 1000"],
    );
    assert!(said.contains(" -9 "), "{said}");
    assert_eq!(server.event("command")["code"], -9);
}

/// Proves `classic-web-page` in docs/faults.md.
#[test]
fn commands_need_a_proof_on_loopback_too() {
    let stage = stage();
    for dialect in ["command", "command-raw", "command-json"] {
        for listen in ["0.0.0.0:0", "127.0.0.1:0"] {
            let serve = ["--json", "classic", "serve", dialect, "--listen", listen];
            stage.run(&serve).fails(2, "usage");
        }
    }
    let outcome = stage.run(&["--json", "classic", "serve", "challenge"]);
    outcome.fails(2, "usage");
    let secret = stage.write("user/secret", b"x\n");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    stage
        .run(&[
            "--json",
            "classic",
            "serve",
            "echo",
            "--secret-file",
            "secret",
        ])
        .fails(32, "secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(
        &stage,
        "command",
        &[
            "--listen",
            "0.0.0.0:0",
            "--secret-file",
            secret.to_str().unwrap(),
        ],
    );
    assert!(server.address.starts_with("0.0.0.0:"));
}

/// Proves `classic-web-page` in docs/faults.md.
#[test]
fn request_of_web_page_is_not_taken_for_text() {
    let stage = stage();
    private_file(&stage, "home/accounts", "zd:1");
    for (dialect, options) in [
        ("command", &["--open"][..]),
        ("command-raw", &["--open"]),
        ("command-json", &["--open"]),
        ("login", &["--accounts", "accounts"]),
        ("talk", &[]),
    ] {
        for model in MODELS {
            let server = Server::start(
                &stage,
                dialect,
                &[&["--json", "--model", model], options].concat(),
            );
            for request in [
                &b"GET /?;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\ntouch pwned\n"[..],
                b"\r\nPOST /;touch${IFS}pwned",
                b"\x16\x03\x01\ntouch pwned\n",
            ] {
                exchange(&server, request);
                server.event("failed");
            }
            assert!(!stage.path("home/pwned").exists(), "{dialect} {model}");
        }
    }
}

/// Proves `classic-web-page` in docs/faults.md.
#[test]
fn text_of_another_user_is_not_run() {
    if !landline::paths::is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let stage = stage();
    // A server on loopback can be reached from any address of the machine.
    let other = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = match other
        .connect("192.0.2.1:9")
        .and_then(|()| other.local_addr())
    {
        Ok(address) => address.ip().to_string(),
        Err(_) => "127.0.0.1".to_owned(),
    };
    for model in MODELS {
        let server = Server::start(&stage, "command", &["--open", "--json", "--model", model]);
        let port = server.address.rsplit(':').next().unwrap();
        let exchange = |source: &str, wait: &str| {
            let program = format!(
                "import os, socket\n'x'.encode('idna')\nos.setuid(65534)\n\
                 s = socket.create_connection(('127.0.0.1', {port}), source_address=('{source}', 0))\n\
                 s.sendall(b'touch pwned; chmod 777 .')\n\
                 try:\n    {wait}\n\
                 except ConnectionResetError:\n    pass\n"
            );
            let mut command = std::process::Command::new("python3");
            super::output_of(command.args(["-c", &program]));
        };
        for source in ["127.0.0.1", &own] {
            exchange(source, "s.settimeout(60); assert s.recv(1) == b''");
            server.event("refused");
        }
        // A socket that is closed has no owner any more.
        exchange("127.0.0.1", "s.close()");
        server.event("refused");
        assert!(!stage.path("home/pwned").exists(), "{model}");
        let answer = run_client(&stage, &server, "command", "whole", &["echo mine"]);
        assert_eq!(answer, "mine\n", "{model}");
    }
}

/// Proves `classic-upload-name` in docs/faults.md.
#[test]
fn upload_creates_only_names_of_documents() {
    let stage = stage();
    let server = Server::start(&stage, "upload", &["--ack"]);
    let mut stream = Vec::new();
    let names = [
        ".bash_profile",
        "x/.profile",
        "-rf",
        "a\u{1b}[2J",
        "a\nb",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{3164}",
    ];
    for name in names.into_iter().chain(["good"]) {
        let header = serde_json::json!({"file_name": name, "file_size": 4}).to_string();
        stream.extend(framed(&header));
        stream.extend(b"evil");
    }
    let receipts = String::from_utf8_lossy(&exchange(&server, &stream)).into_owned();
    assert_eq!(receipts.matches("\"ok\":false").count(), names.len());
    let found: Vec<_> = fs::read_dir(stage.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(found, ["good"]);
}

/// Proves `classic-encoding` in docs/faults.md.
#[test]
fn undecodable_name_is_refused() {
    let stage = stage();
    for dialect in ["upload", "upload-bare"] {
        let server = Server::start(&stage, dialect, &["--json", "--overwrite"]);
        for name in ["报告.txt", "数据.txt"] {
            stage.write(&format!("user/{name}"), name.as_bytes());
            let mut upload = client(&stage, &server, dialect, &[name]);
            let _ = upload.env("ENCODING", "gbk").output().unwrap();
            let failed = server.event("failed")["message"].to_string();
            assert!(failed.contains("--encoding gbk"), "{failed}");
        }
    }
    assert_eq!(fs::read_dir(stage.home()).unwrap().count(), 0);
    let server = Server::start(&stage, "command", &["--open", "--json"]);
    exchange(&server, b"touch \xff\n");
    server.event("failed");
    assert_eq!(fs::read_dir(stage.home()).unwrap().count(), 0);
}

/// Proves `datagram-loop` in docs/faults.md.
#[test]
fn servers_that_answer_each_other_stop() {
    if !landline::paths::is_root() {
        eprintln!("skipped: only root can forge a source");
        return;
    }
    let stage = stage();
    for upper in [&[][..], &["--upper"], &["--upper=ascii"]] {
        let options = [&["--json"], upper].concat();
        let servers =
            ["udp-echo", "udp-echo"].map(|dialect| Server::start(&stage, dialect, &options));
        let ports = servers
            .each_ref()
            .map(|server| server.address.rsplit(':').next().unwrap().to_owned());
        let program = format!(
            "import socket, struct\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)\n\
             for text in (b'x', b'y', b''):\n    \
                 s.sendto(struct.pack('!HHHH', {}, {}, 8 + len(text), 0) + text, ('127.0.0.1', 0))\n",
            ports[0], ports[1]
        );
        super::output_of(std::process::Command::new("python3").args(["-c", &program]));
        let mut answers = 0;
        for server in &servers {
            server.event("text");
            answers += 1;
            // Each text is reported before it is answered. The loop is over when none comes.
            while let Ok(line) = server.lines.recv_timeout(Duration::from_secs(1)) {
                answers += usize::from(line.contains("\"text\""));
                assert!(answers <= 3000, "three loops of 1000 answers");
            }
        }
        assert!(answers > 10, "there was no loop");
    }
}

/// Proves `amplification` in docs/faults.md.
#[test]
fn datagram_server_does_not_amplify() {
    let stage = stage();
    let server = Server::start(&stage, "udp-echo", &["--upper"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // Upper case makes at most three bytes of two, so this is the largest factor.
    for text in ["ΐΐΐ", "ŉ", "ﬃ", "x"] {
        socket.send_to(text.as_bytes(), &server.address).unwrap();
        let mut answer = [0; 100];
        let count = socket.recv(&mut answer).unwrap();
        assert!(count <= 3 * text.len() && count > 0, "{text}: {count}");
    }
    if landline::paths::is_root() {
        // The server never answers a privileged port, since a service there might answer back.
        let service = (600..1023)
            .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
            .expect("a free port");
        service.send_to(b"x", &server.address).unwrap();
        socket.send_to(b"last", &server.address).unwrap();
        let mut answer = [0; 100];
        assert_eq!(socket.recv(&mut answer).unwrap(), 4);
        service.set_nonblocking(true).unwrap();
        assert!(service.recv(&mut answer).is_err(), "a service was answered");
    }
}

#[test]
fn third_wrong_password_closes_connection() {
    let stage = stage();
    private_file(&stage, "home/accounts", "zd:1");
    let server = Server::start(&stage, "login", &["--accounts", "accounts"]);
    let said = exchange(&server, b"zd\n0\nzd\n2\nzd\n3\nzd\n1\n");
    let said = String::from_utf8(said).unwrap();
    assert_eq!(
        (said.matches("refused").count(), said.contains("welcome")),
        (3, false),
        "{said}"
    );
    let other = client(&stage, &server, "login", &["zd1", "?"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(other.stdout).unwrap(), "welcome\nend\n");
}
