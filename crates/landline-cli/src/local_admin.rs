//! Administration of this machine's server, through its state folder.

use landline::{
    admin::{Administration, LocalServer},
    server::words,
};

use crate::{context::Context, failure::Failure, terminal::shown_line};

/// Opens the accounts of this machine's server.
///
/// Broken rights are reported and do not stop the command, so that a user can still be removed.
/// Until they are repaired, no account counts as an admin.
///
/// # Errors
/// The state folder is unknown or cannot be used.
pub(crate) fn open(context: &Context) -> Result<Administration, Failure> {
    let administration = LocalServer::open(&context.server_state()?)?.administration(words()?)?;
    if let Some(problem) = administration.rights_problem() {
        context.err.print(&shown_line(&format!(
            "landline: {problem}; until that is mended, nobody counts as an admin here"
        )));
    }
    Ok(administration)
}
