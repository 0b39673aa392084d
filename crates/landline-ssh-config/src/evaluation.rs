//! Goes through the lines of the files, for one host.

use std::{
    io,
    path::{Path, PathBuf},
};

use landline_paths::local;

use super::{
    AgentPlace, HostConfig, InvalidHop, Query,
    blocks::{self, Known},
    pattern, tokens,
    tokens::Meanings,
    words,
};
use crate::Error;

/// Far beyond any such file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How deep files may include one another, as in ssh.
const DEPTH_MAX: usize = 16;
/// How many files may be included in all.
const FILES_MAX: usize = 1024;

/// Where files come from.
pub(super) trait Files {
    /// The text of a file; `None` where there is none.
    fn text(&self, path: &Path) -> io::Result<Option<String>>;
    /// The names in a folder; none where there is none.
    fn names(&self, folder: &Path) -> Vec<String>;
}

/// The real ones.
pub(super) struct Disk;

impl Files for Disk {
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
    source: &dyn Files,
) -> Result<HostConfig, Error> {
    let mut evaluation = Evaluation::new(query, source);
    for (path, base) in files {
        evaluation.base = base.clone();
        evaluation.file(path, true, 0)?;
    }
    Ok(evaluation.finish())
}

pub(super) fn parse(text: &str, query: &Query<'_>) -> Result<HostConfig, Error> {
    struct Nothing;
    impl Files for Nothing {
        fn text(&self, _: &Path) -> io::Result<Option<String>> {
            Ok(None)
        }
        fn names(&self, _: &Path) -> Vec<String> {
            Vec::new()
        }
    }
    let mut evaluation = Evaluation::new(query, &Nothing);
    evaluation.text(Path::new("config"), text, true, 0)?;
    Ok(evaluation.finish())
}

/// What was said so far, as it was written.
struct Evaluation<'a> {
    query: &'a Query<'a>,
    source: &'a dyn Files,
    base: PathBuf,
    files: usize,
    config: HostConfig,
    identity_files: Vec<(String, String)>,
    identities_only: Option<bool>,
    identity_agent: Option<(String, String)>,
}

/// A line that is being read.
struct ConfigLine<'a> {
    path: &'a Path,
    number: usize,
}

impl ConfigLine<'_> {
    fn bad(&self, problem: impl Into<String>) -> Error {
        Error::Malformed {
            path: self.path.to_owned(),
            line: self.number,
            problem: problem.into(),
        }
    }

    fn place(&self) -> String {
        format!("{} line {}", self.path.display(), self.number)
    }
}

impl<'a> Evaluation<'a> {
    fn new(query: &'a Query<'a>, source: &'a dyn Files) -> Self {
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

    fn file(&mut self, path: &Path, is_meant: bool, depth: usize) -> Result<(), Error> {
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
            Some(text) => self.text(path, &text, is_meant, depth),
            None => Ok(()),
        }
    }

