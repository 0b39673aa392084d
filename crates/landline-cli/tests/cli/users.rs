//! Accounts, keys, invites and sessions, on the server's machine and remotely.

use std::{
    collections::BTreeSet,
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use landline::{keys::UserKey, paths::PrivateFolder};
use serde_json::{Value, json};
use testkit::{Outcome, RawClient, ServerProcess, Stage, wait_for};

use crate::{noise, stage};

/// A server with the owner `alice`, whose state is the client's, and `bob`, whose state is the
/// folder `bob`.
pub(crate) struct OwnerAndBob {
    pub(crate) server: ServerProcess,
    pub(crate) stage: Stage,
}

impl OwnerAndBob {
    pub(crate) fn new() -> Self {
        Self::on(stage())
    }

    pub(crate) fn on(stage: Stage) -> Self {
        let server = stage.joined();
        let two = Self { server, stage };
        let invite = two
            .remote_user(&["add", "bob", "--files", "rw:~", "--invite"])
            .ok();
        two.stage
            .run_with_input(
                &["--state", &two.state("bob"), "join", "-", "--as", "bob"],
                invite.as_bytes(),
            )
            .ok();
        two
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.stage.path(name).display().to_string()
    }

    /// `landline user` on the server's machine.
    pub(crate) fn user(&self, arguments: &[&str]) -> Outcome {
        self.stage
            .run(&[&["--state", &self.state("server"), "user"], arguments].concat())
    }

    /// `landline user --on` as alice.
    pub(crate) fn remote_user(&self, arguments: &[&str]) -> Outcome {
        self.stage
            .run(&[&["user", "--on", &self.server.address], arguments].concat())
    }

    /// Runs the command as bob.
    pub(crate) fn bob(&self, arguments: &[&str]) -> Outcome {
        self.stage
            .run(&[&["--state", &self.state("bob")], arguments].concat())
    }

    pub(crate) fn bob_key(&self) -> UserKey {
        UserKey::load(&self.stage.path("bob/client/id_ed25519"), |_| {
            panic!("the key is not encrypted")
        })
        .unwrap()
    }

    /// An idle session of bob with this service open.
    pub(crate) fn bob_in(&self, service: &str) -> RawClient {
        let mut client =
            RawClient::connect(&self.server.address, &self.server.fingerprint).unwrap();
        assert_eq!(
            client.login("bob", &self.bob_key(), None).unwrap(),
            "welcome"
        );
        client
            .send_json(&json!({"type": "open", "service": service}))
            .unwrap();
        client
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.bob_key().public().fingerprint()
    }

    /// Bob's account as `user show` prints it.
    pub(crate) fn shown(&self) -> Value {
        serde_json::from_str(&self.user(&["show", "bob", "--json"]).ok()).unwrap()
    }
}

/// Generates a key, with the private half in the state folder `name`.
pub(crate) fn key(stage: &Stage, name: &str) -> UserKey {
    let folder = PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    UserKey::load_or_create(&folder, name).unwrap().0
}

/// Revoking an account or a key ends its live sessions with a reason, locally and remotely.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn revocation_ends_live_sessions() {
    let two = OwnerAndBob::new();
    let print = two.fingerprint();
    let line = two.bob_key().public().line();
    type Revoke<'a> = (&'a str, &'a [&'a [&'a str]]);
    let revoke: [Revoke<'_>; 3] = [
        ("disable", &[&["disable", "bob"], &["enable", "bob"]]),
        (
            "remove a key",
            &[
                &["keys", "remove", "bob", &print],
                &["keys", "add", "bob", "-"],
            ],
        ),
        (
            "remove",
            &[
                &["remove", "bob"],
                &["add", "bob", "--key", "-", "--files", "rw:~"],
            ],
        ),
    ];
    for over_the_line in [false, true] {
        for (what, commands) in &revoke {
            let mut idle = two.bob_in("ping");
            let mut in_a_copy = two.bob_in("files");
            in_a_copy
                .send_json(
                    &json!({"type": "put", "path": "x", "length": 9, "mode": 420, "replace": true}),
                )
                .unwrap();
            assert_eq!(in_a_copy.header().unwrap().unwrap().kind(), "ready");
            let [take, give_back] = commands else {
                panic!("two")
            };
            match over_the_line {
                true => two.remote_user(take).ok(),
                false => two.user(take).ok(),
            };
            let start = Instant::now();
            for client in [&mut idle, &mut in_a_copy] {
                let error: Value = client.header().unwrap().expect("a reason").read().unwrap();
                assert_eq!(error["code"], "ended", "{what}: {error}");
                assert!(client.header().unwrap().is_none(), "and nothing more");
            }
            assert!(
                start.elapsed() <= testkit::time_limit(Duration::from_secs(2)),
                "{what}"
            );
            two.bob(&["--json", "ping", "127.0.0.1"])
                .fails(12, "login-refused");
            let base = ["user", "--on", &two.server.address];
            let give_back = [&base[..], give_back].concat();
            two.stage.run_with_input(&give_back, line.as_bytes()).ok();
            two.bob(&["ping", "127.0.0.1"]).ok();
        }
    }
}

/// Options that restrict a key end its session.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn changed_key_options_end_sessions() {
    let two = OwnerAndBob::new();
    let line = two.bob_key().public().line();
    for options in [
        "from=\"192.0.2.1\"",
        "expiry-time=\"20200101Z\"",
        "command=\"backup\"",
    ] {
        two.stage.write("line", line.as_bytes());
        let path = two.stage.path("line").display().to_string();
        two.user(&["keys", "add", "bob", &path]).ok();
        let mut idle = two.bob_in("ping");
        two.stage
            .write("line", format!("{options} {line}").as_bytes());
        two.user(&["keys", "add", "bob", &path]).ok();
        let error: Value = idle.header().unwrap().expect("a reason").read().unwrap();
        assert_eq!(error["code"], "ended", "{options}: {error}");
    }
}

