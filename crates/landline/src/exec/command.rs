//! What a command is: its words, its environment, and the program that its first word names.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use landline_proto::ErrorCode;

use super::messages::{COMMAND_STRINGS_MAX, CommandForm, Run};
use crate::Error;

/// Variables that a client may set, as patterns with `*` at the end.
pub(super) const CLIENT_VARIABLES: [&str; 6] =
    ["TERM", "COLORTERM", "LANG", "LC_*", "TZ", "GIT_PROTOCOL"];
/// The variable with the command that the client asked for, where its key runs another.
const ORIGINAL_VARIABLE: &str = "LANDLINE_ORIGINAL_COMMAND";
/// The longest such command, in bytes: a variable has a limit.
const ORIGINAL_BYTES_MAX: usize = 96 * 1024;
/// What only a shell can act on, if it is not quoted.
const SHELL_ONLY: &[u8] = b"$`;|&<>()*?[~#\n{";

/// A command as a client has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What the arguments are.
    pub form: CommandForm,
    /// The arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Variables, each `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// The working folder; `None` for the home.
    pub folder: Option<Vec<u8>>,
}

impl Command {
    /// The login shell of the user.
    pub fn login_shell() -> Self {
        Self {
            form: CommandForm::Login,
            ..Self::argv(Vec::new())
        }
    }

    /// A program with exact arguments.
    pub fn argv(arguments: Vec<Vec<u8>>) -> Self {
        Self {
            form: CommandForm::Argv,
            arguments,
            environment: Vec::new(),
            folder: None,
        }
    }

