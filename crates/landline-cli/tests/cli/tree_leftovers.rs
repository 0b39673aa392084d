//! Longer files that go into folders that exist: an interrupted copy of one is continued.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use testkit::wait_for;

use crate::{
    noise,
    resume::{BLOCK, RelayedServer, event, events, staging},
    stage,
    tree_records::{SOURCE, begin_request, entry, record},
    trees::write,
};

/// The parts of files in a staging folder.
pub(crate) fn parts(folder: &Path) -> Vec<PathBuf> {
    let Some(staging) = staging(folder).pop() else {
        return Vec::new();
    };
    let paths = fs::read_dir(staging).unwrap().flatten();
    let paths = paths.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains("/part-"))
        .collect()
}

/// Whether the first two blocks have arrived. What is compared is in a part before that.
fn has_two_blocks(folder: &Path, content: &[u8]) -> bool {
    let first = content.get(..2 * BLOCK).unwrap();
    let is_first = |part: &PathBuf| {
        let found = fs::read(part);
        found.is_ok_and(|found| found.starts_with(first))
    };
    parts(folder).iter().any(is_first)
}

/// A copy, and what is in place of the file before.
struct Case {
    options: &'static [&'static str],
    from: &'static str,
    to: &'static str,
    /// The path of the copied file.
    copied: &'static str,
    is_replaced: bool,
}

const CASES: [Case; 3] = [
    Case {
        options: &["sync"],
        from: "tree",
        to: "to",
        copied: "to/below/big",
        is_replaced: false,
    },
    Case {
        options: &["sync", "--delta", "on"],
        from: "tree",
        to: "to",
        copied: "to/below/big",
        is_replaced: true,
    },
    Case {
        options: &["cp", "-p"],
        from: "tree/below/big",
        to: "to",
        copied: "to/big",
        is_replaced: false,
    },
];

#[test]
fn killed_copy_into_a_folder_continues_its_file() {
    for up in [true, false] {
        for (number, case) in CASES.iter().enumerate() {
            let relayed = RelayedServer::new(70 + number as u64);
            let RelayedServer {
                stage,
                relay,
                server,
                content,
            } = &relayed;
            let [source, target] = [!up, up].map(|up| relayed.folder(up));
            write(&source.join("tree/below/big"), content);
            write(&source.join("tree/small"), b"small");
            write(&target.join("to/kept"), b"");
            let copied = target.join(case.copied);
            let folder = target.join("to");
            if case.is_replaced {
                write(&copied, &noise(content.len(), 99));
            }
            let (from, to) = if up {
                (case.from.to_owned(), relayed.via_relay(case.to))
            } else {
                (relayed.via_relay(case.from), case.to.to_owned())
            };
            let arguments = [&["--json"], case.options, &[&from, &to]].concat();
            relay.hold_after(3 * BLOCK as u64);
            let mut child = stage.command(&arguments).spawn().unwrap();
            wait_for("two blocks", || has_two_blocks(&folder, content));
            child.kill().unwrap();
            child.wait().unwrap();
            relay.release();
            server.event("disconnected");
            let left = parts(&folder);
            assert_eq!(left.len(), 1, "{left:?}");
            assert_eq!(copied.exists(), case.is_replaced);
            let before = relay.passed();
            let outcome = stage.run(&arguments);
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            let moved = relay.passed() - before;
            let missing = content.len() as u64 - 2 * BLOCK as u64;
            assert!(moved < missing + (1 << 20), "{up} {number}: {moved}");
            assert!(fs::read(&copied).unwrap() == *content);
            assert!(event(&events(&outcome), "done").is_some());
            wait_for("nothing half-done", || staging(&folder).is_empty());
        }
    }
}

