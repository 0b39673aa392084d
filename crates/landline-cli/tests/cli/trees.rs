//! Copies of trees: `cp -r`.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use testkit::{Outcome, Stage, wait_for};

use crate::{
    noise,
    resume::{RelayedServer, event, events, staging},
    stage,
};

/// Names that a shell, a terminal or a pattern would take for something else.
const ODD_NAMES: [&[u8]; 11] = [
    b"a b",
    b"[x].txt",
    b"x.txt",
    b"*",
    b"-n",
    b"$(id)",
    b"it's",
    b"new\nline",
    b"\xff\xfe",
    b"\x1b[2J",
    b".hidden",
];

/// Writes a file that is old enough not to count as recent.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    // Older than the time for which a file counts as recent.
    let old = SystemTime::now() - Duration::from_secs(1000);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(old).unwrap();
}

/// A tree with all that a copy keeps.
fn make_tree(root: &Path) {
    for name in ODD_NAMES {
        write(&root.join("odd").join(OsStr::from_bytes(name)), name);
    }
    write(&root.join("a").join("x".repeat(255)), b"long");
    write(&root.join("big"), &noise(3_000_000, 5));
    write(&root.join("empty-file"), b"");
    fs::create_dir_all(root.join("empty/below")).unwrap();
    for number in 0..100u8 {
        write(&root.join(format!("many/{number}")), &[number; 500]);
    }
    symlink("../odd/x.txt", root.join("a/link")).unwrap();
    symlink("missing", root.join("a/broken")).unwrap();
    let closed = root.join("closed");
    write(&closed.join("file"), b"closed");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o555)).unwrap();
    fs::set_permissions(root.join("a"), PermissionsExt::from_mode(0o700)).unwrap();
}

/// Everything about a tree that a copy keeps.
fn picture(root: &Path) -> Vec<String> {
    let listed = Command::new("find")
        .arg(root)
        .args([
            "-printf",
            "%P|%y|%m|%T@|%l|",
            "(",
            "-type",
            "f",
            "-exec",
            "sha256sum",
            "--zero",
            "-b",
            "{}",
            ";",
            "-o",
            "-printf",
            "\n",
            ")",
        ])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let root = root.to_str().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).replace(root, "");
    let mut lines: Vec<String> = text.split('\0').map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

fn done(outcome: Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    event(&events(&outcome), "done").unwrap().clone()
}

#[test]
fn tree_goes_over_and_back_and_then_nothing_is_sent() {
    let stage = stage();
    let server = stage.joined();
    make_tree(&stage.path("user/tree"));
    let tree = stage.path("user/tree");
    let tree = tree.to_str().unwrap();
    let first = done(stage.run(&["cp", "--json", "-rp", tree, &server.at("copy")]));
    assert_eq!(
        picture(&stage.path("home/copy")),
        picture(&stage.path("user/tree"))
    );
    assert_eq!(first["failures"], 0);
    let back = stage.path("user/back");
    let back = back.to_str().unwrap();
    done(stage.run(&["cp", "--json", "-rp", &server.at("copy"), back]));
    assert_eq!(
        picture(&stage.path("user/back")),
        picture(&stage.path("user/tree"))
    );
    for arguments in [
        ["cp", "--json", "-aT", tree, &server.at("copy")],
        ["cp", "--json", "-rpT", &server.at("copy"), back],
    ] {
        let again = done(stage.run(&arguments));
        assert_eq!(
            (&again["files"], &again["others"]),
            (&json!(0), &json!(0)),
            "{again}"
        );
    }
    assert_eq!(
        staging(&stage.home()).len() + staging(&stage.path("user")).len(),
        0
    );
}

