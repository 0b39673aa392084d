//! The reasons why a dialect cannot be served or spoken.

use std::{io, path::PathBuf};

use landline_paths::{describe, name::NameError};

use crate::{
    codec::DialectError,
    words::{Wording, name_rule},
};

/// The reason why a dialect cannot be served or spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's name has no address, or no address accepts the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server, as `host:port`.
        address: String,
        /// The system's error for the last address.
        source: io::Error,
    },
    /// The connection broke, or was idle for too long.
    #[error("the connection broke: {0}")]
    Lost(Wording),
    /// The peer sent something that its dialect does not allow.
    #[error("{0}")]
    Dialect(#[from] DialectError),
    /// A client on loopback does not belong to the user of this process.
    #[error("the client on loopback does not belong to the user who serves, or has hung up")]
    OtherUser,
    /// The long texts of all clients would take too much memory.
    #[error("too many long texts are being received")]
    TooManyTexts,
    /// The client's answer to the challenge is wrong.
    #[error("the answer to the challenge is wrong")]
    WrongAnswer,
    /// The client knows the secret, but its answer has another form.
    #[error("the answer to the challenge is {sent}, and the server wants {wanted}")]
    OtherAnswer {
        /// The form of the client's answer.
        sent: Wording,
        /// The expected digest.
        wanted: String,
    },
    /// The server closed the connection instead of accepting the client's answer.
    #[error("the server closed the connection: the secret or its digest is wrong")]
    AnswerRejected,
    /// The server asks for a proof of a secret.
    #[error("the server asks for a secret")]
    SecretNeeded,
    /// The server does not accept the name, password or proof. Escape its text before printing it.
    #[error("{0}")]
    LoginRefused(String),
    /// A file with a secret or with accounts cannot be used.
    #[error("{}: {problem}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The problem with the file.
        problem: Wording,
    },
    /// A name from the peer breaks a rule for file names.
    #[error("{name:?}: {source}")]
    Name {
        /// The name, as it was sent.
        name: String,
        /// The rule that it breaks.
        source: NameError,
    },
    /// A client asked for a path outside the served folder.
    #[error("names are those of files in the folder that is served")]
    OutsideFolder,
    /// The server does not send the file. Escape the server's text before printing it.
    #[error("{0}")]
    NotSent(String),
    /// The server has not stored the file. Escape the server's text before printing it.
    #[error("{0}")]
    NotStored(String),
    /// A file changed while it was sent.
    #[error("{name} changed while it was sent: it is not {size} bytes any more")]
    SourceChanged {
        /// The file.
        name: String,
        /// Its length when it was opened, in bytes.
        size: u64,
    },
    /// The server shut down before the connection was done.
    #[error("the server is going down")]
    Draining,
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The requested address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// A path cannot be used.
    #[error(transparent)]
    Path(#[from] landline_paths::Error),
    /// An input or output error.
    #[error("{what}: {}", describe(source))]
    Io {
        /// The file, stream or program.
        what: Wording,
        /// The system's error.
        source: io::Error,
    },
    /// A task of the runtime was cancelled or panicked.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn io(what: Wording, source: io::Error) -> Self {
        Self::Io { what, source }
    }

    /// The error in both languages.
    pub fn wording(&self) -> Wording {
        Wording::new(self.to_string(), self.to_chinese())
    }

    fn to_chinese(&self) -> String {
        let system = |source| Wording::of_system(source).chinese;
        match self {
            Self::Connect { address, source } => format!("无法连接 {address}：{}", system(source)),
            Self::Lost(why) => format!("连接中断：{}", why.chinese),
            Self::Dialect(error) => error.wording().chinese.into_owned(),
            Self::OtherUser => "这个本机客户端不属于运行服务器的用户，或已断开".into(),
            Self::TooManyTexts => "同时接收的长文本太多".into(),
            Self::WrongAnswer => "对挑战的应答不对".into(),
            Self::OtherAnswer { sent, wanted } => {
                format!("对挑战的应答是 {}，而服务器要的是 {wanted}", sent.chinese)
            }
            Self::AnswerRejected => "服务器关闭了连接：密钥或摘要算法不对".into(),
            Self::SecretNeeded => "服务器要求密钥".into(),
            Self::LoginRefused(text) | Self::NotSent(text) | Self::NotStored(text) => text.clone(),
            Self::SecretFile { path, problem } => {
                format!("{}：{}", path.display(), problem.chinese)
            }
            Self::Name { name, source } => format!("{name:?}：{}", name_rule(*source)),
            Self::OutsideFolder => "只能用所服务文件夹里的文件名".into(),
            Self::SourceChanged { name, size } => {
                format!("{name} 在发送时变了：不再是 {size} 字节")
            }
            Self::Draining => "服务器正在关闭".into(),
            Self::Listen { address, source } => format!("无法监听 {address}：{}", system(source)),
            Self::Path(error) => Wording::of_path(error).chinese.into_owned(),
            Self::Io { what, source } => {
                let why = Wording::of_kind(source, describe(source));
                format!("{}：{}", what.chinese, why.chinese)
            }
            Self::Task(error) => format!("内部任务出错（{error}）"),
        }
    }
}

