//! How a command fails: the message, the advice and the exit status.

use std::{fmt, io::ErrorKind};

use landline::{
    Error, Side,
    paths::replace_system_texts,
    proto::{ErrorCode, Fault},
};
use landline_classic::Wording;
use landline_lab::Language;
use serde_json::{Value, json};

use crate::{advice::of_cause, codes::status_of, context::Context, terminal::shown_line};

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status; the table is in `--help`.
    pub(crate) status: u8,
    /// The code for programs, which stays the same when the text changes.
    pub(crate) code: String,
    /// The message for people.
    pub(crate) what: String,
    advice: Option<String>,
    chinese: Option<Box<Chinese>>,
}

/// The Chinese text of a failure that exists in both languages.
#[derive(Debug)]
struct Chinese {
    what: String,
    advice: Option<String>,
}

impl Failure {
    /// A failure with one of the codes in [`codes`](crate::codes), and its status.
    pub(crate) fn new(code: impl Into<String>, what: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            status: status_of(&code),
            code,
            what: replace_system_texts(&what.into()),
            advice: None,
            chinese: None,
        }
    }

    /// A failure with a text in both languages.
    pub(crate) fn in_both(code: impl Into<String>, wording: Wording) -> Self {
        let chinese = Chinese {
            what: replace_system_texts(&wording.chinese),
            advice: None,
        };
        Self {
            chinese: Some(Box::new(chinese)),
            ..Self::new(code, wording.english)
        }
    }

    /// Adds advice in both languages.
    pub(crate) fn with_advice_in_both(mut self, advice: Wording) -> Self {
        self.advice = Some(advice.english.into_owned());
        if let Some(chinese) = &mut self.chinese {
            chinese.advice = Some(advice.chinese.into_owned());
        }
        self
    }

    /// Adds a Chinese text, and the Chinese of the advice.
    pub(crate) fn with_chinese(self, text: impl Into<String>) -> Self {
        // Rarer advice is in English only.
        let advice = self.advice.as_ref().map(|advice| match self.code.as_str() {
            "no-space" => "请先腾出一些空间，再试一次",
            "not-found" => "请检查路径",
            "exists" => "请换一个名字",
            _ => advice,
        });
        let advice = advice.map(str::to_owned);
        let chinese = Chinese {
            what: replace_system_texts(&text.into()),
            advice,
        };
        Self {
            chinese: Some(Box::new(chinese)),
            ..self
        }
    }

    /// The failure with its text in this language, if it has one.
    pub(crate) fn in_language(self, language: Language) -> Self {
        match (language, self.chinese) {
            (Language::Chinese, Some(chinese)) => Self {
                what: chinese.what,
                advice: chinese.advice,
                chinese: None,
                ..self
            },
            (_, chinese) => Self { chinese, ..self },
        }
    }

    /// Sets another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// A problem on this machine that has no exit status of its own.
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

    /// A remote command that ended with a status other than 0.
    pub(crate) fn of_command(code: i64) -> Self {
        let status = u8::try_from(if code < 0 { 128 - code } else { code }).unwrap_or(1);
        let what = format!("the command ended with status {code}");
        Self::new("command-failed", what).with_status(status)
    }

    /// A server that cannot be trusted.
    pub(crate) fn of_server(code: &str, what: String, advice: &str) -> Self {
        Self::new(code, what).with_advice(advice)
    }

    /// Adds advice, which is printed on a line of its own.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        Self {
            advice: Some(advice.to_owned()),
            ..self
        }
    }

    /// Adds to the advice.
    pub(crate) fn with_further_advice(self, further: &str) -> Self {
        let advice = self.advice.as_ref().map_or_else(
            || further.to_owned(),
            |advice| format!("{advice}; {further}"),
        );
        self.with_advice(&advice)
    }

    /// There is no key to log in with.
    pub(crate) fn no_key(what: String) -> Self {
        Self::new("no-key", what)
            .with_advice("name a key with -i FILE, or load one into ssh-agent with ssh-add")
    }

    /// A password is needed, and there is no terminal to prompt for it.
    pub(crate) fn no_terminal_for_password() -> Self {
        Self::new(
            "no-terminal",
            "there is no terminal to ask for the password",
        )
        .with_advice(
            "use --password-file FILE or --password-fd N (for a new password: --new-password-file, --new-password-fd)",
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
        let advice = has_begun.then(|| "run the same command again to resume".to_owned());
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
            // The server speaks of the client's own network.
            Error::Failed {
                code: ErrorCode::ShutOut,
                ..
            } => error.to_string(),
            Error::Failed {
                side: Side::There, ..
            } => format!("{error} (on the server)"),
            Error::Protocol(inner) if inner.fault() == Fault::Peer => {
                format!("the server broke the protocol: {error}")
            }
            _ => error.to_string(),
        };
        let failure = Self {
            advice: advice(&error),
            ..Self::new(error.code_str(), what)
        };
        match error {
            // The client gave up. A server rejects a slow client with the same code.
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
        let wording = error.wording();
        let wording = match &error {
            C::Dialect(_) => Wording::new(
                format!("the other side broke the dialect: {}", wording.english),
                format!("对方违反了格式：{}", wording.chinese),
            ),
            C::NotSent(_) | C::NotStored(_) | C::LoginRefused(_) => Wording::new(
                format!("{error} (on the other side)"),
                format!("{error}（对方）"),
            ),
            _ => wording,
        };
        let needs_secret = matches!(error, C::AnswerRejected | C::SecretNeeded);
        let code = match error {
            C::Connect { .. } => "connect",
            C::Lost(_) => "lost",
            C::WrongAnswer | C::AnswerRejected | C::SecretNeeded | C::LoginRefused(_) => {
                "login-refused"
            }
            C::Dialect(_) => "dialect",
            C::NotSent(_) => "not-sent",
            C::Name { .. } | C::OutsideFolder => "name-refused",
            C::SourceChanged { .. } => "source-changed",
            C::NotStored(_) => "not-stored",
            C::Task(_) => "task",
            C::SecretFile { .. } => "secret",
            C::Draining => "draining",
            // These have the same causes and advice as in landline's own protocol.
            C::Path(error) => return Self::from(error).with_chinese(wording.chinese),
            C::Io { what, source } => {
                return Self::from(Error::io(what, &source)).with_chinese(wording.chinese);
            }
            C::Listen { address, source } => {
                let advice = match source.kind() {
                    ErrorKind::AddrInUse => {
                        Some("另一个程序正在使用这个地址；请停止它，或用 --listen 选别的地址")
                    }
                    ErrorKind::AddrNotAvailable => {
                        Some("本机没有这个地址；请用 --listen 选一个本机的地址")
                    }
                    ErrorKind::PermissionDenied => {
                        Some("小于 1024 的端口只有 root 能用；请用 --listen 选别的端口")
                    }
                    _ => None,
                };
                let chinese = Chinese {
                    what: replace_system_texts(&wording.chinese),
                    advice: advice.map(str::to_owned),
                };
                return Self {
                    chinese: Some(Box::new(chinese)),
                    ..Self::from(Error::Listen { address, source })
                };
            }
            _ => "local",
        };
        let failure = Self::in_both(code, wording);
        if needs_secret {
            failure.with_advice_in_both(Wording::new(
                "give the secret of the server with --secret-file FILE, and its digest with --hmac",
                "用 --secret-file FILE 给出服务器的密钥，用 --hmac 给出摘要算法",
            ))
        } else {
            failure
        }
    }
}

