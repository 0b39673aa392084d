//! Administration on the server's machine when its state is damaged or incomplete.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::PathBuf,
};

use testkit::{Census, Stage};

use crate::{service_sets::set_options, stage};

/// A typing error in the rights file does not keep an admin from removing a user.
#[test]
fn user_is_removed_despite_broken_rights() {
    let stage = stage();
    let server = stage.joined();
    stage
        .run_at_server(&["user", "add", "bob", "--files", "rw:~/bob"])
        .ok();
    let rights = stage.path("server/server/rights.toml");
    fs::File::options()
        .append(true)
        .open(&rights)
        .unwrap()
        .write_all(b"admin = maybe\n")
        .unwrap();
    server.event("rights-refused");
    let outcome = stage.run_at_server(&["user", "disable", "bob"]);
    assert!(
        outcome.stderr.contains("rights.toml: line"),
        "{}",
        outcome.stderr
    );
    outcome.ok();
    stage.run_at_server(&["user", "keys", "list", "alice"]).ok();
    stage.run_at_server(&["secret", "list"]).ok();
    let bob = stage
        .run(&["--json", "user", "--on", "127.0.0.1", "show", "bob"])
        .json();
    assert!(bob["disabled"].is_i64(), "{bob}");
    // Commands that would grant rights are refused and change nothing.
    stage
        .run_at_server(&["--json", "user", "add", "carol", "--files", "rw:~/carol"])
        .fails(31, "state");
    assert!(
        !stage
            .run(&["user", "--on", "127.0.0.1", "list"])
            .ok()
            .contains("carol")
    );
    // The same while no server runs.
    drop(server);
    stage
        .run_at_server(&["--json", "user", "remove", "bob", "--force"])
        .fails(31, "state");
    let bob = stage
        .run_at_server(&["--json", "user", "show", "bob"])
        .json();
    assert!(bob["disabled"].is_i64(), "{bob}");
}

