//! The server's side of a job folder.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, openat, statat},
    io::Errno,
    net::SocketAddrUnix,
};

use super::{INDEX, LOCK, RECORD_BYTES, SOCKET, STATUS, parse_segment_name, segment_name};
use crate::{
    platform,
    protocol::{Exit, FrameBuffer, OutputStream, Report},
};

/// The most bytes that one call reads of a stream.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// The longest status file that is read.
const STATUS_BYTES_MAX: usize = 4096;
/// How often a read is tried again because a segment was unlinked meanwhile.
const ATTEMPTS_MAX: usize = 100;

/// The folder of a job, seen from a server.
///
/// # Blocking
/// All functions read files, and none waits for the supervisor.
#[derive(Debug)]
pub struct JobFolder {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// What there is of a stream at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes, at least one.
    Bytes(Vec<u8>),
    /// The bytes before `to` were dropped.
    Gap {
        /// Where the stream continues.
        to: u64,
    },
    /// Nothing more was stored.
    End,
}

/// A record of the index: how much of each stream had been read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRecord {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// How many bytes of standard output came before.
    pub stdout: u64,
    /// How many bytes of standard error came before.
    pub stderr: u64,
}

impl JobFolder {
    /// Opens a job folder.
    ///
    /// # Errors
    /// `path` is no folder, or a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_owned(),
            descriptor: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Whether a supervisor holds the lock. `false` if there is no lock file.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_locked(&self) -> io::Result<bool> {
        let Some(lock) = self.open_file(LOCK)? else {
            return Ok(false);
        };
        // A shared lock, so that two servers that look at once do not see each other.
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Connects to the supervisor. The length of the folder's path does not matter on Linux.
    ///
    /// # Errors
    /// Nothing listens; [`ErrorKind::WouldBlock`] if too many connections wait already;
    /// [`ErrorKind::PermissionDenied`] if another user listens.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let path = if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
        } else {
            self.path.clone()
        };
        let address = SocketAddrUnix::new(path.join(SOCKET))?;
        let socket = platform::socket()?;
        // A connection that cannot be made at once is refused, so this never waits.
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::net::connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, false)?;
        if !platform::is_peer_trusted(&socket)? {
            return Err(ErrorKind::PermissionDenied.into());
        }
        Ok(socket.into())
    }

    /// How the program ended, once it is recorded.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for a damaged file; what the system says.
    pub fn exit(&self) -> io::Result<Option<Exit>> {
        let Some(file) = self.open_file(STATUS)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; STATUS_BYTES_MAX];
        let length = read_at(&file, &mut bytes, 0)?;
        let mut frames = FrameBuffer::default();
        frames.extend(bytes.get(..length).unwrap_or_default());
        match frames.next_frame().ok().flatten().map(Report::decode) {
            Some(Ok(Report::Exited(exit))) => Ok(Some(exit)),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// What there is at `offset` of a stream of which `stored` bytes were stored: at most
    /// `bytes_max` bytes. Segments may be unlinked meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(
        &self,
        stream: OutputStream,
        offset: u64,
        stored: u64,
        bytes_max: usize,
    ) -> io::Result<Piece> {
        if offset >= stored {
            return Ok(Piece::End);
        }
        for _ in 0..ATTEMPTS_MAX {
            let bases = self.bases(stream)?;
            let split = bases.partition_point(|base| *base <= offset);
            let next = bases.get(split).copied().unwrap_or(u64::MAX).min(stored);
            if let Some(base) = split.checked_sub(1).and_then(|last| bases.get(last)) {
                let Some(file) = self.open_file(&segment_name(stream, *base))? else {
                    continue;
                };
                let room = usize::try_from(next - offset).unwrap_or(usize::MAX);
                let mut bytes = vec![0; room.min(bytes_max).clamp(1, READ_BYTES_MAX)];
                let length = read_at(&file, &mut bytes, offset - base)?;
                if length > 0 {
                    bytes.truncate(length);
                    return Ok(Piece::Bytes(bytes));
                }
            }
            return Ok(Piece::Gap { to: next });
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// The end of the newest segment of a stream: what a supervisor that was killed had stored.
    ///
    /// # Errors
    /// What the system says.
    pub fn stored(&self, stream: OutputStream) -> io::Result<u64> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(base) = self.bases(stream)?.pop() else {
                return Ok(0);
            };
            if let Some(length) = self.length(&segment_name(stream, base))? {
                return Ok(base.saturating_add(length));
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Records of the index from the record number `from` on, at most `records_max`.
    ///
    /// # Errors
    /// What the system says.
    pub fn index(&self, from: u64, records_max: usize) -> io::Result<Vec<IndexRecord>> {
        let Some(file) = self.open_file(INDEX)? else {
            return Ok(Vec::new());
        };
        let length = records_max.saturating_mul(RECORD_BYTES).min(READ_BYTES_MAX);
        let mut bytes = vec![0; length - length % RECORD_BYTES];
        let offset = from.saturating_mul(RECORD_BYTES as u64);
        let length = read_at(&file, &mut bytes, offset)?;
        let (records, _) = bytes.get(..length).unwrap_or_default().as_chunks();
        Ok(records.iter().map(IndexRecord::from_bytes).collect())
    }

    /// The bytes of all segments and of the index.
    ///
    /// # Errors
    /// What the system says.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = self.length(INDEX)?.unwrap_or(0);
        for stream in OutputStream::ALL {
            for base in self.bases(stream)? {
                bytes += self.length(&segment_name(stream, base))?.unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    /// Where the segments of a stream begin, in order.
    fn bases(&self, stream: OutputStream) -> io::Result<Vec<u64>> {
        let mut bases = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let name = parse_segment_name(entry?.file_name().to_bytes());
            bases.extend(name.filter(|(of, _)| *of == stream).map(|(_, base)| base));
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Opens a file; `None` if there is none.
    fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(descriptor.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The length of a file; `None` if there is none.
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(u64::try_from(status.st_size).unwrap_or(0))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl IndexRecord {
    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks();
        let number = |at: usize| {
            numbers
                .get(at)
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        Self {
            time: number(0),
            stdout: number(1),
            stderr: number(2),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (numbers, _) = bytes.as_chunks_mut();
        for (bytes, number) in numbers
            .iter_mut()
            .zip([self.time, self.stdout, self.stderr])
        {
            *bytes = number.to_le_bytes();
        }
        bytes
    }
}

/// Reads until `bytes` is full or the file ends.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(length as u64)) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // No file is as long as an offset that the system does not take.
            Err(error) if error.kind() == ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
