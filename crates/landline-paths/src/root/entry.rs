//! Single entries that a path from a peer names, to look at or to change.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use cap_std::{ambient_authority, fs::Dir};

use super::{Root, parent_and_name, refused};
use crate::{
    EntryKind, EntryStat, Error, ErrorKind, Folder, Grant, NamePattern, RemotePath, TreeAccess,
    TreeGuard, TreeOrigin, platform, platform::FileId,
};

/// The most components of a path from the first one with a pattern on.
const PATTERN_DEPTH_MAX: usize = 64;
/// The most names that a pattern may match.
const MATCHES_MAX: usize = 10_000;
/// The most bytes of all names that a pattern matches.
const MATCHES_BYTES_MAX: usize = 1 << 20;

/// An entry that a path names. A link at the end of the path is not followed.
#[derive(Debug)]
pub struct NamedEntry {
    /// The folder with the entry. If there is no `name`, this folder itself is named.
    pub folder: Folder,
    /// The name in the folder.
    pub name: Option<OsString>,
    /// The whole path, for messages and records.
    pub shown: PathBuf,
    /// What may be done in the folder.
    pub access: TreeAccess,
    /// Which folders below it may be entered.
    pub guard: TreeGuard,
    must_be_folder: bool,
}

impl NamedEntry {
    /// The properties of the entry.
    ///
    /// # Errors
    /// `NotFound`; `NotAFile` if the path ends in a slash and this is not a folder; `Io`.
    pub fn stat(&self) -> Result<EntryStat, Error> {
        let failed = |error: std::io::Error| Error::io(self.shown.display(), error);
        let Some(name) = &self.name else {
            return self.folder.own_stat().map_err(failed);
        };
        match self.folder.stat(name).map_err(failed)? {
            Some(stat) if self.must_be_folder && stat.kind != EntryKind::Folder => {
                let message = format!("{} is not a folder", self.shown.display());
                Err(Error::new(ErrorKind::NotAFile, message))
            }
            Some(stat) => Ok(stat),
            None => Err(failed(std::io::Error::from_raw_os_error(libc::ENOENT))),
        }
    }

    /// Opens the entry, which must be a folder, and finds what may be done in it.
    ///
    /// # Errors
    /// `NotAFile` for anything else, also a link; `Denied` or `Io`.
    pub fn open_folder(&self) -> Result<(Folder, TreeAccess), Error> {
        let failed = |error: std::io::Error| Error::io(self.shown.display(), error);
        let Some(name) = &self.name else {
            return Ok((self.folder.try_clone().map_err(failed)?, self.access));
        };
        let folder = self.folder.open_folder(name).map_err(failed)?;
        let access = self.guard.enter(self.access, &folder)?;
        Ok((folder, access))
    }

    /// The path as bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        platform::bytes_of(self.shown.as_os_str())
    }
}

/// What keeps its name and place: each folder of a list, each link by which its path leads there,
/// and each folder that contains one of them.
#[derive(Debug, Default)]
pub struct ProtectedFolders {
    ids: HashSet<FileId>,
}

impl ProtectedFolders {
    /// Whether this is one of these folders or links.
    pub fn contains(&self, stat: &EntryStat) -> bool {
        self.ids.contains(&stat.id)
    }

    /// Adds a folder and all that contain it.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn insert(&mut self, folder: &Folder) -> std::io::Result<()> {
        self.ids.extend(platform::ancestors(folder.dir())?);
        Ok(())
    }
}

/// A path with a pattern in it: the part before the first pattern, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    folder: Vec<u8>,
    components: Vec<Vec<u8>>,
    must_be_folder: bool,
}

