//! The server as a process.

use std::{io::Write, process::Stdio};

use testkit::{RawClient, Stage, wait_for};

use crate::{login::client_key, noise, stage};

fn refused(stage: &Stage, address: &str) -> (Option<i32>, String) {
    let output = stage.serve_command(address).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn two_servers_on_one_address_or_one_state_are_refused() {
    let first = stage();
    let server = first.serve(&[]);
    let (status, said) = refused(&first, "127.0.0.1:0");
    assert_eq!(status, Some(31), "{said}");
    assert!(
        said.contains("another server uses this state folder"),
        "{said}"
    );
    let second = stage();
    let (status, said) = refused(&second, &server.address);
    assert_eq!(status, Some(30), "{said}");
    assert!(said.contains("another program listens there"), "{said}");
    for address in ["nonsense", "127.0.0.1:99999", "192.0.2.1:0"] {
        assert_eq!(refused(&second, address).0, Some(30), "{address}");
    }
}

#[test]
fn root_has_to_say_so() {
    let stage = stage();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_landline"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("LANDLINE_STATE", stage.path("server"))
        .env("HOME", stage.home());
    if !landline::paths::is_root() {
        eprintln!("SKIPPED: only root can be refused as root");
        return;
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-root"));
}

#[test]
fn draining_lets_a_transfer_end_and_nothing_begin() {
    let stage = stage();
    let mut server = stage.joined();
    let mut child = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"before ").unwrap();
    wait_for("the staging file", || {
        std::fs::read_dir(stage.home()).unwrap().count() == 1
    });
    server.terminate();
    assert_eq!(server.event("draining")["connections"], 1);
    stage
        .run(&["ping", "127.0.0.1"])
        .fails(10, "cannot connect");
    stdin.write_all(b"after").unwrap();
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(stage.read("home/slow"), b"before after");
    assert_eq!(server.wait(), Some(0));
}

/// A client that is about to log in does not just lose its line.
#[test]
fn a_login_that_is_on_its_way_hears_that_the_server_drains() {
    let stage = stage();
    let mut server = stage.joined();
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    server.terminate();
    server.event("draining");
    let login = client.login_header("alice", &client_key(&stage), None);
    client.send_json(&login).unwrap();
    assert_eq!(client.error_code().unwrap().as_deref(), Some("draining"));
    assert_eq!(server.event("refused")["code"], "draining");
    assert_eq!(server.wait(), Some(0));
}

/// Proves `half-file` in docs/faults.md.
#[test]
fn draining_ends_at_its_deadline_and_leaves_no_half_file() {
    let stage = stage();
    let server = stage.serve(&["--drain", "1"]);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    let mut server = server;
    let mut child = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(1000, 1)).unwrap();
    wait_for("the staging file", || {
        std::fs::read_dir(stage.home()).unwrap().count() == 1
    });
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    drop(stdin);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(33));
    assert_eq!(std::fs::read_dir(stage.home()).unwrap().count(), 0);
}

#[test]
fn mistakes_on_the_command_line_exit_with_2() {
    let stage = stage();
    stage.write("user/f", b"x");
    for arguments in [
        &["cp", "f"][..],
        &["cp", "f", "g"],
        &["cp", "a:f", "b:g"],
        &["cp", "-", "-"],
        &["cp", "host:0:x:", "::1"],
        &["ping", "ho st"],
        &["ping", "host:0"],
        &["fly"],
        &["join"],
        &["serve", "--drain", "soon"],
        &["demo", "--size", "0"],
    ] {
        let outcome = stage.run(arguments);
        assert!(
            matches!(outcome.status, Some(2 | 11)),
            "{arguments:?}: {outcome:?}"
        );
        assert!(!outcome.stderr.is_empty());
    }
}

#[test]
fn help_names_every_command_and_exit_status() {
    let stage = stage();
    let help = stage.run(&["--help"]).ok();
    for word in [
        "serve",
        "join",
        "ping",
        "cp",
        "audit",
        "demo",
        "Exit status",
        "LANDLINE_STATE",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
