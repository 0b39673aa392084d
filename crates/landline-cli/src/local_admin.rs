//! Administration of this machine's server.

use std::path::Path;

use landline::{
    admin::{LocalServer, LocalStatus},
    net::{HostPort, Target},
    proto::DEFAULT_PORT,
    server::words,
};

use crate::{context::Context, failure::Failure, terminal::shown_line};

/// Finds this machine's server, running or not, and reports what it is.
///
/// Broken rights are reported and do not stop the command, so that a user can still be removed. A
/// running server goes by the earlier rules; where none runs, no account counts as an admin.
///
/// # Errors
/// The state folder is unknown or cannot be used, or the server that runs cannot be asked.
pub(crate) async fn open(context: &Context) -> Result<(LocalServer, LocalStatus), Failure> {
    let state = context.server_state()?;
    let server = LocalServer::open(&state, words()?)?.ok_or_else(|| no_server(&state))?;
    let status = server.status().await?;
    if let Some(problem) = &status.rights_problem {
        let meaning = if status.is_running {
            "the earlier rules stay in force"
        } else {
            "no user is an admin until that is corrected"
        };
        context
            .err
            .print(&shown_line(&format!("landline: {problem}; {meaning}")));
    }
    Ok((server, status))
}

/// There is no server on this machine, or none that uses this state folder.
pub(crate) fn no_server(state: &Path) -> Failure {
    let what = format!(
        "no server was set up on this machine (state folder {})",
        state.display()
    );
    Failure::new("no-server", what)
        .with_advice("name another server with --on HOST, or start one here: landline serve")
}

/// Checks the value of `--public-name`.
///
/// # Errors
/// It names a user.
pub(crate) fn check_public_name(name: Option<&Target>) -> Result<(), Failure> {
    if name.is_some_and(|name| name.user.is_some()) {
        return Err(Failure::usage(
            "--public-name takes HOST[:PORT] without a user",
        ));
    }
    Ok(())
}

/// The address of `--public-name`: without a port with that of the server's `addresses`.
pub(crate) fn public_address(name: &Target, addresses: &[HostPort]) -> HostPort {
    let own = addresses.first().map(|address| address.port);
    HostPort {
        host: name.host.clone(),
        port: name.port.or(own).unwrap_or(DEFAULT_PORT),
    }
}
