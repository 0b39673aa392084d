//! Runs shell scripts on another machine through the system's ssh.

use std::{
    io,
    process::{ExitStatus, Stdio},
};

use landline::{net::ssh_command, ssh_config::ProxyJump};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use zeroize::Zeroizing;

use crate::{failure::Failure, streams::OutputStream, terminal::shown_line};

/// The beginning of every script.
const PRELUDE: &str = include_str!("prelude.sh");
/// The beginning of an answer, which tells it from the output of a login.
const MARK: &str = "landline:";
/// The longest output of a script, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Options by which ssh only runs a command, whatever its configuration adds to a login.
const OPTIONS: [&str; 7] = [
    "-T",
    "-a",
    "-x",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "RemoteCommand=none",
];

/// A machine that is reached by ssh.
pub(super) struct Remote {
    way: ProxyJump,
    /// The name of the machine, for people.
    pub(super) name: String,
    /// The stream for the steps.
    pub(super) err: OutputStream,
}

impl Remote {
    /// The last host of `way`. `None` if there is none.
    pub(super) fn new(way: &ProxyJump, err: &OutputStream) -> Option<Self> {
        way.hops.last().map(|last| Self {
            way: way.clone(),
            name: last.host.clone(),
            err: err.clone(),
        })
    }

    /// Runs a script with these words as its arguments and `input` as its standard input.
    ///
    /// # Errors
    /// `ssh` if ssh fails, `no-shell` if the user has no shell, and any problem that the script
    /// reports.
    pub(super) async fn run(
        &self,
        script: &str,
        words: &[&str],
        input: &[u8],
    ) -> Result<Answers, Failure> {
        let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("set -- {}\n{PRELUDE}\n{script}", quoted.join(" "));
        // Every login shell understands this command. dd reads the script only and leaves the rest
        // of standard input.
        let command = format!(
            "exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'",
            script.len()
        );
        let (status, answers) = self
            .talk(&command, script.as_bytes(), input)
            .await
            .map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::NotFound => "ssh is not installed on this machine".to_owned(),
                    _ => format!("ssh to {}: {error}", self.name),
                };
                Failure::new("ssh", what)
            })?;
        if let Some(problem) = answers.one("problem") {
            return Err(self.problem(problem));
        }
        if answers.one("end").is_some() {
            return Ok(answers);
        }
        Err(self.broken(status))
    }

    async fn talk(
        &self,
        command: &str,
        script: &[u8],
        input: &[u8],
    ) -> io::Result<(ExitStatus, Answers)> {
        let ssh = ssh_command(&self.way, &OPTIONS)
            .ok_or_else(|| io::Error::other("there is not a valid host"))?;
        let mut ssh = Command::from(ssh);
        ssh.arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = ssh.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A script that ends early reports the reason itself.
                let _ = stdin.write_all(script).await;
                let _ = stdin.write_all(input).await;
            }
        };
        let read = async {
            let mut bytes = Zeroizing::new(Vec::new());
            if let Some(stdout) = stdout {
                stdout
                    .take(ANSWER_BYTES_MAX)
                    .read_to_end(&mut bytes)
                    .await?;
            }
            Ok::<_, io::Error>(bytes)
        };
        let ((), bytes) = tokio::join!(write, read);
        let answers = Answers(Zeroizing::new(
            String::from_utf8_lossy(&bytes?).into_owned(),
        ));
        Ok((child.wait().await?, answers))
    }

    /// The failure for a problem that a script has reported.
    fn problem(&self, problem: &str) -> Failure {
        let (kind, what) = problem.split_once(' ').unwrap_or((problem, ""));
        let (code, text) = match kind {
            "user" => ("unknown-user", "there is no such user"),
            "home" => ("not-found", "the home folder is missing"),
            "write" => ("io", "the program cannot be installed"),
            "damaged" => (
                "digest-mismatch",
                "the program was damaged on the way and not installed",
            ),
            "foreign" => ("platform", "the program does not run there"),
            "settings" => ("settings", "the server's settings cannot be used"),
            "invite" => ("no-invite", "no invite can be made"),
            _ => ("not-started", "the server does not start"),
        };
        // The failure of a remote `landline --json`, if it was one.
        let failed: Failed = serde_json::from_str(what).unwrap_or_else(|_| Failed {
            code: code.to_owned(),
            message: what.trim().to_owned(),
        });
        let what = format!("{}: {text}: {}", self.name, failed.message);
        let failure = Failure::new(failed.code, what);
        match kind {
            "damaged" => failure.with_advice("run the same command again to copy it once more"),
            "foreign" => failure.with_advice(super::BINARY),
            _ if failure.code == "listen" => failure.with_advice(super::LISTEN),
            _ => failure,
        }
    }

    /// The failure of a script that did not complete and reported no problem.
    fn broken(&self, status: ExitStatus) -> Failure {
        let name = &self.name;
        match status.code() {
            Some(255) | None => Failure::new("ssh", format!("ssh to {name} failed ({status})"))
                .with_advice("see the output of ssh above, and check that ssh to that host works"),
            Some(_) => Failure::new(
                "no-shell",
                format!("this user cannot run shell commands on {name} ({status})"),
            ),
        }
    }
}

/// The failure that a remote landline has printed.
#[derive(Deserialize)]
struct Failed {
    code: String,
    message: String,
}

/// The answers of a script. Some are secret.
pub(super) struct Answers(Zeroizing<String>);

impl Answers {
    /// All answers of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(move |line| {
            line.strip_prefix(MARK)?
                .strip_prefix(name)?
                .strip_prefix(' ')
        })
    }

    /// The first answer of this name.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first answer of this name for people, empty if there is none.
    pub(super) fn shown(&self, name: &str) -> String {
        shown_line(self.one(name).unwrap_or_default())
    }
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `shell-quoting` in docs/faults.md.
    #[test]
    fn quoted_word_stays_one_word() {
        for word in [
            "", "a b", "it's", "$(id)", "`id`", "a\nb", "\\", "'; id; '", "-n", "*",
        ] {
            let script = format!("set -- {}\nprintf '%s,%s' $# \"$1\"", quoted(word));
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(script)
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8(output.stdout).unwrap(),
                format!("1,{word}")
            );
        }
    }

    #[test]
    fn answers_are_separated_from_login_output() {
        let text = "Welcome!\nlandline:user 1\nlandline:userx 2\n landline:user 3\nlandline:user\nlandline:user 4 5\n";
        let answers = Answers(Zeroizing::new(text.to_owned()));
        assert_eq!(answers.all("user").collect::<Vec<_>>(), ["1", "4 5"]);
        assert_eq!(answers.one("nothing"), None);
    }
}
