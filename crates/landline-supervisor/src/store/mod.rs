//! The job folder: what a supervisor with the disk store writes, and how a server reads it.
//!
//! The server creates the folder with mode 0700. The supervisor creates these files in it:
//!
//! | file | content |
//! | --- | --- |
//! | `lock` | Empty. The supervisor holds an exclusive `flock` on it as long as it lives. |
//! | `socket` | A Unix stream socket, on which a server adopts the supervisor. |
//! | `1-HEX`, `2-HEX` | A segment of standard output or standard error. `HEX` is the offset of its first byte, as 16 lower-case hexadecimal digits. |
//! | `index` | Records of 24 bytes. |
//! | `status` | The frame of the `exited` report, with its length. |
//!
//! With the memory store there are only `lock` and `socket`. The supervisor removes them and the
//! folder when it ends, and a file `record` of the server.
//!
//! # Segments
//! A segment holds at most [`SEGMENT_BYTES_MAX`] bytes and is only appended to. Bytes between two
//! segments that no segment holds were dropped: they are a gap.
//!
//! Both streams together keep at most the number of bytes that the server has set. To stay within
//! it, the supervisor unlinks the oldest segment of the stream that holds more. It never unlinks
//! the first segment of a stream, nor the newest. So four segments are kept at least.
//!
//! A write that fails leaves a gap too. The supervisor tries again after a second.
//!
//! # Index
//! A record is a time in milliseconds since the Unix epoch, the offset of standard output and the
//! offset of standard error (`u64` each, little-endian). At that time, so many bytes had been read.
//!
//! The supervisor writes a record before output that is of another stream than the output before.
//! It also writes one when the last record is a second old. So only one stream has grown between
//! two records, and a reader can show the streams in the order in which they were read. After
//! [`INDEX_BYTES_DENSE`] bytes there is at most one record a second, and after [`INDEX_BYTES_MAX`]
//! bytes there are no more.
//!
//! # Status
//! The supervisor syncs segments and index, writes `status.new`, syncs it and renames it to
//! `status`. A free lock and no status mean that the supervisor was killed.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{IndexRecord, JobFolder, Piece};
pub(crate) use writer::Writer;

use crate::protocol::OutputStream;

/// The most bytes of a segment.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// The length of the index up to which each change of the stream has a record.
pub const INDEX_BYTES_DENSE: u64 = 8 * 1024 * 1024;
/// The most bytes of the index.
pub const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The length of a record of the index.
const RECORD_BYTES: usize = 24;

pub(crate) const LOCK: &str = "lock";
pub(crate) const SOCKET: &str = "socket";
/// A file of the server.
pub(crate) const RECORD: &str = "record";
const INDEX: &str = "index";
const STATUS: &str = "status";
const STATUS_NEW: &str = "status.new";

/// The name of the segment of a stream that begins at `base`.
fn segment_name(stream: OutputStream, base: u64) -> String {
    format!("{}-{base:016x}", stream as u8)
}

/// The stream and the first offset of a segment; `None` for another file.
fn parse_segment_name(name: &[u8]) -> Option<(OutputStream, u64)> {
    let (stream, base) = std::str::from_utf8(name).ok()?.split_once('-')?;
    let stream = OutputStream::ALL
        .into_iter()
        .find(|known| stream == (*known as u8).to_string())?;
    let base = u64::from_str_radix(base, 16).ok()?;
    (segment_name(stream, base).as_bytes() == name).then_some((stream, base))
}
