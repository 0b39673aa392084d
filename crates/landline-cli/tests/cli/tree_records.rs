//! Records of trees that no sender sends.

use std::fs;

use landline::files::{Algorithm, ContentHasher, Digest};
use serde_json::{Value, json};
use testkit::{Census, RawClient, ServerProcess, Stage, frame, wait_for};

use crate::{hostile_server::trusted, login::client_key, resume::staging, stage, trees::write};

/// A record of a tree: length, kind and content.
pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], content].concat()
}

pub(crate) fn entry(what: u8, parent: u32, name: &[u8], value: u64, target: &[u8]) -> Vec<u8> {
    let head = [what, 0, u8::try_from(name.len()).unwrap(), 0xa4, 0x01];
    record(
        1,
        &[
            &head[..],
            &parent.to_le_bytes(),
            &1_000_000_000i64.to_le_bytes(),
            &0u32.to_le_bytes(),
            &value.to_le_bytes(),
            name,
            target,
        ]
        .concat(),
    )
}

pub(crate) const SOURCE: u32 = u32::MAX;

/// Asks for a tree to be stored, and sends its records by hand.
pub(crate) fn begin_request(
    stage: &Stage,
    server: &ServerProcess,
    request: &Value,
    records: &[Vec<u8>],
) -> RawClient {
    let key = client_key(stage);
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    let login = client.login_header("alice", &key, None);
    client.send_json(&login).unwrap();
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    client.send_json(request).unwrap();
    client
        .send_json(&json!({"type": "tree", "size": null}))
        .unwrap();
    for record in records {
        client.send(&frame(record)).unwrap();
    }
    client
}

/// The same for a tree of which every file is compared.
fn begin_tree(stage: &Stage, server: &ServerProcess, records: &[Vec<u8>]) -> RawClient {
    let request = json!({
        "type": "put-tree", "path": "tree", "source": "x", "replace": true, "times": true,
        "placement": "exact", "compare": "always",
    });
    begin_request(stage, server, &request, records)
}

/// Sends a tree's records by hand. Returns the code of the server's error, if there is one.
fn send_records(stage: &Stage, server: &ServerProcess, records: &[Vec<u8>]) -> Option<String> {
    last_error(begin_tree(stage, server, records))
}

/// The same after another request.
pub(crate) fn send_request(
    stage: &Stage,
    server: &ServerProcess,
    request: &Value,
    records: &[Vec<u8>],
) -> Option<String> {
    last_error(begin_request(stage, server, request, records))
}

/// Ends the body, and returns the code of the server's error, if there is one.
fn last_error(mut client: RawClient) -> Option<String> {
    let _ = client.send(&frame([]));
    let _ = client.finish();
    client.error_code().unwrap()
}

