//! What a service learns about its streams.

/// What a reader finds in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<'a> {
    /// The next bytes; never empty. They stay until [`Streams::consume`](super::Streams::consume)
    /// is called.
    Bytes(&'a [u8]),
    /// Nothing now.
    Waiting,
    /// Nothing any more: the stream has ended, was stopped, or is not open.
    End,
}

/// What happened to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// [`Streams::read`](super::Streams::read) finds more, or the end.
    Readable {
        /// The number of the stream.
        stream: u64,
    },
    /// [`Streams::write`](super::Streams::write) may take more.
    Writable {
        /// The number of the stream.
        stream: u64,
    },
    /// The peer reads no more, because it has read everything or does not want the rest.
    Stopped {
        /// The number of the stream.
        stream: u64,
        /// How many bytes of the stream the peer consumed.
        offset: u64,
    },
    /// The peer no longer knows the stream on the new channel, so it is not open any more.
    ///
    /// The peer has finished with it, or never saw the message that opened it.
    Gone {
        /// The number of the stream.
        stream: u64,
    },
}

impl StreamEvent {
    /// The number of the stream.
    pub fn stream(&self) -> u64 {
        match self {
            Self::Readable { stream }
            | Self::Writable { stream }
            | Self::Stopped { stream, .. }
            | Self::Gone { stream } => *stream,
        }
    }
}

/// How far a stream has come, in bytes from its beginning. A direction that is not used stays at
/// its first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamOffsets {
    /// Written by this side.
    pub written: u64,
    /// Of these, consumed by the peer as far as it has said so.
    pub acknowledged: u64,
    /// Received from the peer.
    pub received: u64,
    /// Of these, consumed by this side's reader.
    pub consumed: u64,
}
