//! Memory of connections and transfers, and the limits of one account.

use landline::keys::UserKey;
use serde_json::json;
use testkit::{RawClient, ServerProcess, frame, wait_for};

use crate::{
    limits::{announce_frame, connect},
    noise, stage,
};

/// A session that has pinged once and is idle.
fn idle(server: &ServerProcess, key: &UserKey) -> RawClient {
    idle_as("alice", server, key)
}

fn idle_as(user: &str, server: &ServerProcess, key: &UserKey) -> RawClient {
    let mut client = connect(server);
    assert_eq!(client.login(user, key, None).unwrap(), "welcome");
    client
        .send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    client
}

/// The memory of a session that is logged in and idle.
#[test]
fn idle_session_costs_at_most_64_kib() {
    const SESSIONS: u64 = 200;
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    drop(idle(&server, &key));
    server.event("logout");
    let (before, descriptors) = server.usage();
    let sessions: Vec<RawClient> = (0..SESSIONS).map(|_| idle(&server, &key)).collect();
    let (during, _) = server.usage();
    let each = during.saturating_sub(before) / SESSIONS;
    eprintln!("{each} KiB for each idle session");
    assert!(each <= 64, "{each} KiB for each idle session");
    drop(sessions);
    wait_for("the descriptors of all sessions to close", || {
        server.usage().1 <= descriptors
    });
}

/// The memory of 1,000 connections, of which a quarter has not logged in.
/// Proves `length-prefix` in docs/faults.md.
#[test]
fn connection_costs_at_most_64_kib() {
    const USERS: [&str; 3] = ["alice", "bob", "carol"];
    const EACH: usize = 250;
    const SESSIONS: usize = EACH * USERS.len();
    const NEWCOMERS: usize = 250;
    landline::net::tcp::raise_descriptor_limit();
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let file = stage.write("key.pub", key.public().line().as_bytes());
    for user in &USERS[1..] {
        let add = ["user", "add", user, "--key", file.to_str().unwrap()];
        stage.run_at_server(&add).ok();
    }
    drop(idle(&server, &key));
    server.event("logout");
    let (before, descriptors) = server.usage();
    let sessions: Vec<RawClient> = (0..SESSIONS)
        .map(|number| idle_as(USERS[number / EACH], &server, &key))
        .collect();
    let newcomers: Vec<RawClient> = (0..NEWCOMERS)
        .map(|number| announce_frame(&server, number))
        .collect();
    let (during, open) = server.usage();
    // On a slow machine the first newcomers may time out before the last one connects.
    let (more, there) = (during.saturating_sub(before), open - descriptors);
    eprintln!("{more} KiB for {there} connections, {SESSIONS} of them sessions");
    assert!(
        there > SESSIONS && more <= 64 * there as u64,
        "{more} KiB for {there} connections"
    );
    drop((sessions, newcomers));
    wait_for("the descriptors of all connections to close", || {
        server.usage().1 <= descriptors
    });
}

/// One account cannot take all connections of the server.
/// Proves `one-account-takes-all` in docs/faults.md.
#[test]
fn account_has_at_most_256_connections() {
    landline::net::tcp::raise_descriptor_limit();
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let _sessions: Vec<RawClient> = (0..256).map(|_| idle(&server, &key)).collect();
    let mut client = connect(&server);
    assert_eq!(client.login("alice", &key, None).unwrap(), "error");
    assert_eq!(server.event("refused")["code"], "too-many-sessions");
    let file = stage.write("key.pub", key.public().line().as_bytes());
    let add = ["user", "add", "bob", "--key", file.to_str().unwrap()];
    stage.run_at_server(&add).ok();
    idle_as("bob", &server, &key);
}

/// Uploads whose clients have stopped sending hold no buffers.
/// Proves `one-account-takes-all` in docs/faults.md.
#[test]
fn stalled_upload_costs_at_most_256_kib() {
    const UPLOADS: u64 = 40;
    const SENT: usize = 6 << 20;
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    drop(idle(&server, &key));
    server.event("logout");
    let (before, _) = server.usage();
    let size: u64 = 64 << 20;
    let content = frame(vec![7; (256 << 10) - 4]);
    let _clients: Vec<RawClient> = (0..UPLOADS)
        .map(|number| {
            let mut client = connect(&server);
            assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
            for header in [
                json!({"type": "open", "service": "files"}),
                json!({"type": "put", "path": format!("f{number}"), "length": size, "mode": 0o644, "replace": true}),
            ] {
                client.send_json(&header).unwrap();
            }
            assert_eq!(client.header().unwrap().unwrap().kind(), "ready");
            client
                .send_json(&json!({"type": "data", "offset": 0, "size": size}))
                .unwrap();
            for _ in 0..SENT / content.len() {
                client.send(&content).unwrap();
            }
            client
        })
        .collect();
    let limit = UPLOADS * 256;
    let used = || server.usage().0.saturating_sub(before);
    wait_for("the memory of the buffers to be freed", || used() <= limit);
    eprintln!(
        "{} KiB for each of {UPLOADS} stalled uploads",
        used() / UPLOADS
    );
}

/// The memory of a client that requests a large file and does not read it.
/// Proves `slow-reader` in docs/faults.md.
#[test]
fn stalled_reader_costs_little_memory() {
    const CLIENTS: u64 = 40;
    const EACH_KIB_MAX: u64 = 256;
    const FILE_KIB: u64 = 64 << 10;
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    stage.write("home/big", &noise((FILE_KIB << 10) as usize, 5));
    drop(idle(&server, &key));
    server.event("logout");
    let (before, _) = server.usage();
    let _clients: Vec<RawClient> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(&server);
            assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
            client
                .send_json(&json!({"type": "open", "service": "files"}))
                .unwrap();
            client
                .send_json(&json!({"type": "get", "path": "big"}))
                .unwrap();
            assert_eq!(client.header().unwrap().unwrap().kind(), "file-info");
            client
        })
        .collect();
    let each = || server.usage().0.saturating_sub(before) / CLIENTS;
    wait_for("the memory of the frames back", || each() <= EACH_KIB_MAX);
    // It stays so while the server works.
    stage.run(&["ping", "127.0.0.1"]).ok();
    let each = each();
    eprintln!("{each} KiB for each client that reads nothing");
    assert!(each <= EACH_KIB_MAX, "{each} KiB for each client");
}