#[test]
fn hostile_records_change_nothing() {
    let stage = stage();
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let many: Vec<Vec<u8>> = std::iter::once(root.clone())
        .chain((0..700u32).map(|number| entry(1, number, b"d", 0, b"")))
        .collect();
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "a name that leads up",
            vec![root.clone(), entry(2, 0, b"..", 1, b"")],
        ),
        (
            "a name with a slash",
            vec![root.clone(), entry(2, 0, b"a/b", 1, b"")],
        ),
        (
            "a staging name",
            vec![root.clone(), entry(2, 0, b".landline-x.part", 1, b"")],
        ),
        (
            "a name with NUL",
            vec![root.clone(), entry(2, 0, b"a\0b", 1, b"")],
        ),
        (
            "no name",
            vec![entry(1, SOURCE, b"", 0, b""), entry(2, 0, b"", 1, b"")],
        ),
        (
            "an unknown parent",
            vec![root.clone(), entry(2, 7, b"a", 1, b"")],
        ),
        (
            "a file as a parent",
            vec![
                root.clone(),
                entry(2, 0, b"a", 1, b""),
                entry(2, 1, b"b", 1, b""),
            ],
        ),
        (
            "a link as a parent",
            vec![
                root.clone(),
                entry(3, 0, b"a", 0, b"/etc"),
                entry(2, 1, b"b", 1, b""),
            ],
        ),
        (
            "content that is not wanted",
            vec![root.clone(), record(3, &[0; 40])],
        ),
        ("an unknown kind", vec![record(99, b"x")]),
        ("an empty record", vec![vec![0, 0, 0, 0]]),
        ("a long record", vec![vec![0xff, 0xff, 0xff, 0x7f]]),
        ("an early end", vec![root.clone()]),
        (
            "a wrong digest",
            vec![root.clone(), record(2, &[0; 5]), record(7, &[1; 36])],
        ),
        (
            "two sources",
            vec![root.clone(), entry(1, SOURCE, b"other", 0, b"")],
        ),
        (
            "more of a file than announced",
            vec![
                root.clone(),
                entry(2, 0, b"a", 1, b""),
                record(4, &[&1u32.to_le_bytes()[..], &[0; 8], b"xx"].concat()),
            ],
        ),
        ("many levels", many),
    ];
    for (what, records) in cases {
        let code = send_records(&stage, &server, &records);
        assert!(code.is_some(), "{what}: no error");
        wait_for(what, || {
            // What arrived of a tree may be kept for another attempt, and nothing else.
            for staged in staging(&stage.home()) {
                let _ = fs::remove_dir_all(staged);
            }
            Census::of(&stage.home()) == before
        });
    }
    assert!(!stage.path("home/tree").exists());
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// A twentieth of the names in `cargo xtask test`, 2,000 in `cargo xtask soak`.
/// Proves `path-traversal` in docs/faults.md.
#[test]
fn hostile_names_in_a_tree_change_nothing() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("home/tree/kept"), b"kept");
    write(&stage.path("outside/kept"), b"kept");
    std::os::unix::fs::symlink(stage.path("outside"), stage.path("home/tree/out")).unwrap();
    let census = || [stage.home(), stage.path("outside")].map(|folder| Census::of(&folder));
    let before = census();
    let count = if testkit::is_soak() { 2_000 } else { 100 };
    let bad: [&[u8]; 8] = [b"..", b".", b"", b"a/b", b"../x", b"/etc", b"a\0b", b"/"];
    let root = entry(1, SOURCE, b"tree", 0, b"");
    for round in 0..count {
        let name = match bad.get(round) {
            Some(name) => name.to_vec(),
            // Bytes that no name may have, between others.
            None => {
                let mut name = crate::noise(1 + round % 200, round as u64);
                let at = round % name.len();
                name[at] = if round % 2 == 0 { b'/' } else { 0 };
                name
            }
        };
        let name = &name[..];
        let records = match round % 4 {
            0 => vec![root.clone(), entry(1, 0, name, 0, b"")],
            1 => vec![root.clone(), entry(2, 0, name, 1, b"")],
            2 => vec![root.clone(), entry(3, 0, name, 0, b"target")],
            // A link that is there already, and a name behind it.
            _ => vec![
                root.clone(),
                entry(1, 0, b"out", 0, b""),
                entry(2, 1, name, 1, b""),
            ],
        };
        let code = send_records(&stage, &server, &records);
        assert!(code.is_some(), "{name:?}: no error");
        wait_for("nothing but the old entries", || {
            for staged in staging(&stage.home()) {
                let _ = fs::remove_dir_all(staged);
            }
            for staged in staging(&stage.path("home/tree")) {
                let _ = fs::remove_dir_all(staged);
            }
            census() == before
        });
    }
}

