//! The client's half of the service `admin`. A channel is opened with [`Who`] as its first request,
//! which everybody may send.

use landline_proto::order::State;

use super::{
    lists::{Invites, Keys, LiveSessions, Users, receive_list},
    messages::{Answer, Changed, Kick, NewInvite, Request, SERVICE, Who},
    passwords::Registration,
};
use crate::{
    Error,
    client::{self, Connected},
    login::{Credential, KnownServer},
    net::Channel,
    session::SessionInfo,
};

/// Connects, and asks who is logged in: all sessions for an admin, one's own for anybody else.
///
/// # Errors
/// Those of [`client::connect`], and what the server says.
pub async fn who(
    server: &KnownServer,
    credential: &Credential,
) -> Result<(Connected, Vec<SessionInfo>), Error> {
    let mut connected = client::connect(server, credential, SERVICE, &Who {}).await?;
    let sessions =
        receive_list::<LiveSessions>(&mut connected.login.channel, State::ClientSessions).await?;
    Ok((connected, sessions))
}

/// Ends the sessions of a user, or one by its id; those that are being ended now.
///
/// # Errors
/// `not-found`, `denied`, [`Error::Lost`].
pub async fn kick(channel: &mut Channel, target: &str) -> Result<Vec<SessionInfo>, Error> {
    channel.send(&Kick {
        target: target.to_owned(),
    })?;
    channel.flush().await?;
    receive_list::<LiveSessions>(channel, State::ClientSessions).await
}

/// Asks for anything about accounts, keys and invites.
///
/// # Errors
/// What the server says, [`Error::Lost`].
pub async fn ask(channel: &mut Channel, request: &Request) -> Result<Answer, Error> {
    request.send(channel)?;
    channel.flush().await?;
    let state = request.answer_state();
    Ok(match request {
        Request::ListUsers(_) => Answer::Users(receive_list::<Users>(channel, state).await?),
        Request::ListKeys(_) => Answer::Keys(receive_list::<Keys>(channel, state).await?),
        Request::ListInvites(_) => Answer::Invites(receive_list::<Invites>(channel, state).await?),
        Request::RegisterPassword(_) => {
            Answer::Registration(channel.receive(state).await?.read::<Registration>()?)
        }
        Request::MakeInvite(_) => {
            Answer::Invite(channel.receive(state).await?.read::<NewInvite>()?)
        }
        _ => {
            channel.receive(state).await?.read::<Changed>()?;
            Answer::Changed
        }
    })
}
