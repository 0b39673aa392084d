//! Copies that send only the changed parts of a file.

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
};

use serde_json::{Value, json};
use testkit::{RawClient, ServerProcess, Stage, wait_for};

use crate::{
    noise,
    resume::{BLOCK, RelayedServer, SUBTREE, event, events, staging},
    stage,
    trees::write,
};

const MIB: usize = 1 << 20;

/// A copy of the file `new` of one side to the file `copy` of the other.
struct Copies {
    stage: Stage,
    server: ServerProcess,
}

impl Copies {
    fn new() -> Self {
        let stage = stage();
        let server = stage.joined();
        Self { stage, server }
    }

    /// Copies `new` over `old`. Returns how many bytes were sent.
    fn copy(&self, up: bool, new: &[u8], old: &[u8], delta: &str) -> u64 {
        let (from, to) = if up {
            ("user", "home")
        } else {
            ("home", "user")
        };
        self.stage.write(&format!("{from}/new"), new);
        self.stage.write(&format!("{to}/copy"), old);
        let done = self.run(up, delta);
        let copy = self.stage.read(&format!("{to}/copy"));
        assert!(copy == new, "the content differs");
        assert_eq!(
            staging(&self.stage.path(to)),
            Vec::<std::path::PathBuf>::new()
        );
        done["sent"].as_u64().unwrap()
    }

    /// Runs the copy. Returns the event of its end.
    fn run(&self, up: bool, delta: &str) -> Value {
        let (new, copy) = (self.server.at("new"), self.server.at("copy"));
        let (from, to) = if up {
            ("new", &copy[..])
        } else {
            (&new[..], "copy")
        };
        let arguments = ["cp", "--json", "--delta", delta, from, to];
        let outcome = self.stage.run(&arguments);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        event(&events(&outcome), "done").unwrap().clone()
    }
}

#[test]
fn only_changed_parts_are_sent() {
    let copies = Copies::new();
    let old = noise(4 * MIB + 77, 1);
    let mut new = old.clone();
    new[MIB] ^= 1;
    new[3 * MIB + 5] ^= 1;
    for up in [true, false] {
        assert_eq!(copies.copy(up, &new, &old, "on"), 2 * SUBTREE as u64);
        assert_eq!(copies.copy(up, &new, &new, "on"), 0);
        let shorter = &new[..2 * MIB + 9];
        assert!(copies.copy(up, shorter, &old, "on") <= 2 * SUBTREE as u64);
        assert!(copies.copy(up, &old, shorter, "on") >= 2 * MIB as u64);
        // Whole files are sent if the user says so, and to a server on the same machine.
        assert_eq!(copies.copy(up, &new, &old, "off"), new.len() as u64);
        assert_eq!(copies.copy(up, &new, &old, "auto"), new.len() as u64);
        // Too short to compare.
        assert_eq!(copies.copy(up, &new[..SUBTREE], &old, "on"), SUBTREE as u64);
        assert_eq!(copies.copy(up, b"", &old, "on"), 0);
        // Zeros are not sent.
        let mut zeros = old.clone();
        zeros[MIB..2 * MIB].fill(0);
        assert_eq!(copies.copy(up, &zeros, &old, "on"), 0);
    }
}

#[test]
fn inserted_byte_sends_little() {
    let copies = Copies::new();
    let old = noise(12 * MIB, 2);
    let new = [b"x", &old[..]].concat();
    let moved = [&old[5 * MIB + 11..], &old[..5 * MIB + 11]].concat();
    for up in [true, false] {
        let sent = copies.copy(up, &new, &old, "on");
        assert!(sent < MIB as u64, "{sent}");
        let sent = copies.copy(up, &moved, &old, "on");
        assert!(sent < 5 * MIB as u64, "{sent}");
    }
}

#[test]
fn regular_content_is_copied() {
    let copies = Copies::new();
    for pattern in [&b"a"[..], b"abc"] {
        let old: Vec<u8> = pattern.iter().copied().cycle().take(6 * MIB).collect();
        let new = [b"x", &old[..]].concat();
        let sent = copies.copy(true, &new, &old, "on");
        assert!(sent < MIB as u64, "{sent}");
    }
}

