//! Symbolic links in copies of trees: followed, left out, or made wherever they lead.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};
use testkit::{Census, Outcome, frame};

use crate::{
    hostile_server::trusted,
    resume::events,
    run_many_hosts::servers,
    stage,
    sync::Synced,
    tree_links::changes,
    tree_records::{SOURCE, body_with, entry},
    trees::write,
};

/// The codes of what was not copied, with the names.
fn failures(outcome: &Outcome) -> Vec<(String, String)> {
    let mut failed: Vec<(String, String)> = events(outcome)
        .iter()
        .filter(|event| event["event"] == "failed")
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            (text("code"), text("message"))
        })
        .collect();
    failed.sort();
    failed
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Writes a tree with links to files and folders, within it and outside.
fn make_tree(root: &Path, outside: &Path) {
    write(&root.join("folder/file"), b"file");
    write(&outside.join("deep/other"), b"other");
    for (link, target) in [
        ("to-file", "folder/file"),
        ("to-folder", "folder"),
        ("to-link", "to-file"),
        ("folder/up", "../to-file"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    symlink(outside, root.join("outside")).unwrap();
    symlink(outside.join("deep/other"), root.join("folder/other")).unwrap();
    // More than are open at a time, so that they are opened again.
    for number in 0..100 {
        let behind = outside.join(format!("many/{number}"));
        write(&behind.join("small"), number.to_string().as_bytes());
        symlink(behind, root.join(format!("many-{number}"))).unwrap();
    }
}

fn assert_followed(root: &Path) {
    for (path, content) in [
        ("to-file", &b"file"[..]),
        ("to-folder/file", b"file"),
        ("to-folder/up", b"file"),
        ("to-folder/other", b"other"),
        ("to-link", b"file"),
        ("folder/up", b"file"),
        ("folder/other", b"other"),
        ("outside/deep/other", b"other"),
    ] {
        assert_eq!(fs::read(root.join(path)).unwrap(), content, "{path}");
        assert!(!is_link(&root.join(path)), "{path}");
    }
    for number in 0..100 {
        let path = root.join(format!("many-{number}/small"));
        assert_eq!(fs::read(path).unwrap(), number.to_string().as_bytes());
    }
    assert!(!is_link(&root.join("to-folder")));
    assert!(!is_link(&root.join("outside")));
}

#[test]
fn links_are_followed_if_asked_for() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage.path("user/tree"), &stage.path("elsewhere"));
    stage.run(&["cp", "-rL", "tree", "web1:"]).ok();
    assert_followed(&stage.path("web1/tree"));
    stage.run(&["sync", "-L", "tree", "web1:there"]).ok();
    assert_followed(&stage.path("web1/there"));
    // At a server, within its folder.
    fs::create_dir(stage.path("web1/real")).unwrap();
    let relative = "../real-outside";
    write(&stage.path("web1/real-outside/deep/other"), b"other");
    write(&stage.path("web1/real/file"), b"file");
    symlink(relative, stage.path("web1/real/outside")).unwrap();
    symlink("outside/deep/other", stage.path("web1/real/link")).unwrap();
    stage.run(&["cp", "-rL", "web1:real", "web2:"]).ok();
    stage.run(&["sync", "-L", "web1:real", "back"]).ok();
    for copy in ["web2/real", "user/back"] {
        let copy = stage.path(copy);
        assert_eq!(fs::read(copy.join("outside/deep/other")).unwrap(), b"other");
        assert_eq!(fs::read(copy.join("link")).unwrap(), b"other");
        assert!(!is_link(&copy.join("link")) && !is_link(&copy.join("outside")));
    }
    for paths in [["tree", "web1:there"], ["web1:real", "back"]] {
        let [from, to] = paths;
        let again = stage.run(&["--json", "sync", "-LH", "--delete", "--itemize", from, to]);
        assert_eq!(changes(&again), Vec::<Value>::new());
        again.ok();
    }
    // Patterns are matched against the paths of links.
    stage
        .run(&[
            "cp",
            "-rL",
            "--exclude",
            "/outside/deep",
            "tree",
            "web2:part",
        ])
        .ok();
    assert!(stage.path("web2/part/outside").is_dir());
    assert!(!stage.path("web2/part/outside/deep").exists());
    assert!(stage.path("web2/part/to-folder/file").exists());
}

/// Proves `link-loop` in docs/faults.md.
#[test]
fn loops_and_broken_links_end_and_are_reported() {
    let synced = Synced::new();
    let source = synced.stage.path("user/src");
    write(&source.join("a/b/file"), b"file");
    for (link, target) in [
        ("a/b/top", "../.."),
        ("a/b/here", "."),
        ("a/self", "self"),
        ("broken", "missing"),
        ("twice", "a/b"),
    ] {
        symlink(target, source.join(link)).unwrap();
    }
    // What is in a folder with such a link stays.
    synced.target(&["extra", "a/extra"]);
    let outcome = synced.run(&["-L", "--delete", "--force"]);
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    let failed = failures(&outcome);
    let codes: Vec<&str> = failed.iter().map(|(code, _)| code.as_str()).collect();
    // In a/b and again in twice: the top, and the folder itself. And the link to itself.
    let refused = codes.iter().filter(|code| **code == "name-refused");
    assert_eq!(refused.count(), 5, "{failed:?}");
    assert!(codes.contains(&"not-found"), "{failed:?}");
    // Nothing is deleted in the whole tree and in a.
    let kept = codes.iter().filter(|code| **code == "not-whole");
    assert_eq!(kept.count(), 2, "{failed:?}");
    assert_eq!(codes.len(), 8, "{failed:?}");
    for name in ["a/b/file", "twice/file", "extra", "a/extra"] {
        assert!(synced.has(name), "{name}");
    }
    assert!(!synced.has("broken"));
    // A broken link that is left out is no failure.
    for link in ["a/b/top", "a/b/here", "a/self"] {
        fs::remove_file(source.join(link)).unwrap();
    }
    synced.run(&["-L", "--exclude", "broken"]).ok();
}

