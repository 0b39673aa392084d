//! A client of ssh-agent: lists its keys and signs login transcripts.
//!
//! It makes no other request, and the agent is never forwarded.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    PublicKey, sshsig,
    wire::{WireReader, strings},
};
use crate::Error;

/// The longest answer of an agent, as in OpenSSH.
const ANSWER_BYTES_MAX: u32 = 256 * 1024;
/// How long listing the keys may take.
const LIST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a signature may take, which may need the touch of a security key.
const SIGN_TIME_MAX: Duration = Duration::from_secs(60);

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_512: u32 = 4;

/// An agent, identified by its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    socket: PathBuf,
}

/// A key in an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// The public half.
    pub public: PublicKey,
    /// The comment of the key. Escape before printing.
    pub comment: String,
}

impl Agent {
    /// The agent that listens at `socket`. Opens nothing yet.
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Lists the keys of the types that can log in, in the order of the agent.
    ///
    /// # Errors
    /// [`Error::Agent`].
    ///
    /// # Blocking
    /// For up to 10 s.
    pub(crate) fn keys(&self) -> Result<Vec<AgentKey>, Error> {
        let answer = self
            .send_request(&[REQUEST_IDENTITIES], LIST_TIME_MAX)
            .map_err(|error| self.agent_error(error))?;
        AgentKey::parse_list(&answer).ok_or_else(|| self.agent_error(malformed_error()))
    }

    /// Signs a login transcript with the key `public`, in the form of SSH.
    ///
    /// # Blocking
    /// For up to 60 s.
    pub(super) fn sign(&self, public: &PublicKey, transcript: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let flags = if public.is_rsa() { RSA_SHA2_512 } else { 0 };
        let data = sshsig::signed_data(transcript);
        let request = [
            &[SIGN_REQUEST][..],
            &strings(&[public.blob(), &data]),
            &flags.to_be_bytes(),
        ]
        .concat();
        let answer = self
            .send_request(&request, SIGN_TIME_MAX)
            .map_err(|error| self.agent_error(error))?;
        let mut reader = WireReader(&answer);
        match reader.array() {
            Some([SIGN_RESPONSE]) => {}
            _ => return Err(self.agent_error(io::Error::other("it refuses to sign with this key"))),
        }
        reader
            .string()
            .map(<[u8]>::to_vec)
            .ok_or_else(|| self.agent_error(malformed_error()))
    }

    /// Sends one request on its own connection, and reads the answer.
    fn send_request(&self, request: &[u8], time: Duration) -> io::Result<Vec<u8>> {
        let end = Instant::now() + time;
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_write_timeout(Some(time))?;
        stream.write_all(&strings(&[request]))?;
        let mut length = [0; 4];
        read_until(&mut stream, &mut length, end)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES_MAX {
            return Err(malformed_error());
        }
        // At most 256 KiB.
        let mut answer = vec![0; length as usize];
        read_until(&mut stream, &mut answer, end)?;
        Ok(answer)
    }

    fn agent_error(&self, error: io::Error) -> Error {
        let problem = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "does not run".to_owned(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "does not answer".to_owned(),
            io::ErrorKind::UnexpectedEof => "closed the connection".to_owned(),
            _ => error.to_string(),
        };
        Error::Agent {
            socket: self.socket.display().to_string(),
            problem,
        }
    }
}

impl AgentKey {
    /// Parses an agent's list of keys; `None` if it is malformed.
    ///
    /// Keys of unknown types, such as certificates, are skipped.
    pub fn parse_list(answer: &[u8]) -> Option<Vec<Self>> {
        let mut reader = WireReader(answer);
        if reader.array() != Some([IDENTITIES_ANSWER]) {
            return None;
        }
        let mut keys = Vec::new();
        for _ in 0..reader.number()? {
            let blob = reader.string()?;
            let comment = reader.string()?;
            if let Ok(public) = PublicKey::from_blob(blob) {
                keys.push(Self {
                    public,
                    comment: String::from_utf8_lossy(comment).into_owned(),
                });
            }
        }
        reader.end()?;
        Some(keys)
    }
}

/// Fills `buffer` before the deadline `end`, however slowly bytes arrive.
fn read_until(stream: &mut UnixStream, mut buffer: &mut [u8], end: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => buffer = buffer.get_mut(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn malformed_error() -> io::Error {
    io::Error::other("it answers with something that is not an agent's")
}
