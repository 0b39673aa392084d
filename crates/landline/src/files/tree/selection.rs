//! Which entries of its sources a copy takes: patterns, and a list of paths.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt,
    path::Path,
    sync::Arc,
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use landline_proto::ErrorCode;

use super::records::SelectionRecord;
use crate::{
    Error,
    paths::name::{PATH_BYTES_MAX, check_component},
};

/// The most patterns of a copy, and bytes of them.
const PATTERNS_MAX: usize = 1_000;
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// The most paths of a copy, and bytes of them.
const PATHS_MAX: usize = 100_000;
const PATH_LIST_BYTES_MAX: usize = 8 << 20;
/// The most components of all paths together. Each takes memory.
const COMPONENTS_MAX: usize = 500_000;
/// Stands for a wildcard when a pattern is tried.
const SAMPLE: &str = "q7zx";

/// Which entries of its sources a copy takes. Cloning gives another handle to the same.
///
/// The default takes all. Patterns are those of gitignore files: the last one that matches decides,
/// and nothing below an excluded folder is looked at. They are matched from each source on.
#[derive(Debug, Clone, Default)]
pub struct TreeSelection {
    inner: Arc<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    patterns: Vec<String>,
    matcher: Option<Gitignore>,
    /// Only these are taken, if there is a list.
    paths: Option<Arc<PathNode>>,
    path_list: Vec<Vec<u8>>,
}

/// A folder on the way to the paths that were listed.
#[derive(Debug, Default)]
pub(super) struct PathNode {
    /// Whether all below it is taken.
    is_whole: bool,
    children: BTreeMap<OsString, Arc<PathNode>>,
}

impl PathNode {
    /// The names that are taken; `None` for all.
    pub(super) fn names(&self) -> Option<Vec<OsString>> {
        (!self.is_whole).then(|| self.children.keys().cloned().collect())
    }

    pub(super) fn child(&self, name: &OsStr) -> Option<Arc<Self>> {
        self.children.get(name).cloned()
    }

    /// Whether the entry itself is taken if it is no folder.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn insert(&mut self, components: &[&[u8]]) {
        let Some((first, rest)) = components.split_first() else {
            self.is_whole = true;
            return;
        };
        let name = OsString::from_vec(first.to_vec());
        let child = self.children.entry(name).or_default();
        // No other handle exists while the list is read.
        if let Some(child) = Arc::get_mut(child) {
            child.insert(rest);
        }
    }
}

impl TreeSelection {
    /// `patterns` in the order of their importance, the last one first to decide. `paths` are below
    /// the source; `None` takes all.
    ///
    /// # Errors
    /// `name-refused` for a pattern or path that means nothing; `limit`.
    pub fn new(patterns: Vec<String>, paths: Option<Vec<Vec<u8>>>) -> Result<Self, Error> {
        let mut reader = SelectionReader::default();
        for pattern in patterns {
            reader.add_pattern(pattern)?;
        }
        for path in paths.iter().flatten() {
            reader.add_path(path.clone())?;
        }
        let has_list = paths.is_some();
        reader.finish(has_list)
    }

    /// Whether all is taken.
    pub fn takes_all(&self) -> bool {
        self.inner.matcher.is_none() && self.inner.paths.is_none()
    }

    /// Whether only listed paths are taken.
    pub fn has_list(&self) -> bool {
        self.inner.paths.is_some()
    }

    /// Patterns that include something again, and never can: what they match is in a folder that is
    /// excluded, or a later pattern excludes it.
    pub fn useless_patterns(&self) -> Vec<&str> {
        let patterns = self.inner.patterns.iter();
        let mut useless = Vec::new();
        for pattern in patterns {
            if self.is_useless(pattern) {
                useless.push(pattern.as_str());
            }
        }
        useless
    }

    fn is_useless(&self, pattern: &str) -> bool {
        let trimmed = pattern.trim_end();
        // The path of an entry is never written like this.
        let body = trimmed.strip_prefix('!').unwrap_or(trimmed);
        let parts = || body.split('/');
        if body.starts_with("./") || body.contains("//") || parts().any(|part| part == "..") {
            return true;
        }
        let Some(included) = trimmed.strip_prefix('!') else {
            return false;
        };
        if included.contains(['[', '{', '\\']) {
            return false;
        }
        let is_folder = included.ends_with('/');
        let sample = included.replace("**", "*").replace(['*', '?'], SAMPLE);
        let path = Path::new(sample.trim_matches('/'));
        if path.as_os_str().is_empty() {
            return false;
        }
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.pop();
        let is_hidden = above.iter().any(|folder| self.excludes(folder, true));
        is_hidden || self.excludes(path, is_folder)
    }

    /// Whether an entry is left out. The folders above it are not.
    pub(super) fn excludes(&self, path: &Path, is_folder: bool) -> bool {
        let matcher = self.inner.matcher.as_ref();
        matcher.is_some_and(|matcher| matcher.matched(path, is_folder).is_ignore())
    }

