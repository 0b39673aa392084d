//! A session with a server, and the channels that it opens.

use std::{pin::Pin, sync::Arc};

use landline_proto::{
    ErrorCode, bundle::BUNDLE_CONNECTIONS_MAX, limits::LINGER_TIME_MAX, login::BundleId,
    messages::Bundle,
};
use log::debug;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{Mutex, OnceCell},
    task::{JoinHandle, JoinSet},
};

use super::{
    Connected,
    connect::{connect, connect_on},
    hold::HeldAttachment,
};
use crate::{
    Error, Side,
    crypto::random,
    login::{ChannelBundle, Credential, FirstRequest, KnownServer},
    net::{Channel, RateLimiter, Route},
};

/// How many connections are added to a channel at a time.
const JOINING_MAX: usize = 2;

/// A session with a server: one login, and a channel for every service in use.
///
/// The first channel comes with the login. Each further channel is a connection that is attached to
/// the session without a person. If the session is over, such as after a restart of the server, the
/// next channel logs in again.
pub struct ClientSession {
    server: KnownServer,
    means: Means,
    rate_limiter: Option<Arc<RateLimiter>>,
    /// How many connections carry content beside the first one.
    further_connections: Box<dyn Fn(&Route) -> usize + Send + Sync>,
    state: Mutex<SessionState>,
}

/// What to log in with.
enum Means {
    Known(Credential),
    /// It is looked for when it is needed first.
    Later {
        find: FindCredential,
        found: OnceCell<Credential>,
    },
}

impl Means {
    async fn credential(&self) -> Result<&Credential, Error> {
        match self {
            Self::Known(credential) => Ok(credential),
            Self::Later { find, found } => {
                let find = async || Ok(find().await?.attachable());
                found.get_or_try_init(find).await
            }
        }
    }
}

/// Finds what to log in with, in the middle of a command.
pub type FindCredential =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Credential, Error>> + Send>> + Send + Sync>;

/// A channel to which connections can be added; see [`ClientSession::widen`].
#[derive(Clone)]
pub struct Widening {
    bundle: ChannelBundle,
    count: usize,
}

#[derive(Default)]
struct SessionState {
    /// The credential that attaches further connections, after the first login.
    attachment: Option<Arc<Credential>>,
    /// Connections without a channel, the next one last.
    reserve: Vec<ReservedConnection>,
    /// While it is open, the process keeps the session.
    usage: Option<UnixStream>,
}

impl ClientSession {
    /// A session that logs in when its first channel is opened.
    pub fn new(server: KnownServer, credential: Credential) -> Self {
        Self {
            server,
            means: Means::Known(credential.attachable()),
            rate_limiter: None,
            further_connections: Box::new(Route::further_connections),
            state: Mutex::default(),
        }
    }

    /// See [`Client::held_session`](super::Client::held_session).
    pub(super) fn held(
        server: KnownServer,
        attachment: HeldAttachment,
        find_credential: FindCredential,
    ) -> Self {
        let HeldAttachment { credential, usage } = attachment;
        let state = SessionState {
            attachment: Some(Arc::new(credential)),
            reserve: Vec::new(),
            usage: Some(usage),
        };
        Self {
            server,
            means: Means::Later {
                find: find_credential,
                found: OnceCell::new(),
            },
            rate_limiter: None,
            further_connections: Box::new(Route::further_connections),
            state: Mutex::new(state),
        }
    }

    /// Limits the rate of the content of all channels that are opened from now on.
    pub fn set_rate_limiter(&mut self, rate_limiter: Arc<RateLimiter>) {
        self.rate_limiter = Some(rate_limiter);
    }

    /// Says how many connections carry content beside the first one, for a route.
    ///
    /// Otherwise it is [`Route::further_connections`].
    pub fn set_further_connections(
        &mut self,
        count: impl Fn(&Route) -> usize + Send + Sync + 'static,
    ) {
        self.further_connections = Box::new(count);
    }

    /// The server.
    pub fn server(&self) -> &KnownServer {
        &self.server
    }

