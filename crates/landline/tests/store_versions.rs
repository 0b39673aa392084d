//! Stores that this release cannot use: one of a later release, and a damaged one.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

use landline::{Error, proto::login::UserName, store::Store};
use rusqlite::Connection;

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

/// Proves `release-mix` in docs/faults.md.
#[test]
fn store_of_later_release_is_refused_unchanged() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("new.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1000;")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::State { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Proves `release-mix` in docs/faults.md.
#[test]
fn damaged_store_is_refused_unchanged() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("damaged.sqlite");
    drop(Store::open(&path).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..16].copy_from_slice(b"no database at a");
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::State { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// SQLite holds locks so that other processes do not delete its log (fcntl(2)). Opening the store
/// again in this process keeps them.
#[cfg(target_os = "linux")]
#[test]
fn second_handle_keeps_locks_of_first() {
    use std::os::unix::fs::MetadataExt;
    let stage = testkit::Stage::new("unused");
    let path = stage.path("store");
    let store = Store::open(&path).unwrap();
    store.add_account(&name("alice"), &[]).unwrap();
    let (process, inode) = (std::process::id(), std::fs::metadata(&path).unwrap().ino());
    let locks = || {
        let all = std::fs::read_to_string("/proc/locks").unwrap();
        let ours = |line: &&str| {
            line.contains(&format!(" {process} ")) && line.contains(&format!(":{inode} "))
        };
        all.lines().filter(ours).count()
    };
    let held = locks();
    assert!(held > 0);
    drop(Store::open(&path).unwrap());
    assert_eq!(locks(), held);
}
