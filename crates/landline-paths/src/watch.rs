//! Reports of changes of one file in a private folder.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use super::{PrivateFolder, platform};

/// Reports changes of one file in a private folder, however the file is written or replaced.
///
/// The descriptor becomes readable when something changes in the folder. Then call
/// [`take_changes`](Self::take_changes), which says whether that is the file.
#[derive(Debug)]
pub struct FileWatch {
    folder: PrivateFolder,
    name: String,
    watch: platform::Watch,
}

impl FileWatch {
    /// Watches the file `name`, which may not exist yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] on systems other than Linux. Otherwise the system's error,
    /// for example if there are too many watches.
    pub fn new(folder: &PrivateFolder, name: &str) -> io::Result<Self> {
        let mut watch = platform::Watch::new(folder.folder.dir())?;
        watch.follow(folder.folder.dir(), name)?;
        Ok(Self {
            folder: folder.clone(),
            name: name.to_owned(),
            watch,
        })
    }

    /// Reads all reports without waiting. Returns whether the file may have changed.
    ///
    /// # Errors
    /// The system's error. There are no more reports afterwards.
    pub fn take_changes(&mut self) -> io::Result<bool> {
        let has_changed = self.watch.take(&self.name)?;
        if has_changed {
            // Another file may have the name now.
            self.watch.follow(self.folder.folder.dir(), &self.name)?;
        }
        Ok(has_changed)
    }
}

impl AsRawFd for FileWatch {
    fn as_raw_fd(&self) -> RawFd {
        let descriptor: &OwnedFd = self.watch.descriptor();
        descriptor.as_raw_fd()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::TempDir;

    #[test]
    fn every_kind_of_change_is_reported() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = PrivateFolder::open_or_create(&scratch.path().join("state")).unwrap();
        let path = folder.path_of("rules");
        let other = folder.path_of("other");
        let mut watch = FileWatch::new(&folder, "rules").unwrap();
        let mut expect = |what: &str, expected: bool| {
            assert_eq!(watch.take_changes().unwrap(), expected, "{what}");
            assert!(!watch.take_changes().unwrap(), "{what} is reported once");
        };
        expect("nothing", false);
        fs::write(&path, "one").unwrap();
        expect("a new file", true);
        fs::write(&other, "one").unwrap();
        expect("another file", false);
        folder.write("rules", b"two").unwrap();
        expect("a file in its place", true);
        let mut open = fs::File::options().append(true).open(&path).unwrap();
        open.write_all(b"three").unwrap();
        expect("a write by a program that keeps it open", true);
        fs::rename(&path, folder.path_of("rules~")).unwrap();
        expect("a file that is moved away", true);
        fs::rename(&other, &path).unwrap();
        expect("a file that is moved here", true);
        fs::remove_file(&path).unwrap();
        expect("a file that is removed", true);
    }
}
