//! What a server records about a detached job before it starts.

use std::time::{SystemTime, UNIX_EPOCH};

use landline_proto::{ErrorCode, Name, login::UserName};
use serde::{Deserialize, Serialize};

use super::super::command::Words;
use crate::{Error, keys::CredentialId, paths::PrivateFolder, store::AccountId};

/// The file in the folder of a job.
const FILE: &str = "record";
/// Longer than any record: JSON may need six bytes for one of the command.
const BYTES_MAX: u64 = 6 * COMMAND_BYTES_MAX + 64 * 1024;
/// The longest command of a job, in bytes, with its variables and folder. The server keeps it for
/// as long as the job.
pub(in super::super) const COMMAND_BYTES_MAX: u64 = 64 * 1024;
/// The longest name of a job, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What a server records about a detached job before it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JobRecord {
    /// The job's id.
    pub(super) id: String,
    /// Its name, unique among the jobs of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Whose job it is.
    pub(super) user: UserName,
    /// Which account of this name: a later one has nothing to do with the job.
    pub(super) account: AccountId,
    /// The credential of the session that started it.
    pub(super) credential: String,
    /// The id of that session.
    pub(super) session: String,
    /// What is executed, and checked again whenever rights change.
    pub(super) words: RecordedWords,
    /// A hash of the whole request. Two requests with the same one ask for the same job.
    pub(super) request: String,
    /// The working folder.
    pub(super) folder: Name,
    /// Whether it has a terminal.
    pub(super) terminal: bool,
    /// Whether it takes input.
    pub(super) input: bool,
    /// Whether it is removed once a client has its end.
    #[serde(default)]
    pub(super) forget: bool,
    /// When it was started, in milliseconds since 1970.
    pub(super) started: u64,
    /// What tells this start of the machine from others; empty where the system has no such thing.
    pub(super) boot: String,
}

/// [`Words`] in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum RecordedWords {
    /// A program and its arguments.
    Argv(Vec<Name>),
    /// A line for a shell.
    Shell(Name),
    /// The server for sftp(1).
    Sftp,
    /// The login shell.
    Login,
}

impl From<&Words> for RecordedWords {
    fn from(words: &Words) -> Self {
        match words {
            Words::Argv(words) => Self::Argv(words.iter().cloned().map(Name).collect()),
            Words::Shell(line) => Self::Shell(Name(line.clone())),
            Words::Sftp => Self::Sftp,
            Words::Login => Self::Login,
        }
    }
}

impl From<&RecordedWords> for Words {
    fn from(words: &RecordedWords) -> Self {
        match words {
            RecordedWords::Argv(words) => {
                Self::Argv(words.iter().map(|word| word.0.clone()).collect())
            }
            RecordedWords::Shell(line) => Self::Shell(line.0.clone()),
            RecordedWords::Sftp => Self::Sftp,
            RecordedWords::Login => Self::Login,
        }
    }
}

impl JobRecord {
    /// Reads the record of a job; `None` if there is none, or none that this release can read.
    pub(super) fn read(folder: &PrivateFolder) -> Option<Self> {
        let bytes = folder.read(FILE, BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the record. It is durable on return.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn write(&self, folder: &PrivateFolder) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::here(ErrorCode::State, error.to_string()))?;
        Ok(folder.write(FILE, &bytes)?)
    }

    /// Whether this is a job of an account.
    pub(super) fn is_of(&self, user: &UserName, account: AccountId) -> bool {
        self.user == *user && self.account == account
    }

    /// The credential that the job uses; `None` if the record names none.
    pub(super) fn credential(&self) -> Option<CredentialId> {
        self.credential.parse().ok()
    }
}

/// Checks the name of a job.
///
/// # Errors
/// `name-refused`.
pub(in super::super) fn check_name(name: &str) -> Result<(), Error> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_valid = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_good);
    if is_valid {
        return Ok(());
    }
    let message = format!(
        "the name of a job has at most {NAME_BYTES_MAX} letters, digits, dots, dashes and \
         underscores, and begins with a letter or digit"
    );
    Err(Error::here(ErrorCode::NameRefused, message))
}

/// The time in milliseconds since 1970.
pub(in super::super) fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs() {
        for good in ["build", "a", "2026-11-29_build.1", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_survive_a_record() {
        for words in [
            Words::Argv(vec![b"a".to_vec(), vec![0xff, b' ']]),
            Words::Shell(b"a | b".to_vec()),
            Words::Sftp,
            Words::Login,
        ] {
            let json = serde_json::to_string(&RecordedWords::from(&words)).unwrap();
            let read: RecordedWords = serde_json::from_str(&json).unwrap();
            assert_eq!(Words::from(&read), words, "{json}");
        }
    }
}
