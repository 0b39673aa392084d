//! The tables, and how a store of an earlier release becomes one of this.
//!
//! Once a version was released, its tables change only by a new step. The tables of a schema are
//! what all its steps lead to.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::paths::local;

/// SQLite before this has the WAL-reset bug: it can lose acknowledged rows.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// What a database holds, and how one of an earlier version gets there.
pub(super) struct Schema {
    /// The SQL of each table, in the order in which they can be made. Times are seconds since
    /// 1970.
    tables: &'static [&'static str],
    /// What makes the next version of each earlier one, from version 1 on.
    steps: &'static [Step],
}

/// Makes the next version of a store.
type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// The database of accounts.
pub(super) static ACCOUNTS: Schema = Schema {
    tables: &[
        ACCOUNT_TABLE,
        KEYS,
        KEPT_KEYS,
        INVITES,
        SECRETS,
        PASSWORD_SETUP,
        PASSWORDS,
        PASSWORD_SOURCES,
    ],
    steps: &[],
};

/// The database of work.
pub(super) static WORK: Schema = Schema {
    tables: &[STORED],
    steps: &[],
};

/// Who may log in. Names that differ only in case are the same. `id` is random: it tells an account
/// from an earlier one of the same name. `disabled` is when that was taken away; `owner` is 1 for
/// the user who redeemed the server's own first invite.
const ACCOUNT_TABLE: &str = "
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY NOT NULL,
        id INTEGER NOT NULL,
        created INTEGER NOT NULL,
        disabled INTEGER,
        owner INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX accounts_by_folded_name ON accounts (lower(name));
";

/// Keys of accounts. `line` has only the algorithm and the base64 text.
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

/// Keys that were removed, while the jobs that they started go on.
const KEPT_KEYS: &str = "
    CREATE TABLE kept_keys (
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL,
        PRIMARY KEY (user, fingerprint)
    ) STRICT, WITHOUT ROWID;
";

/// Invites.
///
/// `purpose` is `owner` (the first account), `account` (a new one) or `key` (another key of an
/// account). `user` is null for any free name. `made_by` is null for a command on the server's
/// machine.
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

