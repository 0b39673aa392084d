//! Copies that are interrupted and resumed.

use std::{
    fs,
    os::unix::{
        self,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use landline::{keys::UserKey, paths::PrivateFolder};
use serde_json::{Value, json};
use testkit::{Census, Outcome, RawClient, Relay, ServerProcess, Stage, wait_for};

use crate::{join_by, noise, stage};

/// What an earlier attempt left is compared by subtrees of this length.
pub(crate) const SUBTREE: usize = 64 << 10;
pub(crate) const BLOCK: usize = 8 << 20;
/// Several blocks and a part of one.
pub(crate) const LENGTH: usize = 5 * BLOCK + 12_345;

/// The JSON events of a copy.
pub(crate) fn events(outcome: &Outcome) -> Vec<Value> {
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect()
}

pub(crate) fn event<'a>(events: &'a [Value], name: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["event"] == name)
}

/// The staging files in a folder.
pub(crate) fn staging(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "part")
        })
        .collect()
}

/// A stage with a server and a relay in front of it. The client knows both addresses.
pub(crate) struct RelayedServer {
    pub(crate) stage: Stage,
    pub(crate) server: ServerProcess,
    pub(crate) relay: Relay,
    pub(crate) content: Vec<u8>,
}

impl RelayedServer {
    pub(crate) fn new(seed: u64) -> Self {
        let stage = stage();
        let server = stage.serve(&[]);
        let relay = Relay::start(&server.address);
        let both = format!("{},{}", relay.address, server.address);
        join_by(&stage, &server, &both);
        // The next session that ends is then one of a copy.
        server.event("logout");
        let content = noise(LENGTH, seed);
        fs::write(stage.path("user/source"), &content).unwrap();
        fs::write(stage.path("home/source"), &content).unwrap();
        Self {
            stage,
            server,
            relay,
            content,
        }
    }

    /// The location of `path` on the server, through the relay.
    pub(crate) fn via_relay(&self, path: &str) -> String {
        format!("landline://{}/{path}", self.relay.address)
    }

    pub(crate) fn arguments(&self, up: bool) -> [String; 2] {
        if up {
            ["source".into(), self.via_relay("copy")]
        } else {
            [self.via_relay("source"), "copy".into()]
        }
    }

    pub(crate) fn folder(&self, up: bool) -> PathBuf {
        self.stage.path(if up { "home" } else { "user" })
    }

