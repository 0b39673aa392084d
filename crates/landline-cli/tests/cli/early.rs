//! Content that comes with `put`, before the server has answered.

use std::{fs, sync::mpsc};

use landline::{
    files::{Algorithm, ContentHasher},
    proto::BodySize,
};
use serde_json::{Value, json};
use testkit::{Census, RawClient, ServerProcess, Stage, frame, wait_for};

use crate::{hostile_server::trusted, login::client_key, noise, service_sets::set_options, stage};

/// How much content can come early.
const EARLY_BYTES_MAX: usize = 65_536;

fn logged_in(stage: &Stage, server: &ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    let login = client.login("alice", &client_key(stage), None);
    assert_eq!(login.unwrap(), "welcome");
    let open = json!({"type": "open", "service": "files"});
    client.send_json(&open).unwrap();
    client
}

fn digest(content: &[u8]) -> String {
    digest_by(Algorithm::Blake3, content)
}

fn digest_by(algorithm: Algorithm, content: &[u8]) -> String {
    let mut hasher = ContentHasher::new(algorithm);
    hasher.update(content);
    hasher.finish().to_string()
}

/// Sends a `put` with these keys in place of others, and a body of one frame.
fn send_put(client: &mut RawClient, keys: &Value, content: &[u8]) {
    let mut put = json!({"type": "put", "path": "x", "mode": 420, "replace": true});
    put["size"] = json!(content.len());
    for (key, value) in keys.as_object().unwrap() {
        put[key] = value.clone();
    }
    client.send_json(&put).unwrap();
    if !content.is_empty() {
        client.send(&frame(content)).unwrap();
    }
}

/// The next message, which has to be of this type.
fn next(client: &mut RawClient, kind: &str) -> Value {
    let message: Value = client.header().unwrap().unwrap().read().unwrap();
    assert_eq!(message["type"], kind, "{message}");
    message
}

#[test]
fn early_content_that_does_not_fit_ends_the_channel() {
    let stage = stage();
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let sha256 = format!("sha256:{}", "0".repeat(64));
    let long = vec![0; EARLY_BYTES_MAX + 1];
    let cases: [(&str, Value, &[u8], &str); 8] = [
        ("no length", json!({}), b"x", "bad-header"),
        ("no digest", json!({"length": 1}), b"x", "bad-header"),
        (
            "no digest of nothing",
            json!({"length": 0}),
            b"",
            "bad-header",
        ),
        (
            "a digest of a part",
            json!({"length": 2, "digest": digest(b"x")}),
            b"x",
            "bad-header",
        ),
        (
            "another algorithm",
            json!({"length": 1, "digest": sha256}),
            b"x",
            "bad-header",
        ),
        (
            "more than the file",
            json!({"length": 1}),
            b"xx",
            "body-size",
        ),
        (
            "more than allowed",
            json!({"length": 1 << 20}),
            &long,
            "body-size",
        ),
        (
            "no size",
            json!({"length": 1, "size": null}),
            b"x",
            "unexpected-message",
        ),
    ];
    for (what, keys, content, code) in cases {
        let mut client = logged_in(&stage, &server);
        send_put(&mut client, &keys, content);
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some(code),
            "{what}"
        );
        assert!(client.header().unwrap().is_none(), "{what}");
    }
    let mut client = logged_in(&stage, &server);
    send_put(&mut client, &json!({"length": 9, "size": 5}), b"xx");
    client.send(&frame(b"")).unwrap();
    assert_eq!(client.error_code().unwrap().as_deref(), Some("body-size"));
    assert_eq!(Census::of(&stage.home()), before);
}

