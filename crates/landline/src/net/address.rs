//! Addresses of servers and files, in the syntax of scp.

use std::{borrow::Cow, ffi::OsStr, fmt, os::unix::ffi::OsStrExt, str::FromStr};

use landline_proto::{DEFAULT_PORT, login::UserName};

use crate::Error;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", with_brackets(&self.host), self.port)
    }
}

/// Whether an address can have this host.
pub(crate) fn is_host(host: &str) -> bool {
    split_host(&with_brackets(host)) == Ok((host.to_owned(), None))
}

/// The host as it is written before a port or path.
fn with_brackets(host: &str) -> Cow<'_, str> {
    if host.contains(':') {
        format!("[{host}]").into()
    } else {
        host.into()
    }
}

impl FromStr for HostPort {
    type Err = Error;

    /// Reads `host[:port]`, with the default port where there is none.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Target { host, port, .. } = text.parse()?;
        let port = port.unwrap_or(DEFAULT_PORT);
        Ok(Self { host, port })
    }
}

/// A server as the user names it: `[user@]host[:port]`.
///
/// An IPv6 address needs brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The user to log in as, if the text names one.
    pub user: Option<UserName>,
    /// The host.
    pub host: String,
    /// The port, if the text names one.
    pub port: Option<u16>,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |problem| Error::Address {
            text: text.to_owned(),
            problem,
        };
        if let Some(problem) = recognize_foreign(text.as_bytes()) {
            return Err(bad(problem));
        }
        let body = text
            .strip_prefix("landline://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (user, rest) = match body.rsplit_once('@') {
            Some((user, rest)) => (
                Some(
                    user.parse()
                        .map_err(|_| bad("the user's name is malformed"))?,
                ),
                rest,
            ),
            None => (None, body),
        };
        let (host, port) = split_host(rest).map_err(bad)?;
        let port = match port {
            None => None,
            Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(bad("the port is not a number from 1 to 65535"));
            }
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(bad("the port is not a number from 1 to 65535")),
                Ok(port) => Some(port),
            },
        };
        Ok(Self { user, host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        // Without a port, the host can be a machine name with a port of its own.
        f.write_str(&with_brackets(&self.host))?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// What a text is that looks like an address of another program or system.
fn recognize_foreign(text: &[u8]) -> Option<&'static str> {
    if let [drive, b':', b'\\', ..] = text
        && drive.is_ascii_alphabetic()
    {
        return Some(
            "it is a path of Windows; write HOST:PATH, or ./C:\\x for a file of that name",
        );
    }
    let end = text.windows(3).position(|part| part == b"://")?;
    let scheme = text.get(..end)?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    match scheme {
        _ if !is_scheme => None,
        b"landline" => None,
        b"landline-secret" => Some("it is a secret; landline join --secret-file FILE uses it"),
        b"ssh" | b"sftp" | b"scp" | b"rsync" => Some(
            "landline has its own protocol and port; write HOST[:PORT] or landline://HOST:PORT/PATH",
        ),
        _ => Some("that protocol is another one; write HOST[:PORT] or landline://HOST:PORT/PATH"),
    }
}

/// Splits `host[:port]` or `[ipv6][:port]`.
fn split_host(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("there is text between the bracket and the port"),
        }
    } else {
        match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => return Err("an IPv6 address needs brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let well_formed = !host.is_empty()
        && !host.starts_with('-')
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
    if well_formed {
        Ok((host.to_owned(), port))
    } else {
        Err("the host's name is malformed")
    }
}

/// The source or the destination of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `-`: standard input or output.
    Stream,
    /// A path on this machine.
    Local(std::path::PathBuf),
    /// A path on a server; the empty path is the home of the account.
    Remote {
        /// The server.
        target: Target,
        /// The path on the server, as bytes.
        path: Vec<u8>,
    },
}

