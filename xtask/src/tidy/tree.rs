//! The files of the repository as git sees them.

use std::{collections::BTreeSet, fs, path::Path};

use crate::process;

/// A file that is checked.
pub(crate) struct File {
    /// Where it is, from the repository's top folder, with `/` between folders.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// All files git tracks or would take in, and the text of those that are checked.
#[derive(Default)]
pub(crate) struct Tree {
    /// The Rust files.
    pub(crate) rust: Vec<File>,
    /// The Markdown files.
    pub(crate) markdown: Vec<File>,
    /// The files named `Cargo.toml`.
    pub(crate) manifests: Vec<File>,
    /// The Python programs and shell scripts.
    pub(crate) scripts: Vec<File>,
    /// The path of every file, of whatever kind.
    pub(crate) files: BTreeSet<String>,
    /// The path of every folder that holds one of them, at whatever depth.
    pub(crate) folders: BTreeSet<String>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub(crate) fn read(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree::default();
        for path in list(root)? {
            let place = root.join(&path);
            // A file deleted but still in git's index is not there to be checked.
            if place.symlink_metadata().is_err() {
                continue;
            }
            let is_checked =
                is_rust(&path) || is_markdown(&path) || is_manifest(&path) || is_script(&path);
            let text = if is_checked {
                text(&place)?
            } else {
                String::new()
            };
            tree.add(File { path, text });
        }
        Ok(tree)
    }

    /// A tree of files that exist only in memory.
    #[cfg(test)]
    pub(crate) fn new(files: impl IntoIterator<Item = File>) -> Tree {
        let mut tree = Tree::default();
        files.into_iter().for_each(|file| tree.add(file));
        tree
    }

    /// Files `file` where it belongs.
    fn add(&mut self, file: File) {
        let mut folder = file.path.as_str();
        while let Some((above, _)) = folder.rsplit_once('/') {
            self.folders.insert(above.to_owned());
            folder = above;
        }
        self.files.insert(file.path.clone());
        if is_rust(&file.path) {
            self.rust.push(file);
        } else if is_markdown(&file.path) {
            self.markdown.push(file);
        } else if is_manifest(&file.path) {
            self.manifests.push(file);
        } else if is_script(&file.path) {
            self.scripts.push(file);
        }
    }

    /// The text of a Markdown file.
    pub(crate) fn document(&self, path: &str) -> Option<&str> {
        self.markdown
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    }
}

/// Whether the file is Rust source.
fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Whether the file is Markdown.
fn is_markdown(path: &str) -> bool {
    path.ends_with(".md")
}

/// Whether the file describes a crate or the workspace.
fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// Whether the file is a Python program or a shell script.
fn is_script(path: &str) -> bool {
    path.ends_with(".py") || path.ends_with(".sh")
}

/// The path of every file git tracks or would take in, each once.
fn list(root: &Path) -> Result<BTreeSet<String>, String> {
    // A container often sees the repository under a foreign owner; git refuses to list it unless
    // told.
    let safe = format!("safe.directory={}", root.display());
    let arguments = ["-c", &safe, "ls-files", "-z", "-co", "--exclude-standard"];
    let listed = process::output(process::command("git", &arguments, root))
        .map_err(|why| format!("{why}; tidy needs git and a clone of the repository"))?;
    let names = String::from_utf8_lossy(&listed);
    // A name that ends in a slash is a repository inside this one: not ours to check.
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && !name.ends_with('/'))
        .map(str::to_owned)
        .collect())
}

/// The text of a file; bytes that are not UTF-8 become replacement characters.
fn text(place: &Path) -> Result<String, String> {
    let bytes = fs::read(place).map_err(|why| {
        format!(
            "{} cannot be read ({why}): mend or remove it",
            place.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