/// Advice for an error, if there is any.
fn advice(error: &Error) -> Option<String> {
    let text = match error {
        Error::UnknownServer { .. } => {
            "run landline join 'INVITE' first, or add --accept-new to trust the server that answers now; landline hosts lists the servers that you know"
        }
        Error::ServerChanged { address, .. } => {
            return Some(format!(
                "either the server was reinstalled, or an attacker intercepts the connection. Ask the server's owner for the new \
                 fingerprint, then run landline trust replace {address} FINGERPRINT"
            ));
        }
        Error::ServerUnproven { .. } | Error::SecretUnproven { .. } => {
            "an attacker may intercept the connection, or the server may be damaged: do not continue"
        }
        Error::AmbiguousServer { .. } => {
            "choose one by its name or with -P PORT; landline hosts lists them"
        }
        Error::NameTaken { name, .. } => {
            return Some(format!(
                "choose another name, or rename that machine: landline hosts rename {name} NEW"
            ));
        }
        Error::Connect { source, .. } => match source.kind() {
            ErrorKind::NotFound => {
                "check the name; landline hosts lists the machines that you know"
            }
            ErrorKind::NetworkDown | ErrorKind::NetworkUnreachable => {
                "check that this machine has a network connection, and its name servers"
            }
            _ => "check that the server runs (landline serve) and that no firewall blocks the port",
        },
        Error::Ssh { .. } => {
            "see the output of ssh above. Check that ssh to that host works and that the server runs; --via-ssh chooses other \
             jump hosts, --via-ssh none connects directly"
        }
        Error::Lost(_) => "check the network, and run the command again; a copy then resumes",
        Error::Listen { source, .. } => match source.kind() {
            ErrorKind::AddrInUse => {
                "another program uses this address; stop it, or choose another one with --listen"
            }
            ErrorKind::AddrNotAvailable => {
                "this machine has no such address; choose one of its own with --listen"
            }
            ErrorKind::PermissionDenied => {
                "only root can use ports below 1024; choose another one with --listen"
            }
            _ => return None,
        },
        Error::InUse { .. } => "stop that server first, or choose another folder with --state DIR",
        Error::Control { .. } => {
            "if the server hangs, restart it; landline audit show and landline check work without it"
        }
        Error::KeysRefused { .. } => {
            "use another key with -i FILE, log in with --password, or ask an admin for an invite to register a key"
        }
        Error::Invite(_) => "copy the whole invite: landline://HOST:PORT/#FINGERPRINT.TOKEN",
        Error::Failed {
            cause: Some(cause),
            side,
            ..
        } if of_cause(cause, *side).is_some() => of_cause(cause, *side)?,
        Error::Failed { code, side, .. } => of_code(code, *side)?,
        _ => return None,
    };
    Some(text.to_owned())
}

