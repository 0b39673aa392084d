//! One process owns the state folder.
//! Commands on the server's machine reach the server through its control socket. They open the
//! store only if no server runs.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::{Value, json};
use testkit::{OTHER_USER, RawClient, ServerProcess, Shim, Stage, as_user, wait_for};

use crate::stage;

/// The exit status of a command if the server does not answer.
const CONTROL: i32 = 40;

fn socket(stage: &Stage) -> PathBuf {
    stage.path("server/server/control")
}

/// `landline user` on the server's machine, not started.
fn user(stage: &Stage, arguments: &[&str]) -> Command {
    let state = stage.path("server").display().to_string();
    stage.command(&[&["--state", &state, "user"], arguments].concat())
}

fn names(stage: &Stage) -> BTreeSet<String> {
    let list = stage.run_at_server(&["user", "list", "--json"]).ok();
    let rows = list.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["user"].as_str().unwrap().to_owned()
    });
    rows.collect()
}

/// Checks that the store and the audit log are intact.
#[track_caller]
fn check_state(stage: &Stage) {
    let store = Connection::open(stage.path("server/server/accounts.db")).unwrap();
    let verdict: String = store
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    stage.run_at_server(&["audit", "verify"]).ok();
}

#[test]
fn control_socket_is_private_and_removed_at_stop() {
    let stage = stage();
    let mut server = stage.joined();
    let mode = fs::symlink_metadata(socket(&stage)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    server.terminate();
    server.wait();
    assert!(fs::symlink_metadata(socket(&stage)).is_err());
}

#[test]
fn state_folder_may_have_long_path() {
    let stage = stage();
    let long = stage.path(&"x".repeat(200));
    fs::DirBuilder::new().mode(0o700).create(&long).unwrap();
    let mut command = stage.serve_command("127.0.0.1:0");
    command.env("LANDLINE_STATE", &long);
    let server = stage.serve_with(command);
    let run = |arguments: &[&str]| {
        let state = long.display().to_string();
        stage.run(&[&["--state", &state], arguments].concat())
    };
    run(&["user", "add", "bob"]).ok();
    assert!(long.join("server/control").symlink_metadata().is_ok());
    drop(server);
    assert!(run(&["user", "list"]).ok().contains("bob"));
}

#[test]
fn stale_control_socket_is_replaced() {
    let stage = stage();
    let mut server = stage.joined();
    server.kill();
    assert!(
        socket(&stage).symlink_metadata().is_ok(),
        "the killed server left its socket"
    );
    stage.run_at_server(&["user", "add", "bob"]).ok();
    let server = stage.serve(&[]);
    stage.run_at_server(&["user", "add", "carol"]).ok();
    assert!(UnixStream::connect(socket(&stage)).is_ok());
    drop(server);
    assert_eq!(
        names(&stage),
        ["alice", "bob", "carol"].map(str::to_owned).into()
    );
}

/// The audit log and the rights can be read without the server.
#[test]
fn hung_server_is_reported_and_files_are_readable() {
    let stage = stage();
    let server = stage.joined();
    server.stop();
    let start = Instant::now();
    for command in [
        &["--json", "user", "list"][..],
        &["--json", "user", "disable", "alice"],
        &["--json", "secret", "list"],
    ] {
        stage.run_at_server(command).fails(CONTROL, "control");
    }
    assert!(start.elapsed() < Duration::from_secs(60));
    stage.run_at_server(&["audit", "verify"]).ok();
    stage.run_at_server(&["audit", "show"]).ok();
    stage.run_at_server(&["check", "alice", "read", "x"]).ok();
    let mut second = stage.serve_command("127.0.0.1:0");
    let output = second.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(31),
        "another server does not start"
    );
    server.resume();
    stage.run_at_server(&["user", "list"]).ok();
}

