//! Extended attributes in copies of trees.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use testkit::Mount;

use crate::{
    noise,
    resume::{event, events},
    run_many_hosts::servers,
    stage,
    sync::Synced,
    tree_links::changes,
    trees::write,
};

/// Sets an attribute. Returns false where the file system has none.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    let is_set = rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok();
    if !is_set {
        eprintln!("SKIPPED: the file system has no extended attributes");
    }
    is_set
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

const LONG: [u8; 3000] = [7; 3000];

fn make_tree(root: &Path) -> bool {
    write(&root.join("a/small"), b"small");
    write(&root.join("big"), &noise(3_000_000, 5));
    write(&root.join("read-only"), b"read-only");
    write(&root.join("plain"), b"plain");
    let is_set = set(&root.join("a/small"), "user.small", b"\0\xff")
        && set(&root.join("big"), "user.long", &LONG)
        && set(&root.join("read-only"), "user.x", b"")
        && set(&root.join("a"), "user.folder", b"folder")
        && set(root, "user.root", b"root");
    let closed = PermissionsExt::from_mode(0o400);
    fs::set_permissions(root.join("read-only"), closed).unwrap();
    is_set
}

fn assert_kept(root: &Path) {
    for (path, name, value) in [
        ("a/small", "user.small", &b"\0\xff"[..]),
        ("big", "user.long", &LONG),
        ("read-only", "user.x", b""),
        ("a", "user.folder", b"folder"),
        ("", "user.root", b"root"),
    ] {
        let found = get(&root.join(path), name);
        assert_eq!(found.as_deref(), Some(value), "{path} in {root:?}");
    }
    assert_eq!(get(&root.join("plain"), "user.x"), None);
}

#[test]
fn attributes_are_kept_if_asked_for() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    let tree = stage.path("user/tree");
    if !make_tree(&tree) {
        return;
    }
    // Only root can set it, and no copy has it.
    let has_other = rustix::fs::setxattr(&tree, "trusted.x", b"x", XattrFlags::empty()).is_ok();
    stage.run(&["cp", "-rp", "--xattrs", "tree", "web1:"]).ok();
    stage
        .run(&["cp", "-rp", "--xattrs", "web1:tree", "web2:"])
        .ok();
    stage
        .run(&["sync", "-p", "--xattrs", "web2:tree", "back"])
        .ok();
    for copy in ["web1/tree", "web2/tree", "user/back"] {
        assert_kept(&stage.path(copy));
        if has_other {
            assert_eq!(get(&stage.path(copy), "trusted.x"), None);
        }
    }
    for paths in [["tree", "web1:tree"], ["web1:tree", "back"]] {
        let again = stage.run(&[
            "--json",
            "sync",
            "-p",
            "--xattrs",
            "--itemize",
            paths[0],
            paths[1],
        ]);
        assert_eq!(changes(&again), Vec::<Value>::new());
        again.ok();
    }
    stage.run(&["cp", "-r", "tree", "web1:without"]).ok();
    assert_eq!(get(&stage.path("web1/without/a/small"), "user.small"), None);
}

#[test]
fn attribute_alone_is_a_change() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    if !make_tree(&source) {
        return;
    }
    synced.run(&["-p"]).ok();
    assert_eq!(changes(&synced.run(&["-p", "-n"])), Vec::<Value>::new());
    set(&target.join("plain"), "user.extra", b"extra");
    let planned = changes(&synced.run(&["-p", "-n", "--xattrs"]));
    let details = json!(["attributes"]);
    let expected: Vec<Value> = ["", "a/small", "big", "plain", "read-only"]
        .into_iter()
        .chain(["a"])
        .map(|path| json!(["change", details, if path.is_empty() { "." } else { path }]))
        .collect();
    for change in &expected {
        assert!(planned.contains(change), "{change} in {planned:?}");
    }
    assert_eq!(planned.len(), expected.len(), "{planned:?}");
    let made = synced.run(&["-p", "--xattrs", "--itemize"]);
    assert_eq!(changes(&made), planned);
    let done = event(&events(&made), "done").unwrap().clone();
    assert_eq!(done["files"], 0);
    assert_kept(&target);
    assert_eq!(get(&target.join("plain"), "user.extra"), None);
    let mode = fs::metadata(target.join("read-only"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o400);
    assert_eq!(
        changes(&synced.run(&["-p", "-n", "--xattrs"])),
        Vec::<Value>::new()
    );
    // With changed content, whole and by its changes.
    for delta in ["off", "on"] {
        set(&source.join("big"), "user.delta", delta.as_bytes());
        write(&source.join("big"), &noise(3_000_000, delta.len() as u64));
        synced.run(&["-p", "--xattrs", "--delta", delta]).ok();
        let found = get(&target.join("big"), "user.delta");
        assert_eq!(found.as_deref(), Some(delta.as_bytes()));
    }
}

#[test]
fn target_without_attributes_gets_the_content() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    if !make_tree(&source) {
        return;
    }
    fs::create_dir_all(&target).unwrap();
    let Some(_mount) = Mount::ramfs(&target) else {
        return;
    };
    let without = !set(&target, "user.x", b"");
    let outcome = synced.run(&["--xattrs"]);
    let small = fs::read(target.join("a/small"));
    let big = fs::read(target.join("big"));
    if without {
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        let events = events(&outcome);
        let failed = events.iter().filter(|event| event["event"] == "failed");
        let failed: Vec<_> = failed.map(|event| event["message"].to_string()).collect();
        assert!(failed.len() >= 5, "{failed:?}");
        assert!(
            failed
                .iter()
                .all(|text| text.contains("extended attributes"))
        );
    }
    assert_eq!(small.unwrap(), b"small");
    assert!(big.unwrap() == noise(3_000_000, 5));
}
