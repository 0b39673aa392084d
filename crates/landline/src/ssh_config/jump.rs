//! `ProxyJump`.

use std::str::FromStr;

/// The hosts to go through, the first one first; none for `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyJump {
    /// The hosts.
    pub hops: Vec<Hop>,
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

impl FromStr for ProxyJump {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self { hops: Vec::new() });
        }
        let hops = text.split(',').map(|hop| hop.trim().parse()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { hops })
    }
}

impl FromStr for Hop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no host to go through");
        let body = text.strip_prefix("ssh://").map_or(text, |rest| rest.trim_end_matches('/'));
        let (user, rest) = match body.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, body),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) };
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
                && name.chars().all(|c| c.is_alphanumeric() || "._-:%+".contains(c))
        };
        if !is_name(host) || user.is_some_and(|user| !is_name(user)) {
            return Err(bad());
        }
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)).transpose()?;
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}
