//! Who may see and touch jobs, what the audit log says of that, and how they end with a right.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::{ServerProcess, Stage, wait_for};

use crate::{
    jobs::{detach, has_ended, restart, supervisor_of},
    run::{HOST, set_rights},
    stage,
    users::OwnerAndBob,
};

/// A program that writes its number into this file, and lasts.
const LASTING: &str = "echo $$ > pid; echo ready; exec sleep 1000";

fn wait_for_pid(stage: &Stage) -> PathBuf {
    let file = stage.home().join("pid");
    wait_for("the program", || {
        fs::read(&file).is_ok_and(|text| text.ends_with(b"\n"))
    });
    file
}

/// Stops a supervisor until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn of(program: &Path) -> Self {
        let supervisor = Pid::from_raw(supervisor_of(program)).unwrap();
        kill_process(supervisor, Signal::STOP).unwrap();
        Self(supervisor)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Jobs of a removed account are no business of the next account with its name and its key.
/// Proves `job-inherited` in docs/faults.md.
#[test]
fn new_account_has_no_jobs_of_an_earlier_one() {
    let two = OwnerAndBob::new();
    let line = two.bob_key().public().line();
    let rights = "[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\"]\n\
                  [users.bob]\nrole = \"owner\"\nexec = \"any\"\nshell = true\n";
    let give_rights = || {
        two.stage.write_rights(rights);
        two.server.rights_loaded(&two.stage);
    };
    give_rights();
    let start = |name: &str, script: &str| {
        let run = [
            "run", "--detach", "--id", name, HOST, "--", "sh", "-c", script,
        ];
        two.bob(&run).ok().trim().to_owned()
    };
    let ended = start("ended", "echo secret");
    assert_eq!(two.bob(&["wait", HOST, "ended"]).status, Some(0));
    let running = start("running", LASTING);
    let file = wait_for_pid(&two.stage);
    // The server does not learn that the job has ended.
    let _stopped = Stopped::of(&file);
    two.user(&["remove", "bob"]).ok();
    let key = two.stage.write("bob.pub", format!("{line}\n").as_bytes());
    two.user(&["add", "bob", "--key", key.to_str().unwrap()])
        .ok();
    give_rights();
    assert_eq!(two.bob(&["--json", "jobs", HOST]).ok(), "");
    for job in [ended.as_str(), "ended", &running, "running"] {
        let refused = |words: &[&str]| two.bob(&[&["--json"], words].concat());
        refused(&["logs", HOST, job]).fails(20, "not-found");
        refused(&["attach", HOST, job]).fails(255, "not-found");
        refused(&["wait", HOST, job]).fails(255, "not-found");
        refused(&["kill", HOST, job]).fails(20, "not-found");
        refused(&["jobs", HOST, "--forget", job]).fails(20, "not-found");
    }
    two.stage
        .write_rights(&rights.replace("[users.bob]\nrole = \"owner\"", "[users.bob]"));
    two.server.rights_loaded(&two.stage);
    let top = two.bob(&["--json", "top", HOST]).json();
    assert_eq!(top["jobs"], json!([]));
    give_rights();
    wait_for("the job ends with its account", || has_ended(&file));
    // The names are free.
    start("ended", "true");
    assert_eq!(two.bob(&["wait", HOST, "ended"]).status, Some(0));
}

/// What clients do to a job is in the log before they do it.
#[test]
fn signals_and_removals_are_logged() {
    let stage = stage();
    let server = stage.joined();
    let run = [
        "run",
        "--on-lost",
        "keep",
        HOST,
        "--",
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done",
    ];
    let mut client = stage.command(&run).stdout(Stdio::piped()).spawn().unwrap();
    let job = server.event("run-start")["job"].clone();
    // From the first output on, the client passes signals on.
    let stdout = client.stdout.as_mut().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    kill_process(Pid::from_child(&client), Signal::TERM).unwrap();
    let signal = server.event("job-signal");
    assert_eq!(
        (&signal["job"], &signal["signal"], &signal["user"]),
        (&job, &json!("TERM"), &json!("alice"))
    );
    assert_eq!(client.wait().unwrap().code(), Some(7));
    let id = detach(&stage, "exit 0");
    assert_eq!(stage.run(&["wait", HOST, &id]).status, Some(0));
    stage.run(&["jobs", HOST, "--forget", &id]).ok();
    let removal = server.event("job-forget");
    assert_eq!(
        (&removal["job"], &removal["user"]),
        (&json!(id), &json!("alice"))
    );
}