/// The copy exits with its own status and does not retry.
#[test]
fn terminated_copy_has_own_exit_status() {
    let two = OwnerAndBob::new();
    let copy = |revoke: &dyn Fn()| -> Outcome {
        let state = two.state("bob");
        let arguments = [
            "--json",
            "--state",
            &state,
            "cp",
            "-",
            &two.server.at("slow"),
        ];
        let mut child = two
            .stage
            .command(&arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"before ").unwrap();
        wait_for("the staging file", || {
            std::fs::read_dir(two.stage.home()).unwrap().count() == 1
        });
        revoke();
        let outcome = Outcome::of(child);
        // The server removes it a little later.
        wait_for("the empty home", || {
            std::fs::read_dir(two.stage.home()).unwrap().count() == 0
        });
        outcome
    };
    for revoke in [["user", "disable", "bob"], ["user", "enable", "bob"]] {
        if revoke[1] == "enable" {
            two.user(&revoke[1..]).ok();
            continue;
        }
        copy(&|| drop(two.user(&revoke[1..]).ok())).fails(35, "ended");
    }
    copy(&|| drop(two.stage.run(&["kick", &two.server.address, "bob"]).ok())).fails(35, "ended");
    two.bob(&["ping", "127.0.0.1"]).ok();
}

/// A client that does not read what the server sends is ended too.
/// Proves `slow-reader` in docs/faults.md.
#[test]
fn session_of_stalled_client_is_ended() {
    let two = OwnerAndBob::new();
    two.stage.write("home/big", &noise(64 << 20, 1));
    let mut client = two.bob_in("files");
    client
        .send_json(&json!({"type": "get", "path": "big"}))
        .unwrap();
    assert_eq!(client.header().unwrap().unwrap().kind(), "file-info");
    two.user(&["disable", "bob"]).ok();
    assert_eq!(two.server.event("failed")["code"], "ended");
    two.server.event("logout");
}

