//! Connections through a server, over as many channels of a session as they need.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use landline_proto::limits::{SESSION_CONNECTIONS_MAX, STREAMS_OPENED_MAX};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::ClientSession;
use crate::{
    Error,
    forward::{ForwardChannel, ForwardOrder, LocalEnd, open_request},
    net::HostPort,
};

/// The most channels: one connection of the session is left for a command, one for its successor.
const CHANNELS_MAX: usize = SESSION_CONNECTIONS_MAX - 2;

/// How long the end of a channel may take.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// Forwards connections through a server. Cloning gives another handle to the same.
///
/// The channels end with [`close`](Self::close), or once all handles are dropped and no connection
/// is open.
#[derive(Clone)]
pub struct Forwarder(Arc<Shared>);

struct Shared {
    session: Arc<ClientSession>,
    channels: Mutex<Vec<ForwardHandle>>,
    /// How many connections are open in all channels.
    open: watch::Sender<usize>,
    failure: mpsc::UnboundedSender<Error>,
    failures: Mutex<mpsc::UnboundedReceiver<Error>>,
}

/// A channel, with the task that carries its connections.
struct ForwardHandle {
    orders: mpsc::UnboundedSender<ForwardOrder>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Opens the first channel of `session`.
    ///
    /// # Errors
    /// Those of [`ClientSession::open_channel`].
    pub async fn open(session: Arc<ClientSession>) -> Result<Self, Error> {
        let (failure, failures) = mpsc::unbounded_channel();
        let shared = Shared {
            session,
            channels: Mutex::default(),
            open: watch::Sender::new(0),
            failure,
            failures: Mutex::new(failures),
        };
        let first = shared.open_channel().await?;
        shared.channels.lock().await.push(first);
        Ok(Self(Arc::new(shared)))
    }

    /// Has the server connect to `target`, and carries the connection until it ends.
    ///
    /// # Errors
    /// Why there is no connection, or that it was reset: then bytes may be missing.
    pub async fn connect(&self, target: HostPort, local: LocalEnd) -> Result<(), Error> {
        let (done, ended) = oneshot::channel();
        let order = ForwardOrder::Connect {
            target,
            local,
            done,
        };
        let _counted = self.0.order(order).await?;
        ended.await.unwrap_or_else(|_| Err(channel_ended()))
    }

    /// Has the server listen on this address, and connects what arrives there to `target` on this
    /// side. Returns the address with its port.
    ///
    /// # Errors
    /// Why the server does not listen.
    pub async fn listen(
        &self,
        address: IpAddr,
        port: u16,
        target: HostPort,
    ) -> Result<SocketAddr, Error> {
        let (answer, answered) = oneshot::channel();
        let order = ForwardOrder::Listen {
            address,
            port,
            target,
            answer,
        };
        drop(self.0.order(order).await?);
        answered.await.unwrap_or_else(|_| Err(channel_ended()))
    }

    /// Waits until a channel has failed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn failed(&self) -> Error {
        let failure = self.0.failures.lock().await.recv().await;
        failure.unwrap_or_else(channel_ended)
    }

    /// Ends all channels, so that the session ends at once. Connections that are open are reset.
    pub async fn close(&self) {
        let channels = std::mem::take(&mut *self.0.channels.lock().await);
        for channel in channels {
            let _ = channel.orders.send(ForwardOrder::Close);
            let _ = tokio::time::timeout(CLOSE_TIME_MAX, channel.task).await;
        }
    }

    /// Waits until no connection is open that [`connect`](Self::connect) made.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn idle(&self) {
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

fn channel_ended() -> Error {
    Error::Lost("the channel of the connection ended".into())
}

impl Shared {
    /// Gives an order to the channel with the fewest connections, or to a new one if all are full.
    async fn order(&self, order: ForwardOrder) -> Result<Counted, Error> {
        let mut channels = self.channels.lock().await;
        channels.retain(|channel| !channel.orders.is_closed());
        let open = |channel: &&ForwardHandle| channel.open.load(Ordering::Relaxed);
        let is_full = channels
            .iter()
            .all(|channel| open(&channel) >= STREAMS_OPENED_MAX);
        if is_full && channels.len() < CHANNELS_MAX {
            let further = self.open_channel().await?;
            channels.push(further);
        }
        let channel = channels.iter().min_by_key(open).ok_or_else(channel_ended)?;
        let counted = Counted::new(channel.open.clone(), self.open.clone());
        channel.orders.send(order).map_err(|_| channel_ended())?;
        Ok(counted)
    }

    async fn open_channel(&self) -> Result<ForwardHandle, Error> {
        let mut connected = self.session.open_channel(&open_request()?).await?;
        let (orders, mut received) = mpsc::unbounded_channel();
        let failure = self.failure.clone();
        let task = tokio::spawn(async move {
            let channel = &mut connected.login.channel;
            let mut carrying = ForwardChannel::new(channel);
            let carried = carrying.carry(&mut received).await;
            if let Err(error) = &carried {
                carrying.fail(error);
            }
            drop(carrying);
            match carried {
                Ok(()) => connected.login.channel.finish().await,
                Err(error) => {
                    if let Some(reason) = error.to_peer() {
                        connected.login.channel.fail(&reason).await;
                    }
                    let _ = failure.send(error);
                }
            }
        });
        Ok(ForwardHandle {
            orders,
            open: Arc::default(),
            task,
        })
    }
}

/// A connection that counts until it is dropped.
struct Counted {
    of_channel: Arc<AtomicUsize>,
    of_all: watch::Sender<usize>,
}

impl Counted {
    fn new(of_channel: Arc<AtomicUsize>, of_all: watch::Sender<usize>) -> Self {
        of_channel.fetch_add(1, Ordering::Relaxed);
        of_all.send_modify(|open| *open += 1);
        Self { of_channel, of_all }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of_channel.fetch_sub(1, Ordering::Relaxed);
        self.of_all.send_modify(|open| *open -= 1);
    }
}
