//! False lengths, JSON bombs and slow clients.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use landline::{crypto::Fingerprint, login::Identity, net::tls, paths::PrivateFolder};
use serde_json::json;
use testkit::{RawClient, ServerProcess, dial_from, frame, wait_for};

use crate::stage;

pub(crate) fn connect(server: &ServerProcess) -> RawClient {
    RawClient::connect(&server.address, &server.fingerprint).expect("the server still serves")
}

/// Input before the login, and the error code that it gets.
/// Proves `length-prefix` and `json-bomb` in docs/faults.md.
#[test]
fn malformed_input_before_login_is_rejected() {
    let stage = stage();
    let server = stage.serve(&[]);
    let deep = format!(
        "{{\"type\":\"login\",\"a\":{}{}}}",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("negative", (-1i32).to_le_bytes().to_vec(), "frame-size"),
        (
            "the most negative",
            i32::MIN.to_le_bytes().to_vec(),
            "frame-size",
        ),
        ("the largest", i32::MAX.to_le_bytes().to_vec(), "frame-size"),
        (
            "one above the limit",
            4097i32.to_le_bytes().to_vec(),
            "frame-size",
        ),
        ("empty", frame(""), "bad-header"),
        ("no JSON", frame("hello"), "bad-header"),
        ("no object", frame("[1]"), "bad-header"),
        ("no type", frame("{}"), "bad-header"),
        ("too deep", frame(deep), "bad-header"),
        (
            "a key twice",
            frame(r#"{"type":"login","user":"a","user":"b"}"#),
            "bad-header",
        ),
        (
            "a huge number",
            frame(format!(
                "{{\"type\":\"login\",\"version\":1{}}}",
                "0".repeat(400)
            )),
            "bad-header",
        ),
        (
            "a lone surrogate",
            frame(r#"{"type":"login","user":"\ud800"}"#),
            "bad-header",
        ),
        (
            "something behind",
            frame(r#"{"type":"login"} {}"#),
            "bad-header",
        ),
        ("not UTF-8", frame(b"{\"type\":\"\xff\"}"), "bad-header"),
        ("keys missing", frame(r#"{"type":"login"}"#), "bad-header"),
        (
            "a body",
            frame(r#"{"type":"login","size":5}"#),
            "unexpected-message",
        ),
        (
            "a body of unknown size",
            frame(r#"{"type":"login","size":null}"#),
            "unexpected-message",
        ),
        (
            "a request",
            frame(r#"{"type":"put","path":"x","length":0,"mode":0,"replace":true}"#),
            "unexpected-message",
        ),
        (
            "an unknown type",
            frame(r#"{"type":"\u0000evil"}"#),
            "unexpected-message",
        ),
    ];
    let mut refused: HashMap<&str, u32> = HashMap::new();
    for (what, bytes, expected) in cases {
        let mut client = connect(&server);
        client.send(bytes).unwrap();
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some(*expected),
            "{what}"
        );
        // Of each code, the log has some lines per minute and counts the others.
        let count = refused.entry(*expected).or_default();
        *count += 1;
        if *count <= 5 {
            assert_eq!(server.event("refused")["code"], *expected, "{what}");
        }
    }
}

/// Proves `release-mix` in docs/faults.md.
#[test]
fn unknown_version_and_method_have_own_codes() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    for (field, value, expected) in [
        ("version", json!(2), "version"),
        ("version", json!(-1), "bad-header"),
        ("method", json!("x509"), "method"),
        ("method", json!("password"), "bad-header"),
        ("method", json!("invite"), "bad-header"),
        ("user", json!("-oProxyCommand=x"), "bad-header"),
        ("user", json!("a".repeat(65)), "bad-header"),
        ("nonce", json!("AAAA"), "bad-header"),
        ("key", json!("ssh-rsa AAAA"), "login-refused"),
        ("signature", json!("AAAA"), "login-refused"),
        ("signature", json!("not base64"), "bad-header"),
    ] {
        let mut client = connect(&server);
        client.greet().unwrap();
        let mut login = client.login_header("alice", &key, None);
        login[field] = value.clone();
        client.send_json(&login).unwrap();
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some(expected),
            "{field}: {value}"
        );
    }
}

/// Input after the login, and the error code that it gets.
/// Proves `special-mode-bits`, `absurd-length`, `length-prefix`, `json-bomb` and `peer-limits` in
/// docs/faults.md.
#[test]
fn limits_after_login_are_enforced() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let put = frame(r#"{"type":"put","path":"x","length":10,"mode":420,"replace":true}"#);
    let data = frame(r#"{"type":"data","offset":0,"size":10}"#);
    let cases: &[(&str, Vec<u8>, &str)] = &[
        (
            "a header above 64 KiB",
            65_537i32.to_le_bytes().to_vec(),
            "frame-size",
        ),
        (
            "a data frame above 256 KiB",
            [&put[..], &data, &262_145i32.to_le_bytes()].concat(),
            "frame-size",
        ),
        (
            "a negative data frame",
            [&put[..], &data, &(-5i32).to_le_bytes()].concat(),
            "frame-size",
        ),
        (
            "a body that is longer",
            [&put[..], &data, &frame([0; 11])].concat(),
            "body-size",
        ),
        (
            "a body of another size",
            [&put[..], &frame(r#"{"type":"data","offset":0,"size":11}"#)].concat(),
            "body-size",
        ),
        (
            "no body",
            [&put[..], &frame(r#"{"type":"data","offset":0}"#)].concat(),
            "unexpected-message",
        ),
        (
            "a length below zero",
            frame(r#"{"type":"put","path":"x","length":-1,"mode":0,"replace":true}"#),
            "bad-header",
        ),
        (
            "a length of 2^63",
            frame(
                r#"{"type":"put","path":"x","length":9223372036854775808,"mode":0,"replace":true}"#,
            ),
            "bad-header",
        ),
        (
            "a length that no disk has",
            frame(
                r#"{"type":"put","path":"x","length":9223372036854775807,"mode":0,"replace":true}"#,
            ),
            "no-space",
        ),
        (
            "no mode",
            frame(r#"{"type":"put","path":"x","length":0,"replace":true}"#),
            "bad-header",
        ),
        (
            "setuid",
            frame(r#"{"type":"put","path":"x","length":0,"mode":2541,"replace":true}"#),
            "bad-header",
        ),
        (
            "a request with a body",
            frame(r#"{"type":"get","path":"x","size":3}"#),
            "unexpected-message",
        ),
    ];
    for (what, bytes, expected) in cases {
        let mut client = connect(&server);
        assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
        client
            .send_json(&json!({"type": "open", "service": "files"}))
            .unwrap();
        client.send(bytes).unwrap();
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some(*expected),
            "{what}"
        );
    }
    wait_for("the home to be empty", || {
        std::fs::read_dir(stage.home()).unwrap().count() == 0
    });
}

/// A newcomer that announces the longest frame that is allowed before the login.
pub(crate) fn announce_frame(server: &ServerProcess, number: usize) -> RawClient {
    // Each source may have only a few half-open connections, so every client has its own.
    let source = Ipv4Addr::new(127, 1, 0, 1 + u8::try_from(number / 16).unwrap());
    let mut client = RawClient::connect_from(source, &server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    client.send(&4096i32.to_le_bytes()).unwrap();
    client
}

/// An announced length reserves no memory. Only received bytes do.
/// Proves `length-prefix` in docs/faults.md.
#[test]
fn announced_length_costs_no_memory() {
    const CONNECTIONS: u64 = 200;
    let stage = stage();
    let server = stage.joined();
    drop(connect(&server));
    server.event("refused");
    let (before, descriptors) = server.usage();
    let clients: Vec<RawClient> = (0..CONNECTIONS)
        .map(|number| announce_frame(&server, number as usize))
        .collect();
    let (during, _) = server.usage();
    let each = during.saturating_sub(before) / CONNECTIONS;
    eprintln!("{each} KiB for each connection before login");
    assert!(each <= 64, "{each} KiB for each connection before login");
    drop(clients);
    wait_for("the descriptors of all connections to close", || {
        server.usage().1 <= descriptors
    });
}

/// 200 connections before login against a server with 128 descriptors.
/// Proves `descriptor-exhaustion` in docs/faults.md.
#[test]
fn server_with_few_descriptors_stays_reachable() {
    let stage = stage();
    let server = stage.serve_command("127.0.0.1:0");
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""])
        .arg(server.get_program())
        .args(server.get_args());
    let environment = server.get_envs();
    command
        .env_clear()
        .envs(environment.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = stage.serve_with(command);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    let _held: Vec<TcpStream> = (0..200u8)
        .map(|number| dial_from(Ipv4Addr::new(127, 6, 0, 1 + number / 10), &server.address))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(server.event("refused")["code"], "evicted");
    for _ in 0..3 {
        stage.run(&["ping", "127.0.0.1"]).ok();
        let (_, descriptors) = server.usage();
        assert!(descriptors <= 96, "{descriptors} of 128 are in use");
    }
}

/// rustls compresses certificates if one of its features is enabled.
/// Proves `decompression` in docs/faults.md.
#[test]
fn certificates_are_never_compressed() {
    let stage = stage();
    let folder = PrivateFolder::open_or_create(&stage.path("identity")).unwrap();
    let identity = Identity::load_or_create(&folder, false).unwrap();
    let server = identity.tls();
    let client = tls::client_config(identity.fingerprint()).unwrap();
    assert!(server.cert_compressors.is_empty() && server.cert_decompressors.is_empty());
    assert!(client.cert_compressors.is_empty() && client.cert_decompressors.is_empty());
}

/// A handshake in records of 32 bytes succeeds. An early alert ends only its own connection.
/// Proves `tls-input` in docs/faults.md.
#[test]
fn small_tls_records_and_early_alerts_are_harmless() {
    // A fatal alert: handshake failure.
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
    // A record with the first 6 bytes of a ClientHello that announces 512.
    const HALF_HELLO: [u8; 11] = [22, 3, 1, 0, 6, 1, 0, 1, 0xfc, 3, 3];
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let fingerprint: Fingerprint = server.fingerprint.parse().unwrap();
    let mut config = (*tls::client_config(fingerprint).unwrap()).clone();
    config.max_fragment_size = Some(32);
    let mut client =
        RawClient::connect_with(&server.address, fingerprint, Arc::new(config)).unwrap();
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
    for bytes in [&ALERT[..], &[&HALF_HELLO[..], &ALERT].concat()] {
        let mut tcp = TcpStream::connect(&server.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.write_all(bytes).unwrap();
        assert_eq!(server.event("refused")["code"], "tls");
        while !is_closed(&mut tcp) {}
    }
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// After the login a client must open a channel within a deadline, even if it trickles bytes. Then
/// it may be idle.
/// Proves `slow-login` in docs/faults.md.
#[test]
fn login_without_channel_is_closed() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let logged_in = || {
        let mut client = connect(&server);
        assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
        client
    };
    let mut idle = logged_in();
    idle.send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    let (mut silent, mut slow) = (logged_in(), logged_in());
    let part = frame(r#"{"type":"open","service":"ping"}"#);
    slow.send(&part[..part.len() - 1]).unwrap();
    for client in [&mut silent, &mut slow] {
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some("open-timeout")
        );
        assert!(client.header().unwrap().is_none(), "and nothing more");
        assert_eq!(server.event("failed")["code"], "open-timeout");
    }
    idle.send_json(&json!({"type": "ping"})).unwrap();
    assert_eq!(idle.header().unwrap().expect("an answer").kind(), "pong");
}

/// One deadline covers TLS and login, whatever trickles in.
/// Proves `slow-login` in docs/faults.md.
#[test]
fn slow_login_is_closed_at_deadline() {
    let stage = stage();
    let server = stage.serve(&[]);
    let hello = {
        // A real ClientHello, cut short.
        let mut bytes = vec![22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        bytes.resize(200, 0);
        bytes
    };
    std::thread::scope(|scope| {
        let server = &server;
        // A client that sends nothing.
        scope.spawn(move || {
            let mut tcp = TcpStream::connect(&server.address).unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            assert_eq!(tcp.read(&mut [0; 100]).unwrap_or(0), 0, "silent");
        });
        // A client that sends a byte of the ClientHello twice a second.
        scope.spawn(move || {
            let mut tcp = TcpStream::connect(&server.address).unwrap();
            tcp.set_read_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            let closed = hello
                .iter()
                .take(100)
                .any(|byte| tcp.write_all(&[*byte]).is_err() || is_closed(&mut tcp));
            assert!(closed, "a trickling ClientHello");
        });
        // Clients that complete TLS, and then send nothing or a login byte by byte.
        scope.spawn(move || {
            assert!(
                connect(server).error_code().unwrap().is_some(),
                "silent after TLS"
            )
        });
        scope.spawn(move || {
            let mut client = connect(server);
            let bytes = frame(format!(
                "{{\"type\":\"login\",\"padding\":\"{}\"}}",
                "x".repeat(1000)
            ));
            let closed = bytes.iter().take(100).any(|byte| {
                std::thread::sleep(Duration::from_millis(500));
                client.send(&[*byte]).is_err()
            });
            assert!(closed, "a trickling login");
        });
    });
    for _ in 0..4 {
        let code = server.event("refused")["code"].as_str().unwrap().to_owned();
        assert!(["login-timeout", "lost"].contains(&code.as_str()), "{code}");
    }
    stage
        .run_with_input(&["join", "-"], server.invite().as_bytes())
        .ok();
}

/// Whether the peer closes the connection within the read timeout.
fn is_closed(tcp: &mut TcpStream) -> bool {
    match tcp.read(&mut [0; 100]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}
