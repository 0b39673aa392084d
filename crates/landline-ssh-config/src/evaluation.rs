//! Evaluates the lines of the files for one host.

use std::{
    io,
    path::{Path, PathBuf},
};

use landline_paths::local;

use super::{
    HostConfig, IdentityAgent, InvalidHop, Query,
    blocks::{self, MatchSubject},
    pattern, tokens,
    tokens::TokenValues,
    words,
};
use crate::Error;

/// The maximum size of a file. Real files are far smaller.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The maximum depth of includes, as in ssh.
const DEPTH_MAX: usize = 16;
/// The maximum number of included files.
const FILES_MAX: usize = 1024;

/// Access to the files: the disk, or texts in memory.
pub(super) trait FileSource {
    /// The text of a file; `None` if it does not exist.
    fn text(&self, path: &Path) -> io::Result<Option<String>>;
    /// The names in a folder; none if it does not exist.
    fn names(&self, folder: &Path) -> Vec<String>;
}

/// The real files.
pub(super) struct Disk;

impl FileSource for Disk {
    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        match local::read_trusted(path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        local::names(folder)
    }
}

pub(super) fn read(
    files: &[(PathBuf, PathBuf)],
    query: &Query<'_>,
    source: &dyn FileSource,
) -> Result<HostConfig, Error> {
    let mut evaluation = Evaluation::new(query, source);
    for (path, base) in files {
        evaluation.base = base.clone();
        evaluation.read_file(path, true, 0)?;
    }
    Ok(evaluation.finish())
}

pub(super) fn parse(text: &str, query: &Query<'_>) -> Result<HostConfig, Error> {
    struct NoFiles;
    impl FileSource for NoFiles {
        fn text(&self, _: &Path) -> io::Result<Option<String>> {
            Ok(None)
        }
        fn names(&self, _: &Path) -> Vec<String> {
            Vec::new()
        }
    }
    let mut evaluation = Evaluation::new(query, &NoFiles);
    evaluation.read_text(Path::new("config"), text, true, 0)?;
    Ok(evaluation.finish())
}

/// The values so far, with the tokens not yet replaced.
struct Evaluation<'a> {
    query: &'a Query<'a>,
    source: &'a dyn FileSource,
    base: PathBuf,
    files: usize,
    config: HostConfig,
    /// Location and value.
    identity_files: Vec<(String, String)>,
    identities_only: Option<bool>,
    /// Location and value.
    identity_agent: Option<(String, String)>,
}

/// The position of a line, for messages.
struct LineLocation<'a> {
    path: &'a Path,
    number: usize,
}

impl LineLocation<'_> {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Malformed {
            path: self.path.to_owned(),
            line: self.number,
            problem: problem.into(),
        }
    }

    fn describe(&self) -> String {
        format!("{} line {}", self.path.display(), self.number)
    }
}

impl<'a> Evaluation<'a> {
    fn new(query: &'a Query<'a>, source: &'a dyn FileSource) -> Self {
        Self {
            query,
            source,
            base: PathBuf::new(),
            files: 0,
            config: HostConfig::default(),
            identity_files: Vec::new(),
            identities_only: None,
            identity_agent: None,
        }
    }

