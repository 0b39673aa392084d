//! `landline hold`: commands that use a held session, and those that must not.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Child,
    thread,
    time::Duration,
};

use serde_json::Value;
use testkit::{Stage, Terminal, wait_for};

use crate::{
    ASKS_PASSWORD, noise,
    passwords::{PASSWORD, with_bob},
    resume::staging,
    stage,
};

const HOST: &str = "127.0.0.1";

/// A process that holds a session. It ends with the test.
struct Holder(Child);

impl Holder {
    /// Starts one with these options, and waits until commands can use it.
    fn start(stage: &Stage, options: &[&str]) -> Self {
        let words = [&["hold", HOST, "--stay"], options].concat();
        let mut child = stage.command(&words).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{:?}", child.wait_with_output());
        Self(child)
    }

    fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many logins there were, each of which made a session.
fn logins(stage: &Stage) -> usize {
    let shown = stage.run_at_server(&["audit", "show", "--json"]).ok();
    let events = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == "login").count()
}

/// Runs a command with these options. Returns whether it used a held session.
fn is_held(stage: &Stage, options: &[&str]) -> bool {
    let before = logins(stage);
    let run = [&["run"], options, &[HOST, "--", "true"]].concat();
    stage.run(&run).ok();
    logins(stage) == before
}

/// Runs commands until one used a held session. One that waits 2 s for the holder logs in itself.
fn held_run(stage: &Stage) {
    wait_for("a run by a held session", || is_held(stage, &[]));
}