/// A sparse file replaces a dense one, and takes no more space than its data.
/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn sparse_file_stays_sparse() {
    let copies = Copies::new();
    let mut new = vec![0; 16 * MIB];
    new[MIB..MIB + 1000].fill(7);
    new[8 * MIB..8 * MIB + SUBTREE].fill(8);
    let end = new.len();
    new[end - 2] = 9;
    let old = noise(16 * MIB, 3);
    for up in [true, false] {
        copies.copy(up, &new, &old, "on");
        let copy = copies
            .stage
            .path(if up { "home/copy" } else { "user/copy" });
        let disk = fs::metadata(copy).unwrap().blocks() * 512;
        assert!(disk <= 3 * SUBTREE as u64 + 128 * 1024, "{disk}");
    }
}

/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn zeros_are_resumed_as_zeros() {
    for length in [16 * MIB, 24 * MIB + 1] {
        let relayed = RelayedServer::new(20);
        let zeros = vec![0; length];
        fs::write(relayed.stage.path("user/source"), &zeros).unwrap();
        relayed.relay.cut_after(13 * MIB as u64);
        let to = relayed.via_relay("copy");
        relayed
            .stage
            .run(&["--json", "cp", "--retry", "0", "source", &to])
            .fails(10, "lost");
        relayed.relay.mend();
        relayed.server.event("disconnected");
        let part = staging(&relayed.stage.home()).remove(0);
        fs::File::options()
            .write(true)
            .open(part)
            .unwrap()
            .write_all_at(b"damage", 100_000)
            .unwrap();
        relayed.stage.run(&["cp", "source", &to]).ok();
        assert!(relayed.stage.read("home/copy") == zeros);
    }
}

/// Another name of the file that is replaced keeps the old content.
/// Proves `other-name` in docs/faults.md.
#[test]
fn other_name_keeps_old_content() {
    let copies = Copies::new();
    let old = noise(2 * MIB, 4);
    let mut new = old.clone();
    new[9] ^= 1;
    for (up, folder) in [(true, "home"), (false, "user")] {
        let other = copies.stage.path(&format!("{folder}/other"));
        copies.stage.write(&format!("{folder}/copy"), &old);
        fs::hard_link(copies.stage.path(&format!("{folder}/copy")), &other).unwrap();
        copies
            .stage
            .write(if up { "user/new" } else { "home/new" }, &new);
        assert_eq!(copies.run(up, "on")["sent"], SUBTREE);
        assert!(fs::read(other).unwrap() == old);
        assert!(copies.stage.read(&format!("{folder}/copy")) == new);
    }
}

/// A key that may only store files gets to know nothing about those that it replaces.
#[test]
fn values_of_a_file_need_the_right_to_read_it() {
    let copies = Copies::new();
    let old = noise(2 * MIB, 5);
    copies.stage.write("home/copy", &old);
    let key = crate::login::client_key(&copies.stage);
    let ready = |options: Option<&str>| -> Value {
        if let Some(services) = options {
            crate::service_sets::set_options(&copies.stage, services);
        }
        let server = &copies.server;
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
        client
            .send_json(&json!({"type": "open", "service": "files"}))
            .unwrap();
        client
            .send_json(&json!({
                "type": "put", "path": "copy", "length": old.len(), "mode": 420, "replace": true,
                "compare": "always",
            }))
            .unwrap();
        client.header().unwrap().unwrap().read().unwrap()
    };
    assert_eq!(ready(None)["compare"], true);
    assert_eq!(
        ready(Some("landline-services=\"files.put\""))["compare"],
        false
    );
}

