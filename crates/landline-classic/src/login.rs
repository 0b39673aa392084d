//! `login`: the client sends a name, then a password.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Received,
    codec::{
        Accounts, Bursts, DialectError, Encodings, InvalidAccounts, LoginDialog, LoginOutcome,
    },
    service::{REFUSED, Reporter},
};
use crate::{Error, Wording, secret_file::read_secret_file};

/// The time that a login may take in all, with failed attempts.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(120);
/// The maximum length of an accounts file, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;
/// The pause between name and password, which a server with two reads needs.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads a file with a line `name:password` for each account.
///
/// It rejects a file that other users can read.
///
/// # Errors
/// [`Error::SecretFile`].
///
/// # Blocking
/// It reads a file.
pub fn read_accounts(path: &Path) -> Result<Accounts, Error> {
    let bytes = read_secret_file(path, ACCOUNTS_BYTES_MAX)?;
    let bad = |problem| Error::SecretFile {
        path: path.to_owned(),
        problem,
    };
    let text = str::from_utf8(&bytes)
        .map_err(|_| bad(Wording::new("is not text in UTF-8", "不是 UTF-8 文本")))?;
    text.parse()
        .map_err(|error: InvalidAccounts| bad(error.wording()))
}

/// The options of a login server.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// The accounts.
    pub accounts: Accounts,
    /// The message after a successful login.
    pub greeting: String,
}

/// The server: one login, with three attempts.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    mut bursts: Bursts,
    encodings: Encodings,
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
        let received = connection.read(Some(deadline)).await?;
        let now = Instant::now();
        match received {
            Received::Bytes(bytes) => bursts.handle_input(now, &bytes),
            Received::End => is_open = false,
            Received::Timeout if now >= end => {
                return Err(DialectError::Slow(LOGIN_TIME_MAX.as_secs()).into());
            }
            Received::Timeout => {}
        }
        let mut outcomes: Vec<LoginOutcome> = dialog.handle_timeout(now).into_iter().collect();
        while let Some(message) = bursts.poll_message(now)? {
            outcomes.extend(dialog.handle_message(now, &message));
        }
        if !is_open {
            outcomes.extend(
                bursts
                    .finish()?
                    .and_then(|message| dialog.handle_message(now, &message)),
            );
            outcomes.extend(dialog.finish());
        }
        for outcome in outcomes {
            match outcome {
                LoginOutcome::Accepted(user) => {
                    connection
                        .send(&encodings.sent.encode(&options.greeting))
                        .await?;
                    report.event(|peer| ClassicEvent::Login { peer, user });
                    return Ok(());
                }
                LoginOutcome::Rejected { reason, is_last } => {
                    connection
                        .send(&encodings.sent.encode(&format!("{REFUSED}{reason}")))
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

/// The client: sends name and password, and returns the server's answer.
///
/// # Errors
/// [`Error::LoginRefused`] for an answer of landline's server, and [`Error::Lost`], also if the
/// server closes the connection without an answer.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    name: &str,
    password: &str,
) -> Result<String, Error> {
    connection.send(&encodings.sent.encode(name)).await?;
    tokio::time::sleep(PAUSE).await;
    connection.send(&encodings.sent.encode(password)).await?;
    let mut answer = Vec::new();
    let mut deadline = None;
    // The answer has no end of its own. It consists of what arrives within a moment of its first
    // byte.
    while let Received::Bytes(bytes) = connection.read(deadline).await? {
        answer.extend(bytes);
        deadline.get_or_insert_with(|| Instant::now() + PAUSE);
    }
    if answer.is_empty() {
        return Err(Error::Lost(Wording::new(
            "the server closed the connection without an answer",
            "服务器没有回答就关闭了连接",
        )));
    }
    let answer = encodings.received.try_decode(&answer)?;
    if answer.starts_with(REFUSED) {
        return Err(Error::LoginRefused(answer));
    }
    Ok(answer)
}
