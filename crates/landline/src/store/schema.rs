//! The tables, and how a store of an earlier release becomes one of this.

use std::path::Path;

use rusqlite::Connection;

/// SQLite before this has the WAL-reset bug: it can lose acknowledged rows.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// The tables of version 1. Times are seconds since 1970.
const VERSION_1: &str = "
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE keys (
        user TEXT NOT NULL REFERENCES accounts (name),
        line TEXT NOT NULL,
        created INTEGER NOT NULL,
        PRIMARY KEY (user, line)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE invites (
        token_hash BLOB PRIMARY KEY NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        redeemed INTEGER,
        redeemed_by TEXT REFERENCES accounts (name)
    ) STRICT, WITHOUT ROWID;
";

/// Shared secrets.
const VERSION_2: &str = "
    CREATE TABLE secrets (
        id BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL REFERENCES accounts (name),
        binding TEXT NOT NULL,
        key BLOB NOT NULL,
        label TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// What makes a store of each version from one of the version before.
const STEPS: [&str; 2] = [VERSION_1, VERSION_2];

/// Opens the file with the settings that make a commit durable, and brings its tables up to date.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    let text = |error: rusqlite::Error| error.to_string();
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(format!("SQLite {} is too old: 3.51.3 or later is needed", rusqlite::version()));
    }
    let mut connection = Connection::open(path).map_err(text)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(text)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(text)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(text)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(text)?;
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(text)?;
    let Some(steps) = STEPS.get(version as usize..) else {
        let latest = STEPS.len();
        return Err(format!("is of a later release (version {version}); this release knows version {latest}"));
    };
    if !steps.is_empty() {
        let transaction = connection.transaction().map_err(text)?;
        for step in steps {
            transaction.execute_batch(step).map_err(text)?;
        }
        transaction.pragma_update(None, "user_version", STEPS.len() as u32).map_err(text)?;
        transaction.commit().map_err(text)?;
    }
    Ok(connection)
}
