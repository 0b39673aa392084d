//! Evaluates the lines of the files for one host.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    ConfigFile, Error, HostConfig, IdentityAgent, Query, criteria,
    criteria::Subject,
    error::Problem,
    glob, host,
    options::{Canonicalize, Options, Position, Setting, is_none, legacy_variable},
    system::System,
    tokens,
    tokens::TokenValues,
    words::{Line, split_line},
};

/// The maximum depth of includes, as in ssh.
const DEPTH_MAX: usize = 16;
/// The maximum number of included files.
const FILES_MAX: usize = 1024;
/// The port of sshd where none is given.
const SSH_PORT: u16 = 22;
/// The dots of a name that ssh completes at most, where no number is given.
const USUAL_DOTS_MAX: usize = 1;

pub(super) fn read(
    files: &[ConfigFile],
    query: &Query<'_>,
    system: &dyn System,
) -> Result<HostConfig, Error> {
    let mut evaluation = Evaluation {
        query,
        system,
        host: query.host.to_owned(),
        is_final: false,
        wants_final: false,
        files: 0,
        options: Options::default(),
    };
    evaluation.read_all(files)?;
    evaluation.settle_host()?;
    if evaluation.wants_final {
        evaluation.is_final = true;
        evaluation.read_all(files)?;
    }
    evaluation.finish()
}

struct Evaluation<'a> {
    query: &'a Query<'a>,
    system: &'a dyn System,
    /// The host as typed; in the second pass, the host to connect to.
    host: String,
    is_final: bool,
    wants_final: bool,
    files: usize,
    options: Options,
}

/// The file that is being read.
#[derive(Clone, Copy)]
struct Scope<'a> {
    file: &'a ConfigFile,
    depth: usize,
}

