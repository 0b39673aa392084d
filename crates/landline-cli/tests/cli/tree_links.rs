//! Files with several names in copies of trees.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use landline::paths::TempDir;
use serde_json::{Value, json};
use testkit::{Mount, Outcome, Stage};

use crate::{
    noise,
    resume::{RelayedServer, event, events},
    run_many_hosts::servers,
    stage,
    sync::Synced,
    trees::write,
};

fn link(folder: &Path, name: &str, other: &str) {
    fs::create_dir_all(folder.join(other).parent().unwrap()).unwrap();
    fs::hard_link(folder.join(name), folder.join(other)).unwrap();
}

/// Writes a tree in which three files have two or more names, one of them outside of it.
fn make_tree(root: &Path) {
    write(&root.join("a/small"), b"small");
    link(root, "a/small", "b/small");
    link(root, "a/small", "a/third");
    write(&root.join("z-big"), &noise(3_000_000, 5));
    link(root, "z-big", "a/big");
    write(&root.join("alone"), b"alone");
    link(root, "alone", "../outside");
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn assert_linked(root: &Path) {
    for (one, other) in [
        ("a/small", "b/small"),
        ("a/small", "a/third"),
        ("z-big", "a/big"),
    ] {
        assert_eq!(inode(&root.join(one)), inode(&root.join(other)), "{one}");
    }
    assert_eq!(fs::metadata(root.join("a/small")).unwrap().nlink(), 3);
    assert_eq!(fs::metadata(root.join("z-big")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(root.join("alone")).unwrap().nlink(), 1);
    assert_eq!(fs::read(root.join("b/small")).unwrap(), b"small");
    assert_eq!(fs::read(root.join("a/big")).unwrap(), noise(3_000_000, 5));
}

/// The changes that a copy reports, without their kinds, in an order of their own.
pub(crate) fn changes(outcome: &Outcome) -> Vec<Value> {
    let all = events(outcome);
    let mut changes: Vec<Value> = all
        .into_iter()
        .filter(|event| event["event"] == "change")
        .map(|event| json!([event["action"], event["details"], event["path"]]))
        .collect();
    changes.sort_by_key(Value::to_string);
    changes
}

#[test]
fn names_of_a_file_stay_names_of_one_file() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage.path("user/tree"));
    // As a new tree, and into a folder that exists.
    stage.run(&["cp", "-rH", "tree", "web1:"]).ok();
    stage.run(&["cp", "-rH", "web1:tree", "web2:"]).ok();
    stage.run(&["cp", "-rH", "web2:tree", "back"]).ok();
    fs::create_dir(stage.path("web1/there")).unwrap();
    fs::create_dir(stage.path("user/there")).unwrap();
    stage.run(&["cp", "-rHT", "tree", "web1:there"]).ok();
    stage.run(&["sync", "-H", "web1:there", "there"]).ok();
    for copy in [
        "web1/tree",
        "web2/tree",
        "user/back",
        "web1/there",
        "user/there",
    ] {
        assert_linked(&stage.path(copy));
    }
    // Nothing is left to do, in either direction.
    for paths in [["tree", "web1:there"], ["web1:there", "there"]] {
        let again = stage.run(&["--json", "sync", "-H", "--itemize", paths[0], paths[1]]);
        let done = events(&again);
        let done = event(&done, "done").unwrap();
        assert_eq!((&done["files"], &done["others"]), (&json!(0), &json!(0)));
        assert_eq!(changes(&again), Vec::<Value>::new());
    }
}

#[test]
fn without_the_option_names_become_files_and_are_counted() {
    let stage = stage();
    let server = stage.joined();
    make_tree(&stage.path("user/tree"));
    let up = stage.run(&["cp", "-r", "tree", &server.at("copy")]);
    let down = stage.run(&["cp", "-r", &server.at("copy"), "back"]);
    assert!(
        up.stderr.contains("6 names of files with several names"),
        "{}",
        up.stderr
    );
    assert!(!down.stderr.contains("several names"), "{}", down.stderr);
    for name in ["a/small", "b/small", "z-big", "a/big"] {
        let copy = stage.path("home/copy").join(name);
        assert_eq!(fs::metadata(copy).unwrap().nlink(), 1);
    }
}

