//! The system's list of users.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

/// The home of a user, by the system's list of users; `None` if there is no such user.
///
/// # Blocking
/// It may read files or ask a directory service.
pub fn home_of_user(name: &OsStr) -> Option<PathBuf> {
    let name = CString::new(name.as_bytes()).ok()?;
    let home = look_up(
        |entry, buffer, length, result| {
            // SAFETY: `name` is a string, and `look_up` gives valid pointers.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, result) }
        },
        |entry: &libc::passwd| OsString::from_vec(bytes_at(entry.pw_dir)),
    )
    .ok()??;
    Some(PathBuf::from(home))
}

/// The name of the user of this process, by the system's list of users.
///
/// # Blocking
/// As [`home_of_user`].
pub fn user_name() -> Option<String> {
    find_own(|entry| entry.pw_name)?.into_string().ok()
}

/// The login shell of the user of this process, by the system's list of users.
///
/// # Blocking
/// As [`home_of_user`].
pub fn login_shell() -> Option<PathBuf> {
    let shell = PathBuf::from(find_own(|entry| entry.pw_shell)?);
    shell.is_absolute().then_some(shell)
}

/// The name of a user with this number.
///
/// # Errors
/// The lists cannot be read. The same holds for the functions below.
pub(super) fn name_of_user(number: u32) -> io::Result<Option<Vec<u8>>> {
    find_user_by_id(number, |entry| bytes_at(entry.pw_name))
}

/// The number of a user with this name.
pub(super) fn id_of_user(name: &[u8]) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    look_up(
        |entry, buffer, length, result| {
            // SAFETY: `name` is a string, and `look_up` gives valid pointers.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, result) }
        },
        |entry: &libc::passwd| entry.pw_uid,
    )
}

/// The name of a group with this number.
pub(super) fn name_of_group(number: u32) -> io::Result<Option<Vec<u8>>> {
    look_up(
        |entry, buffer, length, result| {
            // SAFETY: `look_up` gives valid pointers.
            unsafe { libc::getgrgid_r(number, entry, buffer, length, result) }
        },
        |entry: &libc::group| bytes_at(entry.gr_name),
    )
}

/// The number of a group with this name.
pub(super) fn id_of_group(name: &[u8]) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    look_up(
        |entry, buffer, length, result| {
            // SAFETY: `name` is a string, and `look_up` gives valid pointers.
            unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, length, result) }
        },
        |entry: &libc::group| entry.gr_gid,
    )
}

/// One text of the entry of the user of this process.
fn find_own(text: fn(&libc::passwd) -> *mut libc::c_char) -> Option<OsString> {
    // ssh and its configuration mean the user who started the process.
    let user_id = rustix::process::getuid().as_raw();
    let found = find_user_by_id(user_id, |entry| OsString::from_vec(bytes_at(text(entry))));
    found.ok().flatten()
}

fn find_user_by_id<T>(number: u32, take: impl Fn(&libc::passwd) -> T) -> io::Result<Option<T>> {
    look_up(
        |entry, buffer, length, result| {
            // SAFETY: `look_up` gives valid pointers.
            unsafe { libc::getpwuid_r(number, entry, buffer, length, result) }
        },
        take,
    )
}

/// A text of an entry that [`look_up`] has found.
fn bytes_at(text: *mut libc::c_char) -> Vec<u8> {
    // SAFETY: the texts of an entry are strings, in a buffer that lives as long as the entry.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

/// What `take` makes of an entry in the system's lists; `None` if there is none.
///
/// An error does not tell whether there is one.
///
/// `call` is called like the end of `getpwnam_r(3)`.
fn look_up<E, T>(
    call: impl Fn(*mut E, *mut libc::c_char, libc::size_t, *mut *mut E) -> libc::c_int,
    take: impl Fn(&E) -> T,
) -> io::Result<Option<T>> {
    /// More than any entry needs.
    const BUFFER_BYTES_MAX: usize = 1 << 20;
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<E>::uninit();
        let mut result = std::ptr::null_mut();
        let status = call(
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut result,
        );
        if status == libc::ERANGE && buffer.len() < BUFFER_BYTES_MAX {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        if !matches!(status, 0 | libc::ENOENT | libc::ESRCH) {
            return Err(io::Error::from_raw_os_error(status));
        }
        if status != 0 || result.is_null() {
            return Ok(None);
        }
        // SAFETY: the call succeeded, so `result` points to `entry`.
        return Ok(Some(take(unsafe { &*result })));
    }
}
