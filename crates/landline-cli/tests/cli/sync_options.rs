//! Options of `sync` and `cp -r`: what is compared, selected, kept and refused.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    time::Duration,
};

use crate::{
    resume::{event, events},
    sync::{Synced, changes, done, set_modified},
    trees::write,
};

#[test]
fn contents_are_compared_if_asked_for() {
    let synced = Synced::new();
    synced.source(&["big", "small", "touched"]);
    write(&synced.stage.path("user/src/big"), &[1; 300_000]);
    done(&synced.run(&[]));
    // Another content with the same length and time.
    let time = fs::metadata(synced.stage.path("home/dst/big")).unwrap();
    let target = synced.stage.path("home/dst/big");
    let inode = |name: &str| {
        let path = synced.stage.path("home/dst").join(name);
        fs::metadata(path).unwrap().ino()
    };
    fs::write(&target, [2; 300_000]).unwrap();
    let file = fs::File::options().write(true).open(&target).unwrap();
    file.set_modified(time.modified().unwrap()).unwrap();
    set_modified(
        &synced.stage.path("home/dst/touched"),
        Duration::from_secs(50),
    );
    let before = (inode("small"), inode("touched"));
    assert_eq!(
        changes(&synced.run(&["-n"])),
        ["change file content+time touched"]
    );
    let mut plan = changes(&synced.run(&["-n", "--checksum"]));
    plan.sort();
    assert_eq!(
        plan,
        ["change file content big", "change file time touched"]
    );
    let run = synced.run(&["--checksum", "--itemize"]);
    let mut made = changes(&run);
    made.sort();
    assert_eq!(made, plan);
    assert_eq!(done(&run)["files"], 1);
    assert_eq!(synced.stage.read("home/dst/big"), vec![1; 300_000]);
    assert_eq!(
        (inode("small"), inode("touched")),
        before,
        "they were not sent"
    );
    let last = synced.run(&["-n", "--checksum"]);
    assert_eq!(changes(&last), Vec::<String>::new());
}

/// Files that were just written have times that tell too little. They are compared.
#[test]
fn recent_files_are_compared_and_not_sent_again() {
    let synced = Synced::new();
    fs::write(synced.stage.path("user/src/new"), b"just written").unwrap();
    assert_eq!(done(&synced.run(&[]))["files"], 1);
    assert_eq!(done(&synced.run(&[]))["files"], 0);
}

#[test]
fn backup_folder_keeps_what_is_replaced_and_deleted() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["changed", "kind"]);
    synced.target(&["changed", "extra/deep/file", "kind/file"]);
    let options = ["--delete", "--backup-dir", "dst/kept"];
    done(&synced.run(&options));
    for name in ["changed", "extra/deep/file", "kind/file"] {
        let kept = format!("home/dst/kept/{name}");
        assert_eq!(stage.read(&kept), b"in the target", "{name}");
    }
    assert!(!synced.has("extra") && stage.read("home/dst/kind") == b"kind");
    // It stays, though it is no part of the source; and a name that is taken gets a number.
    synced.target(&["extra/deep/file"]);
    let plan = changes(&synced.run(&[&options[..], &["-n"]].concat()));
    assert!(!plan.iter().any(|line| line.contains("kept")), "{plan:?}");
    done(&synced.run(&options));
    assert!(synced.has("kept/extra/deep/file.~1~"));
}

#[test]
fn backup_on_another_file_system_is_refused() {
    let synced = Synced::new();
    synced.source(&["file"]);
    synced.target(&["file"]);
    let back = synced.stage.path("user/back");
    write(&back.join("kept"), b"kept");
    let from = synced.server.at("dst");
    let arguments = [
        "sync",
        "--json",
        "--delete",
        "--backup-dir",
        "/dev/shm",
        &from,
        back.to_str().unwrap(),
    ];
    let disks =
        [back.as_path(), Path::new("/dev/shm")].map(|path| fs::metadata(path).map(|it| it.dev()));
    if let [Ok(one), Ok(other)] = disks
        && one != other
    {
        synced.stage.run(&arguments).fails(23, "denied");
        assert!(back.join("kept").exists());
    }
}

#[test]
fn protected_folders_stay() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["file"]);
    synced.target(&["shared/grant/file", "extra"]);
    stage.write_rights(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\n\
         [users.bob]\nrole = \"user\"\nfiles = [\"rw:~/dst/shared/grant\"]\n",
    );
    synced.server.rights_loaded(stage);
    let outcome = synced.run(&["--delete"]);
    assert_eq!(outcome.status, Some(1));
    assert!(synced.has("shared/grant/file") && !synced.has("extra"));
}

#[test]
fn reader_of_a_folder_deletes_nothing_in_it() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["closed/both", "file"]);
    synced.target(&["closed/both", "closed/extra", "extra"]);
    stage.write_rights("[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\", \"r:~/dst/closed\"]\n");
    synced.server.rights_loaded(stage);
    let outcome = synced.run(&["--delete"]);
    assert_eq!(outcome.status, Some(1));
    assert!(synced.has("closed/extra") && !synced.has("extra"));
}

