//! SOCKS 4, 4a and 5 without authentication, for CONNECT only: what a local program says to a
//! proxy, and what it is answered.

use std::net::{Ipv4Addr, Ipv6Addr};

use landline_proto::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Error, net::HostPort, rights::is_host};

/// The longest user name of SOCKS 4, which means nothing here.
const USER_BYTES_MAX: usize = 255;
/// More than the longest request.
const REQUEST_BYTES_MAX: usize = 1024;
/// SOCKS 5: no authentication.
const NO_AUTHENTICATION: u8 = 0;
/// SOCKS 5: none of the offered methods.
const NO_METHOD: u8 = 0xff;

/// The version of SOCKS that a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocksVersion {
    /// 4 or 4a.
    Four,
    /// 5.
    Five,
}

/// What a program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocksMessage {
    /// SOCKS 5: the methods of authentication, and whether there is one without.
    Methods {
        /// Whether the program offers to come without authentication.
        is_open: bool,
    },
    /// A connection that the program wants.
    Connect {
        /// Where to.
        target: HostPort,
    },
    /// A request that is understood and not served.
    Refused {
        /// What is answered.
        reply: u8,
    },
}

/// A malformed message. It has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not SOCKS 4 or 5")]
pub struct SocksError;

/// SOCKS 5: the answers to a request.
mod reply {
    pub(super) const SUCCEEDED: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    pub(super) const NOT_ALLOWED: u8 = 2;
    pub(super) const HOST_UNREACHABLE: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const COMMAND: u8 = 7;
    pub(super) const ADDRESS: u8 = 8;
}

/// Reads the first message, and tells the version and the length of the message.
///
/// `None` if more bytes are needed.
///
/// # Errors
/// [`SocksError`].
pub fn parse_first(
    input: &[u8],
) -> Result<Option<(SocksVersion, SocksMessage, usize)>, SocksError> {
    match input.first() {
        None => Ok(None),
        Some(4) => {
            let found = parse_version_4(input)?;
            Ok(found.map(|(message, length)| (SocksVersion::Four, message, length)))
        }
        Some(5) => {
            let Some(count) = input.get(1).map(|count| usize::from(*count)) else {
                return Ok(None);
            };
            let Some(methods) = input.get(2..2 + count) else {
                return Ok(None);
            };
            let is_open = methods.contains(&NO_AUTHENTICATION);
            let message = SocksMessage::Methods { is_open };
            Ok(Some((SocksVersion::Five, message, 2 + count)))
        }
        Some(_) => Err(SocksError),
    }
}

/// Reads the request of SOCKS 5, which follows the methods.
///
/// `None` if more bytes are needed.
///
/// # Errors
/// [`SocksError`].
pub fn parse_request(input: &[u8]) -> Result<Option<(SocksMessage, usize)>, SocksError> {
    let is_begun = input.first().is_none_or(|version| *version == 5)
        && input.get(2).is_none_or(|reserved| *reserved == 0);
    if !is_begun {
        return Err(SocksError);
    }
    let Some([_, command, _, kind, rest @ ..]) = input.get(..) else {
        return Ok(None);
    };
    let (host, length) = match (kind, rest) {
        (1, [a, b, c, d, ..]) => (Ipv4Addr::new(*a, *b, *c, *d).to_string(), 4),
        (3, [length, name @ ..]) => {
            let length = usize::from(*length);
            let Some(name) = name.get(..length) else {
                return Ok(None);
            };
            (String::from_utf8_lossy(name).into_owned(), 1 + length)
        }
        (4, rest) => match rest.first_chunk::<16>() {
            Some(address) => (Ipv6Addr::from(*address).to_string(), 16),
            None => return Ok(None),
        },
        (1 | 3, _) => return Ok(None),
        _ => {
            let reply = reply::ADDRESS;
            return Ok(Some((SocksMessage::Refused { reply }, input.len())));
        }
    };
    let Some(port) = port_at(rest, length) else {
        return Ok(None);
    };
    let message = if *command == 1 {
        connect(host, port)
    } else {
        let reply = reply::COMMAND;
        SocksMessage::Refused { reply }
    };
    Ok(Some((message, 4 + length + 2)))
}

