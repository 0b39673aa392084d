//! What `sync --delete` keeps: mounts, protected and closed folders, what is left out, and backups.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use serde_json::json;
use testkit::{Mount, Outcome};

use crate::{
    resume::{event, events, staging},
    sync::{Synced, changes, done},
    trees::write,
};

/// The codes of the entries that were not copied or deleted.
fn failed_codes(outcome: &Outcome) -> Vec<String> {
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    let events = events(outcome);
    let failed = events.iter().filter(|event| event["event"] == "failed");
    failed
        .map(|event| event["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn mounted_file_systems_keep_their_content() {
    let synced = Synced::new();
    let usb = synced.stage.path("home/dst/usb");
    fs::create_dir_all(&usb).unwrap();
    let Some(_mount) = Mount::disk(&usb, "size=8m") else {
        return;
    };
    synced.source(&["file"]);
    synced.target(&["usb/file", "usb/folder/file", "extra"]);
    let run = synced.run(&["--delete", "--max-delete", "1"]);
    assert_eq!(failed_codes(&run), ["denied"]);
    assert!(synced.has("usb/file") && synced.has("usb/folder/file"));
    assert!(!synced.has("extra"));
    // A file cannot take its place.
    synced.source(&["usb", "later"]);
    assert_eq!(failed_codes(&synced.run(&["--delete"])), ["denied"]);
    assert!(synced.has("usb/file") && synced.has("later"));
    // Within it, one entry fails and not the whole copy.
    fs::remove_file(synced.stage.path("user/src/usb")).unwrap();
    synced.source(&["usb/folder", "usb/file", "last"]);
    assert_eq!(failed_codes(&synced.run(&["--delete"])).len(), 1);
    assert!(synced.has("usb/folder/file") && synced.has("last"));
    assert_eq!(staging(&synced.stage.home()).len(), 0);
}

/// What is excluded as a folder is not excluded as a link, and stays all the same.
#[test]
fn excluded_folder_is_not_replaced_by_a_link() {
    let synced = Synced::new();
    synced.source(&["file"]);
    symlink("file", synced.stage.path("user/src/node_modules")).unwrap();
    synced.target(&["node_modules/deep/file"]);
    let options = ["--delete", "--exclude", "node_modules/"];
    assert_eq!(failed_codes(&synced.run(&options)), ["not-empty"]);
    assert!(synced.has("node_modules/deep/file") && synced.has("file"));
    done(&synced.run(&["--delete"]));
    assert!(!synced.has("node_modules/deep"));
}

#[test]
fn excluded_names_may_begin_with_marks_of_gitignore() {
    let synced = Synced::new();
    synced.source(&["file", "!taken", "#taken"]);
    synced.target(&["#recycle/file", "!kept", "extra"]);
    let run = synced.run(&["--delete", "--exclude", "#recycle", "--exclude", "!kept"]);
    assert_eq!(done(&run)["removed"], 1);
    assert!(synced.has("#recycle/file") && synced.has("!kept"));
    let options = [
        "--exclude",
        "*taken",
        "--include",
        "!taken",
        "--include",
        "#taken",
    ];
    done(&synced.run(&options));
    assert!(synced.has("!taken") && synced.has("#taken"));
}

/// A dry run cannot look into such a folder, so the run must not empty it.
#[test]
fn closed_folder_stays() {
    let synced = Synced::new();
    synced.source(&["file"]);
    synced.target(&["extra/closed/one", "extra/closed/two", "closed/three"]);
    let closed = ["extra/closed", "closed"].map(|name| synced.stage.path("home/dst").join(name));
    let set_mode = |mode| {
        for folder in &closed {
            fs::set_permissions(folder, PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    for mode in [0o000, 0o300] {
        set_mode(mode);
        let options = ["--delete", "--max-delete", "0"];
        let plan = synced.run(&[&options[..], &["-n"]].concat());
        assert_eq!(failed_codes(&plan), ["denied", "denied"]);
        assert!(!changes(&plan).iter().any(|line| line.starts_with("delete")));
        assert_eq!(failed_codes(&synced.run(&options)), ["denied", "denied"]);
        set_mode(0o700);
        for name in ["extra/closed/one", "extra/closed/two", "closed/three"] {
            assert!(synced.has(name), "{name}");
        }
    }
    assert_eq!(done(&synced.run(&["--delete"]))["removed"], 6);
}

#[test]
fn protected_folder_does_not_count_as_deleted() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["file"]);
    for number in 0..40 {
        synced.target(&[&format!("shared/{number}")]);
    }
    synced.target(&["extra"]);
    stage.write_rights(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\n\
         [users.bob]\nrole = \"user\"\nfiles = [\"rw:~/dst/shared\"]\n",
    );
    synced.server.rights_loaded(stage);
    assert_eq!(failed_codes(&synced.run(&["--delete"])), ["denied"]);
    assert!(synced.has("shared/1") && !synced.has("extra"));
}

#[test]
fn backups_go_only_where_the_user_may_write() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["file", "closed/changed"]);
    synced.target(&["closed/extra/x", "closed/changed", "extra"]);
    fs::create_dir(stage.path("home/closed")).unwrap();
    stage.write_rights("[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\", \"r:~/closed\"]\n");
    synced.server.rights_loaded(stage);
    let codes = failed_codes(&synced.run(&["--delete", "--backup-dir", "."]));
    assert!(codes.iter().all(|code| code == "denied"), "{codes:?}");
    assert!(synced.has("closed/extra/x") && !synced.has("extra"));
    assert_eq!(stage.read("home/extra"), b"in the target");
    assert_eq!(stage.read("home/dst/closed/changed"), b"in the target");
    assert_eq!(fs::read_dir(stage.path("home/closed")).unwrap().count(), 0);
}

#[test]
fn backup_folder_is_another_one_on_the_machine_of_the_destination() {
    let synced = Synced::new();
    synced.source(&["file"]);
    synced.target(&["extra"]);
    let run = |folder: &str| synced.run(&["--delete", "--backup-dir", folder]);
    run("nas:old").fails(2, "usage");
    run("dst").fails(23, "denied");
    assert!(synced.has("extra"));
}

#[test]
fn backed_up_files_count_for_the_quota() {
    let synced = Synced::new();
    let stage = &synced.stage;
    // More files than the server forgets at once.
    let count = 2_100;
    stage.write_rights(&format!(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\nquota = {{ files = {} }}\n",
        count + 1
    ));
    synced.server.rights_loaded(stage);
    for number in 0..count {
        synced.source(&[&format!("kind/{number}")]);
    }
    done(&synced.run(&[]));
    fs::remove_dir_all(stage.path("user/src/kind")).unwrap();
    synced.source(&["kind"]);
    let options = ["--delete", "--force", "--backup-dir", "kept"];
    assert_eq!(done(&synced.run(&options))["files"], 1);
    assert_eq!(
        fs::read_dir(stage.path("home/kept/kind")).unwrap().count(),
        count
    );
    synced.source(&["another"]);
    synced.run(&[]).fails(24, "no-space");
}

#[test]
fn replaced_folder_frees_the_quota() {
    let synced = Synced::new();
    let stage = &synced.stage;
    stage.write_rights(
        "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\nquota = { files = 4 }\n",
    );
    synced.server.rights_loaded(stage);
    synced.source(&["kind/1", "kind/deep/2"]);
    done(&synced.run(&[]));
    fs::remove_dir_all(stage.path("user/src/kind")).unwrap();
    synced.source(&["kind"]);
    done(&synced.run(&["--delete"]));
    synced.source(&["a", "b", "c"]);
    done(&synced.run(&[]));
    synced.source(&["d"]);
    synced.run(&[]).fails(24, "no-space");
}

#[test]
fn unusable_patterns_are_refused_before_they_are_sent() {
    let synced = Synced::new();
    synced.source(&["file"]);
    for option in ["--exclude=", &format!("--exclude={}", "x".repeat(5_000))] {
        let refused = synced.run(&[option]);
        assert!(refused.stderr.contains("name-refused"), "{refused:?}");
        assert_ne!(refused.status, Some(13));
    }
}

/// Needs a file system that can take upper and lower case for the same.
#[test]
fn folders_with_similar_names_are_not_mixed() {
    let synced = Synced::new();
    let stage = &synced.stage;
    fs::create_dir_all(stage.path("home/dst")).unwrap();
    let folds = Command::new("chattr")
        .arg("+F")
        .arg(stage.path("home/dst"))
        .output();
    if !folds.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: the file system tells upper and lower case apart");
        return;
    }
    synced.source(&["A/one", "a/two", "B/one", "b"]);
    for _ in 0..2 {
        let codes = failed_codes(&synced.run(&["--delete"]));
        assert_eq!(codes, ["exists", "exists"]);
        assert!(synced.has("A/one") && !synced.has("a/two") && synced.has("B/one"));
    }
}

