//! Messages over a stream: where one ends and the next begins is said by a [`Codec`], which this
//! crate knows nothing more of.
//!
//! A codec is a few lines around whatever encodes and decodes the messages of a protocol. This one
//! ends them with a line feed:
//!
//! ```
//! use landline_socketserver::{Server, Stopper, blocking::UnixConnection, framing::{Codec, Framed}, memory};
//! use std::{io::{self, Read, Write}, net::Shutdown, thread};
//!
//! #[derive(Default)]
//! struct Lines;
//!
//! impl Codec for Lines {
//!     type Frame = String;
//!
//!     fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<String>> {
//!         let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
//!         let (line, rest) = input.split_at(end);
//!         *input = &rest[1..];
//!         String::from_utf8(line.to_vec()).map(Some).map_err(io::Error::other)
//!     }
//!
//!     fn encode(&mut self, line: &String, output: &mut Vec<u8>) -> io::Result<()> {
//!         output.extend_from_slice(line.as_bytes());
//!         output.push(b'\n');
//!         Ok(())
//!     }
//! }
//!
//! fn echo(connection: &mut UnixConnection) -> io::Result<()> {
//!     let mut lines = Framed::new(connection, Lines);
//!     while let Some(line) = lines.receive()? {
//!         lines.send(&line)?;
//!     }
//!     lines.flush()
//! }
//!
//! # fn main() -> io::Result<()> {
//! let (listener, dialer) = memory::listener()?;
//! let (stopper, shutdown) = Stopper::new()?;
//! let serving = thread::spawn(move || Server::new(listener, echo).inline(&shutdown));
//! let mut client = dialer.connect()?;
//! client.write_all(b"one\ntwo\n")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "one\ntwo\n");
//! stopper.stop();
//! serving.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! Async handlers use [`TaskFramed`] with the same codec.

mod blocking;
mod buffers;
mod task;

use std::io;

pub use blocking::Framed;
pub use task::TaskFramed;

/// What turns bytes into frames and frames into bytes.
pub trait Codec {
    /// A whole message, or whatever part of one the protocol is handled by.
    type Frame;

    /// The next frame of `input`, which is advanced past what was used; `None` when it takes more
    /// bytes. What is left of `input` is given again with more behind it.
    ///
    /// # Errors
    /// Where the bytes are none of the protocol: the stream is lost then. A frame that would be too
    /// long is refused here, as soon as that can be seen.
    fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<Self::Frame>>;

    /// Appends a frame to `output`.
    ///
    /// # Errors
    /// Where the protocol has no way to say it.
    fn encode(&mut self, frame: &Self::Frame, output: &mut Vec<u8>) -> io::Result<()>;

    /// Whether the stream may end here, for a codec that has used up the beginning of a frame
    /// itself. Bytes that are left of `input` are seen without it.
    fn at_boundary(&self) -> bool {
        true
    }
}
