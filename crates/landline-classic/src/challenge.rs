//! `challenge`: the server asks for proof of a shared secret.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{
    Connection, Received,
    codec::{DialectError, HmacKind, NONCE_BYTES},
    service::REFUSED,
};
use crate::{Error, Wording, error::RANDOM_NUMBERS, secret_file::read_secret_file};

/// The server's confirmation where no dialect follows the challenge.
const CONFIRMATION: &[u8] = b"ok";
/// The longest refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 4096;
/// The maximum length of the secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A shared secret and its HMAC. `Debug` does not print the secret.
#[derive(Clone)]
pub struct Challenge {
    secret: Arc<Zeroizing<Vec<u8>>>,
    kind: HmacKind,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Challenge {
    /// Reads the secret from a file that other users cannot read.
    ///
    /// A newline at the end is not part of the secret.
    ///
    /// # Errors
    /// [`Error::SecretFile`].
    ///
    /// # Blocking
    /// It reads a file.
    pub fn load(path: &Path, kind: HmacKind) -> Result<Self, Error> {
        let mut secret = read_secret_file(path, SECRET_BYTES_MAX)?;
        for end in [b'\n', b'\r'] {
            if secret.last() == Some(&end) {
                secret.pop();
            }
        }
        if secret.is_empty() {
            return Err(Error::SecretFile {
                path: path.to_owned(),
                problem: Wording::new("is empty; a secret is needed", "是空的；需要密钥"),
            });
        }
        Ok(Self {
            secret: Arc::new(secret),
            kind,
        })
    }

    /// Asks the peer for proof. Bytes after its answer can be read next.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`], [`Error::OtherAnswer`], [`Error::Lost`], or [`Error::Dialect`] if
    /// the answer takes too long.
    pub(super) async fn verify_peer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S>,
    ) -> Result<(), Error> {
        let nonce = random_nonce()?;
        connection.send(&nonce).await?;
        let started_at = Instant::now();
        let mut answer = Vec::new();
        while answer.len() < self.kind.answer_bytes() {
            match connection.read_header(Some(started_at)).await? {
                Received::Bytes(bytes) => answer.extend(bytes),
                Received::End | Received::Timeout => return Err(DialectError::Cut.into()),
            }
            // The answer of another digest may be shorter.
            if let Some(sent) = self.kind.find_other(&self.secret, &nonce, &answer) {
                return Err(Error::OtherAnswer {
                    sent,
                    wanted: self.kind.to_string(),
                });
            }
        }
        let (answer, rest) = answer.split_at(self.kind.answer_bytes());
        connection.put_back(rest);
        if self.kind.is_answer(&self.secret, &nonce, answer) {
            Ok(())
        } else {
            Err(Error::WrongAnswer)
        }
    }

    /// Answers the peer's challenge.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Dialect`].
    pub(super) async fn answer_peer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S>,
    ) -> Result<(), Error> {
        let nonce = read_exact(connection, NONCE_BYTES).await;
        let nonce = nonce.map_err(|error| match error {
            Error::Dialect(DialectError::Slow(_) | DialectError::Cut) => Error::Lost(Wording::new(
                "no challenge came (is it served with --secret-file?)",
                "没有收到挑战（服务器用了 --secret-file 吗？）",
            )),
            other => other,
        })?;
        connection
            .send(&self.kind.answer(&self.secret, &nonce))
            .await
    }
}

/// The client: waits a moment for a server that closes the connection after a wrong answer.
///
/// # Errors
/// [`Error::AnswerRejected`], or [`Error::LoginRefused`] if the server says why.
pub(super) async fn await_verdict<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    patience: Duration,
) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    let mut received = Vec::new();
    loop {
        match connection.read(Some(deadline)).await {
            Ok(Received::Bytes(bytes)) => received.extend(bytes),
            Ok(Received::Timeout) => break,
            Ok(Received::End) | Err(_) => {
                let refusal = find_refusal(&received).map(Error::LoginRefused);
                return Err(refusal.unwrap_or(Error::AnswerRejected));
            }
        }
        // A dialect may begin with a text of the server, which the connection outlives.
        if find_refusal(&received).is_none() || received.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    connection.put_back(&received);
    Ok(())
}

/// The refusal in what a server sent, in the form of any dialect.
fn find_refusal(received: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(received);
    if let Some(at) = text.find(REFUSED) {
        return text.get(at..).map(|refusal| refusal.trim_end().to_owned());
    }
    // A receipt, after its length.
    let json = text.find('{').and_then(|at| text.get(at..))?;
    let receipt: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(receipt.get("error")?.as_str()?.to_owned())
}

/// The client without a secret: waits a moment for a server that asks for a proof.
///
/// # Errors
/// [`Error::SecretNeeded`], or [`Error::Lost`].
pub(super) async fn expect_no_nonce<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    patience: Duration,
) -> Result<(), Error> {
    if let Received::Bytes(bytes) = connection.read(Some(Instant::now() + patience)).await? {
        // Random bytes are hardly ever text.
        if bytes.len() == NONCE_BYTES && str::from_utf8(&bytes).is_err() {
            return Err(Error::SecretNeeded);
        }
        connection.put_back(&bytes);
    }
    Ok(())
}

/// Confirms to the client that its answer is right.
pub(super) async fn confirm<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
) -> Result<(), Error> {
    connection.send(CONFIRMATION).await
}

/// Waits for the server's confirmation.
///
/// # Errors
/// [`Error::AnswerRejected`] if the server closes the connection instead, [`Error::Dialect`] or
/// [`Error::Lost`].
pub async fn await_confirmation<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
) -> Result<(), Error> {
    match read_exact(connection, CONFIRMATION.len()).await {
        Ok(word) if word == CONFIRMATION => Ok(()),
        Ok(_) => {
            Err(DialectError::Header(Wording::new("it did not say ok", "对方没有回答 ok")).into())
        }
        Err(Error::Dialect(DialectError::Cut) | Error::Lost(_)) => Err(Error::AnswerRejected),
        Err(error) => Err(error),
    }
}

fn random_nonce() -> Result<[u8; NONCE_BYTES], Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| Error::io(RANDOM_NUMBERS, io::Error::other(error)))?;
    Ok(nonce)
}

/// Reads exactly `count` bytes, within the time limit of a header.
async fn read_exact<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    count: usize,
) -> Result<Vec<u8>, Error> {
    let started_at = Instant::now();
    let mut bytes_read = Vec::with_capacity(count);
    while bytes_read.len() < count {
        match connection.read_header(Some(started_at)).await? {
            Received::Bytes(bytes) => bytes_read.extend(bytes),
            Received::End | Received::Timeout => return Err(DialectError::Cut.into()),
        }
    }
    connection.put_back(bytes_read.get(count..).unwrap_or_default());
    bytes_read.truncate(count);
    Ok(bytes_read)
}
