//! The first login on a server: which key, passphrase and password are asked for, and in which
//! order.

use std::fs;

use serde_json::json;
use testkit::{ServerProcess, Stage, Terminal};

use crate::{
    ASKS_PASSWORD, ASKS_TRUST,
    keys::ssh_keygen,
    passwords::{PASSWORD, file, known, with_bob},
    stage,
};

const ASKS_PASSPHRASE: &str = "Passphrase of";

/// Makes an encrypted key, which is the usual one of this client's user.
fn encrypted_key(stage: &Stage) -> Option<String> {
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    let options = ["-t", "ed25519", "-a", "2", "-N", "a phrase"];
    ssh_keygen(stage, "user/.ssh/id_ed25519", &options)
}

fn at(server: &ServerProcess) -> String {
    format!("bob@{}", server.address)
}

fn type_hidden(terminal: &mut Terminal, question: &str, line: &str) {
    terminal.wait_for_next(question);
    terminal.wait_for_hiding();
    terminal.type_line(line);
}

/// Registers the key of the stage's user for bob.
fn register(stage: &Stage, key: &str) {
    let public = format!("{key}.pub");
    stage
        .run_at_server(&["user", "keys", "add", "bob", &public])
        .ok();
}

#[test]
fn encrypted_key_that_is_not_accepted_is_not_asked_about() {
    let stage = stage();
    let server = with_bob(&stage);
    let Some(_) = encrypted_key(&stage) else {
        return;
    };
    // Without a terminal.
    let password = file(&stage, "password", PASSWORD);
    let mut command = stage.command(&["--json", "ping", "--accept-new", &at(&server)]);
    command.env("LANDLINE_PASSWORD_FILE", &password);
    assert_eq!(stage.run_command(command).json()["user"], "bob");
    fs::remove_dir_all(stage.path("client")).unwrap();
    let refused = stage
        .run(&["--json", "ping", "--accept-new", &at(&server)])
        .fails(12, "login-refused");
    assert!(refused.contains("id_ed25519"), "{refused}");
    // At a terminal: the refused key is named before the password is asked for.
    let mut terminal = Terminal::start(&stage.command(&["ping", &at(&server)]));
    type_hidden(&mut terminal, ASKS_PASSWORD, PASSWORD);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert!(
        !terminal.shown.contains(ASKS_PASSPHRASE),
        "{}",
        terminal.shown
    );
    let named = terminal.shown.find("id_ed25519");
    assert!(
        named < terminal.shown.find(ASKS_PASSWORD),
        "{}",
        terminal.shown
    );
}

#[test]
fn passphrase_has_three_attempts() {
    let stage = stage();
    let server = with_bob(&stage);
    let Some(key) = encrypted_key(&stage) else {
        return;
    };
    register(&stage, &key);
    let ping = ["ping", "--accept-new", &at(&server)];
    let mut terminal = Terminal::start(&stage.command(&ping));
    for line in ["wrong", "again", "a phrase"] {
        type_hidden(&mut terminal, ASKS_PASSPHRASE, line);
    }
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(known(&stage)["key"], json!(key));
    assert!(
        !terminal.shown.contains(ASKS_PASSWORD),
        "{}",
        terminal.shown
    );
}

/// Enter at the question, three wrong answers and no terminal all lead on to the password.
#[test]
fn login_goes_on_without_a_passphrase() {
    for typed in [&[""][..], &["wrong", "again", "still wrong"]] {
        let stage = stage();
        let server = with_bob(&stage);
        let Some(key) = encrypted_key(&stage) else {
            return;
        };
        register(&stage, &key);
        let ping = ["ping", "--accept-new", &at(&server)];
        let mut terminal = Terminal::start(&stage.command(&ping));
        for line in typed {
            type_hidden(&mut terminal, ASKS_PASSPHRASE, line);
        }
        type_hidden(&mut terminal, ASKS_PASSWORD, PASSWORD);
        assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);

        fs::remove_dir_all(stage.path("client")).unwrap();
        stage
            .run(&["--json", "ping", "--accept-new", &at(&server)])
            .fails(32, "key");
        let password = file(&stage, "password", PASSWORD);
        let mut command = stage.command(&["--json", "ping", &at(&server)]);
        command.env("LANDLINE_PASSWORD_FILE", &password);
        stage.run_command(command).ok();
    }
}