    /// Opens a channel.
    ///
    /// Several channels can be opened at the same time. Only the login comes before all others.
    ///
    /// # Errors
    /// Those of [`connect`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the unfinished connection is closed.
    pub async fn open_channel(&self, first: &FirstRequest) -> Result<Connected, Error> {
        let connected = self.connect(first, false).await?;
        Ok(self.limit_rate(connected))
    }

    /// Opens a channel for content, to which connections can be added where these are faster.
    ///
    /// That is so on a long line, to a server that can do it, and without a limit of the rate.
    ///
    /// # Errors
    /// Those of [`connect`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the unfinished connection is closed.
    pub async fn open_wide_channel(
        &self,
        first: &FirstRequest,
    ) -> Result<(Channel, Option<Widening>), Error> {
        let connected = self.connect(first, true).await?;
        let count = (self.further_connections)(&connected.route).min(BUNDLE_CONNECTIONS_MAX - 1);
        let bundle = connected.login.bundle.clone();
        let connected = self.limit_rate(connected);
        let widening = bundle.map(|bundle| Widening { bundle, count });
        Ok((connected.login.channel, widening))
    }

    /// Adds the connections that a channel lacks, each as soon as it is attached. Those that fail
    /// are left out.
    ///
    /// Two are made at a time, because servers limit connections that have not logged in.
    ///
    /// # Cancel safety
    /// Nothing is lost: further connections are not added.
    pub async fn widen(&self, widening: &Widening) {
        let Widening { bundle, count } = widening;
        let Some(attachment) = self.state.lock().await.attachment.clone() else {
            return;
        };
        let mut missing = (count + 1).saturating_sub(bundle.handle.count());
        let mut joining = JoinSet::new();
        loop {
            while missing > 0 && joining.len() < JOINING_MAX {
                missing -= 1;
                let (server, attachment) = (self.server.clone(), attachment.clone());
                joining.spawn(join(server, attachment, bundle.clone()));
            }
            match joining.join_next().await {
                None => return,
                Some(Ok(Ok(()))) => debug!("one more connection carries the channel"),
                Some(Ok(Err(error))) => debug!("a further connection: {error}"),
                Some(Err(error)) => debug!("a further connection: {error}"),
            }
        }
    }

    fn limit_rate(&self, mut connected: Connected) -> Connected {
        if let Some(rate_limiter) = &self.rate_limiter {
            let round_trip = connected.route.round_trip();
            let channel = &mut connected.login.channel;
            channel.limit_rate(rate_limiter.clone(), round_trip);
        }
        connected
    }

    async fn connect(&self, first: &FirstRequest, is_wide: bool) -> Result<Connected, Error> {
        loop {
            let mut state = self.state.lock().await;
            if let Some(reserved) = state.reserve.pop() {
                drop(state);
                match reserved
                    .open(first, |route| self.bundle_for(route, is_wide))
                    .await
                {
                    Ok(connected) => return Ok(connected),
                    Err(error) => debug!("a connection in reserve is of no use: {error}"),
                }
                continue;
            }
            let Some(attachment) = state.attachment.clone() else {
                return self.log_in(&mut state, first, is_wide).await;
            };
            drop(state);
            let mut on_dialed = |route: &Route| self.bundle_for(route, is_wide);
            match connect_on(&self.server, &attachment, Some(first), &mut on_dialed).await {
                Err(error) if is_session_over(&error) => self.forget(&attachment).await,
                Err(error) if is_session_full(&error) && self.is_held().await => {
                    debug!("the held session has no room: {error}");
                    self.forget(&attachment).await;
                }
                attached => return attached,
            }
        }
    }

    /// The id of a bundle, if connections may be added to the channel.
    fn bundle_for(&self, route: &Route, is_wide: bool) -> Option<BundleId> {
        let may_widen = is_wide && self.rate_limiter.is_none();
        (may_widen && (self.further_connections)(route) > 0).then(|| BundleId(random()))
    }

