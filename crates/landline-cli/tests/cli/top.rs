//! `landline top`: commands, jobs and sessions, and what they use.

use std::io::Read;

use serde_json::Value;
use testkit::{Stage, wait_for};

use crate::{
    run::{HOST, set_rights},
    stage,
};

fn top(stage: &Stage) -> Value {
    stage.run(&["--json", "top", HOST]).json()
}

/// The entry of the job with this in its command.
fn find<'a>(sample: &'a Value, command: &str) -> Option<&'a Value> {
    let jobs = sample["jobs"].as_array().unwrap();
    jobs.iter()
        .find(|job| job["command"].as_str().unwrap().contains(command))
}

#[test]
fn commands_jobs_and_sessions_are_measured() {
    let stage = stage();
    let _server = stage.joined();
    let busy = "echo ready; while :; do :; done";
    let mut child = stage
        .command(&["run", HOST, "--", "sh", "-c", busy])
        .spawn()
        .unwrap();
    let mut first = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    // A process with another environment, and one that was left behind, belong to the job.
    let tree = "env -i sleep 1000 & (sleep 1000 &) ; wait";
    let detached = [
        "run", "--detach", "--id", "tree", HOST, "--", "sh", "-c", tree,
    ];
    stage.run(&detached).ok();
    let mut sample = Value::Null;
    wait_for("all processes", || {
        sample = top(&stage);
        // Two sleep, two are shells or supervise.
        find(&sample, "sleep").is_some_and(|job| job["processes"] == 4)
    });
    let job = find(&sample, "sleep").unwrap();
    assert_eq!(
        (&job["name"], &job["detached"]),
        (&"tree".into(), &true.into())
    );
    assert_eq!(job["user"], "alice");
    assert!(job["memory"].as_u64() > Some(0));
    wait_for("processor time", || {
        sample = top(&stage);
        find(&sample, "while").is_some_and(|run| run["cpu"].as_f64() > Some(1.0))
    });
    let run = find(&sample, "while").unwrap();
    assert_eq!(run["detached"], false);
    assert!(run["processor_time"].as_f64() > Some(0.0));
    assert!(sample["machine"]["processors"].as_u64() > Some(0));
    assert!(sample["machine"]["memory"].as_u64() >= sample["machine"]["available"].as_u64());
    let sessions = sample["sessions"].to_string();
    assert!(sessions.contains("running sh"), "{sessions}");
    let table = stage.run(&["top", HOST]).ok();
    for word in ["COMMAND", "MEMORY", "alice", "tree", "while", "DOING"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    stage.run(&["kill", HOST, "--tree", "tree"]).ok();
    wait_for("the end of both", || {
        top(&stage)["jobs"].as_array().unwrap().is_empty()
    });
}

/// Commands of other users are for helpers and above.
#[test]
fn users_see_their_own_commands_only() {
    let stage = stage();
    let address = stage.joined().address.clone();
    let mut command = stage.serve_command(&address);
    command.env("LANDLINE_SHARE_UID", "true");
    let server = stage.serve_with(command);
    stage
        .run(&["run", "--detach", HOST, "--", "sleep", "1000"])
        .ok();
    let invite = stage
        .run_at_server(&[
            "user", "add", "bob", "--exec", "any", "--files", "rw:~", "--invite",
        ])
        .ok();
    let bob = |words: &[&str]| {
        let mut command = stage.command(words);
        command.env("LANDLINE_STATE", stage.path("bob"));
        stage.run_command(command)
    };
    let address = invite.trim().replace("landline://", "");
    let (_, secret) = address.split_once('#').unwrap();
    let invite = format!("landline://{}/#{secret}", server.address);
    bob(&["join", &invite, "--as", "bob"]).ok();
    bob(&["run", "--detach", HOST, "--", "sleep", "2000"]).ok();
    let seen = |sample: &Value| {
        ["sleep 1000", "sleep 2000"].map(|command| find(sample, command).is_some())
    };
    assert_eq!(seen(&top(&stage)), [true, true]);
    let own = bob(&["--json", "top", HOST]).json();
    assert_eq!(seen(&own), [false, true]);
    stage
        .run_at_server(&["user", "grant", "bob", "--role", "helper"])
        .ok();
    let all = bob(&["--json", "top", HOST]).json();
    assert_eq!(seen(&all), [true, true]);
    set_rights(&stage, &server, "role = \"owner\"");
    // A refused client leaves no session behind that waits for it.
    stage.run(&["--json", "top", HOST]).fails(23, "denied");
    wait_for("the end of its session", || {
        stage.run(&["--json", "who", HOST]).ok().lines().count() == 1
    });
}

/// The list is renewed until a key ends it, and the terminal is as before.
#[test]
fn list_on_a_terminal_ends_with_a_key() {
    let stage = stage();
    let _server = stage.joined();
    let mut terminal = testkit::Terminal::start(&stage.command(&["top", HOST]));
    terminal.wait_for("COMMAND");
    stage
        .run(&["run", "--detach", HOST, "--", "sleep", "1000"])
        .ok();
    terminal.wait_for("sleep 1000");
    terminal.type_line("q");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    let left = terminal.shown.rsplit("\x1b[7m").next().unwrap();
    for undone in ["\x1b[?25h", "\x1b[?1049l"] {
        assert!(left.contains(undone), "{left:?}");
    }
}
