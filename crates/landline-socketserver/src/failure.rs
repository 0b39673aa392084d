//! How a connection can end badly.

use std::{any::Any, io};

use thiserror::Error;

/// Why a connection, or the handling of a datagram, ended otherwise than well. It ends that one
/// alone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The wrapper (TLS) or the handler's `setup` did not come to its end, mostly for the peer's
    /// sake, or took too long ([`io::ErrorKind::TimedOut`]).
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// `handle` or `finish` returned this.
    #[error("{0}")]
    Handler(#[source] io::Error),
    /// The handler panicked: a bug of its own. What it said is here.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// The system did not give what a handler needs: a thread, a process, a descriptor.
    #[error("the handler could not be started: {0}")]
    NotStarted(#[source] io::Error),
    /// The process of the handler was ended from outside, or crashed.
    #[error("the handler's process ended with {0}")]
    Died(std::process::ExitStatus),
    /// It still ran when the time for draining and ending was over, and was cut off.
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
