//! The client's half of the service `admin`. A channel is opened with `Who`
//! as its first request, which everybody may send.

use super::{
    control::ServerStatus,
    messages::{Answer, Changed, CheckRight, Kick, NewInvite, Request, SESSIONS, VERDICT},
    paging::{Invites, Keys, LiveSessions, Secrets, SessionRow, Users, receive_list},
    passwords::Registration,
};
use crate::{Error, net::Channel, rights::Verdict};

/// Waits for the answer to [`Who`](super::messages::Who): all sessions for an admin, one's own for
/// anybody else.
///
/// # Errors
/// What the server says, [`Error::Lost`].
pub(crate) async fn receive_sessions(channel: &mut Channel) -> Result<Vec<SessionRow>, Error> {
    receive_list::<LiveSessions>(channel, &SESSIONS).await
}

/// Ends the sessions of a user, or one by its id; those that are being ended now.
///
/// # Errors
/// `not-found`, `denied`, [`Error::Lost`].
pub async fn kick(channel: &mut Channel, target: &str) -> Result<Vec<SessionRow>, Error> {
    channel.send(&Kick {
        target: target.to_owned(),
    })?;
    channel.flush().await?;
    receive_sessions(channel).await
}

/// Asks for anything about accounts, credentials, invites and rights.
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
        Request::ListSecrets(_) | Request::RemoveSecret(_) => {
            Answer::Secrets(receive_list::<Secrets>(channel, state).await?)
        }
        Request::ShowServer(_) => {
            Answer::Server(channel.receive(state).await?.read::<ServerStatus>()?)
        }
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

/// Asks whether a user may do something, and which line says so.
///
/// # Errors
/// What the server says, [`Error::Lost`].
pub async fn check(channel: &mut Channel, request: &CheckRight) -> Result<Verdict, Error> {
    channel.send(request)?;
    channel.flush().await?;
    Ok(channel.receive(&VERDICT).await?.read()?)
}
