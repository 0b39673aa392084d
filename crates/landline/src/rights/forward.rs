//! The words of the service `forward`: where users may connect to, and where they may listen.

use std::{any::Any, fmt, net::IpAddr};

use toml_edit::{Item, Value};

use super::{RightWord, RightsError, Verdict, WordItem, WordValue};

/// Where a user may connect to from the server.
pub(crate) static FORWARD: RightWord = RightWord {
    name: "forward",
    description: "connect to other hosts from the server",
    arguments: Some("HOST:PORT"),
    parse: |item| Ok(Box::new(Places::<ForwardRule>::parse(item)?)),
};

/// Where a user may listen on the server.
pub(crate) static LISTEN: RightWord = RightWord {
    name: "listen",
    description: "listen on ports of the server",
    arguments: Some("[ADDRESS:]PORT"),
    parse: |item| Ok(Box::new(Places::<ListenRule>::parse(item)?)),
};

/// The longest name of a host, in bytes.
pub(crate) const HOST_BYTES_MAX: usize = 255;

/// What a connection is for, when the rights are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForwardTarget<'a> {
    /// The host as it was asked for.
    pub(crate) host: &'a str,
    /// The port.
    pub(crate) port: u16,
    /// The address that is to be connected to; `None` if the name was not resolved.
    pub(crate) address: Option<IpAddr>,
    /// Whether the server itself listens there.
    pub(crate) is_own_listener: bool,
}

/// Where a server is to listen, when the rights are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenTarget {
    /// The address.
    pub(crate) address: IpAddr,
    /// The port; 0 for any that is free.
    pub(crate) port: u16,
}

