//! Unsecured connections to a server, by TCP or through ssh.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{HostPort, Transport, ssh, tcp, tcp::BBR};
use crate::{Error, ssh_config::ProxyJump};

/// An unsecured connection to a server.
pub struct DialedStream {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) first_byte: Option<FirstByteTime>,
}

impl DialedStream {
    /// A connection whose other end is the server itself.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            first_byte: None,
        }
    }

    /// Completes when the server can be expected to answer.
    ///
    /// A TCP connection is ready at once. A connection through ssh is ready when its first byte
    /// arrives, because ssh may prompt the user before that.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let first_byte = self.first_byte.clone();
        async move {
            if let Some(mut first_byte) = first_byte {
                first_byte.wait().await;
            }
        }
    }
}

/// The time at which the first byte arrived.
#[derive(Debug, Clone)]
pub struct FirstByteTime(watch::Receiver<Option<Instant>>);

impl FirstByteTime {
    /// A time that is still unknown, and the sender that sets it.
    pub(super) fn pending() -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// The time, if the first byte has arrived.
    pub(crate) fn moment(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Completes when the first byte has arrived.
    ///
    /// It never completes on a connection that has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn wait(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }
}

/// From this round trip on, a line is long.
const LONG_ROUND_TRIP_MIN: Duration = Duration::from_millis(10);

/// The route by which a server is reached.
#[derive(Debug, Clone)]
pub enum Route {
    /// By TCP.
    Tcp {
        /// The address that answered.
        address: SocketAddr,
        /// How long the name took to resolve.
        resolve_time: Duration,
        /// How long connecting took.
        connect_time: Duration,
        /// The time of a round trip.
        round_trip: Duration,
        /// The congestion control of this side, as the system names it; empty if it does not say.
        congestion_control: String,
    },
    /// Through ssh.
    Ssh {
        /// The jump hosts.
        via: ProxyJump,
        /// When ssh was started.
        start: Instant,
        /// When the first byte arrived from the server.
        first_byte: FirstByteTime,
    },
}

impl Route {
    /// How many connections beside the first one carry much content faster.
    ///
    /// None where a round trip takes less than 10 ms: there one connection fills the line. On a
    /// longer line a lost packet slows a connection down for a while, and the others not. BBR needs
    /// four for that. Other congestion controls take every loss for a full line, so there are
    /// eight. None through ssh, which is one connection itself.
    pub fn further_connections(&self) -> usize {
        match self {
            Self::Tcp { round_trip, .. } if *round_trip < LONG_ROUND_TRIP_MIN => 0,
            Self::Tcp {
                congestion_control, ..
            } if congestion_control == BBR => 3,
            Self::Tcp { .. } => 7,
            Self::Ssh { .. } => 0,
        }
    }

    /// The time of a round trip, or a longer one.
    pub(crate) fn round_trip(&self) -> Duration {
        match self {
            Self::Tcp { round_trip, .. } => *round_trip,
            // The time until an answer came is at least one.
            Self::Ssh { .. } => self.connect_time(),
        }
    }

    /// The time that connecting took.
    ///
    /// It counts from the first packet, or from the start of ssh, until the server could answer.
    pub fn connect_time(&self) -> Duration {
        match self {
            Self::Tcp { connect_time, .. } => *connect_time,
            Self::Ssh {
                start, first_byte, ..
            } => first_byte
                .moment()
                .unwrap_or_else(Instant::now)
                .saturating_duration_since(*start),
        }
    }
}

/// Connects to a server by TCP, or through the jump hosts of `via`.
///
/// Through ssh this returns at once. If ssh fails, reading from the connection reports the error.
///
/// # Errors
/// [`Error::Connect`]; [`Error::Ssh`] if ssh cannot be started.
pub async fn dial(
    address: &HostPort,
    via: Option<&ProxyJump>,
) -> Result<(DialedStream, Route), Error> {
    if let Some(via) = via.filter(|via| !via.hops.is_empty()) {
        let start = Instant::now();
        let (transport, first_byte) = ssh::dial(address, via)?;
        let line = DialedStream {
            transport: Box::new(transport),
            first_byte: Some(first_byte.clone()),
        };
        return Ok((
            line,
            Route::Ssh {
                via: via.clone(),
                start,
                first_byte,
            },
        ));
    }
    let tcp::Dialed {
        stream,
        address,
        resolve_time,
        connect_time,
        round_trip,
    } = tcp::dial(address).await?;
    let congestion_control = tcp::congestion_control(&stream);
    Ok((
        DialedStream::new(Box::new(stream)),
        Route::Tcp {
            address,
            resolve_time,
            connect_time,
            round_trip,
            congestion_control,
        },
    ))
}
