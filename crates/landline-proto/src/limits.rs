//! What a side accepts at most (`docs/protocol.md` section 11).

use std::time::Duration;

/// The sizes that a [`MessageDecoder`](crate::MessageDecoder) holds the peer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest header frame, in bytes.
    pub header_bytes_max: u32,
    /// The longest data frame, in bytes; `None` refuses any message with a body.
    pub data_bytes_max: Option<u32>,
}

impl Limits {
    /// In force until the login was accepted.
    pub const LOGIN: Self = Self {
        header_bytes_max: 4 * 1024,
        data_bytes_max: None,
    };
    /// In force after it.
    pub const SESSION: Self = Self {
        header_bytes_max: 64 * 1024,
        data_bytes_max: Some(DATA_BYTES_MAX),
    };
}

/// The longest data frame after login, in bytes.
pub const DATA_BYTES_MAX: u32 = 256 * 1024;

/// From accepting a connection to a complete login, in all.
pub const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);

/// The same once a client has said that it is [`Signing`](crate::messages::Signing).
pub const SIGNING_TIME_MAX: Duration = Duration::from_secs(60);

/// From `welcome` to a complete `open`.
pub const OPEN_TIME_MAX: Duration = Duration::from_secs(10);

/// How many connections at a time may have [`SIGNING_TIME_MAX`].
pub const SIGNING_MAX: usize = 64;

/// How many of [`SIGNING_MAX`] one source can have, other than the server's own machine.
pub const SIGNING_FROM_SOURCE_MAX: usize = 4;

/// How many of [`SIGNING_MAX`] the server's own machine can have, where tunnels end.
pub const SIGNING_FROM_THIS_MACHINE_MAX: usize = 32;

/// How many connections a session may have at a time.
pub const SESSION_CONNECTIONS_MAX: usize = 16;

/// How many keys a client may name in [`Keys`](crate::messages::Keys).
pub const KEYS_MAX: usize = 64;

/// How deep the arrays and objects of a header may be nested, the header itself being 1.
pub const NESTING_MAX: u32 = 16;

/// What is read and discarded after an error was sent, in bytes, so that the reason arrives before
/// a reset does.
pub const LINGER_BYTES_MAX: u64 = 1024 * 1024;

/// How long [`LINGER_BYTES_MAX`] is waited for.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// The longest text of an `error` message, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 1024;

/// The most content of one [`Bytes`](crate::streams::Bytes) message, in bytes.
///
/// A control message waits for at most one such message that was begun before it.
pub const STREAM_BYTES_MAX: u64 = 64 * 1024;

/// The credit of a stream when it is opened, in bytes, without any `ack`.
pub const STREAM_WINDOW_INITIAL: u64 = 64 * 1024;

/// The credit that a receiver gives a stream by default as soon as it is opened, in bytes.
pub const STREAM_WINDOW_START: u64 = 256 * 1024;

/// The most credit that a stream gets by default while its reader keeps up, in bytes.
pub const STREAM_WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// How many streams that one side opened a channel may have open at a time.
pub const STREAMS_OPENED_MAX: usize = 256;

/// How many streams with a fixed number a service may have.
pub const STREAMS_FIXED_MAX: usize = 16;
