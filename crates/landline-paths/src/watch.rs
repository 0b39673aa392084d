//! Changes of one file in a private folder, as the system reports them.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use super::{PrivateFolder, platform};

/// Reports changes of one file in a private folder, however the file is written or replaced.
///
/// The descriptor becomes readable when something happened in the folder.
/// [`take_changes`](Self::take_changes) then says whether the file is concerned.
#[derive(Debug)]
pub struct FileWatch {
    folder: PrivateFolder,
    name: String,
    watch: platform::Watch,
}

impl FileWatch {
    /// Watches the file `name`, which may not exist yet. Blocking.
    ///
    /// # Errors
    /// `Unsupported` on systems other than Linux. Also what the system says, such as that there are
    /// too many watches.
    pub fn new(folder: &PrivateFolder, name: &str) -> io::Result<Self> {
        let mut watch = platform::Watch::new(folder.folder.dir())?;
        watch.follow(folder.folder.dir(), name)?;
        Ok(Self {
            folder: folder.clone(),
            name: name.to_owned(),
            watch,
        })
    }

    /// Takes all reports that wait, without blocking. Returns whether the file may have changed.
    ///
    /// # Errors
    /// What the system says. Nothing is reported any more then.
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
    use crate::ScratchFolder;

    #[test]
    fn every_way_of_changing_a_file_is_reported() {
        let scratch = ScratchFolder::create(&std::env::temp_dir()).unwrap();
        let folder = PrivateFolder::open_or_create(&scratch.path().join("state")).unwrap();
        let (path, other) = (folder.path_of("rules"), folder.path_of("other"));
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