/// A stopped supervisor does not keep a program that its user may not run any more, even while its
/// socket takes nothing.
/// Proves `job-revoked` in docs/faults.md.
#[test]
fn revocation_does_not_wait_for_a_stopped_supervisor() {
    let less = "role = \"owner\"\nexec = [[\"true\"]]";
    for is_job in [true, false] {
        let stage = stage();
        let server = stage.joined();
        if is_job {
            detach(&stage, LASTING);
            let file = wait_for_pid(&stage);
            let _stopped = Stopped::of(&file);
            set_rights(&stage, &server, less);
            wait_for("the job is ended", || has_ended(&file));
        } else {
            let run = [
                "run",
                "--on-lost",
                "end:10m",
                HOST,
                "--",
                "sh",
                "-c",
                LASTING,
            ];
            let mut client = stage.command(&run).stdin(Stdio::piped()).spawn().unwrap();
            let file = wait_for_pid(&stage);
            // The supervisor has told that the program runs.
            let mut ready = [0; 6];
            let stdout = client.stdout.as_mut().unwrap();
            stdout.read_exact(&mut ready).unwrap();
            let _stopped = Stopped::of(&file);
            let mut stdin = client.stdin.take().unwrap();
            // More than the socket takes. The client ends before all of it is sent.
            let typing = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 4 << 20]));
            wait_for("a full socket", || has_unsent_bytes(&server));
            set_rights(&stage, &server, less);
            wait_for("the command is ended", || has_ended(&file));
            assert_eq!(client.wait().unwrap().code(), Some(255));
            let _ = typing.join().unwrap();
        }
    }
}

/// Whether a Unix socket of the server is full: its peer reads nothing.
fn has_unsent_bytes(server: &ServerProcess) -> bool {
    let sockets = std::process::Command::new("ss")
        .args(["-xpH"])
        .output()
        .unwrap();
    let owner = format!("pid={},", server.id());
    String::from_utf8_lossy(&sockets.stdout)
        .lines()
        .filter(|line| line.contains(&owner))
        .any(|line| {
            let mut queues = line.split_whitespace().skip(2).map(str::parse);
            let (_, sent): (_, Option<Result<u64, _>>) = (queues.next(), queues.next());
            sent.is_some_and(|sent| sent.is_ok_and(|bytes| bytes > 100_000))
        })
}

/// A folder that the server cannot use is named once, and the server runs.
#[test]
fn unreadable_records_are_named_and_left_alone() {
    let stage = stage();
    let mut server = stage.joined();
    let id = detach(&stage, "exit 0");
    assert_eq!(stage.run(&["wait", HOST, &id]).status, Some(0));
    server.kill();
    let record = format!("server/server/jobs/{id}/record");
    stage.write(&record, b"{");
    let server = restart(&stage, &server);
    assert_eq!(server.event("job-unreadable")["job"], json!(id));
    assert_eq!(stage.run(&["--json", "jobs", HOST]).ok(), "");
    assert_eq!(stage.read(&record), b"{");
}

/// A credential that may not start commands may follow jobs and not type: who types may run
/// anything.
/// Proves `key-options` in docs/faults.md.
#[test]
fn credential_for_jobs_only_gives_no_input() {
    let stage = stage();
    let server = stage.joined();
    let reading = stage.command(&[
        "run",
        "--on-lost",
        "keep",
        HOST,
        "--",
        "sh",
        "-c",
        "echo $$ > pid; exec sh",
    ]);
    let mut client = { reading }.stdin(Stdio::piped()).spawn().unwrap();
    let shell = server.event("run-start")["job"].clone();
    let shell = shell.as_str().unwrap();
    let file = wait_for_pid(&stage);
    let plain = detach(&stage, "echo seen; exit 3");
    let line = crate::login::client_key(&stage).public().line();
    let limited = format!("landline-services=\"exec.jobs\" {line}\n");
    let key = stage.write("limited.pub", limited.as_bytes());
    stage
        .run_at_server(&["user", "keys", "add", "alice", key.to_str().unwrap()])
        .ok();
    let attached = stage.run(&["attach", HOST, &plain]);
    assert_eq!(
        (attached.status, attached.stdout.as_slice()),
        (Some(3), &b"seen\n"[..])
    );
    stage
        .run_with_input(&["--json", "attach", HOST, shell], b"touch typed\n")
        .fails(126, "credential-limited");
    stage.run(&["kill", HOST, shell]).ok();
    wait_for("the shell is ended", || has_ended(&file));
    assert!(!stage.home().join("typed").exists());
    client.kill().unwrap();
    client.wait().unwrap();
}

/// A job that is not there has the same status for every command that follows one.
#[test]
fn unknown_job_has_one_status() {
    let stage = stage();
    let _server = stage.joined();
    for command in ["attach", "wait", "watch"] {
        let words = ["--json", command, HOST, "none"];
        stage.run(&words).fails(255, "not-found");
    }
    let id = detach(&stage, "exit 0");
    assert_eq!(stage.run(&["wait", HOST, &id]).status, Some(0));
    let listed = stage.run(&["--json", "jobs", HOST]).ok();
    let row: Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!(row["job"], json!(id));
}