impl PathPattern {
    /// Splits a path from a peer; `None` if it has no pattern.
    ///
    /// # Errors
    /// `NameRefused`; `Limit` if too many components follow the first pattern.
    pub fn parse(path: &[u8]) -> Result<Option<Self>, Error> {
        let parsed = RemotePath::parse(path).map_err(|error| refused(path, error))?;
        let first = parsed
            .components()
            .iter()
            .position(|component| NamePattern::is_pattern(component));
        let Some(first) = first else {
            return Ok(None);
        };
        let components = parsed.components().get(first..).unwrap_or_default();
        if components.len() > PATTERN_DEPTH_MAX {
            let message = format!("a pattern has at most {PATTERN_DEPTH_MAX} components");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let behind = components.iter().map(|part| part.len() + 1).sum::<usize>()
            - usize::from(!path.ends_with(b"/"));
        let before = path.len().saturating_sub(behind);
        Ok(Some(Self {
            folder: path.get(..before).unwrap_or_default().to_vec(),
            components: components.to_vec(),
            must_be_folder: path.ends_with(b"/"),
        }))
    }

    /// The path of the folder where the first pattern is looked for.
    pub fn folder(&self) -> &[u8] {
        if self.folder.is_empty() {
            b"."
        } else {
            &self.folder
        }
    }

    /// The path of a match, as the user would write it.
    pub fn join(&self, name: &[u8]) -> Vec<u8> {
        // A name that is `~` would mean the home.
        let beginning: &[u8] = if self.folder.is_empty() && name.starts_with(b"~") {
            b"./"
        } else {
            b""
        };
        [beginning, &self.folder, name].concat()
    }
}

/// The names that match a pattern.
#[derive(Debug)]
pub struct Matches {
    /// The names below [`PathPattern::folder`], in order.
    pub names: Vec<Vec<u8>>,
    /// The whole path with the pattern, for records.
    pub shown: PathBuf,
}

impl Root {
    /// Finds the entry that a path names, without following a link at its end.
    ///
    /// With `to_change`, the user must be able to write to the folder that holds the entry. A
    /// granted folder of the home that does not exist is created then.
    ///
    /// # Errors
    /// `NotFound` if the folder does not exist; `NameRefused`, `Denied` or `Io`. That the entry
    /// exists is not checked.
    pub fn open_entry(
        &self,
        grants: &[Grant],
        path: &[u8],
        to_change: bool,
    ) -> Result<NamedEntry, Error> {
        let resolved = if to_change {
            self.resolve_with(grants, path, Grant::open_or_create)?
        } else {
            self.resolve(grants, path)?
        };
        let (parent, name) = match parent_and_name(&resolved.relative) {
            Some((parent, name)) => (parent, Some(name)),
            None => (Path::new("."), None),
        };
        let dir = resolved
            .dir
            .open_dir(parent)
            .map_err(|error| Error::io(resolved.shown.display(), error))?;
        let grant = self.effective_grant_of(grants, &dir, &resolved)?;
        if to_change && !grant.is_writable {
            let message = format!(
                "{} is in {:?}, which you may only read",
                resolved.shown.display(),
                grant.text
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Ok(NamedEntry {
            folder: Folder::from_dir(dir),
            name: name.map(ToOwned::to_owned),
            access: TreeAccess {
                is_writable: grant.is_writable,
            },
            guard: self.tree_guard(grants, grant.is_writable),
            must_be_folder: resolved.is_folder && name.is_some(),
            // That of a home ends in a slash otherwise.
            shown: resolved.shown.components().collect(),
        })
    }

    /// Finds the names that match a pattern, in order. `folder` is where it begins, as
    /// [`PathPattern::folder`] says.
    ///
    /// A name that is literally the pattern is the only match. Links within the pattern are not
    /// followed. `spend` is called for every name that is looked at.
    ///
    /// # Errors
    /// `NotFound` if nothing matches; `Limit` for too many matches; as
    /// [`open_tree_source`](Self::open_tree_source); what `spend` returns.
    pub fn expand<E: From<Error>>(
        &self,
        grants: &[Grant],
        folder: &[u8],
        pattern: &PathPattern,
        spend: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Matches, E> {
        let (source, guard) = self.open_tree_source(grants, folder)?;
        let TreeOrigin::Folder(folder, _) = source.origin else {
            let message = format!("{} is not a folder", source.shown.display());
            return Err(Error::new(ErrorKind::NotAFile, message).into());
        };
        let mut expansion = Expansion {
            guard: &guard,
            must_be_folder: pattern.must_be_folder,
            matches: Vec::new(),
            bytes: 0,
            spend,
        };
        expansion.descend(&folder, guard.start(), &pattern.components, &mut Vec::new())?;
        let mut names = expansion.matches;
        let pattern = pattern.components.join(&b'/');
        let shown = source.shown.join(platform::os_str(&pattern));
        if names.is_empty() {
            let message = format!("nothing matches {}", shown.display());
            return Err(Error::new(ErrorKind::NotFound, message).into());
        }
        names.sort_unstable();
        Ok(Matches { names, shown })
    }

    /// Finds the folders of a list, the links by which their paths lead there, and all folders that
    /// contain one of them. They keep their places.
    ///
    /// The home of the accounts and the folder that no grant reaches belong to the list.
    ///
    /// # Blocking
    /// Opens every folder on the disk.
    pub fn protected_folders<'f>(
        &self,
        folders: impl IntoIterator<Item = &'f RemotePath>,
    ) -> ProtectedFolders {
        let mut ids: HashSet<FileId> = self.hidden_ancestors.iter().copied().collect();
        let mut seen = HashSet::new();
        insert_ancestors(&mut ids, &self.dir);
        insert_links(&mut ids, &self.given);
        if let Some(hidden) = &self.hidden_given {
            insert_links(&mut ids, hidden);
        }
        for folder in folders {
            let parts = folder.components().iter();
            let below: PathBuf = parts.map(|part| platform::os_str(part)).collect();
            if !seen.insert((folder.is_absolute(), below.clone())) {
                continue;
            }
            insert_links(
                &mut ids,
                &if folder.is_absolute() {
                    Path::new("/").join(&below)
                } else {
                    self.path.join(&below)
                },
            );
            // If it does not exist, the folders are protected that it would be in.
            let opened = below.ancestors().find_map(|below| {
                if folder.is_absolute() {
                    Dir::open_ambient_dir(Path::new("/").join(below), ambient_authority()).ok()
                } else {
                    self.dir.open_dir(Path::new(".").join(below)).ok()
                }
            });
            if let Some(dir) = opened {
                insert_ancestors(&mut ids, &dir);
            }
        }
        ProtectedFolders { ids }
    }
}

fn insert_ancestors(ids: &mut HashSet<FileId>, dir: &Dir) {
    if let Ok(ancestors) = platform::ancestors(dir) {
        ids.extend(ancestors);
    }
}

/// Inserts each link in a path, and the folders that contain it.
fn insert_links(ids: &mut HashSet<FileId>, path: &Path) {
    for prefix in path.ancestors() {
        let Some(link) = prefix
            .symlink_metadata()
            .ok()
            .filter(std::fs::Metadata::is_symlink)
        else {
            continue;
        };
        ids.insert(FileId::of(&link));
        let above = prefix.parent().unwrap_or(Path::new("/"));
        if let Ok(dir) = Dir::open_ambient_dir(above, ambient_authority()) {
            insert_ancestors(ids, &dir);
        }
    }
}

/// A search for the names that match a pattern.
struct Expansion<'a, E> {
    guard: &'a TreeGuard,
    must_be_folder: bool,
    matches: Vec<Vec<u8>>,
    bytes: usize,
    spend: &'a mut dyn FnMut() -> Result<(), E>,
}

impl<E: From<Error>> Expansion<'_, E> {
    /// Adds the matches in a folder, whose path below the start is `path`.
    fn descend(
        &mut self,
        folder: &Folder,
        access: TreeAccess,
        components: &[Vec<u8>],
        path: &mut Vec<u8>,
    ) -> Result<(), E> {
        let Some((component, rest)) = components.split_first() else {
            return Ok(());
        };
        for name in self.names(folder, component)? {
            let is_folder = || {
                let stat = folder.stat(platform::os_str(&name)).ok().flatten();
                stat.is_some_and(|stat| stat.kind == EntryKind::Folder)
            };
            let length = path.len();
            path.extend(&name);
            if rest.is_empty() {
                if !self.must_be_folder || is_folder() {
                    self.add(path.clone())?;
                }
            } else if is_folder()
                && let Ok(below) = folder.open_folder(platform::os_str(&name))
                && let Ok(access) = self.guard.enter(access, &below)
            {
                path.push(b'/');
                self.descend(&below, access, rest, path)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// The names in a folder that a component matches. A folder that cannot be read has none.
    fn names(&mut self, folder: &Folder, component: &[u8]) -> Result<Vec<Vec<u8>>, E> {
        (self.spend)()?;
        let literal = folder.stat(platform::os_str(component)).ok().flatten();
        if literal.is_some() {
            return Ok(vec![component.to_vec()]);
        }
        let (true, Ok(reader)) = (NamePattern::is_pattern(component), folder.reader()) else {
            return Ok(Vec::new());
        };
        let pattern = NamePattern::parse(component);
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (name, _) in reader.flatten() {
            (self.spend)()?;
            let name = platform::bytes_of(&name);
            if pattern.matches(&name) && crate::name::check_component(&name).is_ok() {
                bytes += name.len();
                names.push(name);
                check_matches(names.len(), bytes)?;
            }
        }
        Ok(names)
    }

    fn add(&mut self, path: Vec<u8>) -> Result<(), E> {
        self.bytes += path.len();
        self.matches.push(path);
        Ok(check_matches(self.matches.len(), self.bytes)?)
    }
}

fn check_matches(count: usize, bytes: usize) -> Result<(), Error> {
    if count <= MATCHES_MAX && bytes <= MATCHES_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the pattern matches more than {MATCHES_MAX} names, or very long ones");
    Err(Error::new(ErrorKind::Limit, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::TempDir;

    struct Home {
        scratch: TempDir,
        root: Root,
        grants: Vec<Grant>,
    }

    /// A home with folders and files, all of which the user may write to.
    fn home(folders: &[&str], files: &[&str]) -> Home {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let home = scratch.path().join("home");
        std::fs::create_dir_all(scratch.path().join("state")).unwrap();
        std::fs::create_dir_all(&home).unwrap();
        for folder in folders {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        for file in files {
            std::fs::write(home.join(file), b"x").unwrap();
        }
        let root = Root::open(&home, &scratch.path().join("state")).unwrap();
        let grants = vec![Grant::home(true)];
        Home {
            scratch,
            root,
            grants,
        }
    }

    impl Home {
        fn path(&self, below: &str) -> PathBuf {
            self.scratch.path().join("home").join(below)
        }

        fn expand(&self, path: &str) -> Result<Vec<String>, ErrorKind> {
            let kind = |error: Error| match error {
                Error::Path { kind, .. } => kind,
                other => panic!("{other}"),
            };
            let pattern = PathPattern::parse(path.as_bytes()).map_err(kind)?.unwrap();
            let mut spend = || Ok::<(), Error>(());
            let found = self
                .root
                .expand(&self.grants, pattern.folder(), &pattern, &mut spend);
            let text = |name: Vec<u8>| String::from_utf8(pattern.join(&name)).unwrap();
            found
                .map(|found| found.names.into_iter().map(text).collect())
                .map_err(kind)
        }
    }

    /// Proves `literal-pattern` in docs/faults.md.
    #[test]
    fn literal_name_wins_over_pattern() {
        let home = home(
            &["d/e", "f/e"],
            &["x.txt", "[x].txt", "*", "a", "d/e/1", "f/e/2"],
        );
        assert_eq!(home.expand("[x].txt").unwrap(), ["[x].txt"]);
        assert_eq!(home.expand("*").unwrap(), ["*"]);
        assert_eq!(home.expand("?").unwrap(), ["*", "a", "d", "f"]);
        assert_eq!(home.expand("~/[df]/*/?").unwrap(), ["~/d/e/1", "~/f/e/2"]);
        assert_eq!(
            home.expand("?/e/").unwrap(),
            ["d/e/", "f/e/"].map(|path| &path[..3])
        );
        assert_eq!(home.expand("d/*/").unwrap(), ["d/e"]);
        assert_eq!(home.expand("a/*"), Err(ErrorKind::NotAFile));
        assert_eq!(home.expand("z*"), Err(ErrorKind::NotFound));
        assert_eq!(home.expand("../*"), Err(ErrorKind::NameRefused));
        assert_eq!(PathPattern::parse(b"d/e").unwrap(), None);
    }

    #[test]
    fn pattern_follows_no_link_and_matches_no_staging_file() {
        let home = home(&["d"], &["d/x", ".landline-1.part"]);
        symlink("/etc", home.path("etc")).unwrap();
        symlink("d", home.path("link")).unwrap();
        assert_eq!(home.expand("*/*").unwrap(), ["d/x"]);
        assert_eq!(home.expand("*").unwrap(), ["d", "etc", "link"]);
        assert_eq!(home.expand(".l*"), Err(ErrorKind::NotFound));
    }

    #[test]
    fn file_named_as_the_home_is_not_the_home() {
        let home = home(&["~"], &["~/x"]);
        assert_eq!(home.expand("?").unwrap(), ["./~"]);
        assert_eq!(home.expand("?/x").unwrap(), ["./~/x"]);
    }

    #[test]
    fn pattern_is_limited() {
        let home = home(&[], &[]);
        for number in 0..=MATCHES_MAX {
            std::fs::write(home.path(&number.to_string()), b"").unwrap();
        }
        assert_eq!(home.expand("*"), Err(ErrorKind::Limit));
        assert_eq!(home.expand("1*").unwrap().len(), 1_112);
        let deep = "*/".repeat(PATTERN_DEPTH_MAX + 1);
        assert_eq!(home.expand(&deep), Err(ErrorKind::Limit));
    }

    #[test]
    fn entry_is_found_without_following_its_link() {
        let home = home(&["d"], &["d/x"]);
        symlink("d", home.path("link")).unwrap();
        let open = |path: &str| home.root.open_entry(&home.grants, path.as_bytes(), true);
        let link = open("link").unwrap();
        assert_eq!(link.stat().unwrap().kind, EntryKind::Link);
        assert!(link.open_folder().is_err());
        // Within the grant, links before the last component are followed.
        assert_eq!(
            open("link/x").unwrap().stat().unwrap().kind,
            EntryKind::File
        );
        assert!(open("d/x/").unwrap().stat().is_err());
        assert!(open("d/").unwrap().stat().is_ok());
        assert_eq!(open("~").unwrap().name, None);
        assert!(open("no/x").is_err());
        assert!(open("no").unwrap().stat().is_err());
        let read_only = [Grant::home(false)];
        let denied = home.root.open_entry(&read_only, b"d/x", true);
        assert!(denied.is_err() && home.root.open_entry(&read_only, b"d/x", false).is_ok());
    }

    #[test]
    fn folders_that_contain_a_granted_one_are_protected() {
        let home = home(&["a/b/c", "d"], &[]);
        let folders =
            [b"~/a/b".as_slice(), b"~/d/none"].map(|path| RemotePath::parse(path).unwrap());
        let protected = home.root.protected_folders(&folders);
        let is_protected = |path: &str| {
            let entry = home.root.open_entry(&home.grants, path.as_bytes(), false);
            protected.contains(&entry.unwrap().stat().unwrap())
        };
        for path in ["~", "a", "a/b", "d"] {
            assert!(is_protected(path), "{path}");
        }
        assert!(!is_protected("a/b/c"));
        let state = Folder::open(&home.scratch.path().join("state")).unwrap();
        assert!(protected.contains(&state.own_stat().unwrap()));
    }

    #[test]
    fn links_that_lead_to_a_granted_folder_are_protected() {
        let home = home(&["data/alice", "srv"], &[]);
        let data = home.path("data/alice");
        symlink(&data, home.path("srv/alice")).unwrap();
        symlink(&data, home.path("data/other")).unwrap();
        let granted = format!("{}/srv/alice", home.path("").display()).replace("//", "/");
        let folders = [RemotePath::parse(granted.as_bytes()).unwrap()];
        let protected = home.root.protected_folders(&folders);
        let is_protected = |path: &str| {
            let entry = home.root.open_entry(&home.grants, path.as_bytes(), false);
            protected.contains(&entry.unwrap().stat().unwrap())
        };
        for path in ["srv", "srv/alice", "data", "data/alice"] {
            assert!(is_protected(path), "{path}");
        }
        assert!(
            !is_protected("data/other"),
            "it leads there, but no rule names it"
        );
    }
}
