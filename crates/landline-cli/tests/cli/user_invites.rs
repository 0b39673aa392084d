//! Invites, names and lists of users, and what happens when a user is removed.

use std::sync::Barrier;

use landline::keys::UserKey;
use serde_json::{Value, json};
use testkit::{Census, RawClient, wait_for};

use crate::{
    noise, stage,
    users::{OwnerAndBob, key},
};

/// Of many clients one redeems the invite. An expired or revoked invite fails, and so does one with
/// another fingerprint.
/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn invite_works_once_until_expired_or_revoked() {
    let two = OwnerAndBob::new();
    // The first one waits for the last, within the 10 s of a login.
    let racers = if testkit::is_soak() { 100 } else { 25 };
    let keys: Vec<UserKey> = (0..racers)
        .map(|n| key(&two.stage, &format!("racer{n}")))
        .collect();
    let invite = two.user(&["invite", "bob"]).ok();
    let token = invite.trim().rsplit('.').next().unwrap();
    let start = Barrier::new(keys.len());
    let answers: Vec<String> = std::thread::scope(|scope| {
        let racers: Vec<_> = keys
            .iter()
            .map(|key| {
                let (two, start) = (&two, &start);
                scope.spawn(move || {
                    let mut client =
                        RawClient::connect(&two.server.address, &two.server.fingerprint).unwrap();
                    client.greet().unwrap();
                    let login = client.login_header("bob", key, Some(token));
                    start.wait();
                    client.send_json(&login).unwrap();
                    let answer: Value = client.header().unwrap().unwrap().read().unwrap();
                    answer["code"].as_str().unwrap_or("welcome").to_owned()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    let count = |answer: &str| answers.iter().filter(|other| *other == answer).count();
    assert_eq!(
        (count("welcome"), count("invite-used")),
        (1, keys.len() - 1),
        "{answers:?}"
    );
    assert_eq!(two.shown()["keys"].as_array().unwrap().len(), 2);

    let join = |invite: &str, name: &str| {
        two.stage.run_with_input(
            &[
                "--json",
                "--state",
                &two.state(name),
                "join",
                "-",
                "--as",
                name,
            ],
            invite.as_bytes(),
        )
    };
    let soon = two.remote_user(&["invite", "carol", "--ttl", "1s"]).ok();
    wait_for("its end", || {
        two.user(&["invites", "list", "--json"]).ok().is_empty()
    });
    join(&soon, "carol").fails(12, "invite-expired");

    let revoked = two.user(&["invite", "carol"]).ok();
    let open: Value = serde_json::from_str(&two.user(&["invites", "list", "--json"]).ok()).unwrap();
    assert_eq!(
        (&open["user"], &open["purpose"], &open["made_by"]),
        (&json!("carol"), &json!("account"), &Value::Null)
    );
    two.remote_user(&["invites", "revoke", open["id"].as_str().unwrap()])
        .ok();
    join(&revoked, "carol").fails(12, "invite-unknown");

    let good = two.user(&["invite"]).ok();
    let digit = if two.server.fingerprint.starts_with('0') {
        "1"
    } else {
        "0"
    };
    let forged = good.replace(
        &two.server.fingerprint,
        &format!("{digit}{}", &two.server.fingerprint[1..]),
    );
    join(&forged, "carol").fails(11, "server-changed");
    join(&good, "bob").fails(12, "invite-user");
    join(&good, "carol").ok();
    join(&two.user(&["invite", "dora"]).ok(), "eve").fails(12, "invite-user");

    // A client cannot choose a name that already has rights.
    let rights = String::from_utf8(two.stage.read("server/server/rights.toml")).unwrap();
    two.stage
        .write_rights(&format!("{rights}\n[users.frank]\nrole = \"admin\"\n"));
    join(&two.user(&["invite"]).ok(), "frank").fails(12, "invite-user");
    two.user(&["--json", "add", "frank", "--invite"])
        .fails(22, "exists");
    join(&two.user(&["invite", "frank"]).ok(), "frank").ok();
    join("landline://127.0.0.1:1/#x.y", "eve").fails(2, "invite");
}

/// In a log or a list, both names would look like the same user.
/// Proves `name-case` in docs/faults.md.
#[test]
fn user_names_ignore_case() {
    let two = OwnerAndBob::new();
    for name in ["ALICE", "Bob"] {
        two.user(&["--json", "add", name]).fails(22, "exists");
        two.remote_user(&["--json", "add", name])
            .fails(22, "exists");
        two.user(&["--json", "invite", name]).fails(22, "exists");
    }
    let join = |invite: &str, name: &str| {
        let state = two.state("other");
        let join = ["--json", "--state", &state, "join", "-", "--as", name];
        two.stage.run_with_input(&join, invite.as_bytes())
    };
    let open = two.user(&["invite"]).ok();
    join(&open, "BOB").fails(12, "invite-user");
    // An invite that was made before the user existed.
    let (first, second) = (
        two.user(&["invite", "carol"]).ok(),
        two.user(&["invite", "Carol"]).ok(),
    );
    join(&first, "carol").ok();
    join(&second, "Carol").fails(12, "invite-user");
    two.user(&["--json", "show", "CAROL"])
        .fails(20, "not-found");
    assert_eq!(two.user(&["list", "--json"]).ok().lines().count(), 3);
    // Rights apply to the name in any case.
    let rights = String::from_utf8(two.stage.read("server/server/rights.toml")).unwrap();
    two.stage
        .write_rights(&format!("{rights}\n[users.Dora]\nrole = \"owner\"\n"));
    two.user(&["--json", "add", "dora"]).fails(22, "exists");
    join(&open, "DORA").fails(12, "invite-user");
}

#[test]
fn invite_lists_addresses_of_server() {
    let two = OwnerAndBob::new();
    assert!(
        two.user(&["invite", "carol"])
            .ok()
            .starts_with(&format!("landline://{}/#", two.server.address))
    );
    let named = two
        .user(&["invite", "carol", "--public-name", "host.example:77"])
        .ok();
    assert!(named.starts_with("landline://host.example:77/#"), "{named}");
    two.user(&["--json", "invite", "carol", "--ttl", "31d"])
        .fails(2, "usage");
    two.user(&["--json", "invite", "carol", "--ttl", "soon"])
        .fails(2, "usage");
}

/// Both sides reject names that could be mistaken for something else.
/// Proves `option-injection` in docs/faults.md.
#[test]
fn user_names_like_options_are_refused() {
    let two = OwnerAndBob::new();
    let before = two.user(&["list"]).ok();
    for name in ["-f", "@x", "%n", "--key", "", "a b", "../x"] {
        for arguments in [
            ["--json", "add", "--", name],
            ["--json", "remove", "--", name],
            ["--json", "invite", "--", name],
        ] {
            two.user(&arguments).fails(2, "usage");
        }
    }
    two.user(&["--json", "add", "-froot"]).fails(2, "usage");
    let mut raw = RawClient::connect(&two.server.address, &two.server.fingerprint).unwrap();
    raw.login("alice", &crate::login::client_key(&two.stage), None)
        .unwrap();
    raw.send_json(&json!({"type": "open", "service": "admin"}))
        .unwrap();
    raw.send_json(&json!({"type": "add-user", "user": "-froot"}))
        .unwrap();
    assert_eq!(raw.error_code().unwrap().as_deref(), Some("bad-header"));
    assert_eq!(two.user(&["list"]).ok(), before);
}

#[test]
fn local_and_remote_user_commands_agree() {
    let stage = stage();
    let state = stage.path("server").display().to_string();
    stage
        .run(&["--json", "--state", &state, "user", "list"])
        .fails(31, "no-server");
    let two = OwnerAndBob::new();
    let path = two.stage.write(
        "keys.pub",
        format!("# two\n{}\n", key(&two.stage, "a").public().line()).as_bytes(),
    );
    two.user(&["add", "carol", "--key", &path.display().to_string()])
        .ok();
    two.user(&["--json", "add", "carol"]).fails(22, "exists");
    two.user(&["--json", "keys", "list", "ghost"])
        .fails(20, "not-found");
    two.user(&["--json", "keys", "remove", "carol", "SHA256:x"])
        .fails(20, "not-found");
    assert!(
        two.user(&["keys", "list", "carol"])
            .ok()
            .contains(&key(&two.stage, "a").public().fingerprint())
    );
    two.user(&["disable", "carol"]).ok();
    let carol = two.user(&["--json", "show", "carol"]).json();
    assert!(carol["disabled"].is_i64(), "{carol}");
    let carol =
        "[users.carol]\nfiles = [\"rw:~\"]\nchat = true\n[users.carol.quota]\nrate = \"1 MiB/s\"\n";
    two.stage
        .write_rights(&format!("[users.alice]\nrole = \"owner\"\n{carol}"));
    two.server.rights_loaded(&two.stage);
    let listed = two.user(&["list"]).ok();
    let carol = listed
        .lines()
        .find(|line| line.starts_with("carol"))
        .unwrap();
    assert!(carol.contains("files chat"), "{carol}");
    let shown = two.user(&["show", "carol"]).ok();
    for line in [
        "  files = [\"rw:~\"]",
        "  chat = true",
        "  quota.rate = \"1 MiB/s\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in {shown}"
        );
    }
    two.user(&["--json", "invite", "carol"]).fails(23, "denied");
    assert_eq!(
        two.user(&["list"]).ok(),
        two.remote_user(&["list"]).ok(),
        "the local and the remote list differ"
    );
}

/// A list that does not fit into one message is complete.
#[test]
fn long_lists_are_complete() {
    let two = OwnerAndBob::new();
    let base = key(&two.stage, "a").public().line();
    let comment = "x".repeat(7000);
    let lines: Vec<String> = (0..20)
        .map(|n| {
            format!(
                "{} {comment}",
                key(&two.stage, &format!("k{n}")).public().line()
            )
        })
        .collect();
    let path = two
        .stage
        .write("keys.pub", lines.join("\n").as_bytes())
        .display()
        .to_string();
    two.user(&["keys", "add", "bob", &path]).ok();
    let there = two.remote_user(&["keys", "list", "bob", "--json"]).ok();
    assert_eq!(there.lines().count(), 21);
    assert_eq!(there, two.user(&["keys", "list", "bob", "--json"]).ok());
    assert!(!there.contains(&base));
}

/// A removed user cannot complete a copy, even if only a few bytes are missing. The rate limit
/// still applies to the copy.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn copy_of_removed_user_changes_nothing() {
    for quota in [
        "rate = \"1 MiB/s\"",
        "rate = \"1 MiB/s\"\nbytes = \"1 GiB\"",
    ] {
        let two = OwnerAndBob::new();
        std::fs::create_dir(two.stage.path("home/bob")).unwrap();
        two.stage.write("home/bob/kept", b"old");
        two.stage.write("user/big", &noise(12 << 20, 1));
        let bob = format!("[users.bob]\nfiles = [\"rw:~/bob\"]\n[users.bob.quota]\n{quota}\n");
        two.stage
            .write_rights(&format!("[users.alice]\nrole = \"owner\"\n{bob}"));
        two.server.rights_loaded(&two.stage);
        let copy = [
            "--state",
            &two.state("bob"),
            "cp",
            "big",
            &two.server.at("kept"),
        ];
        let child = two.stage.command(&copy).spawn().unwrap();
        wait_for("a beginning", || {
            Census::of(&two.stage.path("home/bob")).paths().len() > 1
        });
        two.remote_user(&["remove", "bob"]).ok();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(35),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(two.stage.read("home/bob/kept"), b"old");
    }
}

/// The key expires without any change to the account.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn expired_key_ends_its_sessions() {
    let two = OwnerAndBob::new();
    let soon = std::process::Command::new("date")
        .args(["-u", "-d", "+20 seconds", "+%Y%m%d%H%M%SZ"])
        .output()
        .unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap();
    let line = format!(
        "expiry-time=\"{}\" {} bob's\n",
        soon.trim(),
        two.bob_key().public().line()
    );
    let path = two
        .stage
        .write("line", line.as_bytes())
        .display()
        .to_string();
    two.user(&["keys", "add", "bob", &path]).ok();
    let mut session = two.bob_in("ping");
    let failed = two.server.event("failed");
    assert_eq!(
        (&failed["code"], &failed["user"]),
        (&"ended".into(), &"bob".into()),
        "{failed}"
    );
    assert_eq!(session.error_code().unwrap().as_deref(), Some("ended"));
    two.bob(&["--json", "ping", "127.0.0.1"])
        .fails(12, "login-refused");
}

/// Of many logins at once, each session belongs to the user who proved the identity.
/// Proves `login-mixup` in docs/faults.md.
#[test]
fn concurrent_logins_are_not_mixed_up() {
    // The first one waits for the last, within the 10 s of a login.
    let (rounds, logins) = if testkit::is_soak() {
        (10_000, 200)
    } else {
        (8, 50)
    };
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let two = OwnerAndBob::new();
    let people = [
        ("alice", crate::login::client_key(&two.stage)),
        ("bob", two.bob_key()),
    ];
    for round in 0..rounds {
        let dice = noise(logins * 2, seed + round);
        let start = Barrier::new(logins);
        std::thread::scope(|scope| {
            for die in dice.chunks(2) {
                let (two, start, people) = (&two, &start, &people);
                scope.spawn(move || {
                    let (name, key) = &people[usize::from(die[0]) % 2];
                    let mut client =
                        RawClient::connect(&two.server.address, &two.server.fingerprint).unwrap();
                    client.greet().unwrap();
                    let login = client.login_header(name, key, None).to_string();
                    start.wait();
                    // Each login arrives in two parts, so that the server decides others in
                    // between.
                    let frame = testkit::frame(&login);
                    let (first, rest) = frame.split_at(1 + usize::from(die[1]) % (frame.len() - 1));
                    client.send(first).unwrap();
                    std::thread::yield_now();
                    client.send(rest).unwrap();
                    let welcome: Value = client.header().unwrap().unwrap().read().unwrap();
                    assert_eq!(welcome["user"], *name, "round {round}: {welcome}");
                    assert_eq!(welcome["key"], key.public().fingerprint(), "round {round}");
                });
            }
        });
    }
}