fn parse_version_4(input: &[u8]) -> Result<Option<(SocksMessage, usize)>, SocksError> {
    let Some([_, command, _, _, a, b, c, d, rest @ ..]) = input.get(..) else {
        return Ok(None);
    };
    let Some(port) = port_at(input, 2) else {
        return Ok(None);
    };
    let Some(user) = text_length(rest, USER_BYTES_MAX)? else {
        return Ok(None);
    };
    let mut length = 8 + user + 1;
    let address = Ipv4Addr::new(*a, *b, *c, *d);
    // 4a: with this address a name follows.
    let has_name = address.octets().starts_with(&[0, 0, 0]) && *d != 0;
    let host = if has_name {
        let rest = rest.get(user + 1..).unwrap_or_default();
        let Some(name) = text_length(rest, crate::rights::HOST_BYTES_MAX)? else {
            return Ok(None);
        };
        length += name + 1;
        String::from_utf8_lossy(rest.get(..name).unwrap_or_default()).into_owned()
    } else {
        address.to_string()
    };
    let message = if *command == 1 {
        connect(host, port)
    } else {
        let reply = reply::COMMAND;
        SocksMessage::Refused { reply }
    };
    Ok(Some((message, length)))
}

/// The length of a text that ends with a NUL, which is not counted.
fn text_length(input: &[u8], bytes_max: usize) -> Result<Option<usize>, SocksError> {
    match input.iter().position(|byte| *byte == 0) {
        Some(length) if length <= bytes_max => Ok(Some(length)),
        None if input.len() <= bytes_max => Ok(None),
        _ => Err(SocksError),
    }
}