    /// The header of the request without terminal and time limit, and its body.
    ///
    /// # Errors
    /// `name-refused` if a string holds a NUL.
    pub(super) fn encode(&self) -> Result<(Run, Vec<u8>), Error> {
        let strings = || {
            let folder = self.folder.iter();
            self.arguments.iter().chain(&self.environment).chain(folder)
        };
        if strings().any(|string| string.contains(&0)) {
            return Err(Error::here(
                ErrorCode::NameRefused,
                "a NUL cannot be part of a command",
            ));
        }
        let count = |list: &[Vec<u8>]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        let run = Run {
            form: self.form,
            arguments: count(&self.arguments),
            environment: count(&self.environment),
            folder: self.folder.is_some(),
            ..Run::default()
        };
        let body = strings().flat_map(|string| [string.as_slice(), &[0]].concat());
        Ok((run, body.collect()))
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// `name-refused` if there are too many strings, or other ones than the header counts.
    pub(super) fn decode(run: &Run, body: &[u8]) -> Result<Self, Error> {
        let counted = u64::from(run.arguments) + u64::from(run.environment) + u64::from(run.folder);
        if counted > COMMAND_STRINGS_MAX {
            let message = format!("a command has at most {COMMAND_STRINGS_MAX} words");
            return Err(Error::here(ErrorCode::NameRefused, message));
        }
        let mut strings = body.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let found = body.iter().filter(|byte| **byte == 0).count() as u64;
        let is_complete = body.is_empty() || body.ends_with(&[0]);
        if found != counted || !is_complete {
            let message = "the body of run does not hold as many strings as its header counts";
            return Err(Error::here(ErrorCode::NameRefused, message));
        }
        let mut take = |count: u32| strings.by_ref().take(count as usize).collect();
        let (arguments, environment) = (take(run.arguments), take(run.environment));
        Ok(Self {
            form: run.form,
            arguments,
            environment,
            folder: run.folder.then(|| strings.next()).flatten(),
        })
    }

    /// What is executed: the words that the right `exec` is checked on, and whether a shell reads
    /// them.
    ///
    /// # Errors
    /// `name-refused` if there is no word, or a quote is not closed.
    pub(super) fn words(&self) -> Result<Words, Error> {
        let refused = |message: &str| Error::here(ErrorCode::NameRefused, message);
        let has_no_arguments = self.arguments.is_empty();
        let line = || match self.arguments.as_slice() {
            [line] => Ok(line.as_slice()),
            _ => Err(refused("a line is one argument")),
        };
        let words = match self.form {
            CommandForm::Argv => Words::Argv(self.arguments.clone()),
            CommandForm::Shell => Words::Shell(line()?.to_vec()),
            CommandForm::Login if has_no_arguments => Words::Login,
            CommandForm::Login => return Err(refused("a login shell has no arguments")),
            CommandForm::Subsystem if line()? == b"sftp" => Words::Sftp,
            CommandForm::Subsystem => {
                let message = "there is no such subsystem; there is sftp";
                return Err(Error::here(ErrorCode::NoProgram, message));
            }
            CommandForm::Line => match split(line()?) {
                Some(words) => Words::Argv(words),
                None => Words::Shell(line()?.to_vec()),
            },
        };
        match &words {
            Words::Argv(words) if words.first().is_none_or(Vec::is_empty) => {
                Err(refused("there is no command"))
            }
            _ => Ok(words),
        }
    }

    /// The command of a key in place of this one, which it finds in a variable. It runs in the
    /// home.
    ///
    /// # Errors
    /// `name-refused` if this one is too long for a variable.
    pub(super) fn forced_to(self, forced: &str) -> Result<Self, Error> {
        let original = match self.form {
            CommandForm::Argv => Words::Argv(self.arguments).to_line(),
            _ => self.arguments.join(&b' '),
        };
        if original.len() > ORIGINAL_BYTES_MAX {
            let message = format!(
                "the key runs another command, and this one has more than {ORIGINAL_BYTES_MAX} bytes"
            );
            return Err(Error::here(ErrorCode::NameRefused, message));
        }
        let mut environment = self.environment;
        environment.push([ORIGINAL_VARIABLE.as_bytes(), b"=", &original].concat());
        Ok(Self {
            form: CommandForm::Line,
            arguments: vec![forced.as_bytes().to_vec()],
            environment,
            folder: None,
        })
    }

    /// The names of the variables, which the log may hold, with blanks between them.
    pub(super) fn variable_names(&self) -> String {
        let name = |entry: &Vec<u8>| {
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        let names: Vec<String> = self.environment.iter().map(name).collect();
        names.join(" ")
    }

    /// The first variable that a client may not set.
    pub(super) fn refused_variable(&self) -> Option<String> {
        let is_allowed = |entry: &[u8]| {
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or(entry);
            entry.contains(&b'=') && str::from_utf8(name).is_ok_and(is_client_variable)
        };
        let refused = self.environment.iter().find(|entry| !is_allowed(entry))?;
        let name = refused.split(|byte| *byte == b'=').next()?;
        Some(String::from_utf8_lossy(name).chars().take(64).collect())
    }
}

/// Whether a client may set a variable of this name.
pub fn is_client_variable(name: &str) -> bool {
    CLIENT_VARIABLES
        .iter()
        .any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *allowed,
        })
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A program and its arguments.
    Argv(Vec<Vec<u8>>),
    /// A line for the user's shell.
    Shell(Vec<u8>),
    /// The server for sftp(1).
    Sftp,
    /// The user's login shell.
    Login,
}

/// The word for the server for sftp(1), in rights and in the log.
pub(super) const SFTP_SERVER: &[u8] = b"sftp-server";
/// A login shell in lists and in the log. It is no command line.
const LOGIN_SHELL: &[u8] = b"(login shell)";

impl Words {
    /// Whether a shell reads it.
    pub(super) fn needs_shell(&self) -> bool {
        matches!(self, Self::Shell(_) | Self::Login)
    }

