//! Sessions that another process holds.

use std::sync::Arc;

use landline::{
    Client,
    client::{self, ClientSession, FindCredential, HoldKey},
    login::{FirstRequest, KnownServer},
    net::{Channel, Target},
    proto::ErrorCode,
};
use log::debug;

use super::{choose_route, find_known, find_server, key_sources, locate};
use crate::{
    arguments::Access, client_settings::ClientSettings, commands::hold, context::Context,
    failure::Failure, passwords, prompter::NoPrompter,
};

/// Opens a channel with `first`: through a process that holds such a session, else by a login.
///
/// # Errors
/// Those of [`find_server`] and of [`client::connect`].
pub(crate) async fn open_channel(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
    first: &FirstRequest,
) -> Result<Channel, Failure> {
    if let Some(channel) = open_held(context, client, target, access, first).await? {
        return Ok(channel);
    }
    let (server, credential) = find_server(context, client, target, access).await?;
    let connected = client::connect(&server, &credential, Some(first)).await?;
    Ok(connected.login.channel)
}

/// Opens a channel with `first` through a process that holds such a session. If there is none, it
/// is started where the settings say so.
///
/// # Errors
/// As [`find_held`]; the process vanished.
pub(crate) async fn open_held(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
    first: &FirstRequest,
) -> Result<Option<Channel>, Failure> {
    let Some(usable) = Usable::find(context, client, target, access)? else {
        return Ok(None);
    };
    let held = client.open_held(&usable.key, first).await?;
    usable.note(context, (target, access), held.is_some());
    Ok(held)
}

/// The session with a server: the one that a process holds, else one that logs in when its first
/// channel is opened.
///
/// A held one asks nothing, also if it is over by then.
///
/// # Errors
/// Those of [`find_server`].
pub(crate) async fn find_session(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<ClientSession, Failure> {
    if let Some(usable) = Usable::find(context, client, target, access)? {
        let find = find_later(context, client, target, access);
        let held = client.held_session(&usable.key, &usable.server, find).await;
        usable.note(context, (target, access), held.is_some());
        if let Some(session) = held {
            return Ok(session);
        }
    }
    let (server, credential) = find_server(context, client, target, access).await?;
    Ok(ClientSession::new(server, credential))
}

/// Finds what to log in with once a held session is over.
///
/// It asks nothing: that happens in the middle of a command, which may be alone by then.
fn find_later(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> FindCredential {
    let (mut context, client) = (context.clone(), client.clone());
    context.prompter = Arc::new(NoPrompter);
    let (target, access) = (target.clone(), access.clone());
    Box::new(move || {
        let (context, client) = (context.clone(), client.clone());
        let (target, access) = (target.clone(), access.clone());
        Box::pin(async move {
            let found = find_server(&context, &client, &target, &access).await;
            found.map(|(_, credential)| credential).map_err(|failure| {
                let problem = format!("the held session is over, and {}", failure.what);
                landline::Error::here(ErrorCode::LoginRefused, problem)
            })
        })
    })
}

/// A known server with which a session may be held.
struct Usable {
    server: KnownServer,
    key: HoldKey,
    settings: ClientSettings,
}

impl Usable {
    /// `None` where no session is held and none shall be, and where options say how to log in.
    ///
    /// # Errors
    /// Those of [`find_held`]; the settings cannot be read.
    fn find(
        context: &Context,
        client: &Client,
        target: &Target,
        access: &Access,
    ) -> Result<Option<Self>, Failure> {
        let settings = ClientSettings::read(&context.environment)?;
        // A session that is held may be connected by another kind of address.
        if access.family.is_some() || !client.has_holds() && !settings.may_hold() {
            return Ok(None);
        }
        let found = find_held(context, client, target, access)?;
        Ok(found.map(|(server, key)| Self {
            server,
            key,
            settings,
        }))
    }

    /// Starts a process that holds the session, where there is none and the settings say so.
    fn note(&self, context: &Context, (target, access): (&Target, &Access), is_held: bool) {
        if is_held {
            debug!("the session with {} is held", self.server);
        } else if let Some(time) = self.settings.hold_time(target, &self.server) {
            hold::start(context, target, access, time);
        }
    }
}

/// The known server of a target, and the name of a held session with it.
///
/// `None` for an unknown server, and where options say how to log in.
///
/// # Errors
/// As [`find_server`].
pub(crate) fn find_held(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<Option<(KnownServer, HoldKey)>, Failure> {
    if access.identity.is_some() || passwords::is_named(&context.environment, &access.password) {
        return Ok(None);
    }
    let (target, config) = locate(context, client, target, access)?;
    let Ok(mut server) = find_known(client, &target, &config) else {
        return Ok(None);
    };
    server.via = choose_route(access.via_ssh.clone().or(server.via), &config)?;
    let key = HoldKey::new(&server, &key_sources(context, client, &config));
    Ok(Some((server, key)))
}
