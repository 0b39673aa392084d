#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]
//! Walks and patterns while another process exchanges the folder for a link.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use landline_paths::{
    EntryKind, Error, Folder, Grant, PathPattern, Root, TempDir, TreeVisitor, Visit, walk_tree,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Removes all that it finds, and counts it.
#[derive(Default)]
struct Remover {
    removed: usize,
}

impl TreeVisitor for Remover {
    type Error = Error;

    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
        let mut folders = Vec::new();
        let entries = visit.folder.reader().into_iter().flatten();
        for (name, kind) in entries.flatten() {
            if kind == Some(EntryKind::Folder) {
                folders.push(name);
            } else if visit.folder.remove(&name).is_ok() {
                self.removed += 1;
            }
        }
        Ok(folders)
    }

    fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Error> {
        self.removed += usize::from(parent.folder.remove_folder(name).is_ok());
        Ok(())
    }

    fn skip(&mut self, _: &Path, _: Error) -> Result<(), Error> {
        Ok(())
    }
}

/// Ends the other thread, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Proves `link-swap-race` in docs/faults.md.
#[test]
fn folder_swapped_for_link_is_neither_listed_nor_removed() {
    let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
    let path = |name: &str| scratch.path().join(name);
    for folder in ["home/d/in", "outside/secret/in", "state"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    fs::write(path("outside/secret/file"), b"outside").unwrap();
    symlink("../outside", path("home/link")).unwrap();
    let root = Root::open(&path("home"), &path("state")).unwrap();
    let grants = [Grant::home(true)];
    // Filled by its handle, whatever its name is.
    let filled = root.open_entry(&grants, b"d", true).unwrap();
    let (filled, _) = filled.open_folder().unwrap();
    let is_over = AtomicBool::new(false);
    let (removed, found) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let (one, other) = (path("home/d"), path("home/link"));
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _over = Over(&is_over);
        work(&root, &grants, &filled)
    });
    assert!(path("outside/secret/in").is_dir());
    assert_eq!(fs::read(path("outside/secret/file")).unwrap(), b"outside");
    assert!(removed > 0 && found > 0, "{removed} removed, {found} found");
}

/// Removes what is in `d`, and looks for patterns in it, many times.
fn work(root: &Root, grants: &[Grant], filled: &Folder) -> (usize, usize) {
    let mut remover = Remover::default();
    let mut found = 0;
    for _ in 0..5_000 {
        let _ = filled.create_folder(OsStr::new("in"));
        let pattern = PathPattern::parse(b"d/*").unwrap().unwrap();
        let mut spend = || Ok::<(), Error>(());
        if let Ok(matches) = root.expand(grants, pattern.folder(), &pattern, &mut spend) {
            assert_eq!(matches.names, [b"in"], "of another folder");
            found += 1;
        }
        if let Ok(entry) = root.open_entry(grants, b"d", true)
            && let Ok((folder, access)) = entry.open_folder()
        {
            let (guard, shown) = (&entry.guard, &entry.shown);
            let _ = walk_tree(folder, access, guard, shown, &mut remover);
        }
    }
    (remover.removed, found)
}