/// Otherwise a tree of files that do not fit would be compared for hours, and then fail.
#[test]
fn compared_file_of_a_tree_needs_free_space() {
    let stage = stage();
    let server = stage.joined();
    fs::create_dir(stage.path("home/tree")).unwrap();
    let old = fs::File::create(stage.path("home/tree/a")).unwrap();
    old.set_len(1 << 43).unwrap();
    let entries = [
        entry(1, SOURCE, b"tree", 0, b""),
        entry(2, 0, b"a", 1 << 49, b""),
    ];
    let mut client = begin_tree(&stage, &server, &entries);
    assert_eq!(client.error_code().unwrap().unwrap(), "no-space");
    assert_eq!(old.metadata().unwrap().len(), 1 << 43);
}

/// Nothing is deleted before the digest of the whole tree was compared, or for a sender that breaks
/// the protocol. Proves `sync-late-change` in docs/faults.md.
#[test]
fn unverified_sync_deletes_nothing() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("home/tree/both"), b"both");
    write(&stage.path("home/tree/extra"), b"extra");
    let before = Census::of(&stage.home());
    let request = |selection: bool| {
        json!({
            "type": "put-tree", "path": "tree", "placement": "exact", "source": "x",
            "replace": false, "times": false, "selection": selection, "sync": {"delete": true},
        })
    };
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let both = entry(2, 0, b"both", 4, b"");
    let end = record(2, &[0; 5]);
    let whole = [root.clone(), both.clone(), end.clone()];
    let pattern = record(16, b"extra");
    for (what, selection, records) in [
        ("no end", false, whole.to_vec()),
        (
            "a wrong digest",
            false,
            [
                &whole[..],
                &[record(7, &[&2u32.to_le_bytes()[..], &[1; 32]].concat())],
            ]
            .concat(),
        ),
        (
            "a selection after an entry",
            true,
            vec![root.clone(), pattern.clone()],
        ),
        (
            "a selection that was not announced",
            false,
            vec![pattern.clone()],
        ),
        ("a selection without an end", true, vec![pattern.clone()]),
        ("a pattern that is no text", true, vec![record(16, b"\xff")]),
        (
            "a pattern that means nothing",
            true,
            vec![record(16, b"a[b"), record(18, b"")],
        ),
        (
            "a listed path that leads up",
            true,
            vec![record(17, b"a/../b"), record(18, b"")],
        ),
        (
            "a file as the source",
            false,
            vec![entry(2, SOURCE, b"tree", 0, b"")],
        ),
        ("many patterns", true, vec![record(16, b"x"); 1001]),
    ] {
        let code = send_request(&stage, &server, &request(selection), &records);
        assert!(code.is_some(), "{what}: no error");
        wait_for(what, || Census::of(&stage.home()) == before);
    }
    // The same with the right digest.
    let body = vec![body_with(&[root, both], &[0])];
    let code = send_request(&stage, &server, &request(false), &body);
    assert_eq!(code, None);
    wait_for("the deletion", || !stage.path("home/tree/extra").exists());
    assert!(stage.path("home/tree/both").exists());
}

/// The body of a sender whose tree consists of these entries.
fn body_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let folders: Vec<u32> = (0..u32::try_from(entries.len()).unwrap()).collect();
    body_with(entries, &folders)
}

/// The same, if only these entries are folders. No file may be wanted.
pub(crate) fn body_with(entries: &[Vec<u8>], folders: &[u32]) -> Vec<u8> {
    let mut hasher = ContentHasher::new(Algorithm::Blake3);
    entries.iter().for_each(|entry| hasher.update(entry));
    let Digest::Blake3(digest) = hasher.finish() else {
        panic!("the digest of a tree is BLAKE3");
    };
    let count = u32::try_from(entries.len()).unwrap().to_le_bytes();
    let ends = folders
        .iter()
        .map(|folder| record(2, &[&folder.to_le_bytes()[..], &[0]].concat()));
    let end = record(7, &[&count[..], digest.as_bytes()].concat());
    let ends: Vec<u8> = ends.flatten().collect();
    [entries.concat(), ends, end].concat()
}

