//! The address that a server listens on.

use std::{fmt, net::IpAddr, str::FromStr};

use landline::{net::HostPort, proto::DEFAULT_PORT};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// At this port on all addresses.
    All(u16),
    /// At an address, or those of a name.
    One(HostPort),
}

impl ListenAddress {
    /// The addresses to try, the best first.
    pub(crate) fn candidates(&self) -> Vec<String> {
        match self {
            // A system without IPv6 has only the second one.
            Self::All(port) => vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")],
            Self::One(address) => vec![address.to_string()],
        }
    }

    /// The port; 0 takes a free one.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::All(port) => *port,
            Self::One(address) => address.port,
        }
    }
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self::All(DEFAULT_PORT)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(f, "port {port} on all addresses"),
            Self::One(address) => address.fmt(f),
        }
    }
}

/// The text is no address to listen on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListenAddressError;

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    /// Reads `ADDR:PORT`, `ADDR`, `:PORT` or `PORT`. An address `*` or none stands for all
    /// addresses.
    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let text = text.trim();
        if is_number(text) {
            return Ok(Self::All(parse_port(text)?));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if is_ipv6(bare) {
            return Ok(Self::at(bare, DEFAULT_PORT));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, DEFAULT_PORT),
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|host| is_ipv6(host))
                .ok_or(ListenAddressError)?,
            None if host.contains(':') => return Err(ListenAddressError),
            None => host,
        };
        match host {
            "" if text.is_empty() => Err(ListenAddressError),
            "" | "*" => Ok(Self::All(port)),
            _ if host.contains(|c: char| !c.is_alphanumeric() && !".-_:%".contains(c)) => {
                Err(ListenAddressError)
            }
            _ => Ok(Self::at(host, port)),
        }
    }
}

impl ListenAddress {
    fn at(host: &str, port: u16) -> Self {
        Self::One(HostPort {
            host: host.to_owned(),
            port,
        })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_port(text: &str) -> Result<u16, ListenAddressError> {
    let digits = Some(text).filter(|text| is_number(text));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(ListenAddressError)
}

/// Whether this is an IPv6 address, perhaps with a scope.
fn is_ipv6(text: &str) -> bool {
    let address = text.split('%').next().unwrap_or_default();
    matches!(address.parse(), Ok(IpAddr::V6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_or_address_may_be_left_out() {
        for (text, expected) in [
            ("5999", ListenAddress::All(5999)),
            (":5999", ListenAddress::All(5999)),
            ("*:5999", ListenAddress::All(5999)),
            ("*", ListenAddress::All(DEFAULT_PORT)),
            ("0", ListenAddress::All(0)),
            ("[::1]", ListenAddress::at("::1", DEFAULT_PORT)),
            ("::1", ListenAddress::at("::1", DEFAULT_PORT)),
            ("[::1]:77", ListenAddress::at("::1", 77)),
            ("[fe80::1%eth0]:77", ListenAddress::at("fe80::1%eth0", 77)),
            ("127.0.0.1", ListenAddress::at("127.0.0.1", DEFAULT_PORT)),
            (" localhost:0 ", ListenAddress::at("localhost", 0)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_address_is_rejected() {
        for text in [
            "",
            "x y",
            "127.0.0.1:99999",
            "99999",
            "host:",
            "host:x",
            "[::1",
            "[x]:1",
            "a:b:1",
            "http://host",
            "[127.0.0.1]:1",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>(),
                Err(ListenAddressError),
                "{text}"
            );
        }
    }
}
