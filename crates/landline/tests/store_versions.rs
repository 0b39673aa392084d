//! Stores of other releases: one of the release before is brought up to date after a backup, one of
//! a later release stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

use std::path::Path;

use landline::{
    Error,
    keys::PublicKey,
    proto::{
        ErrorCode,
        login::{PasswordId, UserName},
        messages::Token,
    },
    store::{Store, StoredPassword},
};
use rusqlite::Connection;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM69vFdhBTdf03WCfjfZNf2y74GEWsXpDZw+fgazPDci";

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn key() -> PublicKey {
    PublicKey::parse(KEY).unwrap()
}

/// The store as the first release made it.
const VERSION_1: &str = "
    CREATE TABLE accounts (name TEXT PRIMARY KEY NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE keys (user TEXT NOT NULL REFERENCES accounts (name), line TEXT NOT NULL, created INTEGER NOT NULL,
        PRIMARY KEY (user, line)) STRICT, WITHOUT ROWID;
    CREATE TABLE invites (token_hash BLOB PRIMARY KEY NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,
        redeemed INTEGER, redeemed_by TEXT REFERENCES accounts (name)) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;";

fn older(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    connection
        .execute("INSERT INTO accounts VALUES ('alice', 7)", [])
        .unwrap();
    connection
        .execute("INSERT INTO keys VALUES ('alice', ?1, 8)", [key().line()])
        .unwrap();
    connection.execute("INSERT INTO invites VALUES (unhex('cc8cd41cef907c4d216069122c4b89936211361f9050a717a1e37ad1862e952f'), 1, 2, 3, 'alice')", []).unwrap();
    connection
}

/// A store of the release before is brought up to date after a backup, and nothing of it is
/// lost.
/// Proves `release-mix` in docs/faults.md.
#[test]
fn a_store_of_the_release_before_is_backed_up_and_brought_up_to_date() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("old.sqlite");
    drop(older(&path));
    let refused = Store::open_shared(&path).err().unwrap().to_string();
    assert!(refused.contains("earlier release"), "{refused}");
    let store = Store::open(&path).unwrap();
    let alice = store.account(&name("alice")).unwrap();
    assert_eq!(
        (alice.created, alice.disabled, alice.owner, alice.keys),
        (7, None, true, 1)
    );
    let stored = store.key(&name("alice"), &key()).unwrap().unwrap();
    assert_eq!(
        (stored.fingerprint, stored.created),
        (key().fingerprint(), 8)
    );
    let again = store.redeem(&Token([1; 16]), &name("bob"), &key(), |_| Ok(()));
    assert!(
        matches!(
            again,
            Err(Error::Failed {
                code: ErrorCode::InviteUsed,
                ..
            })
        ),
        "{again:?}"
    );
    drop(store);
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%\\_1' ESCAPE '\\'";
    let left: i64 = Connection::open(&path)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "nothing of the old tables stays");
    Store::open(&path).unwrap();

    let backup = Connection::open(folder.path("old.sqlite.version-1")).unwrap();
    let version: i64 = backup
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let line: String = backup
        .query_row("SELECT line FROM keys", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, line), (1, key().line()));
}

/// The same for the version that had no passwords yet.
/// Proves `release-mix` in docs/faults.md.
#[test]
fn a_store_without_passwords_is_backed_up_and_gets_them() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("old.sqlite");
    Store::open(&path)
        .unwrap()
        .add_account(&name("alice"), &[])
        .unwrap();
    let older = Connection::open(&path).unwrap();
    older
        .execute_batch(
            "DROP TABLE password_setup; DROP TABLE passwords; DROP TABLE password_sources; PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(older);
    let store = Store::open(&path).unwrap();
    let password = StoredPassword {
        id: PasswordId([1; 8]),
        record: vec![2; 192],
    };
    store.set_password(&name("alice"), &password).unwrap();
    assert_eq!(store.password(&name("alice")).unwrap(), Some(password));
    let backup = Connection::open(folder.path("old.sqlite.version-2")).unwrap();
    let version: i64 = backup
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let user: String = backup
        .query_row("SELECT name FROM accounts", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, user.as_str()), (2, "alice"));
}

/// If the backup cannot be written, the store stays as it was.
/// Proves `release-mix` in docs/faults.md.
#[test]
fn nothing_is_rewritten_without_a_backup() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("old.sqlite");
    drop(older(&path));
    std::fs::create_dir(folder.path("old.sqlite.version-1")).unwrap();
    let refused = Store::open(&path).err().unwrap().to_string();
    assert!(refused.contains("backup"), "{refused}");
    let connection = Connection::open(&path).unwrap();
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 1);
}

/// Proves `release-mix` in docs/faults.md.
#[test]
fn a_store_of_a_later_release_is_refused_and_left_as_it_is() {
    let folder = testkit::Stage::new("unused");
    let path = folder.path("new.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE x (y); PRAGMA user_version = 4;")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    for open in [Store::open, Store::open_shared] {
        let refused = open(&path).err().unwrap().to_string();
        assert!(
            refused.contains("later release (version 4); this release knows version 3"),
            "{refused}"
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Whatever this process opens of the store besides, the locks stay by which SQLite keeps others
/// from deleting its log (fcntl(2)).
#[cfg(target_os = "linux")]
#[test]
fn a_second_handle_takes_no_locks_from_the_first() {
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
    drop(Store::open_shared(&path).unwrap());
    assert_eq!(locks(), held);
}
