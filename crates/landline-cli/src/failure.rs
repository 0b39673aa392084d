//! What a failed command says and exits with: what happened, then what to do.

use std::fmt;

use landline::{
    Error, Side,
    proto::{ErrorCode, Fault},
};
use serde_json::{Value, json};

use crate::{codes::status_of, context::Context, terminal::shown_line};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status; the table is in `--help`.
    pub(crate) status: u8,
    /// What failed, for programs. It stays the same when the text changes.
    pub(crate) code: String,
    /// What failed, for people.
    pub(crate) what: String,
    advice: Option<String>,
}

impl Failure {
    /// A failure with one of the codes in [`codes`](crate::codes), and its status.
    pub(crate) fn new(code: impl Into<String>, what: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            status: status_of(&code),
            code,
            what: what.into(),
            advice: None,
        }
    }

    /// The same failure with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// Something on this machine that has no status of its own.
    pub(crate) fn local(what: impl Into<String>) -> Self {
        Self::new("local", what)
    }

    /// A mistake on the command line.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new("usage", what)
    }

    /// Settings that cannot be used.
    pub(crate) fn settings(what: impl Into<String>) -> Self {
        Self::new("settings", what)
    }

    /// A command at the other end that ended with another status than 0.
    pub(crate) fn of_command(code: i64) -> Self {
        let status = u8::try_from(if code < 0 { 128 - code } else { code }).unwrap_or(1);
        let what = format!("the command ended with status {code}");
        Self::new("command-failed", what).with_status(status)
    }

    /// A server that is not who it should be.
    pub(crate) fn of_server(code: &str, what: String, advice: &str) -> Self {
        Self::new(code, what).with_advice(advice)
    }

    /// The same failure with this advice.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        Self {
            advice: Some(advice.to_owned()),
            ..self
        }
    }

    /// Nothing to log in with.
    pub(crate) fn no_key(what: String) -> Self {
        Self::new("no-key", what)
            .with_advice("name one with -i FILE, or load one into ssh-agent with ssh-add")
    }

    /// A password is needed, and there is no terminal to prompt for it.
    pub(crate) fn no_terminal_for_password() -> Self {
        Self::new(
            "no-terminal",
            "there is no terminal to ask for the password",
        )
        .with_advice(
            "name a file with --password-file (for a new one of your own --new-password-file), or a descriptor",
        )
    }

    /// An audit log that was changed.
    pub(crate) fn of_audit(what: String) -> Self {
        Self::new("audit-changed", what)
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new("interrupted", "stopped")
    }

    /// Ctrl-C during a copy.
    pub(crate) fn stopped(has_begun: bool) -> Self {
        let advice =
            has_begun.then(|| "the same command goes on where this one stopped".to_owned());
        Self {
            advice,
            ..Self::interrupted()
        }
    }
}

impl Failure {
    /// The failure for programs: `code`, `message` and `status`.
    pub(crate) fn to_json(&self) -> Value {
        json!({"code": self.code, "message": self.what, "status": self.status})
    }

    /// The failure in one line, without the name of this program.
    pub(crate) fn to_line(&self) -> String {
        let advice = self.advice.iter().map(|advice| format!("; {advice}"));
        shown_line(&self.what) + &advice.collect::<String>()
    }

