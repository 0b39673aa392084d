//! Who may do what (`docs/rights.md`): the rules of `rights.toml`, what they allow and by which
//! line, and what is counted against them.
//!
//! - [`Rights`]: the rules, as one file says them. [`Rights::parse`] says where a file is broken.
//! - [`RightsFile`]: the file of a server and the rules in force; read again when it changes.
//! - [`Right`]: what a message needs.
//! - [`Action`] and [`Verdict`]: what `landline check` asks and is told.

mod amount;
mod check;
mod file;
mod first;
mod in_force;
mod parse;
mod pattern;
mod right;
mod rules;
#[cfg(test)]
mod tests;

pub use check::{Action, Verdict};
pub(crate) use file::REST_TIME;
pub use file::{RightsFile, read_rules};
pub use first::FirstRights;
pub use parse::RightsError;
pub use pattern::Pattern;
pub use right::Right;
pub use rules::{Exec, Quota, Rights, Switch, UserRights};
