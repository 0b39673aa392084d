//! What the work of users needs: the files that count against quotas.

use std::{path::Path, sync::Arc};

use landline_proto::login::UserName;
use rusqlite::{Transaction, TransactionBehavior, params};

use super::{Store, WORK_FILE, database::Database, schema};
use crate::{Error, paths::PrivateFolder};

/// How much the files of one user may take; `None` for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StorageLimit {
    /// Bytes in all.
    pub(crate) bytes: Option<u64>,
    /// Files.
    pub(crate) files: Option<u64>,
}

/// What the work of users needs. Every method is durable when it returns.
///
/// # Blocking
/// Every method waits for the disk.
#[derive(Clone)]
pub(crate) struct WorkStore {
    database: Arc<Database>,
}

/// A staging file that counts for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagedRecord {
    pub(crate) path: Vec<u8>,
    /// Its final name.
    pub(crate) place: Vec<u8>,
    pub(crate) inode: u64,
}

/// A file that counts for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredRecord {
    Staged(StagedRecord),
    /// A file under its final name.
    Final(Vec<u8>),
}

impl WorkStore {
    /// Opens the database in the folder of a server's state, and removes what belongs to users
    /// without an account.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be opened, is damaged, or is of a later release.
    pub(crate) fn open(folder: &PrivateFolder, accounts: &Store) -> Result<Self, Error> {
        let store = Self::open_at(&folder.path_of(WORK_FILE))?;
        let accounts = accounts.accounts()?;
        for user in store.users()? {
            if !accounts.iter().any(|account| account.name.as_str() == user) {
                store.forget_user(&user)?;
            }
        }
        Ok(store)
    }

    pub(super) fn open_at(path: &Path) -> Result<Self, Error> {
        Database::open(path, &schema::WORK).map(|database| Self {
            database: Arc::new(database),
        })
    }

