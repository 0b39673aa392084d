//! `login`: a name, then a password.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Got,
    codec::{Accounts, Bursts, Charset, DialectError, LoginDialog, Verdict},
    service::Reporter,
};
use crate::{Error, secret_file::read_secret_file};

/// How long a login may take in all, failed tries included.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(120);
/// The longest file of accounts, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;
/// Time between name and password, so that a server that reads twice gets them as two.
const BETWEEN: Duration = Duration::from_millis(200);

/// Reads a file of accounts that nobody else can read: a line `name:password` for each. Blocking.
///
/// # Errors
/// [`Error::SecretFile`].
pub fn read_accounts(path: &Path) -> Result<Accounts, Error> {
    let bytes = read_secret_file(path, ACCOUNTS_BYTES_MAX)?;
    let bad = |source| Error::SecretFile {
        path: path.to_owned(),
        source,
    };
    let text = str::from_utf8(&bytes).map_err(|_| bad("is not text in UTF-8".into()))?;
    text.parse().map_err(|problem: String| bad(problem.into()))
}

/// Who may log in, and what it is told.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// The accounts.
    pub accounts: Accounts,
    /// What is said on success.
    pub greeting: String,
}

/// The server's half: one login, in three tries.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    mut bursts: Bursts,
    charset: Charset,
    options: &LoginOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut dialog = LoginDialog::new(options.accounts.clone());
    let end = Instant::now() + LOGIN_TIME_MAX;
    let mut is_open = true;
    while is_open {
        let deadline = [bursts.poll_timeout(), dialog.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(end, Instant::min);
        let got = line.read(Some(deadline)).await?;
        let now = Instant::now();
        match got {
            Got::Bytes(bytes) => bursts.handle_input(now, &bytes),
            Got::End => is_open = false,
            Got::Timeout if now >= end => {
                return Err(DialectError::Slow(LOGIN_TIME_MAX.as_secs()).into());
            }
            Got::Timeout => {}
        }
        let mut verdicts: Vec<Verdict> = dialog.handle_timeout(now).into_iter().collect();
        while let Some(message) = bursts.poll_message(now)? {
            verdicts.extend(dialog.handle_message(now, &message));
        }
        if !is_open {
            verdicts.extend(
                bursts
                    .finish()
                    .and_then(|message| dialog.handle_message(now, &message)),
            );
        }
        for verdict in verdicts {
            match verdict {
                Verdict::Welcome(user) => {
                    line.send(&charset.encode(&options.greeting)).await?;
                    report.event(|peer| ClassicEvent::Login { peer, user });
                    return Ok(());
                }
                Verdict::Refused { reason, is_last } => {
                    line.send(&charset.encode(&format!("refused: {reason}")))
                        .await?;
                    report.event(|peer| ClassicEvent::Refused {
                        peer,
                        message: reason,
                    });
                    if is_last {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// The client's half: says who it is, and gives what the server answers.
///
/// # Errors
/// [`Error::Lost`], also where the server answers nothing.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    name: &str,
    password: &str,
) -> Result<String, Error> {
    line.send(&charset.encode(name)).await?;
    tokio::time::sleep(BETWEEN).await;
    line.send(&charset.encode(password)).await?;
    let mut answer = Vec::new();
    let mut deadline = None;
    // The answer has no end of its own: what comes within a moment of its first byte is part of it.
    while let Got::Bytes(bytes) = line.read(deadline).await? {
        answer.extend(bytes);
        deadline.get_or_insert_with(|| Instant::now() + BETWEEN);
    }
    match answer.is_empty() {
        true => Err(Error::Lost(
            "the server closed the line without an answer".into(),
        )),
        false => Ok(charset.decode(&answer)),
    }
}
