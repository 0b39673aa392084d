//! A session with a server, and the channels that it opens.

use std::sync::Arc;

use landline_proto::ErrorCode;
use tokio::sync::Mutex;

use super::{Connected, connect};
use crate::{
    Error, Side,
    login::{Credential, FirstRequest, KnownServer},
    net::RateLimiter,
};

/// A session with a server: one login, and a channel for every service in use.
///
/// The first channel comes with the login. Each further channel is a connection that is attached to
/// the session without a person. If the session is over, such as after a restart of the server, the
/// next channel logs in again.
pub struct ClientSession {
    server: KnownServer,
    credential: Credential,
    rate_limiter: Option<Arc<RateLimiter>>,
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    /// The credential that attaches further connections, after the first login.
    attachment: Option<Credential>,
    /// An attached connection without a channel.
    reserve: Option<Connected>,
}

impl ClientSession {
    /// A session that logs in when its first channel is opened.
    pub fn new(server: KnownServer, credential: Credential) -> Self {
        Self {
            server,
            credential: credential.attachable(),
            rate_limiter: None,
            state: Mutex::default(),
        }
    }

    /// Limits the rate of the content of all channels that are opened from now on.
    pub fn set_rate_limiter(&mut self, rate_limiter: Arc<RateLimiter>) {
        self.rate_limiter = Some(rate_limiter);
    }

    /// The server.
    pub fn server(&self) -> &KnownServer {
        &self.server
    }

    /// Opens a channel.
    ///
    /// Several channels can be open at a time, but they open one after another.
    ///
    /// # Errors
    /// Those of [`connect`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the unfinished connection is closed.
    pub async fn open_channel(&self, first: &FirstRequest) -> Result<Connected, Error> {
        let mut connected = self.connect(first).await?;
        if let Some(rate_limiter) = &self.rate_limiter {
            // To connect takes one round trip.
            let round_trip = connected.route.connect_time();
            let channel = &mut connected.login.channel;
            channel.limit_rate(rate_limiter.clone(), round_trip);
        }
        Ok(connected)
    }

    async fn connect(&self, first: &FirstRequest) -> Result<Connected, Error> {
        let mut state = self.state.lock().await;
        if let Some(mut reserve) = state.reserve.take()
            && !reserve.login.channel.reader.is_closed()
            && first.send(&mut reserve.login.channel).await.is_ok()
        {
            return Ok(reserve);
        }
        if let Some(attachment) = &state.attachment {
            match connect(&self.server, attachment, Some(first)).await {
                Err(error) if is_session_over(&error) => state.attachment = None,
                attached => return attached,
            }
        }
        let connected = connect(&self.server, &self.credential, Some(first)).await?;
        state.attachment = connected.login.attachment(&self.credential.method);
        Ok(connected)
    }

    /// Attaches a connection in reserve.
    ///
    /// With it the next channel opens in one round trip. Does nothing if there is one already, or
    /// if the session has not logged in.
    ///
    /// # Errors
    /// Those of [`connect`]. The session stays usable.
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

    /// Closes the connection in reserve. The session ends with its last channel.
    pub async fn finish(self) {
        if let Some(reserve) = self.state.into_inner().reserve {
            reserve.login.channel.finish().await;
        }
    }
}

/// Whether the server no longer has the session to attach to.
fn is_session_over(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            side: Side::There,
            code: ErrorCode::LoginRefused,
            ..
        }
    )
}
