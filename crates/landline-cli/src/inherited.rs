//! What the process that started landline left behind: closed descriptors, signal masks, limits.

use std::{
    mem, ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use landline::net::tcp::raise_descriptor_limit;

use crate::failure::Failure;

/// Descriptors up to this one are recorded at the start.
const RECORDED: usize = 256;
/// Descriptors that every command needs.
const DESCRIPTORS_MIN: u64 = 20;

/// The descriptors that were open when the process started, as bits.
static OPEN: [AtomicU64; RECORDED / 64] = [const { AtomicU64::new(0) }; RECORDED / 64];

/// Records the open descriptors before `main`: by then the Rust runtime has opened `/dev/null` in
/// the place of closed standard streams, and reading from it looks like an empty input.
extern "C" fn record_descriptors() {
    for (open, first) in OPEN.iter().zip((0..).step_by(64)) {
        for bit in 0..64 {
            // SAFETY: F_GETFD only reads a flag, and takes any number.
            if unsafe { libc::fcntl(first + bit, libc::F_GETFD) } != -1 {
                open.fetch_or(1 << bit, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: the function makes system calls and stores to an atomic, so it may run before `main`.
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[used]
static RECORD_DESCRIPTORS: extern "C" fn() = record_descriptors;

/// Whether the process was started with this descriptor open.
///
/// Of higher numbers than are recorded, none counts as open.
pub(crate) fn was_open(number: u32) -> bool {
    let open = OPEN.get(number as usize / 64);
    open.is_some_and(|open| open.load(Ordering::Relaxed) & (1 << (number % 64)) != 0)
}

/// Checks that this process may open enough files, and raises the limit if it can.
///
/// # Errors
/// The limit is too low for any command.
pub(crate) fn check_descriptor_limit() -> Result<(), Failure> {
    // SAFETY: the pointer leads to an rlimit, which the call fills.
    let now = unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        (libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0).then_some(limit.rlim_cur)
    };
    let is_low = |limit: u64| limit < DESCRIPTORS_MIN;
    if now.is_some_and(is_low) && is_low(raise_descriptor_limit()) {
        let what = format!("this process may open too few files; {DESCRIPTORS_MIN} are needed");
        return Err(Failure::local(what).with_advice("raise the limit: ulimit -n 1024"));
    }
    Ok(())
}

/// Makes the process independent of signal masks and limits that it inherited, and its memory
/// unreadable for others.
///
/// Call it while there is one thread. Ignored signals stay ignored: nohup(1) relies on that.
pub(crate) fn normalize() {
    unblock_signals();
    reset_child_signal();
    survive_file_size_limit();
    keep_own_rights();
    forbid_memory_access();
}

/// Unblocks all signals. With a blocked SIGCHLD no child would ever be reaped, and with a blocked
/// SIGTERM nothing would end this process gracefully.
fn unblock_signals() {
    // SAFETY: a zeroed set is valid memory, which sigemptyset fills before it is used.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Takes notice of children that end: with an ignored SIGCHLD their status would be lost.
fn reset_child_signal() {
    if is_ignored(libc::SIGCHLD) {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}

/// Turns the limit of file sizes into an error of the write: SIGXFSZ would end the process.
///
/// Child processes keep the default action, because a handler does not survive exec.
fn survive_file_size_limit() {
    extern "C" fn ignore(_: libc::c_int) {}
    if !is_ignored(libc::SIGXFSZ) {
        let handler: extern "C" fn(libc::c_int) = ignore;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
    }
}

/// Takes this user's own rights out of the umask: files and folders would be unusable without them.
fn keep_own_rights() {
    // SAFETY: umask changes a number of this process and cannot fail.
    unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask & 0o077);
    }
}

/// Keeps keys and passwords out of core dumps, and away from debuggers of the same user.
#[cfg(target_os = "linux")]
fn forbid_memory_access() {
    // SAFETY: it changes a flag of this process and reads no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

#[cfg(not(target_os = "linux"))]
fn forbid_memory_access() {}

/// Whether this process ignores a signal.
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: a zeroed sigaction is valid memory, and without a new action nothing changes.
    unsafe {
        let mut now: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}