#[test]
fn destination_is_found_as_cp_finds_it() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("user/d/file"), b"content");
    write(&stage.path("user/e/file"), b"other");
    let local = |name: &str| {
        stage
            .path(&format!("user/{name}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let has = |name: &str| stage.path(&format!("home/{name}")).exists();
    let copy = |arguments: &[&str]| {
        let mut all = vec!["cp", "--json"];
        all.extend(arguments);
        stage.run(&all)
    };
    copy(&["-r", &local("d"), &server.at("new")]).ok();
    assert!(has("new/file"));
    copy(&["-r", &local("d"), &server.at("new")]).ok();
    copy(&["-r", &format!("{}/", local("d")), &server.at("new")]).ok();
    assert!(has("new/d/file") && !has("new/d/d"));
    copy(&["-rT", &local("e"), &server.at("new")]).ok();
    assert_eq!(stage.read("home/new/file"), b"other");
    copy(&["-r", &format!("{}/.", local("d")), &server.at("new")]).ok();
    assert_eq!(stage.read("home/new/file"), b"content");
    copy(&["-r", &local("d"), &local("e"), &server.at("new")]).ok();
    assert!(has("new/e/file"));
    copy(&["-r", &local("d"), &local("e"), &server.at("none")]).fails(20, "not-found");
    copy(&["-r", &local("d"), &server.at("none/new")]).fails(20, "not-found");
    assert!(!has("none"));
    copy(&[
        "-r",
        &server.at("new/d"),
        &server.at("new/e"),
        &local("none"),
    ])
    .fails(20, "not-found");
    copy(&["-r", &server.at("new/."), &local("got")]).ok();
    assert!(stage.path("user/got/d/file").exists());
    copy(&[&local("d"), &server.at("x")]).fails(21, "not-a-file");
    copy(&["-p", &local("d"), &server.at("x")]).fails(21, "not-a-file");
    copy(&["-p", &server.at("new"), &local("x")]).fails(21, "not-a-file");
    copy(&["-T", &local("d"), &server.at("x")]).fails(2, "usage");
    assert!(!stage.path("user/x").exists());
    copy(&["-r", &local("d"), "-T", &local("e"), &server.at("x")]).fails(2, "usage");
    assert!(!has("x"));
}

#[test]
fn uncopyable_entries_are_reported_and_skipped() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("user/tree");
    write(&tree.join("below/file"), b"content");
    symlink("/etc/passwd", tree.join("absolute")).unwrap();
    symlink("../../outside", tree.join("below/out")).unwrap();
    symlink("file/../../../..", tree.join("below/hidden-out")).unwrap();
    symlink("../below", tree.join("below/inside")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(tree.join("fifo"))
        .status()
        .unwrap();
    assert!(fifo.success());
    for (source, target, copied) in [
        (tree.to_str().unwrap(), server.at("copy"), "home/copy"),
        (
            &*server.at("tree"),
            stage.path("user/back").to_str().unwrap().to_owned(),
            "user/back",
        ),
    ] {
        let outcome = stage.run(&["cp", "--json", "-r", source, &target]);
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        let events = events(&outcome);
        let failed: Vec<_> = events.iter().filter(|it| it["event"] == "failed").collect();
        assert_eq!(failed.len(), 4, "{failed:?}");
        assert_eq!(event(&events, "done").unwrap()["failures"], 4);
        let copied = stage.path(copied);
        assert_eq!(fs::read(copied.join("below/file")).unwrap(), b"content");
        assert_eq!(
            fs::read_link(copied.join("below/inside")).unwrap(),
            Path::new("../below")
        );
        for left_out in ["absolute", "below/out", "below/hidden-out", "fifo"] {
            assert!(
                fs::symlink_metadata(copied.join(left_out)).is_err(),
                "{left_out}"
            );
        }
        // For the way back: the same tree on the server.
        Command::new("cp")
            .arg("-a")
            .arg(&tree)
            .arg(stage.path("home/tree"))
            .status()
            .unwrap();
    }
}

#[test]
fn changed_files_are_replaced_and_others_are_kept() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("user/tree");
    for name in ["same", "longer", "newer", "below/same"] {
        write(&tree.join(name), b"first");
    }
    let source = tree.to_str().unwrap();
    let copy = server.at("copy");
    done(stage.run(&["cp", "--json", "-r", source, &copy]));
    let inode = |name: &str| {
        fs::metadata(stage.path(&format!("home/copy/{name}")))
            .unwrap()
            .ino()
    };
    let before = ["same", "longer", "newer", "below/same"].map(inode);
    // A second name keeps the old content.
    fs::hard_link(stage.path("home/copy/longer"), stage.path("home/kept")).unwrap();
    fs::set_permissions(
        stage.path("home/copy/longer"),
        PermissionsExt::from_mode(0o604),
    )
    .unwrap();
    write(&tree.join("longer"), b"second, longer");
    fs::write(tree.join("newer"), b"FIRST").unwrap();
    write(&tree.join("added"), b"added");
    let second = done(stage.run(&["cp", "--json", "-rT", source, &copy]));
    assert_eq!(second["files"], 3);
    let after = ["same", "longer", "newer", "below/same"].map(inode);
    assert_eq!((before[0], before[3]), (after[0], after[3]));
    assert!(before[1] != after[1] && before[2] != after[2]);
    assert_eq!(stage.read("home/kept"), b"first");
    assert_eq!(stage.read("home/copy/longer"), b"second, longer");
    let mode = fs::metadata(stage.path("home/copy/longer")).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o604, "a replaced file keeps its own");
    // With -n, what exists stays.
    write(&tree.join("longer"), b"third");
    write(&tree.join("another"), b"another");
    let third = done(stage.run(&["cp", "--json", "-rnT", source, &copy]));
    assert_eq!(stage.read("home/copy/longer"), b"second, longer");
    assert_eq!(stage.read("home/copy/another"), b"another");
    assert_eq!(third["failures"], 0);
}