/// Another user who has taken the name of the socket learns and changes nothing.
/// Proves `local-peer` in docs/faults.md.
#[test]
fn command_refuses_socket_of_another_user() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let stage = stage();
    drop(stage.joined());
    let path = self::socket(&stage);
    let _ = fs::remove_file(&path);
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    if as_user(OTHER_USER, || listen(&listener, 8).unwrap()).is_none() {
        return;
    }
    stage
        .run_at_server(&["--json", "user", "list"])
        .fails(CONTROL, "control");
}

/// The folder is closed to other users. If its mode is changed, the server still checks who
/// connects.
/// Proves `local-peer` in docs/faults.md.
#[test]
fn control_socket_refuses_other_users() {
    let stage = stage();
    let _server = stage.joined();
    for name in ["", "server", "server/server"] {
        fs::set_permissions(stage.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = socket(&stage);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let heard = |path: &PathBuf| {
        let mut heard = Vec::new();
        let stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let _ = BufReader::new(stream).read_until(b'\n', &mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    };
    let Some(refused) = as_user(OTHER_USER, || heard(&path)) else {
        return;
    };
    assert!(refused.contains(r#""code":"denied""#), "{refused}");
    assert!(!refused.contains("fingerprint"), "{refused}");
    assert!(heard(&path).contains("fingerprint"), "root is accepted");
}

/// A server that runs as this user, with the files that it needs.
fn server_of(user: u32, stage: &Stage) -> ServerProcess {
    for name in ["", "server", "home"] {
        chown(stage.path(name), Some(user), Some(user)).unwrap();
    }
    let mut command = stage.serve_command("127.0.0.1:0");
    command.uid(user).gid(user);
    stage.serve_with(command)
}

/// Files that root writes into the folder of another user would be unreadable for the server.
#[test]
fn root_administers_only_running_server_of_user() {
    if as_user(0, || ()).is_none() {
        return;
    }
    let stage = stage();
    let server = server_of(OTHER_USER, &stage);
    stage.run_at_server(&["user", "add", "bob"]).ok();
    stage.run_at_server(&["secret", "add", "bob"]).ok();
    drop(server);
    let owners = || -> BTreeSet<(String, u32)> {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(stage.path("server/server")).unwrap();
        let owner = |entry: fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().unwrap().uid())
        };
        entries.map(|entry| owner(entry.unwrap())).collect()
    };
    let before = owners();
    for command in [
        &["--json", "user", "list"][..],
        &["--json", "user", "add", "carol"],
    ] {
        stage.run_at_server(command).fails(31, "state");
    }
    assert_eq!(owners(), before, "root created no file");
    assert!(before.iter().all(|(_, owner)| *owner == OTHER_USER));
}

/// The time from the end of the command to the closed connections.
/// The best of five attempts counts, since other tests may keep the machine busy.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn disabled_user_is_disconnected_within_50_ms() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let line = key.public().line();
    let path = stage
        .write("key.pub", line.as_bytes())
        .display()
        .to_string();
    stage
        .run_at_server(&["user", "add", "bob", "--files", "rw:~", "--key", &path])
        .ok();
    let mut times = Vec::new();
    for _ in 0..5 {
        let busy = |service: &str, request: Value, answer: &str| {
            let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
            assert_eq!(client.login("bob", &key, None).unwrap(), "welcome");
            client
                .send_json(&json!({"type": "open", "service": service}))
                .unwrap();
            client.send_json(&request).unwrap();
            assert_eq!(client.header().unwrap().unwrap().kind(), answer);
            client
        };
        let put = json!({"type": "put", "path": "x", "length": 9, "mode": 420, "replace": true});
        let clients = [
            busy("ping", json!({"type": "ping"}), "pong"),
            busy("files", put, "ready"),
        ];
        let closed = clients.map(|mut client| {
            std::thread::spawn(move || {
                let code = client.error_code().unwrap();
                assert_eq!(code.as_deref(), Some("ended"));
                assert!(client.header().unwrap().is_none());
                Instant::now()
            })
        });
        let begun = Instant::now();
        stage.run_at_server(&["user", "disable", "bob"]).ok();
        let took = begun.elapsed();
        let closed = closed.map(|closed| closed.join().unwrap());
        let last = closed.into_iter().max().unwrap();
        eprintln!("command {took:?}, closed {:?}", last - begun);
        times.push(last.saturating_duration_since(begun + took));
        stage.run_at_server(&["user", "enable", "bob"]).ok();
    }
    let best = times.iter().min().unwrap();
    let limit = match testkit::is_soak() {
        true => Duration::from_millis(50),
        false => Duration::from_secs(5),
    };
    assert!(*best <= limit, "{times:?}");
}

/// Proves `late-revocation` in docs/faults.md.
#[test]
fn edited_rights_apply_within_a_second() {
    let stage = stage();
    let server = stage.joined();
    let rights = stage.path("server/server/rights.toml");
    let mut times = Vec::new();
    for count in 0..3 {
        let mut text = fs::read_to_string(&rights).unwrap();
        text.push_str(&format!("\n[users.user{count}]\nchat = true\n"));
        let start = Instant::now();
        if count == 1 {
            stage.write_rights(&text);
        } else {
            fs::write(&rights, text).unwrap();
        }
        server.rights_loaded(&stage);
        times.push(start.elapsed());
    }
    eprintln!("from the edit to the rules in force: {times:?}");
    let limit = testkit::time_limit(Duration::from_secs(1));
    assert!(times.iter().min() < Some(&limit), "{times:?}");
}

/// Starts commands that add users, and returns each with the name of its user.
fn add_users(stage: &Stage, count: usize, prefix: &str) -> Vec<(String, Child)> {
    let start = |number| {
        let name = format!("{prefix}{number}");
        let child = user(stage, &["add", &name]).spawn().unwrap();
        (name, child)
    };
    (0..count).map(start).collect()
}

/// Proves `half-change` in docs/faults.md.
#[test]
fn commands_without_server_take_turns() {
    let stage = stage();
    drop(stage.joined());
    // They take turns, and each waits 30 s: on a busy machine that is enough for fewer.
    let count = if testkit::is_soak() { 50 } else { 16 };
    let commands = add_users(&stage, count, "user");
    let mut expected = BTreeSet::from(["alice".to_owned()]);
    for (name, child) in commands {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        expected.insert(name);
    }
    assert_eq!(names(&stage), expected);
    check_state(&stage);
}

/// A server that is stopped answers the requests that it has received. Commands then find the next
/// server, or none. Only a killed server leaves a command without an answer.
/// Proves `half-change` in docs/faults.md.
#[test]
fn commands_succeed_while_server_restarts() {
    for is_killed in [false, true] {
        let stage = stage();
        drop(stage.joined());
        // Each waits at most 30 s for its turn.
        let count = if testkit::is_soak() { 50 } else { 16 };
        let commands = add_users(&stage, count, "user");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) {
            let mut server = stage.serve(&[]);
            std::thread::sleep(Duration::from_millis(150));
            if is_killed {
                server.kill();
            } else {
                server.terminate();
                assert_eq!(server.wait(), Some(0));
            }
        }
        let mut acknowledged = 0;
        let mut outcomes = Vec::new();
        for (name, child) in commands {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => acknowledged += 1,
                Some(CONTROL) if is_killed => {}
                other => panic!("{name}: {other:?} {said}"),
            }
            outcomes.push((name, output.status.success()));
        }
        eprintln!("killed: {is_killed}; {acknowledged} of {count} were acknowledged");
        let names = names(&stage);
        for (name, is_done) in outcomes {
            assert!(!is_done || names.contains(&name), "{name} is lost");
        }
        check_state(&stage);
    }
}