/// A refusal costs what was sent early, and nothing else.
#[test]
fn refused_early_content_leaves_the_channel_open() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"kept");
    fs::create_dir(stage.path("home/archive")).unwrap();
    stage.write_rights(
        "[users.alice]\nfiles = [\"rw:~\", \"r:~/archive\"]\n[users.alice.quota]\nbytes = \"100 KiB\"\n",
    );
    server.rights_loaded(&stage);
    let before = Census::of(&stage.home());
    let mut client = logged_in(&stage, &server);
    let part = vec![7; EARLY_BYTES_MAX];
    for (keys, code) in [
        (json!({"path": "../x"}), "name-refused"),
        (json!({"path": "archive/x"}), "denied"),
        (json!({"path": "kept", "replace": false}), "exists"),
        (json!({"path": "none/x"}), "not-found"),
        (json!({"length": 1 << 20}), "no-space"),
    ] {
        let mut keys = keys.clone();
        if keys.get("length").is_none() {
            keys["length"] = json!(EARLY_BYTES_MAX + 1);
        }
        send_put(&mut client, &keys, &part);
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some(code),
            "{keys}"
        );
    }
    assert_eq!(Census::of(&stage.home()), before);
    send_put(
        &mut client,
        &json!({"length": 1, "digest": digest(b"x")}),
        b"x",
    );
    next(&mut client, "ready");
    next(&mut client, "done");
    assert_eq!(stage.read("home/x"), b"x");
}

/// The same where not even the request is allowed.
#[test]
fn denied_early_content_leaves_the_channel_open() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"kept");
    set_options(&stage, "landline-services=\"files.get\"");
    let mut client = logged_in(&stage, &server);
    send_put(
        &mut client,
        &json!({"length": 1, "digest": digest(b"x")}),
        b"x",
    );
    let refused = client.error_code().unwrap();
    assert_eq!(refused.as_deref(), Some("credential-limited"));
    let get = json!({"type": "get", "path": "kept"});
    client.send_json(&get).unwrap();
    next(&mut client, "file-info");
    assert!(!stage.path("home/x").exists());
}

#[test]
fn content_continues_behind_its_early_part() {
    let stage = stage();
    let server = stage.joined();
    let content = noise(EARLY_BYTES_MAX + 10, 3);
    let (early, rest) = content.split_at(EARLY_BYTES_MAX);
    for (offset, size, code) in [
        (EARLY_BYTES_MAX, 10, None),
        (0, content.len(), Some("bad-header")),
        (EARLY_BYTES_MAX, 11, Some("body-size")),
    ] {
        let mut client = logged_in(&stage, &server);
        send_put(&mut client, &json!({"length": content.len()}), early);
        assert_eq!(next(&mut client, "ready")["offset"], EARLY_BYTES_MAX);
        let data = json!({"type": "data", "offset": offset, "size": size});
        client.send_json(&data).unwrap();
        if code.is_some() {
            assert_eq!(client.error_code().unwrap().as_deref(), code);
            continue;
        }
        client.send(&frame(rest)).unwrap();
        let finish = json!({
            "type": "finish", "length": content.len(), "digest": digest(&content),
        });
        client.send_json(&finish).unwrap();
        assert_eq!(next(&mut client, "done")["digest"], digest(&content));
        assert!(stage.read("home/x") == content);
    }
}

#[test]
fn whole_early_content_is_stored_only_with_its_digest() {
    let stage = stage();
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let mut client = logged_in(&stage, &server);
    send_put(
        &mut client,
        &json!({"length": 1, "digest": digest(b"y")}),
        b"x",
    );
    next(&mut client, "ready");
    let code = client.error_code().unwrap();
    assert_eq!(code.as_deref(), Some("digest-mismatch"));
    wait_for("no staging files", || Census::of(&stage.home()) == before);
    let mut client = logged_in(&stage, &server);
    for content in [&b""[..], b"x"] {
        let keys = json!({"length": content.len(), "digest": digest(content)});
        send_put(&mut client, &keys, content);
        assert_eq!(next(&mut client, "ready")["offset"], content.len());
        next(&mut client, "done");
        assert_eq!(stage.read("home/x"), content);
    }
}

