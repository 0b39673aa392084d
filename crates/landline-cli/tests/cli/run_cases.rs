//! Commands and jobs in cases that other programs got wrong.

use std::{fs, io::Read, os::fd::OwnedFd, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Relay, wait_for};

use crate::{
    jobs::{detach, supervisor_of},
    join_by,
    run::HOST,
    stage,
};

/// The program gets the bytes of every argument, whatever a shell would do with them.
/// Proves `shell-quoting` in docs/faults.md.
#[test]
fn arguments_arrive_unchanged() {
    let stage = stage();
    let _server = stage.joined();
    let long = "x".repeat(120_000);
    let arguments = [
        "a b",
        "",
        "; touch run",
        "$(touch run)",
        "`touch run`",
        "'",
        "\"",
        "\\",
        "line\nline",
        "*",
        "~",
        "$HOME",
        "-n",
        "--help",
        "#",
        "{a,b}",
        "A=b",
        "&",
        "\u{fffd}\x1b[31m",
        &long,
    ];
    let print = [&["run", HOST, "--", "printf", "%s\\0"][..], &arguments].concat();
    let outcome = stage.run(&print);
    let expected: Vec<u8> = arguments
        .iter()
        .flat_map(|argument| [argument.as_bytes(), b"\0"].concat())
        .collect();
    assert_eq!(outcome.status, Some(0));
    assert!(outcome.stdout == expected);
    assert!(!stage.home().join("run").exists());
}

#[test]
fn short_input_is_echoed_every_time() {
    let stage = stage();
    let _server = stage.joined();
    for round in 0..20 {
        let outcome = stage.run_with_input(&["run", HOST, "--", "cat"], b"hello\n");
        let got = (outcome.status, outcome.stdout.as_slice());
        assert_eq!(got, (Some(0), &b"hello\n"[..]), "round {round}");
    }
}

/// Proves `lost-output` in docs/faults.md.
#[test]
fn slow_connection_loses_no_output() {
    let stage = stage();
    let server = stage.serve(&[]);
    let relay = Relay::start(&server.address);
    relay.limit(2_500_000);
    join_by(&stage, &server, &relay.address);
    for _ in 0..5 {
        let script = "head -c 1000000 /dev/zero; exit 3";
        let outcome = stage.run(&["run", HOST, "--", "sh", "-c", script]);
        assert_eq!((outcome.stdout.len(), outcome.status), (1_000_000, Some(3)));
    }
}

/// A client that is killed leaves its standard output as it was: others use it, too.
#[test]
fn killed_client_leaves_its_output_blocking() {
    let stage = stage();
    let _server = stage.joined();
    for signal in [Signal::TERM, Signal::KILL] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = "echo begun; sleep 1000";
        let mut command = stage.command(&["run", HOST, "--", "sh", "-c", script]);
        command.stdout(Stdio::from(OwnedFd::from(writer.try_clone().unwrap())));
        let mut child = command.spawn().unwrap();
        let mut first = [0; 6];
        reader.read_exact(&mut first).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{signal:?}");
    }
}

