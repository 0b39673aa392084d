//! The rights that messages need. Each service says which of its messages needs which.

use landline_proto::{ErrorCode, login::UserName};

use super::Rights;
use crate::Error;

/// What a user needs for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Nothing: nobody has logged in yet.
    Nothing,
    /// To be logged in.
    Account,
    /// To read files of the folder concerned.
    Read,
    /// To write files of the folder concerned.
    Write,
    /// To run the command concerned.
    Exec,
    /// To talk to people.
    Chat,
    /// To manage users and sessions.
    Admin,
}

impl Rights {
    /// Checks that `user` has the right that a message needs, as far as that does not depend on
    /// what the message names. `None` stands for a message that nobody may send.
    ///
    /// # Errors
    /// `denied`.
    pub fn admit(&self, user: &UserName, right: Option<Right>, kind: &str) -> Result<(), Error> {
        match right {
            Some(right) if self.has(user, right) => Ok(()),
            Some(right) => Err(Error::here(
                ErrorCode::Denied,
                format!("{user} has no right to {}", right.describe()),
            )),
            None => Err(Error::here(
                ErrorCode::Denied,
                format!("nobody has a right to {kind:?} here"),
            )),
        }
    }
}

impl Right {
    /// What it is a right to.
    fn describe(self) -> &'static str {
        match self {
            Self::Nothing | Self::Account => "be here",
            Self::Read => "any file here",
            Self::Write => "write files here",
            Self::Exec => "run commands here",
            Self::Chat => "talk to people here",
            Self::Admin => "administer this server",
        }
    }
}
