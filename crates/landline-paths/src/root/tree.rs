//! The ends of a tree's copy, below granted folders.

use std::path::Path;

use super::{Root, parent_and_name};
use crate::{
    Error, ErrorKind, Folder, Grant, TempDir, TreeGuard, TreeOrigin, TreePlace, TreeSource,
    TreeTarget,
};

impl Root {
    /// Finds a folder or another entry to read. A link at `path` is followed.
    ///
    /// # Errors
    /// `NameRefused`, `Denied`, `NotFound` or `Io`.
    pub fn open_tree_source(
        &self,
        grants: &[Grant],
        path: &[u8],
    ) -> Result<(TreeSource, TreeGuard), Error> {
        let resolved = self.resolve(grants, path)?;
        let shown = resolved.shown.display();
        let failed = |error: std::io::Error| Error::io(&shown, error);
        // Links are resolved in this step only, so the check and the open see the same entry.
        let real = resolved
            .dir
            .canonicalize(&resolved.relative)
            .map_err(failed)?;
        let real = if real.as_os_str().is_empty() {
            Path::new(".")
        } else {
            real.as_path()
        };
        let name = resolved.shown.file_name().unwrap_or_default().to_owned();
        let is_folder = resolved.dir.metadata(real).map_err(failed)?.is_dir();
        let (dir, origin_name) = match parent_and_name(real) {
            Some((parent, name)) if !is_folder => (parent, Some(name)),
            _ => (real, None),
        };
        let dir = resolved.dir.open_dir(dir).map_err(failed)?;
        let grant = self.effective_grant_of(grants, &dir, &resolved)?;
        let folder = Folder::from_dir(dir);
        let origin = match origin_name {
            None => {
                let stat = folder.own_stat().map_err(failed)?;
                TreeOrigin::Folder(folder, stat)
            }
            Some(_) if resolved.is_folder => {
                return Err(failed(std::io::Error::from_raw_os_error(libc::ENOTDIR)));
            }
            Some(name) => {
                let stat = folder
                    .stat(name)
                    .map_err(failed)?
                    .ok_or_else(|| failed(std::io::Error::from(std::io::ErrorKind::NotFound)))?;
                TreeOrigin::Entry(folder, name.to_owned(), stat)
            }
        };
        let guard = self.tree_guard(grants, grant.is_writable);
        let shown = resolved.shown;
        Ok((
            TreeSource {
                name,
                shown,
                origin,
            },
            guard,
        ))
    }

    /// Finds the destination of a tree, where the user may write.
    ///
    /// With `exact`, `path` itself becomes the copy. Otherwise the copy goes into `path` if that is
    /// a folder.
    ///
    /// # Errors
    /// `NotFound` if the folder of the destination does not exist; `NameRefused`, `Denied` or `Io`.
    pub fn open_tree_target(
        &self,
        grants: &[Grant],
        path: &[u8],
        exact: bool,
    ) -> Result<(TreeTarget, TreeGuard), Error> {
        let resolved = self.resolve_with(grants, path, Grant::open_or_create)?;
        let failed = |error: std::io::Error| Error::io(resolved.shown.display(), error);
        let is_folder = match resolved.dir.metadata(&resolved.relative) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        let (dir, name) = if is_folder {
            let dir = resolved.dir.open_dir(&resolved.relative).map_err(failed)?;
            (dir, None)
        } else {
            let Some((parent, name)) = parent_and_name(&resolved.relative) else {
                return Err(failed(std::io::ErrorKind::NotFound.into()));
            };
            let dir = resolved.dir.open_dir(parent).map_err(|error| {
                let folder = resolved.shown.parent().unwrap_or(&resolved.shown);
                Error::io(folder.display(), error)
            })?;
            (dir, Some(name))
        };
        let grant = self.effective_grant_of(grants, &dir, &resolved)?;
        if !grant.is_writable {
            let message = format!(
                "{} is in {:?}, which you may only read",
                resolved.shown.display(),
                grant.text
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let guard = self.tree_guard(grants, true);
        let folder = Folder::from_dir(dir);
        let place = match name {
            Some(name) => TreePlace::As(folder, name.to_owned()),
            None if exact => TreePlace::Content(folder),
            None => TreePlace::Into(folder),
        };
        let shown = resolved.shown;
        let target = TreeTarget {
            place,
            shown,
            must_be_folder: path.ends_with(b"/"),
        };
        Ok((target, guard))
    }

    /// Finds the destination of a tree for a copy that writes nothing.
    ///
    /// A granted folder that the copy would create stays absent. An empty folder stands for it.
    ///
    /// # Errors
    /// As [`open_tree_target`](Self::open_tree_target).
    pub fn plan_tree_target(
        &self,
        grants: &[Grant],
        path: &[u8],
        exact: bool,
    ) -> Result<(TreeTarget, TreeGuard), Error> {
        let (_, grant, rest) = self.longest_match(grants, path)?;
        if !grant.will_be_created(&self.dir) {
            return self.open_tree_target(grants, path, exact);
        }
        let shown = grant.path_from(&self.path);
        let failed = |error: std::io::Error| Error::io(shown.display(), error);
        // It stays open after it was removed.
        let empty = TempDir::create(&std::env::temp_dir())?;
        let folder = Folder::open(empty.path()).map_err(failed)?;
        drop(empty);
        let place = match parent_and_name(&rest) {
            None if exact => TreePlace::Content(folder),
            None => TreePlace::Into(folder),
            Some((parent, name)) if parent == Path::new(".") => {
                TreePlace::As(folder, name.to_owned())
            }
            Some((parent, _)) => {
                let parent = shown.join(parent);
                let error = std::io::ErrorKind::NotFound.into();
                return Err(Error::io(parent.display(), error));
            }
        };
        let guard = self.tree_guard(grants, true);
        let shown = if rest.as_os_str().is_empty() {
            shown
        } else {
            shown.join(rest)
        };
        let target = TreeTarget {
            place,
            shown,
            must_be_folder: path.ends_with(b"/"),
        };
        Ok((target, guard))
    }

    pub(super) fn tree_guard(&self, grants: &[Grant], starts_writable: bool) -> TreeGuard {
        let ids = grants
            .iter()
            .filter_map(|grant| Some((grant.id(&self.dir)?, grant.is_writable)));
        TreeGuard::new(ids, self.hidden, starts_writable)
    }
}
