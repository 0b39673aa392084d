//! What a new user may do at first.

use landline_proto::login::UserName;
use toml_edit::Value;

use super::{Quota, RightWords, Rights, RightsError, Role, UserRights};

/// What a new user may do at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstRights {
    /// The role.
    pub role: Role,
    /// What `~` means, as it stands in the file: `/srv/bob`.
    pub home: Option<String>,
    /// Folders, as they stand in the file: `rw:~`.
    pub files: Vec<String>,
    /// Upper limits.
    pub quota: Quota,
}

impl FirstRights {
    /// Those of the owner: to read and write the home, and to manage all accounts.
    pub fn of_the_owner() -> Self {
        Self {
            role: Role::Owner,
            files: vec!["rw:~".into()],
            ..Self::default()
        }
    }

    /// The rules that they make for `user`.
    ///
    /// # Errors
    /// [`RightsError`] where a folder is malformed.
    pub(crate) fn parse(&self, user: &UserName) -> Result<UserRights, RightsError> {
        let rights = Rights::parse(&self.text(user), &RightWords::default())?;
        Ok(rights.of(user).cloned().unwrap_or_default())
    }

    /// The table of `user` in the file.
    pub(super) fn text(&self, user: &UserName) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        // A quoted key may hold whatever a name may.
        let mut text = format!("[users.{}]\n", quoted(user.as_str()).trim());
        if self.role > Role::User {
            text.push_str(&format!("role = \"{}\"\n", self.role));
        }
        if let Some(home) = &self.home {
            text.push_str(&format!("home = {}\n", quoted(home)));
        }
        if !self.files.is_empty() {
            let files: Vec<String> = self.files.iter().map(|folder| quoted(folder)).collect();
            text.push_str(&format!("files = [{}]\n", files.join(", ")));
        }
        for limit in self.quota.describe() {
            text.push_str(&format!("{limit}\n"));
        }
        text
    }
}
