//! `landline run`: streams, statuses, rights, and what is left behind.

use std::{
    fs,
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{ServerProcess, Stage, wait_for};

use crate::{noise, stage};

pub(crate) const HOST: &str = "127.0.0.1";

/// The words of `landline run` for a program and its arguments.
pub(crate) fn words<'a>(argv: &[&'a str]) -> Vec<&'a str> {
    [&["--json", "run", HOST, "--"], argv].concat()
}

/// The status of a command, which printed nothing.
#[track_caller]
pub(crate) fn status(stage: &Stage, argv: &[&str]) -> Option<i32> {
    let outcome = stage.run(&[&["run", HOST, "--"], argv].concat());
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.stderr.as_str()),
        (&b""[..], "")
    );
    outcome.status
}

/// Waits until the number in this file is that of no process.
pub(crate) fn wait_for_end(what: &str, file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let folder = Path::new("/proc").join(text.trim());
    let is_over = || match fs::read_to_string(folder.join("stat")) {
        // A zombie has ended.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    wait_for(what, is_over);
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn streams_are_unchanged_and_apart() {
    let stage = stage();
    let _server = stage.joined();
    let script = r#"printf "A\000\377\r\n\033[31m"; printf B >&2"#;
    let outcome = stage.run(&["run", HOST, "--", "sh", "-c", script]);
    assert_eq!(outcome.stdout, b"A\x00\xff\r\n\x1b[31m");
    assert_eq!((outcome.stderr.as_str(), outcome.status), ("B", Some(0)));
    let content = noise(3 << 20, 1);
    let echoed = stage.run_with_input(&["run", HOST, "--", "cat"], &content);
    assert!(echoed.stdout == content && echoed.status == Some(0));
    let none = stage.run_with_input(&["run", "-n", HOST, "--", "cat"], b"not sent");
    assert_eq!((none.stdout.as_slice(), none.status), (&b""[..], Some(0)));
    stage.write("user/input", b"from a file");
    let given = stage.run(&["run", "--stdin", "input", HOST, "--", "cat"]);
    assert_eq!(given.stdout, b"from a file");
}

/// The status arrives only behind the last byte, however the program ends.
/// Proves `lost-output` in docs/faults.md.
#[test]
fn all_output_arrives_before_the_status() {
    let stage = stage();
    let _server = stage.joined();
    for _ in 0..20 {
        let script = "head -c 1000000 /dev/zero; exit 3";
        let outcome = stage.run(&["run", HOST, "--", "sh", "-c", script]);
        assert_eq!((outcome.stdout.len(), outcome.status), (1_000_000, Some(3)));
    }
}

#[test]
fn status_is_that_of_the_command() {
    let stage = stage();
    let server = stage.joined();
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 77", 77),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_eq!(
            status(&stage, &["sh", "-c", script]),
            Some(expected),
            "{script}"
        );
    }
    stage
        .run(&words(&["no-such-program"]))
        .fails(127, "no-program");
    stage
        .run(&words(&["/etc/passwd"]))
        .fails(126, "not-executable");
    let folder = ["--json", "run", "--cwd", "absent", HOST, "--", "true"];
    stage.run(&folder).fails(126, "not-found");
    let killed = stage.run(&words(&["sh", "-c", "kill -9 $$"]));
    let event: serde_json::Value = serde_json::from_str(killed.stderr.trim()).unwrap();
    assert_eq!(
        (event["signal"].as_str(), event["status"].as_i64()),
        (Some("KILL"), Some(137))
    );
    let input = ["--json", "run", "--stdin", "absent", HOST, "--", "true"];
    stage.run(&input).fails(255, "not-found");
    drop(server);
    stage.run(&words(&["true"])).fails(255, "connect");
}

