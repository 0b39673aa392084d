//! Copies of a command's output, and what a copy prints.

use std::{fs, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Outcome, wait_for};

use crate::{run::wait_for_end, stage};

/// Proves `failed-producer` in docs/faults.md.
#[test]
fn output_is_stored_only_if_command_succeeds() {
    let stage = stage();
    let server = stage.joined();
    let to = server.at("out");
    let copy = |words: &[&str]| {
        let start: [&str; 5] = ["--json", "cp", "--from-command", &to, "--"];
        stage.run(&[&start, words].concat())
    };
    let outcome = copy(&[
        "sh",
        "-c",
        "printf '%s.' \"$@\"; echo warning >&2",
        "sh",
        "a b",
        "*",
    ]);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(stage.read("home/out"), b"a b.*.", "the words are exact");
    assert!(outcome.stderr.contains("warning"), "{}", outcome.stderr);

    for (words, status) in [
        (&["sh", "-c", "echo new; exit 3"][..], 3),
        (&["sh", "-c", "echo new; kill -9 $$"], 128 + 9),
        (&["/nonexistent/command"], 127),
        (&["/"], 126),
    ] {
        copy(words).fails(status, "command-failed");
        assert_eq!(stage.read("home/out"), b"a b.*.", "{words:?}");
    }
    assert_eq!(fs::read_dir(stage.home()).unwrap().count(), 1);
}

#[test]
fn command_is_not_run_if_the_copy_is_refused() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/there", b"old");
    for (to, status, code) in [
        (server.at("absent/x"), 20, "not-found"),
        (server.at("there"), 22, "exists"),
    ] {
        let words = [
            "--json",
            "cp",
            "-n",
            "--from-command",
            &to,
            "--",
            "touch",
            "ran",
        ];
        stage.run(&words).fails(status, code);
    }
    assert!(!stage.path("user/ran").exists());
}

/// A signal ends the command too, and the session on the server.
#[test]
fn signal_ends_command_and_session() {
    let stage = stage();
    let server = stage.joined();
    server.event("logout");
    let to = server.at("out");
    let script = "echo $$ > pid; touch ran; while :; do echo x; sleep 0.1; done";
    let words = [
        "--json",
        "cp",
        "--from-command",
        &to,
        "--",
        "sh",
        "-c",
        script,
    ];
    let child = stage
        .command(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the command", || stage.path("user/ran").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Outcome::of(child).fails(130, "interrupted");
    wait_for_end("the command", &stage.path("user/pid"));
    loop {
        match server.next_event()["event"].as_str().unwrap() {
            "disconnected" => panic!("the session waits"),
            "logout" => break,
            _ => {}
        }
    }
    wait_for("no staging file", || {
        fs::read_dir(stage.home()).unwrap().count() == 0
    });
}

/// An open standard input does not keep the client when its session has ended.
#[test]
fn open_standard_input_does_not_delay_the_end() {
    let stage = stage();
    let mut server = stage.joined();
    let mut child = stage
        .command(&["--json", "cp", "-", &server.at("out")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    server.event("transfer-start");
    server.kill();
    Outcome::of(child).fails(10, "lost");
    drop(input);
}

#[test]
fn quiet_prints_nothing() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/file", b"x");
    let outcome = stage.run(&["cp", "-q", "file", &server.at("x")]);
    assert_eq!(outcome.status, Some(0));
    assert_eq!(
        (outcome.stdout, outcome.stderr),
        (Vec::new(), String::new())
    );
    let outcome = stage.run(&["cp", "-q", "absent", &server.at("x")]);
    assert_eq!(outcome.status, Some(20));
    assert!(!outcome.stderr.is_empty());
}

/// What scripts write that end the options.
#[test]
fn paths_may_follow_two_dashes() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/-file", b"x");
    stage.run(&["cp", "--", "-file", &server.at("x")]).ok();
    stage.run(&["cp", "-r", "./-file", &server.at("y")]).ok();
    assert_eq!(stage.read("home/x"), b"x");
    assert_eq!(stage.read("home/y"), b"x");
}

/// `host:` means the folder of a user who may reach nothing else.
#[test]
fn home_of_user_is_the_own_folder() {
    let stage = stage();
    let server = stage.joined();
    for folder in ["bob", "public"] {
        fs::create_dir(stage.path(&format!("home/{folder}"))).unwrap();
    }
    stage.write("user/file", b"bob's");
    stage.write_rights("[users.alice]\nfiles = [\"r:~/public\", \"rw:~/bob\"]\n");
    server.rights_loaded(&stage);
    stage.run(&["cp", "file", &server.at("")]).ok();
    assert_eq!(stage.read("home/bob/file"), b"bob's");
    stage.run(&["cp", &server.at("file"), "back"]).ok();
}
