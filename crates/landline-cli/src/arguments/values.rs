//! Parsers of option values.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use clap::builder::{OsStringValueParser, TypedValueParser};
use landline::{login::KnownServer, net::Location};

use crate::failure::Failure;

/// A location with the text that the user typed.
#[derive(Debug, Clone)]
pub(crate) struct TypedLocation {
    pub(crate) text: String,
    pub(crate) location: Location,
}

/// A parser of locations, which may hold any bytes.
pub(crate) fn location_parser() -> impl TypedValueParser<Value = TypedLocation> {
    OsStringValueParser::new().try_map(|text: OsString| TypedLocation::parse(&text))
}

/// A path of a copy.
#[derive(Debug, Clone)]
pub(crate) enum CopyPath {
    One(TypedLocation),
    /// The same path on several hosts.
    Many(HostsPath),
}

/// A path on several hosts.
#[derive(Debug, Clone)]
pub(crate) struct HostsPath {
    pub(crate) text: String,
    /// The set of hosts, which is not checked yet.
    pub(crate) hosts: String,
    pub(crate) path: Vec<u8>,
}

/// A parser of the paths of a copy.
pub(crate) fn copy_path_parser() -> impl TypedValueParser<Value = CopyPath> {
    OsStringValueParser::new().try_map(|text: OsString| CopyPath::parse(&text))
}

impl CopyPath {
    /// Parses a path of a copy.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub(crate) fn parse(text: &OsStr) -> Result<Self, landline::Error> {
        match Location::split_hosts(text) {
            Some((hosts, path)) => Ok(Self::Many(HostsPath {
                text: text.to_string_lossy().into_owned(),
                hosts: hosts.to_owned(),
                path: path.to_vec(),
            })),
            None => TypedLocation::parse(text).map(Self::One),
        }
    }

    /// What the user typed.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::One(path) => &path.text,
            Self::Many(path) => &path.text,
        }
    }
}

impl TypedLocation {
    /// Parses a location.
    ///
    /// # Errors
    /// As [`Location::parse`]; also for a path on several hosts.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, landline::Error> {
        if Location::split_hosts(text).is_some() {
            return Err(landline::Error::Address {
                text: text.to_string_lossy().into_owned(),
                problem: "only the destination of cp can be on several hosts",
            });
        }
        let location = Location::parse(text)?;
        let text = text.to_string_lossy().into_owned();
        Ok(Self { text, location })
    }

    /// Checks that `host:REST` is not meant as `host:port`.
    ///
    /// # Errors
    /// REST is the port of a known server.
    pub(crate) fn check_not_port(&self, known: &[KnownServer]) -> Result<(), Failure> {
        let Self { text, location } = self;
        let Location::Remote { path: rest, .. } = location else {
            return Ok(());
        };
        let rest = String::from_utf8_lossy(rest);
        let server = known.iter().find(|server| server.port.to_string() == rest);
        match (server, text.strip_suffix(&*rest)) {
            (Some(server), Some(host)) if !text.starts_with("landline://") => {
                let what = format!(
                    "{text} names the file {rest}, but {rest} is the port of the known server {server}"
                );
                let advice =
                    format!("write -P {rest} {host} for the port, or {host}./{rest} for the file");
                Err(Failure::usage(what).with_advice(&advice))
            }
            _ => Ok(()),
        }
    }
}

/// Parses a time span: `90s`, `30m`, `24h`, `7d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let bad = || "write a whole number and s, m, h or d, such as 30s".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(bad()),
    };
    let count: u64 = text
        .get(..text.len() - 1)
        .unwrap_or_default()
        .parse()
        .map_err(|_| bad())?;
    count
        .checked_mul(unit)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

/// The slowest rate, in bytes per second: one with which a connection is still alive.
const RATE_MIN: u64 = 16 << 10;

/// Parses a rate in bytes per second: `500K`, `2M`, `1G`, also written `2MiB/s`.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let bad = || "a whole number with K, M or G behind it is needed, such as 2M".to_owned();
    let amount = text.strip_suffix("/s").unwrap_or(text);
    let amount = amount.strip_suffix("iB").unwrap_or(amount);
    let (digits, shift) = match amount.as_bytes() {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        _ => return Err(bad()),
    };
    let digits = amount.get(..digits.len()).unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let count: u64 = digits.parse().map_err(|_| bad())?;
    let rate = count.checked_mul(1 << shift).ok_or_else(bad)?;
    if rate < RATE_MIN {
        return Err("the slowest rate is 16K".to_owned());
    }
    Ok(rate)
}

/// Parses a whole number of seconds.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds is needed".to_owned())
}

/// Parses a whole number of milliseconds, at least 1.
pub(crate) fn parse_milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(Duration::from_millis(count)),
        _ => Err("a whole number of milliseconds is needed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_in_binary_units() {
        for (text, expected) in [
            ("16K", 16 << 10),
            ("500k", 500 << 10),
            ("2M", 2 << 20),
            ("2MiB/s", 2 << 20),
            ("1G/s", 1 << 30),
        ] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "M",
            "2",
            "-2M",
            "+2M",
            "2.5M",
            "2 M",
            "15K",
            "2MB",
            "99999999999999G",
            "2M/h",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
