//! Rights that a request gives to a user.

use landline_proto::login::{UserName, UserNameError};
use toml_edit::Value;

use super::{GivenWord, Quota, RightWords, Rights, RightsError, Role, UserRights};

/// Rights to give: the first ones of a new user, or further ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenRights {
    /// The role.
    pub role: Option<Role>,
    /// The home folder, as the file writes it: `/srv/bob`.
    pub home: Option<String>,
    /// Folders, as the file writes them: `rw:~`.
    pub files: Vec<String>,
    /// Whether every command may be run, also by a shell, and every connection forwarded.
    pub commands: bool,
    /// Limits.
    pub quota: Quota,
    /// What is given under words of services.
    pub words: Vec<GivenWord>,
}

/// What [`GivenRights::commands`] sets in the file.
pub(super) const ALL_COMMANDS: [(&str, &str); 5] = [
    ("exec", "\"any\""),
    ("shell", "true"),
    ("watch", "\"any\""),
    ("forward", "\"any\""),
    ("listen", "\"any\""),
];

impl GivenRights {
    /// The rights of the owner: to read and write the home, to run all commands, to forward all
    /// connections and to manage all accounts.
    pub fn owner_default() -> Self {
        Self {
            role: Some(Role::Owner),
            files: vec!["rw:~".into()],
            commands: true,
            ..Self::default()
        }
    }

    /// Checks them, but for the words of services.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let user = "user"
            .parse()
            .map_err(|error: UserNameError| error.to_string())?;
        let parsed = Rights::parse(&self.text(&user), &RightWords::default());
        parsed.map(drop).map_err(|error| error.problem)
    }

    /// Parses them as the rules of `user`, with these words.
    ///
    /// # Errors
    /// [`RightsError`] if one is malformed, or a word is unknown.
    pub(crate) fn parse(
        &self,
        user: &UserName,
        words: &RightWords,
    ) -> Result<UserRights, RightsError> {
        let rights = Rights::parse(self.edit("", user).trim_start(), words)?;
        Ok(rights.of(user).cloned().unwrap_or_default())
    }

    /// Formats them as the table of `user` in the file, without the words of services.
    pub(super) fn text(&self, user: &UserName) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        // Any name is valid as a quoted key.
        let mut text = format!("[users.{}]\n", quoted(user.as_str()).trim());
        if let Some(role) = self.role {
            text.push_str(&format!("role = \"{role}\"\n"));
        }
        if let Some(home) = &self.home {
            text.push_str(&format!("home = {}\n", quoted(home)));
        }
        if !self.files.is_empty() {
            let files: Vec<String> = self.files.iter().map(|folder| quoted(folder)).collect();
            text.push_str(&format!("files = [{}]\n", files.join(", ")));
        }
        if self.commands {
            for (key, value) in ALL_COMMANDS {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        for limit in self.quota.describe() {
            text.push_str(&format!("{limit}\n"));
        }
        text
    }
}
