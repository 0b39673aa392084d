//! Sends every message in every state. The server accepts the messages of its table only.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use landline::{
    Server, ServerOptions, audit::AuditOptions, keys::UserKey, proto::messages::KeyTag,
    session::MessageRight,
};
use serde_json::{Value, json};
use testkit::{Census, RawClient, ServerProcess, Stage, frame, wait_for};

use crate::{noise, stage};

/// The types of all messages, also of those that only a server sends, with all keys that they need.
fn types() -> BTreeSet<&'static str> {
    let accepted = TABLE.iter().map(|row| row.kind);
    let answers = [
        "greeting",
        "choice",
        "evaluation",
        "welcome",
        "pong",
        "ready",
        "file-info",
        "records",
        "sessions",
        "changed",
        "users",
        "invite",
        "invites",
        "registration",
        "secrets",
        "verdict",
        "audit-lines",
        "audit-report",
        "connected",
        "listening",
        "closed",
        "incoming",
        "screen",
        "keyboard",
    ];
    accepted
        .chain(answers)
        .chain(["", "Put", "exec", "stream", "attach", "login "])
        .collect()
}

pub(crate) fn message(kind: &str) -> Value {
    let digest = format!("blake3:{}", "0".repeat(64));
    // A folder that could be made would change the home.
    let path = if kind == "make-folder" { "kept" } else { "x" };
    json!({
        "type": kind, "service": "ping", "path": path, "to": "y", "length": 0, "mode": 420, "replace": true, "digest": digest,
        "code": "io", "message": "x", "request": "AAAA", "record": "AAAA", "user": "alice", "key": "SHA256:x", "session": "0", "versions": [1],
        "keys": [], "right": "role", "arguments": ["user"],
        "give": true, "stream": 0, "listener": 0, "host": "127.0.0.1", "port": 1, "address": "127.0.0.1", "peer": "127.0.0.1:1",
        "offset": 0, "source": "ab", "server": "x", "features": [], "methods": [], "times": true, "paths": ["x"], "folders": true, "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    })
}

/// Connects and brings the server into this state.
pub(crate) fn into(state: &str, server: &ServerProcess, key: &UserKey) -> RawClient {
    let mut client =
        RawClient::connect(&server.address, &server.fingerprint).expect("the server still serves");
    client.greet().unwrap();
    let keys = json!({"type": "keys", "version": 1, "user": "alice", "keys": [KeyTag([7; 32])]});
    match state {
        "server-login" => return client,
        "server-chosen" => {
            client.send_json(&keys).unwrap();
            return client;
        }
        "server-password" => {
            // The server evaluates passwords for unknown users too. Each name has a limited number
            // of guesses.
            static NAMES: AtomicU32 = AtomicU32::new(0);
            let name = format!("user{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let (begin, _) = client.begin_password(&name, "correct horse battery");
            client.send_json(&begin).unwrap();
            assert_eq!(client.header().unwrap().unwrap().kind(), "evaluation");
            return client;
        }
        "server-signing" => {
            client.send_json(&json!({"type": "signing"})).unwrap();
            return client;
        }
        _ => {}
    }
    let login = client.login_header("alice", key, None);
    client.send_json(&login).unwrap();
    let before: &[Value] = match state {
        "server-channel" => &[],
        "ping-requests" => &[json!({"type": "open", "service": "ping"})],
        "admin-requests" => &[json!({"type": "open", "service": "admin"})],
        "files-requests" => &[json!({"type": "open", "service": "files"})],
        "files-receiver-data" => &[json!({"type": "open", "service": "files"}), message("put")],
        "files-receiver-finish" => &[
            json!({"type": "open", "service": "files"}),
            message("put"),
            json!({"type": "data", "offset": 0, "size": 0}),
        ],
        "files-tree" => &[
            json!({"type": "open", "service": "files"}),
            json!({"type": "get-tree", "paths": ["kept"], "folders": true}),
        ],
        "files-sender" => &[
            json!({"type": "open", "service": "files"}),
            json!({"type": "get", "path": "kept"}),
        ],
        "files-delta" => &[
            json!({"type": "open", "service": "files"}),
            json!({"type": "get", "path": "endless", "compare": "always"}),
        ],
        "files-working" => &[
            json!({"type": "open", "service": "files"}),
            json!({"type": "sum", "path": "endless"}),
        ],
        "forward-server" => &[json!({"type": "open", "service": "forward"})],
        "exec-requests" => &[json!({"type": "open", "service": "exec"})],
        "exec-server-running" => &[
            json!({"type": "open", "service": "exec"}),
            json!({"type": "run", "arguments": 2, "size": 9}),
        ],
        "exec-server-watched" => {
            let job = busy_job();
            client
                .send_json(&json!({"type": "open", "service": "exec"}))
                .unwrap();
            let terminal = json!({"rows": 24, "columns": 80});
            let name = format!("{job}-terminal");
            let run = json!({
                "type": "run", "arguments": 2, "size": 9, "detach": true, "name": name,
                "terminal": terminal,
            });
            client.send_json(&run).unwrap();
            client.send(&frame(SLEEP)).unwrap();
            client
                .send_json(&json!({"type": "watch", "job": name}))
                .unwrap();
            &[]
        }
        "exec-server-busy" => {
            let job = busy_job();
            client
                .send_json(&json!({"type": "open", "service": "exec"}))
                .unwrap();
            let run =
                json!({"type": "run", "arguments": 2, "size": 9, "detach": true, "name": job});
            client.send_json(&run).unwrap();
            client.send(&frame(SLEEP)).unwrap();
            client
                .send_json(&json!({"type": "wait", "job": job}))
                .unwrap();
            &[]
        }
        other => panic!("the test does not know the state {other:?}"),
    };
    for header in before {
        client.send_json(header).unwrap();
    }
    if state == "exec-server-running" {
        client.send(&frame(SLEEP)).unwrap();
    }
    client
}

/// Makes a file that takes very long to hash, and no space.
pub(crate) fn write_endless(stage: &Stage) {
    let endless = fs::File::create(stage.path("home/endless")).unwrap();
    endless.set_len(1 << 40).unwrap();
}

/// The command of a job that is waited for.
const SLEEP: &[u8] = b"sleep\x0060\0";

/// The name of a job that runs for a while longer, and of few at a time.
fn busy_job() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("busy-{}", now.unwrap().as_secs() / 20)
}

/// Every message that a server accepts, with its state and the right that it needs.
pub(crate) static TABLE: LazyLock<Vec<MessageRight>> = LazyLock::new(|| {
    let stage = stage();
    let server = Server::open(&ServerOptions {
        state: stage.path("table"),
        home: stage.home(),
        connections_max: 1,
        drain_time: Duration::ZERO,
        session_linger: Duration::ZERO,
        exec: None,
        audit: AuditOptions::default(),
    });
    server.unwrap().message_rights().to_vec()
});

/// The names of the states in which a server waits for a message.
pub(crate) fn states() -> BTreeSet<&'static str> {
    TABLE.iter().map(|row| row.state.name()).collect()
}

/// The row of a message in a state, if the state accepts it.
pub(crate) fn row(state: &str, kind: &str) -> Option<&'static MessageRight> {
    TABLE
        .iter()
        .find(|row| row.state.name() == state && row.kind == kind)
}