impl Location {
    /// Parses a local path, a remote path or `-`.
    ///
    /// Remote forms are `[user@]host:path`, `[user@][::1]:path` and
    /// `landline://[user@]host[:port]/path`. A colon after the first slash (`./a:b`) does not make
    /// a path remote. Paths may hold any bytes.
    ///
    /// # Errors
    /// [`Error::Address`] for a remote path whose host is malformed.
    pub fn parse(text: &OsStr) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        if let Some(problem) = recognize_foreign(bytes) {
            return Err(Error::Address {
                text: text.to_string_lossy().into_owned(),
                problem,
            });
        }
        if let Some(rest) = bytes.strip_prefix(b"landline://") {
            let slash = rest
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(rest.len());
            let (authority, path) = rest.split_at(slash);
            return Self::remote(text, authority, path.strip_prefix(b"/").unwrap_or(path));
        }
        // A user name holds neither colon nor slash.
        let host = match bytes.iter().position(|byte| b":/@".contains(byte)) {
            Some(at) if bytes.get(at) == Some(&b'@') => at + 1,
            _ => 0,
        };
        let bracket = match bytes.get(host) {
            Some(b'[') => bytes.iter().position(|&byte| byte == b']').unwrap_or(0),
            _ => 0,
        };
        let colon = bytes
            .iter()
            .skip(bracket)
            .position(|&byte| byte == b':')
            .map(|at| at + bracket);
        match colon {
            Some(at) if at > 0 && !bytes.iter().take(at).any(|&byte| byte == b'/') => {
                let (authority, path) = bytes.split_at(at);
                let path = path.strip_prefix(b":").unwrap_or(path);
                let digits = path.iter().take_while(|byte| byte.is_ascii_digit()).count();
                if (1..=5).contains(&digits) && path.get(digits) == Some(&b':') {
                    let problem = "a port is not written here; write landline://HOST:PORT/PATH, or HOST:./PATH for such a name";
                    return Err(Error::Address {
                        text: text.to_string_lossy().into_owned(),
                        problem,
                    });
                }
                Self::remote(text, authority, path)
            }
            _ => Ok(Self::Local(text.into())),
        }
    }

    /// Splits a path on several hosts, such as `nas,web[1-20]:path` or `@db:path`, into the set of
    /// hosts and the path. `None` if the text names one host, or a local path.
    pub fn split_hosts(text: &OsStr) -> Option<(&str, &[u8])> {
        let bytes = text.as_bytes();
        let mut is_inside = false;
        let end = bytes.iter().position(|byte| {
            match byte {
                b'[' => is_inside = true,
                b']' => is_inside = false,
                _ => {}
            }
            *byte == b'/' || *byte == b':' && !is_inside
        });
        let (hosts, path) = bytes.split_at_checked(end?)?;
        let path = path.strip_prefix(b":")?;
        let hosts = str::from_utf8(hosts).ok()?;
        // Brackets around an IPv6 address are part of the address.
        let has_numbers = hosts.split('[').skip(1).any(|behind| {
            let inside = behind.split(']').next().unwrap_or_default();
            !inside.contains(':')
        });
        let is_set = hosts.starts_with('@') || hosts.contains(',') || has_numbers;
        is_set.then_some((hosts, path))
    }

    fn remote(text: &OsStr, authority: &[u8], path: &[u8]) -> Result<Self, Error> {
        let target = str::from_utf8(authority).map_err(|_| Error::Address {
            text: text.to_string_lossy().into_owned(),
            problem: "the user and the host must be UTF-8",
        })?;
        Ok(Self::Remote {
            target: target.parse()?,
            path: without_double_slashes(path),
        })
    }
}

/// The path with one slash in place of several, which mean the same.
fn without_double_slashes(path: &[u8]) -> Vec<u8> {
    let mut single = path.to_vec();
    single.dedup_by(|next, previous| (*next, *previous) == (b'/', b'/'));
    single
}

