//! The program under the name `landline-ssh`: it takes the command line of ssh(1).
//!
//! A link of that name serves programs that take one word for ssh, such as `scp -S` and sshfs.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::Path};

/// The name of the link.
pub(crate) const NAME: &str = "landline-ssh";

/// The options of ssh that have a value, which may be the next word.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOopQRSWw";

/// The words of `landline run` for those of `landline-ssh`; other words stay as they are.
///
/// ssh takes `--` before the host as the end of its options. For `landline run` it would begin an
/// exact command.
pub(crate) fn expand(words: Vec<OsString>) -> Vec<OsString> {
    let mut rest = words.into_iter();
    let Some(program) = rest.next() else {
        return Vec::new();
    };
    if Path::new(&program)
        .file_name()
        .is_none_or(|name| name != NAME)
    {
        return std::iter::once(program).chain(rest).collect();
    }
    // ssh also takes options behind the host; `landline run` takes them before it only.
    let mut options = vec![program, "run".into()];
    let mut host = None;
    let mut command = Vec::new();
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            host = host.or_else(|| rest.next());
            break;
        } else if bytes.starts_with(b"-") && bytes.len() > 1 {
            // Of `-vp 22` the last letter takes the next word; of `-p22` the rest is the value.
            let mut letters = bytes.iter().skip(1);
            let letter = letters.position(|byte| WITH_VALUE.contains(byte));
            let takes_next = letter.is_some_and(|at| at + 2 == bytes.len());
            options.push(word);
            if takes_next {
                options.extend(rest.next());
            }
        } else if host.is_some() {
            command.push(word);
            break;
        } else {
            host = Some(word);
        }
    }
    options
        .into_iter()
        .chain(host)
        .chain(command)
        .chain(rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_ssh_become_those_of_run() {
        for (given, expected) in [
            ("landline ping nas", "landline ping nas"),
            (
                "/usr/bin/landline-ssh nas df -h",
                "/usr/bin/landline-ssh run nas df -h",
            ),
            (
                "landline-ssh -x -oClearAllForwardings=yes -l bob -p 22 -s -- nas sftp",
                "landline-ssh run -x -oClearAllForwardings=yes -l bob -p 22 -s nas sftp",
            ),
            (
                "landline-ssh nas -p22 -- ls --all",
                "landline-ssh run -p22 nas ls --all",
            ),
            (
                "landline-ssh -tt nas ls -- -p",
                "landline-ssh run -tt nas ls -- -p",
            ),
        ] {
            let words = given.split(' ').map(OsString::from).collect();
            let expanded: Vec<String> = expand(words)
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect();
            assert_eq!(expanded.join(" "), expected, "{given}");
        }
    }
}
