//! Messages over a stream.
//!
//! A [`Codec`] decides where a message ends. Two come with the crate:
//!
//! - [`SizedFrames`]: a length of four bytes, then that many bytes,
//! - [`JsonFrames`]: a JSON header with its length before it, then the bytes that it announces.
//!
//! Another is a few lines around the encoder and decoder of a protocol. This one ends messages with
//! a line feed:
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
mod json;
mod sized;
mod task;

use std::io;

pub use blocking::Framed;
pub use json::{JsonFrame, JsonFrames};
pub use sized::{ByteOrder, SizedFrames};
pub use task::TaskFramed;

/// Decodes bytes into frames, and encodes frames into bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no codec",
    label = "not a codec",
    note = "use `SizedFrames` or `JsonFrames`, or implement `framing::Codec`"
)]
pub trait Codec {
    /// A message, or the part of one that the protocol handles at a time.
    type Frame;

    /// Decodes the next frame of `input`; `None` if that needs more bytes.
    ///
    /// `input` is advanced past the bytes that were used. The rest is passed again, followed by
    /// more bytes.
    ///
    /// # Errors
    /// An error if the bytes violate the protocol. The stream cannot be used afterwards. Reject a
    /// frame that is too long as soon as its length is known.
    fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<Self::Frame>>;

    /// Appends a frame to `output`.
    ///
    /// # Errors
    /// An error if the protocol cannot express the frame.
    fn encode(&mut self, frame: &Self::Frame, output: &mut Vec<u8>) -> io::Result<()>;

    /// Whether the stream may end here.
    ///
    /// Implement it for a codec that keeps the beginning of a frame itself. Bytes that are left of
    /// `input` are noticed without it.
    fn at_boundary(&self) -> bool {
        true
    }
}