/// A rule of one of the two words.
trait PlaceRule: fmt::Debug + fmt::Display + Sized + Send + Sync + 'static {
    /// The word.
    const NAME: &'static str;
    /// What is accepted as its value.
    const ACCEPTED: &'static str;
    /// What a rule is asked about.
    type Target<'a>: Copy;

    fn parse(text: &str) -> Option<Self>;

    /// What an argument of `landline check` asks about.
    fn target(text: &str) -> Option<Self::Target<'_>>;

    fn allows(&self, target: Self::Target<'_>) -> bool;

    /// Why no rule allows it.
    fn reason(rules: &[(Self, usize)], target: Self::Target<'_>) -> String;
}

/// The value of either word.
#[derive(Debug)]
enum Places<R> {
    Any { line: usize },
    Rules { line: usize, rules: Vec<(R, usize)> },
}

impl<R: PlaceRule> Places<R> {
    fn parse(item: &WordItem<'_>) -> Result<Self, RightsError> {
        let line = item.line();
        let list = match item.item() {
            Item::Value(Value::String(text)) if text.value() == "any" => {
                return Ok(Self::Any { line });
            }
            Item::Value(Value::Array(list)) => list,
            _ => return Err(item.error(None, R::ACCEPTED)),
        };
        let mut rules = Vec::new();
        for value in list {
            let rule = value.as_str().and_then(R::parse);
            let rule = rule.ok_or_else(|| item.error(value.span(), R::ACCEPTED))?;
            rules.push((rule, item.line_of(value.span())));
        }
        Ok(Self::Rules { line, rules })
    }

    fn verdict(&self, target: R::Target<'_>) -> Verdict {
        match self {
            Self::Any { line } => Verdict::by(true, *line, format!("{} = \"any\"", R::NAME)),
            Self::Rules { line, rules } => {
                match rules.iter().find(|(rule, _)| rule.allows(target)) {
                    Some((rule, line)) => {
                        Verdict::by(true, *line, format!("{} \"{rule}\"", R::NAME))
                    }
                    None => Verdict::by(false, *line, R::reason(rules, target)),
                }
            }
        }
    }

    /// What this value says of `target`; `None` for the value of another word.
    fn of(value: &dyn WordValue, target: R::Target<'_>) -> Option<Verdict> {
        let value: &dyn Any = value;
        Some(value.downcast_ref::<Self>()?.verdict(target))
    }
}

impl<R: PlaceRule> WordValue for Places<R> {
    fn is_granted(&self) -> bool {
        match self {
            Self::Any { .. } => true,
            Self::Rules { rules, .. } => !rules.is_empty(),
        }
    }

    fn check(&self, arguments: &[Vec<u8>]) -> Verdict {
        let target = match arguments {
            [argument] => str::from_utf8(argument).ok().and_then(R::target),
            _ => None,
        };
        match (target, self) {
            (Some(target), _) => self.verdict(target),
            (None, Self::Any { line } | Self::Rules { line, .. }) => {
                let reason = format!("{} is asked about with one address and port", R::NAME);
                Verdict::by(false, *line, reason)
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Any { .. } => "\"any\"".to_owned(),
            Self::Rules { rules, .. } => {
                let rules: Vec<String> = rules
                    .iter()
                    .map(|(rule, _)| format!("{:?}", rule.to_string()))
                    .collect();
                format!("[{}]", rules.join(", "))
            }
        }
    }

    /// A rule is covered by the same rule only.
    fn covers(&self, other: &dyn WordValue) -> bool {
        let other: &dyn Any = other;
        match (self, other.downcast_ref::<Self>()) {
            (Self::Any { .. }, Some(_)) => true,
            (Self::Rules { rules, .. }, Some(Self::Rules { rules: others, .. })) => {
                let is_own = |other: &R| {
                    let text = other.to_string();
                    rules.iter().any(|(rule, _)| rule.to_string() == text)
                };
                others.iter().all(|(rule, _)| is_own(rule))
            }
            _ => false,
        }
    }
}

/// Whether the value of the word `forward` allows a connection.
pub(crate) fn check_forward(value: &dyn WordValue, target: ForwardTarget<'_>) -> Option<Verdict> {
    Places::<ForwardRule>::of(value, target)
}

/// Whether the value of the word `listen` allows to listen.
pub(crate) fn check_listen(value: &dyn WordValue, target: ListenTarget) -> Option<Verdict> {
    Places::<ListenRule>::of(value, target)
}

/// A host and a port to which a user may connect.
#[derive(Debug)]
struct ForwardRule {
    host: RuleHost,
    port: RulePort,
}

#[derive(Debug, PartialEq, Eq)]
enum RuleHost {
    /// A name in lower case.
    Name(String),
    Address(IpAddr),
}

/// A port, or `None` for every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RulePort(Option<u16>);

impl RulePort {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self(None)),
            _ => Some(Self(Some(parse_port(text).filter(|port| *port > 0)?))),
        }
    }

    fn includes(self, port: u16) -> bool {
        self.0.is_none_or(|own| own == port)
    }
}

impl fmt::Display for RulePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(port) => port.fmt(f),
            None => f.write_str("*"),
        }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Splits `host:port` or `[ipv6]:port`.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None if host.contains([':', ']']) => None,
        None => Some((host, port)),
    }
}

/// A name as it is compared: in lower case, without the dot at the end.
fn fold(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether this can be the name of a host.
pub(crate) fn is_host(host: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&host.len())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/\\\"'@[]*".contains(&byte))
}