#[test]
fn name_that_is_another_file_is_a_change() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    make_tree(&source);
    synced.run(&[]).ok();
    assert_ne!(
        inode(&target.join("a/small")),
        inode(&target.join("b/small"))
    );
    let planned = synced.run(&["-n", "-H"]);
    let expected = ["a/big", "a/third", "b/small"];
    let found = changes(&planned);
    // Which name comes first depends on the file system.
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for change in &found {
        assert_eq!(
            (&change[0], &change[1]),
            (&json!("change"), &json!(["name"]))
        );
    }
    let made = synced.run(&["-H", "--itemize"]);
    assert_eq!(changes(&made), found);
    assert_linked(&target);
    // A file that changes stays one file, and so does a name that was removed.
    fs::remove_file(target.join("a/big")).unwrap();
    fs::remove_file(source.join("a/small")).unwrap();
    fs::remove_file(source.join("a/third")).unwrap();
    write(&source.join("a/small"), b"other");
    fs::remove_file(source.join("b/small")).unwrap();
    link(&source, "a/small", "b/small");
    let planned = changes(&synced.run(&["-n", "-H", "--delete"]));
    let made = changes(&synced.run(&["-H", "--delete", "--itemize"]));
    assert_eq!(planned, made);
    assert_eq!(
        inode(&target.join("a/small")),
        inode(&target.join("b/small"))
    );
    assert_eq!(inode(&target.join("z-big")), inode(&target.join("a/big")));
    assert_eq!(fs::read(target.join("b/small")).unwrap(), b"other");
    assert!(!target.join("a/third").exists());
}

/// Proves `other-name` in docs/faults.md.
#[test]
fn name_outside_of_the_tree_keeps_its_content() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    write(&source.join("f"), b"first");
    link(&source, "f", "g");
    synced.run(&["-H"]).ok();
    let backup = synced.stage.path("home/backup");
    fs::hard_link(target.join("f"), &backup).unwrap();
    for (content, delta) in [(b"other".to_vec(), "off"), (noise(2_000_000, 1), "on")] {
        write(&source.join("f"), &content);
        let before = fs::read(&backup).unwrap();
        synced.run(&["-H", "--delta", delta]).ok();
        assert_eq!(fs::read(&backup).unwrap(), before);
        assert_eq!(fs::read(target.join("g")).unwrap(), content);
        assert_eq!(inode(&target.join("f")), inode(&target.join("g")));
        fs::remove_file(&backup).unwrap();
        fs::hard_link(target.join("f"), &backup).unwrap();
    }
}

#[test]
fn names_take_the_place_of_other_things() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    for name in ["a", "b", "c", "d"] {
        if name == "a" {
            write(&source.join(name), b"content");
        } else {
            link(&source, "a", name);
        }
    }
    // Whichever name comes first, it and another one take the place of folders.
    synced.target(&["a/x", "b/y", "d", "e"]);
    std::os::unix::fs::symlink("d", target.join("c")).unwrap();
    let refused = synced.run(&["-H"]);
    assert_eq!(refused.status, Some(1), "{}", refused.stderr);
    let planned = changes(&synced.run(&["-n", "-H", "--delete"]));
    let made = synced.run(&["-H", "--delete", "--itemize"]);
    assert_eq!(changes(&made), planned);
    made.ok();
    for name in ["b", "c", "d"] {
        assert_eq!(
            inode(&target.join(name)),
            inode(&target.join("a")),
            "{name}"
        );
    }
    assert_eq!(fs::read(target.join("a")).unwrap(), b"content");
    assert!(!synced.has("e"));
    assert_eq!(
        changes(&synced.run(&["-n", "-H", "--delete"])),
        Vec::<Value>::new()
    );
}

#[test]
fn names_are_linked_after_a_resume() {
    let relayed = RelayedServer::new(22);
    let stage = &relayed.stage;
    let source = stage.path("user/tree");
    make_tree(&source);
    write(&source.join("z-big"), &noise(2_000_000, 5));
    for number in 0..40u64 {
        write(&source.join(format!("m/{number}")), &noise(200_000, number));
        link(&source, &format!("m/{number}"), &format!("n/{number}"));
    }
    let to = relayed.via_relay("copy");
    for bytes in [1_500_000, 3_500_000] {
        relayed.relay.cut_after(bytes);
        stage
            .run(&["--json", "cp", "-rH", "--retry", "0", "tree", &to])
            .fails(10, "lost");
        relayed.relay.mend();
        relayed.server.event("disconnected");
    }
    // A file that was complete gets longer.
    write(&source.join("z-big"), &noise(3_000_000, 5));
    stage.run(&["cp", "-rH", "tree", &to]).ok();
    let copy = stage.path("home/copy");
    for number in 0..40u64 {
        let (one, other) = (
            copy.join(format!("m/{number}")),
            copy.join(format!("n/{number}")),
        );
        assert_eq!(inode(&one), inode(&other));
        assert_eq!(fs::read(&other).unwrap(), noise(200_000, number));
    }
    assert_linked(&copy);
}

