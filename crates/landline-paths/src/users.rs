//! The system's list of users.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// The home of a user, by the system's list of users; `None` if there is no such user.
///
/// # Blocking
/// It may read files or ask a directory service.
pub fn home_of_user(name: &OsStr) -> Option<PathBuf> {
    let name = CString::new(name.as_bytes()).ok()?;
    let home = find_user(
        |entry, buffer, length, result| {
            // SAFETY: `name` is a string, and `find_user` gives valid pointers.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, result) }
        },
        |entry| entry.pw_dir,
    )?;
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

/// One text of the entry of the user of this process.
fn find_own(text: fn(&libc::passwd) -> *mut libc::c_char) -> Option<OsString> {
    // ssh and its configuration mean the user who started the process.
    let user_id = rustix::process::getuid().as_raw();
    find_user(
        |entry, buffer, length, result| {
            // SAFETY: `find_user` gives valid pointers.
            unsafe { libc::getpwuid_r(user_id, entry, buffer, length, result) }
        },
        text,
    )
}

/// One text of an entry in the system's list of users.
///
/// `look_up` is called like the end of `getpwnam_r(3)`.
fn find_user(
    look_up: impl Fn(
        *mut libc::passwd,
        *mut libc::c_char,
        libc::size_t,
        *mut *mut libc::passwd,
    ) -> libc::c_int,
    text: fn(&libc::passwd) -> *mut libc::c_char,
) -> Option<OsString> {
    /// More than any entry needs.
    const BUFFER_BYTES_MAX: usize = 1 << 20;
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut result = std::ptr::null_mut();
        let status = look_up(
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut result,
        );
        if status == libc::ERANGE && buffer.len() < BUFFER_BYTES_MAX {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        if status != 0 || result.is_null() {
            return None;
        }
        // SAFETY: the call succeeded, so `result` points to `entry`, whose texts are strings in
        // `buffer`.
        let text = unsafe { CStr::from_ptr(text(&*result)) };
        return Some(OsStr::from_bytes(text.to_bytes()).to_owned());
    }
}