/// Files and staging files of users with a quota, by their paths, with the bytes that they count.
///
/// `place` is the final name of a staging file, and `inode` tells whether the file has it already.
const STORED: &str = "
    CREATE TABLE stored (
        path BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        place BLOB,
        inode INTEGER,
        CHECK ((place IS NULL) = (inode IS NULL))
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX stored_of_user ON stored (user, bytes);
";

/// Shared secrets: only the key that verifies each. `services` is null for all.
const SECRETS: &str = "
    CREATE TABLE secrets (
        id BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        binding TEXT NOT NULL,
        key BLOB NOT NULL,
        services TEXT,
        label TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The server's OPAQUE setup, one row. Records are useless without it.
const PASSWORD_SETUP: &str = "
    CREATE TABLE password_setup (id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1), setup BLOB NOT NULL) STRICT;
";

/// Passwords: only the OPAQUE record of each. Every change replaces `id`.
const PASSWORDS: &str = "
    CREATE TABLE passwords (
        user TEXT PRIMARY KEY NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        id BLOB NOT NULL,
        record BLOB NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Networks from which users have logged in by password.
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

/// Opens the file with the settings that make a commit durable, and brings its tables up to date.
pub(super) fn open(path: &Path, schema: &Schema) -> Result<Connection, String> {
    let text = |error: rusqlite::Error| error.to_string();
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(format!(
            "SQLite {} is too old: 3.51.3 or later is needed",
            rusqlite::version()
        ));
    }
    // There are keys in it: SQLite's own files beside it take its mode.
    if path != Path::new(MEMORY) {
        local::make_database_private(path).map_err(|error| error.to_string())?;
    }
    let mut connection = Connection::open(path).map_err(text)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(text)?;
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(text)?;
    // Nothing is written before this: a later release's store stays as it is.
    schema.check(version)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(text)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(text)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(text)?;
    if (1..schema.version()).contains(&version) {
        back_up(&connection, path, version)?;
    }
    if version != schema.version() {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        schema
            .bring_up_to_date(&transaction, version)
            .map_err(text)?;
        transaction.commit().map_err(text)?;
    }
    Ok(connection)
}

impl Schema {
    /// The version of the stores that this schema makes.
    fn version(&self) -> i64 {
        i64::try_from(self.steps.len()).map_or(i64::MAX, |steps| steps + 1)
    }

    /// Checks that a store of this version may be used.
    fn check(&self, version: i64) -> Result<(), String> {
        let current = self.version();
        if (0..=current).contains(&version) {
            return Ok(());
        }
        Err(format!(
            "is of a later release (version {version}); this release knows version {current}"
        ))
    }

    /// Makes all tables of a new store, or takes the steps that an older one lacks.
    fn bring_up_to_date(
        &self,
        transaction: &Transaction<'_>,
        version: i64,
    ) -> rusqlite::Result<()> {
        if version == 0 {
            for table in self.tables {
                transaction.execute_batch(table)?;
            }
        } else {
            let taken = usize::try_from(version - 1).unwrap_or_default();
            for step in self.steps.iter().skip(taken) {
                step(transaction)?;
            }
        }
        transaction.pragma_update(None, "user_version", self.version())
    }
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
    local::remove(&staging)
        .and_then(|()| local::make_database_private(&staging))
        .map_err(|error| failed(error.to_string()))?;
    let name = staging
        .to_str()
        .ok_or_else(|| failed("the path is not UTF-8".into()))?;
    connection
        .execute("VACUUM INTO ?1", params![name])
        .map_err(|error| failed(error.to_string()))?;
    local::persist(&staging, &backup).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use testkit::Stage;

    use super::*;
    use crate::paths::PrivateFolder;

    /// The schema of a release before [`NEWER`].
    static OLDER: Schema = Schema {
        tables: &["CREATE TABLE people (name TEXT NOT NULL) STRICT;"],
        steps: &[],
    };

    static NEWER: Schema = Schema {
        tables: &["CREATE TABLE people (name TEXT NOT NULL, shoe INTEGER NOT NULL) STRICT;"],
        steps: &[add_shoes],
    };

    static NEWEST: Schema = Schema {
        tables: &[],
        steps: &[add_shoes, |transaction| {
            transaction.execute_batch("UPDATE people SET shoe = shoe + 1;")
        }],
    };

    fn add_shoes(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sql = "ALTER TABLE people ADD COLUMN shoe INTEGER NOT NULL DEFAULT 42;";
        transaction.execute_batch(sql)
    }

    fn version(path: &Path) -> i64 {
        Connection::open(path)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    fn shoe(connection: &Connection) -> i64 {
        let sql = "SELECT shoe FROM people WHERE name = 'alice'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A store of the release before, with a row.
    fn older(stage: &Stage) -> PathBuf {
        let path = stage.path("store");
        let connection = open(&path, &OLDER).unwrap();
        connection
            .execute("INSERT INTO people VALUES ('alice')", [])
            .unwrap();
        path
    }

    /// Proves `release-mix` in docs/faults.md.
    #[test]
    fn older_store_is_backed_up_and_upgraded() {
        let stage = Stage::new("unused");
        let path = older(&stage);
        let upgraded = open(&path, &NEWER).unwrap();
        assert_eq!((version(&path), shoe(&upgraded)), (2, 42));
        let backup = Connection::open(stage.path("store.version-1")).unwrap();
        let name: String = backup
            .query_row("SELECT name FROM people", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            (version(&stage.path("store.version-1")), &*name),
            (1, "alice")
        );
        open(&path, &NEWER).unwrap();
    }

    /// Proves `release-mix` in docs/faults.md.
    #[test]
    fn steps_lead_from_any_version_to_the_latest() {
        let stage = Stage::new("unused");
        let path = older(&stage);
        let upgraded = open(&path, &NEWEST).unwrap();
        assert_eq!((version(&path), shoe(&upgraded)), (3, 43));
        // A store of the version in between takes the last step only.
        let stage = Stage::new("unused");
        let path = older(&stage);
        drop(open(&path, &NEWER).unwrap());
        let upgraded = open(&path, &NEWEST).unwrap();
        assert_eq!((version(&path), shoe(&upgraded)), (3, 43));
    }

    /// Proves `release-mix` in docs/faults.md.
    #[test]
    fn step_that_fails_changes_nothing() {
        static BROKEN: Schema = Schema {
            tables: &[],
            steps: &[|transaction| {
                transaction.execute_batch("DELETE FROM people; DELETE FROM missing;")
            }],
        };
        let stage = Stage::new("unused");
        let path = older(&stage);
        assert!(open(&path, &BROKEN).is_err());
        assert_eq!(version(&path), 1);
        let upgraded = open(&path, &NEWER).unwrap();
        assert_eq!(shoe(&upgraded), 42);
    }

    /// Proves `release-mix` in docs/faults.md.
    #[test]
    fn upgrade_without_backup_is_refused() {
        let stage = Stage::new("unused");
        let path = older(&stage);
        PrivateFolder::open_or_create(&stage.path("store.version-1")).unwrap();
        assert!(open(&path, &NEWER).is_err());
        assert_eq!(version(&path), 1);
    }
}
