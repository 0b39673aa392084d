//! Pins and state folders.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::stage;

/// Proves `first-contact` in docs/faults.md.
#[test]
fn unknown_server_is_refused() {
    let stage = stage();
    stage
        .run(&["--json", "ping", "127.0.0.1:1"])
        .fails(11, "unknown-server");
    stage.write("user/f", b"x");
    stage
        .run(&["--json", "cp", "f", "127.0.0.1:x"])
        .fails(11, "unknown-server");
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn reinstalled_server_is_refused() {
    let stage = stage();
    let mut server = stage.joined();
    let address = server.address.clone();
    server.kill();
    fs::remove_dir_all(stage.path("server/server")).unwrap();
    let server = stage.serve_at(&address, &[]);
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(11, "server-changed");
    // An invite of the new server does not replace the pin. The refused join does not use up the
    // invite.
    stage
        .run(&["--json", "join", &server.invite(), "--as", "alice"])
        .fails(11, "server-changed");
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(11, "server-changed");
    stage
        .run(&["join", &server.invite(), "--as", "alice", "--replace"])
        .ok();
    stage.run(&["ping", "127.0.0.1"]).ok();
}

#[test]
fn restarted_server_keeps_its_identity() {
    let stage = stage();
    let mut server = stage.joined();
    let (address, fingerprint) = (server.address.clone(), server.fingerprint.clone());
    server.kill();
    let server = stage.serve_at(&address, &[]);
    assert_eq!(server.fingerprint, fingerprint);
    assert_eq!(
        server.invite_file(),
        None,
        "a server with an account makes no owner invite"
    );
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn unreadable_pin_file_is_an_error() {
    let stage = stage();
    let _server = stage.joined();
    let pins = stage.path("client/client/servers.json");
    for content in [
        "",
        "rubbish",
        "{\"servers\":[{}]}",
        "{\"servers\":[],\"extra\":1}",
    ] {
        fs::write(&pins, content).unwrap();
        stage
            .run(&["--json", "ping", "127.0.0.1"])
            .fails(31, "state");
    }
    fs::remove_file(&pins).unwrap();
    fs::create_dir(&pins).unwrap();
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(31, "state");
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn state_readable_by_others_is_refused() {
    let stage = stage();
    drop(stage.joined());
    let set = |name: &str, mode| {
        fs::set_permissions(stage.path(name), fs::Permissions::from_mode(mode)).unwrap()
    };
    set("client", 0o755);
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(31, "state");
    set("client", 0o700);
    set("client/client/id_ed25519", 0o640);
    stage.run(&["--json", "ping", "127.0.0.1"]).fails(32, "key");
    set("client/client/id_ed25519", 0o600);

    let refused = || {
        let command = stage.serve_command("127.0.0.1:0");
        stage.run_command(command).fails(31, "state");
    };
    set("server", 0o711);
    refused();
    set("server", 0o700);
    set("server/server/identity.key", 0o644);
    refused();
    set("server/server/identity.key", 0o600);
    // With a new identity, no client would recognize the server, and the old key would be lost.
    let [certificate, key] =
        ["crt", "key"].map(|end| stage.path(&format!("server/server/identity.{end}")));
    let before = fs::read(&key).unwrap();
    fs::rename(&certificate, stage.path("away")).unwrap();
    refused();
    assert_eq!(fs::read(&key).unwrap(), before);
    fs::rename(stage.path("away"), &certificate).unwrap();
    fs::remove_file(key).unwrap();
    refused();
}
