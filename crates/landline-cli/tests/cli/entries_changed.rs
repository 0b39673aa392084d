//! `mkdir`, `mv` and `rm` on a server.

use std::{fs, os::unix::fs::symlink, process::Command};

use serde_json::json;
use testkit::{Census, Outcome, ServerProcess, Stage};

use crate::{
    entries::{json_lines, make_fifo, make_folders, write},
    noise, stage,
};

/// Several matches under one new name would replace each other.
#[test]
fn pattern_with_several_matches_needs_a_folder() {
    let stage = stage();
    let server = stage.joined();
    for name in ["a.log", "b.log"] {
        stage.write(&format!("home/{name}"), name.as_bytes());
    }
    let moving = ["--json", "mv", &server.at("*.log"), &server.at("one")];
    assert_eq!(stage.run(&moving).status, Some(1));
    assert!(!stage.path("home/one").exists());
    assert_eq!(stage.read("home/a.log"), b"a.log");
    assert_eq!(stage.read("home/b.log"), b"b.log");
    fs::create_dir(stage.path("home/one")).unwrap();
    stage.run(&moving).ok();
    assert_eq!(stage.read("home/one/b.log"), b"b.log");
}

#[test]
fn mkdir_makes_folders_with_usual_mode() {
    let stage = stage();
    let server = stage.joined();
    stage.run(&["mkdir", &server.at("a")]).ok();
    stage
        .run(&["--json", "mkdir", &server.at("a")])
        .fails(22, "exists");
    stage
        .run(&[
            "mkdir",
            "-p",
            &server.at("a"),
            &server.at("a/b/c/"),
            &server.at("~"),
        ])
        .ok();
    assert!(stage.home().join("a/b/c").is_dir());
    stage
        .run(&["--json", "mkdir", &server.at("x/y")])
        .fails(20, "not-found");
    write(&stage, "home/file", b"");
    for path in ["file", "file/below"] {
        let outcome = stage.run(&["--json", "mkdir", "-p", &server.at(path)]);
        assert!(
            matches!(outcome.status, Some(21 | 22)),
            "{path}: {outcome:?}"
        );
    }
    stage
        .run(&["--json", "mkdir", &server.at("../out")])
        .fails(23, "name-refused");
    stage
        .run(&["--json", "mkdir", &server.at("/tmp/out")])
        .fails(23, "denied");
    stage.write_rights("[users.alice]\nfiles = [\"r:~\"]\n");
    server.rights_loaded(&stage);
    stage
        .run(&["--json", "mkdir", &server.at("b")])
        .fails(23, "denied");
}

#[test]
fn mv_replaces_files_and_never_folders() {
    let stage = stage();
    let server = stage.joined();
    let at = |path: &str| server.at(path);
    write(&stage, "home/a", b"a");
    write(&stage, "home/b", b"b");
    make_folders(&stage, &["empty", "full/sub", "other"]);
    stage
        .run(&["--json", "mv", "-n", &at("a"), &at("b")])
        .fails(22, "exists");
    stage.run(&["mv", &at("a"), &at("b")]).ok();
    assert_eq!(stage.read("home/b"), b"a");
    assert!(!stage.home().join("a").exists());
    // Into a folder.
    stage.run(&["mv", &at("b"), &at("empty")]).ok();
    assert_eq!(stage.read("home/empty/b"), b"a");
    stage
        .run(&["mv", &at("empty/b"), &at("full/sub"), &at("other/")])
        .ok();
    assert!(stage.home().join("other/sub").is_dir());
    // A folder is never replaced, not even an empty one, and nothing by a folder.
    make_folders(&stage, &["full/sub", "name/sub"]);
    stage
        .run(&["--json", "mv", &at("other/sub"), &at("full")])
        .fails(22, "exists");
    stage
        .run(&["--json", "mv", &at("other/b"), &at("name/sub/../sub")])
        .fails(23, "name-refused");
    write(&stage, "home/file", b"file");
    stage
        .run(&["--json", "mv", &at("full"), &at("file")])
        .fails(22, "exists");
    stage
        .run(&["--json", "mv", &at("file"), &at("file")])
        .fails(22, "exists");
    stage
        .run(&["--json", "mv", &at("full"), &at("full/sub/x")])
        .fails(23, "name-refused");
    stage
        .run(&["--json", "mv", &at("file"), &at("none/")])
        .fails(20, "not-found");
    stage
        .run(&["--json", "mv", &at("none"), &at("x")])
        .fails(20, "not-found");
    let several = stage.run(&["mv", &at("file"), &at("other/b"), &at("new")]);
    assert_eq!(several.status, Some(1));
    stage
        .run(&["--json", "mv", &at("file"), "elsewhere:x"])
        .fails(2, "usage");
    assert_eq!(stage.read("home/file"), b"file");
    // A link moves itself.
    symlink("file", stage.home().join("link")).unwrap();
    stage.run(&["mv", &at("link"), &at("other/")]).ok();
    assert!(stage.home().join("other/link").is_symlink());
    stage.run(&["mv", &at("oth*/*"), &at("empty")]).ok();
    assert_eq!(stage.read("home/empty/b"), b"a");
}

