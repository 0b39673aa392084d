//! The content of a folder, to check that nothing else changed.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use landline::files::ContentHasher;

/// Every entry below a folder: kind, inode, mode, owner, mtime, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<PathBuf, String>);

impl Census {
    /// Takes the census of `folder`, following no links. Entries that vanish meanwhile are left out.
    pub fn of(folder: &Path) -> Self {
        let mut entries = BTreeMap::new();
        visit(folder, folder, &mut entries);
        Self(entries)
    }

    /// The paths, relative to the folder.
    pub fn paths(&self) -> Vec<String> {
        self.0
            .keys()
            .map(|path| path.display().to_string())
            .collect()
    }
}

/// `None` if the entry is gone.
fn unless_gone<T>(read: io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.expect("an entry that can be read")),
    }
}

fn visit(root: &Path, folder: &Path, entries: &mut BTreeMap<PathBuf, String>) {
    let Some(listed) = unless_gone(fs::read_dir(folder)) else {
        return;
    };
    for entry in listed {
        let path = entry.expect("an entry").path();
        let Some(metadata) = unless_gone(path.symlink_metadata()) else {
            continue;
        };
        let content = match metadata.file_type() {
            // Nothing was ever written to it.
            kind if kind.is_file() && metadata.blocks() == 0 && metadata.len() > 1 << 20 => {
                format!("{} zeros", metadata.len())
            }
            kind if kind.is_file() => {
                let Some(content) = unless_gone(fs::read(&path)) else {
                    continue;
                };
                let mut hasher = ContentHasher::default();
                hasher.update(&content);
                hasher.finish().to_string()
            }
            kind if kind.is_symlink() => {
                let Some(target) = unless_gone(fs::read_link(&path)) else {
                    continue;
                };
                format!("-> {}", target.display())
            }
            _ => String::new(),
        };
        let mtime = if metadata.is_dir() {
            0
        } else {
            metadata.mtime_nsec() ^ metadata.mtime()
        };
        let line = format!(
            "{} {:o} {}:{} {mtime} {content}",
            metadata.ino(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid()
        );
        entries.insert(
            path.strip_prefix(root)
                .expect("a path below the root")
                .to_owned(),
            line,
        );
        if metadata.is_dir() {
            visit(root, &path, entries);
        }
    }
}