    /// Whether an entry is taken. The folders above it are.
    pub(super) fn takes(&self, path: &Path, is_folder: bool) -> bool {
        if self.excludes(path, is_folder) {
            return false;
        }
        let Some(mut node) = self.paths() else {
            return true;
        };
        for component in path.components() {
            if node.is_whole() {
                return true;
            }
            match node.child(component.as_os_str()) {
                Some(child) => node = child,
                None => return false,
            }
        }
        is_folder || node.is_whole()
    }

    /// The paths that are taken, from the source on.
    pub(super) fn paths(&self) -> Option<Arc<PathNode>> {
        self.inner.paths.clone()
    }

    /// The records for the server; none if all is taken.
    pub(super) fn records(&self) -> impl Iterator<Item = SelectionRecord> {
        let patterns = self.inner.patterns.iter();
        let patterns =
            patterns.map(|pattern| SelectionRecord::Pattern(pattern.as_bytes().to_vec()));
        let paths = self.inner.path_list.iter();
        let paths = paths.map(|path| SelectionRecord::Path(path.clone()));
        let end = (!self.takes_all()).then_some(SelectionRecord::End);
        patterns.chain(paths).chain(end)
    }
}

/// Collects the parts of a selection.
#[derive(Debug, Default)]
pub(super) struct SelectionReader {
    patterns: Vec<String>,
    pattern_bytes: usize,
    paths: PathNode,
    path_list: Vec<Vec<u8>>,
    path_bytes: usize,
    components: usize,
}

impl SelectionReader {
    /// Takes a record. Returns the selection after the last one.
    ///
    /// # Errors
    /// As [`TreeSelection::new`].
    pub(super) fn take(&mut self, record: SelectionRecord) -> Result<Option<TreeSelection>, Error> {
        match record {
            SelectionRecord::Pattern(pattern) => {
                let pattern = String::from_utf8(pattern)
                    .map_err(|_| refused("a pattern is not UTF-8".to_owned()))?;
                self.add_pattern(pattern)?;
                Ok(None)
            }
            SelectionRecord::Path(path) => {
                self.add_path(path)?;
                Ok(None)
            }
            SelectionRecord::End => {
                let reader = std::mem::take(self);
                let has_list = !reader.path_list.is_empty();
                reader.finish(has_list).map(Some)
            }
        }
    }

    fn add_pattern(&mut self, pattern: String) -> Result<(), Error> {
        if pattern.is_empty() || pattern.len() > PATH_BYTES_MAX || pattern.contains('\0') {
            let message = format!("a pattern has 1 to {PATH_BYTES_MAX} bytes, and no NUL");
            return Err(refused(message));
        }
        self.pattern_bytes += pattern.len();
        if self.patterns.len() >= PATTERNS_MAX || self.pattern_bytes > PATTERN_BYTES_MAX {
            let message = format!(
                "a copy takes at most {PATTERNS_MAX} patterns, with {PATTERN_BYTES_MAX} bytes in all"
            );
            return Err(Error::here(ErrorCode::Limit, message));
        }
        self.patterns.push(pattern);
        Ok(())
    }

    fn add_path(&mut self, path: Vec<u8>) -> Result<(), Error> {
        self.path_bytes += path.len();
        if self.path_list.len() >= PATHS_MAX || self.path_bytes > PATH_LIST_BYTES_MAX {
            let message = format!(
                "a list has at most {PATHS_MAX} paths, with {PATH_LIST_BYTES_MAX} bytes in all"
            );
            return Err(Error::here(ErrorCode::Limit, message));
        }
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let parts = path.split(|byte| *byte == b'/');
        let parts: Vec<&[u8]> = parts
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        let is_refused = parts.iter().any(|part| check_component(part).is_err());
        if path.starts_with(b"/") || path.len() > PATH_BYTES_MAX || is_refused {
            let message = format!("{}: a listed path has to be below the source", shown());
            return Err(refused(message));
        }
        self.components += parts.len();
        if self.components > COMPONENTS_MAX {
            let message =
                format!("the listed paths have at most {COMPONENTS_MAX} components in all");
            return Err(Error::here(ErrorCode::Limit, message));
        }
        self.paths.insert(&parts);
        self.path_list.push(path);
        Ok(())
    }

    fn finish(self, has_list: bool) -> Result<TreeSelection, Error> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in &self.patterns {
            builder
                .add_line(None, pattern)
                .map_err(|error| refused(format!("the pattern {pattern}: {error}")))?;
        }
        let matcher = if self.patterns.is_empty() {
            None
        } else {
            let built = builder.build();
            Some(built.map_err(|error| refused(format!("the patterns: {error}")))?)
        };
        Ok(TreeSelection {
            inner: Arc::new(Parts {
                patterns: self.patterns,
                matcher,
                paths: has_list.then(|| Arc::new(self.paths)),
                path_list: self.path_list,
            }),
        })
    }
}

