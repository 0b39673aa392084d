//! Grants by their folders, to find those of many folders in little time.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    io,
    path::{Path, PathBuf},
};

use cap_std::{ambient_authority, fs::Dir};

use super::{
    Grant,
    platform::{self, FileId},
};

/// The grants of a user, indexed by their folders.
#[derive(Debug)]
pub struct GrantIndex<'g> {
    home: &'g Dir,
    home_path: &'g Path,
    hidden: Option<FileId>,
    by_id: HashMap<FileId, &'g Grant>,
    by_path: HashMap<PathBuf, &'g Grant>,
}

impl<'g> GrantIndex<'g> {
    pub(super) fn new(
        grants: &'g [Grant],
        home: &'g Dir,
        home_path: &'g Path,
        hidden: Option<FileId>,
    ) -> Self {
        let (mut by_id, mut by_path) = (HashMap::new(), HashMap::new());
        for grant in grants {
            insert(&mut by_path, grant.path_from(home_path), grant);
            if let Some(id) = grant.id(home) {
                insert(&mut by_id, id, grant);
            }
        }
        Self {
            home,
            home_path,
            hidden,
            by_id,
            by_path,
        }
    }

    /// The grant that decides what the user may do in the folder of another grant, if one does.
    ///
    /// That is the grant of the real folder, after links. If the folder does not exist, it is the
    /// grant of the folder that would contain it.
    ///
    /// # Errors
    /// The system's error if the folder cannot be opened.
    ///
    /// # Blocking
    /// Opens folders.
    pub fn effective_grant(&self, other: &Grant) -> io::Result<Option<&'g Grant>> {
        let path = other.path_from(self.home_path);
        let mut folders = path.ancestors();
        let opened = loop {
            let Some(folder) = folders.next() else {
                return Ok(None);
            };
            match self.open(folder, other.folder.is_absolute()) {
                Ok(opened) => break opened,
                Err(error) => {
                    if let Some(grant) = self.by_path.get(folder) {
                        return Ok(Some(grant));
                    }
                    if error.kind() != io::ErrorKind::NotFound {
                        return Err(error);
                    }
                }
            }
        };
        let ids = platform::ancestors(&opened)?;
        let is_hidden = ids.iter().any(|id| Some(*id) == self.hidden);
        let mut grants = ids.iter().filter_map(|id| self.by_id.get(id).copied());
        Ok(grants.next().filter(|_| !is_hidden))
    }

    /// The grant of the nearest folder in the path of another grant, whatever is on the disk.
    pub fn nearest_by_path(&self, other: &Grant) -> Option<&'g Grant> {
        let path = other.path_from(self.home_path);
        let mut folders = path.ancestors();
        folders.find_map(|folder| self.by_path.get(folder).copied())
    }

    /// Opens a folder as [`Grant::open`] does: one of the home below the home's handle.
    fn open(&self, folder: &Path, is_absolute: bool) -> io::Result<Dir> {
        match folder.strip_prefix(self.home_path) {
            Ok(below) if !is_absolute => self.home.open_dir(Path::new(".").join(below)),
            _ => Dir::open_ambient_dir(folder, ambient_authority()),
        }
    }
}

/// Adds a grant. If two grants name the same folder, the lesser right applies.
fn insert<'g, K: Eq + Hash>(grants: &mut HashMap<K, &'g Grant>, key: K, grant: &'g Grant) {
    match grants.entry(key) {
        Entry::Occupied(mut other) if other.get().is_writable => {
            other.insert(grant);
        }
        Entry::Occupied(_) => {}
        Entry::Vacant(free) => {
            free.insert(grant);
        }
    }
}
