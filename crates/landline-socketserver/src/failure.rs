//! The ways in which a connection can fail.

use std::{any::Any, io};

use thiserror::Error;

/// The reason why one connection, or the handling of one datagram, failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The wrapper (TLS) or the handler's `setup` failed, or took too long.
    ///
    /// The kind for the latter is [`io::ErrorKind::TimedOut`].
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// `handle` or `finish` returned this error.
    #[error("{0}")]
    Handler(#[source] io::Error),
    /// The handler panicked with this message.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// The system provided no thread, process or descriptor for the handler.
    #[error("the handler could not be started: {0}")]
    NotStarted(#[source] io::Error),
    /// The process of the handler crashed or was killed.
    #[error("the handler's process ended with {0}")]
    Died(std::process::ExitStatus),
    /// The handler was still running when the drain time and the ending time were over.
    #[error("the handler was cut off: the time for draining is over")]
    CutOff,
}

impl Failure {
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "it did not say why".to_owned()))
    }
}