/// What an earlier attempt left is more than what comes early, which is dropped.
#[test]
fn resumed_copy_drops_early_content() {
    const LENGTH: usize = 20 << 20;
    let stage = stage();
    let server = stage.joined();
    let content = noise(LENGTH, 4);
    let (early, rest) = content.split_at(EARLY_BYTES_MAX);
    let keys = json!({"length": LENGTH, "source": "ab", "algorithm": "sha256"});
    let mut client = logged_in(&stage, &server);
    send_put(&mut client, &keys, early);
    assert_eq!(next(&mut client, "ready")["offset"], EARLY_BYTES_MAX);
    let data = json!({"type": "data", "offset": EARLY_BYTES_MAX, "size": rest.len()});
    client.send_json(&data).unwrap();
    for part in rest[..16 << 20].chunks(200_000) {
        client.send(&frame(part)).unwrap();
    }
    drop(client);
    server.event("logout");
    let mut client = logged_in(&stage, &server);
    send_put(&mut client, &keys, early);
    let offset = next(&mut client, "ready")["offset"].as_u64().unwrap() as usize;
    assert!(offset >= 8 << 20, "{offset}");
    let data = json!({"type": "data", "offset": offset, "size": LENGTH - offset});
    client.send_json(&data).unwrap();
    for part in content[offset..].chunks(200_000) {
        client.send(&frame(part)).unwrap();
    }
    let sha256 = digest_by(Algorithm::Sha256, &content);
    let finish = json!({"type": "finish", "length": LENGTH, "digest": sha256});
    client.send_json(&finish).unwrap();
    next(&mut client, "done");
    assert!(stage.read("home/x") == content);
}

/// A client that sends only a part of its request does not hold the session.
#[test]
fn session_ends_while_early_content_is_due() {
    let stage = stage();
    let server = stage.joined();
    let mut client = logged_in(&stage, &server);
    send_put(&mut client, &json!({"length": 9, "size": 5}), b"xx");
    next(&mut client, "ready");
    set_options(&stage, "landline-services=\"ping\"");
    assert_eq!(next(&mut client, "error")["code"], "ended");
}

#[test]
fn server_without_the_feature_gets_the_request_alone() {
    let stage = stage();
    stage.write("user/file", b"file");
    let server = trusted(&stage, 1, |client| {
        let put = client.welcome()?;
        assert_eq!((put.kind(), put.body()), ("put", None));
        let put: Value = put.read().unwrap();
        assert!(put.get("digest").is_none(), "{put}");
        client.send_json(&json!({"type": "ready", "path": "/x", "offset": 0}))?;
        assert_eq!(client.header()?.kind(), "data");
        let finish: Value = client.header()?.read().unwrap();
        let done = json!({"type": "done", "length": finish["length"], "digest": finish["digest"]});
        client.send_json(&done)
    });
    stage.run(&["cp", "file", "127.0.0.1:x"]).ok();
    server.join();
}

/// How `put` comes to a server that takes content early, with these options of `cp`.
fn body_of_put(options: &[&str]) -> Option<BodySize> {
    let stage = stage();
    stage.write("user/file", b"file");
    let (put, received) = mpsc::channel();
    let server = trusted(&stage, 1, move |client| {
        let nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        client.send_json(&json!({
            "type": "greeting", "versions": [1], "server": "early", "features": ["files.early"],
            "methods": ["ssh-key"], "nonce": nonce,
        }))?;
        let login: Value = client.header()?.read().unwrap();
        client.send_json(&json!({
            "type": "welcome", "user": login["user"], "key": "SHA256:x", "session": "0000000000000000",
        }))?;
        assert_eq!(client.header()?.kind(), "open");
        let header = client.header()?;
        assert_eq!(header.kind(), "put");
        put.send(header.body()).unwrap();
        client.send_json(&json!({"type": "error", "code": "denied", "message": "x"}))
    });
    let arguments = [&["cp", "--json"], options, &["file", "127.0.0.1:x"]].concat();
    stage.run(&arguments).fails(23, "denied");
    server.join();
    received.recv().unwrap()
}

/// A rate that is limited, and a file that is compared, are not sent early.
#[test]
fn limited_or_compared_content_is_not_sent_early() {
    assert_eq!(body_of_put(&[]), Some(BodySize::Known(4)));
    assert_eq!(body_of_put(&["--limit-rate", "1M"]), None);
    assert_eq!(body_of_put(&["--delta", "on"]), None);
}