    /// Prints the failure on standard error, as text or as JSON.
    pub(crate) fn print(&self, context: &Context) {
        if context.json {
            context.err.print_json(&self.to_json());
        } else {
            context.err.print(&self.to_string());
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "landline: {}", shown_line(&self.what))?;
        match &self.advice {
            Some(advice) => write!(f, "\n{advice}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let what = match &error {
            Error::Failed {
                side: Side::There, ..
            } => format!("{error} (on the other side)"),
            Error::Protocol(inner) if inner.fault() == Fault::Peer => {
                format!("the other side broke the protocol: {error}")
            }
            _ => error.to_string(),
        };
        let failure = Self {
            advice: advice(&error),
            ..Self::new(error.code_str(), what)
        };
        match error {
            // The server was too slow. The server itself refuses a slow client with this code.
            Error::Failed {
                code: ErrorCode::LoginTimeout,
                side: Side::Here,
                ..
            } => failure.with_status(status_of("connect")),
            _ => failure,
        }
    }
}

impl From<landline::paths::Error> for Failure {
    fn from(error: landline::paths::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<landline::ssh_config::Error> for Failure {
    fn from(error: landline::ssh_config::Error) -> Self {
        Self::new("ssh-config", error.to_string())
    }
}

impl From<landline_classic::Error> for Failure {
    fn from(error: landline_classic::Error) -> Self {
        use landline_classic::Error as C;
        let what = match &error {
            C::Dialect(_) => format!("the other side broke the dialect: {error}"),
            C::NotSent(_) | C::NotStored(_) => format!("{error} (on the other side)"),
            _ => error.to_string(),
        };
        let code = match error {
            C::Connect { .. } => "connect",
            C::Lost(_) => "lost",
            C::WrongAnswer | C::AnswerRejected => "login-refused",
            C::Dialect(_) => "dialect",
            C::NotSent(_) => "not-sent",
            C::Name { .. } | C::OutsideFolder => "name-refused",
            C::SourceChanged { .. } => "source-changed",
            C::NotStored(_) => "not-stored",
            C::Task(_) => "task",
            C::SecretFile { .. } => "secret",
            C::Draining => "draining",
            // These have the same causes, and the same cures, as in landline's own protocol.
            C::Path(error) => return error.into(),
            C::Io { what, source } => return Error::io(what, &source).into(),
            C::Listen { address, source } => return Error::Listen { address, source }.into(),
            _ => "local",
        };
        Self::new(code, what)
    }
}

/// What to do about it, where there is something to say.
fn advice(error: &Error) -> Option<String> {
    use ErrorCode as C;
    let text = match error {
        Error::UnknownServer { .. } => {
            "redeem an invite for it: landline join INVITE; at a terminal you are asked whether its fingerprint is right, and \
             --accept-new trusts whoever answers there now"
        }
        Error::ServerChanged { address, .. } => {
            return Some(format!(
                "either the server was set up anew, or somebody stands in between. Do not go on before its owner has told you \
                 the new fingerprint; then: landline trust replace {address} FINGERPRINT"
            ));
        }
        Error::ServerUnproven { .. } | Error::SecretUnproven { .. } => {
            "somebody stands in between, or the server is damaged. Do not go on"
        }
        Error::AmbiguousServer { .. } => {
            "choose one by its name or with -P PORT; landline hosts rename HOST:PORT NAME names it"
        }
        Error::NameTaken { name, .. } => {
            return Some(format!(
                "choose another name, or rename that machine: landline hosts rename {name} NEW"
            ));
        }
        Error::Connect { .. } => {
            "is it running there (landline serve), and does a firewall let the port through?"
        }
        Error::Ssh { .. } => {
            "what ssh said stands above. Does ssh to that host work by itself, and is the server running behind it (landline serve)? \
             --via-ssh names another way, and --via-ssh none goes there directly"
        }
        Error::Lost(_) => {
            "the same command again goes on where this one stopped; a file is there whole or not at all"
        }
        Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another with --listen"
        }
        Error::Control { .. } => {
            "landline audit show and landline check work without the server; if it hangs, end it and start it again"
        }
        Error::Invite(_) => "copy all of it: landline://HOST:PORT/#FINGERPRINT.TOKEN",
        Error::Failed { code, side, .. } => match code {
            C::LoginRefused if *side == Side::Here => {
                "a password is typed again with the same command; who has forgotten it asks an admin for another (landline user \
                 password NAME)"
            }
            C::LoginRefused => {
                "is your key, secret or password still good there under this name? -i FILE names another key, --password asks for the \
                 password; a new invite registers a key"
            }
            C::TooManyGuesses => {
                "somebody may be guessing it; a key or secret logs in all the same"
            }
            C::InviteUsed | C::InviteExpired | C::InviteUnknown => {
                "ask the server's owner for a new invite"
            }
            C::InviteUser => "choose another with --as NAME",
            C::NoSpace if *side == Side::There => "free some there, and try again",
            C::NoSpace => "free some here, and try again",
            C::SourceChanged | C::DigestMismatch => {
                "a file is there whole or not at all; try again"
            }
            C::TooManySessions => "end one of them, or try again when one is over",
            C::Audit => {
                "its owner has to see to that: the disk may be full, or the log was removed"
            }
            C::AuditQuota => {
                "try again after midnight UTC, or ask the server's owner to raise the limit"
            }
            C::Draining => "try again when it is back",
            C::Ended => "ask an admin there",
            _ => return None,
        },
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use landline_classic::{Error as C, codec::DialectError};

    use super::*;

    #[test]
    fn classic_errors_have_the_status_of_their_cause() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let file = || "file".to_owned();
        let cases = [
            (C::Lost(file()), 10),
            (C::AnswerRejected, 12),
            (C::Dialect(DialectError::Cut), 13),
            (C::NotSent(file()), 20),
            (C::OutsideFolder, 23),
            (C::Path(landline::paths::Error::io("file", full())), 24),
            (
                C::Io {
                    what: file(),
                    source: full(),
                },
                24,
            ),
            (
                C::SourceChanged {
                    name: file(),
                    size: 1,
                },
                26,
            ),
            (C::NotStored(file()), 27),
            (
                C::Listen {
                    address: file(),
                    source: full(),
                },
                30,
            ),
            (
                C::SecretFile {
                    path: file().into(),
                    source: "empty".into(),
                },
                32,
            ),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            assert_eq!(Failure::from(error).status, status, "{text}");
        }
    }
}