fn port_at(input: &[u8], at: usize) -> Option<u16> {
    let bytes = input.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

fn connect(host: String, port: u16) -> SocksMessage {
    if port == 0 || !is_host(&host) {
        let reply = reply::FAILED;
        return SocksMessage::Refused { reply };
    }
    let target = HostPort { host, port };
    SocksMessage::Connect { target }
}

/// A program that has asked a proxy for a connection.
#[derive(Debug)]
pub struct SocksRequest {
    /// Where to.
    pub target: HostPort,
    /// What it sent behind its request.
    pub pending: Vec<u8>,
    version: SocksVersion,
}

impl SocksRequest {
    /// Talks to the program until it has asked for a connection.
    ///
    /// # Errors
    /// It speaks something else, asks for something else, or is gone. It has its answer then.
    pub async fn receive(
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<Self, Error> {
        let mut input = Vec::new();
        let (version, first, length) = loop {
            if let Some(found) = parse_first(&input).map_err(|error| refused(&error))? {
                break found;
            }
            read_more(stream, &mut input).await?;
        };
        input.drain(..length);
        let message = match first {
            SocksMessage::Methods { is_open } => {
                let method = if is_open {
                    NO_AUTHENTICATION
                } else {
                    NO_METHOD
                };
                write(stream, &[5, method]).await?;
                if !is_open {
                    return Err(refused(&"the program wants to authenticate"));
                }
                let (message, length) = loop {
                    if let Some(found) = parse_request(&input).map_err(|error| refused(&error))? {
                        break found;
                    }
                    read_more(stream, &mut input).await?;
                };
                input.drain(..length);
                message
            }
            message => message,
        };
        match message {
            SocksMessage::Connect { target } => Ok(Self {
                target,
                pending: input,
                version,
            }),
            SocksMessage::Refused { reply } => {
                write(stream, &encode_reply(version, reply)).await?;
                Err(refused(
                    &"the program asks for something else than a connection",
                ))
            }
            SocksMessage::Methods { .. } => Err(refused(&SocksError)),
        }
    }

    /// The answer to a program about its connection.
    pub fn answer(version: SocksVersion, failure: Option<&Error>) -> Vec<u8> {
        let reply = match failure {
            None => reply::SUCCEEDED,
            Some(Error::Failed { code, .. }) => match code {
                ErrorCode::Denied | ErrorCode::CredentialLimited => reply::NOT_ALLOWED,
                ErrorCode::NotFound => reply::HOST_UNREACHABLE,
                ErrorCode::Unreachable => reply::REFUSED,
                _ => reply::FAILED,
            },
            Some(_) => reply::FAILED,
        };
        encode_reply(version, reply)
    }

    /// The version that the program speaks.
    pub fn version(&self) -> SocksVersion {
        self.version
    }
}

/// The address in a reply would be that of the server's socket, which is not told.
fn encode_reply(version: SocksVersion, reply: u8) -> Vec<u8> {
    match version {
        SocksVersion::Four => {
            let code = if reply == reply::SUCCEEDED { 90 } else { 91 };
            vec![0, code, 0, 0, 0, 0, 0, 0]
        }
        SocksVersion::Five => vec![5, reply, 0, 1, 0, 0, 0, 0, 0, 0],
    }
}

async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut part = [0; REQUEST_BYTES_MAX];
    let count = stream.read(&mut part).await;
    let count = count.map_err(|error| Error::io("a program", &error))?;
    if count == 0 || input.len() + count > 2 * REQUEST_BYTES_MAX {
        return Err(refused(&SocksError));
    }
    input.extend_from_slice(part.get(..count).unwrap_or_default());
    Ok(())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Error> {
    let written = stream.write_all(bytes).await;
    written.map_err(|error| Error::io("a program", &error))
}

fn refused(problem: &dyn std::fmt::Display) -> Error {
    Error::here(ErrorCode::UnexpectedMessage, problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> SocksMessage {
        SocksMessage::Connect {
            target: HostPort {
                host: host.into(),
                port,
            },
        }
    }

    #[test]
    fn requests_are_read_in_any_pieces() {
        let four: [(&[u8], SocksMessage); 4] = [
            (
                b"\x04\x01\x00\x50\xc0\x00\x02\x01\0",
                target("192.0.2.1", 80),
            ),
            (
                b"\x04\x01\x00\x50\xc0\x00\x02\x01me\0",
                target("192.0.2.1", 80),
            ),
            (
                b"\x04\x01\x01\xbb\0\0\0\x01me\0db.example\0",
                target("db.example", 443),
            ),
            (
                b"\x04\x02\x00\x50\xc0\x00\x02\x01\0",
                SocksMessage::Refused { reply: 7 },
            ),
        ];
        for (input, expected) in four {
            for length in 0..input.len() {
                assert_eq!(parse_first(&input[..length]), Ok(None), "{input:?}");
            }
            let expected = (SocksVersion::Four, expected, input.len());
            assert_eq!(parse_first(&[input, b"rest"].concat()), Ok(Some(expected)));
        }
        let five: [(&[u8], SocksMessage); 5] = [
            (
                b"\x05\x01\0\x01\xc0\x00\x02\x01\x00\x50",
                target("192.0.2.1", 80),
            ),
            (b"\x05\x01\0\x03\x02db\x01\xbb", target("db", 443)),
            (
                b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
                target("::1", 80),
            ),
            (
                b"\x05\x03\0\x01\xc0\x00\x02\x01\x00\x50",
                SocksMessage::Refused { reply: 7 },
            ),
            (
                b"\x05\x01\0\x03\x02a/\x01\xbb",
                SocksMessage::Refused { reply: 1 },
            ),
        ];
        for (input, expected) in five {
            for length in 0..input.len() {
                assert_eq!(parse_request(&input[..length]), Ok(None), "{input:?}");
            }
            let expected = (expected, input.len());
            assert_eq!(
                parse_request(&[input, b"rest"].concat()),
                Ok(Some(expected))
            );
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for input in [&b"GET / HTTP/1.1"[..], b"\x06", b"\x16\x03\x01"] {
            assert_eq!(parse_first(input), Err(SocksError), "{input:?}");
        }
        assert_eq!(parse_request(b"\x04"), Err(SocksError));
        assert_eq!(parse_request(b"\x05\x01\x01"), Err(SocksError));
        let long = [&b"\x04\x01\x00\x50\xc0\x00\x02\x01"[..], &[b'a'; 256]].concat();
        assert_eq!(parse_first(&long), Err(SocksError));
    }
}
