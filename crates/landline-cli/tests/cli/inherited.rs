//! What a process inherits: standard streams, signals, limits, the umask, empty variables.

use std::{
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::Errno,
};
use serde_json::Value;
use testkit::{Fault, Outcome, Shim, Stage, wait_for};

use crate::{noise, stage};

/// The same command, started by a shell after `setup`, with these redirections.
fn by_shell(command: &Command, setup: &str, redirections: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(format!("{setup}\nexec \"$0\" \"$@\" {redirections}"))
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

fn redirected(stage: &Stage, arguments: &[&str], redirections: &str) -> Outcome {
    stage.run_command(by_shell(&stage.command(arguments), "", redirections))
}

/// Proves `standard-streams` in docs/faults.md.
#[test]
fn closed_input_replaces_no_file() {
    let stage = stage();
    let server = stage.joined();
    fs::write(stage.path("home/kept"), "worth keeping").unwrap();
    for redirection in ["<&-", "0>/dev/null"] {
        redirected(
            &stage,
            &["--json", "cp", "-", &server.at("kept")],
            redirection,
        )
        .fails(27, "io");
        assert_eq!(stage.read("home/kept"), b"worth keeping", "{redirection}");
        redirected(&stage, &["--json", "join", "-"], redirection).fails(27, "io");
        let by_descriptor = ["--json", "ping", "127.0.0.1", "--password-fd", "0"];
        redirected(&stage, &by_descriptor, redirection).fails(32, "password");
    }
    for redirection in ["<&-", "0>/dev/null"] {
        let dial = ["--json", "classic", "dial", "echo", &server.address];
        redirected(&stage, &dial, redirection).fails(27, "io");
    }
    // Descriptors that the caller has not passed. The process itself may use their numbers.
    for number in ["3", "4", "9", "63"] {
        let by_descriptor = ["--json", "ping", "127.0.0.1", "--password-fd", number];
        stage.run(&by_descriptor).fails(32, "password");
    }
    stage.run(&["--json", "join", "-"]).fails(2, "usage");
}

/// Proves `standard-streams` in docs/faults.md.
#[test]
fn closed_output_is_a_failure() {
    let stage = stage();
    let server = stage.joined();
    fs::write(stage.path("home/content"), noise(100_000, 1)).unwrap();
    for redirection in [">&-", "1</dev/null"] {
        for arguments in [
            &["--json", "ping", "127.0.0.1"][..],
            &["--json", "hosts"],
            &["--json", "cp", "-q", &server.at("content"), "-"],
            &["--json", "--version"],
            &["--json", "cp", "--help"],
        ] {
            let message = redirected(&stage, arguments, redirection).fails(27, "io");
            assert!(!message.contains("os error"), "{message}");
            redirected(&stage, arguments, ">/dev/full").fails(24, "no-space");
        }
        let many = ["--json", "run", "-H", "127.0.0.1", "--", "echo", "hi"];
        let outcome = redirected(&stage, &many, redirection);
        assert_eq!(outcome.status, Some(255));
        let event: Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(event["host"], "127.0.0.1");
        // Without an error stream the status still tells.
        let outcome = redirected(&stage, &["ping", "127.0.0.1:1"], "2>&-");
        assert_eq!(outcome.status, Some(11));
    }
}

/// Proves `standard-streams` in docs/faults.md.
#[test]
fn non_blocking_streams_are_waited_for() {
    let stage = stage();
    let server = stage.joined();
    let content = noise(1_000_000, 2);
    let pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        (OwnedFd::from(reader), OwnedFd::from(writer))
    };
    let (reader, writer) = pipe();
    let mut command = stage.command(&["cp", "-q", "-", &server.at("content")]);
    let child = command.stdin(reader).spawn().unwrap();
    drop(command);
    // The client has to wait for each part.
    server.event("transfer-start");
    let mut writer = fs::File::from(writer);
    let mut rest = &content[..];
    while !rest.is_empty() {
        match writer.write(&rest[..rest.len().min(10_000)]) {
            Ok(count) => rest = &rest[count..],
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    drop(writer);
    Outcome::of(child).ok();
    assert_eq!(stage.read("home/content"), content);

    let (reader, writer) = pipe();
    let mut command = stage.command(&["cp", "-q", &server.at("content"), "-"]);
    let child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let mut got = Vec::new();
    let mut buffer = [0; 5000];
    loop {
        match rustix::io::read(&reader, &mut buffer) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Outcome::of(child).ok();
    assert_eq!(got, content);
}

/// Proves `inherited-signals` in docs/faults.md.
#[test]
fn ignored_signal_stops_no_copy_and_no_server() {
    let stage = stage();
    let ignoring = |command: &Command| by_shell(command, "trap '' HUP INT", "");
    let server = stage.serve_with(ignoring(&stage.serve_command("127.0.0.1:0")));
    let invite = server.invite();
    stage
        .run_with_input(&["join", "-", "--as", "alice"], invite.as_bytes())
        .ok();
    for signal in ["HUP", "INT"] {
        kill(signal, server.id());
        stage.run(&["ping", "127.0.0.1"]).ok();
        let copy = stage.command(&["cp", "-q", "-", &server.at(signal)]);
        let mut child = ignoring(&copy).stdin(Stdio::piped()).spawn().unwrap();
        server.event("transfer-start");
        // setsid may stand between the shell and the command.
        kill(signal, child.id());
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"all of it").unwrap();
        drop(input);
        Outcome::of(child).ok();
        assert_eq!(stage.read(&format!("home/{signal}")), b"all of it");
    }
    let mut server = server;
    server.terminate();
    assert_eq!(server.wait(), Some(0), "other signals still stop it");
}

/// Proves `inherited-signals` in docs/faults.md.
#[test]
fn blocked_signal_still_stops_server() {
    let stage = stage();
    let command = stage.serve_command("127.0.0.1:0");
    let mut blocking = by_shell(&command, "", "");
    let arguments: Vec<_> = blocking.get_args().map(ToOwned::to_owned).collect();
    let mut with_env = Command::new("env");
    with_env
        .args(["--block-signal=TERM,INT,CHLD", "/bin/sh"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in blocking.get_envs() {
        with_env.env(name, value.unwrap_or_default());
    }
    blocking = with_env;
    let mut server = stage.serve_with(blocking);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
}

fn kill(signal: &str, process: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Proves `inherited-limits` in docs/faults.md.
#[test]
fn file_size_limit_fails_copy_and_not_server() {
    let stage = stage();
    // In blocks of 512 bytes or of 1 KiB, as the shell has it.
    let limit = "ulimit -f 1000";
    let server = stage.serve_with(by_shell(&stage.serve_command("127.0.0.1:0"), limit, ""));
    let invite = server.invite();
    stage
        .run_with_input(&["join", "-", "--as", "alice"], invite.as_bytes())
        .ok();
    stage.write("user/large", &noise(3_000_000, 3));
    stage.write("user/small", b"small");
    let outcome = stage.run(&["cp", "--retry", "0", "large", &server.at("large")]);
    assert!(
        outcome
            .status
            .is_some_and(|status| ![0, 10].contains(&status)),
        "{outcome:?}"
    );
    stage.run(&["cp", "small", &server.at("small")]).ok();
    fs::write(stage.path("home/large"), noise(3_000_000, 4)).unwrap();
    let fetch = stage.command(&["cp", "--retry", "0", &server.at("large"), "fetched"]);
    let outcome = stage.run_command(by_shell(&fetch, limit, ""));
    assert!(
        outcome
            .status
            .is_some_and(|status| ![0, 10].contains(&status)),
        "{outcome:?}"
    );
}

/// Proves `inherited-limits` in docs/faults.md.
#[test]
fn limit_of_open_files_is_named_if_too_low() {
    let stage = stage();
    let _server = stage.joined();
    for (limit, status) in [("ulimit -n 12", Some(1)), ("ulimit -S -n 12", Some(0))] {
        let ping = stage.command(&["--json", "ping", "127.0.0.1"]);
        let outcome = stage.run_command(by_shell(&ping, limit, ""));
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    }
}

/// Proves `inherited-limits` in docs/faults.md.
#[test]
fn umask_cannot_take_own_rights() {
    let stage = stage();
    let server = stage.serve(&[]);
    let join = stage.command(&["join", &server.invite(), "--as", "alice"]);
    stage.run_command(by_shell(&join, "umask 777", "")).ok();
    for (name, mode) in [("client", 0o700), ("client/client", 0o700)] {
        let found = fs::metadata(stage.path(name)).unwrap().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    fs::write(stage.path("home/f"), "x").unwrap();
    let fetch = stage.command(&["cp", &server.at("f"), "f"]);
    stage.run_command(by_shell(&fetch, "umask 777", "")).ok();
    let mode = fs::metadata(stage.path("user/f")).unwrap().mode() & 0o777;
    assert_eq!(mode & 0o077, 0);
    assert_eq!(mode & 0o600, 0o600);
}

/// Proves `empty-variables` in docs/faults.md.
#[test]
fn variable_that_is_set_to_nothing_is_not_set() {
    let stage = stage();
    let server = stage.joined();
    let state = stage.path("client").display().to_string();
    let empty = |command: &mut Command| {
        for name in [
            "LANDLINE_STATE",
            "LANDLINE_CONFIG",
            "LANDLINE_LISTEN",
            "LANDLINE_DRAIN",
            "LANDLINE_HOME",
            "LANDLINE_ALLOW_ROOT",
            "LANDLINE_PUBLIC_NAME",
            "LANDLINE_PASSWORD_FILE",
            "XDG_STATE_HOME",
            "XDG_CONFIG_HOME",
            "SSH_AUTH_SOCK",
            "TERM",
            "LANG",
        ] {
            command.env(name, "");
        }
    };
    let mut ping = stage.command(&["ping", "127.0.0.1", "--state", &state]);
    empty(&mut ping);
    stage.run_command(ping).ok();
    let mut config = stage.command(&["config", "--json"]);
    empty(&mut config);
    let settings: Value = stage.run_command(config).json();
    for (name, setting) in settings.as_object().unwrap() {
        assert_eq!(setting["from"], "default", "{name}");
    }
    // The name of the user comes from the other variable.
    let mut again = stage.command(&["--json", "ping", &server.address]);
    again.env("USER", "").env("LOGNAME", "alice");
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    again.arg("--accept-new");
    assert_eq!(stage.run_command(again).json()["user"], "alice");
}

/// Proves `missing-state` in docs/faults.md.
#[test]
fn state_folder_is_created_only_to_write_there() {
    let stage = stage();
    let server = stage.joined();
    let key = stage.path("client/client/id_ed25519").display().to_string();
    for home in ["/dev/null", "/proc/nothing"] {
        for arguments in [&["hosts"][..], &["config"]] {
            let mut command = stage.command(arguments);
            command.env_remove("LANDLINE_STATE").env("HOME", home);
            stage.run_command(command).ok();
        }
    }
    let mut unknown = stage.command(&["--json", "ping", "-i", &key, &server.address]);
    unknown
        .env_remove("LANDLINE_STATE")
        .env("HOME", "/proc/nothing");
    stage.run_command(unknown).fails(11, "unknown-server");
    let mut listed = stage.command(&["hosts"]);
    listed.env("LANDLINE_STATE", stage.path("fresh"));
    stage.run_command(listed).ok();
    assert!(!stage.path("fresh").exists());
}

/// A state folder without room for a manifest prevents a resume, and not the copy.
/// Proves `missing-state` in docs/faults.md.
#[test]
fn file_is_fetched_without_writable_state_folder() {
    let stage = stage();
    let server = stage.joined();
    fs::write(stage.path("home/content"), noise(100_000, 1)).unwrap();
    let manifests = stage.path("client/client/partials");
    let _ = fs::remove_dir_all(&manifests);
    fs::write(&manifests, "no folder").unwrap();
    stage.run(&["cp", &server.at("content"), "got"]).ok();
    assert_eq!(stage.read("user/got"), stage.read("home/content"));
}

/// An invite is valid once, so a client that cannot remember the server does not redeem it.
/// Proves `after-the-fact` in docs/faults.md.
#[test]
fn invite_is_kept_if_server_cannot_be_remembered() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    let join =
        || stage.run_with_input(&["--json", "join", "-", "--as", "alice"], invite.as_bytes());
    let lock = stage.path("client/client/servers.lock");
    fs::create_dir_all(&lock).unwrap();
    for folder in ["client", "client/client"] {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(stage.path(folder), private).unwrap();
    }
    join().fails(31, "state");
    fs::remove_dir(&lock).unwrap();
    join().ok();
}

/// Proves `after-the-fact` in docs/faults.md.
#[test]
fn changed_file_that_is_not_durable_is_reported_as_changed() {
    let stage = stage();
    let Some(shim) = Shim::build(&stage) else {
        return;
    };
    drop(stage.joined());
    let names = || stage.run(&["--json", "hosts"]).ok();
    let syncs = (1..).find(|nth| {
        let name = format!("n{nth}");
        let mut rename = stage.command(&["--json", "hosts", "rename", "127.0.0.1", &name]);
        let fault = Fault {
            call: "fsync",
            path: "/client/client",
            nth: *nth,
            error: Errno::IO,
        };
        shim.load(&mut rename, &fault);
        let outcome = stage.run_command(rename);
        if !shim.has_struck() {
            return true;
        }
        let message = outcome.fails(31, "state");
        let has_changed = names().contains(&name);
        assert_eq!(message.contains("has changed"), has_changed, "{message}");
        false
    });
    // The file, and the folder.
    assert_eq!(syncs, Some(3));
}

/// Proves `missing-folder` in docs/faults.md.
#[test]
fn deleted_working_folder_is_accepted() {
    let stage = stage();
    let _server = stage.joined();
    let gone = stage.path("gone");
    fs::create_dir(&gone).unwrap();
    let ping = stage.command(&["ping", "127.0.0.1"]);
    let setup = format!("cd {0} && rmdir {0}", gone.display());
    stage.run_command(by_shell(&ping, &setup, "")).ok();
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_closed_to_other_processes_of_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: another user id needs root");
        return;
    }
    // The folder of the binary may be closed to others.
    let program = Path::new("/tmp").join(format!("landline-test-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_landline"), &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["join", "-"])
        .env_clear()
        .env("HOME", "/dev/null")
        .uid(testkit::OTHER_USER)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let memory = format!("/proc/{}/environ", child.id());
    wait_for("memory that belongs to root", || {
        fs::metadata(&memory).is_ok_and(|metadata| metadata.uid() == 0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(program).unwrap();
}
