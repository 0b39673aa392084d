//! `challenge`: the server asks for proof of a shared secret, before another dialect or alone.

use std::{path::Path, sync::Arc, time::Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{
    Got, Line,
    codec::{DialectError, HmacKind, NONCE_BYTES},
};
use crate::{Error, crypto::random, paths::read_secret_file, proto::ErrorCode};

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
    /// [`Error::Key`].
    pub fn load(path: &Path, kind: HmacKind) -> Result<Self, Error> {
        let bad = |problem: String| Error::Key {
            path: path.display().to_string(),
            problem,
        };
        let mut secret =
            read_secret_file(path, SECRET_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
        for end in [b'\n', b'\r'] {
            if secret.last() == Some(&end) {
                secret.pop();
            }
        }
        if secret.is_empty() {
            return Err(bad("is empty; a secret is needed".into()));
        }
        Ok(Self {
            secret: Arc::new(secret),
            kind,
        })
    }

    /// Asks the other side for proof. What it has sent behind its answer is left to be read.
    ///
    /// # Errors
    /// `login-refused`, [`Error::Lost`], and [`Error::Dialect`] where it takes too long.
    pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Line<S>,
    ) -> Result<(), Error> {
        let nonce: [u8; NONCE_BYTES] = random();
        line.send(&nonce).await?;
        let found = exactly(line, self.kind.answer_bytes()).await?;
        if self.kind.verifies(&self.secret, &nonce, &found) {
            Ok(())
        } else {
            Err(Error::here(
                ErrorCode::LoginRefused,
                "the answer to the challenge is wrong",
            ))
        }
    }

    /// Answers the other side's challenge.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Dialect`].
    pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Line<S>,
    ) -> Result<(), Error> {
        let nonce = exactly(line, NONCE_BYTES).await?;
        line.send(&self.kind.answer(&self.secret, &nonce)).await
    }
}

/// Tells the other side that it has passed.
pub(super) async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
) -> Result<(), Error> {
    line.send(PASSED).await
}

/// Waits to be told so.
///
/// # Errors
/// `login-refused` where the server closes the line instead, [`Error::Lost`].
pub async fn passed<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> Result<(), Error> {
    match exactly(line, PASSED.len()).await {
        Ok(word) if word == PASSED => Ok(()),
        Ok(_) => Err(DialectError::Header("it did not say ok".into()).into()),
        Err(Error::Dialect(DialectError::Cut) | Error::Lost(_)) => Err(Error::here(
            ErrorCode::LoginRefused,
            "the server closed the line: it did not believe the answer",
        )),
        Err(error) => Err(error),
    }
}

/// So many bytes, within the time that a header has.
async fn exactly<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
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
