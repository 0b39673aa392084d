//! How a service declares its streams.

use crate::limits::{STREAM_WINDOW_MAX, STREAM_WINDOW_START};

/// Which end of the channel this is; it decides which numbers it may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client: it opens even numbers.
    Client,
    /// The server: it opens odd numbers.
    Server,
}

/// How one side uses a stream.
///
/// Start from one of the constants, for example for a terminal's output:
///
/// ```
/// use landline_proto::streams::StreamOptions;
///
/// let options = StreamOptions {
///     window_start: 64 * 1024,
///     window_max: 64 * 1024,
///     ..StreamOptions::RECEIVE
/// };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// The offset of the first byte that this side sends; `None` if it sends none.
    ///
    /// It is 0 unless [`Streams::reconnect`](super::Streams::reconnect) follows at once: the state
    /// of an earlier process is continued then.
    pub send_from: Option<u64>,
    /// The offset up to which an earlier process may have sent, if it is higher than `send_from`.
    ///
    /// A peer that has more than `send_from` continues there. What this side writes before that
    /// offset is dropped.
    pub send_ahead: u64,
    /// The offset of the first byte that this side receives; `None` if it receives none.
    pub receive_from: Option<u64>,
    /// The credit that the peer gets at once, in bytes. A new stream has
    /// [`STREAM_WINDOW_INITIAL`](crate::limits::STREAM_WINDOW_INITIAL) in any case.
    pub window_start: u64,
    /// The most credit that the peer gets while the reader keeps up, and the most bytes that are
    /// held for the peer.
    ///
    /// For a terminal it should be small, because output on its way delays the effect of an
    /// interrupt.
    pub window_max: u64,
}

impl StreamOptions {
    /// This side sends.
    pub const SEND: Self = Self {
        send_from: Some(0),
        send_ahead: 0,
        receive_from: None,
        window_start: STREAM_WINDOW_START,
        window_max: STREAM_WINDOW_MAX,
    };
    /// This side receives.
    pub const RECEIVE: Self = Self {
        send_from: None,
        receive_from: Some(0),
        ..Self::SEND
    };
    /// Both sides send and receive.
    pub const BOTH: Self = Self {
        receive_from: Some(0),
        ..Self::SEND
    };
}