/// The output of a client's command.
pub(crate) const STANDARD_OUTPUT: Wording = Wording::fixed("standard output", "标准输出");
/// The random numbers of the system.
pub(crate) const RANDOM_NUMBERS: Wording = Wording::fixed("random numbers", "随机数");
/// A socket that listens for connections.
pub(crate) const LISTENER: Wording = Wording::fixed("the listener", "监听套接字");
/// A socket for datagrams.
pub(crate) const SOCKET: Wording = Wording::fixed("the socket", "套接字");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{Accounts, ChatRefusal},
        words::tests::check_chinese,
    };

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    /// The texts that come from a server stay as they are.
    #[test]
    fn every_error_has_chinese() {
        let address = || "127.0.0.1:1".to_owned();
        let name = || "a".to_owned();
        let errors = [
            Error::Connect {
                address: address(),
                source: full(),
            },
            Error::Lost(Wording::of_system(&full())),
            Error::Dialect(DialectError::Cut),
            Error::OtherUser,
            Error::TooManyTexts,
            Error::WrongAnswer,
            Error::OtherAnswer {
                sent: Wording::of_name("md5"),
                wanted: "sha256".into(),
            },
            Error::AnswerRejected,
            Error::SecretNeeded,
            Error::SecretFile {
                path: "secret".into(),
                problem: Wording::of_system(&full()),
            },
            Error::Name {
                name: name(),
                source: NameError::Empty,
            },
            Error::OutsideFolder,
            Error::SourceChanged {
                name: name(),
                size: 1,
            },
            Error::Draining,
            Error::Listen {
                address: address(),
                source: full(),
            },
            Error::Path(landline_paths::Error::io("a", full())),
            Error::io(STANDARD_OUTPUT, full()),
        ];
        errors
            .iter()
            .for_each(|error| check_chinese(&error.wording()));
    }

    #[test]
    fn every_dialect_error_has_chinese() {
        let errors = [
            DialectError::Length {
                length: -1,
                limit: 1,
                cause: Wording::empty(),
            },
            DialectError::Endless { limit: 1 },
            DialectError::Header(Wording::of_name("a")),
            DialectError::Slow(1),
            DialectError::Foreign("HTTP"),
            DialectError::Undecodable {
                encoding: "UTF-8",
                bytes: "b''".into(),
                hint: Wording::empty(),
            },
            DialectError::Cut,
        ];
        errors
            .iter()
            .for_each(|error| check_chinese(&error.wording()));
    }

    #[test]
    fn every_refusal_has_chinese() {
        let refusals = [
            ChatRefusal::Full,
            ChatRefusal::Service,
            ChatRefusal::Repeats,
            ChatRefusal::Undecodable(DialectError::Cut),
        ];
        refusals
            .iter()
            .for_each(|refusal| check_chinese(&refusal.wording()));
        for accounts in ["a", "a:1\na:2"] {
            check_chinese(&accounts.parse::<Accounts>().unwrap_err().wording());
        }
        for constant in [STANDARD_OUTPUT, RANDOM_NUMBERS, LISTENER, SOCKET] {
            check_chinese(&constant);
        }
    }
}
