//! The first login on a server: which key, passphrase and password are asked for, and in which
//! order.

use std::fs;

use serde_json::json;
use testkit::{Outcome, ServerProcess, Stage, Terminal};

use crate::{
    ASKS_PASSWORD, ASKS_TRUST,
    keys::ssh_keygen,
    passwords::{PASSWORD, file, known, with_bob},
    stage,
};

const ASKS_PASSPHRASE: &str = "Passphrase for";

/// A client that has never connected to a server on which bob has a password.
struct NewClient {
    stage: Stage,
    server: ServerProcess,
    /// Bob at this server.
    bob: String,
}

impl NewClient {
    fn new() -> Self {
        let stage = stage();
        let server = with_bob(&stage);
        let bob = format!("bob@{}", server.address);
        Self { stage, server, bob }
    }

    /// One whose usual key is encrypted. `None` without ssh-keygen.
    fn with_key() -> Option<(Self, String)> {
        let client = Self::new();
        fs::create_dir(client.stage.path("user/.ssh")).unwrap();
        let options = ["-t", "ed25519", "-a", "2", "-N", "a phrase"];
        let key = ssh_keygen(&client.stage, "user/.ssh/id_ed25519", &options)?;
        Some((client, key))
    }

    /// One whose usual key is encrypted and belongs to bob at the server.
    fn with_registered_key() -> Option<(Self, String)> {
        let (client, key) = Self::with_key()?;
        let public = format!("{key}.pub");
        client
            .stage
            .run_at_server(&["user", "keys", "add", "bob", &public])
            .ok();
        Some((client, key))
    }

    /// `landline ping` for bob without a terminal.
    fn ping(&self, options: &[&str]) -> Outcome {
        let words = [&["--json", "ping", &self.bob], options].concat();
        self.stage.run(&words)
    }

    /// The same with the right password in a file.
    fn ping_with_password(&self, options: &[&str]) -> Outcome {
        let password = file(&self.stage, "password", PASSWORD);
        let words = [&["--json", "ping", &self.bob], options].concat();
        let mut command = self.stage.command(&words);
        command.env("LANDLINE_PASSWORD_FILE", &password);
        self.stage.run_command(command)
    }

    /// `landline ping` for bob at a terminal.
    fn ping_at_terminal(&self, options: &[&str]) -> Terminal {
        let words = [&["ping", &self.bob], options].concat();
        Terminal::start(&self.stage.command(&words))
    }

    /// Forgets the server.
    fn forget(&self) {
        fs::remove_dir_all(self.stage.path("client")).unwrap();
    }
}

fn type_hidden(terminal: &mut Terminal, question: &str, line: &str) {
    terminal.wait_for_next(question);
    terminal.wait_for_hiding();
    terminal.type_line(line);
}

/// Waits for the end of a login that succeeds, and returns what was shown.
fn succeed(mut terminal: Terminal) -> String {
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    terminal.shown.clone()
}

#[test]
fn refused_encrypted_key_asks_no_passphrase() {
    let Some((client, _)) = NewClient::with_key() else {
        return;
    };
    // Without a terminal.
    let logged_in = client.ping_with_password(&["--accept-new"]).json();
    assert_eq!(logged_in["user"], "bob");
    client.forget();
    let refused = client.ping(&["--accept-new"]).fails(12, "login-refused");
    assert!(refused.contains("id_ed25519"), "{refused}");
    // At a terminal: the refused key is named before the password is asked for.
    let mut terminal = client.ping_at_terminal(&[]);
    type_hidden(&mut terminal, ASKS_PASSWORD, PASSWORD);
    let shown = succeed(terminal);
    assert!(!shown.contains(ASKS_PASSPHRASE), "{shown}");
    let named = shown.find("id_ed25519");
    assert!(named < shown.find(ASKS_PASSWORD), "{shown}");
}

#[test]
fn passphrase_has_three_attempts() {
    let Some((client, key)) = NewClient::with_registered_key() else {
        return;
    };
    let mut terminal = client.ping_at_terminal(&["--accept-new"]);
    for line in ["wrong", "again", "a phrase"] {
        type_hidden(&mut terminal, ASKS_PASSPHRASE, line);
    }
    let shown = succeed(terminal);
    assert_eq!(known(&client.stage)["key"], json!(key));
    assert!(!shown.contains(ASKS_PASSWORD), "{shown}");
}

/// Enter at the question, three wrong answers and no terminal all lead on to the password.
#[test]
fn missing_passphrase_leads_to_password() {
    for typed in [&[""][..], &["wrong", "again", "still wrong"]] {
        let Some((client, _)) = NewClient::with_registered_key() else {
            return;
        };
        let mut terminal = client.ping_at_terminal(&["--accept-new"]);
        for line in typed {
            type_hidden(&mut terminal, ASKS_PASSPHRASE, line);
        }
        type_hidden(&mut terminal, ASKS_PASSWORD, PASSWORD);
        succeed(terminal);

        client.forget();
        client.ping(&["--accept-new"]).fails(32, "key");
        client.ping_with_password(&[]).ok();
    }
}

/// A user without a password gives up with Enter, and learns which keys were refused.
#[test]
fn enter_at_password_question_gives_up() {
    let Some((mut client, _)) = NewClient::with_key() else {
        return;
    };
    for user in ["alice", "ghost"] {
        client.bob = format!("{user}@{}", client.server.address);
        let mut terminal = client.ping_at_terminal(&["--json", "--accept-new"]);
        type_hidden(&mut terminal, &format!("Password for {user}"), "");
        assert_eq!(terminal.end(), Some(12), "{user}: {}", terminal.shown);
        assert!(terminal.shown.contains("id_ed25519"), "{}", terminal.shown);
    }
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn password_proves_unknown_server_and_wrong_one_pins_nothing() {
    let client = NewClient::new();
    let wrong = file(&client.stage, "wrong", "correct horse batterz");
    client
        .ping(&["--password-file", &wrong])
        .fails(12, "login-refused");
    assert_eq!(client.stage.run(&["hosts", "--json"]).ok(), "");
    client.ping_with_password(&[]).ok();
    assert_eq!(known(&client.stage)["provisional"], false);
}

/// With a key, the questions come one after the other: password or key, then trust.
#[test]
fn key_login_at_unknown_server_asks_about_trust() {
    let Some((client, _)) = NewClient::with_registered_key() else {
        return;
    };
    let mut terminal = client.ping_at_terminal(&[]);
    // A password question that is taken for the one about trust.
    type_hidden(&mut terminal, ASKS_PASSWORD, "yes");
    type_hidden(&mut terminal, ASKS_PASSWORD, "");
    terminal.wait_for(ASKS_TRUST);
    terminal.type_line(&client.server.fingerprint.to_uppercase());
    type_hidden(&mut terminal, ASKS_PASSPHRASE, "a phrase");
    succeed(terminal);
    assert_eq!(known(&client.stage)["provisional"], false);
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn verbose_shows_steps_and_no_secret() {
    let NewClient { stage, server, bob } = NewClient::new();
    let password = file(&stage, "password", PASSWORD);
    let ping = ["ping", &bob, "--password-file", &password];
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
