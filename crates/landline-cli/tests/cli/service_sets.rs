//! Keys and secrets that are limited to some services.

use serde_json::{Value, json};
use testkit::{RawClient, ServerProcess, Stage};

use crate::{login::client_key, stage};

/// Sets these options of alice's key on the server's machine.
pub(crate) fn set_options(stage: &Stage, options: &str) {
    let line = format!("{options} {}\n", client_key(stage).public().line());
    stage
        .run_with_input_at_server(&["user", "keys", "add", "alice", "-"], line.as_bytes())
        .ok();
}

/// Whether alice's client may ping, store a file, fetch a file, and list sessions.
fn allowed_services(stage: &Stage, server: &ServerProcess) -> [bool; 4] {
    stage.write("user/file", b"file");
    stage.write("home/kept", b"kept");
    let from = server.at("kept");
    let to = server.at("new");
    let commands: [&[&str]; 4] = [
        &["--json", "ping", "127.0.0.1"],
        &["--json", "cp", "file", &to],
        &["--json", "cp", &from, "fetched"],
        &["--json", "who", "127.0.0.1"],
    ];
    commands.map(|command| {
        let outcome = stage.run(command);
        match outcome.status {
            Some(0) => true,
            _ => {
                outcome.fails(23, "credential-limited");
                false
            }
        }
    })
}

/// Proves `key-options` in docs/faults.md.
#[test]
fn key_uses_only_named_services() {
    let stage = stage();
    let server = stage.joined();
    for (options, expected) in [
        ("no-pty,no-port-forwarding,no-user-rc", [true; 4]),
        ("restrict", [true, false, false, false]),
        (
            "landline-services=\"ping,files.get\"",
            [true, false, true, false],
        ),
        (
            "restrict,landline-services=\"files.put\"",
            [false, true, false, false],
        ),
        ("landline-services=\"files\"", [false, true, true, false]),
        (
            "landline-services=\"admin,ping\"",
            [true, false, false, true],
        ),
    ] {
        set_options(&stage, options);
        assert_eq!(allowed_services(&stage, &server), expected, "{options}");
    }
}

/// So a typing error does not make a key or secret that can do nothing.
#[test]
fn unknown_service_is_refused_with_known_names() {
    let stage = stage();
    let _server = stage.joined();
    let key = client_key(&stage).public().line();
    for name in ["chat", "files.gett", "file", "ping,of-a-later-release"] {
        let line = format!("landline-services=\"{name}\" {key}\n");
        let add = ["--json", "user", "keys", "add", "alice", "-"];
        let refused = stage.run_with_input_at_server(&add, line.as_bytes());
        assert!(refused.fails(14, "unknown-service").contains("files.get"));
        let add = ["--json", "secret", "add", "alice", "--services", name];
        let refused = stage.run_at_server(&add);
        assert!(refused.fails(14, "unknown-service").contains("files.get"));
    }
}

/// A request that the set does not allow is refused. The channel stays open.
#[test]
fn refused_request_leaves_the_channel_open() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"");
    set_options(&stage, "landline-services=\"files.get\"");
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.login("alice", &client_key(&stage), None).unwrap();
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    let put = json!({"type": "put", "path": "x", "length": 0, "mode": 420, "replace": true});
    client.send_json(&put).unwrap();
    assert_eq!(
        client.error_code().unwrap().as_deref(),
        Some("credential-limited")
    );
    client
        .send_json(&json!({"type": "get", "path": "kept"}))
        .unwrap();
    assert_eq!(client.header().unwrap().unwrap().kind(), "file-info");
    assert!(!stage.path("home/x").exists());
}

/// A sync that deletes does what `remove` does.
#[test]
fn key_that_may_only_put_deletes_nothing() {
    let stage = stage();
    let server = stage.joined();
    crate::trees::write(&stage.path("home/dst/extra"), b"kept");
    crate::trees::write(&stage.path("user/src/file"), b"new");
    let source = stage.path("user/src");
    let sync = |option: &str| {
        let target = server.at("dst");
        stage.run(&["sync", "--json", option, source.to_str().unwrap(), &target])
    };
    set_options(&stage, "landline-services=\"files.put\"");
    sync("--delete").fails(23, "credential-limited");
    sync("--checksum").ok();
    set_options(&stage, "landline-services=\"files.put,files.change\"");
    assert!(stage.path("home/dst/extra").exists());
    sync("--delete").ok();
    assert!(!stage.path("home/dst/extra").exists());
}

/// Proves `late-revocation` in docs/faults.md.
#[test]
fn narrower_set_ends_sessions_of_key() {
    let stage = stage();
    let server = stage.joined();
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.login("alice", &client_key(&stage), None).unwrap();
    client
        .send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    set_options(&stage, "landline-services=\"ping\"");
    let error: Value = client.header().unwrap().expect("a reason").read().unwrap();
    assert_eq!(error["code"], "ended", "{error}");
}

/// Proves `key-options` in docs/faults.md.
#[test]
fn secret_uses_only_its_services() {
    let stage = stage();
    let server = stage.joined();
    std::fs::remove_dir_all(stage.path("client/client")).unwrap();
    for (services, expected) in [
        (None, [true; 4]),
        (Some("files.get,ping"), [true, false, true, false]),
        (Some("admin,ping"), [true, false, false, true]),
    ] {
        let path = stage.path("user/ci.secret").display().to_string();
        let add = [
            "secret",
            "add",
            "alice",
            "--out",
            &path,
            "--public-name",
            &server.address,
        ];
        let named = services.map(|services| ["--services", services]);
        let add: Vec<&str> = add.into_iter().chain(named.into_iter().flatten()).collect();
        stage.run_at_server(&add).ok();
        stage.run(&["join", "--secret-file", "ci.secret"]).ok();
        assert_eq!(allowed_services(&stage, &server), expected, "{services:?}");
        let listed = stage.run_at_server(&["secret", "list"]).ok();
        if let Some(services) = services {
            assert!(listed.contains(services), "{listed}");
        }
        stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
        std::fs::remove_file(&path).unwrap();
    }
    stage
        .run_at_server(&["--json", "secret", "add", "alice", "--services", "files,"])
        .fails(2, "usage");
}