/// ext4 allows 65,000 names of a file.
#[test]
fn file_with_more_names_than_the_file_system_allows_is_copied() {
    const NAMES: usize = 65_200;
    let stage = stage();
    let server = stage.joined();
    let scratch = TempDir::create(Path::new("/dev/shm"));
    let Ok(scratch) = scratch else {
        eprintln!("SKIPPED: no file system that allows more names");
        return;
    };
    let source = scratch.path().join("tree");
    write(&source.join("0"), b"content");
    for number in 1..NAMES {
        let link = fs::hard_link(source.join("0"), source.join(number.to_string()));
        if link.is_err() {
            eprintln!("SKIPPED: no file system that allows more names");
            return;
        }
    }
    let from = source.to_str().unwrap();
    stage.run(&["cp", "-rH", from, &server.at("tree")]).ok();
    let copy = stage.path("home/tree");
    let inodes: HashSet<u64> = (0..NAMES)
        .map(|number| inode(&copy.join(number.to_string())))
        .collect();
    assert!(inodes.len() <= 2, "{} files", inodes.len());
    for number in [0, 1, NAMES - 1] {
        let content = fs::read(copy.join(number.to_string())).unwrap();
        assert_eq!(content, b"content");
    }
    let again = stage.run(&[
        "--json",
        "sync",
        "-nH",
        "--delete",
        from,
        &server.at("tree"),
    ]);
    assert_eq!(changes(&again), Vec::<Value>::new());
}

/// No link leads from one file system to another, so each gets copies.
#[test]
fn names_on_other_file_systems_are_copies() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    // Longer than what is made durable together.
    let content = noise(40 << 20, 5);
    write(&source.join("a/f"), &content);
    let others = ["a/g", "b/1", "b/2", "c/3", "c/4"];
    for name in others {
        link(&source, "a/f", name);
    }
    let mounts: Option<Vec<Mount>> = ["a", "b", "c"]
        .map(|folder| target.join(folder))
        .iter()
        .map(|folder| {
            fs::create_dir_all(folder).unwrap();
            Mount::disk(folder, "size=100m")
        })
        .collect();
    let Some(_mounts) = mounts else {
        return;
    };
    let outcome = synced.run(&["-H", "--itemize"]);
    let found: Vec<bool> = others
        .iter()
        .chain(&["a/f"])
        .map(|name| fs::read(target.join(name)).is_ok_and(|found| found == content))
        .collect();
    let folders = ["", "a", "b", "c"].map(|folder| {
        let modified = |root: &Path| fs::metadata(root.join(folder)).unwrap().modified().unwrap();
        modified(&source) == modified(&target)
    });
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(found, [true; 6]);
    assert_eq!(folders, [true; 4], "a folder is not complete");
}

/// A file system without hard links, which takes upper and lower case for the same. Unmounted when
/// dropped.
pub(crate) struct ExFat(PathBuf, String);

impl ExFat {
    /// Mounts it at `folder`. Prints SKIPPED and returns `None` if that is not possible.
    pub(crate) fn mount(stage: &Stage, folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let image = stage.path("exfat.img");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let run = |program: &str, arguments: &[&OsStr]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(text)
        };
        let made = || {
            run("mkfs.exfat", &[image.as_os_str()])?;
            let show = ["-f", "--show"].map(OsStr::new);
            let device = run("losetup", &[show[0], show[1], image.as_os_str()])?;
            let mounted = Self(folder.clone(), device);
            run(
                "mount.exfat-fuse",
                &[OsStr::new(&mounted.1), folder.as_os_str()],
            )?;
            Some(mounted)
        };
        let made = made();
        if made.is_none() {
            eprintln!("SKIPPED: exFAT needs root, exfatprogs and exfat-fuse");
        }
        made
    }
}

impl Drop for ExFat {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = Command::new("losetup").args(["-d", &self.1]).status();
    }
}

#[test]
fn second_sync_copies_nothing_where_there_are_no_links() {
    let synced = Synced::new();
    let target = synced.stage.path("home/dst");
    let Some(_mounted) = ExFat::mount(&synced.stage, target.clone()) else {
        return;
    };
    make_tree(&synced.stage.path("user/src"));
    synced.run(&["-H"]).ok();
    let content = |name: &str| fs::read(target.join(name)).unwrap();
    assert_eq!(content("b/small"), b"small");
    assert_eq!(content("a/big"), noise(3_000_000, 5));
    let again = synced.run(&["-H", "--itemize"]);
    assert_eq!(changes(&again), Vec::<Value>::new());
    let done = event(&events(&again), "done").unwrap().clone();
    assert_eq!([&done["files"], &done["others"]], [0, 0]);
    again.ok();
    // A changed file is changed under all of its names.
    write(&synced.stage.path("user/src/a/small"), b"other");
    fs::remove_file(synced.stage.path("user/src/b/small")).unwrap();
    link(&synced.stage.path("user/src"), "a/small", "b/small");
    synced.run(&["-H"]).ok();
    assert_eq!(content("b/small"), content("a/small"));
}

/// Files that only look like copies become names of one file where that is possible.
#[test]
fn names_are_linked_again_where_links_can_be_made() {
    let synced = Synced::new();
    make_tree(&synced.stage.path("user/src"));
    synced.run(&[]).ok();
    let planned = changes(&synced.run(&["-n", "-H"]));
    let made = synced.run(&["-H", "--itemize"]);
    assert_eq!(changes(&made), planned);
    assert_eq!(planned.len(), 3, "{planned:?}");
    assert_linked(&synced.stage.path("home/dst"));
}
