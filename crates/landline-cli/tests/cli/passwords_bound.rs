//! What a password login is bound to, and what it leaves unchanged.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{HostileServer, RawClient, Terminal};

use crate::{
    ASKS_PASSWORD,
    passwords::{PASSWORD, file, known, with_bob},
    stage,
};

/// A client that logs in by password once keeps its saved key. Without a terminal it logs in by
/// that key.
#[test]
fn password_login_keeps_saved_key() {
    let stage = stage();
    let server = with_bob(&stage);
    fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    let new = file(&stage, "new", "another password");
    stage
        .run_at_server(&[
            "user",
            "password",
            "set",
            "alice",
            "--new-password-file",
            &new,
        ])
        .ok();
    let key = |arguments: &[&str]| -> String {
        let ping = [&["--json", "ping", "127.0.0.1"], arguments].concat();
        stage.run(&ping).json()["key"].as_str().unwrap().to_owned()
    };
    assert!(key(&["--password-file", &new]).starts_with("password:"));
    assert_eq!(known(&stage)["password"], true);
    assert!(
        key(&[]).starts_with("SHA256:"),
        "without a terminal there is no prompt"
    );
    assert_eq!(
        known(&stage)["password"],
        false,
        "the client saved that it last used a key"
    );
    stage
        .run(&["passwd", "127.0.0.1", "--password-file", &new, "--remove"])
        .ok();
    assert_eq!(known(&stage)["password"], false);
    // A login by bob's password does not confirm the server for alice.
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    let key = stage.path("client/client/id_ed25519").display().to_string();
    stage
        .run(&[
            "ping",
            &format!("alice@{}", server.address),
            "--accept-new",
            "-i",
            &key,
        ])
        .ok();
    stage
        .run(&[
            "ping",
            "bob@127.0.0.1",
            "--password-file",
            &file(&stage, "right", PASSWORD),
        ])
        .ok();
    assert_eq!(known(&stage)["provisional"], true);
}

/// `--password-fd` reads the first line of the descriptor only. The rest is the content to copy.
#[test]
fn password_descriptor_leaves_the_content() {
    let stage = stage();
    let server = with_bob(&stage);
    fs::create_dir(stage.path("home/bob")).unwrap();
    let both = stage.write("both", format!("{PASSWORD}\nthe content").as_bytes());
    let to = format!("bob@{}:file", "127.0.0.1");
    stage
        .run(&[
            "ping",
            &format!("bob@{}", server.address),
            "--accept-new",
            "--password-file",
            &file(&stage, "right", PASSWORD),
        ])
        .ok();
    let mut copy = stage.command(&["cp", "-q", "--password-fd", "0", "-", &to]);
    copy.stdin(fs::File::open(&both).unwrap());
    stage.run_command(copy).ok();
    assert_eq!(stage.read("home/bob/file"), b"the content");
}

/// An interrupted prompt restores the terminal's echo.
#[test]
fn interrupted_prompt_restores_terminal() {
    let stage = stage();
    let server = with_bob(&stage);
    let right = file(&stage, "right", PASSWORD);
    stage
        .run(&[
            "ping",
            &format!("bob@{}", server.address),
            "--accept-new",
            "--password-file",
            &right,
        ])
        .ok();
    for arguments in [
        &["--json", "ping", "127.0.0.1"][..],
        &["--json", "cp", "../right", "127.0.0.1:x"],
    ] {
        let mut terminal = Terminal::start(&stage.command(arguments));
        terminal.wait_for(ASKS_PASSWORD);
        terminal.wait_for_hiding();
        terminal.type_line("\x03");
        terminal.wait_for_showing();
        assert_ne!(terminal.end(), Some(0), "{}", terminal.shown);
        assert!(
            !terminal.shown.contains("\"login-refused\""),
            "{}",
            terminal.shown
        );
    }
    // Also in the background, where only the shell may change the terminal.
    let client = stage.command(&["ping"]);
    let mut shell = Command::new("/bin/bash");
    let script = "\"$0\" ping 127.0.0.1 & pid=$!; sleep 1; kill -TERM $pid; kill -CONT $pid; \
                  while [ -n \"$(jobs -p)\" ]; do sleep 0.1; done; echo ended";
    shell
        .args(["-m", "-c", script, env!("CARGO_BIN_EXE_landline")])
        .current_dir(stage.path("user"));
    shell.envs(
        client
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut terminal = Terminal::start(&shell);
    terminal.wait_for("ended");
    terminal.end();
    // Also when a signal ends the client.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut terminal = Terminal::start(&stage.command(&["ping", "127.0.0.1"]));
        terminal.wait_for(ASKS_PASSWORD);
        terminal.wait_for_hiding();
        terminal.signal(signal);
        terminal.wait_for_showing();
        assert_eq!(
            terminal.end(),
            None,
            "the signal ended the client: {}",
            terminal.shown
        );
    }
}

