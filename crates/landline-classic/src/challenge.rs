//! `challenge`: the server asks for proof of a shared secret, before another dialect or alone.

use std::{io, path::Path, sync::Arc, time::Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{
    Connection, Got,
    codec::{DialectError, HmacKind, NONCE_BYTES},
};
use crate::{Error, secret_file::read_secret_file};

/// What the server says where nothing stands behind the challenge.
const PASSED: &[u8] = b"ok";
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A shared secret and how it is proved. `Debug` shows neither.
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
    /// Reads the secret from a file that nobody else can read: all of it but a newline at its end.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::SecretFile`].
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
                source: "is empty; a secret is needed".into(),
            });
        }
        Ok(Self {
            secret: Arc::new(secret),
            kind,
        })
    }

    /// Asks the other side for proof. What it has sent behind its answer is left to be read.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`], [`Error::Lost`], and [`Error::Dialect`] where it takes too long.
    pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Connection<S>,
    ) -> Result<(), Error> {
        let nonce = random_nonce()?;
        line.send(&nonce).await?;
        let found = exactly(line, self.kind.answer_bytes()).await?;
        if self.kind.verifies(&self.secret, &nonce, &found) {
            Ok(())
        } else {
            Err(Error::WrongAnswer)
        }
    }

    /// Answers the other side's challenge.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Dialect`].
    pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Connection<S>,
    ) -> Result<(), Error> {
        let nonce = exactly(line, NONCE_BYTES).await?;
        line.send(&self.kind.answer(&self.secret, &nonce)).await
    }
}

/// Tells the other side that it has passed.
pub(super) async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
) -> Result<(), Error> {
    line.send(PASSED).await
}

/// Waits to be told so.
///
/// # Errors
/// [`Error::AnswerRejected`] where the server closes the line instead, [`Error::Lost`].
pub async fn passed<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
) -> Result<(), Error> {
    match exactly(line, PASSED.len()).await {
        Ok(word) if word == PASSED => Ok(()),
        Ok(_) => Err(DialectError::Header("it did not say ok".into()).into()),
        Err(Error::Dialect(DialectError::Cut) | Error::Lost(_)) => Err(Error::AnswerRejected),
        Err(error) => Err(error),
    }
}

fn random_nonce() -> Result<[u8; NONCE_BYTES], Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| Error::io("random numbers", io::Error::other(error)))?;
    Ok(nonce)
}

/// So many bytes, within the time that a header has.
async fn exactly<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    count: usize,
) -> Result<Vec<u8>, Error> {
    let began = Instant::now();
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        match line.read_header(Some(began)).await? {
            Got::Bytes(bytes) => found.extend(bytes),
            Got::End | Got::Timeout => return Err(DialectError::Cut.into()),
        }
    }
    line.put_back(found.get(count..).unwrap_or_default());
    found.truncate(count);
    Ok(found)
}
