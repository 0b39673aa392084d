//! `%` tokens and `~` in values.

use std::path::{Path, PathBuf};

/// What tokens stand for.
pub(super) struct Meanings<'a> {
    /// `%h`: the host to connect to.
    pub(super) host: &'a str,
    /// `%n`: the host as it was written.
    pub(super) written: &'a str,
    /// `%r`: who to log in as.
    pub(super) user: &'a str,
    /// `%u`: the name of the user here.
    pub(super) local_user: &'a str,
    /// `%d` and `~`: the home here.
    pub(super) home: &'a Path,
}

impl Meanings<'_> {
    /// The value with its tokens replaced.
    ///
    /// # Errors
    /// A token that is not known here.
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
                Some('n') => expanded.push_str(self.written),
                Some('r') => expanded.push_str(self.user),
                Some('u') => expanded.push_str(self.local_user),
                Some('d') => expanded.push_str(home),
                Some(other) => return Err(format!("%{other} is not known here")),
                None => return Err("a % stands at its end".to_owned()),
            }
        }
        Ok(expanded)
    }

    /// The path with its tokens and `~` replaced.
    ///
    /// # Errors
    /// As [`expand`](Self::expand); another user's home; a path that is not absolute; a variable.
    pub(super) fn path(&self, value: &str) -> Result<PathBuf, String> {
        if value.contains("${") {
            return Err("variables are not known here".to_owned());
        }
        let path = under_home(&self.expand(value)?, self.home)?;
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("the path is not absolute".to_owned())
        }
    }
}

/// The path with `~` replaced.
pub(super) fn under_home(value: &str, home: &Path) -> Result<PathBuf, String> {
    match value.strip_prefix('~') {
        None => Ok(PathBuf::from(value)),
        Some("") => Ok(home.to_owned()),
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => Ok(home.join(rest.trim_start_matches('/'))),
            None => Err("another user's home is not known here".to_owned()),
        },
    }
}
