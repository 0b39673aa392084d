//! The rights that messages need. Each service declares those of its messages.

use landline_proto::{ErrorCode, login::UserName};

use super::{Rights, Role};
use crate::Error;

/// A right that a message needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// None, because no user has logged in yet.
    Nothing,
    /// To be logged in.
    Account,
    /// To read files of the folder concerned.
    Read,
    /// To write files of the folder concerned.
    Write,
    /// A word that a service declares, by its name.
    Word(&'static str),
    /// A role, or one above it.
    Role(Role),
}

impl Rights {
    /// Checks that `user` has the right that a message needs, as far as that does not depend on
    /// what the message names. `None` is for a message that no user may send.
    ///
    /// # Errors
    /// `denied`.
    pub(crate) fn admit(
        &self,
        user: &UserName,
        right: Option<Right>,
        kind: &str,
    ) -> Result<(), Error> {
        let problem = match right {
            Some(right) if self.has(user, right) => return Ok(()),
            Some(Right::Role(role)) => format!("{user} does not have the role {role}"),
            Some(right) => format!("{user} has no right to {}", self.describe_right(right)),
            None => format!("no user may send {kind:?}"),
        };
        Err(Error::here(ErrorCode::Denied, problem))
    }

    /// What it is a right to.
    fn describe_right(&self, right: Right) -> &str {
        match right {
            Right::Nothing | Right::Account | Right::Role(_) => "use this server",
            Right::Read => "read files",
            Right::Write => "write files",
            Right::Word(name) => self.words.find(name).map_or(name, |word| word.description),
        }
    }
}