fn listed(stage: &Stage) -> Vec<Value> {
    let listed = stage.run(&["hold", "--json"]).ok();
    let lines = listed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn held_runs_have_no_login() {
    let stage = stage();
    let _server = stage.joined();
    assert!(!is_held(&stage, &[]));
    let mut holder = Holder::start(&stage, &["--for", "1h"]);
    for _ in 0..5 {
        held_run(&stage);
    }
    let script = "cat; echo error >&2; exit 3";
    let content = noise(3 << 20, 1);
    let run = ["run", HOST, "--", "sh", "-c", script];
    let outcome = stage.run_with_input(&run, &content);
    assert!(outcome.stdout == content);
    assert_eq!(
        (outcome.stderr.as_str(), outcome.status),
        ("error\n", Some(3))
    );
    // More at a time than there are in reserve.
    let runs: Vec<Child> = (0..8)
        .map(|_| {
            let run = ["run", HOST, "--", "cat", "/proc/sys/kernel/ostype"];
            stage.command(&run).spawn().unwrap()
        })
        .collect();
    for run in runs {
        assert_eq!(testkit::Outcome::of(run).ok(), "Linux\n");
    }
    let [held] = &listed(&stage)[..] else {
        panic!("one session")
    };
    assert_eq!(held["user"], "alice");
    stage.run(&["hold", HOST, "--stop"]).ok();
    holder.wait();
    assert!(listed(&stage).is_empty());
    assert!(!is_held(&stage, &[]));
    stage
        .run(&["--json", "hold", HOST, "--stop"])
        .fails(1, "not-running");
}

/// Copies attach their own connections to the session, which is held until they have ended.
#[test]
fn held_copies_have_no_login() {
    let stage = stage();
    let _server = stage.joined();
    let mut holder = Holder::start(&stage, &["--for", "1h"]);
    let content = noise(1 << 20, 2);
    stage.write("user/file", &content);
    fs::create_dir(stage.path("user/tree")).unwrap();
    stage.write("user/tree/file", b"in a tree");
    let remote = |path: &str| format!("{HOST}:{path}");
    let (file, tree) = (remote("file"), remote("tree"));
    // A command that waits 2 s for the holder logs in itself.
    wait_for("copies by a held session", || {
        let before = logins(&stage);
        for arguments in [
            ["cp", "file", &file],
            ["cp", &file, "back"],
            ["sync", "tree", &tree],
            ["sync", &tree, "tree-back"],
            ["cp", &file, &remote("other")],
            ["top", "--json", HOST],
        ] {
            stage.run(&arguments).ok();
        }
        logins(&stage) == before
    });
    assert!(stage.read("user/back") == content && stage.read("home/other") == content);
    assert_eq!(stage.read("user/tree-back/file"), b"in a tree");

    // One that runs when the session shall end may end first.
    let copy = held_copy(&stage, "200K");
    stage.run(&["hold", HOST, "--stop"]).ok();
    testkit::Outcome::of(copy).ok();
    holder.wait();
    assert!(stage.read("home/slow") == content);
}

/// Starts a copy of `file` to `slow` that uses the held session, and has sent a part.
fn held_copy(stage: &Stage, rate: &str) -> Child {
    let there = format!("{HOST}:slow");
    let arguments = ["cp", "--json", "--limit-rate", rate, "file", &there];
    for _ in 0..10 {
        let before = logins(stage);
        let mut copy = stage.command(&arguments).spawn().unwrap();
        wait_for("a part of the file", || {
            let parts = staging(&stage.home());
            let part = parts.first().and_then(|part| fs::metadata(part).ok());
            part.is_some_and(|part| part.len() > 0)
        });
        if logins(stage) == before {
            return copy;
        }
        // It has waited 2 s for the holder.
        copy.kill().unwrap();
        copy.wait().unwrap();
        stage.run(&["cp", "--restart", "file", &there]).ok();
    }
    panic!("no copy used the held session");
}

/// A copy whose held session is ended logs in by itself.
#[test]
fn copy_survives_the_held_session() {
    let stage = stage();
    let mut server = stage.joined();
    let address = server.address.clone();
    let _holder = Holder::start(&stage, &["--for", "1h"]);
    let content = noise(2 << 20, 3);
    stage.write("user/file", &content);
    let copy = held_copy(&stage, "400K");
    server.kill();
    server.wait();
    let _server = stage.serve_at(&address, &[]);
    testkit::Outcome::of(copy).ok();
    assert!(stage.read("home/slow") == content);
}

/// A session is held as long as a copy uses it, and no longer.
#[test]
fn copy_keeps_the_session() {
    let stage = stage();
    let _server = stage.joined();
    let mut holder = Holder::start(&stage, &["--for", "8s"]);
    stage.write("user/file", &noise(8 << 20, 4));
    let mut copy = held_copy(&stage, "100K");
    // Longer than the time after which an unused session ends.
    thread::sleep(Duration::from_secs(10));
    wait_for("the held session", || listed(&stage).len() == 1);
    assert!(copy.try_wait().unwrap().is_none(), "the copy has not ended");
    copy.kill().unwrap();
    copy.wait().unwrap();
    holder.wait();
}

/// A copy that finds no room in the held session logs in by itself.
#[test]
fn copy_does_not_wait_for_a_full_session() {
    let stage = stage();
    let _server = stage.joined();
    let _holder = Holder::start(&stage, &["--for", "1h"]);
    stage.write("user/file", b"content");
    // A session may have 16 connections. The holder has one of them for itself.
    let mut runs: Vec<Child> = Vec::new();
    wait_for("a full session", || {
        let name = format!("started-{}", runs.len());
        let script = format!("echo > {name}; exec sleep 1000");
        let run = ["run", HOST, "--", "sh", "-c", &script];
        runs.push(stage.command(&run).spawn().unwrap());
        wait_for("a run", || stage.home().join(&name).exists());
        let held = listed(&stage);
        held.first().is_some_and(|held| held["channels"] == 15)
    });
    let before = logins(&stage);
    stage.run(&["cp", "file", &format!("{HOST}:file")]).ok();
    assert_eq!(logins(&stage), before + 1);
    for mut run in runs {
        run.kill().unwrap();
        run.wait().unwrap();
    }
}

/// Also, the process in the background leaves the terminal in which the password was typed.
#[test]
fn held_session_asks_for_no_password_again() {
    let stage = stage();
    let server = with_bob(&stage);
    fs::create_dir(stage.path("home/bob")).unwrap();
    stage.write("user/file", b"content");
    let at = format!("bob@{}", server.address);
    for arguments in [vec!["ping", &at], vec!["hold", HOST, "--for", "1m"]] {
        let mut terminal = Terminal::start(&stage.command(&arguments));
        terminal.wait_for(ASKS_PASSWORD);
        terminal.wait_for_hiding();
        terminal.type_line(PASSWORD);
        assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    }
    let there = format!("{HOST}:file");
    // Without a terminal, only a held session can be used.
    wait_for("a copy by the held session", || {
        stage.run(&["cp", "file", &there]).status == Some(0)
    });
    assert_eq!(stage.read("home/bob/file"), b"content");
    stage.run(&["hold", HOST, "--stop"]).ok();
    stage
        .run(&["--json", "cp", "file", &there])
        .fails(32, "no-terminal");
}

/// Only a run that would log in with the same key, by the same route, uses the session.
/// Proves `foreign-session` in docs/faults.md.
#[test]
fn other_login_does_not_use_the_session() {
    let stage = stage();
    let server = stage.joined();
    let _holder = Holder::start(&stage, &[]);
    held_run(&stage);
    let key = stage.path("client/client/id_ed25519");
    let options: [&[&str]; 2] = [&["-i", key.to_str().unwrap()], &["--via-ssh", "none"]];
    for options in options {
        assert!(!is_held(&stage, options), "{options:?}");
    }
    stage
        .run(&["--json", "run", "-l", "mallory", HOST, "--", "true"])
        .fails(255, "login-refused");
    let other = "00".repeat(32);
    stage
        .run(&["trust", "replace", &server.address, &other])
        .ok();
    stage
        .run(&["--json", "run", HOST, "--", "true"])
        .fails(255, "server-changed");
}

#[test]
fn killed_holder_is_replaced() {
    let stage = stage();
    let _server = stage.joined();
    drop(Holder::start(&stage, &[]));
    assert!(listed(&stage).is_empty());
    assert!(!is_held(&stage, &[]));
    let mut holder = Holder::start(&stage, &["--for", "1h"]);
    held_run(&stage);
    // A second one leaves it alone.
    Holder::start(&stage, &[]).wait();
    stage.run(&["hold", HOST, "--stop"]).ok();
    holder.wait();
    // It ends by itself.
    Holder::start(&stage, &["--for", "1s"]).wait();
    let left = fs::read_dir(stage.path("client/client/hold")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn session_of_revoked_key_ends() {
    let stage = stage();
    let _server = stage.joined();
    let mut holder = Holder::start(&stage, &[]);
    // The last admin keeps something to log in with.
    let kept = stage.path("kept").display().to_string();
    stage
        .run_at_server(&["secret", "add", "alice", "--out", &kept])
        .ok();
    let shown = stage.run_at_server(&["user", "show", "alice", "--json"]);
    let shown = shown.json();
    let key = shown["keys"][0]["fingerprint"].as_str().unwrap();
    stage
        .run_at_server(&["user", "keys", "remove", "alice", key])
        .ok();
    holder.wait();
    assert!(listed(&stage).is_empty());
    stage
        .run(&["--json", "run", HOST, "--", "true"])
        .fails(255, "login-refused");
}

#[test]
fn session_ends_with_the_server() {
    let stage = stage();
    let mut server = stage.joined();
    let mut holder = Holder::start(&stage, &[]);
    let address = server.address.clone();
    server.kill();
    server.wait();
    holder.wait();
    // Another server takes its place.
    let mut command = stage.serve_command(&address);
    command.env("LANDLINE_STATE", stage.path("other"));
    let _other = stage.serve_with(command);
    stage
        .run(&["--json", "run", HOST, "--", "true"])
        .fails(255, "server-changed");
}

/// A client that was killed has not finished, so its command ends as it would without the holder.
#[test]
fn command_ends_with_its_killed_client() {
    let stage = stage();
    let _server = stage.joined();
    let _holder = Holder::start(&stage, &[]);
    let script = "echo $$ > pid; exec sleep 1000";
    let run = ["run", HOST, "--", "sh", "-c", script];
    let mut child = stage.command(&run).spawn().unwrap();
    let pid = stage.home().join("pid");
    wait_for("the program", || {
        fs::read(&pid).is_ok_and(|text| text.ends_with(b"\n"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = fs::read_to_string(&pid).unwrap();
    let folder = std::path::Path::new("/proc").join(pid.trim());
    wait_for("the program's end", || {
        fs::read_to_string(folder.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

/// The setting starts a process in the background, and so does the command without `--stay`.
#[test]
fn setting_holds_the_session_of_a_run() {
    let stage = stage();
    let _server = stage.joined();
    let folder = stage.path("user/.config/landline");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("client.toml"), "hold = \"1m\"\n").unwrap();
    assert!(!is_held(
        &stage,
        &[
            "-i",
            stage.path("client/client/id_ed25519").to_str().unwrap()
        ]
    ));
    stage.run(&["run", HOST, "--", "true"]).ok();
    wait_for("a held session", || listed(&stage).len() == 1);
    held_run(&stage);
    stage.run(&["hold", HOST, "--stop"]).ok();
    wait_for("a free place", || {
        let folder = stage.path("client/client/hold");
        fs::read_dir(folder).unwrap().count() == 0
    });
    fs::remove_file(folder.join("client.toml")).unwrap();
    stage.run(&["hold", HOST, "--for", "1m"]).ok();
    held_run(&stage);
    stage.run(&["hold", HOST, "--stop"]).ok();
    assert!(listed(&stage).is_empty());
}
