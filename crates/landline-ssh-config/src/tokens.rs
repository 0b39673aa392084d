//! `%` tokens and `~` in values.

use std::path::{Path, PathBuf};

/// The values that replace tokens.
pub(super) struct TokenValues<'a> {
    /// `%h`: the host to connect to.
    pub(super) host: &'a str,
    /// `%n`: the host as the user typed it.
    pub(super) original_host: &'a str,
    /// `%r`: the remote user.
    pub(super) user: &'a str,
    /// `%u`: the name of the local user.
    pub(super) local_user: &'a str,
    /// `%d` and `~`: the home of the local user.
    pub(super) home: &'a Path,
}

impl TokenValues<'_> {
    /// Replaces the tokens of a value.
    ///
    /// # Errors
    /// A token that this crate does not support.
    pub(super) fn expand(&self, value: &str) -> Result<String, String> {
        let home = self.home.to_str().ok_or("the home's name is not UTF-8")?;
        let mut expanded = String::new();
        let mut characters = value.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some('h') => expanded.push_str(self.host),
                Some('n') => expanded.push_str(self.original_host),
                Some('r') => expanded.push_str(self.user),
                Some('u') => expanded.push_str(self.local_user),
                Some('d') => expanded.push_str(home),
                Some(other) => return Err(format!("%{other} is not known here")),
                None => return Err("a % stands at its end".to_owned()),
            }
        }
        Ok(expanded)
    }

    /// Replaces the tokens and the `~` of a path.
    ///
    /// # Errors
    /// An unsupported token, an environment variable, another user's home, or a relative path.
    pub(super) fn expand_path(&self, value: &str) -> Result<PathBuf, String> {
        if value.contains("${") {
            return Err("variables are not known here".to_owned());
        }
        let path = expand_home(&self.expand(value)?, self.home)?;
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("the path is not absolute".to_owned())
        }
    }
}

/// Replaces the `~` of a path.
///
/// # Errors
/// Another user's home.
pub(super) fn expand_home(value: &str, home: &Path) -> Result<PathBuf, String> {
    match value.strip_prefix('~') {
        None => Ok(PathBuf::from(value)),
        Some("") => Ok(home.to_owned()),
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => Ok(home.join(rest.trim_start_matches('/'))),
            None => Err("another user's home is not known here".to_owned()),
        },
    }
}
