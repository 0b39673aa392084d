//! Destinations that the system would refuse only at the end of a copy.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use landline::paths::{Destination, Error, ErrorKind, StagePlan, StagedFile, TempDir, local};
use testkit::{Mount, OTHER_USER, as_user};

const PLAN: StagePlan = StagePlan {
    mode: 0o644,
    replace: true,
};

/// A folder that every user can enter.
fn scratch() -> (TempDir, PathBuf) {
    let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let path = scratch.path().canonicalize().unwrap();
    (scratch, path)
}

fn folder(parent: &Path, name: &str, mode: u32) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    folder
}

fn open(path: &Path) -> Result<Destination, Error> {
    local::open_destination(path, b"own")
}

/// The kind of the refusal, and the system error that the rename would have caused.
fn refusal<T>(opened: Result<T, Error>) -> (ErrorKind, Option<&'static str>) {
    match opened {
        Err(error @ Error::Path { kind, .. }) => (kind, error.cause()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// Proves `late-refusal` in docs/faults.md.
#[test]
fn sticky_folder_keeps_file_of_another_user() {
    let (_scratch, root) = scratch();
    let shared = folder(&root, "shared", 0o1777);
    fs::write(shared.join("file"), b"root's").unwrap();
    let Some(()) = as_user(OTHER_USER, || {
        let refused = refusal(open(&shared.join("file")));
        assert_eq!(refused, (ErrorKind::Denied, Some("EPERM")));
        let mut staged = StagedFile::create(open(&shared.join("new")).unwrap(), PLAN).unwrap();
        staged.write(b"mine").unwrap();
        staged.commit().unwrap();
        // One's own file can be replaced.
        let mut staged = StagedFile::create(open(&shared.join("new")).unwrap(), PLAN).unwrap();
        staged.commit().unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap_err();
    }) else {
        return;
    };
    // Without write permission a folder refuses before anything else is tried.
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    as_user(OTHER_USER, || {
        let refused = refusal(open(&shared.join("other")));
        assert_eq!(refused, (ErrorKind::Denied, Some("EACCES")));
    });
}

/// Proves `late-refusal` in docs/faults.md.
#[test]
fn mount_point_and_immutable_file_are_refused() {
    let (_scratch, root) = scratch();
    for name in ["conf", "below", "fixed", "growing"] {
        fs::write(root.join(name), b"old").unwrap();
    }
    if let Some(_mount) = Mount::bind(&root.join("conf"), &root.join("below")) {
        let refused = refusal(open(&root.join("below")));
        assert_eq!(refused, (ErrorKind::Io, Some("EBUSY")));
    }
    let run = |program: &str, arguments: &[&str], names: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(names.iter().map(|name| root.join(name)));
        let done = command.output().is_ok_and(|output| output.status.success());
        if !done {
            eprintln!("SKIPPED: {program} {arguments:?} cannot be done here");
        }
        done
    };
    for (name, on, off) in [("fixed", "+i", "-i"), ("growing", "+a", "-a")] {
        if run("chattr", &[on], &[name]) {
            let refused = refusal(open(&root.join(name)));
            assert!(run("chattr", &[off], &[name]));
            assert_eq!(refused, (ErrorKind::Denied, Some("EPERM")), "{name}");
        }
    }
    open(&root.join("fixed")).unwrap();
}

/// Proves `late-refusal` in docs/faults.md.
#[test]
fn disk_quota_and_length_are_checked_before_content() {
    let (_scratch, root) = scratch();
    let disk = folder(&root, "disk", 0o777);
    let options = "size=8m,usrquota,usrquota_block_hardlimit=1m";
    let Some(_disk) = Mount::disk(&disk, options) else {
        return;
    };
    fs::set_permissions(&disk, Permissions::from_mode(0o777)).unwrap();
    as_user(OTHER_USER, || {
        let staged = StagedFile::create(open(&disk.join("file")).unwrap(), PLAN).unwrap();
        staged.check_space(512 << 10).unwrap();
        let refused = refusal(staged.check_space(2 << 20));
        assert_eq!(refused, (ErrorKind::NoSpace, Some("EDQUOT")));
    });
    let staged = StagedFile::create(open(&disk.join("file")).unwrap(), PLAN).unwrap();
    let refused = refusal(staged.check_space(9 << 20));
    assert_eq!(refused, (ErrorKind::NoSpace, Some("ENOSPC")));
    let refused = refusal(staged.check_space(u64::MAX / 2));
    assert_eq!(refused.0, ErrorKind::NoSpace);
}

/// Proves `believed-length` in docs/faults.md.
#[test]
fn file_system_without_size_is_not_full() {
    let (_scratch, root) = scratch();
    let disk = folder(&root, "disk", 0o777);
    let Some(_disk) = Mount::disk(&disk, "size=0") else {
        return;
    };
    let mut staged = StagedFile::create(open(&disk.join("file")).unwrap(), PLAN).unwrap();
    staged.check_space(5).unwrap();
    staged.write(b"hello").unwrap();
    staged.commit().unwrap();
    assert_eq!(fs::read(disk.join("file")).unwrap(), b"hello");
}

/// A drop box can be written and not read, so it cannot be synced like other folders.
/// Proves `optional-step` in docs/faults.md.
#[test]
fn file_in_drop_box_is_stored() {
    let (_scratch, root) = scratch();
    let drop_box = folder(&root, "drop", 0o333);
    as_user(OTHER_USER, || {
        fs::read_dir(&drop_box).unwrap_err();
        let mut staged = StagedFile::create(open(&drop_box).unwrap(), PLAN).unwrap();
        staged.write(b"given").unwrap();
        assert_eq!(staged.commit().unwrap(), 5);
    });
}

/// Proves `planted-link` in docs/faults.md.
#[test]
fn link_of_another_user_in_shared_folder_is_not_followed() {
    let (_scratch, root) = scratch();
    let shared = folder(&root, "shared", 0o1777);
    let target = folder(&root, "target", 0o755);
    fs::write(target.join("file"), b"precious").unwrap();
    symlink(target.join("file"), shared.join("own")).unwrap();
    symlink(&target, shared.join("folder")).unwrap();
    // One's own links are followed.
    assert_eq!(open(&shared).unwrap().path, target.join("file"));
    assert_eq!(
        open(&shared.join("folder/new")).unwrap().path,
        target.join("new")
    );
    for name in ["own", "folder"] {
        if lchown(shared.join(name), Some(OTHER_USER), None).is_err() {
            eprintln!("SKIPPED: a link of another user needs root");
            return;
        }
    }
    for path in ["", "own", "folder", "folder/new"] {
        let refused = refusal(open(&shared.join(path)));
        assert_eq!(refused, (ErrorKind::Denied, Some("EACCES")), "{path:?}");
    }
    // In a folder of that user alone the link is that user's business.
    chown(&shared, Some(OTHER_USER), None).unwrap();
    open(&shared).unwrap();
    chown(&shared, Some(0), None).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    open(&shared).unwrap();
}
