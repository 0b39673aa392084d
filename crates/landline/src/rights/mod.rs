//! Who may do what (`docs/rights.md`): the rules of `rights.toml`, what they allow and by which
//! line, and what is counted against them.
//!
//! - [`Rights`]: the rules, as one file says them. [`Rights::parse`] says where a file is broken.
//! - [`RightWord`]: a key of the file that a service declares.
//! - [`RightsFile`]: the file of a server and the rules in force; read again when it changes.
//! - [`Right`]: what a message needs. [`Role`]: what a user may do to accounts and sessions.
//! - [`Action`] and `Verdict`: what `landline check` asks and is told.

mod amount;
mod check;
mod coverage;
mod exec;
mod file;
mod first;
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

pub use check::Action;
pub(crate) use check::Verdict;
pub use exec::WORDS_WITHOUT_SERVICE;
pub use file::{RightsFile, read_rules};
pub use first::FirstRights;
pub(crate) use home::Home;
pub(crate) use parse::RightsError;
pub use pattern::Pattern;
pub use right::Right;
pub use role::{Role, RoleError};
pub(crate) use rules::{Quota, RoleRule};
pub use rules::{Rights, UserRights};
/// The parser of `rights.toml`, for services that declare words.
pub use toml_edit;
pub use word::{RightWord, RightWords, Switch};
pub(crate) use word::{WordItem, WordRule, WordValue};
