//! Administration with `--on`, and of one's own account.

use std::fs;

use serde_json::{Value, json};
use testkit::{Outcome, Stage};

use crate::{
    passwords::{file, with_bob},
    stage,
    users::{OwnerAndBob, key},
};

const PASSWORD: &str = "correct horse battery";

/// The lines of JSON that a command prints.
fn rows(outcome: Outcome) -> Vec<Value> {
    let text = outcome.ok();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

fn rights_of(stage: &Stage) -> String {
    fs::read_to_string(stage.path("server/server/rights.toml")).unwrap()
}

/// The option may stand anywhere after the noun.
#[test]
fn secret_check_and_audit_act_on_another_server() {
    let two = OwnerAndBob::new();
    let address = two.server.address.as_str();
    let run = |arguments: &[&str]| two.stage.run(arguments);
    let path = two.stage.path("user/ci.secret").display().to_string();
    let added = run(&[
        "--json",
        "secret",
        "--on",
        address,
        "add",
        "bob",
        "--services",
        "files.get,ping",
        "--label",
        "ci",
        "--out",
        &path,
    ])
    .json();
    let joined = two
        .stage
        .run(&["--state", "ci", "join", "--secret-file", &path]);
    joined.ok();
    let listed = rows(run(&["secret", "list", "--on", address, "--json"]));
    assert_eq!(
        listed,
        rows(run(&["secret", "list", "bob", "--json", "--on", address]))
    );
    assert_eq!(
        (&listed[0]["id"], &listed[0]["label"]),
        (&added["id"], &json!("ci"))
    );
    run(&["--json", "secret", "list", "ghost", "--on", address]).fails(20, "not-found");
    let secret = fs::read_to_string(&path).unwrap();
    let key = secret.trim().rsplit('.').next().unwrap();
    let log = two.stage.run_at_server(&["audit", "show", "--json"]).ok();
    assert!(log.contains("add-secret") && !log.contains(key), "{log}");
    let id = added["id"].as_str().unwrap();
    let removed = run(&["--json", "secret", "remove", id, "--on", address]).json();
    assert_eq!(removed["id"], added["id"]);
    two.stage
        .run(&["--json", "--state", "ci", "ping", address])
        .fails(12, "login-refused");

    let allowed = run(&["--json", "check", "bob", "write", "x", "--on", address]).json();
    assert_eq!(allowed["allowed"], true);
    let here = two
        .stage
        .run_at_server(&["--json", "check", "bob", "write", "x"])
        .json();
    assert_eq!(here, allowed);
    let outcome = run(&[
        "--json", "check", "--on", address, "bob", "exec", "--", "ls", "-l",
    ]);
    assert_eq!(outcome.status, Some(23), "{}", outcome.stderr);
    run(&["--json", "check", "bob", "fly", "--on", address]).fails(23, "name-refused");

    // What the other server sends are the lines of its log.
    let there = run(&["audit", "show", "--json", "--on", address, "--user", "bob"]).ok();
    let here = two
        .stage
        .run_at_server(&["audit", "show", "--json", "--user", "bob"])
        .ok();
    assert!(
        there.lines().count() > 3 && here.starts_with(&there),
        "{there}"
    );
    let last = run(&[
        "audit", "--on", address, "show", "--json", "--user", "bob", "--last", "2",
    ]);
    let tail: Vec<&str> = there.lines().rev().take(2).collect();
    assert_eq!(last.ok().lines().rev().collect::<Vec<_>>(), tail);
    run(&["audit", "show", "--on", address, "--since", "2999-01-01"]).ok();
    let report = run(&["--json", "audit", "verify", "--on", address]).json();
    assert_eq!(
        (&report["ok"], &report["violations"]),
        (&json!(true), &json!([]))
    );
    assert!(report["lines"].as_u64() > Some(3), "{report}");
}

/// Nothing but their own account is for users without a role.
/// Proves `role-escalation` in docs/faults.md.
#[test]
fn users_without_role_check_only_themselves() {
    let two = OwnerAndBob::new();
    let address = two.server.address.as_str();
    let bob = |arguments: &[&str]| two.bob(&[arguments, &["--json", "--on", address]].concat());
    let verdict = bob(&["check", "bob", "read", "/etc/passwd"]);
    assert_eq!(verdict.status, Some(23), "{}", verdict.stderr);
    let verdict: Value = serde_json::from_slice(&verdict.stdout).unwrap();
    assert_eq!(verdict["allowed"], false);
    for denied in [
        &["check", "alice", "role", "owner"][..],
        &["check", "ghost", "role", "owner"],
        &["secret", "list"],
        &["secret", "add", "bob"],
        &["audit", "show"],
        &["audit", "verify"],
        &["user", "list"],
        &["user", "grant", "bob", "--role", "owner"],
        &["user", "revoke", "alice", "--role"],
        &["user", "keys", "list", "alice"],
    ] {
        bob(denied).fails(23, "denied");
    }
}

/// An admin does not see the lines that are for owners.
#[test]
fn admin_sees_no_lines_for_owners() {
    let two = OwnerAndBob::new();
    let address = two.server.address.as_str();
    two.user(&["grant", "bob", "--role", "admin"]).ok();
    let events = |rows: Vec<Value>| -> Vec<String> {
        let names = rows
            .iter()
            .map(|row| row["event"].as_str().unwrap().to_owned());
        names.collect()
    };
    let show = ["audit", "show", "--json", "--on", address];
    let bobs = events(rows(two.bob(&show)));
    let alices = events(rows(two.stage.run(&show)));
    assert!(alices.iter().any(|event| event == "rights-change"));
    assert!(bobs.iter().any(|event| event == "login"), "{bobs:?}");
    assert!(
        !bobs.iter().any(|event| event.starts_with("rights-")),
        "{bobs:?}"
    );
}

/// Rights change by command, here and there, and what runs by them ends.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn rights_are_granted_and_revoked_by_command() {
    let two = OwnerAndBob::new();
    let address = two.server.address.as_str();
    let file = two.stage.path("server/server/rights.toml");
    let commented = rights_of(&two.stage).replace("files = [\"rw:~\"]", "files = [\"rw:~\"] # all");
    fs::write(&file, &commented).unwrap();
    let shown = || -> Vec<String> {
        let rights = two.shown()["rights"].as_array().unwrap().clone();
        let texts = rights
            .iter()
            .map(|right| right.as_str().unwrap().to_owned());
        texts.collect()
    };
    two.user(&[
        "grant",
        "bob",
        "--files",
        "r:/srv",
        "--quota",
        "bytes=10GiB",
        "--quota",
        "files=9",
    ])
    .ok();
    two.remote_user(&["grant", "bob", "--role", "helper", "--home", "~/bob"])
        .ok();
    assert_eq!(
        shown(),
        [
            "role = \"helper\"",
            "home = \"~/bob\"",
            "files = [\"rw:~\", \"r:/srv\"]",
            "quota.bytes = \"10 GiB\"",
            "quota.files = 9",
        ]
    );
    assert_eq!(
        rights_of(&two.stage).matches('#').count(),
        commented.matches('#').count()
    );
    let mut session = two.bob_in("files");
    let revoke = [
        "user", "revoke", "bob", "--files", "/srv", "--files", "rw:~", "--home", "--on",
    ];
    two.stage.run(&[&revoke[..], &[address]].concat()).ok();
    assert_eq!(session.error_code().unwrap().as_deref(), Some("ended"));
    let revoke = [
        "revoke", "bob", "--role", "--quota", "bytes", "--quota", "files",
    ];
    two.user(&revoke).ok();
    assert!(shown().is_empty(), "{:?}", shown());

    two.user(&["--json", "revoke", "bob", "--role"])
        .fails(20, "not-found");
    two.user(&["--json", "revoke", "bob"]).fails(2, "usage");
    two.user(&["--json", "grant", "bob"]).fails(2, "usage");
    two.user(&["--json", "grant", "bob", "--quota", "bytes=many"])
        .fails(2, "usage");
    two.user(&["--json", "grant", "bob", "--files", "srv"])
        .fails(2, "usage");
    two.user(&["--json", "grant", "ghost", "--files", "r:/srv"])
        .fails(20, "not-found");
    two.user(&["--json", "revoke", "alice", "--role"])
        .fails(23, "last-owner");

    let log = rows(
        two.stage
            .run_at_server(&["audit", "show", "--json", "--user", "bob"]),
    );
    let of = |action: &str| -> Vec<Value> {
        let lines = log.iter().filter(|line| line["action"] == action);
        lines.map(|line| line["detail"].clone()).collect()
    };
    assert_eq!(
        of("grant-rights"),
        [
            "quota.bytes = \"10 GiB\", quota.files = 9, r:/srv",
            "helper, home ~/bob"
        ]
    );
    assert_eq!(
        of("revoke-rights"),
        ["home, /srv, rw:~", "role, quota.bytes, quota.files"]
    );
    // Without a server it is the same.
    let OwnerAndBob { server, stage } = two;
    drop(server);
    stage
        .run_at_server(&["user", "grant", "bob", "--files", "r:/srv"])
        .ok();
    stage
        .run_at_server(&["user", "add", "dora", "--quota", "sessions=2"])
        .ok();
    let dora = stage
        .run_at_server(&["--json", "user", "show", "dora"])
        .json();
    assert_eq!(dora["rights"], json!(["quota.sessions = 2"]));
}