/// A program whose output is not read any more gets SIGPIPE.
#[test]
fn program_ends_when_its_output_is_closed() {
    let stage = stage();
    let _server = stage.joined();
    let mut child = stage.command(&["run", HOST, "--", "yes"]).spawn().unwrap();
    let mut first = [0; 2];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    assert_eq!(&first, b"y\n");
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

/// Standard output is shared with other programs, which do not expect it to be non-blocking.
#[test]
fn output_stays_blocking() {
    let stage = stage();
    let _server = stage.joined();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = stage.command(&["run", HOST, "--", "true"]);
    command.stdout(Stdio::from(OwnedFd::from(writer.try_clone().unwrap())));
    assert!(command.status().unwrap().success());
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    drop(reader);
}

/// Nothing of the server reaches a program but what is documented.
/// Proves `inherited-by-commands` in docs/faults.md.
#[test]
fn program_gets_a_clean_process() {
    let stage = stage();
    let mut server = Command::new("sh");
    let serve = stage.serve_command("127.0.0.1:0");
    server
        .args(["-c", "trap '' HUP PIPE; umask 077; ulimit -c 0; exec \"$@\" 3</dev/null 4</dev/null 9</dev/null", "sh"])
        .arg(serve.get_program())
        .args(serve.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in serve.get_envs() {
        server.env(name, value.unwrap());
    }
    let server = stage.serve_with(server);
    let join = ["join", "-", "--as", "alice"];
    stage.run_with_input(&join, server.invite().as_bytes()).ok();
    let script = "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status; umask; \
                  env | cut -d= -f1 | sort; pwd; echo x >/dev/stderr";
    let outcome = stage.run(&["run", HOST, "--", "sh", "-c", script]);
    let home = stage.home().canonicalize().unwrap();
    let expected = format!(
        "0\n1\n2\n3\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\nHOME\nLANDLINE_JOB\nLOGNAME\nPATH\nPWD\n\
         SHELL\nUSER\n{}\n",
        home.display()
    );
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), expected);
    assert_eq!(outcome.stderr, "x\n");
}