#[test]
fn user_sees_and_kicks_only_own_sessions() {
    let two = OwnerAndBob::new();
    let _idle = two.bob_in("ping");
    let rows = |outcome: Outcome| -> Vec<Value> {
        outcome
            .ok()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let who = |state: &str| {
        rows(two.stage.run(&[
            "--state",
            &two.state(state),
            "who",
            &two.server.address,
            "--json",
        ]))
    };
    wait_for("both sessions, and the channel of bob's", || {
        let all = who("client");
        let bob = all.iter().find(|session| session["user"] == "bob");
        all.len() == 2 && bob.is_some_and(|bob| bob["connections"][0]["doing"] == "ping")
    });
    let all = who("client");
    let bob = all
        .iter()
        .find(|session| session["user"] == "bob")
        .expect("bob's session");
    assert_eq!(bob["connections"][0]["doing"], "ping");
    assert_eq!(bob["key"], two.fingerprint());
    assert!(
        who("bob").iter().all(|session| session["user"] == "bob"),
        "bob sees the sessions of another user"
    );

    let id = bob["session"].as_str().unwrap();
    let alice = all
        .iter()
        .find(|session| session["user"] == "alice")
        .unwrap();
    two.bob(&["--json", "kick", &two.server.address, "alice"])
        .fails(20, "not-found");
    two.bob(&[
        "--json",
        "kick",
        &two.server.address,
        alice["session"].as_str().unwrap(),
    ])
    .fails(20, "not-found");
    assert!(
        two.bob(&["kick", &two.server.address, id])
            .ok()
            .contains(id),
        "one's own"
    );
}

/// However many connections a user has, an admin logs in and can end them.
#[test]
fn slot_is_reserved_for_admins() {
    let two = OwnerAndBob::new();
    let address = two.server.address.clone();
    let OwnerAndBob { server, stage } = two;
    drop(server);
    let two = OwnerAndBob {
        server: stage.serve_at(&address, &["--connections", "4"]),
        stage,
    };
    let crowd: Vec<RawClient> = (0..3).map(|_| two.bob_in("ping")).collect();
    two.bob(&["--json", "ping", "127.0.0.1"])
        .fails(38, "too-many-sessions");
    two.stage.run(&["ping", "127.0.0.1"]).ok();
    two.stage.run(&["kick", "127.0.0.1", "bob"]).ok();
    for mut client in crowd {
        assert_eq!(client.error_code().unwrap().as_deref(), Some("ended"));
    }
    for _ in 0..3 {
        two.server.event("logout");
    }
    two.bob(&["ping", "127.0.0.1"]).ok();
}

/// Users without a role are denied every request of the service `admin`.
/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn admin_requests_of_users_are_denied() {
    let two = OwnerAndBob::new();
    let requests = crate::order::TABLE
        .iter()
        .filter(|row| row.service == Some("admin"));
    let before = two.user(&["list", "--json"]).ok();
    let mut client = two.bob_in("admin");
    for kind in requests
        .map(|row| row.kind)
        .filter(|kind| !["who", "kick"].contains(kind))
    {
        let request = json!({
            "type": kind, "user": "alice", "keys": [], "key": two.fingerprint(), "seconds": 60, "id": "00", "force": true,
            "request": "AAAA", "record": "AAAA", "right": "role", "arguments": ["user"],
        });
        client.send_json(&request).unwrap();
        let error: Value = client.header().unwrap().unwrap().read().unwrap();
        assert_eq!(error["code"], "denied", "{kind}");
    }
    assert_eq!(two.user(&["list", "--json"]).ok(), before);
    assert_eq!(two.user(&["invites", "list", "--json"]).ok(), "");
}

/// A new user has no rights by default, and does not inherit those of an earlier user of that name.
#[test]
fn new_user_has_only_given_rights() {
    let two = OwnerAndBob::new();
    let join = |name: &str, options: &[&str]| {
        let add = [&["add", name, "--invite"], options].concat();
        let invite = if options.is_empty() {
            two.user(&add).ok()
        } else {
            two.remote_user(&add).ok()
        };
        let state = two.state(name);
        two.stage
            .run_with_input(
                &["--state", &state, "join", "-", "--as", name],
                invite.as_bytes(),
            )
            .ok();
    };
    let list = |name: &str| {
        two.stage.run(&[
            "--json",
            "--state",
            &two.state(name),
            "user",
            "--on",
            &two.server.address,
            "list",
        ])
    };
    let copy = |name: &str| {
        two.stage.run_with_input(
            &[
                "--json",
                "--state",
                &two.state(name),
                "cp",
                "-",
                &two.server.at(name),
            ],
            b"x",
        )
    };
    join("carol", &["--role", "owner"]);
    list("carol").ok();
    copy("carol").fails(23, "denied");
    join("dora", &[]);
    list("dora").fails(23, "denied");
    copy("dora").fails(23, "denied");
    join("emil", &["--files", "rw:~"]);
    copy("emil").ok();
    // With a second admin, the first one can be removed.
    two.user(&["remove", "alice"]).ok();
    two.user(&["--json", "remove", "carol"])
        .fails(23, "last-owner");
    two.user(&["remove", "carol", "--force"]).ok();
    let rights = String::from_utf8(two.stage.read("server/server/rights.toml")).unwrap();
    assert!(
        !rights.contains("[users.\"carol\"]") && !rights.contains("[users.\"alice\"]"),
        "{rights}"
    );
    join("carol", &[]);
    wait_for("the rules to apply", || list("carol").status == Some(23));

    two.user(&["--json", "add", "fred", "--files", "everything"])
        .fails(2, "usage");
    two.user(&["--json", "show", "fred"]).fails(20, "not-found");
}

#[test]
fn last_admin_is_removed_only_by_force() {
    let two = OwnerAndBob::new();
    for take in ["disable", "remove"] {
        two.user(&["--json", take, "alice"]).fails(23, "last-owner");
        two.remote_user(&["--json", take, "alice"])
            .fails(23, "last-owner");
    }
    two.stage.run(&["ping", "127.0.0.1"]).ok();
    two.user(&["disable", "alice", "--force"]).ok();
    two.stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(12, "login-refused");
    two.user(&["enable", "alice"]).ok();
    two.user(&["remove", "alice", "--force"]).ok();
    two.user(&["--json", "show", "alice"])
        .fails(20, "not-found");
}

/// The options of a key are enforced. A key with unknown options is refused like any other.
/// Proves `key-options` in docs/faults.md.
#[test]
fn key_options_are_enforced() {
    let two = OwnerAndBob::new();
    let line = two.bob_key().public().line();
    let add = |options: &str| {
        let path = two
            .stage
            .write("line", format!("{options} {line} bob's\n").as_bytes())
            .display()
            .to_string();
        two.user(&["--json", "keys", "add", "bob", &path])
    };
    let ping = || two.bob(&["--json", "ping", "127.0.0.1"]);
    let (mut said, mut logged) = (BTreeSet::new(), BTreeSet::new());
    let mut not_let_in = || {
        said.insert(ping().fails(12, "login-refused"));
        logged.insert(two.server.event("refused")["message"].to_string());
    };
    add("from=\"127.0.0.0/8\",restrict").ok();
    ping().ok();
    add("from=\"*,!127.0.0.1\"").ok();
    not_let_in();
    add("expiry-time=\"20200101Z\"").ok();
    not_let_in();
    add("expiry-time=\"20990101\"").ok();
    ping().ok();
    add("command=\"backup\"").ok();
    ping().fails(23, "credential-limited");
    two.bob(&["--json", "cp", "-", &two.server.at("x")])
        .fails(23, "credential-limited");

    let before = two.shown();
    for options in [
        "no-such-thing",
        "permitopen=\"host:22\"",
        "from=\"*.example.com\"",
        "command=\"x",
    ] {
        add(options).fails(32, "key-refused");
        let over = two.stage.path("line").display().to_string();
        two.remote_user(&["--json", "keys", "add", "bob", &over])
            .fails(32, "key-refused");
    }
    assert_eq!(two.shown(), before, "a key was added");
    let mut raw = RawClient::connect(&two.server.address, &two.server.fingerprint).unwrap();
    raw.login("alice", &crate::login::client_key(&two.stage), None)
        .unwrap();
    raw.send_json(&json!({"type": "open", "service": "admin"}))
        .unwrap();
    raw.send_json(
        &json!({"type": "add-keys", "user": "bob", "keys": [format!("tunnel=\"0\" {line}")]}),
    )
    .unwrap();
    assert_eq!(
        raw.error_code().unwrap().as_deref(),
        Some("key-refused"),
        "the server checks the store itself"
    );

    // As a later release, or a user who can edit the store, would have written it.
    let store = rusqlite::Connection::open(two.stage.path("server/server/accounts.db")).unwrap();
    store
        .execute(
            "UPDATE keys SET options = 'of-a-later-release' WHERE user = 'bob'",
            [],
        )
        .unwrap();
    not_let_in();
    assert_eq!(
        (said.len(), logged.len()),
        (1, 3),
        "only the log has the reason: {said:?} {logged:?}"
    );
    let shown = two.shown();
    assert!(shown["keys"][0]["refused"].is_string(), "{shown}");
}