/// Both sides are killed in the middle of a copy of changed parts. The next one continues.
#[test]
fn killed_copy_of_changed_parts_is_resumed() {
    // Less than one block is not kept. How far the old content was compared does not matter then.
    let arrived = BLOCK + 2 * MIB;
    for (up, server_dies) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut relayed = RelayedServer::new(21);
        // Half of the old content is of use.
        let mut old = relayed.content.clone();
        let half = old.len() / 2;
        old[..half].copy_from_slice(&noise(half, 22));
        fs::write(relayed.folder(up).join("copy"), &old).unwrap();
        // Not all that differs: the copy waits here until it is killed.
        relayed.relay.hold_after((arrived + 6 * MIB) as u64);
        let [from, to] = relayed.arguments(up);
        let copy = ["cp", "--json", "--delta", "on", "--retry", "0", &from, &to];
        let mut child = relayed.stage.command(&copy).spawn().unwrap();
        wait_for("a part of the content", || {
            let part = staging(&relayed.folder(up));
            part.first().is_some_and(|part| {
                let mut end = [0; 8];
                let file = fs::File::open(part);
                let read = file.and_then(|file| file.read_exact_at(&mut end, arrived as u64));
                read.is_ok() && end == relayed.content[arrived..arrived + 8]
            })
        });
        if server_dies {
            let address = relayed.server.address.clone();
            relayed.server.kill();
            relayed.relay.release();
            child.wait().unwrap();
            relayed.server = relayed.stage.serve_at(&address, &[]);
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
            relayed.relay.release();
        }
        assert!(
            fs::read(relayed.folder(up).join("copy")).unwrap() == old,
            "the old file is whole"
        );
        let events = relayed.finish_copy(up, &["--delta", "on"]);
        // What the first attempt had of the old file was never sent.
        assert!(event(&events, "resumed-at").is_none());
        assert!(event(&events, "block-resent").is_none());
        let sent = event(&events, "done").unwrap()["sent"].as_u64().unwrap();
        assert!(
            sent <= (half - arrived + 2 * SUBTREE) as u64,
            "{up} {server_dies}: {sent}"
        );
    }
}

