//! The tables, and how a store of an earlier release becomes one of this.
//!
//! A new table of the version that is being made is one constant here and its place in [`TABLES`].
//! Once a version was released its tables never change: the next one has a step of its own in
//! [`migrate`].

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{keys::PublicKey, paths::local};

/// SQLite before this has the WAL-reset bug: it can lose acknowledged rows.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// The version of this release.
const VERSION: i64 = 3;

/// All tables of [`VERSION`], in the order in which they can be made. Times are seconds since 1970.
const TABLES: &[&str] = &[
    ACCOUNTS,
    KEYS,
    INVITES,
    SECRETS,
    STORED,
    PASSWORD_SETUP,
    PASSWORDS,
    PASSWORD_SOURCES,
];

/// Those that version 2 did not have.
const TABLES_SINCE_2: &[&str] = &[PASSWORD_SETUP, PASSWORDS, PASSWORD_SOURCES];

/// Who may log in. `disabled` is when that was taken away; `owner` is 1 for whoever redeemed the
/// server's own first invite.
const ACCOUNTS: &str = "
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY NOT NULL,
        created INTEGER NOT NULL,
        disabled INTEGER,
        owner INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Their keys: `line` is algorithm and base64 alone, `options` and `comment` what stands in front
/// of it and behind it.
const KEYS: &str = "
    CREATE TABLE keys (
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        line TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        options TEXT NOT NULL,
        comment TEXT NOT NULL,
        created INTEGER NOT NULL,
        PRIMARY KEY (user, line)
    ) STRICT, WITHOUT ROWID;
";

/// What was handed out. `purpose` is `owner` (the first account), `account` (a new one) or `key` (a
/// further key of an account); `user` is for whom, or null for any name that is free; `made_by` is
/// an account, or null for somebody at the machine itself.
const INVITES: &str = "
    CREATE TABLE invites (
        token_hash BLOB PRIMARY KEY NOT NULL,
        purpose TEXT NOT NULL CHECK (purpose IN ('owner', 'account', 'key')),
        user TEXT,
        made_by TEXT,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        redeemed INTEGER,
        redeemed_by TEXT
    ) STRICT, WITHOUT ROWID;
";

/// Files of users with a quota, finished and in the making, by their paths, and the bytes that each
/// counts for.
const STORED: &str = "
    CREATE TABLE stored (
        path BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX stored_of_user ON stored (user, bytes);
";

/// Shared secrets: of each only the key that proves it here.
const SECRETS: &str = "
    CREATE TABLE secrets (
        id BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        binding TEXT NOT NULL,
        key BLOB NOT NULL,
        label TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// What the server needs for all passwords (OPAQUE): one row. Records are worth nothing without it.
const PASSWORD_SETUP: &str = "
    CREATE TABLE password_setup (id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1), setup BLOB NOT NULL) STRICT;
";

/// Passwords: of each only OPAQUE's record. `id` is another one after each change.
const PASSWORDS: &str = "
    CREATE TABLE passwords (
        user TEXT PRIMARY KEY NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        id BLOB NOT NULL,
        record BLOB NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// From where passwords have let somebody in.
const PASSWORD_SOURCES: &str = "
    CREATE TABLE password_sources (
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        source TEXT NOT NULL,
        noted INTEGER NOT NULL,
        PRIMARY KEY (user, source)
    ) STRICT, WITHOUT ROWID;
";

/// What SQLite takes for no file at all.
const MEMORY: &str = ":memory:";

/// What may be done to a store that is not of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// Make it, or bring it up to date: nobody else uses it.
    Make,
    /// Nothing: a server may be using it.
    Leave,
}

/// Opens the file with the settings that make a commit durable, and brings its tables up to date if
/// it may.
pub(super) fn open(path: &Path, upkeep: Upkeep) -> Result<Connection, String> {
    let text = |error: rusqlite::Error| error.to_string();
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(format!(
            "SQLite {} is too old: 3.51.3 or later is needed",
            rusqlite::version()
        ));
    }
    // There are keys in it: SQLite's own files beside it take its mode.
    if path != Path::new(MEMORY) {
        local::make_private(path).map_err(|error| error.to_string())?;
    }
    let mut connection = Connection::open(path).map_err(text)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(text)?;
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(text)?;
    // Nothing is written before this: a later release's store stays as it is.
    match (version, upkeep) {
        (VERSION, _) | (0..VERSION, Upkeep::Make) => {}
        (0..VERSION, Upkeep::Leave) => {
            return Err(
                "is of an earlier release, and the server that uses it too; restart the server"
                    .into(),
            );
        }
        (later, _) => {
            return Err(format!(
                "is of a later release (version {later}); this release knows version {VERSION}"
            ));
        }
    }
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(text)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(text)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(text)?;
    if (1..VERSION).contains(&version) {
        back_up(&connection, path, version)?;
    }
    if version != VERSION {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        migrate(&transaction, version).map_err(text)?;
        transaction.commit().map_err(text)?;
    }
    Ok(connection)
}

/// Writes all that is in the store into a file beside it, durably, before anything is rewritten.
fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), String> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".version-{version}{suffix}"));
        PathBuf::from(name)
    };
    let (staging, backup) = (beside(".part"), beside(""));
    let failed = |problem: String| {
        format!(
            "its backup {} cannot be written: {problem}",
            backup.display()
        )
    };
    local::remove_if_there(&staging)
        .and_then(|()| local::make_private(&staging))
        .map_err(|error| failed(error.to_string()))?;
    let name = staging
        .to_str()
        .ok_or_else(|| failed("the path is not UTF-8".into()))?;
    connection
        .execute("VACUUM INTO ?1", params![name])
        .map_err(|error| failed(error.to_string()))?;
    local::make_durable(&staging, &backup).map_err(|error| failed(error.to_string()))
}

fn migrate(transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<()> {
    match version {
        1 => migrate_from_1(transaction)?,
        2 => make(transaction, TABLES_SINCE_2)?,
        _ => make(transaction, TABLES)?,
    }
    transaction.pragma_update(None, "user_version", VERSION)
}

fn make(transaction: &Transaction<'_>, tables: &[&str]) -> rusqlite::Result<()> {
    tables
        .iter()
        .try_for_each(|table| transaction.execute_batch(table))
}

fn migrate_from_1(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let old = ["accounts", "keys", "invites"];
    for table in old {
        transaction.execute_batch(&format!("ALTER TABLE {table} RENAME TO {table}_1"))?;
    }
    make(transaction, TABLES)?;
    // There was one account at most: whoever had redeemed the first invite.
    transaction.execute_batch(
        "INSERT INTO accounts (name, created, owner) SELECT name, created, 1 FROM accounts_1;
         INSERT INTO invites (token_hash, purpose, created, expires, redeemed, redeemed_by)
             SELECT token_hash, 'owner', created, expires, redeemed, redeemed_by FROM invites_1;",
    )?;
    let mut keys = transaction.prepare("SELECT user, line, created FROM keys_1")?;
    let mut rows = keys.query([])?;
    while let Some(row) = rows.next()? {
        let (user, line, created): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let fingerprint = PublicKey::parse(&line)
            .map(|key| key.fingerprint())
            .unwrap_or_default();
        transaction.execute(
            "INSERT INTO keys (user, line, fingerprint, options, comment, created) VALUES (?1, ?2, ?3, '', '', ?4)",
            params![user, line, fingerprint, created],
        )?;
    }
    drop(rows);
    drop(keys);
    old.iter()
        .rev()
        .try_for_each(|table| transaction.execute_batch(&format!("DROP TABLE {table}_1")))
}