    /// One line that a POSIX shell would read as this command. A login shell is none.
    pub(super) fn to_line(&self) -> Vec<u8> {
        match self {
            Self::Argv(words) => {
                let mut words: Vec<Vec<u8>> = words.iter().map(|word| quote(word)).collect();
                // Without quotes, a first word with = sets a variable.
                if let Some(first) = words.first_mut().filter(|word| word.contains(&b'='))
                    && !first.starts_with(b"'")
                {
                    *first = [b"'", first.as_slice(), b"'"].concat();
                }
                words.join(&b' ')
            }
            Self::Shell(line) => line.clone(),
            Self::Sftp => SFTP_SERVER.to_vec(),
            Self::Login => LOGIN_SHELL.to_vec(),
        }
    }
}

/// Quotes a word for a POSIX shell, if it has to be.
fn quote(word: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Splits a line into words by the quoting of a POSIX shell.
///
/// `None` if the line needs a shell: it holds something unquoted that only a shell can act on, a
/// first word that sets a variable, or a quote that is not closed.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        b'"' => break,
                        b'$' | b'`' => return None,
                        b'\\' => match rest.next()? {
                            byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                            b'\n' => {}
                            byte => word.extend([b'\\', byte]),
                        },
                        byte => word.push(byte),
                    }
                }
            }
            b'\\' => match rest.next()? {
                b'\n' => {}
                byte => word.get_or_insert_default().push(byte),
            },
            byte if SHELL_ONLY.contains(&byte) => return None,
            b'=' if words.is_empty() && word.as_ref().is_some_and(|word| is_name(word)) => {
                return None;
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Some(words)
}

/// Whether a shell would take the word before a `=` for a variable.
fn is_name(word: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    word.first().is_some_and(is_letter)
        && word
            .iter()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// What was found for a command's first word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The program.
    Program(PathBuf),
    /// There is a file of this name, but none that may be executed.
    NotExecutable,
    /// There is none.
    Missing,
}

