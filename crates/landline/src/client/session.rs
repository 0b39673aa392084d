//! A session with a server, and the channels that it opens.

use landline_proto::ErrorCode;
use tokio::sync::Mutex;

use super::{Connected, connect};
use crate::{
    Error, Side,
    login::{Credential, FirstRequest, KnownServer},
};

/// A session with a server: one login, and a channel for every service that is used.
///
/// The first channel comes with the login. Each further one is a connection that is attached to the
/// session, which takes no person. Where the session is over, such as after a restart of the
/// server, the next channel logs in again.
pub struct ClientSession {
    server: KnownServer,
    credential: Credential,
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    /// What further connections are attached with, once there was a login.
    attachment: Option<Credential>,
    /// A connection that is attached and has no channel.
    reserve: Option<Connected>,
}

impl ClientSession {
    /// A session that logs in when its first channel is opened.
    pub fn new(server: KnownServer, credential: Credential) -> Self {
        Self {
            server,
            credential: credential.attachable(),
            state: Mutex::default(),
        }
    }

    /// The server.
    pub fn server(&self) -> &KnownServer {
        &self.server
    }

    /// Opens a channel. Several channels can be open at a time; opening them takes turns.
    ///
    /// # Errors
    /// Those of [`connect`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the connection that was being made is closed.
    pub async fn open_channel(&self, first: &FirstRequest) -> Result<Connected, Error> {
        let mut state = self.state.lock().await;
        if let Some(mut reserve) = state.reserve.take()
            && !reserve.login.channel.reader.is_closed()
            && first.send(&mut reserve.login.channel).await.is_ok()
        {
            return Ok(reserve);
        }
        if let Some(attachment) = &state.attachment {
            match connect(&self.server, attachment, Some(first)).await {
                Err(error) if is_refused(&error) => state.attachment = None,
                attached => return attached,
            }
        }
        let connected = connect(&self.server, &self.credential, Some(first)).await?;
        state.attachment = connected.login.attachment(&self.credential.method);
        Ok(connected)
    }

    /// Attaches a connection that the next channel uses, so that it opens in one round trip. Does
    /// nothing where there is one, or the session has not logged in.
    ///
    /// # Errors
    /// Those of [`connect`]. The session can be used all the same.
    pub async fn prepare_reserve(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let has_reserve = state
            .reserve
            .as_mut()
            .is_some_and(|reserve| !reserve.login.channel.reader.is_closed());
        if has_reserve {
            return Ok(());
        }
        if let Some(attachment) = &state.attachment {
            state.reserve = Some(connect(&self.server, attachment, None).await?);
        }
        Ok(())
    }

    /// Closes what is held in reserve. The session ends with its last channel.
    pub async fn finish(self) {
        if let Some(reserve) = self.state.into_inner().reserve {
            reserve.login.channel.finish().await;
        }
    }
}

/// Whether the session to attach to is over.
fn is_refused(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            side: Side::There,
            code: ErrorCode::LoginRefused,
            ..
        }
    )
}