/// A server could name `.ssh`, or a second source.
#[test]
fn server_does_not_name_fetched_files() {
    let ssh = entry(1, SOURCE, b".ssh", 0, b"");
    for (entries, is_copied) in [(vec![ssh.clone()], true), (vec![ssh.clone(), ssh], false)] {
        let stage = stage();
        let body = body_of(&entries);
        let server = trusted(&stage, 1, move |client| {
            assert_eq!(client.welcome()?.kind(), "get-tree");
            client.send_json(&json!({"type": "tree", "size": null}))?;
            client.send(&frame(&body))?;
            client.send(&frame([]))
        });
        let into = stage.path("user").to_str().unwrap().to_owned();
        let arguments = ["cp", "-q", "--retry", "0", "-r", "127.0.0.1:photos", &into];
        let outcome = stage.run(&arguments);
        assert_eq!(outcome.status == Some(0), is_copied, "{outcome:?}");
        assert_eq!(stage.path("user/photos").exists(), is_copied);
        assert!(!stage.path("user/.ssh").exists());
        server.join();
    }
}

/// A dry run of a server has no staging folder, and must not write to the destination instead.
#[test]
fn content_in_a_dry_run_is_refused() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("home/tree/file"), b"there");
    let before = Census::of(&stage.home());
    let request = json!({
        "type": "put-tree", "path": "tree", "placement": "exact", "source": "x",
        "replace": true, "times": true, "compare": "replaced", "checksum": true, "dry_run": true,
    });
    let mut hasher = ContentHasher::new(Algorithm::Blake3);
    hasher.update(b"other");
    let Digest::Blake3(digest) = hasher.finish() else {
        panic!("it is BLAKE3");
    };
    let number = 1u32.to_le_bytes();
    let whole = record(3, &[&number[..], digest.as_bytes(), b"other"].concat());
    let piece = record(4, &[&number[..], &[0; 8], b"other"].concat());
    for content in [whole, piece] {
        let entries = [
            entry(1, SOURCE, b"tree", 0, b""),
            entry(2, 0, b"file", 5, b""),
        ];
        let records = [entries.concat(), content];
        let code = send_request(&stage, &server, &request, &records);
        assert_eq!(code.as_deref(), Some("bad-header"));
        assert_eq!(Census::of(&stage.home()), before);
    }
}

/// Sends a tree, and changes the destination when the server has listed it.
fn change_meanwhile(entries: &[Vec<u8>], change: impl FnOnce(&Stage)) -> Stage {
    let stage = stage();
    let server = stage.joined();
    for name in ["extra/deep/file", "link/deep/file", "old/file"] {
        write(&stage.path("home/tree").join(name), b"content");
    }
    let request = json!({
        "type": "put-tree", "path": "tree", "placement": "exact", "source": "x",
        "replace": true, "times": false, "sync": {"delete": true},
    });
    let mut client = begin_request(&stage, &server, &request, &[]);
    let body = body_with(entries, &[0]);
    // The last record is the end.
    let (most, end) = body.split_at(body.len() - 41);
    while client.header().unwrap().unwrap().kind() != "tree" {}
    client.send(&frame(most)).unwrap();
    // The body of the server begins with its decisions.
    client.bytes(|bytes| !bytes.is_empty()).unwrap();
    change(&stage);
    client.send(&frame(end)).unwrap();
    client.send(&frame([])).unwrap();
    client.finish().unwrap();
    assert_eq!(client.error_code().unwrap(), None);
    stage
}

#[test]
fn content_changed_meanwhile_keeps_a_folder_from_replacement() {
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let link = entry(3, 0, b"link", 0, b"old");
    let stage = change_meanwhile(&[root, link], |stage| {
        write(&stage.path("home/tree/link/deep/file"), b"changed");
    });
    assert_eq!(stage.read("home/tree/link/deep/file"), b"changed");
    assert!(!stage.path("home/tree/extra").exists());
}

