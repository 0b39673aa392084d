//! The values so far. The first value of a keyword wins.

use std::{path::Path, rc::Rc};

use super::{
    hops::{Hops, parse_port},
    host::is_domain,
    keywords,
    pattern::host_list_matches,
    system::System,
    tokens::expand_variables,
    words::{Line, raw_value},
};
use crate::{Error, Query, error::Problem};

/// ssh rejects more key files.
const IDENTITY_FILES_MAX: usize = 100;
/// ssh rejects more domains.
const DOMAINS_MAX: usize = 32;

/// The position of a line, for messages.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) path: Rc<Path>,
    pub(super) line: usize,
}

impl Position {
    pub(super) fn error(&self, problem: impl Into<Problem>) -> Error {
        let Problem {
            text: problem,
            is_unsupported,
        } = problem.into();
        let (path, line) = (self.path.to_path_buf(), self.line);
        if is_unsupported {
            Error::Unsupported {
                path,
                line,
                problem,
            }
        } else {
            Error::Malformed {
                path,
                line,
                problem,
            }
        }
    }
}

/// A value, and the line that set it.
#[derive(Debug, Clone)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) position: Position,
}

/// Whether and how ssh completes names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canonicalize {
    No,
    Yes,
    Always,
}

/// The values so far, with the tokens not yet replaced.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) host_name: Option<Setting<Vec<u8>>>,
    pub(super) user: Option<Setting<Vec<u8>>>,
    pub(super) identity_files: Vec<Setting<Vec<u8>>>,
    pub(super) identities_only: Option<bool>,
    pub(super) identity_agent: Option<Setting<Vec<u8>>>,
    pub(super) proxy_command: Option<Vec<u8>>,
    pub(super) proxy_jump: Option<Setting<(Hops, Vec<u8>)>>,
    pub(super) port: Option<u16>,
    pub(super) host_key_alias: Option<Vec<u8>>,
    pub(super) tag: Option<Vec<u8>>,
    pub(super) ignore_unknown: Option<Vec<u8>>,
    pub(super) canonicalize: Option<Setting<Canonicalize>>,
    pub(super) canonical_domains: Vec<Vec<u8>>,
    pub(super) max_dots: Option<usize>,
    pub(super) permitted_cnames: Option<Setting<bool>>,
}

impl Options {
    /// Takes the values of a line if its block applies. Otherwise only checks them.
    ///
    /// # Errors
    /// A line that ssh rejects.
    pub(super) fn set(
        &mut self,
        line: &Line,
        applies: bool,
        position: &Position,
        query: &Query<'_>,
        system: &dyn System,
    ) -> Result<(), Problem> {
        let text = || one_word(&line.words);
        let setting = |value: &[u8]| Setting {
            value: value.to_vec(),
            position: position.clone(),
        };
        match line.keyword.as_str() {
            "hostname" => keep(&mut self.host_name, applies, setting(text()?)),
            "user" => keep(&mut self.user, applies, setting(text()?)),
            "hostkeyalias" => keep(&mut self.host_key_alias, applies, text()?.to_vec()),
            "tag" => keep(&mut self.tag, applies, text()?.to_vec()),
            "ignoreunknown" => keep(&mut self.ignore_unknown, applies, text()?.to_vec()),
            "port" => {
                let port = parse_port(text()?, system).ok_or("it is not a port")?;
                keep(&mut self.port, applies, port);
            }
            "identitiesonly" => keep(&mut self.identities_only, applies, yes_or_no(text()?)?),
            "identityfile" | "identityfile2" => {
                let value = text()?;
                let is_new = self.identity_files.iter().all(|known| known.value != value);
                if applies && is_new {
                    if self.identity_files.len() >= IDENTITY_FILES_MAX {
                        return Err("there are too many key files".into());
                    }
                    self.identity_files.push(setting(value));
                }
            }
            "identityagent" => {
                let value = text()?;
                expand_variables(value, query)?;
                if let Some(name) = legacy_variable(value) {
                    name?;
                }
                keep(&mut self.identity_agent, applies, setting(value));
            }
            "proxycommand" => {
                self.set_proxy_command(raw_value(&line.rest), applies)?;
            }
            "proxyjump" => {
                let value = raw_value(&line.rest);
                let hops = Hops::parse(value, system)?;
                let jump = Setting {
                    value: (hops, value.to_vec()),
                    position: position.clone(),
                };
                let is_first = self.proxy_command.is_none();
                keep(&mut self.proxy_jump, applies && is_first, jump);
            }
            _ => return self.set_canonical(line, applies, position),
        }
        Ok(())
    }