impl PlaceRule for ForwardRule {
    const NAME: &'static str = "forward";
    const ACCEPTED: &'static str =
        "write \"any\", or a list of hosts with ports: [\"db.example.com:5432\", \"[::1]:*\"]";
    type Target<'a> = ForwardTarget<'a>;

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split(text)?;
        let port = RulePort::parse(port)?;
        let host = match host.parse::<IpAddr>() {
            Ok(address) => RuleHost::Address(address.to_canonical()),
            Err(_) if is_host(host) && !host.contains(':') => RuleHost::Name(fold(host)),
            Err(_) => return None,
        };
        Some(Self { host, port })
    }

    fn target(text: &str) -> Option<ForwardTarget<'_>> {
        let (host, port) = split(text)?;
        Some(ForwardTarget {
            host: is_host(host).then_some(host)?,
            port: parse_port(port).filter(|port| *port > 0)?,
            address: host.parse::<IpAddr>().ok(),
            is_own_listener: false,
        })
    }

    /// A name stands for the hosts that it leads to, but never for this machine: the owner of the
    /// name could let it lead here. Only the name `localhost` does.
    fn allows(&self, target: ForwardTarget<'_>) -> bool {
        if !self.port.includes(target.port) || target.is_own_listener && self.port.0.is_none() {
            return false;
        }
        let address = target.address.map(|address| address.to_canonical());
        match &self.host {
            RuleHost::Address(own) => address == Some(*own),
            RuleHost::Name(own) if *own != fold(target.host) => false,
            RuleHost::Name(own) if own == "localhost" => {
                address.is_none_or(|address| address.is_loopback())
            }
            RuleHost::Name(_) => {
                !target.is_own_listener && address.is_none_or(|address| !is_local(address))
            }
        }
    }

    fn reason(rules: &[(Self, usize)], target: ForwardTarget<'_>) -> String {
        let without_address = ForwardTarget {
            address: None,
            is_own_listener: false,
            ..target
        };
        let is_named = rules.iter().any(|(rule, _)| rule.allows(without_address));
        match target.address {
            Some(address) if is_named => {
                let shown = Self {
                    host: RuleHost::Address(address.to_canonical()),
                    port: RulePort(Some(target.port)),
                };
                format!("only a rule \"{shown}\" of forward allows this address")
            }
            _ => "no rule of forward matches".to_owned(),
        }
    }
}

impl fmt::Display for ForwardRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            RuleHost::Name(name) => write!(f, "{name}:{}", self.port),
            RuleHost::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            RuleHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// Whether an address leads to this machine or its link, or to no single host.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.octets().first() == Some(&0)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
        }
    }
}

/// A port, and perhaps an address, on which a user may listen.
#[derive(Debug)]
struct ListenRule {
    /// `None` for loopback.
    address: Option<IpAddr>,
    port: RulePort,
}

impl PlaceRule for ListenRule {
    const NAME: &'static str = "listen";
    const ACCEPTED: &'static str = "write \"any\", or a list of ports on loopback and of addresses with ports: [\"8080\", \"192.0.2.1:8080\", \"[::]:*\"]";
    type Target<'a> = ListenTarget;

    fn parse(text: &str) -> Option<Self> {
        let (address, port) = match split(text) {
            Some((address, port)) => (Some(address.parse::<IpAddr>().ok()?), port),
            None => (None, text),
        };
        Some(Self {
            address,
            port: RulePort::parse(port)?,
        })
    }

    fn target(text: &str) -> Option<ListenTarget> {
        let (address, port) = match split(text) {
            Some((address, port)) => (address.parse::<IpAddr>().ok()?, port),
            None => ([127, 0, 0, 1].into(), text),
        };
        Some(ListenTarget {
            address,
            port: parse_port(port)?,
        })
    }

    fn allows(&self, target: ListenTarget) -> bool {
        let is_on_address = match self.address {
            Some(own) => own == target.address,
            None => target.address.is_loopback(),
        };
        is_on_address && self.port.includes(target.port)
    }

    fn reason(_: &[(Self, usize)], _: ListenTarget) -> String {
        "no rule of listen matches".to_owned()
    }
}