/// Proves `link-in-path` in docs/faults.md.
#[test]
fn rm_removes_trees_and_follows_no_link() {
    let stage = stage();
    let server = stage.joined();
    let at = |path: &str| server.at(path);
    write(&stage, "home/keep/file", b"keep");
    write(&stage, "outside/file", b"outside");
    for number in 0..40 {
        write(&stage, &format!("home/d/{}/{number}", number % 7), b"x");
    }
    symlink("../keep", stage.home().join("d/link")).unwrap();
    symlink(stage.path("outside"), stage.home().join("d/out")).unwrap();
    symlink("d", stage.home().join("to-d")).unwrap();
    make_fifo(&stage, "home/d/fifo");
    let mut deep = stage.home().join("d");
    for _ in 0..300 {
        deep.push("e");
    }
    fs::create_dir_all(&deep).unwrap();
    let outside = Census::of(&stage.path("outside"));
    stage
        .run(&["--json", "rm", &at("d")])
        .fails(21, "not-a-file");
    stage.run(&["rm", &at("to-d")]).ok();
    assert!(stage.home().join("d/0").exists());
    assert_eq!(server.event("files-changed")["entries"], 1);
    let removed = &json_lines(&stage, &["rm", "-r", &at("d")])[0];
    assert_eq!(removed["entries"], 40 + 7 + 2 + 1 + 300 + 1);
    assert_eq!(Census::of(&stage.home()).paths(), ["keep", "keep/file"]);
    assert_eq!(Census::of(&stage.path("outside")), outside);
    let changed = server.event("files-changed");
    assert_eq!(
        (
            &changed["action"],
            &changed["entries"],
            &changed["failures"]
        ),
        (&json!("remove"), &json!(351), &json!(0))
    );
}

/// A folder of any user's rights stays, and so do the homes and the state.
#[test]
fn granted_folders_are_neither_moved_nor_removed() {
    let stage = stage();
    let server = stage.joined();
    let at = |path: &str| server.at(path);
    make_folders(&stage, &["shared/in/bob", "own/x", "archive", "other"]);
    let rules = "[users.alice]\nfiles = [\"rw:~\", \"rw:~/own\", \"r:~/archive\"]\nrole = \"owner\"\n\
                 [users.bob]\nfiles = [\"r:~/shared/in\"]\n";
    stage.write_rights(rules);
    server.rights_loaded(&stage);
    symlink("shared/in", stage.home().join("link")).unwrap();
    let before = Census::of(&stage.home());
    for path in [
        "",
        "~",
        "shared",
        "shared/in",
        "own",
        "archive",
        "link/",
        "shared/in/",
    ] {
        let outcome = stage.run(&["--json", "rm", "-r", &at(path)]);
        assert!(
            matches!(outcome.status, Some(21 | 23)),
            "{path}: {outcome:?}"
        );
        let outcome = stage.run(&["--json", "mv", &at(path), &at("other/moved")]);
        assert!(
            matches!(outcome.status, Some(21 | 23)),
            "{path}: {outcome:?}"
        );
    }
    assert_eq!(Census::of(&stage.home()), before);
    stage.run(&["rm", &at("link")]).ok();
    stage
        .run(&["rm", "-r", &at("shared/in/bob"), &at("own/x")])
        .ok();
    stage
        .run(&["--json", "rm", "-r", &at("archive/none")])
        .fails(23, "denied");
}

