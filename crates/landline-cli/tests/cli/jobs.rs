//! Detached jobs: they continue without clients and servers, and their output and status are exact.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::{Outcome, Relay, ServerProcess, Stage, wait_for};

use crate::{join_by, noise, order::into, run::HOST, stage};

/// Starts a detached job of a shell; returns its id.
#[track_caller]
pub(crate) fn detach(stage: &Stage, script: &str) -> String {
    let started = stage.run(&["run", "--detach", HOST, "--", "sh", "-c", script]);
    started.ok().trim().to_owned()
}

/// What is known of a job.
#[track_caller]
fn job(stage: &Stage, id: &str) -> Value {
    let listed = stage.run(&["--json", "jobs", HOST]).ok();
    let rows = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = rows.filter(|row| row["job"] == id || row["name"] == id);
    found
        .next()
        .unwrap_or_else(|| panic!("no job {id} in {listed}"))
}

fn wait(stage: &Stage, id: &str) -> Option<i32> {
    stage.run(&["wait", HOST, id]).status
}

/// A server that takes the place of one that has ended, at the same address.
pub(crate) fn restart(stage: &Stage, server: &ServerProcess) -> ServerProcess {
    stage.serve_at(&server.address, &[])
}

/// Whether the process whose number is in this file has ended.
pub(crate) fn has_ended(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap();
    match fs::read_to_string(format!("/proc/{}/stat", text.trim())) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

/// The process id of the supervisor of the program whose number is in this file.
pub(crate) fn supervisor_of(file: &Path) -> i32 {
    let text = fs::read_to_string(file).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", text.trim())).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn numbers(output: &[u8]) -> Vec<u64> {
    let text = str::from_utf8(output).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn job_is_started_listed_logged_awaited_and_forgotten() {
    let stage = stage();
    let server = stage.joined();
    let id = detach(&stage, "echo out; echo err >&2; exit 3");
    assert_eq!(id.len(), 16, "{id}");
    assert_eq!(server.event("run-start")["detached"], true);
    assert_eq!(wait(&stage, &id), Some(3));
    let row = job(&stage, &id);
    assert_eq!(
        (&row["state"], &row["status"]),
        (&"ended".into(), &3.into())
    );
    assert_eq!((&row["stdout"], &row["stderr"]), (&4.into(), &4.into()));
    let logs = stage.run(&["logs", HOST, &id]);
    assert_eq!(
        (logs.stdout.as_slice(), logs.stderr.as_str()),
        (&b"out\n"[..], "err\n")
    );
    let errors = stage.run(&["logs", HOST, &id, "--stderr"]);
    assert_eq!(errors.stdout, b"err\n");
    let attached = stage.run(&["attach", HOST, &id]);
    assert_eq!(
        (attached.stdout.as_slice(), attached.stderr.as_str()),
        (&b"out\n"[..], "err\n")
    );
    assert_eq!(attached.status, Some(3));
    assert_eq!(server.event("run-end")["status"], "3");
    stage.run(&["jobs", HOST, "--forget", &id]).ok();
    stage
        .run(&["--json", "wait", HOST, &id])
        .fails(255, "not-found");
    stage
        .run(&["--json", "logs", HOST, &id])
        .fails(20, "not-found");
}

/// Proves `job-twice` in docs/faults.md.
#[test]
fn named_job_is_never_started_twice() {
    let stage = stage();
    let _server = stage.joined();
    let start = [
        "--json", "run", "--detach", "--id", "build", HOST, "--", "sh", "-c",
    ];
    let with = |script| stage.run(&[&start[..], &[script]].concat());
    let first = with("echo x >> count").json();
    let again = with("echo x >> count").json();
    assert_eq!(first["job"], again["job"]);
    assert_eq!(
        (&first["existing"], &again["existing"]),
        (&false.into(), &true.into())
    );
    with("echo y >> count").fails(255, "exists");
    assert_eq!(wait(&stage, "build"), Some(0));
    assert_eq!(fs::read(stage.home().join("count")).unwrap(), b"x\n");
    stage.run(&["jobs", HOST, "--forget", "build"]).ok();
    assert_eq!(with("echo x >> count").json()["existing"], false);
    let bad = [
        "--json", "run", "--detach", "--id", "a/b", HOST, "--", "true",
    ];
    stage.run(&bad).fails(255, "name-refused");
    let long = "x".repeat(65_536);
    let long = ["--json", "run", "--detach", HOST, "--", "echo", &long];
    stage.run(&long).fails(255, "name-refused");
}

#[test]
fn program_that_does_not_start_leaves_no_job() {
    let stage = stage();
    let _server = stage.joined();
    let run = ["--json", "run", "--detach", HOST, "--", "no-such-program"];
    stage.run(&run).fails(127, "no-program");
    let run = ["--json", "run", "--detach", HOST, "--", "/etc/passwd"];
    stage.run(&run).fails(126, "not-executable");
    assert_eq!(stage.run(&["--json", "jobs", HOST]).ok(), "");
}

/// A job writes while its server is killed, and ends while there is none.
/// Proves `job-server` in docs/faults.md.
#[test]
fn job_survives_the_server() {
    let stage = stage();
    let mut server = stage.joined();
    let killed = "until test -e killed; do sleep 0.05; done";
    let numbered = format!("seq 100; {killed}; seq 101 200; exit 9");
    let id = detach(&stage, &numbered);
    let slow = detach(
        &stage,
        &format!("trap '{killed}; exit 7' TERM; echo ready; while :; do sleep 0.1; done"),
    );
    wait_for("the job is ready", || {
        stage.run(&["logs", HOST, &slow]).stdout == b"ready\n"
    });
    stage.run(&["kill", HOST, &slow]).ok();
    server.kill();
    stage.write("home/killed", b"");
    let server = restart(&stage, &server);
    let following = stage.run(&["logs", "--follow", HOST, &id]);
    assert_eq!(numbers(&following.stdout), (1..=200).collect::<Vec<_>>());
    assert_eq!((wait(&stage, &id), wait(&stage, &slow)), (Some(9), Some(7)));
    let ended = ["run-end", "run-end"].map(|name| server.event(name)["status"].clone());
    assert!(
        ended.contains(&"9".into()) && ended.contains(&"7".into()),
        "{ended:?}"
    );
}

/// Proves `job-lost` in docs/faults.md.
#[test]
fn job_whose_supervisor_was_killed_is_lost() {
    let stage = stage();
    let mut server = stage.joined();
    let id = detach(&stage, "echo $$ > pid; echo before; sleep 1000");
    let file = stage.home().join("pid");
    wait_for("the job runs", || {
        stage.run(&["logs", HOST, &id]).stdout == b"before\n"
    });
    server.kill();
    let supervisor = Pid::from_raw(supervisor_of(&file)).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    let server = restart(&stage, &server);
    wait_for("the job is lost", || job(&stage, &id)["state"] == "lost");
    let row = job(&stage, &id);
    assert!(row["reason"].is_string());
    assert_eq!(wait(&stage, &id), Some(255));
    wait_for("the program is ended", || has_ended(&file));
    assert_eq!(stage.run(&["logs", HOST, &id]).stdout, b"before\n");
    stage.run(&["--json", "attach", HOST, &id]).fails(255, "io");
    assert_eq!(server.event("run-end")["status"], "lost");
}

/// A supervisor that is stopped keeps its job, and does not hold up the server.
/// Proves `job-server` in docs/faults.md.
#[test]
fn silent_supervisor_is_taken_up_later() {
    let stage = stage();
    let mut server = stage.joined();
    let id = detach(&stage, "echo $$ > pid; echo x; sleep 1000");
    let file = stage.home().join("pid");
    wait_for("the job runs", || {
        stage.run(&["logs", HOST, &id]).stdout == b"x\n"
    });
    let supervisor = Pid::from_raw(supervisor_of(&file)).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    server.kill();
    let _server = restart(&stage, &server);
    assert_eq!(job(&stage, &id)["state"], "silent");
    kill_process(supervisor, Signal::CONT).unwrap();
    wait_for("the job is taken up", || {
        job(&stage, &id)["state"] == "running"
    });
    stage.run(&["kill", HOST, &id, "-s", "KILL"]).ok();
    assert_eq!(wait(&stage, &id), Some(137));
}

/// A signal for a job that does not answer arrives once it does, and the client learns that.
#[test]
fn signal_waits_for_silent_supervisor() {
    let stage = stage();
    let _server = stage.joined();
    let id = detach(&stage, "echo $$ > pid; echo x; sleep 1000");
    let file = stage.home().join("pid");
    wait_for("the job runs", || {
        stage.run(&["logs", HOST, &id]).stdout == b"x\n"
    });
    let supervisor = Pid::from_raw(supervisor_of(&file)).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    stage.run(&["--json", "kill", HOST, &id]).fails(27, "io");
    assert_eq!(job(&stage, &id)["state"], "running");
    kill_process(supervisor, Signal::CONT).unwrap();
    assert_eq!(wait(&stage, &id), Some(143));
    assert!(has_ended(&file));
}

/// Proves `job-revoked` in docs/faults.md.
#[test]
fn revocation_ends_jobs_and_adoption_checks_it() {
    for is_running in [true, false] {
        let stage = stage();
        let mut server = stage.joined();
        let id = detach(&stage, "echo $$ > pid; sleep 1000");
        let file = stage.home().join("pid");
        wait_for("the job runs", || {
            file.exists() && fs::read(&file).unwrap().ends_with(b"\n")
        });
        let rights = "[users.alice]\nrole = \"owner\"\nexec = [[\"true\"]]\n";
        if is_running {
            stage.write_rights(rights);
        } else {
            server.kill();
            stage.write_rights(rights);
            server = restart(&stage, &server);
        }
        wait_for("the job is ended", || has_ended(&file));
        // A supervisor that is slow is killed, and its job with it.
        assert!(matches!(wait(&stage, &id), Some(143 | 137 | 255)));
        drop(server);
    }
}

/// A job ends with the key that started it, unless the key is only replaced by another.
#[test]
fn jobs_of_a_removed_key_go_on_if_asked() {
    for is_kept in [true, false] {
        let stage = stage();
        let mut server = stage.joined();
        detach(
            &stage,
            "echo $$ > pid; while ! [ -e go ]; do sleep 0.05; done; exit 5",
        );
        let file = stage.home().join("pid");
        wait_for("the job runs", || {
            fs::read(&file).is_ok_and(|text| text.ends_with(b"\n"))
        });
        let old = crate::login::client_key(&stage).public().fingerprint();
        let new = crate::users::key(&stage, "new").public().line();
        let new = stage.write("new.pub", format!("{new}\n").as_bytes());
        let keys = |words: &[&str]| {
            let words = [&["user", "keys"], words].concat();
            stage.run_at_server(&words).ok()
        };
        keys(&["add", "alice", new.to_str().unwrap()]);
        let option: &[&str] = if is_kept { &["--keep-jobs"] } else { &[] };
        keys(&[&["remove", "alice", &old], option].concat());
        if is_kept {
            // A server that starts has looked at it before it answers.
            server.kill();
            server = restart(&stage, &server);
            assert!(!has_ended(&file));
            stage.write("home/go", b"");
        }
        let status = &server.event("run-end")["status"];
        if is_kept {
            assert_eq!(status, "5");
        } else {
            // A supervisor that is slow is killed.
            assert!(status == "SIGTERM" || status == "SIGKILL" || status == "lost");
        }
    }
}

/// At most 32 jobs run at a time.
#[test]
fn running_jobs_are_limited() {
    let stage = stage();
    let _server = stage.joined();
    let ids: Vec<String> = (0..32).map(|_| detach(&stage, "sleep 1000")).collect();
    let further = ["--json", "run", "--detach", HOST, "--", "true"];
    stage.run(&further).fails(255, "too-many-jobs");
    let kill = [
        &["kill", HOST, "--tree"][..],
        &ids.iter().map(String::as_str).collect::<Vec<_>>(),
    ]
    .concat();
    stage.run(&kill).ok();
    assert_eq!(wait(&stage, &ids[31]), Some(143));
    stage.run(&further).ok();
}

/// The order of both outputs is kept, and the oldest output of a long one is dropped.
#[test]
fn logs_keep_order_and_report_gaps() {
    let stage = stage();
    let _server = stage.joined();
    // Two pipes have no order, so each line waits until the one before it is stored.
    let id = detach(
        &stage,
        "next() { until test -e $1; do sleep 0.01; done; }
         for i in 1 2 3 4 5; do echo o$i; next o$i; echo e$i >&2; next e$i; done",
    );
    for i in 1..=5 {
        for (key, name) in [("stdout", 'o'), ("stderr", 'e')] {
            wait_for("the line", || job(&stage, &id)[key].as_u64() == Some(3 * i));
            stage.write(&format!("home/{name}{i}"), b"");
        }
    }
    wait(&stage, &id);
    let mut command = stage.command(&["logs", HOST, &id]);
    let both = stage.path("both");
    let file = fs::File::create(&both).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    assert!(command.status().unwrap().success());
    let expected: String = (1..=5).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert_eq!(fs::read_to_string(&both).unwrap(), expected);
    let long = detach(&stage, "seq 6000000");
    wait(&stage, &long);
    let logs: Outcome = stage.run(&["logs", HOST, &long]);
    assert!(
        logs.stderr
            .contains("bytes of output are not kept any more"),
        "{}",
        logs.stderr
    );
    let row = job(&stage, &long);
    let total = row["stdout"].as_u64().unwrap();
    assert!(logs.stdout.len() as u64 <= 33 << 20 && total > 40 << 20);
    assert!(logs.stdout.starts_with(b"1\n2\n") && logs.stdout.ends_with(b"\n6000000\n"));
}

/// Leaving a job does not end it, and both clients see everything.
#[test]
fn client_that_leaves_does_not_end_the_job() {
    let stage = stage();
    let _server = stage.joined();
    let id = detach(
        &stage,
        "seq 50; until test -e left; do sleep 0.05; done; seq 51 100",
    );
    let mut first: Child = stage.command(&["attach", HOST, &id]).spawn().unwrap();
    let mut output = [0; 20];
    first
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut output)
        .unwrap();
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
    stage.write("home/left", b"");
    let second = stage.run(&["attach", HOST, &id]);
    assert_eq!(numbers(&second.stdout), (1..=100).collect::<Vec<_>>());
    assert_eq!(second.status, Some(0));
}

/// The connection is cut at several places in both directions, with and without the server knowing.
/// Every byte arrives once.
/// Proves `lost-connection` in docs/faults.md.
#[test]
fn command_continues_after_lost_connections() {
    let stage = stage();
    let server = stage.serve(&[]);
    let relay = Relay::start(&server.address);
    join_by(&stage, &server, &relay.address);
    let content = noise(4 << 20, 7);
    for on_lost in ["end:30s", "keep"] {
        for (cut, is_half_open) in [
            (1, false),
            (10_000, true),
            (700_000, false),
            (5_000_000, true),
        ] {
            let script = "echo begins; exec cat";
            let run = ["run", "--on-lost", on_lost, HOST, "--", "sh", "-c", script];
            let mut child = stage.command(&run).stdin(Stdio::piped()).spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let mut first = [0; 7];
            stdout.read_exact(&mut first).unwrap();
            if is_half_open {
                relay.half_open_after(cut);
            } else {
                relay.cut_after(cut);
            }
            let mut stdin = child.stdin.take().unwrap();
            let bytes = content.clone();
            let writing = std::thread::spawn(move || stdin.write_all(&bytes));
            let mut echoed = Vec::new();
            stdout.read_to_end(&mut echoed).unwrap();
            let outcome = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&outcome.stderr);
            assert_eq!(outcome.status.code(), Some(0), "{on_lost} {cut}: {errors}");
            assert!(echoed == content, "{on_lost}, cut after {cut}");
            writing.join().unwrap().unwrap();
        }
    }
    assert_eq!(stage.run(&["--json", "jobs", HOST]).ok(), "");
}