    /// Reads a file's lines. Nothing in it counts unless `is_meant`, whatever its blocks say.
    fn text(&mut self, path: &Path, text: &str, is_meant: bool, depth: usize) -> Result<(), Error> {
        let mut counts = is_meant;
        for (index, content) in text.lines().enumerate() {
            let line = ConfigLine {
                path,
                number: index + 1,
            };
            let Some((keyword, arguments)) = words::split(content) else {
                continue;
            };
            match keyword.as_str() {
                "host" => counts = is_meant && blocks::host(&arguments, &self.known()),
                "match" => counts = is_meant && self.matches(&arguments, &line),
                "include" => {
                    for pattern in &arguments {
                        for file in self
                            .included(pattern)
                            .map_err(|problem| line.bad(problem))?
                        {
                            self.file(&file, counts, depth + 1)?;
                        }
                    }
                }
                _ if counts => self.value(&keyword, &arguments, &line)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn known(&self) -> Known<'_> {
        Known {
            written: self.query.host,
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

    /// A `Match` that is not understood is for nobody, aloud.
    fn matches(&mut self, arguments: &[String], line: &ConfigLine<'_>) -> bool {
        blocks::matches(arguments, &self.known()).unwrap_or_else(|problem| {
            self.config.passed_over.push(format!(
                "{}: {problem}; the block is passed over",
                line.place()
            ));
            false
        })
    }

    fn value(
        &mut self,
        keyword: &str,
        arguments: &[String],
        line: &ConfigLine<'_>,
    ) -> Result<(), Error> {
        let is_ours = [
            "hostname",
            "user",
            "identityfile",
            "identitiesonly",
            "identityagent",
            "proxyjump",
        ]
        .contains(&keyword);
        if !is_ours {
            return Ok(());
        }
        let [value] = arguments else {
            return Err(line.bad(format!("{keyword} takes one argument")));
        };
        match keyword {
            "hostname" if self.config.host_name.is_none() => {
                self.config.host_name =
                    Some(self.host_name(value).map_err(|problem| line.bad(problem))?);
            }
            "user" if self.config.user.is_none() => self.config.user = Some(value.clone()),
            "identityfile" => self.identity_files.push((line.place(), value.clone())),
            "identitiesonly" if self.identities_only.is_none() => {
                self.identities_only = Some(match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    _ => return Err(line.bad("IdentitiesOnly is yes or no")),
                });
            }
            "identityagent" if self.identity_agent.is_none() => {
                self.identity_agent = Some((line.place(), value.clone()));
            }
            "proxyjump" if self.config.proxy_jump.is_none() => {
                let expanded = self
                    .meanings()
                    .expand(value)
                    .map_err(|problem| line.bad(problem))?;
                self.config.proxy_jump = Some(
                    expanded
                        .parse()
                        .map_err(|error: InvalidHop| line.bad(error.to_string()))?,
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// `HostName` knows `%h` as what was written, and `%%`.
    fn host_name(&self, value: &str) -> Result<String, String> {
        let name = Meanings {
            host: self.query.host,
            ..self.meanings()
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

    fn meanings(&self) -> Meanings<'_> {
        Meanings {
            host: self.config.host_name.as_deref().unwrap_or(self.query.host),
            written: self.query.host,
            user: self.user(),
            local_user: self.query.local_user,
            home: self.query.home,
        }
    }

    /// The files that a pattern names, sorted.
    fn included(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let path = tokens::under_home(pattern, self.query.home)?;
        let path = self.base.join(path);
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

    /// Values that depend on others are made of them last.
    fn finish(self) -> HostConfig {
        let mut passed_over = Vec::new();
        let meanings = self.meanings();
        let mut identity_files = Vec::new();
        for (place, value) in self
            .identity_files
            .iter()
            .filter(|(_, value)| !value.eq_ignore_ascii_case("none"))
        {
            match meanings.path(value) {
                Ok(path) if identity_files.contains(&path) => {}
                Ok(path) => identity_files.push(path),
                Err(problem) => {
                    passed_over.push(format!("{place}: {problem}; the key is passed over"))
                }
            }
        }
        let agent = self.identity_agent.as_ref().map(|(place, value)| {
            agent_place(value, &meanings).unwrap_or_else(|problem| {
                passed_over.push(format!("{place}: {problem}; no agent is used"));
                AgentPlace::Nowhere
            })
        });
        let mut config = HostConfig {
            identity_files,
            identities_only: self.identities_only.unwrap_or(false),
            identity_agent: agent,
            ..self.config.clone()
        };
        config.passed_over.extend(passed_over);
        config
    }
}

fn agent_place(value: &str, meanings: &Meanings<'_>) -> Result<AgentPlace, String> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(AgentPlace::Nowhere);
    }
    if value == "SSH_AUTH_SOCK" {
        return Ok(AgentPlace::Variable(value.to_owned()));
    }
    let variable = value
        .strip_prefix('$')
        .map(|name| name.trim_start_matches('{').trim_end_matches('}'));
    match variable {
        Some(name)
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
        {
            Ok(AgentPlace::Variable(name.to_owned()))
        }
        Some(_) => Err("a variable that cannot be understood".to_owned()),
        None => meanings.path(value).map(AgentPlace::Socket),
    }
}
