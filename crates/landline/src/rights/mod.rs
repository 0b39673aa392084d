//! The rights of users (`docs/rights.md`): the rules of `rights.toml`, and checks against them.
//!
//! - [`Rights`]: the rules of one file. [`Rights::parse`] reports where a file is invalid.
//! - [`RightWord`]: a key of `rights.toml` that a service declares.
//! - [`RightsFile`]: the file of a server, which is read again when it changes.
//! - [`Right`]: the right that a message needs. [`Role`]: rights to accounts and sessions.
//! - [`Action`] and [`Verdict`]: the question and the answer of `landline check`.

mod amount;
mod check;
mod coverage;
mod edit;
mod exec;
mod file;
mod forward;
mod given;
mod given_word;
mod home;
mod lines;
mod parse;
mod pattern;
mod right;
mod role;
mod rules;
#[cfg(test)]
mod tests;
mod word;

pub(crate) use check::OWNERS_ONLY;
pub use check::{Action, Verdict};
pub use edit::RevokedRights;
pub use exec::WORDS_WITHOUT_SERVICE;
pub(crate) use exec::{EXEC, PTY, SHELL, WATCH};
pub use file::{RightsFile, read_rules};
pub(crate) use forward::{FORWARD, ForwardTarget, HOST_BYTES_MAX, LISTEN, ListenTarget, is_host};
pub use given::GivenRights;
pub use given_word::GivenWord;
pub(crate) use home::Home;
pub(crate) use parse::RightsError;
pub use pattern::Pattern;
pub use right::Right;
pub use role::{Role, RoleError};
pub(crate) use rules::RoleRule;
pub use rules::{Quota, Rights, UserRights};
/// The parser of `rights.toml`, for services that declare words.
pub use toml_edit;
pub use word::{RightWord, RightWords, Switch};
pub(crate) use word::{WordItem, WordRule, WordValue};
