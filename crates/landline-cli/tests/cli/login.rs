//! Logging in by key and by invite, and logins that are refused.

use std::process::Command;

use landline::keys::UserKey;
use serde_json::json;
use testkit::{RawClient, ServerProcess, Stage};

use crate::stage;

/// The key that the client generated when it joined.
pub(crate) fn client_key(stage: &Stage) -> UserKey {
    UserKey::load(&stage.path("client/client/id_ed25519"), |_| {
        panic!("the key is not encrypted")
    })
    .unwrap()
}

/// Generates a key with OpenSSH.
fn ssh_keygen(stage: &Stage, name: &str, passphrase: &str) -> Option<String> {
    let path = stage.path(name).display().to_string();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", passphrase, "-f", &path])
        .status();
    match made {
        Ok(status) if status.success() => Some(path),
        _ => {
            eprintln!("SKIPPED: ssh-keygen is needed (openssh-client)");
            None
        }
    }
}

#[test]
fn openssh_key_logs_in() {
    let stage = stage();
    let server = stage.serve(&[]);
    let Some(key) = ssh_keygen(&stage, "key", "") else {
        return;
    };
    stage
        .run(&["join", &server.invite(), "--as", "bob", "-i", &key])
        .ok();
    let listed = Command::new("ssh-keygen")
        .args(["-l", "-f", &key])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let fingerprint = listed.split(' ').nth(1).unwrap();
    let pong = stage.run(&["--json", "ping", "127.0.0.1"]).json();
    assert_eq!(pong["user"], "bob");
    assert_eq!(pong["key"], fingerprint);
}

#[test]
fn encrypted_key_without_terminal_is_refused() {
    let stage = stage();
    let server = stage.serve(&[]);
    let Some(key) = ssh_keygen(&stage, "key", "a secret phrase") else {
        return;
    };
    stage
        .run(&[
            "--json",
            "join",
            &server.invite(),
            "--as",
            "bob",
            "-i",
            &key,
        ])
        .fails(32, "key");
}

#[test]
fn unusable_keys_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    stage
        .run(&["--json", "join", &invite, "-i", "absent"])
        .fails(32, "key");
    let path = stage.write("user/rubbish", b"rubbish");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    stage
        .run(&["--json", "join", &invite, "-i", "rubbish"])
        .fails(32, "key");
    let Some(key) = ssh_keygen(&stage, "key", "") else {
        return;
    };
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    stage
        .run(&["--json", "join", &invite, "-i", &key])
        .fails(32, "key");
    // None of these attempts used up the invite.
    stage.run(&["join", &invite]).ok();
}

/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn invite_works_once() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    stage.run(&["join", &invite, "--as", "alice"]).ok();
    stage
        .run(&["--json", "join", &invite, "--as", "bob"])
        .fails(12, "invite-used");
    assert_eq!(server.event("refused")["code"], "invite-used");
    let mut wrong = invite.clone();
    wrong.pop();
    wrong.push(if invite.ends_with('0') { '1' } else { '0' });
    stage
        .run(&["--json", "join", &wrong])
        .fails(12, "invite-unknown");
    stage
        .run(&["--json", "join", &invite[..invite.len() - 1]])
        .fails(2, "invite");
    stage.run(&["--json", "join", "hello"]).fails(2, "invite");
    stage.run(&["join", &invite, "--as", "-x"]);
}

/// 20 clients try to redeem the invite at once. One of them succeeds.
/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn concurrent_clients_redeem_invite_once() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    let token = invite.rsplit('.').next().unwrap();
    let keys = landline::paths::PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..20)
            .map(|n| {
                let (key, _) = UserKey::load_or_create(&keys, &format!("key{n}")).unwrap();
                let server = &server;
                scope.spawn(move || {
                    let mut client =
                        RawClient::connect(&server.address, &server.fingerprint).unwrap();
                    client
                        .login(&format!("user{n}"), &key, Some(token))
                        .unwrap()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert_eq!(
        answers.iter().filter(|answer| *answer == "welcome").count(),
        1,
        "{answers:?}"
    );
}

/// Proves `user-enumeration` in docs/faults.md.
#[test]
fn known_and_unknown_users_get_same_refusal() {
    let stage = stage();
    let server = stage.joined();
    let keys = landline::paths::PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let (stranger, _) = UserKey::load_or_create(&keys, "key").unwrap();
    let mut answers = Vec::new();
    for user in ["alice", "ghost"] {
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        client.greet().unwrap();
        let login = client.login_header(user, &stranger, None);
        client.send_json(&login).unwrap();
        let error: serde_json::Value = client.header().unwrap().unwrap().read().unwrap();
        answers.push(error.to_string());
    }
    assert!(answers[0].contains("login-refused"));
    assert_eq!(
        answers[0], answers[1],
        "the refusal reveals whether the user exists"
    );
}

/// A login is valid unaltered, on its own connection, and once.
/// Proves `wrong-key` and `replay` in docs/faults.md.
#[test]
fn altered_or_replayed_login_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let key = client_key(&stage);
    let keys = landline::paths::PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let (stranger, _) = UserKey::load_or_create(&keys, "key").unwrap();
    let connect = || {
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        client.greet().unwrap();
        client
    };
    let recorded = connect().login_header("alice", &key, None);
    type Spoil<'a> = &'a dyn Fn(&RawClient) -> serde_json::Value;
    let spoil: [(&str, Spoil<'_>); 5] = [
        ("replayed on a new connection", &|_| recorded.clone()),
        ("another user", &|client| {
            let mut login = client.login_header("alice", &key, None);
            login["user"] = "bob".into();
            login
        }),
        ("another nonce", &|client| {
            let mut login = client.login_header("alice", &key, None);
            login["nonce"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
            login
        }),
        ("offered one key and signed with another", &|client| {
            let mut login = client.login_header("alice", &stranger, None);
            login["key"] = key.public().line().into();
            login
        }),
        ("signed with one key and offered another", &|client| {
            let mut login = client.login_header("alice", &key, None);
            login["key"] = stranger.public().line().into();
            login
        }),
    ];
    for (what, login) in spoil {
        let mut client = connect();
        let login = login(&client);
        client.send_json(&login).unwrap();
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some("login-refused"),
            "{what}"
        );
    }
    let mut client = connect();
    let login = client.login_header("alice", &key, None);
    client.send_json(&login).unwrap();
    assert_eq!(
        client.header().unwrap().unwrap().kind(),
        "welcome",
        "the unaltered login is accepted"
    );
}

#[test]
fn invite_without_signature_stays_valid() {
    let stage = stage();
    let server: ServerProcess = stage.serve(&[]);
    let invite = server.invite();
    let token = invite.rsplit('.').next().unwrap();
    let keys = landline::paths::PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let (key, _) = UserKey::load_or_create(&keys, "key").unwrap();
    let (other, _) = UserKey::load_or_create(&keys, "other").unwrap();
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    let mut login = client.login_header("alice", &key, Some(token));
    login["key"] = json!(other.public().line());
    client.send_json(&login).unwrap();
    assert_eq!(
        client.error_code().unwrap().as_deref(),
        Some("login-refused")
    );
    stage.run(&["join", &invite]).ok();
}