/// Proves `work-before-login` and `out-of-order` in docs/faults.md.
#[test]
fn only_messages_of_the_table_are_accepted() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"");
    write_endless(&stage);
    let before = Census::of(&stage.home());
    let key = crate::login::client_key(&stage);
    for state in states() {
        for kind in types()
            .into_iter()
            .filter(|kind| row(state, kind).is_none())
        {
            let mut client = into(state, &server, &key);
            client.send_json(&message(kind)).unwrap();
            let code = client.error_code().unwrap();
            assert_eq!(
                code.as_deref(),
                Some("unexpected-message"),
                "{kind:?} in {state:?}"
            );
        }
    }
    wait_for("no staging files", || Census::of(&stage.home()) == before);
}

/// A peer that sends `error` is not answered with one.
#[test]
fn error_from_peer_is_not_answered() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"");
    let key = crate::login::client_key(&stage);
    for state in [
        "files-receiver-data",
        "files-receiver-finish",
        "files-sender",
    ] {
        let mut client = into(state, &server, &key);
        client.send_json(&message("error")).unwrap();
        assert_eq!(client.error_code().unwrap(), None, "{state:?}");
        assert_eq!(server.event("failed")["code"], "io", "{state:?}");
    }
}

/// Proves `out-of-order` in docs/faults.md.
#[test]
fn random_message_sequences_change_nothing() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let stage = stage();
    let server = stage.joined();
    stage.write("home/kept", b"kept");
    write_endless(&stage);
    let before = Census::of(&stage.home());
    let key = crate::login::client_key(&stage);
    let kinds: Vec<&str> = types()
        .into_iter()
        .filter(|kind| !["put", "get", "put-tree"].contains(kind))
        .collect();
    let states: Vec<&str> = states().into_iter().collect();
    for (round, dice) in noise(300 * 8, seed).chunks(8).enumerate() {
        let state = states[usize::from(dice[0]) % states.len()];
        // What stores something is left out, because a complete put of an empty file would rightly
        // change the home.
        let mut client = into(state, &server, &key);
        let flight: Vec<u8> = dice[1..2 + usize::from(dice[1]) % 7]
            .iter()
            .flat_map(|die| frame(message(kinds[usize::from(*die) % kinds.len()]).to_string()))
            .collect();
        let _ = client.send(&flight);
        let _ = client.finish();
        let _ = client.error_code();
        assert!(server.id() > 0, "round {round}");
    }
    wait_for("no staging files", || Census::of(&stage.home()) == before);
    stage.run(&["ping", "127.0.0.1"]).ok();
}