#[test]
fn quiet_dry_run_prints_nothing() {
    let synced = Synced::new();
    synced.source(&["file"]);
    let source = synced.stage.path("user/src");
    let target = synced.server.at("dst");
    let arguments = ["sync", "-q", "-n", source.to_str().unwrap(), &target];
    assert_eq!(synced.stage.run(&arguments).ok(), "");
    let event_of = |outcome: &Outcome| event(&events(outcome), "done").unwrap()["files"].clone();
    assert_eq!(event_of(&synced.run(&["-n"])), json!(1));
}

/// A dry run changes nothing, so the audit log has no line about a copy.
#[test]
fn dry_run_is_not_in_the_audit_log() {
    let synced = Synced::new();
    synced.source(&["a"]);
    let lines = || {
        let shown = synced.stage.run_at_server(&["audit", "show", "--json"]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        text.lines().filter(|line| line.contains("put")).count()
    };
    synced.run(&["-n"]).ok();
    assert_eq!(lines(), 0);
    synced.run(&[]).ok();
    assert!(lines() > 0);
}

/// A mount of the same file system has the same device as its folder.
#[test]
fn bind_mount_in_the_target_stays() {
    let synced = Synced::new();
    synced.source(&["both"]);
    synced.target(&[
        "both",
        "extra",
        "folder/x",
        "at-top/below",
        "in-folder/deep/below",
    ]);
    let elsewhere = synced.stage.path("elsewhere");
    write(&elsewhere.join("precious"), b"precious");
    let places =
        ["at-top", "in-folder/deep"].map(|place| synced.stage.path("home/dst").join(place));
    let mounts: Option<Vec<Mount>> = places
        .iter()
        .map(|place| Mount::bind(&elsewhere, place))
        .collect();
    let Some(mounts) = mounts else {
        return;
    };
    let planned = synced.run(&["--delete", "-n"]);
    let done = synced.run(&["--delete", "--itemize"]);
    let is_kept = fs::read(elsewhere.join("precious")).is_ok();
    drop(mounts);
    let text = |outcome: &Outcome| format!("{:?}", events(outcome));
    assert!(is_kept, "{}", text(&done));
    for outcome in [&planned, &done] {
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        assert!(text(outcome).contains("mount point"), "{}", text(outcome));
    }
    assert!(!synced.has("extra") && !synced.has("folder"));
    assert!(synced.has("at-top/below") && synced.has("in-folder/deep/below"));
}