/// A command whose client does not come back is ended, and one that is kept runs on.
#[test]
fn lost_client_ends_or_keeps_command() {
    let stage = stage();
    let _server = stage.joined();
    let file = stage.home().join("pid");
    let script = "echo $$ > pid; echo x; sleep 1000";
    for (on_lost, is_kept) in [("end:1s", false), ("keep", true)] {
        let _ = fs::remove_file(&file);
        let mut child = stage
            .command(&["run", "--on-lost", on_lost, HOST, "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 2];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        if is_kept {
            let listed: Value =
                serde_json::from_str(stage.run(&["--json", "jobs", HOST]).ok().trim()).unwrap();
            assert_eq!(listed["state"], "running");
            assert!(!has_ended(&file));
            stage
                .run(&["kill", HOST, listed["job"].as_str().unwrap()])
                .ok();
        }
        wait_for("the command is ended", || has_ended(&file));
    }
}

/// A reader that ends early ends a command that is kept, and leaves a job that is followed.
#[test]
fn closed_output_ends_a_kept_command_and_leaves_a_job() {
    let stage = stage();
    let _server = stage.joined();
    let id = detach(&stage, "while :; do echo y; sleep 0.01; done");
    for (words, expected) in [
        (&["run", "--on-lost", "keep", HOST, "--", "yes"][..], 141),
        (&["logs", "--follow", HOST, &id], 0),
        (&["attach", HOST, &id], 255),
    ] {
        let mut child = stage.command(words).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 2];
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{words:?}");
    }
    assert_eq!(job(&stage, &id)["state"], "running");
    stage.run(&["kill", HOST, &id]).ok();
}