/// A variable of the client takes the place of the server's.
#[test]
fn variable_is_set_once() {
    let stage = stage();
    let mut command = stage.serve_command("127.0.0.1:0");
    command.env("LANG", "C.UTF-8");
    let server = stage.serve_with(command);
    let join = ["join", "-", "--as", "alice"];
    stage.run_with_input(&join, server.invite().as_bytes()).ok();
    let lang = |options: &[&str]| {
        let run = [&["run"], options, &[HOST, "--", "env"]].concat();
        let shown = stage.run(&run).ok();
        let lines = shown.lines().filter(|line| line.starts_with("LANG="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lang(&[]), ["LANG=C.UTF-8"]);
    assert_eq!(lang(&["--env", "LANG=C"]), ["LANG=C"]);
}

#[test]
fn signal_reaches_the_program() {
    let stage = stage();
    let _server = stage.joined();
    let pid = stage.home().join("pid");
    // A signal before the client knows that the program runs ends both.
    let start = |script: &str| {
        let mut child = stage
            .command(&["run", HOST, "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0; 6]).unwrap();
        child
    };
    let mut child = start("echo $$ > pid; echo ready; exec sleep 1000");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_for_end("the program", &pid);
    // A program that ignores the signal does not hold up its user.
    let mut child =
        start("trap 'touch caught' INT; echo $$ > pid; echo ready; while :; do sleep 1; done");
    signal(&child, Signal::INT);
    let caught = stage.home().join("caught");
    wait_for("the first signal", || caught.exists());
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_for_end("the program", &pid);
}

/// Processes that left the group, were disowned or were stopped end with the command.
/// Proves `leftover-process` in docs/faults.md.
#[test]
fn lost_client_ends_whole_process_tree() {
    let stage = stage();
    let _server = stage.joined();
    let script = "setsid sh -c 'echo $$ > a; exec sleep 1000' &
                  (sh -c 'echo $$ > b; exec sleep 1000' &)
                  sh -c 'echo $$ > c; kill -STOP $$' &
                  echo $$ > d; trap '' TERM; while :; do sleep 1; done";
    let mut child = stage
        .command(&["run", HOST, "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    let files: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| stage.home().join(name))
        .to_vec();
    wait_for("four processes", || {
        files
            .iter()
            .all(|file| fs::read(file).is_ok_and(|text| text.ends_with(b"\n")))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for file in &files {
        wait_for_end(&format!("{}", file.display()), file);
    }
}

/// Proves `leftover-process` in docs/faults.md.
#[test]
fn timeout_ends_the_whole_tree() {
    let stage = stage();
    let _server = stage.joined();
    let script = "trap '' TERM; (trap '' TERM; echo started; exec sleep 600) & echo $! > pid; wait";
    let run = ["run", "--timeout", "10s", HOST, "--", "sh", "-c", script];
    let outcome = stage.run(&run);
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.status),
        (&b"started\n"[..], Some(124))
    );
    wait_for_end("the program", &stage.home().join("pid"));
}

/// Gives alice these rights and waits until they are in force.
pub(crate) fn set_rights(stage: &Stage, server: &ServerProcess, rights: &str) {
    stage.write_rights(&format!("[users.alice]\n{rights}\n"));
    server.rights_loaded(stage);
}

#[test]
fn lost_right_ends_the_command() {
    let stage = stage();
    let server = stage.joined();
    let script = "echo $$ > pid; exec sleep 1000";
    let child = stage
        .command(&words(&["sh", "-c", script]))
        .spawn()
        .unwrap();
    let pid = stage.home().join("pid");
    wait_for("the program", || {
        fs::read(&pid).is_ok_and(|text| text.ends_with(b"\n"))
    });
    set_rights(&stage, &server, "role = \"owner\"\nfiles = [\"rw:~\"]");
    testkit::Outcome::of(child).fails(255, "ended");
    wait_for_end("the program", &pid);
}

/// Commands are in the log before they run, with the names of variables and not their values.
#[test]
fn commands_are_logged() {
    let stage = stage();
    let _server = stage.joined();
    stage
        .run(&["run", "--env", "TZ=hidden", HOST, "--", "echo", "a b"])
        .ok();
    let shown = || stage.run_at_server(&["audit", "show", "--json"]).ok();
    wait_for("the end", || shown().contains("\"run-end\""));
    let log = shown();
    let events = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events: Vec<_> = events
        .filter(|event| event["event"].as_str().unwrap().starts_with("run-"))
        .collect();
    assert_eq!(events[0]["command"], "echo 'a b'");
    assert_eq!(events[0]["environment"], "TZ");
    assert_eq!(
        (&events[1]["status"], &events[1]["stdout"]),
        (&"0".into(), &4.into())
    );
    assert_eq!(events[0]["job"], events[1]["job"]);
    assert!(!log.contains("hidden"));
    // Messages about streams that come behind the last one would be failures.
    for _ in 0..20 {
        stage
            .run_with_input(&["run", HOST, "--", "head", "-c", "9"], &[b'x'; 100_000])
            .ok();
    }
    let log = shown();
    let failed = log.lines().find(|line| line.contains("\"failed\""));
    assert_eq!(failed, None);
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let stage = stage();
    let _server = stage.joined();
    for words in [
        &["--json", "run", HOST][..],
        &["--json", "run", HOST, "--"],
        &["--json", "run", HOST, "--timeout", "1s", "--", "true"],
        &["--json", "run", "--shell", HOST, "--", "true"],
        &[
            "--json",
            "run",
            "-o",
            "ForwardAgent=yes",
            HOST,
            "--",
            "true",
        ],
        &["--json", "run", "-o", "Ciphers=none", HOST, "--", "true"],
        &["--json", "run", "-A", HOST, "--", "true"],
    ] {
        stage.run(words).fails(2, "usage");
    }
}

#[test]
fn terminal_has_the_size_of_this_one() {
    let stage = stage();
    let _server = stage.joined();
    let without = stage.run(&["run", "--pty", HOST, "--", "stty", "size"]);
    assert_eq!(without.stdout, b"24 80\r\n");
    let mut terminal = testkit::Terminal::start(&stage.command(&[
        "run",
        "--pty",
        HOST,
        "--",
        "sh",
        "-c",
        "stty size; test -t 0 && test -t 1 && read x && echo got $x; exit 4",
    ]));
    terminal.wait_for("24 80");
    terminal.type_line("words");
    terminal.wait_for("got words");
    assert_eq!(terminal.end(), Some(4), "{}", terminal.shown);
}

/// A program that closes its terminal, or ends at once, loses nothing.
/// Proves `lost-output` in docs/faults.md.
#[test]
fn short_output_of_a_terminal_arrives() {
    let stage = stage();
    let _server = stage.joined();
    for _ in 0..20 {
        let outcome = stage.run(&["run", "--pty", HOST, "--", "sh", "-c", "printf bye; exit 4"]);
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.status),
            (&b"bye"[..], Some(4))
        );
    }
    let script = "exec </dev/null >/dev/null 2>&1; sleep 1; exit 5";
    let outcome = stage.run(&["run", "--pty", HOST, "--", "sh", "-c", script]);
    assert_eq!(outcome.status, Some(5));
}