    /// Copies without retry through a relay that cuts the connection after `bytes`, once the
    /// receiver has stored what it got.
    pub(crate) fn break_copy(&self, up: bool, bytes: u64) {
        self.relay.hold_after(bytes);
        let [from, to] = self.arguments(up);
        let copy = ["--json", "cp", "--retry", "0", &from, &to];
        let child = self.stage.command(&copy).spawn().unwrap();
        let stored = || {
            let part = staging(&self.folder(up)).first()?.metadata().ok()?;
            Some((part.len(), part.blocks()))
        };
        let (mut last, mut since) = (None, Instant::now());
        wait_for("what was stored", || {
            let now = stored();
            if now != last || !self.relay.is_held() {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_millis(300)
        });
        self.relay.cut_after(0);
        Outcome::of(child).fails(10, "lost");
        self.relay.release();
        self.relay.mend();
        if up {
            self.server.event("disconnected");
        }
    }

    /// Copies to the end and returns the events.
    pub(crate) fn finish_copy(&self, up: bool, more: &[&str]) -> Vec<Value> {
        let [from, to] = self.arguments(up);
        let mut arguments = vec!["cp", "--json", &from, &to];
        arguments.extend(more);
        let outcome = self.stage.run(&arguments);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(
            fs::read(self.folder(up).join("copy")).unwrap() == self.content,
            "the content differs"
        );
        assert_eq!(staging(&self.folder(up)), Vec::<PathBuf>::new());
        assert!(self.manifests(up).is_empty());
        events(&outcome)
    }

    /// Copies directly to the server, and kills the client after more than two blocks.
    pub(crate) fn kill_copy(&self, to: &str) {
        let mut client = self.stage.command(&["cp", "source", to]).spawn().unwrap();
        wait_for("more than two blocks", || {
            let is_far = |part: &PathBuf| {
                part.metadata()
                    .is_ok_and(|part| part.len() > 2 * BLOCK as u64)
            };
            staging(&self.folder(true)).iter().any(is_far)
        });
        client.kill().unwrap();
        client.wait().unwrap();
    }

    /// The manifests of the receiver.
    pub(crate) fn manifests(&self, up: bool) -> Vec<String> {
        Census::of(&self.stage.path(if up {
            "server/server/partials"
        } else {
            "client/client/partials"
        }))
        .paths()
    }
}

#[test]
fn same_command_resumes_copy() {
    for up in [true, false] {
        let relayed = RelayedServer::new(1);
        relayed.break_copy(up, 3 * BLOCK as u64 + 100_000);
        let part = staging(&relayed.folder(up));
        assert_eq!(part.len(), 1, "the staging file is kept");
        let events = relayed.finish_copy(up, &[]);
        let offset = event(&events, "resumed-at").expect("it was resumed")["offset"]
            .as_u64()
            .unwrap();
        assert!(
            offset >= 2 * BLOCK as u64 && offset.is_multiple_of(SUBTREE as u64),
            "{offset}"
        );
        assert!(event(&events, "block-resent").is_none());
        // After the copy has completed, nothing is left to resume.
        assert!(event(&relayed.finish_copy(up, &[]), "resumed-at").is_none());
    }
}

#[test]
fn lost_connection_is_resumed_automatically() {
    for up in [true, false] {
        let relayed = RelayedServer::new(2);
        relayed.relay.cut_after(2 * BLOCK as u64 + 50_000);
        let events = relayed.finish_copy(up, &[]);
        assert!(event(&events, "reconnecting").is_some());
        assert!(event(&events, "resumed-at").is_some());
        assert_eq!(event(&events, "done").unwrap()["length"], LENGTH);
    }
}

/// With --json a failure is one object on standard error, and no event besides.
#[test]
fn failure_is_reported_once() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/a", b"a");
    let missing = server.at("missing/");
    for (arguments, status) in [
        (["cp", "--json", "absent", "127.0.0.1:x"], 20),
        (["cp", "--json", "a", "b"], 2),
        (["cp", "--json", "a", &missing], 20),
    ] {
        let outcome = stage.run(&arguments);
        assert_eq!(outcome.status, Some(status));
        let stdout = String::from_utf8_lossy(&outcome.stdout);
        assert!(!stdout.contains("\"code\""), "{stdout}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

/// Another name, mode or time of the source is no other content.
/// Proves `metadata-change` in docs/faults.md.
#[test]
fn copy_resumes_after_source_got_another_mode_and_name() {
    use std::os::unix::fs::PermissionsExt;
    for up in [true, false] {
        let relayed = RelayedServer::new(15);
        relayed.break_copy(up, 2 * BLOCK as u64 + 100_000);
        let source = relayed
            .stage
            .path(if up { "user/source" } else { "home/source" });
        fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&source, source.with_file_name("link")).unwrap();
        let events = relayed.finish_copy(up, &[]);
        let resumed = event(&events, "resumed-at").expect("it resumes");
        let done = event(&events, "done").expect("it ends");
        let length = done["length"].as_u64().unwrap();
        assert_eq!(
            done["sent"].as_u64().unwrap(),
            length - resumed["offset"].as_u64().unwrap(),
            "only what this command has moved counts"
        );
    }
}

#[test]
fn restart_option_discards_earlier_attempt() {
    for up in [true, false] {
        let relayed = RelayedServer::new(3);
        relayed.break_copy(up, 3 * BLOCK as u64);
        let events = relayed.finish_copy(up, &["--restart"]);
        assert!(event(&events, "resumed-at").is_none());
    }
}

/// A part that was damaged on the disk is sent again. The others are not.
/// Proves `silent-corruption` in docs/faults.md.
#[test]
fn damaged_block_is_sent_again() {
    for up in [true, false] {
        let relayed = RelayedServer::new(4);
        relayed.break_copy(up, 4 * BLOCK as u64 + 100_000);
        let part = fs::File::options()
            .write(true)
            .open(&staging(&relayed.folder(up))[0])
            .unwrap();
        part.write_all_at(b"damage", BLOCK as u64 + 77).unwrap();
        let events = relayed.finish_copy(up, &[]);
        assert_eq!(
            event(&events, "block-resent").expect("a part went again")["bytes"],
            SUBTREE
        );
    }
}

/// A damaged manifest costs time, but never changes the content.
/// Proves `silent-corruption` in docs/faults.md.
#[test]
fn damaged_manifest_is_harmless() {
    for up in [true, false] {
        for (at, what) in [
            (0u64, &b"rubbish"[..]),
            (300, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ] {
            let relayed = RelayedServer::new(5);
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
            manifest.write_all_at(what, at).unwrap();
            let [from, to] = relayed.arguments(up);
            relayed.stage.run(&["cp", &from, &to]).ok();
            assert!(fs::read(relayed.folder(up).join("copy")).unwrap() == relayed.content);
        }
    }
}

/// A staging file that was cut, removed, or replaced by a link or by another file is not resumed.
/// Proves `staging-link` in docs/faults.md.
#[test]
fn replaced_staging_file_is_not_used() {
    for up in [true, false] {
        for tamper in ["cut", "removed", "link", "hard link", "fifo"] {
            let relayed = RelayedServer::new(6);
            relayed.break_copy(up, 3 * BLOCK as u64);
            let part = staging(&relayed.folder(up)).remove(0);
            let precious = relayed.stage.write("precious", &noise(3 * BLOCK, 99));
            match tamper {
                "cut" => fs::File::options()
                    .write(true)
                    .open(&part)
                    .unwrap()
                    .set_len(100)
                    .unwrap(),
                "removed" => fs::remove_file(&part).unwrap(),
                "link" => {
                    fs::remove_file(&part).unwrap();
                    unix::fs::symlink(&precious, &part).unwrap();
                }
                "hard link" => {
                    fs::remove_file(&part).unwrap();
                    fs::hard_link(&precious, &part).unwrap();
                }
                _ => {
                    fs::remove_file(&part).unwrap();
                    assert!(
                        std::process::Command::new("mkfifo")
                            .arg(&part)
                            .status()
                            .unwrap()
                            .success()
                    );
                }
            }
            let [from, to] = relayed.arguments(up);
            let outcome = relayed.stage.run(&["cp", "--json", &from, &to]);
            assert_eq!(outcome.status, Some(0), "{tamper}: {}", outcome.stderr);
            assert!(event(&events(&outcome), "resumed-at").is_none(), "{tamper}");
            assert!(
                fs::read(relayed.folder(up).join("copy")).unwrap() == relayed.content,
                "{tamper}"
            );
            assert!(
                fs::read(&precious).unwrap() == noise(3 * BLOCK, 99),
                "{tamper}: the other file was changed"
            );
        }
    }
}

/// A change of the source is noticed even if the size is the same.
/// Proves `changed-source` in docs/faults.md.
#[test]
fn changed_source_is_sent_again() {
    for up in [true, false] {
        let mut relayed = RelayedServer::new(7);
        relayed.break_copy(up, 3 * BLOCK as u64);
        let source = relayed
            .stage
            .path(if up { "user/source" } else { "home/source" });
        let modified = fs::metadata(&source).unwrap().modified().unwrap();
        relayed.content = noise(LENGTH, 8);
        fs::write(&source, &relayed.content).unwrap();
        // Size and time are unchanged, as after a tool that restores times.
        fs::File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let events = relayed.finish_copy(up, &[]);
        let done = event(&events, "done").expect("it ends");
        assert_eq!(
            done["sent"], LENGTH,
            "nothing of the earlier attempt is left"
        );
    }
}

/// Another user who names the source of alice's copy gets the answer for a new copy. So does alice
/// with another source.
/// Proves `mixed-copies` in docs/faults.md.
#[test]
fn another_user_cannot_resume_copy() {
    let relayed = RelayedServer::new(9);
    relayed.break_copy(true, 3 * BLOCK as u64);
    let alice = crate::login::client_key(&relayed.stage);
    let keys = PrivateFolder::open_or_create(&relayed.stage.path("keys")).unwrap();
    let (bob, _) = UserKey::load_or_create(&keys, "bob").unwrap();
    let public = relayed
        .stage
        .write("bob.pub", bob.public().line().as_bytes())
        .display()
        .to_string();
    relayed
        .stage
        .run_at_server(&["user", "add", "bob", "--files", "rw:~", "--key", &public])
        .ok();
    let manifest = format!("server/server/partials/{}", relayed.manifests(true)[0]);
    let manifest = relayed.stage.read(&manifest);
    let begun: Value =
        serde_json::from_slice(manifest.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let offset = |user: &str, key: &UserKey, source: &Value, compare: &str| {
        let mut client =
            RawClient::connect(&relayed.server.address, &relayed.server.fingerprint).unwrap();
        assert_eq!(client.login(user, key, None).unwrap(), "welcome");
        client
            .send_json(&json!({"type": "open", "service": "files"}))
            .unwrap();
        client
            .send_json(&json!({
                "type": "put", "path": "copy", "length": LENGTH, "mode": 420, "replace": true, "source": source,
                "compare": compare,
            }))
            .unwrap();
        let ready: Value = client.header().unwrap().unwrap().read().unwrap();
        drop(client);
        relayed.server.event("logout");
        ready["offset"].as_u64().unwrap()
    };
    for compare in ["nothing", "earlier"] {
        let source = &begun["source"];
        assert_eq!(offset("bob", &bob, source, compare), 0, "another user");
        let own = offset("alice", &alice, source, compare);
        assert!(own >= 2 * BLOCK as u64, "alice's own copy: {own}");
    }
    let other = offset("alice", &alice, &json!("ab"), "earlier");
    assert_eq!(other, 0, "another source");
}

/// Two copies to one name at once leave the whole file of one of them.
/// Proves `mixed-copies` in docs/faults.md.
#[test]
fn copies_to_one_name_do_not_mix() {
    let relayed = RelayedServer::new(10);
    let other = noise(LENGTH, 11);
    fs::write(relayed.stage.path("user/other"), &other).unwrap();
    std::thread::scope(|scope| {
        for source in ["source", "other", "source", "other"] {
            let relayed = &relayed;
            scope.spawn(move || {
                let to = relayed.server.at("copy");
                let outcome = relayed.stage.run(&["--json", "cp", source, &to]);
                // One that stands still for 2 s, as on a busy machine, is taken over by another.
                if outcome.status != Some(0) {
                    outcome.fails(34, "superseded");
                }
            });
        }
    });
    let copy = relayed.stage.read("home/copy");
    assert!(copy == relayed.content || copy == other);
    wait_for("no staging files", || {
        staging(&relayed.stage.home()).is_empty() && relayed.manifests(true).is_empty()
    });
}

/// A killed server resumes the copy after its next start.
#[test]
fn copy_resumes_after_server_is_killed() {
    let mut relayed = RelayedServer::new(12);
    relayed.relay.hold_after(4 * BLOCK as u64);
    let [from, to] = relayed.arguments(true);
    let child = relayed
        .stage
        .command(&["cp", "--json", &from, &to])
        .spawn()
        .unwrap();
    wait_for("three blocks", || {
        staging(&relayed.stage.home()).first().is_some_and(|part| {
            fs::metadata(part).is_ok_and(|metadata| metadata.len() > 3 * BLOCK as u64)
        })
    });
    let address = relayed.server.address.clone();
    relayed.server.kill();
    relayed.relay.release();
    relayed.server = relayed.stage.serve_at(&address, &[]);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("resumed-at"));
    assert!(relayed.stage.read("home/copy") == relayed.content);
}

/// The next server removes the staging file of a killed copy that cannot be resumed.
/// Proves `unfinished-copies` in docs/faults.md.
#[test]
fn unresumable_staging_file_is_swept() {
    use std::io::Write;
    let stage = stage();
    let mut server = stage.joined();
    let mut child = stage
        .command(&["cp", "-", &server.at("x")])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"something").unwrap();
    wait_for("a staging file", || staging(&stage.home()).len() == 1);
    server.kill();
    drop(stdin);
    assert!(!child.wait_with_output().unwrap().status.success());
    assert_eq!(staging(&stage.home()).len(), 1);
    let _server = stage.serve(&[]);
    wait_for("the staging file to be removed", || {
        staging(&stage.home()).is_empty()
    });
}

/// A bit that flips on the way ends the connection and never reaches the file.
/// Proves `silent-corruption` in docs/faults.md.
#[test]
fn flipped_bit_ends_only_the_connection() {
    for up in [true, false] {
        let relayed = RelayedServer::new(13);
        relayed.relay.flip_bit_after(2 * BLOCK as u64 + 4321);
        let events = relayed.finish_copy(up, &[]);
        assert!(event(&events, "reconnecting").is_some());
    }
}

#[test]
fn ctrl_c_leaves_resumable_copy() {
    let relayed = RelayedServer::new(14);
    for up in [true, false] {
        relayed.relay.hold_after(3 * BLOCK as u64);
        let [from, to] = relayed.arguments(up);
        let command = ["--json", "cp", &from, &to];
        let child = relayed.stage.command(&command).spawn().unwrap();
        wait_for("two blocks", || {
            staging(&relayed.folder(up)).first().is_some_and(|part| {
                fs::metadata(part).is_ok_and(|metadata| metadata.len() > 2 * BLOCK as u64)
            })
        });
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        relayed.relay.release();
        Outcome::of(child).fails(130, "interrupted");
        // The server does not wait for the client: a session that waits would end much later.
        loop {
            match relayed.server.next_event()["event"].as_str().unwrap() {
                "disconnected" => panic!("the session waits"),
                "logout" => break,
                _ => {}
            }
        }
        let events = relayed.finish_copy(up, &[]);
        assert!(event(&events, "resumed-at").is_some());
    }
}
