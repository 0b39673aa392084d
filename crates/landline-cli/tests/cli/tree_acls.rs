//! ACLs in copies of trees.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use testkit::{Census, Mount, Outcome, Stage, wait_for};

use crate::{
    noise,
    resume::{RelayedServer, event, events},
    run_isolation::wrapped,
    run_many_hosts::servers,
    stage,
    sync::Synced,
    tree_links::changes,
    tree_records::{SOURCE, body_with, entry, record, send_request},
    trees::write,
};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const OWNER: (u16, u16, u32) = (1, 7, u32::MAX);
const OTHERS: (u16, u16, u32) = (0x20, 0, u32::MAX);

/// What the system has for an ACL with these entries between the owner and others.
fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [&[OWNER], entries, &[OTHERS]].concat() {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// An ACL that gives rights to a user, with the group's permissions and the mask.
fn acl_of(user: u32, [group, mask]: [u16; 2]) -> Vec<u8> {
    value(&[
        (2, 6, user),
        (4, group, u32::MAX),
        (8, 5, 2),
        (0x10, mask, u32::MAX),
    ])
}

/// Sets an ACL. Returns false where the file system has none.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    if let Err(error) = set {
        eprintln!("SKIPPED: no ACLs: {error}");
    }
    set.is_ok()
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The ACLs of [`make_tree`]: a user of number 1 is in the list of users of any system.
fn acls() -> [(&'static str, &'static str, Vec<u8>); 5] {
    [
        ("a/small", ACCESS, acl_of(1, [4, 6])),
        ("big", ACCESS, acl_of(3_999_999_999, [0, 7])),
        ("a", ACCESS, acl_of(1, [5, 5])),
        ("a", DEFAULT, acl_of(1, [7, 7])),
        ("", DEFAULT, value(&[(4, 5, u32::MAX)])),
    ]
}

fn make_tree(root: &Path) -> bool {
    write(&root.join("a/small"), b"small");
    write(&root.join("a/inner/plain"), b"plain");
    write(&root.join("big"), &noise(3_000_000, 5));
    acls()
        .iter()
        .all(|(path, name, value)| set(&root.join(path), name, value))
}

/// Asserts that the copy has the ACLs of the tree, and no others.
fn assert_kept(root: &Path) {
    for path in ["", "a", "a/small", "a/inner", "a/inner/plain", "big"] {
        for name in [ACCESS, DEFAULT] {
            let acls = acls();
            let mut expected = acls.iter().filter(|acl| (acl.0, acl.1) == (path, name));
            let expected = expected.next().map(|(_, _, value)| value.clone());
            let found = get(&root.join(path), name);
            assert_eq!(found, expected, "{name} of {path:?} in {root:?}");
        }
    }
    assert_eq!(mode_of(&root.join("a/small")), 0o760);
    assert_eq!(mode_of(&root.join("big")), 0o770);
    assert_eq!(mode_of(&root.join("a")), 0o750);
}

#[test]
fn acls_are_kept_if_asked_for() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    if !make_tree(&stage.path("user/tree")) {
        return;
    }
    stage.run(&["cp", "-r", "--acls", "tree", "web1:"]).ok();
    stage
        .run(&["cp", "-r", "--acls", "web1:tree", "web2:"])
        .ok();
    stage.run(&["sync", "--acls", "web2:tree", "back"]).ok();
    // Into a folder whose new entries get ACLs of their own.
    let there = stage.path("web1/there");
    fs::create_dir(&there).unwrap();
    set(&there, DEFAULT, &acl_of(3, [7, 7]));
    stage.run(&["sync", "--acls", "tree", "web1:there"]).ok();
    for copy in ["web1/tree", "web2/tree", "user/back", "web1/there"] {
        assert_kept(&stage.path(copy));
    }
    for paths in [
        ["tree", "web1:tree"],
        ["tree", "web1:there"],
        ["web1:tree", "back"],
    ] {
        let [from, to] = paths;
        let again = stage.run(&["--json", "sync", "--acls", "--itemize", from, to]);
        assert_eq!(changes(&again), Vec::<Value>::new());
        again.ok();
    }
    stage.run(&["cp", "-rp", "tree", "web1:without"]).ok();
    assert_eq!(get(&stage.path("web1/without/a/small"), ACCESS), None);
    assert_eq!(get(&stage.path("web1/without/a"), DEFAULT), None);
}

