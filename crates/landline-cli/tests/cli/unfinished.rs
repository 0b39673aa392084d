//! Copies that do not complete, because the source changes or no client resumes them.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime},
};

use testkit::wait_for;

use crate::resume::{BLOCK, LENGTH, Line, staging};

/// How a source changes while it is sent, given its original time.
fn change(source: &Path, how: &str) {
    let file = fs::File::options().write(true).open(source).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    match how {
        "grown" => file.set_len(LENGTH as u64 + 1),
        "truncated" => file.set_len(LENGTH as u64 - 1),
        _ => file.write_all_at(b"other", LENGTH as u64 - 5),
    }
    .unwrap();
    file.set_modified(modified).unwrap();
}

/// Proves `changed-source` in docs/faults.md.
#[test]
fn source_changed_while_sent_is_not_kept() {
    for up in [true, false] {
        for how in ["grown", "truncated", "rewritten"] {
            let line = Line::new(18);
            line.relay.limit(40 << 20);
            let [from, to] = line.arguments(up);
            let arguments = ["cp", "--retry", "0", &from, &to];
            let child = line.stage.command(&arguments).spawn().unwrap();
            wait_for("a block", || {
                staging(&line.folder(up))
                    .first()
                    .is_some_and(|part| part.metadata().is_ok_and(|it| it.len() > BLOCK as u64))
            });
            let source = if up { "user/source" } else { "home/source" };
            change(&line.stage.path(source), how);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(26), "{how}: {output:?}");
            assert!(!line.folder(up).join("copy").exists(), "{how}");
        }
    }
}

/// The receiver removes an unfinished copy after a week.
/// Proves `unfinished-copies` in docs/faults.md.
#[test]
fn unfinished_copy_expires_after_a_week() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for up in [true, false] {
        let mut line = Line::new(19);
        line.broken(up, 3 * BLOCK as u64);
        let folder = line.stage.path(if up {
            "server/server/partials"
        } else {
            "client/client/partials"
        });
        let manifest = fs::File::options()
            .write(true)
            .open(folder.join(&line.manifests(up)[0]))
            .unwrap();
        for (days, is_kept) in [(6, true), (8, false)] {
            manifest
                .set_modified(SystemTime::now() - days * DAY)
                .unwrap();
            // A sweep removes an unreadable manifest at once, which shows that the sweep is over.
            let sign = line.stage.write("sign", b"rubbish");
            fs::rename(sign, folder.join("sign")).unwrap();
            if up {
                let address = line.server.address.clone();
                line.server.kill();
                line.server = line.stage.serve_at(&address, &[]);
            } else {
                // Any copy to this client starts a sweep.
                line.stage
                    .run(&["--json", "cp", &line.server.at("absent"), "absent"])
                    .fails(20, "not-found");
            }
            wait_for("the sweep", || !folder.join("sign").exists());
            if is_kept {
                assert_eq!(staging(&line.folder(up)).len(), 1, "after {days} days");
            } else {
                wait_for("its end", || {
                    staging(&line.folder(up)).is_empty() && line.manifests(up).is_empty()
                });
            }
        }
    }
}
