//! The names of activities, and who caused them.

use landline_proto::login::UserName;

use super::Activity;

impl Activity {
    /// The name under `event`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped {} => "stopped",
            Self::Draining { .. } => "draining",
            Self::Gap { .. } => "gap",
            Self::Cut { .. } => "cut",
            Self::Login { .. } => "login",
            Self::Attached { .. } => "attached",
            Self::Disconnected { .. } => "disconnected",
            Self::Logout { .. } => "logout",
            Self::Refused { .. } => "refused",
            Self::TransferStart { .. } => "transfer-start",
            Self::Transfer { .. } => "transfer",
            Self::FilesRead { .. } => "files-read",
            Self::FilesChange { .. } => "files-change",
            Self::FilesChanged { .. } => "files-changed",
            Self::Tree { .. } => "tree",
            Self::RunStart { .. } => "run-start",
            Self::RunEnd { .. } => "run-end",
            Self::JobSignal { .. } => "job-signal",
            Self::JobAttach { .. } => "job-attach",
            Self::JobHandOver { .. } => "job-hand-over",
            Self::JobWatch { .. } => "job-watch",
            Self::JobForget { .. } => "job-forget",
            Self::JobUnreadable { .. } => "job-unreadable",
            Self::ForwardStart { .. } => "forward-start",
            Self::ForwardEnd { .. } => "forward-end",
            Self::ForwardListen { .. } => "forward-listen",
            Self::Failed { .. } => "failed",
            Self::Admin { .. } => "admin",
            Self::RightsChange { .. } => "rights-change",
            Self::RightsLoaded { .. } => "rights-loaded",
            Self::RightsRefused { .. } => "rights-refused",
            Self::RevocationFailed { .. } => "revocation-failed",
            Self::Suppressed { .. } => "suppressed",
        }
    }

    /// The logged-in user who caused it.
    pub(crate) fn user(&self) -> Option<&UserName> {
        match self {
            Self::Login { user, .. }
            | Self::Attached { user, .. }
            | Self::Disconnected { user, .. }
            | Self::Logout { user, .. }
            | Self::TransferStart { user, .. }
            | Self::Transfer { user, .. }
            | Self::FilesRead { user, .. }
            | Self::FilesChange { user, .. }
            | Self::FilesChanged { user, .. }
            | Self::Tree { user, .. }
            | Self::RunStart { user, .. }
            | Self::RunEnd { user, .. }
            | Self::JobSignal { user, .. }
            | Self::JobAttach { user, .. }
            | Self::JobHandOver { user, .. }
            | Self::JobWatch { user, .. }
            | Self::JobForget { user, .. }
            | Self::ForwardStart { user, .. }
            | Self::ForwardEnd { user, .. }
            | Self::ForwardListen { user, .. }
            | Self::Failed { user, .. } => Some(user),
            Self::Admin { user, .. } => user.as_ref(),
            Self::Started { .. }
            | Self::Stopped {}
            | Self::Draining { .. }
            | Self::Gap { .. }
            | Self::Cut { .. }
            | Self::Refused { .. }
            | Self::JobUnreadable { .. }
            | Self::RightsChange { .. }
            | Self::RightsLoaded { .. }
            | Self::RightsRefused { .. }
            | Self::RevocationFailed { .. }
            | Self::Suppressed { .. } => None,
        }
    }
}
