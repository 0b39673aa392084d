//! `landline run` while its server is killed, stopped and started again.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{ServerProcess, Stage, wait_for};

use crate::{
    jobs::{has_ended, restart, supervisor_of},
    noise,
    run::{HOST, set_rights},
    stage,
};

/// Starts a command, and waits until it has printed `ready`.
fn started(stage: &Stage, on_lost: &str, script: &str) -> Child {
    let run = [
        "--json",
        "run",
        "--on-lost",
        on_lost,
        HOST,
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut child = stage.command(&run).stdin(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"ready\n");
    child
}

/// The names of what is left of runs in the server's state.
fn remains(stage: &Stage) -> Vec<String> {
    let folder = fs::read_dir(stage.path("server/server/runs")).unwrap();
    folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Both directions are busy whenever the server is killed. Every byte arrives once.
/// Proves `run-server` in docs/faults.md.
#[test]
fn command_continues_after_killed_servers() {
    let stage = stage();
    let mut server = stage.joined();
    // More than can be on the way when the last server is killed: the command then still runs.
    let content = noise(40 << 20, 3);
    let mut child = started(&stage, "end:60s", "echo ready; exec cat");
    let mut stdin = child.stdin.take().unwrap();
    let bytes = content.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut stdout = child.stdout.take().unwrap();
    let mut echoed = Vec::new();
    for megabytes in [1, 8, 15] {
        let missing = (megabytes << 20) - echoed.len() as u64;
        let read = (&mut stdout).take(missing).read_to_end(&mut echoed);
        assert_eq!(read.unwrap() as u64, missing);
        server.kill();
        server = restart(&stage, &server);
    }
    stdout.read_to_end(&mut echoed).unwrap();
    let outcome = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(0), "{errors}");
    assert!(echoed == content, "{} bytes", echoed.len());
    writing.join().unwrap().unwrap();
    let end = server.event("run-end");
    assert_eq!(
        (&end["status"], &end["user"]),
        (&"0".into(), &"alice".into())
    );
    wait_for("the end of the supervisor", || remains(&stage).is_empty());
}

/// A command that ends while there is no server keeps the rest of its output and its status.
/// Proves `run-server` in docs/faults.md.
#[test]
fn status_survives_the_server() {
    let stage = stage();
    let mut server = stage.joined();
    let script = "echo $$ > pid; echo ready; read line; echo > got;
                  while ! [ -e go ]; do sleep 0.05; done;
                  echo got $line; echo last >&2; exit 7";
    let mut child = started(&stage, "end:60s", script);
    let file = stage.home().join("pid");
    child.stdin.take().unwrap().write_all(b"a line\n").unwrap();
    wait_for("the input", || stage.home().join("got").exists());
    server.kill();
    stage.write("home/go", b"");
    wait_for("the end of the program", || has_ended(&file));
    let _server = restart(&stage, &server);
    let outcome = child.wait_with_output().unwrap();
    assert_eq!(outcome.stdout, b"got a line\n");
    assert!(outcome.stderr.starts_with(b"last\n"));
    assert_eq!(outcome.status.code(), Some(7));
}

/// A server that stops waits for copies, and serves commands and jobs meanwhile. Then it leaves
/// them to the next one, however long it may drain.
#[test]
fn stopped_server_leaves_its_runs_to_the_next() {
    let stage = stage();
    let address = stage.joined().address.clone();
    let mut server = stage.serve_at(&address, &["--drain", "86400"]);
    let mut copy = stage
        .command(&["cp", "-", "127.0.0.1:copied"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    copy.stdin.as_mut().unwrap().write_all(b"some").unwrap();
    server.event("transfer-start");
    let script = "echo ready; read line; echo $line; read line; echo $line; exit 3";
    let mut children = ["end:60s", "keep"].map(|on_lost| started(&stage, on_lost, script));
    server.terminate();
    server.event("draining");
    for child in &mut children {
        child.stdin.as_mut().unwrap().write_all(b"1\n").unwrap();
        let mut line = [0; 2];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut line)
            .unwrap();
        assert_eq!(&line, b"1\n");
    }
    drop(copy.stdin.take());
    assert_eq!(copy.wait().unwrap().code(), Some(0));
    assert_eq!(server.wait(), Some(0));
    let _server = restart(&stage, &server);
    for mut child in children {
        child.stdin.take().unwrap().write_all(b"2\n").unwrap();
        let outcome = child.wait_with_output().unwrap();
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.status.code()),
            (&b"2\n"[..], Some(3))
        );
    }
}