/// A user who logs in by password registers their own key.
#[test]
fn password_user_manages_own_keys() {
    let stage = stage();
    let server = with_bob(&stage);
    let password = file(&stage, "mine", PASSWORD);
    let bob = format!("bob@{}", server.address);
    let own = key(&stage, "own").public();
    let line = stage
        .write("own.pub", own.line().as_bytes())
        .display()
        .to_string();
    let keys = |arguments: &[&str]| {
        let login = ["--on", &bob, "--accept-new", "--password-file", &password];
        stage.run(&[&["--json", "user", "keys"], arguments, &login].concat())
    };
    keys(&["add", "bob", &line]).ok();
    let listed = keys(&["list", "bob"]).json();
    assert_eq!(listed["fingerprint"], own.fingerprint());
    keys(&["list", "alice"]).fails(23, "denied");
    keys(&["add", "alice", &line]).fails(23, "denied");
    let own_key = stage.path("keys/own").display().to_string();
    let by_key = stage.run(&["--json", "ping", &bob, "-i", &own_key]).json();
    assert_eq!(by_key["key"], own.fingerprint());
    // A key with a limit neither sees nor adds keys.
    let limited = key(&stage, "limited").public();
    let text = format!("landline-services=\"admin,ping\" {}", limited.line());
    let path = stage
        .write("limited.pub", text.as_bytes())
        .display()
        .to_string();
    keys(&["add", "bob", &path]).ok();
    let limited_key = stage.path("keys/limited").display().to_string();
    for arguments in [
        &["list", "bob"][..],
        &["add", "bob", &line],
        &["remove", "bob", &own.fingerprint()],
    ] {
        let login = ["--on", &bob, "-i", &limited_key];
        stage
            .run(&[&["--json", "user", "keys"], arguments, &login].concat())
            .fails(23, "credential-limited");
    }
    keys(&["remove", "bob", &own.fingerprint()]).ok();
    stage
        .run(&["--json", "ping", &bob, "-i", &own_key])
        .fails(12, "login-refused");
}