/// Proves `link-in-path` in docs/faults.md.
#[test]
fn followed_links_do_not_leave_the_grant() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("home/tree");
    write(&tree.join("file"), b"file");
    write(&stage.path("secret/file"), b"secret");
    symlink(stage.path("secret"), tree.join("folder")).unwrap();
    symlink(stage.path("secret/file"), tree.join("absolute")).unwrap();
    symlink("../../secret/file", tree.join("relative")).unwrap();
    // In two steps, and through a folder.
    symlink("absolute", tree.join("twice")).unwrap();
    symlink("folder/file", tree.join("through")).unwrap();
    // Absolute, though within the grant: as everywhere, it counts as one that leads out.
    symlink(stage.path("home/tree/file"), tree.join("within")).unwrap();
    symlink("file", tree.join("good")).unwrap();
    let outcome = stage.run(&["--json", "cp", "-rL", &server.at("tree"), "copy"]);
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    let failed = failures(&outcome);
    assert_eq!(failed.len(), 6, "{failed:?}");
    assert!(
        failed.iter().all(|(code, _)| code == "name-refused"),
        "{failed:?}"
    );
    let names: Vec<_> = fs::read_dir(stage.path("user/copy")).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(stage.read("user/copy/good"), b"file");
}

#[test]
fn links_are_left_out_if_asked_for() {
    let synced = Synced::new();
    let source = synced.stage.path("user/src");
    write(&source.join("folder/file"), b"file");
    symlink("folder", source.join("link")).unwrap();
    symlink("/etc", source.join("absolute")).unwrap();
    synced.run(&["--links", "skip"]).ok();
    assert!(!synced.has("link") && !synced.has("absolute"));
    assert!(synced.has("folder/file"));
    synced.run(&["--exclude", "absolute"]).ok();
    assert!(synced.has("link"));
    synced.run(&["--links", "skip", "--delete"]).ok();
    assert!(!synced.has("link"));
    // From a server.
    let from = synced.server.at("tree");
    write(&synced.stage.path("home/tree/file"), b"file");
    symlink("/etc", synced.stage.path("home/tree/absolute")).unwrap();
    synced
        .stage
        .run(&["cp", "-r", "--links", "skip", &from, "back"])
        .ok();
    assert!(!is_link(&synced.stage.path("user/back/absolute")));
}

#[test]
fn all_links_are_made_only_on_the_own_disk() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("home/tree");
    write(&tree.join("a/file"), b"file");
    for (link, target) in [
        ("absolute", "/etc/hostname"),
        ("a/out", "../../other"),
        ("within", "a/file"),
    ] {
        symlink(target, tree.join(link)).unwrap();
    }
    let from = server.at("tree");
    stage
        .run(&["cp", "-r", "--links", "all", &from, "copy"])
        .ok();
    let target = |name: &str| fs::read_link(stage.path("user/copy").join(name)).unwrap();
    assert_eq!(target("absolute"), Path::new("/etc/hostname"));
    assert_eq!(target("a/out"), Path::new("../../other"));
    assert_eq!(target("within"), Path::new("a/file"));
    let again = [
        "--json",
        "sync",
        "--links",
        "all",
        "--itemize",
        &from,
        "copy",
    ];
    assert_eq!(changes(&stage.run(&again)), Vec::<Value>::new());
    let (back, between) = (server.at("back"), server.at("between"));
    for (from, to) in [("copy", &back), (from.as_str(), &between)] {
        let refused = stage.run(&["--json", "cp", "-r", "--links", "all", from, to]);
        refused.fails(2, "usage");
    }
    stage
        .run(&["--json", "cp", "-rL", "--links", "all", &from, "x"])
        .fails(2, "usage");
}

/// A hostile server makes a link, and then writes below it.
/// Proves `link-in-path` in docs/faults.md.
#[test]
fn nothing_is_written_through_a_link_of_the_same_copy() {
    let stage = stage();
    let outside = stage.path("outside");
    write(&outside.join("file"), b"old");
    let before = Census::of(&outside);
    let target = outside.to_str().unwrap().to_owned();
    let body = body_with(
        &[
            entry(1, SOURCE, b"photos", 0, b""),
            entry(3, 0, b"x", 0, target.as_bytes()),
            entry(1, 0, b"x", 0, b""),
            entry(2, 2, b"file", 0, b""),
            entry(2, 2, b"new", 0, b""),
        ],
        &[0, 2],
    );
    let server = trusted(&stage, 1, move |client| {
        assert_eq!(client.welcome()?.kind(), "get-tree");
        client.send_json(&json!({"type": "tree", "size": null}))?;
        client.send(&frame(&body))?;
        client.send(&frame([]))
    });
    let into = stage.path("user").to_str().unwrap().to_owned();
    let outcome = stage.run(&[
        "cp",
        "-q",
        "--retry",
        "0",
        "-r",
        "--links",
        "all",
        "127.0.0.1:photos",
        &into,
    ]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert_eq!(Census::of(&outside), before);
    assert!(is_link(&stage.path("user/photos/x")));
    server.join();
}
