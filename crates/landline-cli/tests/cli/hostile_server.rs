//! Clients against hostile servers.

use std::fs;

use landline::proto::Header;
use serde_json::{Value, json};
use testkit::{Census, Hostile, HostileServer, Stage, frame};

use crate::stage;

/// A client that knows the server at `address` by `fingerprint` and has its own key.
fn knows(stage: &Stage, address: &str, fingerprint: &str) {
    let folder = landline::paths::PrivateFolder::open_or_create(&stage.path("client")).unwrap();
    let folder = folder.subfolder("client").unwrap();
    let (_, key) = landline::keys::UserKey::load_or_create(&folder, "id_ed25519").unwrap();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let servers = json!({"servers": [
        {"host": "127.0.0.1", "port": port, "fingerprint": fingerprint, "user": "alice", "key": key},
    ]});
    folder
        .write("servers.json", servers.to_string().as_bytes())
        .unwrap();
}

/// Starts a hostile server that the client knows and trusts.
pub(crate) fn trusted(
    stage: &Stage,
    connections: usize,
    act: impl Fn(&mut Hostile) -> std::io::Result<()> + Send + 'static,
) -> HostileServer {
    let server = HostileServer::start(&stage.path("evil"), &stage.path("evil"), connections, act);
    knows(stage, &server.address, &server.fingerprint);
    server
}

/// The pinned certificate without its private key.
/// Proves `pin-without-key` in docs/faults.md.
#[test]
fn certificate_without_its_key_is_refused() {
    let stage = stage();
    let server = HostileServer::start(&stage.path("right"), &stage.path("other"), 1, |client| {
        client.greet()
    });
    knows(&stage, &server.address, &server.fingerprint);
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(11, "server-unproven");
    server.join();
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn certificate_other_than_pinned_is_refused() {
    let stage = stage();
    let server = HostileServer::start(&stage.path("evil"), &stage.path("evil"), 1, |client| {
        client.greet()
    });
    let pinned = "0".repeat(64);
    knows(&stage, &server.address, &pinned);
    let said = stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(11, "server-changed");
    assert!(
        said.contains(&server.fingerprint) && said.contains(&pinned),
        "{said}"
    );
    server.join();
}

#[test]
fn server_without_tls_is_reported() {
    use std::io::Write;
    let stage = stage();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    knows(
        &stage,
        &listener.local_addr().unwrap().to_string(),
        &"0".repeat(64),
    );
    let server = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
        std::io::copy(&mut tcp, &mut std::io::sink())
    });
    stage.run(&["--json", "ping", "127.0.0.1"]).fails(14, "tls");
    let _ = server.join();
}

/// Sends the body of `records`.
fn records(client: &mut Hostile, body: &[u8]) -> std::io::Result<()> {
    client.send_json(&json!({"type": "records", "size": null}))?;
    client.send(&frame(body))?;
    client.send(&frame(b""))
}

/// Proves `terminal-escape` in docs/faults.md.
#[test]
fn hostile_records_are_escaped_or_refused() {
    let entry = json!({"entry": {
        "name": "a\u{1b}[2J\n\u{202e}b", "kind": "link", "length": 1, "disk": 1, "mode": 511,
        "modified": -1, "nanoseconds": 0, "links": 1, "target": "c\u{9b}d",
    }});
    let end = r#"{"end":{"failures":0}}"#;
    let bodies = [
        ("whole", format!("{entry}\n{end}\n")),
        ("without an end", format!("{entry}\n")),
        ("no JSON", "{\n".into()),
        ("an unknown record", "{\"other\":{}}\n".into()),
        ("half a line", format!("{end}\nx")),
        ("an endless line", String::new()),
    ];
    for (what, body) in bodies {
        let stage = stage();
        let server = trusted(&stage, 1, move |client| {
            assert_eq!(client.welcome()?.kind(), "list");
            if !body.is_empty() {
                return records(client, body.as_bytes());
            }
            client.send_json(&json!({"type": "records", "size": null}))?;
            let part = vec![b' '; 200 * 1024];
            client.send(&frame(&part))?;
            client.send(&frame(&part))
        });
        let outcome = stage.run(&["ls", "-l", "127.0.0.1:"]);
        let text = [&outcome.stdout[..], outcome.stderr.as_bytes()].concat();
        let is_plain = |byte: &u8| *byte == b'\n' || !byte.is_ascii_control();
        assert!(text.iter().all(is_plain), "{what}");
        if what == "whole" {
            let shown = outcome.ok();
            assert!(
                shown.contains("a\\u{1b}[2J\\n\\u{202e}b -> c\\u{9b}d"),
                "{shown}"
            );
            assert_eq!(shown.lines().count(), 1);
        } else {
            assert!(
                matches!(outcome.status, Some(10 | 13)),
                "{what}: {outcome:?}"
            );
        }
        server.join();
    }
}