/// A server that relays the login to the real one and is trusted on first use.
/// It learns nothing, cannot log in, and stays provisional.
/// Proves `first-contact` in docs/faults.md.
#[test]
fn relay_learns_nothing_from_password_login() {
    let stage = stage();
    let server = with_bob(&stage);
    let (address, fingerprint) = (server.address.clone(), server.fingerprint.clone());
    let folder = stage.path("between");
    let (said, heard) = std::sync::mpsc::channel();
    // The first connection is for the fingerprint, the second one for the login.
    let between = HostileServer::start(&folder, &folder, 2, move |victim| {
        let mut real = RawClient::connect(&address, &fingerprint)?;
        real.greet()?;
        victim.send_json(&with_type("greeting", &real.greeting))?;
        let begin: Value = victim.header()?.read().unwrap();
        real.send_json(&with_type("password", &begin))?;
        let evaluation: Value = real.header()?.unwrap().read().unwrap();
        victim.send_json(&with_type("evaluation", &evaluation))?;
        let _ = said.send((begin, victim.header().is_ok()));
        Ok(())
    });
    let right = file(&stage, "right", PASSWORD);
    let at = format!("bob@{}", between.address);
    stage
        .run(&[
            "--json",
            "ping",
            &at,
            "--accept-new",
            "--password-file",
            &right,
        ])
        .fails(12, "login-refused");
    between.join();
    let (begin, went_on) = heard.recv().unwrap();
    assert!(!went_on, "the client sent its last message");
    assert!(!begin.to_string().contains(PASSWORD));
    assert_eq!(known(&stage)["provisional"], true);
    assert_eq!(
        stage
            .run_at_server(&["audit", "show"])
            .ok()
            .matches(" login user=bob")
            .count(),
        0
    );
}

fn with_type(kind: &str, keys: &impl serde::Serialize) -> Value {
    let mut header = json!(keys);
    header["type"] = kind.into();
    header
}

/// Logs in by password.
///
/// # Errors
///
/// The code of the refusal, or `None` if the evaluation does not open.
pub(crate) fn log_in(
    client: &mut RawClient,
    user: &str,
    password: &str,
) -> Result<(), Option<String>> {
    let (begin, begun) = client.begin_password(user, password);
    client.send_json(&begin).unwrap();
    let header = client.header().unwrap().expect("an answer");
    if header.kind() == "error" {
        return Err(Some(
            header.read::<Value>().unwrap()["code"]
                .as_str()
                .unwrap()
                .to_owned(),
        ));
    }
    let login = client
        .password_header(user, begun, &header.read().unwrap())
        .ok_or(None)?;
    client.send_json(&login).unwrap();
    let answer = client.header().unwrap().expect("an answer");
    match answer.kind() {
        "welcome" => Ok(()),
        _ => Err(Some(
            answer.read::<Value>().unwrap()["code"]
                .as_str()
                .unwrap()
                .to_owned(),
        )),
    }
}

/// Some editors put a byte order mark in front of the text.
/// Proves `byte-order-mark` in docs/faults.md.
#[test]
fn byte_order_mark_is_no_part_of_password() {
    let stage = stage();
    let server = stage.joined();
    let marked = file(&stage, "marked", &format!("\u{feff}{PASSWORD}\r"));
    stage
        .run_at_server(&["user", "add", "bob", "--new-password-file", &marked])
        .ok();
    let at = format!("bob@{}", server.address);
    let plain = file(&stage, "plain", PASSWORD);
    stage.run(&["ping", &at, "--password-file", &plain]).ok();
    let utf16: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let path = stage.write("utf16", &[b"\xff\xfe", &utf16[..]].concat());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let path = path.display().to_string();
    stage
        .run(&["--json", "ping", &at, "--password-file", &path])
        .fails(32, "password");
}
