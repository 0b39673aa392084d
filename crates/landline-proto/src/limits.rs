//! The limits of the protocol (`docs/protocol.md` sections 11 and 17).

use std::time::Duration;

/// The frame sizes that a [`MessageDecoder`](crate::MessageDecoder) accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest header frame, in bytes.
    pub header_bytes_max: u32,
    /// The longest data frame, in bytes; `None` rejects any message with a body.
    pub data_bytes_max: Option<u32>,
}

impl Limits {
    /// The limits before the login is accepted.
    pub const LOGIN: Self = Self {
        header_bytes_max: 4 * 1024,
        data_bytes_max: None,
    };
    /// The limits after the login.
    pub const SESSION: Self = Self {
        header_bytes_max: 64 * 1024,
        data_bytes_max: Some(DATA_BYTES_MAX),
    };
}

/// The longest data frame after login, in bytes.
pub const DATA_BYTES_MAX: u32 = 256 * 1024;

/// How long a login may take after the connection is accepted.
pub const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a login may take in all, if a person has to sign.
///
/// The client announces this by [`Signing`](crate::messages::Signing).
pub const SIGNING_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a client may wait between `welcome` and a complete `open`.
pub const OPEN_TIME_MAX: Duration = Duration::from_secs(10);

/// How many connections may have [`SIGNING_TIME_MAX`] at a time.
pub const SIGNING_MAX: usize = 64;

/// How many of [`SIGNING_MAX`] one network can have.
///
/// The server's own machine has [`SIGNING_FROM_THIS_MACHINE_MAX`].
pub const SIGNING_FROM_SOURCE_MAX: usize = 4;

/// How many of [`SIGNING_MAX`] the server's machine can have, where tunnels end.
pub const SIGNING_FROM_THIS_MACHINE_MAX: usize = 32;

/// How many connections a session may have at a time.
pub const SESSION_CONNECTIONS_MAX: usize = 16;

/// How many keys a client may name in [`Keys`](crate::messages::Keys).
pub const KEYS_MAX: usize = 64;

/// How deep the arrays and objects of a header may be nested, the header itself being 1.
pub const NESTING_MAX: u32 = 16;

/// How many bytes are read and discarded after an error was sent.
///
/// So the error arrives before a reset does. It is more than a connection has on its way: the
/// largest windows of common systems are 32 MiB.
pub const LINGER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long bytes are read and discarded after an error was sent.
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