/// A client without input follows a job to its end, and does not take the end of its own input for
/// the end of the job.
#[test]
fn client_without_input_gets_the_status() {
    let stage = stage();
    let _server = stage.joined();
    let script = "until test -e go; do sleep 0.05; done; exit 19";
    let plain = detach(&stage, script);
    let keep = ["run", "--pty", "--detach", HOST, "--", "sh", "-c", script];
    let terminal = stage.run(&keep).ok().trim().to_owned();
    let attach = |id: &str| {
        let mut command = stage.command(&["attach", HOST, id]);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    let clients = [attach(&plain), attach(&terminal)];
    wait_for("both clients", || {
        let who = stage.run(&["who", HOST]).ok();
        who.matches("attached to").count() == 2
    });
    stage.write("home/go", b"");
    for client in clients {
        assert_eq!(client.wait_with_output().unwrap().status.code(), Some(19));
    }
}

/// A reader that is slower than the job gets every line once, or the number of bytes that are
/// missing.
#[test]
fn followed_log_marks_each_gap() {
    let stage = stage();
    let _server = stage.joined();
    let id = detach(
        &stage,
        "seq 100000; until test -e go; do sleep 0.05; done; seq 100001 9000000",
    );
    let mut client = stage
        .command(&["--json", "logs", "--follow", HOST, &id])
        .spawn()
        .unwrap();
    let mut stdout = client.stdout.take().unwrap();
    let mut first = [0; 2];
    stdout.read_exact(&mut first).unwrap();
    // It reads nothing more until the job has dropped output.
    stage.write("home/go", b"");
    assert_eq!(stage.run(&["wait", HOST, &id]).status, Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(client.wait().unwrap().success());
    let text = [str::from_utf8(&first).unwrap(), &rest].concat();
    let (mut offset, mut gaps) = (0, 0);
    for line in text.lines() {
        let part: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(at) = part["offset"].as_u64() else {
            continue;
        };
        assert_eq!(at, offset, "{line}");
        let dropped = part["dropped"].as_u64().unwrap_or(0);
        gaps += u64::from(dropped > 0);
        let bytes = part["bytes"].as_str().unwrap().len() as u64;
        offset += dropped + bytes;
    }
    let info = stage.run(&["--json", "jobs", HOST]).ok();
    let info: serde_json::Value = serde_json::from_str(info.trim()).unwrap();
    assert_eq!(Some(offset), info["stdout"].as_u64());
    assert!(gaps > 0, "nothing was dropped");
}

/// `-W` gives the server's reason for the end of its session.
#[test]
fn forward_of_stdio_gives_the_reason_of_its_end() {
    let stage = stage();
    let server = stage.joined();
    let listener = std::net::TcpListener::bind((HOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let words = ["--json", "run", "-W", &address, HOST];
    let mut command = stage.command(&words);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (_peer, _) = listener.accept().unwrap();
    let session = server.event("forward-start")["session"].clone();
    stage.run(&["kick", HOST, session.as_str().unwrap()]).ok();
    let stdin = child.stdin.take();
    testkit::Outcome::of(child).fails(255, "ended");
    drop(stdin);
}

/// Output that comes after the end of the program arrives, or the user learns that it is lost.
#[test]
fn output_that_is_still_open_is_reported() {
    let stage = stage();
    let _server = stage.joined();
    let run = |options: &[&str], script: &str| {
        stage.run(&[options, &["run", HOST, "--", "sh", "-c", script]].concat())
    };
    let kill_left = || {
        let left = fs::read_to_string(stage.path("home/left")).unwrap();
        let left = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
        kill_process(left, Signal::KILL).unwrap();
    };
    // It has 3 s, which a busy machine may take.
    let is_complete = (0..3).any(|_| {
        let late = run(&[], "(sleep 0.7; echo late) & echo early");
        late.stdout == b"early\nlate\n" && late.stderr.is_empty()
    });
    assert!(is_complete);
    for (options, words) in [
        (&[][..], "still had its output open"),
        (&["--json"], "\"left_open\":true"),
    ] {
        let lost = run(options, "sleep 1000 & echo $! > left; echo early");
        assert_eq!(lost.status, Some(0));
        assert_eq!(lost.stdout, b"early\n");
        assert!(lost.stderr.contains(words), "{}", lost.stderr);
        kill_left();
    }
    let complete = run(
        &["--json"],
        "sleep 1000 >/dev/null 2>&1 & echo $! > left; echo all",
    );
    assert!(complete.stderr.contains("\"left_open\":false"));
    kill_left();
}

/// A list of processes shows what supervisors are.
#[test]
fn supervisor_has_the_name_of_the_program() {
    let stage = stage();
    let _server = stage.joined();
    let id = detach(&stage, "echo $$ > pid; echo begun; exec sleep 1000");
    let pid = stage.path("home/pid");
    wait_for("the program", || {
        fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
    });
    let folder = std::path::PathBuf::from(format!("/proc/{}", supervisor_of(&pid)));
    assert_eq!(fs::read(folder.join("comm")).unwrap(), b"landline\n");
    assert_eq!(
        fs::read(folder.join("cmdline")).unwrap(),
        b"landline\0supervisor\0"
    );
    stage.run(&["kill", "--tree", HOST, &id]).ok();
}