#[test]
fn acl_alone_is_a_change() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    if !make_tree(&source) {
        return;
    }
    synced.run(&["-p"]).ok();
    set(&target.join("a/inner/plain"), ACCESS, &acl_of(7, [4, 4]));
    synced.run(&["-p"]).ok();
    let planned = changes(&synced.run(&["-n", "--acls"]));
    let with_mode = |path| json!(["change", ["acl"], path]);
    for path in [".", "a", "a/inner/plain", "a/small", "big"] {
        assert!(planned.contains(&with_mode(path)), "{path} in {planned:?}");
    }
    assert_eq!(planned.len(), 5, "{planned:?}");
    let made = synced.run(&["--acls", "--itemize"]);
    assert_eq!(changes(&made), planned);
    assert_eq!(event(&events(&made), "done").unwrap()["files"], 0);
    assert_kept(&target);
    assert_eq!(changes(&synced.run(&["-n", "--acls"])), Vec::<Value>::new());
    // With changed content, whole and by its changes, and with another ACL.
    for delta in ["off", "on"] {
        write(&source.join("big"), &noise(3_000_000, delta.len() as u64));
        synced.run(&["--acls", "--delta", delta]).ok();
        assert_kept(&target);
    }
    // Without rights for others, and with hard links to a file with an ACL.
    rustix::fs::removexattr(source.join("a/small"), ACCESS).unwrap();
    fs::hard_link(source.join("big"), source.join("a/big")).unwrap();
    synced.run(&["--acls", "-H"]).ok();
    assert_eq!(get(&target.join("a/small"), ACCESS), None);
    assert_eq!(
        get(&target.join("a/big"), ACCESS),
        get(&source.join("big"), ACCESS)
    );
}

/// The messages of what was not copied.
fn failures(outcome: &Outcome) -> Vec<String> {
    let events = events(outcome);
    let failed = events.iter().filter(|event| event["event"] == "failed");
    failed.map(|event| event["message"].to_string()).collect()
}

#[test]
fn target_without_acls_gives_no_more_rights() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    if !make_tree(&source) {
        return;
    }
    fs::create_dir_all(&target).unwrap();
    let Some(_mount) = Mount::ramfs(&target) else {
        return;
    };
    let without = rustix::fs::getxattr(&target, ACCESS, &mut [0u8; 100][..]);
    let outcomes = [
        synced.run(&["--acls"]),
        synced.run(&["--acls", "--itemize"]),
    ];
    let modes = ["big", "a/small", "a"].map(|path| mode_of(&target.join(path)));
    let small = fs::read(target.join("a/small"));
    assert_eq!(without, Err(rustix::io::Errno::NOTSUP));
    for outcome in &outcomes {
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        let failed = failures(outcome);
        assert_eq!(failed.len(), 4, "{failed:?}");
        assert!(failed.iter().all(|text| text.contains("ACL")), "{failed:?}");
    }
    assert_eq!(changes(&outcomes[1]), Vec::<Value>::new());
    // The group gets what the ACL gives it, and not what the mask allows.
    assert_eq!(modes, [0o700, 0o740, 0o750]);
    assert_eq!(small.unwrap(), b"small");
}

/// Runs a command on what looks like another machine: with other users and groups.
fn run_elsewhere(stage: &Stage, arguments: &[&str], users: &str, groups: &str) -> Option<Outcome> {
    fs::write(stage.path("users"), users).unwrap();
    fs::write(stage.path("groups"), groups).unwrap();
    let script = "mount --bind \"$0\" /etc/passwd && mount --bind \"$1\" /etc/group && shift && \
                  exec \"$@\"";
    let (users, groups) = (stage.path("users"), stage.path("groups"));
    let (users, groups) = (users.to_str()?, groups.to_str()?);
    let inside = ["unshare", "--mount", "sh", "-c", script, users, groups];
    let mut probe = Command::new(inside[0]);
    let can = probe.args(&inside[1..]).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: another list of users needs root and unshare");
        return None;
    }
    let mut command = wrapped(&inside, &stage.command(arguments));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(stage.run_command(command))
}