    /// A command of ssh, unless jump hosts precede it.
    fn set_proxy_command(&mut self, value: &[u8], applies: bool) -> Result<(), Problem> {
        if !applies || self.proxy_command.is_some() {
            return Ok(());
        }
        match &self.proxy_jump {
            None => self.proxy_command = Some(value.to_vec()),
            Some(jump) if jump.value.0.is_empty() && !is_none(value) => {
                return Err(Problem::unsupported(
                    "versions of ssh read ProxyCommand after \"ProxyJump none\" differently",
                ));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The keywords by which ssh completes names.
    fn set_canonical(
        &mut self,
        line: &Line,
        applies: bool,
        position: &Position,
    ) -> Result<(), Problem> {
        match line.keyword.as_str() {
            "canonicalizehostname" => {
                let value = match one_word(&line.words)?.to_ascii_lowercase().as_slice() {
                    b"always" => Canonicalize::Always,
                    value if yes_or_no(value)? => Canonicalize::Yes,
                    _ => Canonicalize::No,
                };
                let value = Setting {
                    value,
                    position: position.clone(),
                };
                keep(&mut self.canonicalize, applies, value);
            }
            "canonicalizemaxdots" => {
                keep(&mut self.max_dots, applies, number(one_word(&line.words)?)?);
            }
            "canonicalizefallbacklocal" => {
                yes_or_no(one_word(&line.words)?)?;
            }
            "canonicaldomains" => {
                let is_first = self.canonical_domains.is_empty();
                for domain in &line.words {
                    if is_none(domain) && line.words.len() > 1 {
                        return Err("none takes no other domain".into());
                    }
                    if !is_domain(domain) {
                        return Err(format!(
                            "{:?} is not a domain",
                            String::from_utf8_lossy(domain)
                        )
                        .into());
                    }
                    if applies && is_first {
                        if self.canonical_domains.len() >= DOMAINS_MAX {
                            return Err("there are too many domains".into());
                        }
                        self.canonical_domains.push(domain.clone());
                    }
                }
            }
            "canonicalizepermittedcnames" => {
                for rule in &line.words {
                    let is_rule = rule == b"*"
                        || rule
                            .iter()
                            .position(|byte| *byte == b':')
                            .is_some_and(|at| at + 1 < rule.len());
                    if is_none(rule) && line.words.len() > 1 || !is_none(rule) && !is_rule {
                        return Err("a rule has two lists, as in *.a:*.b".into());
                    }
                }
                if let Some(first) = line.words.first() {
                    let permitted = Setting {
                        value: !is_none(first),
                        position: position.clone(),
                    };
                    keep(&mut self.permitted_cnames, applies, permitted);
                }
            }
            keyword if self.is_ignored(keyword) => {}
            keyword => return keywords::check(keyword, &line.words),
        }
        Ok(())
    }

    /// Whether `IgnoreUnknown` lists a keyword.
    fn is_ignored(&self, keyword: &str) -> bool {
        let ignored = self.ignore_unknown.as_deref().unwrap_or_default();
        !keywords::is_known(keyword) && host_list_matches(ignored, keyword.as_bytes())
    }
}

/// Sets a value unless it is set.
fn keep<T>(slot: &mut Option<T>, applies: bool, value: T) {
    if applies {
        slot.get_or_insert(value);
    }
}

pub(super) fn is_none(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"none")
}

/// The only word of a value.
pub(super) fn one_word(words: &[Vec<u8>]) -> Result<&[u8], Problem> {
    match words {
        [word] if !word.is_empty() => Ok(word),
        [] | [_] => Err("the keyword has no value".into()),
        _ => Err("the keyword takes one value; put quotes around one with spaces".into()),
    }
}

pub(super) fn yes_or_no(word: &[u8]) -> Result<bool, Problem> {
    match word.to_ascii_lowercase().as_slice() {
        b"yes" | b"true" => Ok(true),
        b"no" | b"false" => Ok(false),
        _ => Err("yes or no is needed".into()),
    }
}

/// A number that is not negative.
pub(super) fn number(word: &[u8]) -> Result<usize, Problem> {
    let text = str::from_utf8(word).unwrap_or_default();
    let value = text.trim_ascii_start().parse::<i32>().ok();
    let value = value.and_then(|value| usize::try_from(value).ok());
    value.ok_or_else(|| "a number is needed".into())
}

/// The name in an `IdentityAgent` of the form `$NAME`, if it has that form.
pub(super) fn legacy_variable(value: &[u8]) -> Option<Result<&str, Problem>> {
    let name = value
        .strip_prefix(b"$")
        .filter(|name| !name.starts_with(b"{"))?;
    let is_name = !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    Some(match str::from_utf8(name) {
        Ok(name) if is_name => Ok(name),
        _ => Err("this is not the name of a variable".into()),
    })
}