#[test]
fn folder_and_file_never_replace_each_other() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("user/tree");
    write(&tree.join("x"), b"a file");
    write(&tree.join("y/file"), b"in a folder");
    write(&tree.join("z"), b"copied");
    write(&stage.path("home/tree/x/kept"), b"kept");
    write(&stage.path("home/tree/y"), b"kept");
    let outcome = stage.run(&["cp", "--json", "-r", tree.to_str().unwrap(), &server.at("")]);
    assert_eq!(outcome.status, Some(1));
    let events = events(&outcome);
    let failed: Vec<_> = events.iter().filter(|it| it["event"] == "failed").collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|it| it["code"] == "exists"), "{failed:?}");
    assert_eq!(stage.read("home/tree/x/kept"), b"kept");
    assert_eq!(stage.read("home/tree/y"), b"kept");
    assert_eq!(stage.read("home/tree/z"), b"copied");
}

/// The failure is that of the whole copy: nothing of it is complete.
#[test]
fn tree_does_not_replace_the_file_at_its_destination() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("user/tree/a"), b"a");
    write(&stage.path("user/file"), b"file");
    write(&stage.path("home/file"), b"file");
    fs::create_dir(stage.path("home/folder")).unwrap();
    let (file, folder) = (server.at("file"), server.at("folder"));
    for copy in [
        ["cp", "-rT", "tree", &file],
        ["cp", "-rT", "file", &folder],
        ["sync", "-q", "tree", &file],
    ] {
        stage
            .run(&[&["--json"], &copy[..]].concat())
            .fails(22, "exists");
        assert_eq!(stage.read("home/file"), b"file");
        assert_eq!(fs::read_dir(stage.path("home/folder")).unwrap().count(), 0);
    }
}

/// Waits until the server has files of a copy in its staging folder.
fn wait_for_content(folder: &Path) {
    wait_for("files in the staging folder", || {
        staging(folder).first().is_some_and(|staging| {
            let found = Command::new("find")
                .arg(staging)
                .args(["-type", "f"])
                .output();
            found
                .unwrap()
                .stdout
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                > 50
        })
    });
}

