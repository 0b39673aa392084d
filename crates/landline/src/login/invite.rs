//! Invites: `landline://HOST:PORT/#FINGERPRINT.TOKEN`.

use std::{fmt, str::FromStr, time::Duration};

use landline_proto::messages::Token;

use crate::{
    Error,
    crypto::{Fingerprint, random},
    net::HostPort,
};

/// How long an invite is valid.
pub(crate) const INVITE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// An invite: the server's addresses and fingerprint, and a token for one use.
///
/// `Display` reveals the token, for the person who hands the invite on. `Debug` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Where the server can be reached; at least one address.
    pub addresses: Vec<HostPort>,
    /// The fingerprint of the server.
    pub fingerprint: Fingerprint,
    /// The token.
    pub token: Token,
}

impl Invite {
    /// An invite with a fresh token.
    pub(crate) fn new(addresses: Vec<HostPort>, fingerprint: Fingerprint) -> Self {
        Self {
            addresses,
            fingerprint,
            token: Token(random()),
        }
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(HostPort::to_string).collect();
        write!(
            f,
            "landline://{}/#{}.{}",
            addresses.join(","),
            self.fingerprint,
            self.token.reveal()
        )
    }
}

impl FromStr for Invite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |problem: &str| Error::Invite(problem.to_owned());
        // Copying from a narrow window can break a long line.
        let text: String = text
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect();
        let rest = text
            .strip_prefix("landline://")
            .ok_or_else(|| bad("it does not begin with landline://"))?;
        let (authority, fragment) = rest
            .split_once("/#")
            .ok_or_else(|| bad("the part after /# is missing"))?;
        let (fingerprint, token) = fragment
            .split_once('.')
            .ok_or_else(|| bad("the token after the fingerprint is missing"))?;
        Ok(Self {
            addresses: parse_addresses(authority)?,
            fingerprint: fingerprint
                .parse()
                .map_err(|_| bad("its fingerprint is cut or malformed"))?,
            token: Token::parse(token).ok_or_else(|| bad("its token is cut or malformed"))?,
        })
    }
}

/// Parses `HOST[:PORT]`, or several of them separated by commas.
pub(super) fn parse_addresses(authority: &str) -> Result<Vec<HostPort>, Error> {
    authority.split(',').map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invite_text_round_trips() {
        let addresses = vec![
            HostPort {
                host: "host.example".into(),
                port: 5263,
            },
            HostPort {
                host: "fe80::1".into(),
                port: 77,
            },
        ];
        let invite = Invite::new(addresses, Fingerprint::of_certificate(b"x"));
        let text = invite.to_string();
        assert!(
            text.starts_with("landline://host.example:5263,[fe80::1]:77/#"),
            "{text}"
        );
        assert_eq!(text.parse::<Invite>().unwrap(), invite);
        assert!(!format!("{invite:?}").contains(&invite.token.reveal()));
    }

    #[test]
    fn damaged_invite_is_rejected_with_reason() {
        let invite = Invite::new(
            vec![HostPort {
                host: "h".into(),
                port: 1,
            }],
            Fingerprint::of_certificate(b"x"),
        );
        let text = invite.to_string();
        for length in 0..text.len() {
            assert!(text[..length].parse::<Invite>().is_err(), "{length}");
        }
        let error = "http://h/#x.y".parse::<Invite>().unwrap_err().to_string();
        assert!(error.contains("landline://"), "{error}");
    }
}
