//! Logging in by password, and setting passwords.

use std::{fs, os::unix::fs::PermissionsExt};

use landline::{keys::UserKey, paths::PrivateFolder};
use serde_json::{Value, json};
use testkit::{RawClient, ServerProcess, Stage, Terminal};

use crate::{
    ASKS_NEW_PASSWORD, ASKS_PASSWORD, ASKS_TRUST, login::client_key, passwords_bound::log_in,
    secrets::files_with, stage,
};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Writes a password to a file of mode 0600 and returns its path.
pub(crate) fn file(stage: &Stage, name: &str, password: &str) -> String {
    let path = stage.write(name, format!("{password}\n").as_bytes());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// A server with the owner `alice` and with `bob`, who has a password. The client knows neither.
pub(crate) fn with_bob(stage: &Stage) -> ServerProcess {
    let server = stage.joined();
    let file = file(stage, "bob.password", PASSWORD);
    stage
        .run_at_server(&[
            "user",
            "add",
            "bob",
            "--new-password-file",
            &file,
            "--files",
            "rw:~/bob",
        ])
        .ok();
    fs::rename(stage.path("client"), stage.path("alice")).unwrap();
    server
}

pub(crate) fn known(stage: &Stage) -> Value {
    serde_json::from_str(stage.run(&["hosts", "--json"]).ok().trim()).unwrap()
}

#[test]
fn join_by_password_trusts_server() {
    let stage = stage();
    let server = with_bob(&stage);
    fs::create_dir(stage.path("home/bob")).unwrap();
    let at = format!("bob@{}", server.address);
    let mut terminal = Terminal::start(&stage.command(&["--json", "ping", &at]));
    // The password proves the server, so the user need not compare a fingerprint.
    terminal.wait_for(ASKS_PASSWORD);
    terminal.wait_for_hiding();
    assert_eq!(stage.run(&["hosts", "--json"]).ok(), "", "not pinned yet");
    terminal.type_line(PASSWORD);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert!(!terminal.shown.contains(ASKS_TRUST), "{}", terminal.shown);
    let pong: Value = serde_json::from_str(terminal.shown.lines().last().unwrap()).unwrap();
    assert_eq!(pong["user"], "bob");
    assert!(pong["key"].as_str().unwrap().starts_with("password:"));
    assert!(!terminal.shown.contains(PASSWORD));
    let server_known = known(&stage);
    assert_eq!(
        (&server_known["provisional"], &server_known["password"]),
        (&json!(false), &json!(true))
    );

    // The client now asks for the password at once and tries no key first.
    stage.write("user/report", b"all of it");
    let mut terminal = Terminal::start(&stage.command(&["cp", "report", "127.0.0.1:report"]));
    terminal.wait_for(ASKS_PASSWORD);
    terminal.wait_for_hiding();
    terminal.type_line(PASSWORD);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(stage.read("home/bob/report"), b"all of it");
    let log = stage
        .run_at_server(&["audit", "show", "--json", "--user", "bob"])
        .ok();
    assert!(!log.contains("login-refused"), "{log}");
}

#[test]
fn password_is_asked_for_after_rejected_keys() {
    let stage = stage();
    let server = with_bob(&stage);
    stage
        .run(&[
            "--json",
            "ping",
            &format!("bob@{}", server.address),
            "--accept-new",
        ])
        .fails(32, "no-key");
    // The client now has the key of another user.
    fs::rename(stage.path("client"), stage.path("ghost")).unwrap();
    fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    let mut terminal = Terminal::start(&stage.command(&["ping", "bob@127.0.0.1"]));
    terminal.wait_for(ASKS_PASSWORD);
    terminal.wait_for_hiding();
    terminal.type_line(PASSWORD);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    // The saved data of alice's key is unchanged. With `-i` the client asks for no password.
    let pong = stage.run(&["--json", "ping", "127.0.0.1"]).json();
    assert_eq!(pong["user"], "alice");
    assert!(pong["key"].as_str().unwrap().starts_with("SHA256:"));
    let key = stage.path("client/client/id_ed25519").display().to_string();
    let mut terminal = Terminal::start(&stage.command(&["ping", "bob@127.0.0.1", "-i", &key]));
    assert_eq!(terminal.end(), Some(12), "{}", terminal.shown);
    assert!(
        !terminal.shown.contains(ASKS_PASSWORD),
        "{}",
        terminal.shown
    );
}

#[test]
fn mistyped_password_is_asked_for_twice_more() {
    let stage = stage();
    let server = with_bob(&stage);
    let at = format!("bob@{}", server.address);
    let log_in = |typed: &[&str]| {
        let mut terminal =
            Terminal::start(&stage.command(&["ping", &at, "--accept-new", "--password"]));
        for line in typed {
            terminal.wait_for(ASKS_PASSWORD);
            terminal.wait_for_hiding();
            terminal.type_line(line);
            terminal.wait_for_showing();
        }
        (terminal.end(), terminal.shown.clone())
    };
    let (status, shown) = log_in(&["korrect horse battery", PASSWORD]);
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(
        shown.matches("landline: password not accepted").count(),
        1,
        "{shown}"
    );
    server.event("login");
    let (status, shown) = log_in(&["wrong horse", "wrong cow", "wrong dog"]);
    assert_eq!(status, Some(12), "{shown}");
    assert_eq!(
        shown.matches("landline: password not accepted").count(),
        2,
        "{shown}"
    );
}

#[test]
fn equivalent_password_spellings_match() {
    let stage = stage();
    let server = stage.joined();
    let (composed, apart) = (
        "Z\u{fc}rich f\u{e4}hrt\u{a0}ab",
        "Zu\u{308}rich fa\u{308}hrt ab",
    );
    let [first, second] =
        [("first", composed), ("second", apart)].map(|(name, text)| file(&stage, name, text));
    stage
        .run_at_server(&["user", "add", "bob", "--new-password-file", &first])
        .ok();
    fs::rename(stage.path("client"), stage.path("alice")).unwrap();
    let at = format!("bob@{}", server.address);
    stage
        .run(&["ping", &at, "--accept-new", "--password-file", &second])
        .ok();
    stage.run(&["ping", &at, "--password-file", &first]).ok();
    let third = file(&stage, "third", "Z\u{fc}rich\tab und an");
    stage
        .run(&["--json", "ping", &at, "--password-file", &third])
        .fails(32, "password");
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn password_comes_from_file_descriptor_or_environment() {
    let stage = stage();
    let server = with_bob(&stage);
    let at = format!("bob@{}", server.address);
    let right = file(&stage, "right", PASSWORD);
    let ping =
        |arguments: &[&str]| stage.command(&[&["ping", &at, "--accept-new"], arguments].concat());
    stage.run_command(ping(&["--password-file", &right])).ok();
    stage
        .run_with_input(
            &["ping", &at, "--password-fd", "0"],
            format!("{PASSWORD}\nmore").as_bytes(),
        )
        .ok();
    let mut by_environment = ping(&[]);
    by_environment.env("LANDLINE_PASSWORD_FILE", &right);
    stage.run_command(by_environment).ok();
    // The variable replaces the prompt. Without a prompt the file is not read.
    fs::rename(stage.path("client"), stage.path("bob")).unwrap();
    fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    let mut by_key = stage.command(&["--json", "ping", "alice@127.0.0.1"]);
    by_key.env("LANDLINE_PASSWORD_FILE", "/nowhere");
    let pong = stage.run_command(by_key).json();
    assert!(pong["key"].as_str().unwrap().starts_with("SHA256:"));
    fs::rename(stage.path("client"), stage.path("alice")).unwrap();
    fs::rename(stage.path("bob"), stage.path("client")).unwrap();
    // The errors of each way to give a password.
    stage
        .run_command(ping(&["--json"]))
        .fails(32, "no-terminal");
    stage
        .run_command(ping(&["--json", "--password"]))
        .fails(32, "no-terminal");
    stage
        .run_command(ping(&["--json", "--password-file", "/nowhere"]))
        .fails(32, "password");
    stage
        .run_command(ping(&["--json", "--password-fd", "987"]))
        .fails(32, "password");
    stage
        .run_with_input(&["--json", "ping", &at, "--password-fd", "0"], b"")
        .fails(32, "password");
    stage
        .run_with_input(
            &["--json", "ping", &at, "--password-fd", "0"],
            &[b'x'; 5000],
        )
        .fails(32, "password");
    stage
        .run_command(ping(&[
            "--json",
            "--password-file",
            &file(&stage, "wrong", "correct horse batterz"),
        ]))
        .fails(12, "login-refused");
    fs::set_permissions(&right, PermissionsExt::from_mode(0o640)).unwrap();
    stage
        .run_command(ping(&["--json", "--password-file", &right]))
        .fails(32, "password");
    stage
        .run_command(ping(&["--json", "--password", "correct"]))
        .fails(2, "usage");
}

/// The password is in its file only. The server does not store it.
/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn password_is_in_no_file_log_or_event() {
    let stage = stage();
    let server = with_bob(&stage);
    let at = format!("bob@{}", server.address);
    let outcome = stage.run(&[
        "ping",
        &at,
        "--accept-new",
        "--password-file",
        &file(&stage, "bob.password", PASSWORD),
    ]);
    assert!(!outcome.stderr.contains(PASSWORD) && !outcome.ok().contains(PASSWORD));
    assert!(!server.event("login").to_string().contains(PASSWORD));
    for folder in ["server", "client", "alice"] {
        assert_eq!(
            files_with(&stage.path(folder), PASSWORD.as_bytes(), &[]),
            Vec::<String>::new()
        );
    }
}

/// When `user add` ends, the running server has applied the rights. A script can use them at once.
#[test]
fn granted_rights_apply_when_command_ends() {
    let stage = stage();
    let server = stage.joined();
    let password = file(&stage, "password", PASSWORD);
    fs::rename(stage.path("client"), stage.path("alice")).unwrap();
    for number in 0..5 {
        let (user, folder) = (format!("user{number}"), format!("rw:~/folder{number}"));
        fs::create_dir(stage.path(&format!("home/folder{number}"))).unwrap();
        stage
            .run_at_server(&[
                "user",
                "add",
                &user,
                "--new-password-file",
                &password,
                "--files",
                &folder,
            ])
            .ok();
        let at = format!("landline://{user}@{}/x", server.address);
        let copy = [
            "--json",
            "cp",
            "--accept-new",
            "--password-file",
            &password,
            "-",
            &at,
        ];
        stage.run_with_input(&copy, b"at once").ok();
        stage.run_at_server(&["user", "remove", &user]).ok();
        stage
            .run_with_input(&copy, b"no more")
            .fails(12, "login-refused");
        fs::remove_dir_all(stage.path("client")).unwrap();
    }
    // Without a server the command does not wait for one.
    drop(server);
    stage
        .run_at_server(&[
            "user",
            "add",
            "bob",
            "--new-password-file",
            &password,
            "--files",
            "rw:~/bob",
        ])
        .ok();
}

#[test]
fn users_set_own_password_and_admins_any() {
    let stage = stage();
    let server = with_bob(&stage);
    let [old, new] = [("old", PASSWORD), ("new", "another password")]
        .map(|(name, text)| file(&stage, name, text));
    let ping =
        |password: &str| stage.run(&["--json", "ping", "127.0.0.1", "--password-file", password]);
    stage
        .run(&[
            "ping",
            &format!("bob@{}", server.address),
            "--accept-new",
            "--password-file",
            &old,
        ])
        .ok();
    let set = [
        "passwd",
        "127.0.0.1",
        "--password-file",
        &old,
        "--new-password-file",
        &new,
    ];
    stage.run(&set).ok();
    ping(&old).fails(12, "login-refused");
    ping(&new).ok();
    // At a terminal the password is typed twice. One that cannot be used is asked for again.
    type_new_passwords(&stage, &new);
    let third = file(&stage, "third", "third password");
    ping(&third).ok();
    // A user who does not know the old password is not asked for a new one.
    let mut terminal =
        Terminal::start(&stage.command(&["passwd", "127.0.0.1", "--password-file", &old]));
    assert_eq!(terminal.end(), Some(12), "{}", terminal.shown);
    assert!(
        !terminal.shown.contains(ASKS_NEW_PASSWORD),
        "{}",
        terminal.shown
    );
    // Only an admin sets the password of another user.
    let other = [
        "--json",
        "user",
        "--on",
        "127.0.0.1",
        "--password-file",
        &third,
        "password",
        "set",
        "alice",
        "--new-password-file",
        &new,
    ];
    stage.run(&other).fails(23, "denied");
    // An admin sets it remotely and on the server's machine, and removes it.
    fs::rename(stage.path("client"), stage.path("bob")).unwrap();
    fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    stage
        .run(&[
            "user",
            "--on",
            "127.0.0.1",
            "password",
            "set",
            "bob",
            "--new-password-file",
            &old,
        ])
        .ok();
    let listed = stage
        .run(&["user", "--on", "127.0.0.1", "list", "--json"])
        .ok();
    let rows: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rows.iter().map(|row| &row["password"]).collect::<Vec<_>>(),
        [&json!(false), &json!(true)]
    );
    fs::rename(stage.path("client"), stage.path("alice")).unwrap();
    fs::rename(stage.path("bob"), stage.path("client")).unwrap();
    ping(&old).ok();
    stage
        .run(&["passwd", "127.0.0.1", "--password-file", &old, "--remove"])
        .ok();
    ping(&old).fails(12, "login-refused");
    stage
        .run_at_server(&["--json", "user", "password", "remove", "bob"])
        .fails(20, "not-found");
    stage
        .run_at_server(&[
            "--json",
            "user",
            "password",
            "set",
            "ghost",
            "--new-password-file",
            &new,
        ])
        .fails(20, "not-found");
    check_logged_changes(&stage);
}

/// Types new passwords at a terminal: short ones, two that differ, and a valid one.
fn type_new_passwords(stage: &Stage, current: &str) {
    let (first, again) = (ASKS_NEW_PASSWORD, "Repeat the new password: ");
    let short = (first, "short");
    for (typed, status) in [
        (&[short, short, short][..], 32),
        (
            &[
                short,
                (first, "third password"),
                (again, "third passwort"),
                (first, "third password"),
                (again, "third password"),
            ],
            0,
        ),
    ] {
        let arguments = ["passwd", "127.0.0.1", "--password-file", current];
        let mut terminal = Terminal::start(&stage.command(&arguments));
        for (prompt, line) in typed {
            terminal.wait_for_next(prompt);
            terminal.wait_for_hiding();
            terminal.type_line(line);
        }
        assert_eq!(terminal.end(), Some(status), "{}", terminal.shown);
    }
}

/// The log also has changes that were denied, but not those that had nothing to change.
fn check_logged_changes(stage: &Stage) {
    let log = stage.run_at_server(&["audit", "show", "--json"]).ok();
    let set = log
        .lines()
        .filter(|line| line.contains("set-password"))
        .count();
    assert_eq!(
        (
            set,
            log.lines()
                .filter(|line| line.contains("remove-password"))
                .count()
        ),
        (4, 1),
        "{log}"
    );
}

/// A new password ends the sessions that logged in by the old one.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn new_password_ends_sessions_of_old_one() {
    let stage = stage();
    let server = with_bob(&stage);
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    log_in(&mut client, "bob", PASSWORD).unwrap();
    client
        .send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    let new = file(&stage, "new", "another password");
    stage
        .run_at_server(&[
            "user",
            "password",
            "set",
            "bob",
            "--new-password-file",
            &new,
        ])
        .ok();
    assert_eq!(client.error_code().unwrap().as_deref(), Some("ended"));
}