#[test]
fn machine_without_server_names_option_on() {
    let stage = stage();
    let server = stage.joined();
    for command in [
        &["user", "list"][..],
        &["secret", "list"],
        &["check", "alice", "read", "x"],
        &["audit", "show"],
        &["audit", "verify"],
    ] {
        let outcome = stage.run(command);
        assert!(outcome.stderr.contains("--on HOST"), "{}", outcome.stderr);
        stage
            .run(&[&["--json"], command].concat())
            .fails(31, "no-server");
        stage
            .run(&[command, &["--on", &server.address]].concat())
            .ok();
    }
}

#[test]
fn who_shows_the_role() {
    let two = OwnerAndBob::new();
    let address = two.server.address.as_str();
    let _idle = two.bob_in("admin");
    let shown = two.stage.run(&["who", address]).ok();
    let row = |user: &str| -> Vec<String> {
        let row = shown.lines().find(|line| line.starts_with(user)).unwrap();
        row.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("alice")[1], "owner");
    assert_eq!(row("bob")[1], "user");
    assert!(!row("bob").contains(&"admin".to_owned()), "{shown}");
    let rows = rows(two.stage.run(&["--json", "who", address]));
    assert!(
        rows.iter()
            .any(|row| row["user"] == "bob" && row["role"] == "user")
    );
}