/// The file that is replaced changes while its moved content is copied. A whole copy follows, once.
#[test]
fn replaced_file_that_changes_leads_to_a_whole_copy() {
    for up in [true, false] {
        let relayed = RelayedServer::new(23);
        let old = [&noise(4 * MIB, 31), &relayed.content[..]].concat();
        let place = relayed.folder(up).join("copy");
        fs::write(&place, &old).unwrap();
        // Content that has to be sent comes first, so what has moved is copied late.
        let mut new = relayed.content.clone();
        let end = new.len();
        new[..8 * MIB].copy_from_slice(&noise(8 * MIB, 33));
        let source = relayed
            .stage
            .path(if up { "user/source" } else { "home/source" });
        fs::write(&source, &new).unwrap();
        // No moved content is copied before the old file has changed.
        relayed.relay.hold_after(7 << 20);
        let [from, to] = relayed.arguments(up);
        let copy = ["cp", "--json", "--delta", "on", &from, &to];
        let child = relayed
            .stage
            .command(&copy)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("content that was found", || {
            let part = staging(&relayed.folder(up));
            part.first().is_some_and(|part| {
                let mut bytes = [0; 8];
                let file = fs::File::open(part);
                let read = file.and_then(|file| file.read_exact_at(&mut bytes, 4 << 20));
                read.is_ok() && bytes == new[4 * MIB..4 * MIB + 8]
            })
        });
        // Content that was found, and not yet copied, is another one now.
        fs::File::options()
            .write(true)
            .open(&place)
            .unwrap()
            .write_all_at(&noise(2 * MIB, 35), (4 * MIB + end - 3 * MIB) as u64)
            .unwrap();
        relayed.relay.release();
        let outcome = testkit::Outcome::of(child);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        let said = events(&outcome);
        let again = said
            .iter()
            .filter(|event| event["event"] == "starting-over")
            .count();
        assert_eq!(again, 1, "{said:?}");
        assert!(fs::read(&place).unwrap() == new);
        assert_eq!(
            staging(&relayed.folder(up)),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

/// Only the changes of a tree's files are sent. What they replace keeps its content elsewhere.
/// Proves `other-name` in docs/faults.md.
#[test]
fn changed_files_of_a_tree_send_their_changes() {
    for up in [true, false] {
        let relayed = RelayedServer::new(27);
        let (from, to) = if up {
            ("user", "home")
        } else {
            ("home", "user")
        };
        let old = noise(5 * MIB + 3, 28);
        let mut changed = old.clone();
        changed[2 * MIB] ^= 1;
        let inserted = [b"x", &old[..]].concat();
        for (name, new) in [("changed", &changed), ("inserted", &inserted)] {
            for (side, content) in [(from, new), (to, &old)] {
                // Each has another time: files of one length and time would be compared by their
                // digests, and sent whole.
                write(&relayed.stage.path(&format!("{side}/tree/{name}")), content);
            }
        }
        for name in ["changed", "inserted"] {
            let there = relayed.stage.path(&format!("{to}/tree/{name}"));
            fs::hard_link(there, relayed.stage.path(&format!("{to}/other-{name}"))).unwrap();
        }
        relayed
            .stage
            .write(&format!("{from}/tree/new"), &old[..100]);
        let there = relayed.via_relay("tree");
        let (source, target) = if up {
            ("tree", &there[..])
        } else {
            (&there[..], "tree")
        };
        let copy = |delta: &str| {
            // Whole files do not fit.
            relayed.relay.cut_after(3 * MIB as u64);
            let command = [
                "cp", "--json", "-rT", "--retry", "0", "--delta", delta, source, target,
            ];
            let outcome = relayed.stage.run(&command);
            relayed.relay.mend();
            outcome
        };
        copy("off").fails(10, "lost");
        copy("on").ok();
        for (name, new) in [("changed", &changed), ("inserted", &inserted)] {
            assert!(relayed.stage.read(&format!("{to}/tree/{name}")) == *new);
            assert!(relayed.stage.read(&format!("{to}/other-{name}")) == old);
        }
        assert_eq!(relayed.stage.read(&format!("{to}/tree/new")), old[..100]);
        let left = staging(&relayed.stage.path(&format!("{to}/tree")));
        assert_eq!(left, Vec::<std::path::PathBuf>::new());
    }
}

/// The same for a file of a tree.
#[test]
fn file_of_a_tree_is_sent_whole_if_the_old_one_changes() {
    for up in [true, false] {
        let relayed = RelayedServer::new(29);
        let stage = &relayed.stage;
        let (from, to) = if up {
            ("user", "home")
        } else {
            ("home", "user")
        };
        let old = [&noise(4 * MIB, 31), &relayed.content[..]].concat();
        let place = stage.path(to).join("tree/f");
        write(&place, &old);
        let mut new = relayed.content.clone();
        let end = new.len();
        new[..8 * MIB].copy_from_slice(&noise(8 * MIB, 33));
        write(&stage.path(from).join("tree/f"), &new);
        // No moved content is copied before the old file has changed.
        relayed.relay.hold_after(7 << 20);
        let remote = relayed.via_relay("tree");
        let (from, to) = if up {
            ("tree", &remote[..])
        } else {
            (&remote[..], "tree")
        };
        let copy = ["cp", "--json", "-rT", "--delta", "on", from, to];
        let child = stage
            .command(&copy)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let folder = place.parent().unwrap();
        wait_for("content that was found", || {
            let parts = crate::tree_leftovers::parts(folder);
            parts.first().is_some_and(|part| {
                let mut bytes = [0; 8];
                let file = fs::File::open(part);
                let read = file.and_then(|file| file.read_exact_at(&mut bytes, 4 << 20));
                read.is_ok() && bytes == new[4 * MIB..4 * MIB + 8]
            })
        });
        // Content that was found, and not yet copied, is another one now.
        fs::File::options()
            .write(true)
            .open(&place)
            .unwrap()
            .write_all_at(&noise(2 * MIB, 35), (4 * MIB + end - 3 * MIB) as u64)
            .unwrap();
        relayed.relay.release();
        let outcome = testkit::Outcome::of(child);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        let done = event(&events(&outcome), "done").unwrap().clone();
        assert_eq!((&done["files"], &done["failures"]), (&json!(1), &json!(0)));
        assert!(fs::read(&place).unwrap() == new);
        assert_eq!(staging(folder), Vec::<std::path::PathBuf>::new());
    }
}
