//! What the evaluation needs of the system: files, users and commands.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline_paths::local;

/// The maximum size of a file. Real files are far smaller.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The system: the real one, or one text in memory.
pub(super) trait System {
    /// The text of a file; `None` if it does not exist. A folder is empty.
    fn text(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// The names in a folder; none if it cannot be read.
    fn names(&self, folder: &Path) -> Vec<OsString>;
    /// Whether a shell command succeeds.
    fn run(&self, shell: &OsStr, command: &OsStr) -> io::Result<bool>;
    /// The home of another user, if that user exists.
    fn home_of(&self, user: &[u8]) -> Option<Vec<u8>>;
    /// The name of this machine.
    fn host_name(&self) -> Option<Vec<u8>>;
    /// The TCP port of a service.
    fn port_of(&self, service: &str) -> Option<u16>;
}

/// The real system.
pub(super) struct Real;

impl System for Real {
    fn text(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match local::read_trusted_or_folder(path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes.unwrap_or_default())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self, folder: &Path) -> Vec<OsString> {
        local::names(folder)
    }

    fn run(&self, shell: &OsStr, command: &OsStr) -> io::Result<bool> {
        let status = Command::new(shell)
            .arg("-c")
            .arg(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        match status.code() {
            Some(code) => Ok(code == 0),
            None => Err(io::Error::other(format!("its command ended with {status}"))),
        }
    }

    fn home_of(&self, user: &[u8]) -> Option<Vec<u8>> {
        let home = landline_paths::home_of_user(OsStr::from_bytes(user))?;
        Some(PathBuf::into_os_string(home).into_vec())
    }

    fn host_name(&self) -> Option<Vec<u8>> {
        let name = local::read(Path::new("/proc/sys/kernel/hostname"), 1024).ok()?;
        Some(name.trim_ascii().to_vec())
    }

    fn port_of(&self, service: &str) -> Option<u16> {
        let services = local::read(Path::new("/etc/services"), FILE_BYTES_MAX).unwrap_or_default();
        find_service(&String::from_utf8_lossy(&services), service)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The TCP port of a service in the format of services(5).
fn find_service(services: &str, service: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (name, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix("/tcp")?;
        let is_named = name == service || words.any(|alias| alias == service);
        is_named.then(|| port.parse().ok()).flatten()
    })
}

/// A system with one text, which is every file that is not included.
pub(super) struct OneText<'a>(pub(super) &'a [u8]);

impl System for OneText<'_> {
    fn text(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok((path == Path::new("config")).then(|| self.0.to_vec()))
    }

    fn names(&self, _: &Path) -> Vec<OsString> {
        Vec::new()
    }

    fn run(&self, _: &OsStr, _: &OsStr) -> io::Result<bool> {
        Err(io::Error::other("Match exec is not supported here"))
    }

    fn home_of(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn host_name(&self) -> Option<Vec<u8>> {
        None
    }

    fn port_of(&self, _: &str) -> Option<u16> {
        None
    }
}
