//! Copies that do not complete, because the source changes or no client resumes them.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime},
};

use testkit::wait_for;

use crate::resume::{BLOCK, LENGTH, RelayedServer, staging};

/// How a source changes while it is sent, given its original time.
fn change(source: &Path, how: &str) {
    let file = fs::File::options().write(true).open(source).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    match how {
        "grown" => file.set_len(LENGTH as u64 + 1),
        "truncated" => file.set_len(LENGTH as u64 - 1),
        _ => file.write_all_at(b"other", 0),
    }
    .unwrap();
    file.set_modified(modified).unwrap();
}

/// Proves `changed-source` in docs/faults.md.
#[test]
fn source_changed_while_sent_is_not_kept() {
    for up in [true, false] {
        for how in ["grown", "truncated", "rewritten"] {
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