/// A reply of a hostile server to `get`, with the status and code of the client's error.
type Reply = fn(&mut Hostile) -> std::io::Result<()>;

fn file(client: &mut Hostile, length: impl Into<Value>) -> std::io::Result<()> {
    client.send_json(
        &json!({"type": "file-info", "length": length.into(), "mode": 420, "source": "ab", "offset": 0}),
    )
}

fn data(client: &mut Hostile, size: u64, content: &[u8]) -> std::io::Result<()> {
    client.send_json(&json!({"type": "data", "size": size, "offset": 0}))?;
    client.send(&frame(content))
}

const REPLIES: &[(&str, i32, &str, Reply)] = &[
    ("a wrong digest", 25, "digest-mismatch", |client| {
        file(client, 3)?;
        data(client, 3, b"abc")?;
        let digest = format!("blake3:{}", "0".repeat(64));
        client.send_json(&json!({"type": "finish", "length": 3, "digest": digest}))
    }),
    (
        "a wrong length in finish",
        25,
        "digest-mismatch",
        |client| {
            file(client, 0)?;
            client.send_json(&json!({"type": "data", "size": 0, "offset": 0}))?;
            let digest = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
            client.send_json(&json!({"type": "finish", "length": 1, "digest": digest}))
        },
    ),
    ("a size other than the length", 13, "body-size", |client| {
        file(client, 3)?;
        data(client, 4, b"abcd")
    }),
    ("a body of unknown size", 13, "bad-header", |client| {
        file(client, 3)?;
        client.send_json(&json!({"type": "data", "size": null, "offset": 0}))
    }),
    ("a body that is too long", 13, "body-size", |client| {
        file(client, 3)?;
        data(client, 3, b"abcd")
    }),
    ("a body that ends early", 10, "lost", |client| {
        file(client, 3)?;
        data(client, 3, b"ab")
    }),
    (
        "an aborted body without an error",
        13,
        "body-size",
        |client| {
            file(client, 3)?;
            data(client, 3, b"ab")?;
            client.send(&frame(b""))?;
            let digest = format!("blake3:{}", "0".repeat(64));
            client.send_json(&json!({"type": "finish", "length": 3, "digest": digest}))
        },
    ),
    ("an aborted body with an error", 27, "io", |client| {
        file(client, 3)?;
        data(client, 3, b"ab")?;
        client.send(&frame(b""))?;
        client.send_json(&json!({"type": "error", "code": "io", "message": "disk on fire"}))
    }),
    ("no file at all", 13, "unexpected-message", |client| {
        client.send_json(&json!({"type": "ready", "path": ".bashrc"}))
    }),
    ("an invalid length", 13, "bad-header", |client| {
        file(client, -1)
    }),
    (
        "an offset that was not requested",
        13,
        "bad-header",
        |client| {
            client.send_json(
                &json!({"type": "file-info", "length": 9, "mode": 420, "source": "ab", "offset": 8}),
            )
        },
    ),
    ("data at another offset", 13, "bad-header", |client| {
        file(client, 3)?;
        client.send_json(&json!({"type": "data", "size": 3, "offset": 8 << 20}))
    }),
    ("a mode with setuid", 13, "bad-header", |client| {
        client.send_json(
            &json!({"type": "file-info", "length": 0, "mode": 0o4755, "source": "ab", "offset": 0}),
        )
    }),
    ("an absurd length", 24, "no-space", |client| {
        file(client, i64::MAX)
    }),
    ("a negative frame", 13, "frame-size", |client| {
        client.send(&(-1i32).to_le_bytes())
    }),
    ("a frame that is too long", 13, "frame-size", |client| {
        client.send(&0x4000_0000i32.to_le_bytes())
    }),
    ("rubbish", 13, "bad-header", |client| {
        client.send(&frame("[]"))
    }),
    ("a key twice", 13, "bad-header", |client| {
        client.send(&frame(r#"{"type":"file-info","type":"file-info"}"#))
    }),
    ("an unknown error code", 1, "unknown", |client| {
        client.send_json(&json!({"type": "error", "code": "new-in-2031", "message": "novelty"}))
    }),
    ("nothing", 10, "lost", |_| Ok(())),
];

/// Proves `server-picks-name`, `special-mode-bits`, `half-file`, `silent-corruption`,
/// `absurd-length` and `peer-limits` in docs/faults.md.
#[test]
fn hostile_reply_leaves_no_file() {
    for (what, status, code, reply) in REPLIES {
        let stage = stage();
        let server = trusted(&stage, 2, move |client| {
            let get: Header = client.welcome()?;
            assert_eq!(get.kind(), "get");
            reply(client)
        });
        fs::write(stage.path("user/kept"), b"old").unwrap();
        let before = Census::of(&stage.path("user"));
        for destination in [".", "kept"] {
            let command = [
                "--json",
                "cp",
                "--retry",
                "0",
                "127.0.0.1:wanted",
                destination,
            ];
            let outcome = stage.run(&command);
            assert_eq!(outcome.status, Some(*status), "{what}: {outcome:?}");
            outcome.fails(*status, code);
        }
        assert_eq!(Census::of(&stage.path("user")), before, "{what}");
        server.join();
    }
}

/// The server cannot choose the name, and the client ignores further files.
/// Proves `server-picks-name` in docs/faults.md.
#[test]
fn client_chooses_name_of_fetched_file() {
    let stage = stage();
    let server = trusted(&stage, 1, |client| {
        client.welcome()?;
        client.send_json(&json!({"type": "file-info", "length": 1, "mode": 0o777, "source": "ab", "offset": 0, "name": ".bashrc", "path": "../../x"}))?;
        data(client, 1, b"a")?;
        let digest = blake3_of_a();
        client.send_json(&json!({"type": "finish", "length": 1, "digest": digest}))?;
        // A second file that was not requested.
        client.send_json(
            &json!({"type": "file-info", "length": 1, "mode": 420, "source": "ab", "offset": 0, "path": ".profile"}),
        )?;
        data(client, 1, b"b")
    });
    stage.run(&["cp", "127.0.0.1:wanted", "."]).ok();
    assert_eq!(Census::of(&stage.path("user")).paths(), ["wanted"]);
    assert_eq!(stage.read("user/wanted"), b"a");
    server.join();
}

fn blake3_of_a() -> String {
    let mut hasher = landline::files::ContentHasher::default();
    hasher.update(b"a");
    hasher.finish().to_string()
}

/// Proves `silent-corruption` in docs/faults.md.
#[test]
fn unconfirmed_put_fails() {
    let stage = stage();
    let server = trusted(&stage, 1, |client| {
        client.welcome()?;
        client.send_json(&json!({"type": "ready", "path": "x", "offset": 0}))?;
        client.header()?; // data
        client.header()?; // finish
        client.send_json(&json!({"type": "done", "length": 3, "digest": blake3_of_a()}))
    });
    stage.write("user/file", b"abc");
    stage
        .run(&["--json", "cp", "file", "127.0.0.1:x"])
        .fails(25, "digest-mismatch");
    server.join();
}

/// Escapes that write the clipboard, clear the screen and reverse the text.
const EVIL: &str = "\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}2J\r\u{202e}evil\u{200b}\u{7f}";

#[track_caller]
fn assert_escaped(text: &str) {
    let harmless = |c: char| c == '\n' || !c.is_control() && !"\u{202e}\u{200b}".contains(c);
    assert!(text.chars().all(harmless), "{text:?}");
    assert!(text.contains("evil"), "{text:?}");
}

/// A server's error message cannot control the terminal.
/// Proves `terminal-escape` in docs/faults.md.
#[test]
fn text_from_a_server_is_escaped() {
    let stage = stage();
    let server = trusted(&stage, 1, |client| {
        client.welcome()?;
        client.send_json(&json!({"type": "error", "code": "io", "message": EVIL}))
    });
    let outcome = stage.run(&["cp", "127.0.0.1:x", "-"]);
    assert_eq!(outcome.status, Some(27));
    assert_escaped(&outcome.stderr);
    server.join();
}

/// The server's name and the key in `ping`, and the path in `cp`.
/// Proves `terminal-escape` in docs/faults.md.
#[test]
fn names_from_a_server_are_escaped() {
    let stage = stage();
    let server = trusted(&stage, 2, |client| {
        client.send_json(&json!({
            "type": "greeting", "versions": [1], "server": EVIL, "features": [],
            "methods": ["ssh-key"], "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        }))?;
        client.header()?; // login
        client.send_json(&json!({
            "type": "welcome", "user": "alice", "key": EVIL, "session": "0000000000000000",
        }))?;
        client.header()?; // open
        if client.header()?.kind() == "ping" {
            client.send_json(&json!({"type": "pong"}))?;
            client.header()?; // the second ping
            return client.send_json(&json!({"type": "pong"}));
        }
        client.send_json(&json!({"type": "ready", "path": EVIL, "offset": 0}))?;
        client.header()?; // data
        client.header()?; // finish
        client.send_json(&json!({"type": "done", "length": 1, "digest": blake3_of_a()}))
    });
    stage.write("user/file", b"a");
    for arguments in [&["ping", "127.0.0.1"][..], &["cp", "file", "127.0.0.1:x"]] {
        let outcome = stage.run(arguments);
        let shown = String::from_utf8_lossy(&outcome.stdout).into_owned() + &outcome.stderr;
        assert_eq!(outcome.status, Some(0), "{shown:?}");
        assert_escaped(&shown);
    }
    server.join();
}
