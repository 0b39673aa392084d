//! A line to a server before it is secured: by TCP, or through ssh.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{HostPort, Transport, ssh, tcp};
use crate::{Error, ssh_config::ProxyJump};

/// What a login runs over, and since when the server can be expected to answer.
pub struct DialedStream {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) first_byte: Option<FirstByteTime>,
}

impl DialedStream {
    /// A line at whose other end the server is already.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            first_byte: None,
        }
    }

    /// Completes once the server can be expected to answer: at once, or when ssh has been let in,
    /// which may have taken a person.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let first_byte = self.first_byte.clone();
        async move {
            if let Some(mut first_byte) = first_byte {
                first_byte.wait().await;
            }
        }
    }
}

/// When the first byte came back.
#[derive(Debug, Clone)]
pub struct FirstByteTime(watch::Receiver<Option<Instant>>);

impl FirstByteTime {
    /// One that has not come yet, and how to say that it did.
    pub(super) fn pending() -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// When it came, if it did.
    pub fn moment(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Completes when it came, which it never does on a line that has ended. Cancel-safe.
    async fn wait(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Route {
    /// By TCP.
    Tcp {
        /// The address that answered.
        address: SocketAddr,
        /// How long the name took to resolve.
        resolve_time: Duration,
        /// How long the connection took to be made.
        connect_time: Duration,
    },
    /// Through ssh.
    Ssh {
        /// The hosts gone through.
        way: ProxyJump,
        /// When ssh was started.
        start: Instant,
        /// When the first byte came back from the server.
        first_byte: FirstByteTime,
    },
}

impl Route {
    /// From the first packet, or from when ssh was started, until there was a line.
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

/// The one way to reach a server: through the hosts of `via` where there are any, else by TCP.
/// Through ssh there is a line at once, and what is wrong with ssh is learned when it is read.
///
/// # Errors
/// [`Error::Connect`]; [`Error::Ssh`] where ssh cannot be started.
pub async fn dial(
    address: &HostPort,
    via: Option<&ProxyJump>,
) -> Result<(DialedStream, Route), Error> {
    if let Some(way) = via.filter(|way| !way.hops.is_empty()) {
        let start = Instant::now();
        let (transport, first_byte) = ssh::dial(address, way)?;
        let line = DialedStream {
            transport: Box::new(transport),
            first_byte: Some(first_byte.clone()),
        };
        return Ok((
            line,
            Route::Ssh {
                way: way.clone(),
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
    } = tcp::dial(address).await?;
    Ok((
        DialedStream::new(Box::new(stream)),
        Route::Tcp {
            address,
            resolve_time,
            connect_time,
        },
    ))
}