    fn read_file(&mut self, path: &Path, applies: bool, depth: usize) -> Result<(), Error> {
        self.files += 1;
        if depth > DEPTH_MAX || self.files > FILES_MAX {
            return Err(Error::TooManyIncludes {
                path: path.to_owned(),
            });
        }
        let text = self.source.text(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        match text {
            Some(text) => self.read_text(path, &text, applies, depth),
            None => Ok(()),
        }
    }

    /// Reads the lines of a file. Unless the file `applies`, none of its blocks does.
    fn read_text(
        &mut self,
        path: &Path,
        text: &str,
        applies: bool,
        depth: usize,
    ) -> Result<(), Error> {
        let mut block_applies = applies;
        for (index, content) in text.lines().enumerate() {
            let line = LineLocation {
                path,
                number: index + 1,
            };
            let Some((keyword, arguments)) = words::split_line(content) else {
                continue;
            };
            match keyword.as_str() {
                "host" => {
                    block_applies =
                        applies && blocks::host_applies(&arguments, &self.match_subject())
                }
                "match" => block_applies = applies && self.match_applies(&arguments, &line),
                "include" => {
                    for pattern in &arguments {
                        let files = self
                            .included_files(pattern)
                            .map_err(|problem| line.error(problem))?;
                        for file in files {
                            self.read_file(&file, block_applies, depth + 1)?;
                        }
                    }
                }
                _ if block_applies => self.set_value(&keyword, &arguments, &line)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn match_subject(&self) -> MatchSubject<'_> {
        MatchSubject {
            original_host: self.query.host,
            host: self.config.host_name.as_deref().unwrap_or(self.query.host),
            user: self.user(),
            local_user: self.query.local_user,
        }
    }

    fn user(&self) -> &str {
        self.query
            .user
            .or(self.config.user.as_deref())
            .unwrap_or(self.query.local_user)
    }

    /// Whether a `Match` block applies. An unsupported one does not, with a warning.
    fn match_applies(&mut self, arguments: &[String], line: &LineLocation<'_>) -> bool {
        blocks::match_applies(arguments, &self.match_subject()).unwrap_or_else(|problem| {
            self.config.warnings.push(format!(
                "{}: {problem}; the block is passed over",
                line.describe()
            ));
            false
        })
    }

    fn set_value(
        &mut self,
        keyword: &str,
        arguments: &[String],
        line: &LineLocation<'_>,
    ) -> Result<(), Error> {
        let is_supported = [
            "hostname",
            "user",
            "identityfile",
            "identitiesonly",
            "identityagent",
            "proxyjump",
        ]
        .contains(&keyword);
        if !is_supported {
            return Ok(());
        }
        let [value] = arguments else {
            return Err(line.error(format!("{keyword} takes one argument")));
        };
        match keyword {
            "hostname" if self.config.host_name.is_none() => {
                self.config.host_name = Some(
                    self.expand_host_name(value)
                        .map_err(|problem| line.error(problem))?,
                );
            }
            "user" if self.config.user.is_none() => self.config.user = Some(value.clone()),
            "identityfile" => self.identity_files.push((line.describe(), value.clone())),
            "identitiesonly" if self.identities_only.is_none() => {
                self.identities_only = Some(match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    _ => return Err(line.error("IdentitiesOnly is yes or no")),
                });
            }
            "identityagent" if self.identity_agent.is_none() => {
                self.identity_agent = Some((line.describe(), value.clone()));
            }
            "proxyjump" if self.config.proxy_jump.is_none() => {
                let expanded = self
                    .token_values()
                    .expand(value)
                    .map_err(|problem| line.error(problem))?;
                self.config.proxy_jump = Some(
                    expanded
                        .parse()
                        .map_err(|error: InvalidHop| line.error(error.to_string()))?,
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// The value of `HostName`, in which `%h` is the host as the user typed it.
    fn expand_host_name(&self, value: &str) -> Result<String, String> {
        let name = TokenValues {
            host: self.query.host,
            ..self.token_values()
        }
        .expand(value)?;
        let is_name =
            !name.is_empty() && !name.starts_with('-') && !name.contains(char::is_whitespace);
        if is_name {
            Ok(name)
        } else {
            Err(format!("{name:?} is no host"))
        }
    }

    fn token_values(&self) -> TokenValues<'_> {
        TokenValues {
            host: self.config.host_name.as_deref().unwrap_or(self.query.host),
            original_host: self.query.host,
            user: self.user(),
            local_user: self.query.local_user,
            home: self.query.home,
        }
    }

    /// The files that match a pattern, sorted.
    fn included_files(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let path = self
            .base
            .join(tokens::expand_home(pattern, self.query.home)?);
        let mut found = vec![PathBuf::new()];
        for part in path.components() {
            let part = part.as_os_str();
            let Some(wild) = part.to_str().filter(|part| part.contains(['*', '?'])) else {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            };
            let mut next = Vec::new();
            for folder in found {
                let mut names = self.source.names(&folder);
                names.retain(|name| {
                    name.starts_with('.') == wild.starts_with('.') && pattern::matches(wild, name)
                });
                names.sort();
                next.extend(
                    names
                        .into_iter()
                        .take(FILES_MAX)
                        .map(|name| folder.join(name)),
                );
            }
            found = next;
        }
        Ok(found)
    }

    /// Replaces the tokens of the values that depend on other keywords.
    fn finish(self) -> HostConfig {
        let mut warnings = Vec::new();
        let values = self.token_values();
        let mut identity_files = Vec::new();
        for (location, value) in self
            .identity_files
            .iter()
            .filter(|(_, value)| !value.eq_ignore_ascii_case("none"))
        {
            match values.expand_path(value) {
                Ok(path) if identity_files.contains(&path) => {}
                Ok(path) => identity_files.push(path),
                Err(problem) => {
                    warnings.push(format!("{location}: {problem}; the key is passed over"))
                }
            }
        }
        let agent = self.identity_agent.as_ref().map(|(location, value)| {
            parse_identity_agent(value, &values).unwrap_or_else(|problem| {
                warnings.push(format!("{location}: {problem}; no agent is used"));
                IdentityAgent::Disabled
            })
        });
        let mut config = HostConfig {
            identity_files,
            identities_only: self.identities_only.unwrap_or(false),
            identity_agent: agent,
            ..self.config.clone()
        };
        config.warnings.extend(warnings);
        config
    }
}

fn parse_identity_agent(value: &str, values: &TokenValues<'_>) -> Result<IdentityAgent, String> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(IdentityAgent::Disabled);
    }
    if value == "SSH_AUTH_SOCK" {
        return Ok(IdentityAgent::Variable(value.to_owned()));
    }
    let variable = value
        .strip_prefix('$')
        .map(|name| name.trim_start_matches('{').trim_end_matches('}'));
    match variable {
        Some(name)
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
        {
            Ok(IdentityAgent::Variable(name.to_owned()))
        }
        Some(_) => Err("a variable that cannot be understood".to_owned()),
        None => values.expand_path(value).map(IdentityAgent::Socket),
    }
}
