//! Folders of a tree, opened when they are needed.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
};

use crate::paths::Folder;

/// The most folders that are open at a time.
const OPEN_MAX: usize = 64;

/// Where a folder of a tree is, and which one it is.
#[derive(Debug, Clone)]
pub(super) struct FolderPlace {
    /// The folder that has it; `None` for the folder in which the tree is.
    pub(super) parent: Option<Arc<FolderPlace>>,
    /// Its name there. Empty for the folder in which the tree is itself.
    pub(super) name: OsString,
    /// Its final name, if it is another one.
    pub(super) final_name: Option<OsString>,
    /// Device and inode.
    pub(super) numbers: [u64; 2],
    /// The number of the entry; that of another tree's root for the folder in which the tree is.
    pub(super) key: u64,
}

impl FolderPlace {
    /// The folder in which a tree is.
    pub(super) fn base(key: u64) -> Self {
        Self {
            parent: None,
            name: OsString::new(),
            final_name: None,
            numbers: [0, 0],
            key,
        }
    }

    /// The path of an entry of this folder: the final names below the folder in which the tree is.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.join(name, |place| {
            place.final_name.as_ref().unwrap_or(&place.name)
        })
    }

    /// The path of an entry of this folder as it is now, below the folder in which the tree is.
    pub(super) fn staged_path_of(&self, name: &OsStr) -> PathBuf {
        self.join(name, |place| &place.name)
    }

    fn join<'a>(&'a self, name: &'a OsStr, name_of: impl Fn(&'a Self) -> &'a OsString) -> PathBuf {
        let mut names = vec![name];
        let mut place = Some(self);
        while let Some(folder) = place {
            names.push(name_of(folder));
            place = folder.parent.as_deref();
        }
        names.iter().rev().filter(|name| !name.is_empty()).collect()
    }
}

/// The folders that were used last. Each is opened below its parent, by one component.
#[derive(Debug, Default)]
pub(super) struct OpenFolders {
    open: VecDeque<(u64, Arc<Folder>)>,
}

impl OpenFolders {
    /// Keeps a folder that was opened.
    pub(super) fn keep(&mut self, key: u64, folder: Arc<Folder>) {
        self.open.retain(|(open, _)| *open != key);
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((key, folder));
    }

    /// The open folder with this key.
    pub(super) fn find(&self, key: u64) -> Option<Arc<Folder>> {
        let mut open = self.open.iter();
        open.find(|(open, _)| *open == key)
            .map(|(_, folder)| folder.clone())
    }

    /// Opens a folder again, or returns the open one. `base` is the folder in which the tree is.
    ///
    /// # Errors
    /// The system's error; `NotFound` if another folder has the name now.
    pub(super) fn get(
        &mut self,
        base: &Arc<Folder>,
        place: &FolderPlace,
    ) -> io::Result<Arc<Folder>> {
        if place.name.is_empty() && place.parent.is_none() {
            return Ok(base.clone());
        }
        let found = self.open.iter().position(|(key, _)| *key == place.key);
        if let Some((key, folder)) = found.and_then(|found| self.open.remove(found)) {
            self.open.push_back((key, folder.clone()));
            return Ok(folder);
        }
        // From the nearest folder that is open downwards; the depth of a tree has no limit.
        let mut missing = vec![place];
        let mut above = place.parent.as_deref();
        let mut folder = loop {
            match above {
                None => break base.clone(),
                Some(place) if place.name.is_empty() && place.parent.is_none() => {
                    break base.clone();
                }
                Some(place) => {
                    if let Some((_, folder)) = self.open.iter().find(|(key, _)| *key == place.key) {
                        break folder.clone();
                    }
                    missing.push(place);
                    above = place.parent.as_deref();
                }
            }
        };
        while let Some(place) = missing.pop() {
            let opened = folder.open_folder(&place.name)?;
            if opened.own_stat()?.numbers() != place.numbers {
                return Err(io::ErrorKind::NotFound.into());
            }
            folder = Arc::new(opened);
            self.keep(place.key, folder.clone());
        }
        Ok(folder)
    }
}
