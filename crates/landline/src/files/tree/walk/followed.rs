//! Links that a walk follows.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use landline_proto::ErrorCode;

use super::{Listing, PendingFolder, Source, Walk, steps::failed};
use crate::{
    Error,
    files::tree::open_folders::FolderPlace,
    paths::{EntryStat, Folder, SourceFile, TreeOrigin, TreeSource, name::check_component},
};

/// The memory for links to folders, in bytes: two links in each of forty folders could stand for
/// more folders than there is memory for.
const FOLLOWED_BYTES_MAX: usize = 32 << 20;
/// The memory that one takes beside its paths.
const FOLLOWED_BYTES: usize = 800;

/// Finds what a path leads to, with all links on the way: what the user may read, or an error.
pub(in crate::files::tree) struct FollowLink(Box<Find>);

type Find = dyn Fn(&Path) -> Result<TreeSource, Error> + Send;

impl FollowLink {
    pub(in crate::files::tree) fn new(
        find: impl Fn(&Path) -> Result<TreeSource, Error> + Send + 'static,
    ) -> Self {
        Self(Box::new(find))
    }
}

impl fmt::Debug for FollowLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowLink").finish_non_exhaustive()
    }
}

/// What a link leads to.
pub(super) struct Followed {
    /// The path of the link.
    link: PathBuf,
    /// The folder itself, or the one that has the entry.
    pub(super) folder: Folder,
    /// The name of the entry; `None` for a folder.
    pub(super) name: Option<OsString>,
    stat: EntryStat,
}

impl Followed {
    /// The path of the link, of which a file is read.
    pub(super) fn link(&self) -> PathBuf {
        self.link.clone()
    }

    /// The memory that a folder takes until the copy ends, which has the path `below` its source.
    fn bytes(&self, below: &Path) -> usize {
        FOLLOWED_BYTES + self.link.as_os_str().len() + below.as_os_str().len()
    }

    /// The properties of what it leads to.
    pub(super) fn stat(&self) -> EntryStat {
        self.stat
    }
}

/// The folder in which a source is.
pub(super) enum SourceBase {
    /// It stays open.
    Open(Arc<Folder>),
    /// The link with the path of the source leads to it. There may be many, so none stays open.
    Behind,
}

impl Walk {
    /// Follows links, by `follow`, if the options say so.
    pub(in crate::files::tree) fn following(self, follow: FollowLink) -> Self {
        Self {
            follow: Some(follow),
            ..self
        }
    }

    /// Finds what a link leads to.
    ///
    /// # Errors
    /// What refuses it.
    pub(super) fn follow(&self, link: PathBuf) -> Result<Followed, Error> {
        let Some(follow) = &self.follow else {
            let message = format!("{}: links are not followed", link.display());
            return Err(Error::here(ErrorCode::NameRefused, message));
        };
        let source = (follow.0)(&link)?;
        let (folder, name, stat) = match source.origin {
            TreeOrigin::Folder(folder, stat) => (folder, None, stat),
            TreeOrigin::Entry(folder, name, stat) => (folder, Some(name), stat),
        };
        Ok(Followed {
            link,
            folder,
            name,
            stat,
        })
    }

    /// Follows a link of a folder.
    pub(super) fn follow_listed(&mut self, listing: &mut Listing, name: &OsStr) {
        let due = &listing.due;
        match self.follow(self.shown(due.source, &due.place, name)) {
            Ok(followed) => {
                let stat = followed.stat();
                self.listed(listing, name, &stat, Some(followed));
            }
            Err(error) => {
                let below = self.below(due.source, &due.place, name);
                let is_staged = check_component(name.as_bytes()).is_err();
                if !is_staged && !self.selection.excludes(&below, false) {
                    listing.is_incomplete = true;
                    self.found.push_back(failed(due.number, &error));
                }
            }
        }
    }

    /// The folder in which a source is, open.
    ///
    /// # Errors
    /// `not-found`; what refuses a link.
    pub(super) fn base(&mut self, index: usize) -> Result<Arc<Folder>, Error> {
        let source = self.source(index)?;
        let (link, numbers) = match &source.base {
            SourceBase::Open(folder) => return Ok(folder.clone()),
            SourceBase::Behind => (source.shown.clone(), source.numbers),
        };
        let key = base_key(index);
        if let Some(folder) = self.open.find(key) {
            return Ok(folder);
        }
        let shown = link.clone();
        let followed = self.follow(link)?;
        if followed.name.is_some() || followed.stat.numbers() != numbers {
            let message = format!("{} leads to another folder now", shown.display());
            return Err(Error::here(ErrorCode::SourceChanged, message));
        }
        let folder = Arc::new(followed.folder);
        self.open.keep(key, folder.clone());
        Ok(folder)
    }