#[test]
fn users_and_groups_are_found_by_name() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    write(&source.join("file"), b"content");
    write(&source.join("other"), b"other");
    // Users 5001 to 5003, of which the server knows the first by another number, and group 2.
    let acl = value(&[
        (2, 6, 5001),
        (2, 4, 5002),
        (2, 1, 5003),
        (4, 4, u32::MAX),
        (8, 5, 2),
        (0x10, 7, u32::MAX),
    ]);
    if !set(&source.join("file"), ACCESS, &acl) {
        return;
    }
    let at = synced.server.at("dst");
    let arguments = ["sync", "--json", "--acls", source.to_str().unwrap(), &at];
    let users = "root:x:0:0::/root:/bin/sh\ndaemon:x:5001:5001::/:/bin/sh\n\
                 landline-nobody:x:5002:5002::/:/bin/sh\n";
    let groups = "root:x:0:\nlandline-none:x:2:\n";
    for attempt in ["new", "unchanged"] {
        let Some(outcome) = run_elsewhere(&synced.stage, &arguments, users, groups) else {
            return;
        };
        assert_eq!(outcome.status, Some(1), "{attempt}: {}", outcome.stderr);
        let failed = failures(&outcome);
        assert_eq!(failed.len(), 1, "{failed:?}");
        for name in ["user landline-nobody", "group landline-none"] {
            assert!(failed[0].contains(name), "{failed:?}");
        }
        let files = if attempt == "new" { 2 } else { 0 };
        let all = events(&outcome);
        assert_eq!(event(&all, "done").unwrap()["files"], files);
        // A number without a name at both ends is kept.
        let kept = value(&[
            (2, 6, 1),
            (2, 1, 5003),
            (4, 4, u32::MAX),
            (0x10, 7, u32::MAX),
        ]);
        assert_eq!(get(&target.join("file"), ACCESS), Some(kept));
        assert_eq!(fs::read(target.join("other")).unwrap(), b"other");
    }
    // A number that is another user's here.
    let acl = value(&[(2, 6, 1), (4, 4, u32::MAX), (0x10, 7, u32::MAX)]);
    set(&source.join("other"), ACCESS, &acl);
    let root = "root:x:0:0::/root:/bin/sh\n";
    let outcome = run_elsewhere(&synced.stage, &arguments, root, root).unwrap();
    let failed = failures(&outcome);
    assert!(
        failed.iter().any(|text| text.contains("user 1")),
        "{failed:?}"
    );
    let kept = value(&[(4, 4, u32::MAX), (0x10, 7, u32::MAX)]);
    assert_eq!(get(&target.join("other"), ACCESS), Some(kept));
}

#[test]
fn acls_are_kept_after_a_lost_connection() {
    let relayed = RelayedServer::new(31);
    let tree = relayed.stage.path("user/tree");
    if !make_tree(&tree) {
        return;
    }
    write(&tree.join("z"), &noise(8 << 20, 6));
    set(&tree.join("z"), ACCESS, &acl_of(1, [4, 6]));
    let to = relayed.via_relay("copy");
    let arguments = ["--json", "cp", "-r", "--acls", "--retry", "0", "tree", &to];
    relayed.relay.cut_after(5 << 20);
    relayed.stage.run(&arguments).fails(10, "lost");
    relayed.relay.mend();
    relayed.server.event("disconnected");
    relayed.stage.run(&arguments).ok();
    let copy = relayed.stage.path("home/copy");
    assert_kept(&copy);
    assert_eq!(get(&copy.join("z"), ACCESS), get(&tree.join("z"), ACCESS));
}

