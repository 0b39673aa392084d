//! Small scripts for the shell of another machine, run there by the system's ssh.

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

/// What every script begins with.
const PRELUDE: &str = include_str!("prelude.sh");
/// How an answer is told from whatever else a login says.
const MARK: &str = "landline:";
/// RemoteHost beyond all that a script answers.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// For ssh: a command and nothing else, whatever its configuration adds to a login.
const OPTIONS: [&str; 7] = [
    "-T",
    "-a",
    "-x",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "RemoteCommand=none",
];

/// A machine that ssh leads to.
pub(super) struct Remote {
    way: ProxyJump,
    /// Its name, for people.
    pub(super) name: String,
    /// Where each step is printed.
    pub(super) err: OutputStream,
}

impl Remote {
    /// The last host of `way`; `None` for a way without hosts.
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
    /// 10 where ssh fails, 14 where there is no shell to run it, and what the script says is in the
    /// way.
    pub(super) async fn run(
        &self,
        script: &str,
        words: &[&str],
        input: &[u8],
    ) -> Result<Answers, Failure> {
        let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("set -- {}\n{PRELUDE}\n{script}", quoted.join(" "));
        // Whatever shell the user has there understands this the same way. dd takes the script
        // alone, and leaves what stands behind it.
        let command = format!(
            "exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'",
            script.len()
        );
        let (status, answers) = self
            .talk(&command, script.as_bytes(), input)
            .await
            .map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::NotFound => "there is no program ssh on this machine".to_owned(),
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
        let ssh =
            ssh_command(&self.way, &OPTIONS).ok_or_else(|| io::Error::other("there is no host"))?;
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
                // A script that ends early has said why.
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

    /// What a script has said is in the way.
    fn problem(&self, problem: &str) -> Failure {
        let (kind, what) = problem.split_once(' ').unwrap_or((problem, ""));
        let (code, text) = match kind {
            "user" => ("unknown-user", "there is no such user"),
            "home" => ("not-found", "there is no home"),
            "write" => ("io", "the program cannot be put there"),
            "damaged" => (
                "digest-mismatch",
                "the program was damaged on the way, and is not used",
            ),
            "foreign" => ("platform", "the program does not run there"),
            "settings" => ("settings", "the settings there cannot be used"),
            "invite" => ("no-invite", "there is no invite to be had"),
            _ => ("not-started", "the server does not start"),
        };
        // What landline itself says there, with --json.
        let failed: Failed = serde_json::from_str(what).unwrap_or_else(|_| Failed {
            code: code.to_owned(),
            message: what.trim().to_owned(),
        });
        let what = format!("{}: {text}: {}", self.name, failed.message);
        let failure = Failure::new(failed.code, what);
        match kind {
            "damaged" => failure.with_advice("run the same command again to copy it once more"),
            "foreign" => failure.with_advice(super::BINARY),
            _ => failure,
        }
    }

    /// The script did not come to its end, and did not say why.
    fn broken(&self, status: ExitStatus) -> Failure {
        let name = &self.name;
        match status.code() {
            Some(255) | None => Failure::new("ssh", format!("ssh to {name} failed ({status})"))
                .with_advice(
                    "what it said stands above; ssh to that host has to work by itself first",
                ),
            Some(_) => Failure::new(
                "no-shell",
                format!("{name} does not run a shell's commands for this user ({status})"),
            ),
        }
    }
}

/// A failure of landline at the other machine.
#[derive(Deserialize)]
struct Failed {
    code: String,
    message: String,
}

/// What a script has answered. Some of it is secret.
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

    /// The first of them.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first of them for people; empty where there is none.
    pub(super) fn shown(&self, name: &str) -> String {
        shown_line(self.one(name).unwrap_or_default())
    }
}

/// A word as every POSIX shell takes it for itself.
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
    fn answers_are_told_from_login_output() {
        let text = "Welcome!\nlandline:user 1\nlandline:userx 2\n landline:user 3\nlandline:user\nlandline:user 4 5\n";
        let answers = Answers(Zeroizing::new(text.to_owned()));
        assert_eq!(answers.all("user").collect::<Vec<_>>(), ["1", "4 5"]);
        assert_eq!(answers.one("nothing"), None);
    }
}