fn refused(message: String) -> Error {
    Error::here(ErrorCode::NameRefused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(patterns: &[&str]) -> TreeSelection {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned());
        TreeSelection::new(patterns.collect(), None).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore_files() {
        let selection = selection(&[
            "*.o", "!keep.o", "/top", "cache/", "a/**/z", "sp ace ", "#x",
        ]);
        for (path, is_folder, excluded) in [
            ("x.o", false, true),
            ("deep/x.o", false, true),
            ("keep.o", false, false),
            ("top", false, true),
            ("deep/top", false, false),
            ("cache", true, true),
            ("cache", false, false),
            ("a/b/c/z", false, true),
            ("sp ace", false, true),
            ("#x", false, false),
            ("other", false, false),
        ] {
            let found = selection.excludes(Path::new(path), is_folder);
            assert_eq!(found, excluded, "{path}");
        }
    }

    #[test]
    fn patterns_that_can_never_match_are_found() {
        for (patterns, useless) in [
            (&["build/", "!build/keep"][..], &["!build/keep"][..]),
            (&["build/*", "!build/keep"], &[]),
            (&["!*.txt", "*"], &["!*.txt"]),
            (&["*", "!*.txt"], &[]),
            (&["./x", "a/../b"], &["./x", "a/../b"]),
            (&["/x", "**/y", "z "], &[]),
        ] {
            assert_eq!(selection(patterns).useless_patterns(), useless);
        }
    }

    #[test]
    fn listed_paths_take_what_is_below_them() {
        let list = ["a/b", "c/", "./d"].map(|path| path.as_bytes().to_vec());
        let selection = TreeSelection::new(Vec::new(), Some(list.to_vec())).unwrap();
        let root = selection.paths().unwrap();
        assert_eq!(root.names().unwrap(), ["a", "c", "d"]);
        let a = root.child(OsStr::new("a")).unwrap();
        assert_eq!(a.names().unwrap(), ["b"]);
        assert!(root.child(OsStr::new("c")).unwrap().is_whole());
        assert!(root.child(OsStr::new("x")).is_none());
        for bad in ["/a", "a/../b", "..", "a\0b"] {
            let list = vec![bad.as_bytes().to_vec()];
            assert!(
                TreeSelection::new(Vec::new(), Some(list)).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn records_carry_a_selection() {
        let list = vec![b"a/b".to_vec()];
        let sent = TreeSelection::new(vec!["*.o".to_owned()], Some(list)).unwrap();
        let mut reader = SelectionReader::default();
        let mut read = None;
        for record in sent.records() {
            assert!(read.is_none());
            read = reader.take(record).unwrap();
        }
        let read = read.unwrap();
        assert!(read.excludes(Path::new("x.o"), false));
        assert!(read.has_list());
        assert_eq!(TreeSelection::default().records().count(), 0);
    }

    #[test]
    fn too_many_patterns_are_refused() {
        let many = vec!["x".to_owned(); PATTERNS_MAX + 1];
        let long = vec!["x".repeat(PATH_BYTES_MAX); PATTERN_BYTES_MAX / PATH_BYTES_MAX + 1];
        for patterns in [many, long] {
            let error = TreeSelection::new(patterns, None).unwrap_err();
            assert_eq!(error.code_str(), "limit");
        }
    }

    /// Each pattern and path that is accepted can be sent.
    #[test]
    fn patterns_that_no_record_carries_are_refused() {
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        for pattern in ["", "a\0b", &long] {
            let error = TreeSelection::new(vec![pattern.to_owned()], None).unwrap_err();
            assert_eq!(error.code_str(), "name-refused");
        }
        let longest = "x".repeat(PATH_BYTES_MAX);
        assert!(TreeSelection::new(vec![longest], None).is_ok());
    }

    #[test]
    fn components_of_listed_paths_are_limited() {
        let deep = |number: usize| format!("{number:06}{}", "/a".repeat(99)).into_bytes();
        let list = |count: usize| (0..count).map(deep).collect();
        let count = COMPONENTS_MAX / 100;
        assert!(TreeSelection::new(Vec::new(), Some(list(count))).is_ok());
        let error = TreeSelection::new(Vec::new(), Some(list(count + 1))).unwrap_err();
        assert_eq!(error.code_str(), "limit");
    }

    #[test]
    fn entries_are_taken_if_listed_and_not_excluded() {
        let list = ["a/b", "c"].map(|path| path.as_bytes().to_vec());
        let patterns = vec!["*.o".to_owned()];
        let selection = TreeSelection::new(patterns, Some(list.to_vec())).unwrap();
        for (path, is_folder, taken) in [
            ("a", true, true),
            ("a", false, false),
            ("a/b", false, true),
            ("a/c", false, false),
            ("c/deep/x", false, true),
            ("c/deep/x.o", false, false),
            ("d", true, false),
        ] {
            assert_eq!(selection.takes(Path::new(path), is_folder), taken, "{path}");
        }
    }
}
