//! The content of a folder, to check that nothing else changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use landline::files::ContentHasher;

/// Every entry below a folder: kind, inode, mode, owner, mtime, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<PathBuf, String>);

impl Census {
    /// Takes the census of `folder`, following no links.
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

fn visit(root: &Path, folder: &Path, entries: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("metadata");
        let content = match metadata.file_type() {
            // Nothing was ever written to it.
            kind if kind.is_file() && metadata.blocks() == 0 && metadata.len() > 1 << 20 => {
                format!("{} zeros", metadata.len())
            }
            kind if kind.is_file() => {
                let mut hasher = ContentHasher::default();
                hasher.update(&fs::read(&path).expect("a readable file"));
                hasher.finish().to_string()
            }
            kind if kind.is_symlink() => {
                format!("-> {}", fs::read_link(&path).expect("a link").display())
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
