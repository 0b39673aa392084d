//! A disk whose power can be cut.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{ServerProcess, Stage, wait_for};

/// `EXT4_IOC_SHUTDOWN`, also called `FS_IOC_SHUTDOWN`.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// Flushes nothing, not even the journal. Everything that is not yet durable is lost.
const NO_LOG_FLUSH: u32 = 2;
const BYTES: u64 = 256 << 20;
/// Mount options that forgive no missing sync.
///
/// The journal is written almost only at a sync, and a rename does not write the content of the
/// file.
const OPTIONS: &str = "loop,noauto_da_alloc,commit=300";

/// An ext4 file system in a file on the stage, mounted at `disk`. Unmounted when dropped.
///
/// A power cut keeps what the file system has handed to its device. A device that loses accepted
/// data is not simulated.
pub struct PowerCut {
    image: PathBuf,
    at: PathBuf,
}

impl PowerCut {
    /// Creates the file system with private folders `home` and `server`.
    ///
    /// Prints SKIPPED and returns `None` without Linux, root or ext4.
    pub fn new(stage: &Stage) -> Option<Self> {
        if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a power cut needs Linux and root");
            return None;
        }
        let disk = Self {
            image: stage.path("disk.image"),
            at: stage.path("disk"),
        };
        fs::File::create_new(&disk.image)
            .and_then(|image| image.set_len(BYTES))
            .expect("a file for the disk");
        fs::create_dir(&disk.at).expect("a folder to mount on");
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&disk.image);
        if !(succeeds(&mut make) && disk.mount()) {
            eprintln!(
                "SKIPPED: a power cut needs mkfs.ext4 (e2fsprogs), mount(8) and loop devices"
            );
            return None;
        }
        for name in ["home", "server"] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(disk.path(name))
                .expect("a fresh folder");
        }
        disk.write_journal();
        Some(disk)
    }

    /// A path on the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Writes the journal, as any program does that syncs a file.
    ///
    /// Renames are then durable without a sync of their own, but content is not. Right before a
    /// cut, this shows what was synced too late.
    pub fn write_journal(&self) {
        let other = fs::File::create(self.path("other")).expect("a file on the disk");
        other
            .set_len(1)
            .and_then(|()| other.sync_all())
            .expect("a disk that works");
    }

    /// Writes everything to disk, as the system does every half minute. It then survives a cut.
    pub fn write_back(&self) {
        assert!(
            succeeds(Command::new("sync").arg("-f").arg(&self.at)),
            "a disk that works"
        );
    }

    /// Cuts the power, ends the server, and mounts the file system again.
    #[track_caller]
    pub fn cut(&self, server: &mut ServerProcess) {
        let root = fs::File::open(&self.at).expect("a mounted disk");
        // SAFETY: the call takes a pointer to an unsigned number of 32 bits.
        let shutdown = unsafe { rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH) };
        // SAFETY: the call changes no memory of this process.
        unsafe { rustix::ioctl::ioctl(&root, shutdown) }.expect("the file system is shut down");
        drop(root);
        server.kill();
        // A process that another test has just started may hold a descriptor for an instant.
        wait_for("the disk to be unmounted", || {
            succeeds(Command::new("umount").arg(&self.at))
        });
        // As long as anything holds the disk, mounting it again would show it as it was cut.
        wait_for("nothing to use the disk", || !self.is_attached());
        assert!(self.mount(), "the disk can be mounted after the cut");
    }

    /// Whether a loop device has the image.
    fn is_attached(&self) -> bool {
        let devices = fs::read_dir("/sys/block").expect("the block devices");
        devices.map_while(Result::ok).any(|device| {
            let file = fs::read_to_string(device.path().join("loop/backing_file"));
            file.is_ok_and(|file| Path::new(file.trim_end()) == self.image)
        })
    }

    fn mount(&self) -> bool {
        succeeds(
            Command::new("mount")
                .args(["-t", "ext4", "-o", OPTIONS])
                .arg(&self.image)
                .arg(&self.at),
        )
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        if is_mounted(&self.at) && !succeeds(Command::new("umount").arg(&self.at)) {
            succeeds(Command::new("umount").arg("-l").arg(&self.at));
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == at.to_str())
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