/// The text parses to the same location, unless the path begins like a port or is not UTF-8.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("-"),
            Self::Local(path) => path.display().fmt(f),
            Self::Remote { target, path } => {
                let path = String::from_utf8_lossy(path);
                match (&target.port, &target.user) {
                    (Some(_), _) => write!(f, "landline://{target}/{path}"),
                    (None, Some(user)) => {
                        write!(f, "{user}@{}:{path}", with_brackets(&target.host))
                    }
                    (None, None) => write!(f, "{}:{path}", with_brackets(&target.host)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> (String, String) {
        match Location::parse(text.as_ref()) {
            Ok(Location::Remote { target, path }) => {
                (target.to_string(), String::from_utf8(path).unwrap())
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sets_of_hosts_are_split_from_the_path() {
        for (text, expected) in [
            ("nas,web[1-20]:/srv/", Some(("nas,web[1-20]", "/srv/"))),
            ("web[1,2]:", Some(("web[1,2]", ""))),
            ("@db:a,b", Some(("@db", "a,b"))),
            ("[::1],[fe80::1]:x", Some(("[::1],[fe80::1]", "x"))),
            ("nas:a,b[1]", None),
            ("a@[::1]:x", None),
            ("./a,b:c", None),
            ("a,b", None),
            ("landline://a,b/c", None),
            ("-", None),
        ] {
            let found = Location::split_hosts(OsStr::new(text));
            let expected = expected.map(|(hosts, path): (&str, &str)| (hosts, path.as_bytes()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn remote_paths_are_parsed() {
        assert_eq!(remote("host:a/b"), ("host".into(), "a/b".into()));
        assert_eq!(remote("bob@host:"), ("bob@host".into(), "".into()));
        assert_eq!(remote("[::1]:/x:y"), ("[::1]".into(), "/x:y".into()));
        assert_eq!(
            remote("bob@[fe80::1%eth0]:x"),
            ("bob@[fe80::1%eth0]".into(), "x".into())
        );
        assert_eq!(
            remote("landline://bob@host:77/a b"),
            ("bob@host:77".into(), "a b".into())
        );
        assert_eq!(remote("host::a"), ("host".into(), ":a".into()));
        assert_eq!(remote("host:@[a]:b"), ("host".into(), "@[a]:b".into()));
        assert_eq!(
            remote("landline://host//srv/x"),
            ("host".into(), "/srv/x".into())
        );
    }

    #[test]
    fn printed_locations_can_be_pasted_back() {
        for text in [
            "host:a/b",
            "bob@host:",
            "[::1]:/x:y",
            "bob@[fe80::1%eth0]:x",
            "landline://bob@host:77/a b",
            "landline://[::1]:5263//srv/x",
        ] {
            let location = Location::parse(text.as_ref()).unwrap();
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn local_paths_are_parsed() {
        for text in ["a", "./a:b", "/a:b", "../x", ":a", "a/b:c"] {
            assert_eq!(
                Location::parse(text.as_ref()).unwrap(),
                Location::Local(text.into()),
                "{text}"
            );
        }
        assert_eq!(Location::parse("-".as_ref()).unwrap(), Location::Stream);
    }

    /// Proves `lossy-path` in docs/faults.md.
    #[test]
    fn malformed_addresses_are_rejected() {
        for text in [
            "",
            "-x",
            "host:0",
            "host:99999",
            "host:x",
            "::1",
            "[::1",
            "[::1]x",
            "a b",
            "-f@host",
            "a@b@",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert!(Location::parse("-oProxy:x".as_ref()).is_err());
        for host in ["", "-x", "a@b", "a b", "[::1]", "a/b"] {
            assert!(!is_host(host), "{host}");
        }
        assert!(is_host("host") && is_host("fe80::1%eth0"));
        for text in ["host:5263:x", "host:1:", "bob@[::1]:28263:/srv/x"] {
            let error = Location::parse(text.as_ref()).unwrap_err();
            assert!(
                error.to_string().contains("landline://HOST:PORT/PATH"),
                "{error}"
            );
        }
        assert_eq!(remote("host:./1:x").1, "./1:x");
        for text in [&b"landline://a\xff@host/x"[..], b"h\xff:x"] {
            assert!(Location::parse(OsStr::from_bytes(text)).is_err());
        }
    }

    /// Proves `misleading-error` in docs/faults.md.
    #[test]
    fn addresses_of_other_programs_are_named() {
        for text in [
            "ssh://bob@host:22/x",
            "http://host",
            "https://host/x",
            "C:\\x",
            "d:\\",
            "landline-secret://bob@host/#x",
        ] {
            for error in [
                text.parse::<Target>().err(),
                Location::parse(text.as_ref()).err(),
            ] {
                assert!(matches!(error, Some(Error::Address { .. })), "{text}");
            }
        }
        assert_eq!(remote("C:x").1, "x", "a host may have one letter");
        assert!(matches!(
            Location::parse("./http://x".as_ref()),
            Ok(Location::Local(_))
        ));
    }
}