    /// Counts `bytes` for a staging file, instead of what it and its final name counted for the
    /// user.
    ///
    /// Returns false and changes nothing if the quota is full.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn reserve_stored(
        &self,
        user: &UserName,
        staged: &StagedRecord,
        bytes: u64,
        limit: StorageLimit,
    ) -> Result<bool, Error> {
        self.write(|transaction| {
            let (others_bytes, others): (i64, i64) = transaction.query_row(
                "SELECT coalesce(sum(bytes), 0), count(*) FROM stored WHERE user = ?1 AND path NOT IN (?2, ?3)",
                params![user.as_str(), staged.path, staged.place],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let bytes_in_all = others_bytes.cast_unsigned().saturating_add(bytes);
            let files_in_all = others.cast_unsigned().saturating_add(1);
            let is_full = limit.bytes.is_some_and(|max| bytes_in_all > max)
                || limit.files.is_some_and(|max| files_in_all > max)
                || i64::try_from(bytes_in_all).is_err();
            if !is_full {
                let target = Some((&*staged.place, staged.inode));
                count(transaction, user, &staged.path, bytes, target)?;
            }
            Ok(!is_full)
        })
    }

    /// Counts staging files with these lengths, instead of what they and their final names counted
    /// for the user.
    ///
    /// Returns false and changes nothing if the quota is full.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn reserve_all_stored(
        &self,
        user: &UserName,
        staged: &[(StagedRecord, u64)],
        limit: StorageLimit,
    ) -> Result<bool, Error> {
        self.write(|transaction| {
            let (mut bytes, mut files): (i64, i64) = transaction.query_row(
                "SELECT coalesce(sum(bytes), 0), count(*) FROM stored WHERE user = ?1",
                params![user.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let mut counted = transaction.prepare(
                "SELECT coalesce(sum(bytes), 0), count(*) FROM stored WHERE user = ?1 AND path IN (?2, ?3)",
            )?;
            for (staged, length) in staged {
                let (replaced, names): (i64, i64) = counted.query_row(
                    params![user.as_str(), staged.path, staged.place],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?;
                let length = i64::try_from(*length).unwrap_or(i64::MAX);
                bytes = bytes.saturating_sub(replaced).saturating_add(length);
                files = files.saturating_sub(names).saturating_add(1);
            }
            let is_over = |used: i64, max: Option<u64>| max.is_some_and(|max| used.cast_unsigned() > max);
            if is_over(bytes, limit.bytes) || is_over(files, limit.files) || bytes == i64::MAX {
                return Ok(false);
            }
            for (staged, length) in staged {
                let target = Some((&*staged.place, staged.inode));
                count(transaction, user, &staged.path, *length, target)?;
            }
            Ok(true)
        })
    }

    /// Counts files under their final names, instead of their staging files.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn commit_all_stored(
        &self,
        user: &UserName,
        staged: &[(StagedRecord, u64)],
    ) -> Result<(), Error> {
        self.write(|transaction| {
            let mut forget = transaction.prepare("DELETE FROM stored WHERE path = ?1")?;
            for (staged, length) in staged {
                forget.execute(params![staged.path])?;
                count(transaction, user, &staged.place, *length, None)?;
            }
            Ok(())
        })
    }

    /// Counts a file under its final name, instead of its staging file.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn commit_stored(
        &self,
        user: &UserName,
        staged: &StagedRecord,
        bytes: u64,
    ) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM stored WHERE path = ?1", params![staged.path])?;
            count(transaction, user, &staged.place, bytes, None)
        })
    }

    /// Stops counting files.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn forget_all_stored(&self, paths: &[Vec<u8>]) -> Result<(), Error> {
        if paths.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut forget = transaction.prepare("DELETE FROM stored WHERE path = ?1")?;
            for path in paths {
                forget.execute(params![path])?;
            }
            Ok(())
        })
    }

    /// Stops counting a file, or all files below a folder.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn forget_stored_tree(&self, path: &[u8]) -> Result<(), Error> {
        self.write(|transaction| {
            // The paths below a folder begin with it and a slash, which comes before "0".
            let (first, end) = ([path, b"/"].concat(), [path, b"0"].concat());
            let sql = "DELETE FROM stored WHERE path = ?1 OR (path >= ?2 AND path < ?3)";
            transaction.execute(sql, params![path, first, end])?;
            Ok(())
        })
    }

    /// Counts a file, or all files below a folder, under a new path. What was counted there before
    /// is forgotten.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn rename_stored(&self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.write(|transaction| {
            // The paths below a folder begin with it and a slash, which comes before "0".
            let (first, end) = ([from, b"/"].concat(), [from, b"0"].concat());
            let is_within =
                |column: &str| format!("{column} = ?1 OR ({column} >= ?2 AND {column} < ?3)");
            let sql = format!("SELECT path FROM stored WHERE {}", is_within("path"));
            let mut paths = transaction.prepare(&sql)?;
            let paths: Vec<Vec<u8>> = paths
                .query_map(params![from, first, end], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let new = |path: &[u8]| [to, path.get(from.len()..).unwrap_or_default()].concat();
            transaction.execute("DELETE FROM stored WHERE path = ?1", params![to])?;
            for path in paths {
                let sql = "UPDATE OR REPLACE stored SET path = ?2 WHERE path = ?1";
                transaction.execute(sql, params![path, new(&path)])?;
            }
            let sql = format!("SELECT place FROM stored WHERE {}", is_within("place"));
            let mut places = transaction.prepare(&sql)?;
            let places: Vec<Vec<u8>> = places
                .query_map(params![from, first, end], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for place in places {
                let sql = "UPDATE stored SET place = ?2 WHERE place = ?1";
                transaction.execute(sql, params![place, new(&place)])?;
            }
            Ok(())
        })
    }

    /// Stops counting a file.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn forget_stored(&self, path: &[u8]) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM stored WHERE path = ?1", params![path])
        })
        .map(drop)
    }

    /// Stops counting all files of a user.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn forget_user(&self, user: &str) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM stored WHERE user = ?1", params![user])
        })
        .map(drop)
    }

    /// The files that count for a user.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn stored_records(&self, user: &UserName) -> Result<Vec<StoredRecord>, Error> {
        self.read(|transaction| {
            let sql = "SELECT path, place, inode FROM stored WHERE user = ?1";
            let mut records = transaction.prepare(sql)?;
            records
                .query_map(params![user.as_str()], |row| {
                    let path = row.get(0)?;
                    let target: (Option<Vec<u8>>, Option<i64>) = (row.get(1)?, row.get(2)?);
                    Ok(match target {
                        (Some(place), Some(inode)) => StoredRecord::Staged(StagedRecord {
                            path,
                            place,
                            inode: inode.cast_unsigned(),
                        }),
                        _ => StoredRecord::Final(path),
                    })
                })?
                .collect()
        })
    }

    /// The users of whom files are counted.
    fn users(&self) -> Result<Vec<String>, Error> {
        self.read(|transaction| {
            let mut users = transaction.prepare("SELECT DISTINCT user FROM stored")?;
            users.query_map([], |row| row.get(0))?.collect()
        })
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let written = self.database.transact(TransactionBehavior::Immediate, work);
        written.map_err(|error| self.database.error(&error))
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let read = self.database.transact(TransactionBehavior::Deferred, work);
        read.map_err(|error| self.database.error(&error))
    }
}

