//! The value of `ProxyJump`, read as ssh reads it.

use crate::{
    Hop, ProxyJump,
    error::Problem,
    host::is_domain,
    system::System,
    tokens::{JUMP_TOKENS, TokenValues},
};

/// The jump hosts of a line, whose tokens are not replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hops(Vec<RawHop>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct RawHop {
    user: Option<Vec<u8>>,
    host: Vec<u8>,
    port: Option<u16>,
}

impl Hops {
    /// Parses the rest of a line. It may end with a comment.
    ///
    /// # Errors
    /// A text that ssh rejects.
    pub(super) fn parse(text: &[u8], system: &dyn System) -> Result<Self, Problem> {
        if text.eq_ignore_ascii_case(b"none") {
            return Ok(Self(Vec::new()));
        }
        let text = without_comment(text).trim_ascii_end();
        // Some versions of ssh end the value at the first white space.
        let end = text.iter().skip(1).position(u8::is_ascii_whitespace);
        let is_ambiguous = end.is_some();
        let text = end.map_or(text, |end| text.get(..=end).unwrap_or_default());
        let hops = text.split(|byte| *byte == b',').map(|hop| {
            parse_hop(hop, system).ok_or_else(|| Problem {
                text: format!("{:?} is not a valid jump host", lossy(hop)),
                is_unsupported: is_ambiguous,
            })
        });
        hops.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the value was `none`.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the tokens. `text` is what was parsed.
    ///
    /// # Errors
    /// A text that versions of ssh read differently, or a hop that could be taken for something
    /// else.
    pub(super) fn resolve(
        &self,
        text: &[u8],
        tokens: &TokenValues<'_>,
    ) -> Result<ProxyJump, Problem> {
        let value = without_comment(text).trim_ascii();
        let has_space = value.iter().any(u8::is_ascii_whitespace);
        let comment = text.get(without_comment(text).len()..).unwrap_or_default();
        if !self.0.is_empty() && (has_space || comment.contains(&b',')) {
            return Err(Problem::unsupported(
                "ssh misreads a space in ProxyJump, or a comma in the comment after it; remove it",
            ));
        }
        let text_of = |value: &[u8]| {
            let expanded = tokens.expand(value, JUMP_TOKENS)?;
            String::from_utf8(expanded).map_err(|_| Problem::unsupported("it is not UTF-8"))
        };
        let mut hops = Vec::new();
        for hop in &self.0 {
            let user = hop.user.as_deref().map(text_of).transpose()?;
            let host = text_of(&hop.host)?;
            hops.push(
                Hop::new(user, host, hop.port)
                    .map_err(|error| Problem::unsupported(error.to_string()))?,
            );
        }
        let jump = ProxyJump { hops };
        if !jump.hops.is_empty() && jump.to_string().eq_ignore_ascii_case("none") {
            return Err(Problem::unsupported(
                "ssh reads none as the name of a host here; remove the comment after it",
            ));
        }
        Ok(jump)
    }
}

fn without_comment(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'#').next().unwrap_or_default()
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn parse_hop(text: &[u8], system: &dyn System) -> Option<RawHop> {
    match text.strip_prefix(b"ssh://") {
        Some(text) => parse_uri(text, system),
        None => parse_plain(text, system),
    }
}

/// Parses `[user@]host[:port]`.
fn parse_plain(text: &[u8], system: &dyn System) -> Option<RawHop> {
    let (user, rest) = match text.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (Some(text.get(..at)?), text.get(at + 1..)?),
        None => (None, text),
    };
    if user.is_some_and(<[u8]>::is_empty) {
        return None;
    }
    let (host, rest, _) = take_host(rest)?;
    let port = match rest {
        b"" => None,
        rest => Some(parse_port(rest, system)?),
    };
    Some(RawHop {
        user: user.map(<[u8]>::to_vec),
        host: host.to_vec(),
        port,
    })
}

/// Parses what follows `ssh://`. A path is not allowed.
fn parse_uri(text: &[u8], system: &dyn System) -> Option<RawHop> {
    let (user, rest) = match text.iter().position(|byte| *byte == b'@') {
        Some(at) => (Some(text.get(..at)?), text.get(at + 1..)?),
        None => (None, text),
    };
    // ssh ignores the parameters of a connection after the user.
    let user = match user.map(|user| user.split(|byte| *byte == b';').next().unwrap_or_default()) {
        Some(b"") => return None,
        Some(user) => Some(decode_url(user)?),
        None => None,
    };
    let (host, rest, delimiter) = take_host(rest)?;
    if !is_domain(host) {
        return None;
    }
    let (port, path) = match delimiter {
        Some(b':') if !rest.is_empty() => {
            let end = rest.iter().position(|byte| *byte == b'/');
            let (port, path) = rest.split_at(end.unwrap_or(rest.len()));
            (
                Some(parse_port(port, system)?),
                path.get(1..).unwrap_or_default(),
            )
        }
        _ => (None, rest),
    };
    path.is_empty().then(|| RawHop {
        user,
        host: host.strip_suffix(b".").unwrap_or(host).to_vec(),
        port,
    })
}

/// Splits the host from what follows a colon or slash.
fn take_host(text: &[u8]) -> Option<(&[u8], &[u8], Option<u8>)> {
    let end = if text.starts_with(b"[") {
        text.iter().position(|byte| *byte == b']')? + 1
    } else {
        let end = text.iter().position(|byte| b":/".contains(byte));
        end.unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    if host.is_empty() {
        return None;
    }
    let host = match host.strip_prefix(b"[") {
        Some(inner) => inner.strip_suffix(b"]").unwrap_or(host),
        None => host,
    };
    match rest.split_first() {
        None => Some((host, b"", None)),
        Some((delimiter @ (b':' | b'/'), rest)) => Some((host, rest, Some(*delimiter))),
        Some(_) => None,
    }
}

/// A port above 0, as a number or the name of a service.
pub(super) fn parse_port(text: &[u8], system: &dyn System) -> Option<u16> {
    let text = str::from_utf8(text).ok()?;
    let port = match text.trim_ascii_start().parse() {
        Ok(port) => port,
        Err(_) => system.port_of(text)?,
    };
    (port > 0).then_some(port)
}

fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = str::from_utf8(rest.get(..2)?).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                rest = rest.get(2..)?;
            }
            byte => decoded.push(*byte),
        }
    }
    Some(decoded)
}