/// What an earlier attempt left is not used if the source has another beginning now.
#[test]
fn part_of_another_version_is_sent_again() {
    let relayed = RelayedServer::new(80);
    let RelayedServer {
        stage,
        relay,
        server,
        content,
    } = &relayed;
    write(&stage.path("user/tree/big"), content);
    write(&stage.path("home/to/kept"), b"");
    let to = relayed.via_relay("to");
    let arguments = ["--json", "sync", "tree", &to];
    relay.hold_after(3 * BLOCK as u64);
    let mut child = stage.command(&arguments).spawn().unwrap();
    wait_for("two blocks", || {
        has_two_blocks(&stage.path("home/to"), content)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    relay.release();
    server.event("disconnected");
    let other = noise(content.len(), 81);
    write(&stage.path("user/tree/big"), &other);
    let outcome = stage.run(&arguments);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(fs::read(stage.path("home/to/big")).unwrap() == other);
    assert!(staging(&stage.path("home/to")).is_empty());
}

/// A part that is kept counts against the quota, until it is part of the file or removed.
#[test]
fn kept_part_counts_against_the_quota() {
    let relayed = RelayedServer::new(82);
    let RelayedServer {
        stage,
        relay,
        server,
        content,
    } = &relayed;
    let bytes = content.len() + BLOCK;
    stage.write_rights(&format!(
        "[users.alice]\nfiles = [\"rw:~\"]\nquota = {{ bytes = {bytes} }}\n"
    ));
    server.rights_loaded(stage);
    write(&stage.path("user/tree/big"), content);
    stage.write("user/other", &noise(2 * BLOCK, 83));
    write(&stage.path("home/to/kept"), b"");
    let to = relayed.via_relay("to");
    let sync = ["--json", "sync", "tree", &to];
    relay.hold_after(3 * BLOCK as u64);
    let mut child = stage.command(&sync).spawn().unwrap();
    wait_for("two blocks", || {
        has_two_blocks(&stage.path("home/to"), content)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    relay.release();
    server.event("disconnected");
    let other = server.at("other");
    let copy_other = ["--json", "cp", "other", &other];
    stage.run(&copy_other).fails(24, "no-space");
    let outcome = stage.run(&sync);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    stage.run(&copy_other).fails(24, "no-space");
    fs::remove_file(stage.path("home/to/big")).unwrap();
    assert_eq!(stage.run(&copy_other).status, Some(0));
}

/// What does not count against the quota any more does not stay either: a client cannot store more
/// by copies that fail.
/// Proves `quota-race` in docs/faults.md.
#[test]
fn part_that_does_not_count_is_removed() {
    let stage = stage();
    let server = stage.joined();
    stage.write_rights("[users.alice]\nfiles = [\"rw:~\"]\nquota = { bytes = 100000000 }\n");
    server.rights_loaded(&stage);
    let folder = stage.path("home/to");
    write(&folder.join("kept"), b"");
    let request = json!({
        "type": "put-tree", "path": "to", "source": "x", "replace": true, "times": true,
        "placement": "exact",
    });
    let entries = [
        entry(1, SOURCE, b"to", 0, b""),
        entry(2, 0, b"big", 8 << 20, b""),
    ];
    let length = 32 << 10;
    let pieces = (0..64u64).map(|number| {
        let head = [
            &1u32.to_le_bytes()[..],
            &(number * length as u64).to_le_bytes(),
        ];
        record(4, &[head.concat(), noise(length, number)].concat())
    });
    let records: Vec<_> = entries.iter().cloned().chain(pieces).collect();
    let client = begin_request(&stage, &server, &request, &records);
    let has_part = || {
        let parts = parts(&folder);
        let is_long = |part: &PathBuf| part.metadata().is_ok_and(|part| part.len() == 2 << 20);
        parts.iter().any(is_long)
    };
    wait_for("a part", has_part);
    drop(client);
    server.event("failed");
    assert!(has_part());
    let failed = [&1u32.to_le_bytes()[..], &[2], b"io", b"it cannot be read"].concat();
    let records = [&entries[..], &[record(6, &failed)]].concat();
    let client = begin_request(&stage, &server, &request, &records);
    wait_for("its end", || parts(&folder).is_empty());
    drop(client);
}