/// A user without a password gives up with Enter, and learns which keys were refused.
#[test]
fn enter_at_password_question_gives_up() {
    let stage = stage();
    let server = with_bob(&stage);
    let Some(_) = encrypted_key(&stage) else {
        return;
    };
    for user in ["alice", "ghost"] {
        let at = format!("{user}@{}", server.address);
        let ping = ["--json", "ping", "--accept-new", &at];
        let mut terminal = Terminal::start(&stage.command(&ping));
        type_hidden(&mut terminal, &format!("Password of {user}"), "");
        assert_eq!(terminal.end(), Some(12), "{user}: {}", terminal.shown);
        assert!(terminal.shown.contains("id_ed25519"), "{}", terminal.shown);
    }
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn password_proves_unknown_server_and_wrong_one_pins_nothing() {
    let stage = stage();
    let server = with_bob(&stage);
    let wrong = file(&stage, "wrong", "correct horse batterz");
    stage
        .run(&["--json", "ping", &at(&server), "--password-file", &wrong])
        .fails(12, "login-refused");
    assert_eq!(stage.run(&["hosts", "--json"]).ok(), "");
    let right = file(&stage, "right", PASSWORD);
    stage
        .run(&["ping", &at(&server), "--password-file", &right])
        .ok();
    assert_eq!(known(&stage)["provisional"], false);
}

/// With a key, the questions come one after the other: password or key, then trust.
#[test]
fn key_login_at_unknown_server_asks_about_trust() {
    let stage = stage();
    let server = with_bob(&stage);
    let Some(key) = encrypted_key(&stage) else {
        return;
    };
    register(&stage, &key);
    let mut terminal = Terminal::start(&stage.command(&["ping", &at(&server)]));
    // A password question that is taken for the one about trust.
    type_hidden(&mut terminal, ASKS_PASSWORD, "yes");
    type_hidden(&mut terminal, ASKS_PASSWORD, "");
    terminal.wait_for(ASKS_TRUST);
    terminal.type_line(&server.fingerprint.to_uppercase());
    type_hidden(&mut terminal, ASKS_PASSPHRASE, "a phrase");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(known(&stage)["provisional"], false);
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn verbose_shows_steps_and_no_secret() {
    let stage = stage();
    let server = with_bob(&stage);
    let password = file(&stage, "password", PASSWORD);
    let ping = ["ping", &at(&server), "--password-file", &password];
    let quiet = stage.run(&ping);
    assert_eq!(quiet.stderr, "");
    quiet.ok();
    let verbose = stage.run(&[&["-v"], &ping[..]].concat());
    for expected in [
        &*server.address,
        &server.fingerprint,
        "password",
        "TLS",
        "logged in",
    ] {
        assert!(
            verbose.stderr.contains(expected),
            "{expected}: {}",
            verbose.stderr
        );
    }
    assert!(!verbose.stderr.contains(PASSWORD), "{}", verbose.stderr);
    let report = stage.run(&[&["--debug"], &ping[..]].concat());
    let version = env!("CARGO_PKG_VERSION");
    for expected in [
        version,
        "LANDLINE_STATE=",
        std::env::consts::OS,
        "logged in",
    ] {
        assert!(
            report.stderr.contains(expected),
            "{expected}: {}",
            report.stderr
        );
    }
    // Of a join, too: the invite is a secret.
    let invite = stage
        .run_at_server(&["--json", "user", "invite", "carol"])
        .json();
    let invite = invite["invite"].as_str().unwrap();
    let joined = stage.run(&["--debug", "join", invite, "--as", "carol", "--replace"]);
    let token = invite.rsplit_once('.').unwrap().1;
    assert!(!joined.stderr.contains(token), "{}", joined.stderr);
    joined.ok();
}
