//! Copies that do not complete, because the source changes or no client resumes them.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use testkit::{Outcome, wait_for};

use crate::{
    noise,
    resume::{BLOCK, LENGTH, RelayedServer, event, events, staging},
};

/// How a source changes while it is sent, given its original time.
fn change(source: &Path, how: &str) {
    let file = fs::File::options().write(true).open(source).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    match how {
        "truncated" => file.set_len(LENGTH as u64 - 1),
        "rewritten" => file.write_all_at(b"other", 0),
        _ => file
            .write_all_at(b"other", 0)
            .and_then(|()| file.set_len(LENGTH as u64 + 1)),
    }
    .unwrap();
    file.set_modified(modified).unwrap();
}

/// Proves `changed-source` in docs/faults.md.
#[test]
fn source_changed_while_sent_is_not_kept() {
    for up in [true, false] {
        for how in ["truncated", "rewritten", "rewritten and grown"] {
            let relayed = RelayedServer::new(18);
            relayed.relay.hold_after(3 * BLOCK as u64);
            let [from, to] = relayed.arguments(up);
            let arguments = ["cp", "--retry", "0", &from, &to];
            let child = relayed.stage.command(&arguments).spawn().unwrap();
            wait_for("a block", || {
                staging(&relayed.folder(up))
                    .first()
                    .is_some_and(|part| part.metadata().is_ok_and(|it| it.len() > BLOCK as u64))
            });
            let source = if up { "user/source" } else { "home/source" };
            change(&relayed.stage.path(source), how);
            relayed.relay.release();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(26), "{how}: {output:?}");
            assert!(!relayed.folder(up).join("copy").exists(), "{how}");
        }
    }
}

/// The receiver removes an unfinished copy after a week.
/// Proves `unfinished-copies` in docs/faults.md.
#[test]
fn unfinished_copy_expires_after_a_week() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for up in [true, false] {
        let mut relayed = RelayedServer::new(19);
        relayed.break_copy(up, 3 * BLOCK as u64);
        let folder = relayed.stage.path(if up {
            "server/server/partials"
        } else {
            "client/client/partials"
        });
        let manifest = fs::File::options()
            .write(true)
            .open(folder.join(&relayed.manifests(up)[0]))
            .unwrap();
        for (days, is_kept) in [(6, true), (8, false)] {
            manifest
                .set_modified(SystemTime::now() - days * DAY)
                .unwrap();
            // A sweep removes an unreadable manifest at once, which shows that the sweep is over.
            let sign = relayed.stage.write("sign", b"rubbish");
            fs::rename(sign, folder.join("sign")).unwrap();
            if up {
                let address = relayed.server.address.clone();
                relayed.server.kill();
                relayed.server = relayed.stage.serve_at(&address, &[]);
            } else {
                // Any copy to this client starts a sweep.
                relayed
                    .stage
                    .run(&["--json", "cp", &relayed.server.at("absent"), "absent"])
                    .fails(20, "not-found");
            }
            wait_for("the sweep", || !folder.join("sign").exists());
            if is_kept {
                assert_eq!(staging(&relayed.folder(up)).len(), 1, "after {days} days");
            } else {
                wait_for("its end", || {
                    staging(&relayed.folder(up)).is_empty() && relayed.manifests(up).is_empty()
                });
            }
        }
    }
}

/// Appends to the source until the command has ended. Returns what the command printed.
fn copy_while_it_grows(relayed: &RelayedServer, up: bool, arguments: &[&str]) -> Outcome {
    let source = relayed.stage.path(if up { "user" } else { "home" });
    let mut log = fs::File::options()
        .append(true)
        .open(source.join("tree/source"))
        .unwrap();
    relayed.relay.hold_after(BLOCK as u64);
    let mut command = relayed.stage.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for("a block", || {
        let has_ended = child.try_wait().unwrap().is_some();
        has_ended || relayed.relay.is_held()
    });
    log.write_all(b"a further line\n").unwrap();
    relayed.relay.release();
    while child.try_wait().unwrap().is_none() {
        log.write_all(b"a further line\n").unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    Outcome::of(child)
}

/// Proves `changed-source` in docs/faults.md.
#[test]
fn source_that_grows_is_copied_as_it_was() {
    for up in [true, false] {
        let relayed = RelayedServer::new(20);
        let (from, to) = if up {
            ("user", "home")
        } else {
            ("home", "user")
        };
        let [source, target] = [from, to].map(|side| relayed.stage.path(side));
        fs::create_dir(source.join("tree")).unwrap();
        let remote = |path: &str, is_remote: bool| match is_remote {
            true => relayed.via_relay(path),
            false => path.to_owned(),
        };
        let changed: Vec<u8> = relayed.content.iter().map(|byte| !byte).collect();
        for (how, more) in [
            ("file", &[][..]),
            ("resumed", &[]),
            ("changes", &["--delta", "on"]),
            ("tree", &["-r"]),
            ("tree changes", &["-r", "-T", "--delta", "on"]),
        ] {
            let is_tree = how.starts_with("tree");
            let (path, copy) = if is_tree {
                ("tree", "copy-tree")
            } else {
                ("tree/source", "copy")
            };
            fs::write(source.join("tree/source"), &relayed.content).unwrap();
            let stored = target.join(if is_tree { "copy-tree/source" } else { "copy" });
            match how {
                "changes" | "tree changes" => fs::write(&stored, &changed).unwrap(),
                "resumed" => {
                    fs::remove_file(&stored).unwrap();
                    relayed.relay.cut_after(3 * BLOCK as u64);
                }
                _ => {}
            }
            relayed.relay.limit(40 << 20);
            let (from, to) = (remote(path, !up), remote(copy, up));
            let mut arguments = vec!["cp", "--json", &from, &to];
            arguments.extend(more);
            let outcome = copy_while_it_grows(&relayed, up, &arguments);
            assert_eq!(outcome.status, Some(0), "{how}: {}", outcome.stderr);
            let events = events(&outcome);
            match is_tree {
                true => assert!(event(&events, "grown").is_some(), "{how}: {events:?}"),
                false => assert_eq!(event(&events, "done").unwrap()["grown"], true, "{how}"),
            }
            let found = fs::read(&stored).unwrap();
            // A download that begins again takes what is there by then.
            let is_later = how == "resumed" && !up;
            assert!(found.starts_with(&relayed.content), "{how}");
            assert!(found.len() == LENGTH || is_later, "{how}: {}", found.len());
        }
    }
}

#[test]
fn short_source_that_grows_is_copied_as_it_was() {
    let relayed = RelayedServer::new(22);
    let folder = relayed.stage.path("user/tree");
    fs::create_dir(&folder).unwrap();
    let content = noise(100_000, 23);
    for number in 0..200 {
        fs::write(folder.join(number.to_string()), &content).unwrap();
    }
    fs::write(folder.join("source"), &content).unwrap();
    relayed.relay.limit(4 << 20);
    let arguments = ["cp", "-r", "tree", &relayed.via_relay("copy")];
    let outcome = copy_while_it_grows(&relayed, true, &arguments);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let found = fs::read(relayed.stage.path("home/copy/source")).unwrap();
    assert!(found.starts_with(&content), "{}", found.len());
}