/// A user who logged in by a secret or a key cannot set a password, since the password would
/// outlive them. This includes the secret of an admin.
#[test]
fn password_change_needs_login_by_password() {
    let stage = stage();
    let server = with_bob(&stage);
    let new = file(&stage, "new", "another password");
    let remote_user = |arguments: &[&str]| {
        let user = ["--json", "user", "--on", "127.0.0.1"];
        stage.run(&[&user[..], arguments].concat())
    };
    let set = |user: &str| remote_user(&["password", "set", user, "--new-password-file", &new]);
    for (user, code) in [("bob", "denied"), ("alice", "credential-limited")] {
        let path = stage.path(&format!("{user}.secret")).display().to_string();
        stage
            .run_at_server(&[
                "secret",
                "add",
                user,
                "--out",
                &path,
                "--public-name",
                &server.address,
            ])
            .ok();
        stage.run(&["join", "--secret-file", &path]).ok();
        set(user).fails(23, code);
        remote_user(&["add", "carol", "--new-password-file", &new]).fails(23, code);
        stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    }
    // Bob gets a key, which can be removed again.
    fs::rename(stage.path("client"), stage.path("ghost")).unwrap();
    stage
        .run(&[
            "--json",
            "ping",
            &format!("bob@{}", server.address),
            "--accept-new",
        ])
        .fails(32, "no-key");
    let folder = PrivateFolder::open_or_create(&stage.path("client/client")).unwrap();
    let key = UserKey::load_or_create(&folder, "id_ed25519")
        .unwrap()
        .0
        .public()
        .line();
    stage
        .run_with_input_at_server(&["user", "keys", "add", "bob", "-"], key.as_bytes())
        .ok();
    stage
        .run(&["ping", &format!("bob@{}", server.address), "--accept-new"])
        .ok();
    set("bob").fails(23, "denied");
    remote_user(&["password", "remove", "bob"]).fails(23, "denied");
    stage
        .run(&["--json", "passwd", "127.0.0.1", "-i", "x"])
        .fails(2, "usage");
    // A new password does not end sessions that logged in by key.
    let mut by_key = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(
        by_key.login("bob", &client_key(&stage), None).unwrap(),
        "welcome"
    );
    by_key
        .send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    stage
        .run_at_server(&[
            "user",
            "password",
            "set",
            "bob",
            "--new-password-file",
            &new,
        ])
        .ok();
    server.event("logout");
    by_key.send_json(&json!({"type": "ping"})).unwrap();
    assert_eq!(by_key.header().unwrap().unwrap().kind(), "pong");
}