/// Counts `bytes` for a path. `target` is the final name and the inode of a staging file.
fn count(
    transaction: &Transaction<'_>,
    user: &UserName,
    path: &[u8],
    bytes: u64,
    target: Option<(&[u8], u64)>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO stored (path, user, bytes, place, inode) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (path) DO UPDATE SET user = excluded.user, bytes = excluded.bytes,
                   place = excluded.place, inode = excluded.inode";
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let (place, inode) = target.unzip();
    let inode = inode.map(u64::cast_signed);
    transaction
        .execute(sql, params![path, user.as_str(), bytes, place, inode])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The staging files and final files that count for a user, by path.
    fn counted(store: &WorkStore, user: &UserName) -> Vec<String> {
        let records = store.stored_records(user).unwrap();
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut paths: Vec<String> = records
            .iter()
            .map(|record| match record {
                StoredRecord::Final(path) => text(path),
                StoredRecord::Staged(staged) => {
                    format!("{} for {}", text(&staged.path), text(&staged.place))
                }
            })
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn renamed_and_removed_files_are_counted_as_such() {
        let store = WorkStore::open_at(Path::new(":memory:")).unwrap();
        let alice: UserName = "alice".parse().unwrap();
        let staged = |path: &str, place: &str| StagedRecord {
            path: path.as_bytes().to_vec(),
            place: place.as_bytes().to_vec(),
            inode: 1,
        };
        for place in ["/d", "/d/a", "/d/b/c", "/d0", "/d-/x", "/e/a"] {
            store
                .commit_stored(&alice, &staged("/none", place), 1)
                .unwrap();
        }
        let limit = StorageLimit {
            bytes: None,
            files: None,
        };
        let being_made = staged("/d/.part", "/d/new");
        assert!(store.reserve_stored(&alice, &being_made, 1, limit).unwrap());
        store.forget_all_stored(&[b"/d".to_vec()]).unwrap();
        store.rename_stored(b"/d", b"/e").unwrap();
        assert_eq!(
            counted(&store, &alice),
            ["/d-/x", "/d0", "/e/.part for /e/new", "/e/a", "/e/b/c"]
        );
        store.rename_stored(b"/e/a", b"/d0").unwrap();
        let gone = ["/e/b/c", "/none"].map(|path| path.as_bytes().to_vec());
        store.forget_all_stored(&gone).unwrap();
        assert_eq!(
            counted(&store, &alice),
            ["/d-/x", "/d0", "/e/.part for /e/new"]
        );
    }

    #[test]
    fn files_of_removed_folder_are_not_counted() {
        let store = WorkStore::open_at(Path::new(":memory:")).unwrap();
        let alice: UserName = "alice".parse().unwrap();
        for place in ["/d", "/d/a", "/d/b/c", "/d0", "/d-/x"] {
            let staged = StagedRecord {
                path: b"/none".to_vec(),
                place: place.as_bytes().to_vec(),
                inode: 1,
            };
            store.commit_stored(&alice, &staged, 1).unwrap();
        }
        store.forget_stored_tree(b"/d").unwrap();
        assert_eq!(counted(&store, &alice), ["/d-/x", "/d0"]);
    }

    /// A user who is removed and added again begins with an empty quota.
    #[test]
    fn users_without_account_are_forgotten() {
        let scratch = crate::paths::TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.create_folder("state").unwrap();
        let folder = PrivateFolder::open_or_create(&folder).unwrap();
        let accounts = Store::open(Path::new(":memory:")).unwrap();
        let [alice, bob]: [UserName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        accounts.add_account(&alice, &[]).unwrap();
        let store = WorkStore::open(&folder, &accounts).unwrap();
        for user in [&alice, &bob] {
            let staged = StagedRecord {
                path: b"staging".to_vec(),
                place: user.as_str().as_bytes().to_vec(),
                inode: 1,
            };
            store.commit_stored(user, &staged, 1).unwrap();
        }
        drop(store);
        let store = WorkStore::open(&folder, &accounts).unwrap();
        let of_alice = StoredRecord::Final(b"alice".to_vec());
        assert_eq!(store.stored_records(&alice).unwrap(), [of_alice]);
        assert!(store.stored_records(&bob).unwrap().is_empty());
    }
}