/// A peer sends ACLs only if they were agreed, and the permission bits limit them.
#[test]
fn hostile_acls_are_refused_or_limited() {
    let stage = stage();
    write(&stage.path("probe/file"), b"");
    let has_acls = set(&stage.path("probe/file"), ACCESS, &acl_of(1, [4, 6]));
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let request = |acls: bool, exact: bool| {
        json!({
            "type": "put-tree", "path": "tree", "placement": "exact", "source": "x",
            "replace": true, "times": true, "acls": acls, "exact_mode": exact,
        })
    };
    let acl = |which: u8, permissions: u8| {
        let entries = [
            which,
            1,
            permissions,
            3,
            7,
            255,
            255,
            255,
            238,
            4,
            7,
            7,
            7,
            8,
            permissions,
        ];
        record(12, &entries)
    };
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let file = entry(2, 0, b"file", 0, b"");
    for (what, acls, exact, records) in [
        (
            "an ACL that was not asked for",
            false,
            true,
            vec![acl(1, 7)],
        ),
        ("ACLs without exact modes", true, false, vec![]),
        ("two ACLs", true, true, vec![acl(1, 7), acl(1, 6)]),
        (
            "a default ACL first",
            true,
            true,
            vec![acl(2, 7), acl(1, 7)],
        ),
        (
            "an ACL of a link",
            true,
            true,
            vec![root.clone(), acl(1, 7), entry(3, 0, b"x", 0, b"t")],
        ),
        (
            "a default ACL of a file",
            true,
            true,
            vec![root.clone(), acl(2, 7), file.clone()],
        ),
        (
            "an ACL of nothing",
            true,
            true,
            vec![root.clone(), acl(1, 7), record(2, &[0; 5])],
        ),
    ] {
        let code = send_request(&stage, &server, &request(acls, exact), &records);
        assert_eq!(code.as_deref(), Some("bad-header"), "{what}");
        wait_for(what, || Census::of(&stage.home()) == before);
    }
    // The mode of the entry is 0644: it limits the ACL, which gives all rights to all.
    let first = [acl(1, 7), root].concat();
    let body = vec![body_with(&[first], &[0])];
    let code = send_request(&stage, &server, &request(true, true), &body);
    assert_eq!(code, None);
    let tree = stage.path("home/tree");
    wait_for("the tree", || tree.exists());
    wait_for("its mode", || mode_of(&tree) == 0o644);
    if has_acls {
        let found = get(&tree, ACCESS).unwrap();
        let expected = [
            (1u16, 6u16, u32::MAX),
            (2, 7, 0xeeff_ffff),
            (4, 7, u32::MAX),
            (0x10, 4, u32::MAX),
            (0x20, 4, u32::MAX),
        ];
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in expected {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        assert_eq!(found, value);
    }
}

/// A file system within the destination, to which files are moved when they are complete.
#[test]
fn mount_without_acls_gives_the_group_no_more_rights() {
    let synced = Synced::new();
    let (source, target) = (synced.stage.path("user/src"), synced.stage.path("home/dst"));
    if !make_tree(&source) {
        return;
    }
    write(&source.join("b"), b"closed");
    set(&source.join("b"), ACCESS, &acl_of(1, [0, 7]));
    fs::hard_link(source.join("b"), source.join("a/closed")).unwrap();
    let mounted = target.join("a");
    fs::create_dir_all(&mounted).unwrap();
    let Some(_mount) = Mount::ramfs(&mounted) else {
        return;
    };
    let outcome = synced.run(&["--acls", "-H"]);
    let modes = ["small", "closed"].map(|name| mode_of(&mounted.join(name)));
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    assert_eq!(modes, [0o740, 0o700]);
}

/// A copy that fails leaves no rights that neither side gave.
#[test]
fn failed_copy_gives_no_rights_by_an_acl() {
    let relayed = RelayedServer::new(37);
    let tree = relayed.stage.path("user/tree");
    write(&tree.join("file"), &noise(8 << 20, 6));
    // The mask gives the user nothing.
    if !set(&tree, ACCESS, &acl_of(1, [0, 0])) {
        return;
    }
    let copy = relayed.stage.path("home/copy");
    fs::create_dir(&copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o770)).unwrap();
    let to = relayed.via_relay("copy");
    relayed.relay.cut_after(2 << 20);
    let arguments = ["--json", "sync", "--acls", "--retry", "0", "tree", &to];
    relayed.stage.run(&arguments).fails(10, "lost");
    relayed.relay.mend();
    relayed.server.event("disconnected");
    assert_eq!(get(&copy, ACCESS), get(&tree, ACCESS));
    assert_eq!(mode_of(&copy), 0o700);
}

#[test]
fn granted_folder_keeps_its_default_acl() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("user/tree/a/file"), b"file");
    let tree = stage.path("user/tree");
    let acl = acl_of(1, [7, 7]);
    if !set(&tree, DEFAULT, &acl) || !set(&tree.join("a"), DEFAULT, &acl) {
        return;
    }
    let outcome = stage.run(&["--json", "sync", "--acls", "tree", &server.at(".")]);
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    let failed = failures(&outcome);
    assert!(
        failed.len() == 1 && failed[0].contains("default ACL"),
        "{failed:?}"
    );
    assert_eq!(get(&stage.home(), DEFAULT), None);
    assert_eq!(get(&stage.path("home/a"), DEFAULT), Some(acl));
}

/// An ACL that names a user twice means nothing to other programs. The system takes it.
#[test]
fn entry_with_an_acl_that_is_not_valid_is_copied_without() {
    let twice = value(&[(2, 6, 1), (2, 4, 1), (4, 0, u32::MAX), (0x10, 7, u32::MAX)]);
    for up in [true, false] {
        let stage = stage();
        let server = stage.joined();
        let (from, to) = if up {
            ("user", "home")
        } else {
            ("home", "user")
        };
        let tree = stage.path(from).join("tree");
        write(&tree.join("folder/file"), b"content");
        write(&tree.join("other"), b"other");
        for entry in ["folder/file", "folder", ""] {
            if !set(&tree.join(entry), ACCESS, &twice) {
                return;
            }
        }
        let copied = if up {
            ["tree".to_owned(), server.at("copy")]
        } else {
            [server.at("tree"), "copy".to_owned()]
        };
        let outcome = stage.run(&["cp", "-r", "--acls", &copied[0], &copied[1]]);
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        let said = outcome.stderr.matches("the copy has no ACL").count();
        assert_eq!(said, 3, "{}", outcome.stderr);
        let copy = stage.path(to).join("copy");
        assert_eq!(fs::read(copy.join("folder/file")).unwrap(), b"content");
        assert_eq!(fs::read(copy.join("other")).unwrap(), b"other");
        for entry in ["folder/file", "folder", ""] {
            let path = copy.join(entry);
            assert_eq!(get(&path, ACCESS), None, "{entry}");
            // The bits of the group were the mask.
            assert_eq!(mode_of(&path), 0o700, "{entry}");
        }
    }
}
