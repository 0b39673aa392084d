//! What a new user may do at first.

use landline_proto::login::UserName;
use toml_edit::Value;

use super::{Rights, RightsError};

/// What a new user may do at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstRights {
    /// Folders, as they stand in the file: `rw:~`.
    pub files: Vec<String>,
    /// Whether to talk to people.
    pub chat: bool,
    /// Whether to manage users and sessions.
    pub admin: bool,
}

impl FirstRights {
    /// Those of the owner: to read and write the home, and to manage the others.
    pub fn of_the_owner() -> Self {
        Self {
            files: vec!["rw:~".into()],
            chat: false,
            admin: true,
        }
    }

    /// Whether these can stand in the file for `user`.
    ///
    /// # Errors
    /// [`RightsError`] where a folder is malformed.
    pub fn check(&self, user: &UserName) -> Result<(), RightsError> {
        Rights::parse(&self.text(user)).map(drop)
    }

    /// The table of `user` in the file.
    pub(super) fn text(&self, user: &UserName) -> String {
        // A quoted key may hold whatever a name may.
        let mut text = format!(
            "[users.{}]\n",
            Value::from(user.as_str()).to_string().trim()
        );
        let files: Vec<String> = self
            .files
            .iter()
            .map(|folder| Value::from(folder.as_str()).to_string())
            .collect();
        if !files.is_empty() {
            text.push_str(&format!("files = [{}]\n", files.join(", ")));
        }
        for (key, is_on) in [("chat", self.chat), ("admin", self.admin)] {
            if is_on {
                text.push_str(&format!("{key} = true\n"));
            }
        }
        text
    }
}