/// After a kill at any step of a change of rights, the server starts again. No user has more rights
/// than before the change or after it.
/// Proves `half-change` in docs/faults.md.
#[test]
fn server_starts_after_kill_during_rights_change() {
    let stage = stage();
    let Some(shim) = Shim::build(&stage) else {
        return;
    };
    drop(stage.joined());
    let changes: [&[&str]; 2] = [&["add", "bob", "--files", "rw:~/bob"], &["remove", "bob"]];
    for call in ["write", "fsync"] {
        for change in changes {
            let mut kills = 0;
            for nth in 1.. {
                let mut command = stage.serve_command("127.0.0.1:0");
                shim.load_kill(&mut command, call, "/server/server/", nth);
                let server = stage.serve_with(command);
                // `remove` needs the user, `add` needs that there is none.
                let is_there = names(&stage).contains("bob");
                if is_there != (change[0] == "remove") {
                    stage
                        .run_at_server(&[&["user"], changes[usize::from(is_there)]].concat())
                        .ok();
                }
                shim.arm();
                let outcome = stage.run_at_server(&[&["user"], change].concat());
                let has_struck = shim.has_struck();
                drop(server);
                if !has_struck {
                    outcome.ok();
                    break;
                }
                kills += 1;
                let status = outcome.status;
                assert!(
                    status == Some(CONTROL) || status == Some(0),
                    "{call} {nth}: {}",
                    outcome.stderr
                );
                check_after_kill(&stage, &format!("{call} {nth} of {change:?}"));
            }
            assert!(kills >= 3, "{call} of {change:?}: {kills} kills");
        }
    }
}

