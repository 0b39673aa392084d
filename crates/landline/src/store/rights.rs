//! The accounts, as the rights need them.

use landline_proto::login::UserName;
use rusqlite::OptionalExtension;

use super::Store;
use crate::Error;

impl Store {
    /// The user who redeemed the server's first invite.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn owner(&self) -> Result<Option<UserName>, Error> {
        let sql = "SELECT name FROM accounts WHERE owner = 1 ORDER BY created LIMIT 1";
        let name: Option<String> =
            self.read(|transaction| transaction.query_row(sql, [], |row| row.get(0)).optional())?;
        Ok(name.and_then(|name| name.parse().ok()))
    }
}
