//! The server of this machine, for whoever administers it here.

use std::path::Path;

use landline::admin::{Administration, LocalServer};

use crate::{
    failure::Failure,
    terminal::{say, shown_line},
};

/// The accounts of the server whose state is kept there. Rights that cannot be used keep nobody
/// from being taken out: it is said, and nobody counts as an admin.
pub(crate) fn administration(state: &Path) -> Result<Administration, Failure> {
    let administration = LocalServer::open(state)?.administration()?;
    if let Some(problem) = administration.rights_problem() {
        say(&shown_line(&format!(
            "landline: {problem}; until that is mended, nobody counts as an admin here"
        )));
    }
    Ok(administration)
}