impl Evaluation<'_> {
    fn read_all(&mut self, files: &[ConfigFile]) -> Result<(), Error> {
        self.files = 0;
        for file in files {
            let (ConfigFile::User(path) | ConfigFile::System(path)) = file;
            self.read_file(path, true, Scope { file, depth: 0 })?;
        }
        Ok(())
    }

    /// Reads a file. Unless it `applies`, none of its blocks does.
    fn read_file(&mut self, path: &Path, applies: bool, scope: Scope<'_>) -> Result<(), Error> {
        self.files += 1;
        if scope.depth > DEPTH_MAX || self.files > FILES_MAX {
            return Err(Error::TooManyIncludes {
                path: path.to_owned(),
            });
        }
        let text = self.system.text(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let path = Rc::<Path>::from(path);
        let mut block_applies = applies;
        let text = text.unwrap_or_default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let position = Position {
                path: path.clone(),
                line: index + 1,
            };
            let line = split_line(line).map_err(|problem| position.error(problem))?;
            let Some(line) = line else {
                continue;
            };
            match line.keyword.as_str() {
                "host" => {
                    // ssh looks at no second pattern where nothing can apply.
                    let seen = if applies { line.words.len() } else { 1 };
                    let patterns = line.words.get(..seen).unwrap_or(&line.words);
                    let matches = criteria::host_applies(patterns, self.host.as_bytes())
                        .map_err(|problem| position.error(problem))?;
                    block_applies = applies && matches;
                }
                "match" => {
                    let matches = self
                        .match_applies(&line)
                        .map_err(|problem| position.error(problem))?;
                    block_applies = applies && matches;
                }
                "include" => self.include(&line, block_applies, &position, scope)?,
                _ => {
                    self.options
                        .set(&line, block_applies, &position, self.query, self.system)
                        .map_err(|problem| position.error(problem))?;
                }
            }
        }
        Ok(())
    }

    fn match_applies(&mut self, line: &Line) -> Result<bool, Problem> {
        let host = self.host_so_far()?;
        let mut wants_final = self.wants_final;
        let mut subject = Subject {
            tokens: TokenValues {
                query: self.query,
                system: self.system,
                host: &host,
                key_alias: self
                    .options
                    .host_key_alias
                    .as_deref()
                    .unwrap_or(host.as_slice()),
                port: self.options.port.unwrap_or(SSH_PORT),
                user: self.user(),
            },
            tag: self.options.tag.as_deref().unwrap_or_default(),
            is_final: self.is_final,
            wants_final: &mut wants_final,
        };
        let applies = criteria::match_applies(line, &mut subject);
        self.wants_final = wants_final;
        applies
    }

    /// `HostName` with its tokens replaced, or the host.
    fn host_so_far(&self) -> Result<Vec<u8>, Problem> {
        match &self.options.host_name {
            Some(name) if !self.is_final => expand_host_name(&name.value, &self.host),
            _ => Ok(self.host.clone().into_bytes()),
        }
    }

    fn user(&self) -> &[u8] {
        let configured = self.options.user.as_ref().map(|user| user.value.as_slice());
        self.query
            .user
            .map(str::as_bytes)
            .or(configured)
            .unwrap_or(self.query.local_user.as_bytes())
    }

    fn include(
        &mut self,
        line: &Line,
        applies: bool,
        position: &Position,
        scope: Scope<'_>,
    ) -> Result<(), Error> {
        for pattern in &line.words {
            let files = self
                .included_files(pattern, scope.file)
                .map_err(|problem| position.error(problem))?;
            for file in files {
                let scope = Scope {
                    depth: scope.depth + 1,
                    ..scope
                };
                self.read_file(&file, applies, scope)?;
            }
        }
        Ok(())
    }

    fn included_files(&self, pattern: &[u8], file: &ConfigFile) -> Result<Vec<PathBuf>, Problem> {
        if pattern.is_empty() {
            return Err("a path is empty".into());
        }
        if pattern.contains(&b'%') || pattern.windows(2).any(|pair| pair == b"${") {
            return Err(Problem::unsupported(
                "versions of ssh read % and ${ in Include differently",
            ));
        }
        let pattern = match file {
            ConfigFile::System(_) if pattern.starts_with(b"~") => {
                return Err("~ has no meaning in a file of the system".into());
            }
            _ if pattern.starts_with(b"/") => pattern.to_vec(),
            _ if pattern.starts_with(b"~") => {
                match tokens::expand_home(pattern, self.query, self.system) {
                    Ok(pattern) => pattern,
                    // ssh finds nothing in the home of a user who does not exist.
                    Err(_) => return Ok(Vec::new()),
                }
            }
            ConfigFile::User(_) => below(&self.query.home.join(".ssh"), pattern),
            ConfigFile::System(path) => below(path.parent().unwrap_or(path), pattern),
        };
        glob::find(&pattern, self.system).map_err(Problem::unsupported)
    }

    /// Replaces the host by the one to connect to, as ssh does between its two passes.
    fn settle_host(&mut self) -> Result<(), Error> {
        if let Some(name) = self.options.host_name.clone() {
            let host = expand_host_name(&name.value, &self.host).and_then(checked_host);
            self.host = host.map_err(|problem| name.position.error(problem))?;
        }
        self.host = host::normalize(&self.host);
        let mode = self.options.canonicalize.clone();
        let mode = mode.filter(|mode| mode.value != Canonicalize::No);
        self.wants_final |= mode.is_some();
        let is_always = mode
            .as_ref()
            .is_some_and(|mode| mode.value == Canonicalize::Always);
        if host::is_address(&self.host) || !(is_always || self.is_direct()) {
            return Ok(());
        }
        if let Some(mode) = mode
            && self.is_completed_by_ssh()
        {
            return Err(mode.position.error(Problem::unsupported(format!(
                "ssh would complete the name {:?}, which is not supported; write the whole name",
                self.host
            ))));
        }
        match &self.options.permitted_cnames {
            Some(permitted) if permitted.value => Err(permitted.position.error(
                Problem::unsupported("CanonicalizePermittedCNAMEs is not supported"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether ssh connects to the host itself.
    fn is_direct(&self) -> bool {
        self.options.proxy_jump.is_none()
            && self.options.proxy_command.as_deref().is_none_or(is_none)
    }

    /// Whether ssh would ask DNS to complete the host's name.
    fn is_completed_by_ssh(&self) -> bool {
        let dots = self.host.matches('.').count();
        let is_short = dots <= self.options.max_dots.unwrap_or(USUAL_DOTS_MAX);
        let has_domain = self
            .options
            .canonical_domains
            .first()
            .is_some_and(|domain| !is_none(domain));
        self.host.ends_with('.') || is_short && has_domain
    }

    /// Replaces the tokens of the values.
    fn finish(self) -> Result<HostConfig, Error> {
        let user = self.options.user.as_ref().map(final_user).transpose()?;
        let alias = self
            .options
            .host_key_alias
            .as_deref()
            .map(<[u8]>::to_ascii_lowercase);
        let tokens = TokenValues {
            query: self.query,
            system: self.system,
            host: self.host.as_bytes(),
            key_alias: alias.as_deref().unwrap_or(self.query.host.as_bytes()),
            port: self.options.port.unwrap_or(SSH_PORT),
            user: self.user(),
        };
        let mut identity_files = Vec::new();
        for file in &self.options.identity_files {
            if is_none(&file.value) {
                continue;
            }
            let path = tokens
                .expand_path(&file.value)
                .map_err(|problem| file.position.error(problem))?;
            identity_files.push(PathBuf::from(OsString::from_vec(path)));
        }
        let agent = self.options.identity_agent.as_ref().map(|agent| {
            parse_identity_agent(&agent.value, &tokens)
                .map_err(|problem| agent.position.error(problem))
        });
        let jump = self.options.proxy_jump.as_ref().map(|jump| {
            let (hops, text) = &jump.value;
            hops.resolve(text, &tokens)
                .map_err(|problem| jump.position.error(problem))
        });
        let command = self
            .options
            .proxy_command
            .filter(|command| !is_none(command));
        Ok(HostConfig {
            host_name: self.options.host_name.is_some().then(|| self.host.clone()),
            user,
            identity_files: (!self.options.identity_files.is_empty()).then_some(identity_files),
            identities_only: self.options.identities_only.unwrap_or(false),
            identity_agent: agent.transpose()?,
            proxy_jump: jump.transpose()?,
            proxy_command: command.map(OsString::from_vec),
        })
    }
}

/// A relative path below a folder.
fn below(folder: &Path, path: &[u8]) -> Vec<u8> {
    let mut joined = OsString::from(folder).into_vec();
    joined.push(b'/');
    joined.extend_from_slice(path);
    joined
}

/// The value of `HostName`, in which `%h` is the host as the user typed it.
fn expand_host_name(value: &[u8], host: &str) -> Result<Vec<u8>, Problem> {
    let mut expanded = Vec::new();
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        let (token, after) = rest.split_first().ok_or("it ends with a %")?;
        rest = after;
        match token {
            b'%' => expanded.push(b'%'),
            b'h' => expanded.extend_from_slice(host.as_bytes()),
            token => {
                return Err(
                    format!("%{} is not a token for this keyword", char::from(*token)).into(),
                );
            }
        }
    }
    Ok(expanded)
}

/// A host that cannot be taken for an option.
fn checked_host(host: Vec<u8>) -> Result<String, Problem> {
    let host =
        String::from_utf8(host).map_err(|_| Problem::unsupported("the host is not UTF-8"))?;
    let is_bad = |c: char| c.is_whitespace() || c.is_control();
    if host.is_empty() || host.starts_with('-') || host.contains(is_bad) {
        return Err(Problem::unsupported(format!(
            "{host:?} is not a valid host"
        )));
    }
    Ok(host)
}

fn final_user(user: &Setting<Vec<u8>>) -> Result<String, Error> {
    let name = String::from_utf8(user.value.clone()).map_err(|_| {
        user.position
            .error(Problem::unsupported("the user is not UTF-8"))
    })?;
    if name.contains('%') || name.contains("${") {
        let problem = "versions of ssh read % and ${ in User differently";
        return Err(user.position.error(Problem::unsupported(problem)));
    }
    Ok(name)
}

fn parse_identity_agent(value: &[u8], tokens: &TokenValues<'_>) -> Result<IdentityAgent, Problem> {
    let value = tokens.expand_path(value)?;
    if value == b"none" {
        return Ok(IdentityAgent::Disabled);
    }
    if value == b"SSH_AUTH_SOCK" {
        return Ok(IdentityAgent::Variable("SSH_AUTH_SOCK".to_owned()));
    }
    match legacy_variable(&value) {
        Some(name) => Ok(IdentityAgent::Variable(name?.to_owned())),
        None => Ok(IdentityAgent::Socket(OsString::from_vec(value).into())),
    }
}