    async fn log_in(
        &self,
        state: &mut SessionState,
        first: &FirstRequest,
        is_wide: bool,
    ) -> Result<Connected, Error> {
        let credential = self.means.credential().await?;
        let mut on_dialed = |route: &Route| self.bundle_for(route, is_wide);
        let connected = connect_on(&self.server, credential, Some(first), &mut on_dialed).await?;
        let attachment = connected.login.attachment(&credential.method);
        state.attachment = attachment.map(Arc::new);
        Ok(connected)
    }

    /// Whether another process holds the session.
    async fn is_held(&self) -> bool {
        self.state.lock().await.usage.is_some()
    }

    /// Forgets a session that the server does not have any more.
    async fn forget(&self, attachment: &Arc<Credential>) {
        let mut state = self.state.lock().await;
        // Another channel may have logged in meanwhile.
        if state
            .attachment
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, attachment))
        {
            *state = SessionState::default();
        }
    }

    /// Keeps `count` connections in reserve, so that as many channels open in one round trip.
    ///
    /// It returns at once, and the connections are attached meanwhile. Does nothing if the session
    /// has not logged in.
    pub async fn prepare_reserve(&self, count: usize) {
        let mut state = self.state.lock().await;
        let Some(attachment) = state.attachment.clone() else {
            return;
        };
        while state.reserve.len() < count {
            let (server, attachment) = (self.server.clone(), attachment.clone());
            let attaching = async move { connect(&server, &attachment, None).await };
            state
                .reserve
                .push(ReservedConnection(tokio::spawn(attaching)));
        }
    }

    /// Closes the connections in reserve. The session ends with its last channel.
    pub async fn finish(self) {
        for mut reserved in self.state.into_inner().reserve {
            if reserved.0.is_finished()
                && let Ok(Ok(connected)) = (&mut reserved.0).await
            {
                connected.login.channel.finish().await;
            }
        }
    }
}

/// A connection that is attached, or will be. Closed when it is dropped.
struct ReservedConnection(JoinHandle<Result<Connected, Error>>);

impl ReservedConnection {
    /// Opens a channel on the connection, once it is attached. `bundle` says whether connections
    /// can be added to it.
    async fn open(
        self,
        first: &FirstRequest,
        bundle: impl Fn(&Route) -> Option<BundleId>,
    ) -> Result<Connected, Error> {
        let mut connected = self.attached().await?;
        let bundle = bundle(&connected.route);
        connected.login.open(first, bundle).await?;
        Ok(connected)
    }

    async fn attached(mut self) -> Result<Connected, Error> {
        let joined = (&mut self.0).await;
        let mut connected = joined.map_err(|error| Error::Lost(error.to_string()))??;
        if connected.login.channel.reader.is_closed() {
            return Err(Error::Lost("the server closed it".into()));
        }
        Ok(connected)
    }
}

impl Drop for ReservedConnection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Attaches a connection, and adds it to a channel.
async fn join(
    server: KnownServer,
    attachment: Arc<Credential>,
    bundle: ChannelBundle,
) -> Result<(), Error> {
    let mut channel = connect(&server, &attachment, None).await?.login.channel;
    channel.send(&Bundle { bundle: bundle.id })?;
    channel.flush().await?;
    if let Err(mut stream) = bundle.handle.add(channel.take_stream()) {
        // The channel is over. The server must not take this connection for a lost one.
        let _ = tokio::time::timeout(LINGER_TIME_MAX, stream.shutdown()).await;
    }
    Ok(())
}

/// Whether the server no longer has the session to attach to.
fn is_session_over(error: &Error) -> bool {
    is_from_server(error, ErrorCode::LoginRefused)
}

/// Whether the session has as many connections as it may have.
fn is_session_full(error: &Error) -> bool {
    is_from_server(error, ErrorCode::TooManySessions)
}

fn is_from_server(error: &Error, expected: ErrorCode) -> bool {
    matches!(error, Error::Failed { side: Side::There, code, .. } if *code == expected)
}