/// Without a client that comes back, the whole tree ends: while there is no server, and once there
/// is a new one.
#[test]
fn run_ends_without_its_client() {
    for has_new_server in [false, true] {
        let stage = stage();
        let mut server = stage.joined();
        let script = "setsid sh -c 'echo $$ > pid; exec sleep 1000' & echo ready; sleep 1000";
        let mut child = started(&stage, "end:2s", script);
        let file = stage.home().join("pid");
        wait_for("the process", || {
            fs::read(&file).is_ok_and(|text| text.ends_with(b"\n"))
        });
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        server.kill();
        child.wait().unwrap();
        let _server: Option<ServerProcess> = has_new_server.then(|| restart(&stage, &server));
        wait_for("the end of the tree", || has_ended(&file));
        wait_for("the end of the supervisor", || remains(&stage).is_empty());
    }
}

#[test]
fn revocation_ends_a_run_that_is_adopted() {
    let stage = stage();
    let mut server = stage.joined();
    let child = started(&stage, "end:60s", "echo $$ > pid; echo ready; sleep 1000");
    server.kill();
    stage.write_rights("[users.alice]\nrole = \"owner\"\nexec = [[\"true\"]]\n");
    let _server = restart(&stage, &server);
    let file = stage.home().join("pid");
    wait_for("the end of the program", || has_ended(&file));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(255));
}

/// The server ends what a killed supervisor has left, and the client learns that the run is lost.
#[test]
fn killed_supervisor_leaves_nothing() {
    for has_new_server in [false, true] {
        let stage = stage();
        let mut server = stage.joined();
        let child = started(&stage, "end:60s", "echo $$ > pid; echo ready; sleep 1000");
        let file = stage.home().join("pid");
        if has_new_server {
            server.kill();
        }
        let supervisor = Pid::from_raw(supervisor_of(&file)).unwrap();
        kill_process(supervisor, Signal::KILL).unwrap();
        if has_new_server {
            server = restart(&stage, &server);
        }
        wait_for("the end of the program", || has_ended(&file));
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(255));
        wait_for("the end of the folder", || remains(&stage).is_empty());
        drop(server);
    }
}

/// A supervisor that is killed after it was told to end the program leaves nothing either.
#[test]
fn supervisor_killed_while_its_run_is_ended_leaves_nothing() {
    let stage = stage();
    let server = stage.joined();
    let child = started(&stage, "end:60s", "echo $$ > pid; echo ready; sleep 1000");
    let file = stage.home().join("pid");
    let supervisor = Pid::from_raw(supervisor_of(&file)).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    set_rights(&stage, &server, "role = \"owner\"\nexec = [[\"true\"]]");
    // The server has told the client, and the supervisor has not taken the order.
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(255));
    kill_process(supervisor, Signal::KILL).unwrap();
    wait_for("the end of the program", || has_ended(&file));
    wait_for("the end of the folder", || remains(&stage).is_empty());
}

/// A client that is back before the supervisor of its command can be reached waits for it.
#[test]
fn client_waits_for_a_supervisor_out_of_reach() {
    let stage = stage();
    let mut server = stage.joined();
    let mut child = started(&stage, "end:60s", "echo ready; read line; exit 3");
    server.kill();
    let [run] = remains(&stage).try_into().unwrap();
    let socket = stage.path(&format!("server/server/runs/{run}/socket"));
    let hidden = socket.with_extension("hidden");
    fs::rename(&socket, &hidden).unwrap();
    let server = restart(&stage, &server);
    server.event("login");
    fs::rename(&hidden, &socket).unwrap();
    child.stdin.take().unwrap().write_all(b"line\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3));
}