/// Checks that a user has rights only with an account.
#[track_caller]
fn check_after_kill(stage: &Stage, when: &str) {
    let server = stage.serve(&[]);
    let rights = String::from_utf8(stage.read("server/server/rights.toml")).unwrap();
    let listed = stage.run_at_server(&["user", "list", "--json"]).ok();
    let rows = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_account = rows.into_iter().any(|row| row["user"] == "bob");
    assert!(!rights.contains("bob") || is_account, "{when}: {rights}");
    check_state(stage);
    drop(server);
}

/// An idle server sleeps in the kernel, because every system call costs battery.
/// Checked for 5 s, or for a minute with `LANDLINE_SOAK=1`.
#[test]
fn idle_server_makes_no_system_call() {
    let stage = stage();
    let server = stage.joined();
    stage.run_at_server(&["user", "add", "bob"]).ok();
    stage.run(&["ping", "127.0.0.1"]).ok();
    // Idle threads end after 10 s.
    let threads = format!("/proc/{}/task", server.id());
    let count = || fs::read_dir(&threads).unwrap().count();
    let (mut before, mut since) = (count(), Instant::now());
    wait_for("the end of idle threads", || {
        if count() != before {
            (before, since) = (count(), Instant::now());
        }
        since.elapsed() > Duration::from_secs(12)
    });
    let seconds = if testkit::is_soak() { 60 } else { 5 };
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-p", &server.id().to_string()]);
    let Ok(mut child) = strace
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("SKIPPED: strace is needed");
        return;
    };
    std::thread::sleep(Duration::from_secs(seconds + 1));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let lines: Vec<String> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect();
    let _ = child.wait();
    if lines.iter().any(|line| line.contains("not permitted")) {
        eprintln!("SKIPPED: this process may not trace others");
        return;
    }
    // A call that strace interrupts when it attaches is restarted.
    let times: Vec<f64> = lines
        .iter()
        .filter_map(|line| {
            let line = line.strip_prefix("[pid ").map_or(&line[..], |line| {
                line.split_once("] ").map_or("", |(_, rest)| rest)
            });
            line.split(' ').next()?.parse().ok()
        })
        .collect();
    let begin = times.iter().copied().fold(f64::MAX, f64::min);
    let calls = times.iter().filter(|time| **time > begin + 0.5).count();
    assert_eq!(calls, 0, "{lines:#?}");
    wait_for("the server", || {
        stage.run(&["ping", "127.0.0.1"]).status == Some(0)
    });
}