#[test]
fn wait_and_log_continue_after_a_restart() {
    let stage = stage();
    let mut server = stage.joined();
    let id = detach(
        &stage,
        "echo one; until test -e go; do sleep 0.05; done; echo two; exit 7",
    );
    let start = |words: &[&str]| stage.command(words).spawn().unwrap();
    let waiting = start(&["wait", HOST, &id]);
    let mut reading = start(&["logs", "--follow", HOST, &id]);
    let mut stdout = reading.stdout.take().unwrap();
    let mut log = [0; 4];
    stdout.read_exact(&mut log).unwrap();
    wait_for("both clients", || {
        let sessions = stage.run(&["--json", "who", HOST]).ok();
        sessions.matches("\"doing\":\"exec\"").count() == 2
    });
    server.kill();
    let _server = restart(&stage, &server);
    stage.write("home/go", b"");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!([&log[..], &rest].concat(), b"one\ntwo\n");
    assert_eq!(Outcome::of(reading).status, Some(0));
    assert_eq!(Outcome::of(waiting).status, Some(7));
}

/// A client that waits for a job can find out whether the server is still there.
/// Proves `silent-connection` in docs/faults.md.
#[test]
fn server_answers_probes_while_a_job_is_waited_for() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let job = detach(&stage, "echo begun; sleep 600");
    for request in [
        json!({"type": "wait", "job": job}),
        json!({"type": "logs", "job": job, "follow": true}),
    ] {
        let mut client = into("exec-requests", &server, &key);
        client.send_json(&request).unwrap();
        for _ in 0..2 {
            client.send_json(&json!({"type": "probe"})).unwrap();
            let kind = loop {
                let header = client.header().unwrap().expect("a message");
                if !["welcome", "log"].contains(&header.kind()) {
                    break header.kind().to_owned();
                }
            };
            assert_eq!(kind, "alive", "{request}");
        }
    }
    stage.run(&["kill", HOST, &job]).ok();
}