    /// Opens the file to which the link of this path leads.
    ///
    /// # Errors
    /// As [`Walk::open_file`].
    pub(super) fn open_followed(&self, link: PathBuf) -> Result<SourceFile, Error> {
        let shown = link.clone();
        let followed = self.follow(link)?;
        match &followed.name {
            Some(name) => Ok(followed.folder.open_source(name, shown.display())?),
            None => {
                let message = format!("{} leads to a folder now", shown.display());
                Err(Error::here(ErrorCode::NotAFile, message))
            }
        }
    }

    /// The place of a folder to which a link leads, and its source.
    pub(super) fn add_followed(
        &mut self,
        due: &PendingFolder,
        name: &OsStr,
        followed: Followed,
    ) -> (usize, Arc<FolderPlace>) {
        let index = self.started.len();
        let above = self.started.get(due.source);
        let device = above.map_or(0, |it| it.device);
        // That of the user's source: a guard for each link would take memory.
        let guard = above.map_or_else(Arc::default, |it| it.guard.clone());
        let below = self.below(due.source, &due.place, name);
        self.followed_bytes += followed.bytes(&below);
        self.open.keep(base_key(index), Arc::new(followed.folder));
        self.started.push(Source {
            base: SourceBase::Behind,
            shown: followed.link,
            guard,
            device,
            numbers: followed.stat.numbers(),
            below,
            above: Some((due.source, due.place.clone())),
        });
        (index, Arc::new(FolderPlace::base(base_key(index))))
    }

    /// Whether a link to a folder takes more memory than is left for them.
    pub(super) fn has_too_many_followed(&self, followed: &Followed) -> bool {
        self.followed_bytes + followed.bytes(&followed.link) > FOLLOWED_BYTES_MAX
    }

    /// The path of an entry below the source that the user named.
    pub(super) fn below(&self, source: usize, folder: &FolderPlace, name: &OsStr) -> PathBuf {
        let below = folder.path_of(name);
        match self.started.get(source) {
            Some(source) => source.below.join(below),
            None => below,
        }
    }

    /// Whether a folder is one of those in which it was found, so that the walk would never end.
    pub(super) fn is_loop(&self, due: &PendingFolder, stat: &EntryStat) -> bool {
        let numbers = stat.numbers();
        let mut at = Some((due.source, due.place.clone()));
        while let Some((index, place)) = at.take() {
            let mut folder = Some(place.as_ref());
            while let Some(place) = folder {
                if place.parent.is_some() && place.numbers == numbers {
                    return true;
                }
                folder = place.parent.as_deref();
            }
            if let Some(source) = self.started.get(index) {
                if source.numbers == numbers {
                    return true;
                }
                at.clone_from(&source.above);
            }
        }
        false
    }
}

/// The key of the folder in which a source is.
pub(super) fn base_key(index: usize) -> u64 {
    u64::MAX - index as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        files::tree::{WalkOptions, WalkedLinks, walk::WalkStep},
        paths::{TempDir, TreeGuard, local},
    };

    /// Two links in each folder to the next one stand for 2^25 folders.
    #[test]
    fn links_that_multiply_are_limited() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        for number in 0..25 {
            let folder = scratch.path().join(number.to_string());
            local::write(&folder.join("file"), b"").unwrap();
            for link in ["a", "b"] {
                let target = format!("../{}", number + 1);
                rustix::fs::symlink(target, folder.join(link)).unwrap();
            }
        }
        let source = local::open_tree_source(&scratch.path().join("0")).unwrap();
        let options = WalkOptions {
            links: WalkedLinks::Follow,
            ..WalkOptions::default()
        };
        let follow = FollowLink::new(|link: &Path| Ok(local::open_tree_source(link)?));
        let mut walk = Walk::new(
            vec![Ok((source, Arc::new(TreeGuard::unlimited())))],
            options,
        );
        walk.followed_bytes = FOLLOWED_BYTES_MAX - (1 << 20);
        walk = walk.following(follow);
        let mut limited = 0;
        while let Some(step) = walk.next().unwrap() {
            if let WalkStep::Failed(failure) = step {
                limited += usize::from(failure.code == ErrorCode::Limit);
            }
            assert!(walk.started.len() < 10_000, "the links multiply");
        }
        assert!(limited > 0 && walk.started.len() > 100);
    }
}
