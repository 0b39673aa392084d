//! `ProxyJump`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::InvalidHop;

/// The hosts to go through, the first one first; none for `none`. Written as ssh takes it, in files
/// too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyJump {
    /// The hosts.
    pub hops: Vec<Hop>,
}

impl ProxyJump {
    /// What a host is called here that is gone to this way: `localhost` is the last host gone
    /// through, by its own name.
    pub fn name_of(&self, host: &str) -> String {
        match self.hops.last() {
            Some(last) if is_loopback(host) => last.host.clone(),
            _ => host.to_owned(),
        }
    }

    /// Whether this is the last host gone through.
    pub fn ends_at(&self, host: &str) -> bool {
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

/// A host to go through, by ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Who to log in as there.
    pub user: Option<String>,
    /// The host, without brackets. It does not begin with a dash.
    pub host: String,
    /// sshd's port there.
    pub port: Option<u16>,
}

impl fmt::Display for ProxyJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hops.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(
                &self
                    .hops
                    .iter()
                    .map(Hop::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
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
                // An address of IPv6 without brackets has no port behind it.
                Some((_, more)) if more.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('-')
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "._-:%+".contains(c))
        };
        if !is_name(host) || user.is_some_and(|user| !is_name(user)) {
            return Err(bad());
        }
        let port = port
            .map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(bad))
            .transpose()?;
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(text: &str) -> ProxyJump {
        text.parse().unwrap()
    }

    #[test]
    fn a_way_is_written_as_it_is_read() {
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
    fn localhost_is_the_last_host_gone_through() {
        let way = jump("first,bob@Last:22");
        for host in [
            "localhost",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
            "LOCALHOST",
        ] {
            assert_eq!(way.name_of(host), "Last", "{host}");
        }
        assert_eq!(way.name_of("elsewhere"), "elsewhere");
        assert!(way.ends_at("last") && !way.ends_at("first"));
        assert_eq!(jump("none").name_of("localhost"), "localhost");
    }
}
