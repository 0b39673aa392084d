//! What a server records about a run that the next server may continue.

use landline_proto::login::UserName;
use serde::{Deserialize, Serialize};

use super::{command::Words, jobs::RecordedWords};
use crate::{keys::CredentialId, session::ServiceContext, store::AccountId};

/// Whose run it is.
#[derive(Debug, Clone)]
pub(super) struct RunOwner {
    pub(super) user: UserName,
    pub(super) account: AccountId,
    pub(super) credential: CredentialId,
    /// The session that started it.
    pub(super) session: String,
}

/// What a server records about a run that the next server may continue.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) user: UserName,
    pub(super) account: AccountId,
    /// The credential of the session that started it.
    pub(super) credential: String,
    pub(super) session: String,
    /// What is executed, and checked again whenever rights change.
    pub(super) words: RecordedWords,
    #[serde(default)]
    pub(super) terminal: bool,
    /// How many seconds it continues when its client is lost.
    pub(super) on_lost: u64,
}

impl RunOwner {
    /// The owner of what this session starts.
    pub(super) fn of(context: &ServiceContext) -> Self {
        let session = context.session();
        Self {
            user: session.user.clone(),
            account: session.account,
            credential: session.credential.clone(),
            session: session.id.clone(),
        }
    }
}

impl RunRecord {
    /// Whose run it is, and what it executes; `None` if the credential is not one.
    pub(super) fn owner_and_words(&self) -> Option<(RunOwner, Words)> {
        let owner = RunOwner {
            user: self.user.clone(),
            account: self.account,
            credential: self.credential.parse().ok()?,
            session: self.session.clone(),
        };
        Some((owner, Words::from(&self.words)))
    }
}