/// Looks a program up: a name with a slash is a path from `folder`, any other is searched in the
/// folders of `path`, which are separated by colons. Blocking.
pub(super) fn look_up(name: &[u8], folder: &Path, path: &str) -> Lookup {
    let name = Path::new(OsStr::from_bytes(name));
    let is_path = name.as_os_str().as_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = if is_path {
        vec![folder.join(name)]
    } else {
        let folders = path.split(':').filter(|folder| folder.starts_with('/'));
        folders.map(|folder| Path::new(folder).join(name)).collect()
    };
    let mut found = Lookup::Missing;
    for candidate in candidates {
        let Ok(stat) = rustix::fs::stat(&candidate) else {
            continue;
        };
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if is_file && rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK).is_ok() {
            return Lookup::Program(candidate);
        }
        found = Lookup::NotExecutable;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes())?;
        let text = |word: Vec<u8>| String::from_utf8(word).unwrap();
        Some(words.into_iter().map(text).collect())
    }

    #[test]
    fn line_is_split_by_shell_rules() {
        for (line, expected) in [
            (
                "git-upload-pack '/srv/a b.git'",
                &["git-upload-pack", "/srv/a b.git"][..],
            ),
            (
                "rsync --server -vlogDtpre.iLsfxCIvu . a\\ b\\*",
                &["rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "a b*"],
            ),
            ("a \"b 'c' \\\" \\x\" ''", &["a", "b 'c' \" \\x", ""]),
            ("  a\t b  ", &["a", "b"]),
            ("a b=c --d=e", &["a", "b=c", "--d=e"]),
            ("", &[]),
        ] {
            let expected: Vec<String> = expected.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(words(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn line_that_needs_a_shell_is_not_split() {
        for line in [
            "a $HOME", "a `b`", "a; b", "a | b", "a & b", "a < b", "a > b", "(a)", "ls *", "ls ?",
            "ls [a]", "cd ~", "a # b", "a\nb", "a {b,c}", "A=b c", "a 'b", "a \"b", "a \"$b\"",
            "a \\",
        ] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_split_again(words in vec(vec(1_u8.., 0..12), 1..6)) {
            let line = Words::Argv(words.clone()).to_line();
            prop_assert_eq!(split(&line), Some(words));
        }

        #[test]
        fn any_line_is_split_or_needs_a_shell(line in vec(any::<u8>(), 0..64)) {
            if let Some(words) = split(&line) {
                let again = Words::Argv(words.clone()).to_line();
                prop_assert_eq!(split(&again), Some(words));
            }
        }
    }

    #[test]
    fn quoted_words_are_split_again() {
        let words = [&b"a b"[..], b"", b"it's", b"$x", b"\xff\n", b"--plain=1"].map(<[u8]>::to_vec);
        let line = Words::Argv(words.to_vec()).to_line();
        assert_eq!(
            split(&line),
            Some(words.to_vec()),
            "{}",
            String::from_utf8_lossy(&line)
        );
        assert!(line.ends_with(b" --plain=1"));
    }

    #[test]
    fn command_survives_encoding() {
        let command = Command {
            form: CommandForm::Argv,
            arguments: vec![b"a".to_vec(), Vec::new(), b"\xff\n".to_vec()],
            environment: vec![b"TZ=UTC".to_vec()],
            folder: Some(b"/srv".to_vec()),
        };
        let (run, body) = command.encode().unwrap();
        assert_eq!(body, b"a\0\0\xff\n\0TZ=UTC\0/srv\0");
        assert_eq!(Command::decode(&run, &body).unwrap(), command);
        for broken in [
            &b""[..],
            b"a\0",
            b"a\0\0\xff\n\0TZ=UTC\0/srv",
            b"a\0\0\0\0\0\0\0",
        ] {
            assert!(Command::decode(&run, broken).is_err(), "{broken:?}");
        }
        let with_nul = Command::argv(vec![b"a\0b".to_vec()]);
        assert!(with_nul.encode().is_err());
    }

    #[test]
    fn forced_command_replaces_all_but_variables() {
        let asked = Command {
            form: CommandForm::Argv,
            arguments: vec![b"a b".to_vec(), b"$c".to_vec()],
            environment: vec![b"TZ=UTC".to_vec()],
            folder: Some(b"/srv".to_vec()),
        };
        let forced = asked.forced_to("backup --all 'x y'").unwrap();
        let expected = [&b"backup"[..], b"--all", b"x y"].map(<[u8]>::to_vec);
        assert_eq!(forced.words().unwrap(), Words::Argv(expected.to_vec()));
        assert_eq!(forced.folder, None);
        assert_eq!(
            forced.environment,
            [&b"TZ=UTC"[..], b"LANDLINE_ORIGINAL_COMMAND='a b' '$c'"].map(<[u8]>::to_vec)
        );
        let line = Command {
            form: CommandForm::Line,
            arguments: vec![vec![b'x'; ORIGINAL_BYTES_MAX + 1]],
            ..Command::argv(Vec::new())
        };
        assert!(line.forced_to("backup").is_err());
    }

    #[test]
    fn only_listed_variables_are_accepted() {
        for (entry, expected) in [
            ("TERM=xterm", None),
            ("LC_ALL=C", None),
            ("GIT_PROTOCOL=version=2", None),
            ("LD_PRELOAD=x.so", Some("LD_PRELOAD")),
            ("PATH=/tmp", Some("PATH")),
            ("TERM", Some("TERM")),
            ("TERMX=1", Some("TERMX")),
        ] {
            let command = Command {
                environment: vec![entry.as_bytes().to_vec()],
                ..Command::argv(vec![b"a".to_vec()])
            };
            assert_eq!(command.refused_variable().as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn program_is_looked_up_in_the_given_folders_only() {
        let look_up =
            |name: &str| look_up(name.as_bytes(), Path::new("/bin"), "relative:/no/such:/bin");
        assert_eq!(look_up("sh"), Lookup::Program("/bin/sh".into()));
        assert_eq!(look_up("./sh"), Lookup::Program("/bin/./sh".into()));
        assert_eq!(look_up("no-such-program"), Lookup::Missing);
        assert_eq!(look_up("/etc/passwd"), Lookup::NotExecutable);
        assert_eq!(look_up("/etc"), Lookup::NotExecutable);
    }
}
