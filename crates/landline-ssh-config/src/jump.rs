//! `ProxyJump`: the jump hosts.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::InvalidHop;

/// A list of jump hosts, in ssh's notation: `[user@]host[:port][,...]` or `none`.
///
/// It is serialized in this notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyJump {
    /// The jump hosts, the nearest one first. Empty for `none`.
    pub hops: Vec<Hop>,
}

impl ProxyJump {
    /// The name of a destination as seen from the local machine.
    ///
    /// A loopback name or address means the last jump host, so that host's name is returned.
    pub fn as_seen_locally(&self, host: &str) -> String {
        match self.hops.last() {
            Some(last) if is_loopback(host) => last.host.clone(),
            _ => host.to_owned(),
        }
    }

    /// Whether this is the name of the last jump host. Letter case does not matter.
    pub fn is_last_hop(&self, host: &str) -> bool {
        self.hops
            .last()
            .is_some_and(|last| last.host.eq_ignore_ascii_case(host))
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A jump host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The user on the jump host.
    pub user: Option<String>,
    /// The name or address, without brackets. It never begins with a dash.
    pub host: String,
    /// The port of sshd on the jump host.
    pub port: Option<u16>,
}

impl fmt::Display for ProxyJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hops.is_empty() {
            return f.write_str("none");
        }
        let hops: Vec<String> = self.hops.iter().map(Hop::to_string).collect();
        f.write_str(&hops.join(","))
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Serialize for ProxyJump {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxyJump {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl FromStr for ProxyJump {
    type Err = InvalidHop;

    fn from_str(text: &str) -> Result<Self, InvalidHop> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self { hops: Vec::new() });
        }
        let hops = text
            .split(',')
            .map(|hop| hop.trim().parse())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { hops })
    }
}

impl FromStr for Hop {
    type Err = InvalidHop;

    fn from_str(text: &str) -> Result<Self, InvalidHop> {
        let bad = || InvalidHop {
            text: text.to_owned(),
        };
        let body = text
            .strip_prefix("ssh://")
            .map_or(text, |rest| rest.trim_end_matches('/'));
        let (user, rest) = match body.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, body),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                let port = if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':').ok_or_else(bad)?)
                };
                (host, port)
            }
            None => match rest.split_once(':') {
                // An IPv6 address without brackets has no port.
                Some((_, more)) if more.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port
            .map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(bad))
            .transpose()?;
        Self::new(user.map(str::to_owned), host.to_owned(), port).map_err(|_| bad())
    }
}

impl Hop {
    /// A jump host whose names cannot be taken for an option or for shell syntax.
    ///
    /// # Errors
    /// [`InvalidHop`].
    pub(super) fn new(
        user: Option<String>,
        host: String,
        port: Option<u16>,
    ) -> Result<Self, InvalidHop> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('-')
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "._-:%+".contains(c))
        };
        let bad = user.iter().chain([&host]).find(|name| !is_name(name));
        if let Some(name) = bad {
            return Err(InvalidHop { text: name.clone() });
        }
        Ok(Self { user, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(text: &str) -> ProxyJump {
        text.parse().unwrap()
    }

    #[test]
    fn proxy_jump_round_trips_through_text() {
        for text in [
            "none",
            "host",
            "bob@host:22,[::1]:77,ann@[fe80::1%eth0]",
            "10.0.0.1:1",
        ] {
            assert_eq!(jump(text).to_string(), text);
            let json = serde_json::to_string(&jump(text)).unwrap();
            assert_eq!(
                serde_json::from_str::<ProxyJump>(&json).unwrap(),
                jump(text)
            );
        }
        assert_eq!(
            jump("ssh://bob@host:22/, other").to_string(),
            "bob@host:22,other"
        );
        for text in [
            "",
            "a,",
            "-oProxyCommand=x",
            "a,-J",
            "-x@host",
            "a b",
            "host:0",
            "host:x",
            "$(id)",
            "a;b",
            "[::1",
        ] {
            assert!(text.parse::<ProxyJump>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn localhost_is_last_jump_host() {
        let jumps = jump("first,bob@Last:22");
        for host in [
            "localhost",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
            "LOCALHOST",
        ] {
            assert_eq!(jumps.as_seen_locally(host), "Last", "{host}");
        }
        assert_eq!(jumps.as_seen_locally("elsewhere"), "elsewhere");
        assert!(jumps.is_last_hop("last") && !jumps.is_last_hop("first"));
        assert_eq!(jump("none").as_seen_locally("localhost"), "localhost");
    }
}