/// The files of the audit log.
fn log(stage: &Stage) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(stage.path("server/server/audit"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Only a server that starts reports a changed log.
/// Commands that read leave the log as it is. Commands that change something are refused.
/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn command_does_not_hide_changed_audit_log() {
    let stage = stage();
    drop(stage.joined());
    let file = fs::File::options()
        .write(true)
        .open(&log(&stage)[0])
        .unwrap();
    file.write_at(b"X", 40).unwrap();
    let census = Census::of(&stage.path("server/server/audit"));
    for looking in [
        &["user", "list"][..],
        &["user", "show", "alice"],
        &["user", "invites", "list"],
        &["secret", "list"],
    ] {
        stage.run_at_server(looking).ok();
    }
    for changing in [
        &["--json", "user", "add", "bob"][..],
        &["--json", "user", "disable", "alice", "--force"],
        &["--json", "secret", "add", "alice"],
    ] {
        stage.run_at_server(changing).fails(31, "state");
    }
    assert!(
        Census::of(&stage.path("server/server/audit")) == census,
        "the audit log is unchanged"
    );
    assert!(!stage.run_at_server(&["user", "list"]).ok().contains("bob"));
    // The server continues in a new file. Then commands work again.
    let server = stage.serve(&[]);
    assert_eq!(log(&stage).len(), 2);
    stage.run_at_server(&["user", "add", "bob"]).ok();
    drop(server);
}

/// The server reserves disk space for its log. Commands do not release it.
#[test]
fn command_keeps_reserved_space() {
    let stage = stage();
    let _server = stage.joined();
    let blocks = || fs::metadata(&log(&stage)[0]).unwrap().blocks();
    let taken = blocks();
    if taken < 1024 {
        eprintln!("SKIPPED: this file system cannot reserve space");
        return;
    }
    stage.run_at_server(&["user", "list"]).ok();
    assert_eq!(blocks(), taken);
    stage.run_at_server(&["user", "add", "bob"]).ok();
    stage.run(&["ping", "127.0.0.1"]).ok();
    assert!(blocks() >= taken, "{} of {taken}", blocks());
}

/// The store contains keys, so it must be private even if its mode was changed.
#[test]
fn store_is_made_private() {
    let stage = stage();
    let files = [
        "accounts.db",
        "accounts.db-wal",
        "accounts.db-shm",
        "work.db",
        "work.db-wal",
        "work.db-shm",
    ];
    let path = |name: &str| stage.path("server/server").join(name);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    let server = stage.joined();
    files
        .iter()
        .for_each(|name| assert_eq!(mode(name), 0o600, "{name}"));
    drop(server);
    for name in files.iter().filter(|name| path(name).exists()) {
        fs::set_permissions(path(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    let _server = stage.serve(&[]);
    files
        .iter()
        .for_each(|name| assert_eq!(mode(name), 0o600, "{name} of an earlier release"));
}

/// An admin loses the key that made an invite, but keeps a secret. The invite becomes invalid.
#[test]
fn removing_key_of_admin_revokes_its_invites() {
    let stage = stage();
    let server = stage.joined();
    let invite = stage
        .run(&["user", "--on", "127.0.0.1", "invite", "bob"])
        .ok();
    let kept = stage.path("kept").display().to_string();
    stage
        .run_at_server(&["secret", "add", "alice", "--out", &kept])
        .ok();
    let shown: serde_json::Value = serde_json::from_str(
        &stage
            .run_at_server(&["user", "show", "alice", "--json"])
            .ok(),
    )
    .unwrap();
    let fingerprint = shown["keys"][0]["fingerprint"].as_str().unwrap().to_owned();
    stage
        .run_at_server(&["user", "keys", "remove", "alice", &fingerprint])
        .ok();
    assert_eq!(
        stage
            .run_at_server(&["user", "invites", "list", "--json"])
            .ok(),
        ""
    );
    let join = ["--json", "--state", "other", "join", "-", "--as", "bob"];
    stage
        .run_with_input(&join, invite.as_bytes())
        .fails(12, "invite-unknown");
    drop(server);
}

/// The first account that is added on the server's machine invalidates the owner's invite, even one
/// that was saved.
#[test]
fn first_account_invalidates_owner_invite() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    stage
        .run_at_server(&["user", "add", "carol", "--role", "owner"])
        .ok();
    stage
        .run_with_input(
            &["--json", "join", "-", "--as", "mallory"],
            invite.as_bytes(),
        )
        .fails(12, "invite-unknown");
}

/// A secret or invite that cannot be printed would be lost, so it is not made.
#[test]
fn credential_that_cannot_be_shown_is_not_made() {
    let stage = stage();
    let _server = stage.joined();
    let state = stage.path("server").display().to_string();
    let onto_a_full_disk = |arguments: &[&str]| {
        let mut command = stage.command(&[&["--json", "--state", &state], arguments].concat());
        command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
        stage.run_command(command).fails(24, "no-space");
    };
    onto_a_full_disk(&["secret", "add", "alice"]);
    assert_eq!(stage.run_at_server(&["secret", "list"]).ok(), "");
    for looking in [
        &["user", "invite", "bob"][..],
        &["user", "list"],
        &["audit", "show"],
    ] {
        onto_a_full_disk(looking);
    }
}

/// The first command of a new user may be one that reads.
#[test]
fn home_is_created_at_login() {
    use std::os::unix::fs::PermissionsExt;
    let stage = stage();
    let server = stage.joined();
    stage.write_rights("[users.alice]\nhome = \"~/carl\"\nfiles = [\"rw:~\", \"r:~/c\"]\n");
    server.rights_loaded(&stage);
    let listed = stage.run(&["ls", &server.at("")]);
    assert_eq!(
        (listed.status, listed.stdout.as_slice()),
        (Some(0), &b""[..])
    );
    assert_eq!(server.event("files-change")["action"], "make-folder");
    let home = fs::metadata(stage.path("home/carl")).unwrap();
    assert_eq!(home.permissions().mode() & 0o7777, 0o700);
    // A folder that may only be read is not created.
    stage.write_rights("[users.alice]\nhome = \"~/dora\"\nfiles = [\"r:~\"]\n");
    server.rights_loaded(&stage);
    stage
        .run(&["--json", "ls", &server.at("")])
        .fails(23, "denied");
    assert!(!stage.path("home/dora").exists());
    // Nor for a key that may not write.
    set_options(&stage, "landline-services=\"files.list\"");
    stage.write_rights("[users.alice]\nhome = \"~/eva\"\nfiles = [\"rw:~\"]\n");
    server.rights_loaded(&stage);
    assert_ne!(stage.run(&["ls", &server.at("")]).status, Some(0));
    assert!(!stage.path("home/eva").exists());
}

/// A granted folder is created when a user first writes to it, and not earlier.
/// Proves `link-in-path` in docs/faults.md.
#[test]
fn granted_folder_is_created_at_first_write() {
    let stage = stage();
    let server = stage.joined();
    stage.write_rights(
        "[users.alice]\nhome = \"~\"\nfiles = [\"rw:~/a/b\", \"r:~/c\", \"rw:/nowhere/d\"]\n",
    );
    server.rights_loaded(&stage);
    stage
        .run_at_server(&["check", "alice", "write", "a/b/x"])
        .ok();
    let denied = stage.run_at_server(&["check", "alice", "write", "c/x"]);
    assert_eq!(denied.status, Some(23));
    stage
        .run(&["--json", "cp", &server.at("a/b/x"), "x"])
        .fails(23, "denied");
    assert_eq!(Census::of(&stage.home()).paths(), [""; 0]);
    stage.write("user/x", b"content");
    stage.run(&["cp", "x", &server.at("a/b/x")]).ok();
    assert_eq!(stage.read("home/a/b/x"), b"content");
    stage
        .run(&["--json", "cp", "x", &server.at("c/x")])
        .fails(23, "denied");
    stage
        .run(&["--json", "cp", "x", &server.at("/nowhere/d/x")])
        .fails(23, "denied");
    assert!(!stage.path("home/c").exists());
    // A link that leads out of the home is not followed.
    std::os::unix::fs::symlink(stage.path("outside"), stage.path("home/link")).unwrap();
    fs::create_dir(stage.path("outside")).unwrap();
    stage.write_rights("[users.alice]\nhome = \"~\"\nfiles = [\"rw:~/link/deep\"]\n");
    server.rights_loaded(&stage);
    assert_ne!(
        stage.run(&["cp", "x", &server.at("link/deep/x")]).status,
        Some(0)
    );
    assert_eq!(fs::read_dir(stage.path("outside")).unwrap().count(), 0);
}
