//! What `~` means for a user.

use std::borrow::Cow;

use landline_paths::RemotePath;
use landline_proto::{ErrorCode, login::UserName};

use super::{Rights, Role, UserRights};
use crate::Error;

/// A user's `home` in `rights.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The folder: absolute, or below the home of the account that serves.
    pub place: RemotePath,
    /// The folder as it was written.
    pub text: String,
    /// The line on which it was written.
    pub line: usize,
}

impl Home {
    /// The place that `path` names, which is meant from this home unless it is absolute; `None` if
    /// both together are too long.
    pub(super) fn join(&self, path: RemotePath) -> Option<RemotePath> {
        if path.is_absolute() {
            return Some(path);
        }
        RemotePath::parse(&join(&self.place, &path)).ok()
    }
}

impl UserRights {
    fn home(&self) -> Option<RemotePath> {
        if let Some(home) = &self.home {
            return Some(home.place.clone());
        }
        if self.role() == Role::Owner {
            return Some(RemotePath::home());
        }
        let own = self.files.iter().find(|grant| grant.is_writable);
        own.or(self.files.first()).map(|grant| grant.folder.clone())
    }
}

impl Rights {
    /// The folder that is a user's home: absolute, or below the home of the account that serves.
    ///
    /// It is what `home` says. Without it, the home of an owner is that of the account that serves.
    /// That of another user is the first folder of `files` that the user may write to, else the
    /// first one. `None` if there is no `files` either.
    pub(crate) fn home(&self, user: &UserName) -> Option<RemotePath> {
        self.of(user)?.home()
    }

    /// The homes and granted folders of all users.
    pub(crate) fn all_folders(&self) -> Vec<RemotePath> {
        let folders = self.users.values().flat_map(|rights| {
            let granted = rights.files.iter().map(|grant| grant.folder.clone());
            granted.chain(rights.home())
        });
        folders.collect()
    }

    /// The path of the server that `path`, as the user writes it, names: absolute, or from the home
    /// of the account that serves. A path that breaks the rule for paths stays as it is.
    ///
    /// # Errors
    /// `denied` for a path from the home of a user who has none.
    pub fn locate<'p>(&self, user: &UserName, path: &'p [u8]) -> Result<Cow<'p, [u8]>, Error> {
        let parsed = match RemotePath::parse(path) {
            Ok(parsed) if !parsed.is_absolute() => parsed,
            _ => return Ok(Cow::Borrowed(path)),
        };
        let home = self.home(user).ok_or_else(|| {
            let problem = format!(
                "{user} has no home here: rights.toml has neither home nor files for {user}"
            );
            Error::here(ErrorCode::Denied, problem)
        })?;
        if home == RemotePath::home() {
            return Ok(Cow::Borrowed(path));
        }
        Ok(Cow::Owned(join(&home, &parsed)))
    }
}

/// The text of a relative path that is meant from `home`.
fn join(home: &RemotePath, below: &RemotePath) -> Vec<u8> {
    let parts = home.components().iter().chain(below.components());
    let parts = parts.map(Vec::as_slice).collect::<Vec<_>>().join(&b'/');
    let mut text = if home.is_absolute() {
        b"/".to_vec()
    } else {
        b"~/".to_vec()
    };
    text.extend(&parts);
    if below.is_folder() && !parts.is_empty() {
        text.push(b'/');
    }
    text
}