/// Advice for a failure with this code.
fn of_code(code: &ErrorCode, side: Side) -> Option<&'static str> {
    use ErrorCode as C;
    let text = match code {
        C::LoginRefused if side == Side::Here => {
            "run the command again to retry. If you forgot your password, ask an admin to run landline user password set NAME"
        }
        C::LoginRefused => {
            "check the user name; use another key with -i FILE, or log in with --password"
        }
        C::ShutOut => "the refused logins may come from another machine of your network",
        C::TooManyGuesses => {
            "an attacker may be guessing the password; log in with a key or secret instead"
        }
        C::InviteUsed | C::InviteExpired | C::InviteUnknown => {
            "ask the server's owner for a new invite"
        }
        C::InviteUser => "choose another name with --as NAME",
        // Without a system error it is a limit that the server's owner has set.
        C::NoSpace if side == Side::There => {
            "delete files on the server, or ask its owner for a larger quota"
        }
        C::NoSpace => "free some space on this machine, and try again",
        C::SourceChanged | C::DigestMismatch => {
            "run the same command again; no incomplete file has the final name"
        }
        C::SourceEmpty => "add --force to delete all the same",
        C::TargetHome => "name a folder below it, or add --force",
        C::MassDelete => "look at what would be deleted with --dry-run --force; --force deletes it",
        C::MaxDelete => "raise --max-delete, or leave it out",
        C::NotWhole => "leave out --atomic to copy the rest",
        C::TooManySessions => "end one of your sessions, or try again later",
        C::Audit => "ask the server's owner: the disk may be full, or the log was removed",
        C::AuditQuota => {
            "try again after midnight UTC, or ask the server's owner to raise the limit"
        }
        C::Draining => "try again when the server has restarted",
        C::Ended => "ask an admin of the server",
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use landline_classic::{Error as C, codec::DialectError};

    use super::*;

    #[test]
    fn advice_fits_why_a_name_was_not_found() {
        let advice_for = |kind| {
            let address = "nas:5263".to_owned();
            let source = io::Error::from(kind);
            advice(&Error::Connect { address, source }).unwrap()
        };
        assert!(advice_for(ErrorKind::NotFound).contains("check the name"));
        for kind in [ErrorKind::NetworkDown, ErrorKind::NetworkUnreachable] {
            assert!(advice_for(kind).contains("network connection"));
        }
        assert!(advice_for(ErrorKind::ConnectionRefused).contains("the server runs"));
    }

    #[test]
    fn classic_errors_have_the_status_of_their_cause() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let file = || "file".to_owned();
        let text = || Wording::new("a", "一");
        let cases = [
            (C::Lost(text()), 10),
            (C::AnswerRejected, 12),
            (C::Dialect(DialectError::Cut), 13),
            (C::NotSent(file()), 20),
            (C::OutsideFolder, 23),
            (C::Path(landline::paths::Error::io("file", full())), 24),
            (
                C::Io {
                    what: text(),
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
                    problem: text(),
                },
                32,
            ),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            let failure = Failure::from(error);
            assert_eq!(failure.status, status, "{text}");
            let has_advice = failure.advice.is_some();
            let chinese = failure.in_language(Language::Chinese);
            assert_ne!(chinese.what, text);
            assert_eq!(chinese.advice.is_some(), has_advice, "{text}");
        }
    }
}
