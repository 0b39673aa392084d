//! The stable codes of `error` messages (`docs/protocol.md` section 10).

use crate::Fault;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $fault:ident;)*) => {
        /// What went wrong, as one of the stable codes of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code that this release does not know; treated as any other failure.
            Unknown,
        }

        impl ErrorCode {
            /// Every code that this release knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "unknown",
                }
            }

            /// Who is at fault, seen from the side that sends the error.
            pub fn fault(self) -> Fault {
                match self {
                    $(Self::$variant => Fault::$fault,)*
                    Self::Unknown => Fault::Local,
                }
            }

            /// The code of this text; [`ErrorCode::Unknown`] if there is none.
            pub fn from_wire(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

codes! {
    /// A frame length below zero or above the limit in force.
    FrameSize = "frame-size", Peer;
    /// A header that breaks the rules for headers, or lacks a key that its type needs.
    BadHeader = "bad-header", Peer;
    /// A body longer or shorter than declared.
    BodySize = "body-size", Peer;
    /// A type that is unknown or not accepted now.
    UnexpectedMessage = "unexpected-message", Peer;
    /// No protocol version in common.
    Version = "version", Incompatible;
    /// A login method that the server does not offer.
    Method = "method", Incompatible;
    /// A service that the server does not have.
    UnknownService = "unknown-service", Incompatible;
    /// The login was not complete in time.
    LoginTimeout = "login-timeout", Peer;
    /// No channel was opened in time.
    OpenTimeout = "open-timeout", Peer;
    /// User, key or signature not accepted.
    LoginRefused = "login-refused", Peer;
    /// Too many rejected logins from the client's network, which has to wait.
    ShutOut = "shut-out", Peer;
    /// Too many attempts at the account's password; the password was not checked.
    TooManyGuesses = "too-many-guesses", Peer;
    /// No such invite.
    InviteUnknown = "invite-unknown", Peer;
    /// The invite was already redeemed.
    InviteUsed = "invite-used", Peer;
    /// The invite has expired.
    InviteExpired = "invite-expired", Peer;
    /// The invite was made for another user, or the user it would make exists.
    InviteUser = "invite-user", Peer;
    /// The server is shutting down.
    Draining = "draining", Local;
    /// An admin ended the session, or its account or key was revoked.
    Ended = "ended", Peer;
    /// A limit of sessions or connections is reached.
    TooManySessions = "too-many-sessions", Peer;
    /// As many jobs of the user run as may.
    TooManyJobs = "too-many-jobs", Peer;
    /// The path or name breaks the rules for names.
    NameRefused = "name-refused", Peer;
    /// The user may not do this there.
    Denied = "denied", Peer;
    /// The change would leave no user who can act as an owner.
    LastOwner = "last-owner", Peer;
    /// No such file or folder.
    NotFound = "not-found", Peer;
    /// Not a regular file where one is needed.
    NotAFile = "not-a-file", Peer;
    /// There is no program of this name.
    NoProgram = "no-program", Peer;
    /// The program may not be executed.
    NotExecutable = "not-executable", Peer;
    /// The host of a forwarded connection could not be reached, or a port not be opened.
    Unreachable = "unreachable", Peer;
    /// The name exists and may not be replaced.
    Exists = "exists", Peer;
    /// A folder that is not empty, where an empty one is needed.
    NotEmpty = "not-empty", Peer;
    /// The request asks for more than the server does at once.
    Limit = "limit", Peer;
    /// The disk or the quota is full.
    NoSpace = "no-space", Local;
    /// The file changed or shrank while it was read.
    SourceChanged = "source-changed", Local;
    /// Not a folder where one is needed.
    NotAFolder = "not-a-folder", Peer;
    /// The source of a sync with deletion is empty.
    SourceEmpty = "source-empty", Local;
    /// A sync with deletion would delete in the user's home, or in a folder that contains it.
    TargetHome = "target-home", Peer;
    /// A sync would delete more than half of the entries of its target.
    MassDelete = "mass-delete", Peer;
    /// A sync would delete more entries than the user allows.
    MaxDelete = "max-delete", Peer;
    /// A tree was not stored, because an entry of it could not be copied.
    NotWhole = "not-whole", Local;
    /// An entry of the target has changed since it was listed.
    TargetChanged = "target-changed", Local;
    /// The content does not match the announced digest.
    DigestMismatch = "digest-mismatch", Peer;
    /// A key line that is malformed or has an unknown option.
    KeyRefused = "key-refused", Peer;
    /// The rights file would become too large to be read.
    RightsFull = "rights-full", Local;
    /// The key or secret of the session may not be used for this.
    CredentialLimited = "credential-limited", Peer;
    /// Another attempt at the same transfer has preempted this one.
    Superseded = "superseded", Local;
    /// The audit log cannot be written, so the action was not performed.
    Audit = "audit", Local;
    /// The user has used up the audit log's space for one day.
    AuditQuota = "audit-quota", Local;
    /// The server's state folder, or a file in it, cannot be used.
    State = "state", Local;
    /// Reading or writing failed.
    Io = "io", Local;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.as_str()), code);
        }
        assert_eq!(
            ErrorCode::from_wire("of-another-release"),
            ErrorCode::Unknown
        );
    }
}
