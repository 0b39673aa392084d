//! Many datagrams with one system call.
//!
//! These are recvmmsg(2) and sendmmsg(2) on Linux. Other systems need a call for each datagram.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
};

use socket2::{SockAddr, SockAddrStorage};

/// The maximum number of datagrams of one call.
pub(crate) const BATCH_MAX: usize = 64;

/// Buffers for received datagrams.
pub(crate) struct Slots {
    bytes: Vec<u8>,
    /// The size of a slot, in bytes.
    slot_bytes: usize,
    sources: Vec<SockAddrStorage>,
    arrived: Vec<Arrived>,
    /// The number of slots that the next call offers.
    ///
    /// It is small while datagrams come one by one, since each slot has a cost.
    offered: usize,
}

/// The content of a slot.
#[derive(Clone, Copy)]
struct Arrived {
    length: usize,
    source_length: libc::socklen_t,
    is_cut: bool,
}

impl Slots {
    /// Slots for `count` datagrams (at most [`BATCH_MAX`]) of `slot_bytes` bytes.
    ///
    /// The system provides the memory only as datagrams arrive.
    pub(crate) fn new(count: usize, slot_bytes: usize) -> Self {
        let count = count.clamp(1, BATCH_MAX);
        Self {
            bytes: vec![0; count * slot_bytes],
            slot_bytes,
            sources: (0..count).map(|_| SockAddrStorage::zeroed()).collect(),
            arrived: Vec::with_capacity(count),
            offered: count.min(4),
        }
    }

    /// Receives datagrams without waiting.
    ///
    /// Returns their number, and whether all offered slots are full, so that more may be waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is waiting. Otherwise the system's error.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<(usize, bool)> {
        self.arrived.clear();
        let offered = self.offered;
        self.fill(socket, offered)?;
        let count = self.arrived.len();
        let is_full = count == offered;
        self.offered = if is_full {
            offered * 2
        } else {
            (count * 2).max(4)
        }
        .min(self.sources.len());
        Ok((count, is_full))
    }

    /// The bytes of a datagram, its source, and whether it was longer than its slot.
    pub(crate) fn arrived(&self, index: usize) -> Option<(&[u8], SockAddr, bool)> {
        let arrived = self.arrived.get(index)?;
        let start = index * self.slot_bytes;
        let bytes = self
            .bytes
            .get(start..start + arrived.length.min(self.slot_bytes))?;
        let source = self.sources.get(index)?;
        // SAFETY: a `SockAddrStorage` is plain memory in which every bit pattern is valid, so it
        // may be copied. The system wrote an address of `source_length` bytes to it. For an
        // unnamed Unix socket that is 0, which `new` accepts.
        let source = unsafe { SockAddr::new(std::ptr::read(source), arrived.source_length) };
        Some((bytes, source, arrived.is_cut))
    }

    #[cfg(target_os = "linux")]
    fn fill(&mut self, socket: BorrowedFd<'_>, offered: usize) -> io::Result<()> {
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
        let buffers = self
            .bytes
            .chunks_exact_mut(self.slot_bytes)
            .zip(&mut self.sources)
            .take(offered);
        let mut count = 0;
        for (((buffer, source), vector), header) in buffers.zip(&mut vectors).zip(&mut headers) {
            let vector = vector.write(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            });
            header.write(message(
                std::ptr::from_mut(source).cast(),
                size_of::<SockAddrStorage>() as libc::socklen_t,
                vector,
            ));
            count += 1;
        }
        // SAFETY: the first `count` headers were written above. Each points to a vector, a buffer
        // and a source that are borrowed during the call. The system writes to them only within
        // the given lengths.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr().cast(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        for header in headers.iter().take(received) {
            // SAFETY: the header was written above, and by the system.
            let header = unsafe { header.assume_init_ref() };
            self.arrived.push(Arrived {
                length: header.msg_len as usize,
                source_length: header.msg_hdr.msg_namelen,
                is_cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn fill(&mut self, socket: BorrowedFd<'_>, offered: usize) -> io::Result<()> {
        for (buffer, source) in self
            .bytes
            .chunks_exact_mut(self.slot_bytes)
            .zip(&mut self.sources)
            .take(offered)
        {
            let mut vector = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            // SAFETY: a `msghdr` of zeros is valid.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_name = std::ptr::from_mut(source).cast();
            header.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            header.msg_iov = &mut vector;
            header.msg_iovlen = 1;
            // SAFETY: the header points to a vector, a buffer and a source that live during the
            // call. The system writes to them only within the given lengths.
            let result =
                unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
            match usize::try_from(result) {
                Ok(length) => self.arrived.push(Arrived {
                    length,
                    source_length: header.msg_namelen,
                    is_cut: header.msg_flags & libc::MSG_TRUNC != 0,
                }),
                Err(_) if self.arrived.is_empty() => return Err(io::Error::last_os_error()),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Sends at most [`BATCH_MAX`] datagrams without waiting.
///
/// Returns how many were sent.
///
/// # Errors
/// The error of the first datagram: [`io::ErrorKind::WouldBlock`] if the socket has no room.
#[cfg(target_os = "linux")]
pub(crate) fn send(socket: BorrowedFd<'_>, datagrams: &[(&[u8], &SockAddr)]) -> io::Result<usize> {
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
    let mut count = 0;
    for (((bytes, target), vector), header) in datagrams.iter().zip(&mut vectors).zip(&mut headers)
    {
        let vector = vector.write(libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        header.write(message(
            target.as_ptr().cast_mut().cast(),
            target.len(),
            vector,
        ));
        count += 1;
    }
    // SAFETY: the first `count` headers were written above. Each points to a vector, bytes and an
    // address that are borrowed during the call, which only reads them.
    let result = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sends datagrams one by one. Returns how many were sent.
///
/// # Errors
/// The error of the first datagram.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send(socket: BorrowedFd<'_>, datagrams: &[(&[u8], &SockAddr)]) -> io::Result<usize> {
    for (index, (bytes, target)) in datagrams.iter().enumerate() {
        let sent =
            socket2::SockRef::from(&socket).send_to_with_flags(bytes, target, libc::MSG_DONTWAIT);
        match sent {
            Ok(_) => {}
            Err(error) if index == 0 => return Err(error),
            Err(_) => return Ok(index),
        }
    }
    Ok(datagrams.len())
}

#[cfg(target_os = "linux")]
fn message(
    name: *mut libc::c_void,
    name_length: libc::socklen_t,
    vector: &mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: a `mmsghdr` of zeros is valid: its lengths are zero and its pointers null. It cannot
    // be written out, since some C libraries have padding fields.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name;
    header.msg_hdr.msg_namelen = name_length;
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}
