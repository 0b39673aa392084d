//! `%` tokens, `${VAR}` and `~` in values.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use crate::{Query, error::Problem, system::System};

/// The values that replace tokens.
pub(super) struct TokenValues<'a> {
    /// What `%d`, `%i`, `%L`, `%l`, `%n` and `%u` are computed from.
    pub(super) query: &'a Query<'a>,
    pub(super) system: &'a dyn System,
    /// `%h`: the host to connect to.
    pub(super) host: &'a [u8],
    /// `%k`: the name under which ssh knows the host's key.
    pub(super) key_alias: &'a [u8],
    /// `%p`: the port of sshd.
    pub(super) port: u16,
    /// `%r`: the remote user.
    pub(super) user: &'a [u8],
}

/// The tokens of keys, agents and commands of `Match exec`.
///
/// ssh also has `%C` and `%j`, whose values depend on its version.
pub(super) const ALL_TOKENS: &[u8] = b"LdhiklnpruCj";
/// The tokens of `ProxyJump`.
pub(super) const JUMP_TOKENS: &[u8] = b"hknpr";

impl TokenValues<'_> {
    /// Replaces those tokens of a value that are in `allowed`.
    ///
    /// # Errors
    /// Another token, or one whose value is not known.
    pub(super) fn expand(&self, value: &[u8], allowed: &[u8]) -> Result<Vec<u8>, Problem> {
        self.replace(value, allowed, false)
    }

    /// Replaces the `~`, the variables and the tokens of a path, in the order of ssh.
    ///
    /// # Errors
    /// As [`expand`](Self::expand), or a user or variable that does not exist.
    pub(super) fn expand_path(&self, value: &[u8]) -> Result<Vec<u8>, Problem> {
        let value = expand_home(value, self.query, self.system)?;
        self.replace(&value, ALL_TOKENS, true)
    }

    fn replace(&self, value: &[u8], allowed: &[u8], variables: bool) -> Result<Vec<u8>, Problem> {
        let mut expanded = Vec::new();
        let mut rest = value;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if variables && *byte == b'$' && rest.starts_with(b"{") {
                expanded.extend(take_variable(&mut rest, self.query)?);
            } else if *byte == b'%' {
                let (token, after) = rest.split_first().ok_or("it ends with a %")?;
                rest = after;
                match token {
                    b'%' => expanded.push(b'%'),
                    token if allowed.contains(token) => expanded.extend(self.value_of(*token)?),
                    token => {
                        return Err(format!(
                            "%{} is not a token for this keyword",
                            char::from(*token)
                        )
                        .into());
                    }
                }
            } else {
                expanded.push(*byte);
            }
        }
        Ok(expanded)
    }

    fn value_of(&self, token: u8) -> Result<Vec<u8>, Problem> {
        let local_host = || {
            self.system
                .host_name()
                .ok_or_else(|| Problem::unsupported("the name of this machine is not known"))
        };
        Ok(match token {
            b'L' => {
                let name = local_host()?;
                let end = name.iter().position(|byte| *byte == b'.');
                name.get(..end.unwrap_or(name.len()))
                    .unwrap_or_default()
                    .to_vec()
            }
            b'd' => home_of(self.query),
            b'h' => self.host.to_vec(),
            b'i' => landline_paths::user_id().to_string().into_bytes(),
            b'k' => self.key_alias.to_vec(),
            b'l' => local_host()?,
            b'n' => self.query.host.as_bytes().to_vec(),
            b'p' => self.port.to_string().into_bytes(),
            b'r' => self.user.to_vec(),
            b'u' => self.query.local_user.as_bytes().to_vec(),
            other => {
                return Err(Problem::unsupported(format!(
                    "%{} differs between versions of ssh, so it is not supported",
                    char::from(other)
                )));
            }
        })
    }
}

/// Replaces the variables `${NAME}` of a value.
///
/// # Errors
/// A variable that is malformed or not set.
pub(super) fn expand_variables(value: &[u8], query: &Query<'_>) -> Result<Vec<u8>, Problem> {
    let mut expanded = Vec::new();
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'$' && rest.starts_with(b"{") {
            expanded.extend(take_variable(&mut rest, query)?);
        } else {
            expanded.push(*byte);
        }
    }
    Ok(expanded)
}

/// The value of the variable whose `{NAME}` begins `rest`.
fn take_variable(rest: &mut &[u8], query: &Query<'_>) -> Result<Vec<u8>, Problem> {
    let after = rest.get(1..).unwrap_or_default();
    let end = after.iter().position(|byte| *byte == b'}');
    let (name, after) = end
        .and_then(|end| after.split_at_checked(end))
        .ok_or("the brace of a variable is not closed")?;
    if name.is_empty() {
        return Err("a variable has no name".into());
    }
    *rest = after.get(1..).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    (query.variable)(&name)
        .map(OsString::into_vec)
        .ok_or_else(|| format!("the variable {name} is not set").into())
}

/// Replaces the `~` at the beginning of a path.
///
/// # Errors
/// A user that does not exist.
pub(super) fn expand_home(
    value: &[u8],
    query: &Query<'_>,
    system: &dyn System,
) -> Result<Vec<u8>, Problem> {
    let Some(after) = value.strip_prefix(b"~") else {
        return Ok(value.to_vec());
    };
    let end = after.iter().position(|byte| *byte == b'/');
    let (user, path) = after.split_at(end.unwrap_or(after.len()));
    let mut home = if user.is_empty() {
        home_of(query)
    } else {
        system
            .home_of(user)
            .ok_or_else(|| format!("there is no user {}", String::from_utf8_lossy(user)))?
    };
    if home.last() != Some(&b'/') {
        home.push(b'/');
    }
    let path = path
        .iter()
        .position(|byte| *byte != b'/')
        .and_then(|start| path.get(start..));
    home.extend(path.unwrap_or_default());
    Ok(home)
}

fn home_of(query: &Query<'_>) -> Vec<u8> {
    OsString::from(query.home).into_vec()
}
