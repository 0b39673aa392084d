//! Names of signals, which are the same on all systems, and their numbers, which are not.

use libc::c_int;

/// The signals that have the same name everywhere.
const NAMES: [(&str, c_int); 19] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
];

/// The number of a signal on this system; `None` for a name that is not known.
pub fn number(name: &str) -> Option<u8> {
    let (_, number) = NAMES.iter().find(|(known, _)| *known == name)?;
    u8::try_from(*number).ok()
}

/// The name of a signal without `SIG`; its number if it has no name that is the same everywhere.
pub fn name(number: u8) -> String {
    let known = NAMES
        .iter()
        .find(|(_, known)| *known == c_int::from(number));
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_fit() {
        assert_eq!(number("TERM"), Some(15));
        assert_eq!(name(9), "KILL");
        assert_eq!(number("SIGTERM"), None);
        assert_eq!(name(64), "64");
    }
}