#[test]
fn folder_moved_into_an_extra_folder_meanwhile_stays() {
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let kept = entry(3, 0, b"kept", 0, b"old");
    let stage = change_meanwhile(&[root, kept], |stage| {
        let moved = stage.path("home/tree/extra/deep/old");
        fs::rename(stage.path("home/tree/old"), moved).unwrap();
    });
    assert_eq!(stage.read("home/tree/extra/deep/old/file"), b"content");
    assert!(!stage.path("home/tree/link").exists());
}

/// A hostile server sends what the user has left out.
#[test]
fn entries_that_the_selection_leaves_out_are_refused() {
    for options in [&["--exclude", "*.o"][..], &["--files-from", "list"]] {
        let stage = stage();
        write(&stage.path("user/list"), b"taken\n");
        let list = stage.path("user/list");
        let options = options.iter().map(|option| match *option {
            "list" => list.to_str().unwrap(),
            option => option,
        });
        let body = body_of(&[
            entry(1, SOURCE, b"photos", 0, b""),
            entry(1, 0, b"taken", 0, b""),
            entry(1, 0, b"x.o", 0, b""),
        ]);
        let server = trusted(&stage, 1, move |client| {
            assert_eq!(client.welcome()?.kind(), "get-tree");
            client.send_json(&json!({"type": "tree", "size": null}))?;
            client.send(&frame(&body))?;
            client.send(&frame([]))
        });
        let into = stage.path("user").to_str().unwrap().to_owned();
        let mut arguments = vec!["cp", "-q", "--retry", "0", "-r"];
        arguments.extend(options);
        arguments.extend(["127.0.0.1:photos", &into]);
        let outcome = stage.run(&arguments);
        assert_eq!(outcome.status, Some(13), "{outcome:?}");
        assert!(!stage.path("user/photos").exists());
        server.join();
    }
}

/// A further name leads to a file of the same copy, or the name is not made.
/// Proves `hard-link` in docs/faults.md.
#[test]
fn further_name_of_what_was_not_sent_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let request = |asks: bool| {
        json!({
            "type": "put-tree", "path": "tree", "placement": "exact", "source": "x",
            "replace": true, "times": true, "hard_links": asks, "attributes": asks,
        })
    };
    let root = entry(1, SOURCE, b"tree", 0, b"");
    let name = |first: u64| vec![root.clone(), entry(4, 0, b"x", first, b"")];
    let attribute = |name: &[u8]| {
        let length = u8::try_from(name.len()).unwrap();
        record(11, &[&[length], name, b"value"].concat())
    };
    let (a, b) = (attribute(b"user.a"), attribute(b"user.b"));
    for (what, asks, records) in [
        ("a name of itself", true, name(1)),
        ("a name of a later entry", true, name(7)),
        ("a name that was not asked for", false, name(0)),
        (
            "an attribute that was not asked for",
            false,
            vec![a.clone()],
        ),
        ("attributes out of order", true, vec![b.clone(), a.clone()]),
        ("an attribute twice", true, vec![a.clone(), a.clone()]),
        (
            "an attribute of the system",
            true,
            vec![attribute(b"security.capability")],
        ),
        ("too many attributes", true, many_attributes()),
    ] {
        let code = send_request(&stage, &server, &request(asks), &records);
        assert_eq!(code.as_deref(), Some("bad-header"), "{what}");
        wait_for(what, || Census::of(&stage.home()) == before);
    }
    // A folder has no further names. The rest of the copy is stored.
    let body = vec![body_with(&name(0), &[0])];
    let code = send_request(&stage, &server, &request(true), &body);
    assert_eq!(code, None);
    wait_for("the tree", || stage.path("home/tree").exists());
    assert!(!stage.path("home/tree/x").exists());
}

/// More attributes than an entry has.
fn many_attributes() -> Vec<Vec<u8>> {
    let names = (10..28u8).map(|number| format!("user.{number}"));
    let content = names.map(|name| {
        let length = u8::try_from(name.len()).unwrap();
        [&[length][..], name.as_bytes(), &[0; 60_000]].concat()
    });
    content.map(|content| record(11, &content)).collect()
}