fn slow_command(stage: &Stage, arguments: &[&str]) -> std::process::Child {
    let mut command = stage.command(arguments);
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn killed_copy_continues_and_leaves_nothing() {
    let RelayedServer {
        stage,
        mut server,
        relay,
        ..
    } = RelayedServer::new(3);
    let copy = format!("landline://{}/copy", relay.address);
    let tree = stage.path("user/tree");
    for number in 0..600 {
        write(
            &tree.join(format!("{}/{number}", number % 7)),
            &noise(10_000, number),
        );
    }
    let source = tree.to_str().unwrap();
    let address = server.address.clone();
    for round in 0..3 {
        relay.hold_after(4_000_000);
        let mut child = slow_command(&stage, &["cp", "-q", "--retry", "0", "-r", source, &copy]);
        wait_for_content(&stage.home());
        if round == 1 {
            server.kill();
            child.wait().unwrap();
            server = stage.serve_at(&address, &[]);
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        relay.release();
        assert!(!stage.path("home/copy").exists(), "it appears as a whole");
    }
    let last = done(stage.run(&["cp", "--json", "-r", source, &server.at("copy")]));
    assert!(last["files"].as_u64().unwrap() < 600, "{last}");
    assert_eq!(picture(&stage.path("home/copy")), picture(&tree));
    wait_for("no staging folders", || staging(&stage.home()).is_empty());
}

/// What an earlier attempt left of a file appears only if the file is complete and still there.
#[test]
fn part_of_a_file_never_appears() {
    let RelayedServer {
        stage,
        server: _server,
        relay,
        ..
    } = RelayedServer::new(4);
    let tree = stage.path("user/tree");
    for name in ["kept", "removed", "turned"] {
        write(&tree.join(name), &noise(30_000_000, 5));
    }
    let source = tree.to_str().unwrap();
    for (name, options) in [("first", "-rn"), ("second", "-r")] {
        let copy = format!("landline://{}/{name}", relay.address);
        for part in 0..2 {
            relay.limit(4_000_000);
            let arguments = ["cp", "-q", "--retry", "0", options, source, &copy];
            let mut child = slow_command(&stage, &arguments);
            wait_for("a part of a file", || {
                let mut find = Command::new("find");
                let found = find
                    .arg(stage.home())
                    .args(["-path", "*.part/*", "-size", "+2M"])
                    .output();
                let parts = found
                    .unwrap()
                    .stdout
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                parts > part
            });
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if name == "second" {
            fs::remove_file(tree.join("removed")).unwrap();
            fs::remove_file(tree.join("turned")).unwrap();
            write(&tree.join("turned/file"), b"now a folder");
        }
        relay.mend();
        done(stage.run(&["cp", "--json", options, source, &copy]));
        assert_eq!(
            picture(&stage.path(&format!("home/{name}"))),
            picture(&tree)
        );
    }
}

#[test]
fn lost_connection_is_made_again() {
    let relayed = RelayedServer::new(7);
    let stage = &relayed.stage;
    let tree = stage.path("user/tree");
    for number in 0..300 {
        write(&tree.join(number.to_string()), &noise(30_000, number));
    }
    relayed.relay.hold_after(3_000_000);
    let destination = relayed.via_relay("copy");
    let copy = ["cp", "--json", "-r", tree.to_str().unwrap(), &destination];
    let copy = stage.command(&copy).spawn().unwrap();
    // What the server has not read yet is lost with the connection.
    wait_for_content(&stage.home());
    relayed.relay.cut_after(0);
    relayed.relay.release();
    let copy = testkit::Outcome::of(copy);
    assert!(event(&events(&copy), "reconnecting").is_some());
    let done = done(copy);
    assert!(done["files"].as_u64().unwrap() < 300);
    assert_eq!(picture(&stage.path("home/copy")), picture(&tree));
}

#[test]
fn rights_hold_in_every_folder() {
    let stage = stage();
    let server = stage.joined();
    for folder in ["home/tree/closed/open", "home/other"] {
        fs::create_dir_all(stage.path(folder)).unwrap();
    }
    stage.write_rights(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\", \"r:~/tree/closed\", \"rw:~/tree/closed/open\"]\n",
    );
    server.rights_loaded(&stage);
    let tree = stage.path("user/tree");
    for name in ["file", "closed/file", "closed/open/file"] {
        write(&tree.join(name), b"content");
    }
    let outcome = stage.run(&["cp", "--json", "-r", tree.to_str().unwrap(), &server.at("")]);
    assert_eq!(outcome.status, Some(1));
    let events = events(&outcome);
    let failed: Vec<_> = events.iter().filter(|it| it["event"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["code"], "denied");
    assert!(stage.path("home/tree/file").exists());
    assert!(!stage.path("home/tree/closed/file").exists());
    assert!(stage.path("home/tree/closed/open/file").exists());
    stage
        .run(&[
            "cp",
            "--json",
            "-r",
            tree.to_str().unwrap(),
            &server.at("tree/closed/new"),
        ])
        .fails(23, "denied");
    stage
        .run(&[
            "cp",
            "--json",
            "-r",
            tree.to_str().unwrap(),
            &server.at("/etc/new"),
        ])
        .fails(23, "denied");
    stage
        .run(&[
            "cp",
            "--json",
            "-r",
            &server.at("/etc"),
            stage.path("user/etc").to_str().unwrap(),
        ])
        .fails(23, "denied");
}

#[test]
fn quota_holds_for_trees_as_for_files() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("user/tree");
    for number in 0..20 {
        write(&tree.join(format!("{}/{number}", number % 3)), &[7; 1000]);
    }
    let source = tree.to_str().unwrap();
    let limit = |quota: &str| {
        stage.write_rights(&format!(
            "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\nquota = {{ {quota} }}\n"
        ));
        server.rights_loaded(&stage);
    };
    let copy = |target: &str| stage.run(&["cp", "--json", "-rT", source, &server.at(target)]);
    for quota in ["bytes = 19999", "files = 19"] {
        limit(quota);
        copy("new").fails(24, "no-space");
        assert!(!stage.path("home/new").exists());
        fs::create_dir_all(stage.path("home/there")).unwrap();
        copy("there").fails(24, "no-space");
        let stored = Command::new("find")
            .arg(stage.path("home/there"))
            .args(["-type", "f"])
            .output();
        assert!(stored.unwrap().stdout.is_empty(), "{quota}");
    }
    limit("bytes = 20000, files = 20");
    done(copy("new"));
    // The same files count once, and others do not fit.
    done(copy("new"));
    write(&tree.join("0/0"), &[8; 900]);
    assert_eq!(done(copy("new"))["files"], 1);
    copy("there").fails(24, "no-space");
    // Room is made, also by other programs.
    fs::remove_dir_all(stage.path("home/new")).unwrap();
    done(copy("there"));
    copy("new").fails(24, "no-space");
    assert_eq!(staging(&stage.home()).len(), 0);
}

/// Proves `special-file` in docs/faults.md.
#[test]
fn special_files_are_left_out_if_the_user_says_so() {
    let stage = stage();
    let server = stage.joined();
    let tree = stage.path("user/tree");
    write(&tree.join("file"), b"content");
    let fifo = Command::new("mkfifo").arg(tree.join("fifo")).status();
    assert!(fifo.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let copy = Command::new("cp")
        .arg("-a")
        .arg(&tree)
        .arg(stage.path("home/there"))
        .status();
    assert!(copy.unwrap().success());
    let there = server.at("there");
    for (source, target, copied) in [
        ("tree", &*server.at("copy"), "home/copy"),
        (&*there, "back", "user/back"),
    ] {
        let all = stage.run(&["cp", "-r", source, target]);
        assert_eq!(all.status, Some(1), "{}", all.stderr);
        fs::remove_dir_all(stage.path(copied)).unwrap();
        let left = stage.run(&["cp", "--json", "-r", "--skip-special", source, target]);
        assert_eq!(done(left)["failures"], 0);
        let names = fs::read_dir(stage.path(copied)).unwrap();
        assert_eq!(names.count(), 1);
    }
}
