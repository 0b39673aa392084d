//! Which right each message needs in each state of a server: the one table of state × message ×
//! right.
//!
//! `landline_proto::order` says what is accepted when; this says for whom. Every message that a
//! server accepts stands here, which a test makes sure of; what does not is denied.

use landline_proto::{ErrorCode, login::UserName, order::State};

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

/// The table. Without the right to administer, `who` and `kick` concern one's own sessions alone,
/// and what is about passwords one's own. While content flows, the right that let it begin has to
/// last.
pub const TABLE: &[(State, &str, Right)] = &[
    (State::ServerLogin, "keys", Right::Nothing),
    (State::ServerLogin, "signing", Right::Nothing),
    (State::ServerLogin, "password", Right::Nothing),
    (State::ServerLogin, "login", Right::Nothing),
    (State::ServerPassword, "login", Right::Nothing),
    (State::ServerChosen, "signing", Right::Nothing),
    (State::ServerChosen, "login", Right::Nothing),
    (State::ServerSigning, "login", Right::Nothing),
    (State::ServerChannel, "open", Right::Account),
    (State::ServerPing, "ping", Right::Account),
    (State::ServerFiles, "put", Right::Write),
    (State::ServerFiles, "get", Right::Read),
    (State::ServerAdmin, "who", Right::Account),
    (State::ServerAdmin, "kick", Right::Account),
    (State::ServerAdmin, "list-users", Right::Admin),
    (State::ServerAdmin, "add-user", Right::Admin),
    (State::ServerAdmin, "disable-user", Right::Admin),
    (State::ServerAdmin, "enable-user", Right::Admin),
    (State::ServerAdmin, "remove-user", Right::Admin),
    (State::ServerAdmin, "list-keys", Right::Admin),
    (State::ServerAdmin, "add-keys", Right::Admin),
    (State::ServerAdmin, "remove-key", Right::Admin),
    (State::ServerAdmin, "make-invite", Right::Admin),
    (State::ServerAdmin, "list-invites", Right::Admin),
    (State::ServerAdmin, "revoke-invite", Right::Admin),
    (State::ServerAdmin, "register-password", Right::Account),
    (State::ServerAdmin, "set-password", Right::Account),
    (State::ServerAdmin, "remove-password", Right::Account),
    (State::ReceiverData, "data", Right::Write),
    (State::ReceiverData, "error", Right::Account),
    (State::ReceiverFinish, "finish", Right::Write),
    (State::ReceiverFinish, "error", Right::Account),
    (State::SenderDone, "done", Right::Read),
    (State::SenderDone, "again", Right::Read),
    (State::SenderDone, "error", Right::Account),
];

/// The right that a message needs; `None` for one that nobody may send then.
pub fn right(state: State, kind: &str) -> Option<Right> {
    TABLE
        .iter()
        .find(|(of, name, _)| *of == state && *name == kind)
        .map(|(_, _, right)| *right)
}

impl Rights {
    /// Lets a message pass that `user` may send in this state, as far as that does not depend on
    /// what it names.
    ///
    /// # Errors
    /// `denied`.
    pub fn admit(&self, user: &UserName, state: State, kind: &str) -> Result<(), Error> {
        match right(state, kind) {
            Some(right) if self.has(user, right) => Ok(()),
            Some(right) => Err(Error::here(
                ErrorCode::Denied,
                format!("{user} has no right to {}", right.in_words()),
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
    fn in_words(self) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `rights-fail-open` in docs/faults.md.
    #[test]
    fn the_table_holds_just_what_a_server_accepts() {
        for &state in State::ALL {
            // A client's states have no rights: the server is who it was pinned to be.
            let is_of_a_client = format!("{state:?}").starts_with("Client");
            let listed: Vec<&str> = TABLE
                .iter()
                .filter(|(of, ..)| *of == state)
                .map(|(_, kind, _)| *kind)
                .collect();
            let accepted = if is_of_a_client { &[] } else { state.accepts() };
            assert_eq!(listed.len(), accepted.len(), "{state:?}: {listed:?}");
            for kind in accepted {
                assert!(right(state, kind).is_some(), "{kind:?} in {state:?}");
            }
        }
    }
}