impl fmt::Display for ListenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => self.port.fmt(f),
            Some(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, host: &str, port: u16, address: Option<&str>) -> bool {
        let address = address.map(|address| address.parse().unwrap());
        ForwardRule::parse(rule).unwrap().allows(ForwardTarget {
            host,
            port,
            address,
            is_own_listener: false,
        })
    }

    /// Proves `forward-rebinding` in docs/faults.md.
    #[test]
    fn forward_rule_matches_host_and_address() {
        for (rule, host, port, address, expected) in [
            ("db:5432", "db", 5432, None, true),
            ("db:5432", "DB.", 5432, Some("192.0.2.1"), true),
            ("db:5432", "db", 5433, Some("192.0.2.1"), false),
            ("db:*", "db", 1, Some("192.0.2.1"), true),
            ("db:5432", "db2", 5432, Some("192.0.2.1"), false),
            ("192.0.2.1:80", "any", 80, Some("192.0.2.1"), true),
            ("192.0.2.1:80", "any", 80, Some("::ffff:192.0.2.1"), true),
            ("[::ffff:192.0.2.1]:80", "any", 80, Some("192.0.2.1"), true),
            ("192.0.2.1:80", "192.0.2.1", 80, None, false),
            ("192.0.2.1:80", "192.0.2.1", 80, Some("192.0.2.2"), false),
            // A name that leads to this machine or its link.
            ("db:80", "db", 80, Some("127.0.0.1"), false),
            ("db:80", "db", 80, Some("::1"), false),
            ("db:80", "db", 80, Some("::ffff:127.0.0.1"), false),
            ("db:80", "db", 80, Some("169.254.169.254"), false),
            ("db:80", "db", 80, Some("fe80::1"), false),
            ("db:80", "db", 80, Some("0.0.0.0"), false),
            ("db:80", "db", 80, Some("0.1.2.3"), false),
            ("db:80", "db", 80, Some("::"), false),
            ("db:80", "db", 80, Some("255.255.255.255"), false),
            ("127.0.0.1:80", "db", 80, Some("127.0.0.1"), true),
            ("[::1]:80", "localhost", 80, Some("::1"), true),
            ("localhost:80", "localhost", 80, Some("::1"), true),
            ("localhost:80", "localhost", 80, Some("192.0.2.1"), false),
        ] {
            let found = allows(rule, host, port, address);
            assert_eq!(found, expected, "{rule} {host} {port} {address:?}");
        }
    }

    #[test]
    fn own_listener_needs_its_port() {
        let target = ForwardTarget {
            host: "nas",
            port: 5263,
            address: Some([192, 0, 2, 1].into()),
            is_own_listener: true,
        };
        for (rule, expected) in [
            ("192.0.2.1:5263", true),
            ("192.0.2.1:*", false),
            ("nas:5263", false),
            ("nas:*", false),
        ] {
            let rule = ForwardRule::parse(rule).unwrap();
            assert_eq!(rule.allows(target), expected, "{rule}");
        }
    }

    #[test]
    fn listen_rule_without_address_is_loopback() {
        for (rule, target, expected) in [
            ("8080", "8080", true),
            ("8080", "127.0.0.1:8080", true),
            ("8080", "[::1]:8080", true),
            ("8080", "0.0.0.0:8080", false),
            ("8080", "192.0.2.1:8080", false),
            ("8080", "0", false),
            ("*", "0", true),
            ("*", "0.0.0.0:0", false),
            ("0.0.0.0:*", "0.0.0.0:80", true),
            ("0.0.0.0:*", "127.0.0.1:80", false),
            ("[::]:80", "[::]:80", true),
        ] {
            let rule = ListenRule::parse(rule).unwrap();
            let target = ListenRule::target(target).unwrap();
            assert_eq!(rule.allows(target), expected, "{rule} {target:?}");
        }
    }

    #[test]
    fn malformed_rules_are_refused() {
        for text in [
            "", "db", "db:", ":80", "db:0", "db:65536", "db:+1", "db:-1", "::1:80", "[::1:80",
            "a b:80", "*:80", "db:80:90", "[db]:x", "a/b:80",
        ] {
            assert!(ForwardRule::parse(text).is_none(), "{text:?}");
        }
        for text in [
            "",
            "0",
            "65536",
            "x:80",
            "localhost:80",
            "::1:80",
            "*:80",
            "+8",
        ] {
            assert!(ListenRule::parse(text).is_none(), "{text:?}");
        }
        for text in ["db:80", "192.0.2.1:*", "[::1]:80"] {
            assert_eq!(ForwardRule::parse(text).unwrap().to_string(), text);
        }
        for text in ["80", "*", "192.0.2.1:*", "[::1]:80"] {
            assert_eq!(ListenRule::parse(text).unwrap().to_string(), text);
        }
    }
}
