//! System calls that no safe library has, and what differs between systems.
#![allow(
    unsafe_code,
    reason = "fork, exec, signals and resource usage: each call says why it is sound"
)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::protocol::Status;

/// The highest signal number that is put back to its default.
const SIGNAL_MAX: libc::c_int = 64;

/// Takes over the socket on standard input, puts `/dev/null` in its place, and closes every other
/// descriptor that was inherited.
///
/// # Errors
/// Standard input is no descriptor, or there is no `/dev/null`.
pub(crate) fn take_socket() -> io::Result<OwnedFd> {
    const SOCKET: libc::c_int = 3;
    // SAFETY: this process has just begun and owns no descriptor beyond the standard ones, so what
    // has another number was inherited, and nothing here refers to it.
    let socket = unsafe {
        if libc::dup2(0, SOCKET) == -1 || libc::fcntl(SOCKET, libc::F_SETFD, libc::FD_CLOEXEC) == -1
        {
            return Err(io::Error::last_os_error());
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null == -1 || libc::dup2(null, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(SOCKET)
    };
    close_from(SOCKET + 1);
    Ok(socket)
}

/// Closes every descriptor from `first` on.
fn close_from(first: libc::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: as the caller says, nothing refers to these descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0;
    #[cfg(not(target_os = "linux"))]
    let done = false;
    if !done {
        // SAFETY: as above.
        unsafe {
            for descriptor in first..descriptors_max() {
                libc::close(descriptor);
            }
        }
    }
}

/// A number above all descriptors, as far as they are likely.
fn descriptors_max() -> libc::c_int {
    // SAFETY: it takes a number only.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    libc::c_int::try_from(limit.clamp(256, 65536)).unwrap_or(256)
}

/// Continues in a child process whose parent has ended.
///
/// # Errors
/// The system has no process to give.
pub(crate) fn detach() -> io::Result<()> {
    // SAFETY: the process has one thread, so the child may do everything that the parent could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        // SAFETY: `_exit` runs no destructors and returns never.
        _ => unsafe { libc::_exit(0) },
    }
}

/// Makes every descriptor from 3 on close when a program is executed.
///
/// Safe between fork and exec.
pub(crate) fn close_on_exec() {
    #[cfg(target_os = "linux")]
    // SAFETY: it changes flags of descriptors and touches no memory. A kernel without it fails it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } == 0;
    #[cfg(not(target_os = "linux"))]
    let done = false;
    if !done {
        // SAFETY: as above; a number that is no descriptor fails its call.
        unsafe {
            for descriptor in 3..descriptors_max() {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Gives a process that is about to execute a program the signal state of a fresh login: all
/// signals at their defaults, none blocked.
///
/// Safe between fork and exec.
pub(crate) fn reset_signals() {
    // SAFETY: both calls are async-signal-safe. A signal that cannot be changed fails its call. The
    // set is initialized by `sigemptyset`.
    unsafe {
        for signal in 1..=SIGNAL_MAX {
            libc::signal(signal, libc::SIG_DFL);
            // The library keeps some signals for itself and refuses to change them. The kernel's
            // structure begins with the action; a default action is all zeros.
            #[cfg(target_os = "linux")]
            {
                let default = [0_u64; 8];
                let none = std::ptr::null_mut::<libc::c_void>();
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8);
            }
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Makes the terminal on standard input the controlling terminal of this session.
///
/// Safe between fork and exec.
///
/// # Errors
/// The call fails.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: it takes no pointer.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Hides this process from other processes of the same user, and makes it the parent of processes
/// whose own parent has ended. Where the system cannot, nothing changes.
pub(crate) fn harden() {
    #[cfg(target_os = "linux")]
    // SAFETY: both take numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        // Otherwise its name is that of the link by which the program was started, such as `exe`.
        libc::prctl(libc::PR_SET_NAME, c"landline".as_ptr(), 0, 0, 0);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// A new Unix stream socket that closes when a program is executed.
///
/// # Errors
/// The system has no descriptor to give.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = SocketFlags::empty();
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    #[cfg(not(target_os = "linux"))]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Accepts a connection. It does not block, and closes when a program is executed.
///
/// # Errors
/// What the system says.
pub(crate) fn accept(listener: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?;
    #[cfg(not(target_os = "linux"))]
    let socket = rustix::net::accept(listener)?;
    #[cfg(not(target_os = "linux"))]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Whether the other end of a Unix socket is of the same user, or of root.
///
/// # Errors
/// The system does not say.
pub fn is_peer_trusted(socket: &impl AsFd) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    let peer = rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw();
    #[cfg(not(target_os = "linux"))]
    let peer = {
        let (mut user, mut group) = (0, 0);
        // SAFETY: both pointers are valid during the call, and the descriptor is open.
        if unsafe {
            libc::getpeereid(
                std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd()),
                &raw mut user,
                &raw mut group,
            )
        } == -1
        {
            return Err(io::Error::last_os_error());
        }
        user
    };
    Ok(peer == 0 || peer == rustix::process::geteuid().as_raw())
}

/// Reports signals to this process through a descriptor, instead of acting on them.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(target_os = "linux")]
    descriptor: OwnedFd,
}

impl Signals {
    /// The longest wait between two looks at children, where no descriptor reports their end.
    pub(crate) const PAUSE: Option<Duration> = if cfg!(target_os = "linux") {
        None
    } else {
        Some(Duration::from_millis(20))
    };

    /// Blocks all signals of this process, which has one thread.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: the sets are initialized by `sigfillset` and `sigemptyset`; the descriptor is
        // new.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            #[cfg(target_os = "linux")]
            {
                let mut watched = std::mem::zeroed();
                libc::sigemptyset(&raw mut watched);
                libc::sigaddset(&raw mut watched, libc::SIGCHLD);
                libc::sigaddset(&raw mut watched, libc::SIGTERM);
                let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
                let descriptor = libc::signalfd(-1, &raw const watched, flags);
                if descriptor == -1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(Self {
                    descriptor: OwnedFd::from_raw_fd(descriptor),
                })
            }
            #[cfg(not(target_os = "linux"))]
            Ok(Self {})
        }
    }

    /// What becomes readable when a signal arrives.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(target_os = "linux")]
        return Some(self.descriptor.as_fd());
        #[cfg(not(target_os = "linux"))]
        return None;
    }

    /// Takes the signals that have arrived; whether the supervisor itself is to end.
    pub(crate) fn take_termination(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            const RECORD: usize = size_of::<libc::signalfd_siginfo>();
            let mut bytes = [0; RECORD];
            let mut is_to_end = false;
            while rustix::io::read(&self.descriptor, &mut bytes) == Ok(RECORD) {
                // The record begins with the number of the signal.
                let number = bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                is_to_end |= number == u32::try_from(libc::SIGTERM).ok();
            }
            is_to_end
        }
        #[cfg(not(target_os = "linux"))]
        {
            // SAFETY: the set is initialized by `sigemptyset`, which `sigpending` then fills.
            unsafe {
                let mut pending = std::mem::zeroed();
                libc::sigemptyset(&raw mut pending);
                libc::sigpending(&raw mut pending);
                libc::sigismember(&raw const pending, libc::SIGTERM) == 1
            }
        }
    }
}

/// A child that has ended: how, and what it used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    pub(crate) status: Status,
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    pub(crate) memory_bytes_max: u64,
}

/// Collects a child that has ended.
pub(crate) fn reap() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: zero is a valid value of every field; both pointers are valid during the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage);
        (pid, usage)
    };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let status = if libc::WIFSIGNALED(status) {
        Status::Signal {
            signal: u8::try_from(libc::WTERMSIG(status)).unwrap_or(u8::MAX),
            has_core: libc::WCOREDUMP(status),
        }
    } else {
        Status::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    };
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    Some(Ended {
        pid,
        status,
        user_time: duration(usage.ru_utime),
        system_time: duration(usage.ru_stime),
        memory_bytes_max: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}

/// Whether the process group of a program has a process. It may be one that has ended and was not
/// collected.
pub(crate) fn has_group(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1);
    let group = pid.and_then(rustix::process::Pid::from_raw);
    group.is_some_and(
        |group| match rustix::process::test_kill_process_group(group) {
            Ok(()) => true,
            // There is one of another user.
            Err(errno) => errno == rustix::io::Errno::PERM,
        },
    )
}

/// Sends a signal, to the process group if `is_group`. A process that is gone is no error.
pub(crate) fn kill(pid: u32, signal: u8, is_group: bool) {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return;
    };
    // 0 and 1 are not a program's: the call would reach this process's own group, or everybody.
    if pid > 1 {
        // SAFETY: it takes numbers only.
        unsafe {
            libc::kill(if is_group { -pid } else { pid }, signal.into());
        }
    }
}