/// What cannot be removed is reported, and the rest is removed.
#[test]
fn rm_reports_what_it_leaves() {
    let stage = stage();
    let server = stage.joined();
    make_folders(&stage, &["d/a", "d/mount", "d/z"]);
    write(&stage, "home/d/a/file", b"x");
    write(&stage, "home/d/z/file", b"x");
    let mounted = Command::new("/usr/bin/mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(stage.home().join("d/mount"))
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not root: nothing can be mounted");
        return;
    }
    let outcome = stage.run(&["--json", "rm", "-r", &server.at("d")]);
    let moved = stage.write_and_move(&server);
    let unmounted = Command::new("/usr/bin/umount")
        .arg(stage.home().join("d/mount"))
        .status();
    assert!(unmounted.unwrap().success());
    assert_eq!(outcome.status, Some(1));
    assert_eq!(Census::of(&stage.home().join("d")).paths(), ["mount"]);
    moved.fails(27, "io");
}

/// Moves a file to the mounted file system.
trait MoveToMount {
    fn write_and_move(&self, server: &ServerProcess) -> Outcome;
}

impl MoveToMount for Stage {
    fn write_and_move(&self, server: &ServerProcess) -> Outcome {
        write(self, "home/file", b"x");
        let (from, to) = (server.at("file"), server.at("d/mount/"));
        self.run(&["--json", "mv", &from, &to])
    }
}

/// A change is in the audit log before it is made, and reading is recorded too.
#[test]
fn requests_are_in_the_audit_log() {
    let stage = stage();
    let server = stage.joined();
    write(&stage, "home/a", b"a");
    let home = stage.home().canonicalize().unwrap();
    let path = |name: &str| json!(home.join(name).display().to_string());
    stage.run(&["ls", &server.at("")]).ok();
    let read = server.event("files-read");
    assert_eq!(
        (&read["action"], &read["path"]),
        (&json!("list"), &json!(home))
    );
    stage.run(&["sum", &server.at("a")]).ok();
    assert_eq!(server.event("files-read")["action"], "sum");
    stage.run(&["mkdir", &server.at("d")]).ok();
    let change = server.event("files-change");
    assert_eq!(
        (&change["action"], &change["path"]),
        (&json!("make-folder"), &path("d"))
    );
    stage.run(&["mv", &server.at("a"), &server.at("d")]).ok();
    let change = server.event("files-change");
    assert_eq!((&change["path"], &change["to"]), (&path("a"), &path("d/a")));
    stage.run(&["rm", &server.at("d/[a]")]).ok();
    let change = server.event("files-change");
    assert_eq!(change["path"], path("d/[a]"));
    assert_eq!(server.event("files-changed")["entries"], 1);
    // Every folder that is made is in the log, and the request at its end.
    stage.run(&["mkdir", "-p", &server.at("d/e/f")]).ok();
    for folder in ["d/e", "d/e/f"] {
        let change = server.event("files-change");
        assert_eq!(change["path"], path(folder));
    }
    let changed = server.event("files-changed");
    assert_eq!(
        (&changed["path"], &changed["entries"]),
        (&path("d/e/f"), &json!(2))
    );
}

/// Removed files no longer count for a quota, and moved files still do.
#[test]
fn quota_follows_removed_and_moved_files() {
    let stage = stage();
    let server = stage.joined();
    let rules = "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\nbytes = \"1 MiB\"\n";
    stage.write_rights(rules);
    server.rights_loaded(&stage);
    write(&stage, "user/half", &noise(600 << 10, 1));
    let put = |path: &str| stage.run(&["--json", "cp", "half", &server.at(path)]);
    stage.run(&["mkdir", &server.at("d")]).ok();
    put("d/a").ok();
    put("b").fails(24, "no-space");
    stage
        .run(&["mv", &server.at("d/a"), &server.at("d/c")])
        .ok();
    stage.run(&["mv", &server.at("d"), &server.at("e")]).ok();
    put("b").fails(24, "no-space");
    stage.run(&["rm", "-r", &server.at("e")]).ok();
    put("b").ok();
    stage.run(&["rm", &server.at("b")]).ok();
    put("c").ok();
}
