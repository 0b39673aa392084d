//! What to do about a system error, on this machine or at the other end.

use landline::Side;

/// The name of a system error, what to do about it here, and what to do if it is at the other end.
type Advice = (&'static str, &'static str, &'static str);

const ADVICE: &[Advice] = &[
    (
        "ENOENT",
        "check the path",
        "check the path; without a leading / it begins in your home on the server",
    ),
    (
        "ENOTDIR",
        "a file has the name of a folder in the path; check the path",
        "a file on the server has the name of a folder in the path; check the path",
    ),
    (
        "EISDIR",
        "name a file in the folder",
        "name a file in that folder on the server",
    ),
    (
        "EEXIST",
        "choose another name",
        "choose another name for the file on the server",
    ),
    (
        "EACCES",
        "ls -ld shows who may read or write it",
        "the account that runs the server needs the permission; its owner can give it",
    ),
    (
        "EPERM",
        "the owner of the file, or root, can change that: lsattr and ls -ld show why",
        "the server's owner can change that, or choose another folder",
    ),
    (
        "EROFS",
        "choose another folder, or mount the file system for writing",
        "choose another folder on the server, or ask its owner to mount it for writing",
    ),
    (
        "ENOKEY",
        "unlock the folder first (fscrypt unlock)",
        "ask the server's owner to unlock the folder",
    ),
    (
        "ENOSPC",
        "free some space on this machine, and try again",
        "free some space on the server, and try again",
    ),
    (
        "EDQUOT",
        "delete files of yours on that disk (quota shows the limit), or ask for more quota",
        "delete files on the server, or ask its owner for more disk quota",
    ),
    (
        "EFBIG",
        "raise the limit (ulimit -f), copy to another file system, or split the file",
        "split the file, or ask the server's owner to raise the limit (LimitFSIZE)",
    ),
    (
        "ENAMETOOLONG",
        "choose a shorter name",
        "name the file in the destination, with a shorter name",
    ),
    (
        "ELOOP",
        "name the file that the link leads to",
        "name the file on the server that the link leads to",
    ),
    (
        "EILSEQ",
        "choose another name, in UTF-8",
        "name the file in the destination, in UTF-8",
    ),
    (
        "EINVAL",
        "choose a name without special characters, or another file system",
        "choose a name without special characters, or another folder on the server",
    ),
    (
        "ENOTEMPTY",
        "remove what is in it first",
        "something was created in it meanwhile; try again",
    ),
    (
        "EBUSY",
        "choose another name, or unmount it first",
        "choose another name on the server; a mount point cannot be replaced",
    ),
    (
        "ETXTBSY",
        "stop the program first",
        "ask the server's owner to stop the program",
    ),
    (
        "EXDEV",
        "name the path on that file system itself",
        "name the path on that file system of the server",
    ),
    (
        "EMLINK",
        "choose another file system",
        "choose another folder on the server",
    ),
    (
        "EMFILE",
        "raise the limit (ulimit -n), or run fewer programs at a time",
        "try again later, or ask the server's owner to raise LimitNOFILE",
    ),
    (
        "ENFILE",
        "close programs, or raise fs.file-max",
        "try again later; the server's machine has too many files open",
    ),
    (
        "ENOMEM",
        "close other programs, and try again",
        "try again later; the server's machine is out of memory",
    ),
    (
        "ENOLCK",
        "keep the state on another file system: --state DIR or LANDLINE_STATE",
        "ask the server's owner to keep its state on another file system",
    ),
    (
        "ENOSYS",
        "this needs a newer kernel, or a sandbox forbids it",
        "ask the server's owner; it needs a newer kernel, or a sandbox forbids it",
    ),
    (
        "EOPNOTSUPP",
        "use another file system",
        "use a folder on another file system of the server",
    ),
    (
        "EIO",
        "the disk may be failing: look at dmesg, and save your data",
        "tell the server's owner that the disk may be failing",
    ),
    (
        "EUCLEAN",
        "unmount and check the file system (fsck)",
        "tell the server's owner to check the file system",
    ),
    (
        "ENODEV",
        "connect the device again, and mount it",
        "tell the server's owner that the device is gone",
    ),
    (
        "ENXIO",
        "read or write it through a pipe, with -",
        "only regular files can be copied from a server",
    ),
    (
        "ESTALE",
        "open the folder again, or mount the network file system again",
        "try again; if that fails, the server's owner has to mount it again",
    ),
    (
        "ENOTCONN",
        "mount it again",
        "ask the server's owner to mount it again",
    ),
    (
        "ETIMEDOUT",
        "check the connection to the file server, and try again",
        "try again later; the server waits for its file server",
    ),
    (
        "EAGAIN",
        "read it through a pipe: cat FILE | landline cp - DST",
        "the file on the server has content only while a program writes it",
    ),
    (
        "EPIPE",
        "the program behind the pipe ended early; look at its messages",
        "try again; a program of the server ended early",
    ),
];

/// What to do about the system error of this name.
pub(crate) fn of_cause(cause: &str, side: Side) -> Option<&'static str> {
    let (_, here, there) = ADVICE.iter().find(|(name, ..)| *name == cause)?;
    Some(match side {
        Side::Here => here,
        Side::There => there,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use landline::paths::cause_names;

    use super::*;

    /// Proves `useless-advice` in docs/faults.md.
    #[test]
    fn each_system_error_has_advice_for_both_ends() {
        let mut seen = BTreeSet::new();
        for cause in cause_names() {
            for side in [Side::Here, Side::There] {
                let advice = of_cause(cause, side).unwrap_or_else(|| panic!("{cause}"));
                assert!(seen.insert(advice), "{cause}: {advice}");
            }
        }
        assert_eq!(of_cause("ENONSENSE", Side::Here), None);
    }
}
