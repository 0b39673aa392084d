//! The store keeps every acknowledged row after a kill at any moment. A server recovers when the
//! store was unreadable for a while.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use rustix::io::Errno;
use testkit::{Fault, RawClient, Shim, Stage};

use crate::{noise, stage};

/// The number of kills: few in `cargo xtask test`, 200 in `cargo xtask soak`.
fn kills() -> usize {
    if testkit::is_soak() { 200 } else { 5 }
}

/// Rows that a command has acknowledged: users that were added and not removed.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeSet<String>>);

fn user(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = stage.command(&[
        "--state",
        &stage.path("server").display().to_string(),
        "user",
    ]);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Adds users, makes invites for them and removes some, until it is stopped. These commands are
/// killed too.
fn write(
    stage: &Stage,
    writer: usize,
    dice: &[u8],
    acknowledged: &Acknowledged,
    stop: &AtomicBool,
) {
    for (count, die) in dice.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("user{writer}.{count}");
        let mut child = user(stage, &["add", &name, "--invite"]).spawn().unwrap();
        if die % 4 == 0 {
            std::thread::sleep(Duration::from_millis(u64::from(*die) / 4));
            let _ = child.kill();
        }
        if child.wait().unwrap().success() {
            acknowledged.0.lock().unwrap().insert(name.clone());
        }
        if die % 5 == 0 {
            // The user may already be removed, so it no longer counts as acknowledged.
            acknowledged.0.lock().unwrap().remove(&name);
            let _ = user(stage, &["remove", &name]).status();
        }
    }
}

/// Proves `store-loss` in docs/faults.md.
#[test]
fn kill_loses_no_acknowledged_row() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let stage = stage();
    let mut server = stage.joined();
    let acknowledged = Acknowledged::default();
    let delays = noise(kills(), seed);
    for (round, delay) in delays.iter().enumerate() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let dice = noise(64, seed ^ (round * 3 + writer + 1) as u64);
                let (stage, acknowledged, stop) = (&stage, &acknowledged, &stop);
                scope.spawn(move || write(stage, round * 3 + writer, &dice, acknowledged, stop));
            }
            std::thread::sleep(Duration::from_millis(100 + u64::from(*delay) * 2));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server = stage.serve(&[]);
        let store = Connection::open(stage.path("server/server/accounts.db")).unwrap();
        let verdict: String = store
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok", "round {round}");
        let mut names = store.prepare("SELECT name FROM accounts").unwrap();
        let names: BTreeSet<String> = names
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let lost: Vec<_> = acknowledged
            .0
            .lock()
            .unwrap()
            .difference(&names)
            .cloned()
            .collect();
        assert!(
            lost.is_empty(),
            "round {round}: {lost:?} were acknowledged and are gone"
        );
    }
    assert!(
        !acknowledged.0.lock().unwrap().is_empty(),
        "at least one row was acknowledged"
    );
}

/// Every sync of the store fails once.
/// Proves `failed-sync` in docs/faults.md.
#[test]
fn unsynced_change_is_not_acknowledged() {
    let stage = stage();
    let Some(shim) = Shim::build(&stage) else {
        return;
    };
    drop(stage.joined());
    let is_listed = |name: &str| {
        let list = stage.run_at_server(&["user", "list"]).ok();
        list.lines().any(|line| line.starts_with(name))
    };
    let syncs = (1..).find(|&nth| {
        let name = format!("sync{nth}");
        let mut command = stage.serve_command("127.0.0.1:0");
        shim.load(
            &mut command,
            &Fault {
                call: "fsync",
                path: "/accounts.db",
                nth,
                error: Errno::IO,
            },
        );
        let _server = stage.serve_with(command);
        assert!(!shim.has_struck(), "the fault struck before the change");
        let status = user(&stage, &["add", &name]).status().unwrap();
        if !shim.has_struck() {
            assert!(status.success() && is_listed(&name), "{nth}: {status}");
            return true;
        }
        assert_eq!(status.code(), Some(31), "sync {nth}");
        assert!(!is_listed(&name), "sync {nth}");
        assert!(user(&stage, &["add", &name]).status().unwrap().success());
        false
    });
    assert!(syncs > Some(1), "the store is synced more than once");
}

/// A server that cannot read its accounts reports it. Once it can read them, it ends the sessions
/// of revoked users.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn unreadable_accounts_are_reported_and_retried() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
    let store = Connection::open(stage.path("server/server/accounts.db")).unwrap();
    store
        .execute_batch("ALTER TABLE accounts RENAME TO away")
        .unwrap();
    // Every change, also one that fails, has the server read the accounts again.
    stage
        .run_at_server(&["--json", "user", "enable", "bob"])
        .fails(31, "state");
    server.event("revocation-failed");
    store
        .execute_batch("ALTER TABLE away RENAME TO accounts; UPDATE accounts SET disabled = 1")
        .unwrap();
    assert_eq!(client.error_code().unwrap().as_deref(), Some("ended"));
}