#[test]
fn deletions_are_in_the_audit_log_and_free_the_quota() {
    let synced = Synced::new();
    let stage = &synced.stage;
    stage.write_rights(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\nquota = { files = 4 }\n",
    );
    synced.server.rights_loaded(stage);
    synced.source(&["1", "2", "3", "4"]);
    done(&synced.run(&[]));
    for name in ["1", "2"] {
        fs::remove_file(stage.path("user/src").join(name)).unwrap();
    }
    done(&synced.run(&["--delete"]));
    let change = synced.server.event("files-change");
    assert_eq!(change["action"], "remove");
    let tree = synced.server.event("tree");
    assert_eq!(tree["removed"], 2, "{tree}");
    // Two more fit.
    synced.source(&["5", "6"]);
    done(&synced.run(&[]));
    synced.source(&["7"]);
    synced.run(&[]).fails(24, "no-space");
}

#[test]
fn patterns_hold_in_both_directions() {
    let synced = Synced::new();
    let stage = &synced.stage;
    let names = [
        "build/keep",
        "build/other",
        "x",
        "below/x",
        "a/b/y",
        "z",
        ".gitignore",
    ];
    synced.source(&names);
    write(&stage.path("user/src/.gitignore"), b"z\n");
    for name in names {
        write(&stage.path("home/from").join(name), name.as_bytes());
    }
    write(
        &stage.path("user/patterns"),
        b"# a comment\r\n/x\r\n**/y \r\n",
    );
    let file = stage.path("user/patterns");
    let file = file.to_str().unwrap();
    for (number, (options, kept, notices)) in [
        (
            &["--exclude", "build/", "--include", "build/keep"][..],
            false,
            1,
        ),
        (
            &["--exclude", "build/*", "--include", "build/keep"],
            true,
            0,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let up = (
            stage.path("user/src"),
            synced.server.at(&format!("up{number}")),
        );
        let down = stage.path(&format!("user/down{number}"));
        let up_source = up.0.to_str().unwrap().to_owned();
        for (source, target, copied) in [
            (up_source, up.1, format!("home/up{number}")),
            (
                synced.server.at("from"),
                down.to_str().unwrap().to_owned(),
                format!("user/down{number}"),
            ),
        ] {
            let mut arguments = vec!["cp", "-r", "--exclude-from", file];
            arguments.extend(options);
            arguments.extend([&*source, &*target]);
            let outcome = stage.run(&arguments);
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            let found = outcome.stderr.matches("can never match").count();
            assert_eq!(found, notices, "{}", outcome.stderr);
            let has = |name: &str| stage.path(&copied).join(name).exists();
            assert_eq!(has("build/keep"), kept);
            assert!(!has("build/other") && !has("x") && !has("a/b/y"));
            assert!(has("below/x") && has("z") && has(".gitignore"));
        }
    }
    let many = vec!["--exclude=x"; 1001];
    let target = synced.server.at("many");
    let source = stage.path("user/src");
    let arguments = [
        &["cp", "-r", "--json"][..],
        &many,
        &[source.to_str().unwrap(), &target],
    ]
    .concat();
    stage.run(&arguments).fails(1, "limit");
}

#[test]
fn listed_paths_are_copied_and_missing_ones_reported() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["a/one", "a/two", "b/c/deep", "b/other", "line\nbreak"]);
    for name in ["a/one", "a/two", "b/c/deep", "b/other", "line\nbreak"] {
        write(&stage.path("home/from").join(name), b"x");
    }
    write(
        &stage.path("user/list"),
        b"a/one\0b/c/\0line\nbreak\0missing\0",
    );
    let list = stage.path("user/list");
    let source = stage.path("user/src").to_str().unwrap().to_owned();
    let down = stage.path("user/down").to_str().unwrap().to_owned();
    for (source, target, copied) in [
        (source, synced.server.at("dst"), "home/dst"),
        (synced.server.at("from"), down, "user/down"),
    ] {
        let list = list.to_str().unwrap();
        let outcome = stage.run(&[
            "cp",
            "--json",
            "-r",
            "-0",
            "--files-from",
            list,
            &source,
            &target,
        ]);
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        assert_eq!(
            event(&events(&outcome), "failed").unwrap()["code"],
            "not-found"
        );
        let has = |name: &str| stage.path(copied).join(name).exists();
        assert!(has("a/one") && has("b/c/deep") && has("line\nbreak"));
        assert!(!has("a/two") && !has("b/other"));
    }
    synced
        .run(&["--delete", "--files-from", list.to_str().unwrap()])
        .fails(2, "usage");
}

#[test]
fn atomic_copy_appears_whole_or_not_at_all() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["a", "b/c"]);
    symlink("/etc/passwd", stage.path("user/src/bad")).unwrap();
    synced.run(&["--atomic"]).fails(1, "not-whole");
    assert!(!synced.has(""));
    fs::remove_file(stage.path("user/src/bad")).unwrap();
    done(&synced.run(&["--atomic"]));
    assert!(synced.has("b/c"));
    synced.run(&["--atomic"]).fails(22, "exists");
}

#[test]
fn options_of_other_programs_are_refused_by_name() {
    let synced = Synced::new();
    for options in [
        &["--link-dest", "x"][..],
        &["--inplace"],
        &["-o"],
        &["-g"],
        &["--ignore-existing"],
        &["--update"],
        &["--whole-file"],
        &["--partial"],
        &["--progress"],
        &["--remove-source-files"],
    ] {
        let message = synced.run(options).fails(2, "usage");
        assert!(message.contains(options[0]), "{message}");
    }
}
