//! Faults of other programs that a copy could have at either end.

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use testkit::{Mount, RawClient, Stage};

use crate::{noise, stage};

fn logged_in(stage: &Stage, server: &testkit::ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    let key = crate::login::client_key(stage);
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    client
}

/// Proves `metadata-change` in docs/faults.md.
#[test]
fn source_with_another_name_mode_or_time_is_copied_whole() {
    // More than the connection buffers, so that the server cannot have ended.
    const LENGTH: usize = 64 << 20;
    let stage = stage();
    let server = stage.joined();
    let path = stage.write("home/big", &noise(LENGTH, 3));
    let moved = stage.path("home/moved");
    type Change<'a> = &'a dyn Fn();
    let link = || fs::hard_link(&path, &moved).unwrap();
    let chmod = || fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let touch = || {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    };
    let rename = || fs::rename(&path, &moved).unwrap();
    let changes: [(&str, Change<'_>); 4] = [
        ("link", &link),
        ("chmod", &chmod),
        ("touch", &touch),
        ("rename", &rename),
    ];
    for (name, change) in changes {
        let mut client = logged_in(&stage, &server);
        client
            .send_json(&json!({"type": "get", "path": "big"}))
            .unwrap();
        assert_eq!(client.header().unwrap().unwrap().kind(), "file-info");
        change();
        assert_eq!(client.header().unwrap().unwrap().kind(), "data", "{name}");
        assert_eq!(client.header().unwrap().unwrap().kind(), "finish", "{name}");
    }
}

/// A reader that pauses gets all of the content.
#[test]
fn copy_to_slow_reader_is_whole() {
    let stage = stage();
    let server = stage.joined();
    let content = noise(48 << 20, 4);
    stage.write("home/big", &content);
    let mut child = stage
        .command(&["cp", &server.at("big"), "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut found = Vec::new();
    for _ in 0..3 {
        // The sender gives back its frames meanwhile.
        std::thread::sleep(Duration::from_millis(900));
        let mut piece = vec![0; 5 << 20];
        out.read_exact(&mut piece).unwrap();
        found.extend(piece);
    }
    out.read_to_end(&mut found).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(found == content, "{} bytes", found.len());
}

/// Proves `believed-length` in docs/faults.md.
#[test]
fn made_up_file_is_copied_with_its_content() {
    let stage = stage();
    let server = stage.joined();
    let content = fs::read("/proc/cpuinfo").unwrap_or_default();
    if content.is_empty() {
        eprintln!("SKIPPED: this system has no /proc");
        return;
    }
    stage.run(&["cp", "/proc/cpuinfo", &server.at("copy")]).ok();
    assert!(!stage.read("home/copy").is_empty());
    symlink("/proc/cpuinfo", stage.path("user/cpus")).unwrap();
    stage.run(&["cp", "cpus", &server.at("linked")]).ok();
    assert!(!stage.read("home/linked").is_empty());
    // A made-up file on the server needs a right to it.
    stage.write_rights("[users.alice]\nrole = \"owner\"\nfiles = [\"rw:~\", \"r:/proc\"]\n");
    server.rights_loaded(&stage);
    stage.run(&["cp", &server.at("/proc/cpuinfo"), "back"]).ok();
    assert!(!stage.read("user/back").is_empty());
}

/// The limit of this process on the length of a file.
/// Proves `late-refusal` in docs/faults.md.
#[test]
fn size_limit_of_process_is_found_before_content() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/big", &noise(3 << 20, 5));
    let limited = |arguments: &[&str]| {
        let command = stage.command(arguments);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -f 2048; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        stage.run_command(shell)
    };
    limited(&["--json", "cp", &server.at("big"), "copy"]).fails(24, "no-space");
    assert_eq!(fs::read_dir(stage.path("user")).unwrap().count(), 0);
}

/// What a full disk keeps from being synced may not be reported as stored, but a file system
/// without an operation does not fail the copy.
/// Proves `late-refusal` in docs/faults.md.
#[test]
fn destination_is_checked_before_a_command_is_run() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/conf", b"old");
    stage.write("conf", b"mounted");
    let Some(_mount) = Mount::bind(&stage.path("conf"), &stage.path("home/conf")) else {
        return;
    };
    let to = server.at("conf");
    let command = ["--json", "cp", "--from-command", &to, "--", "touch", "ran"];
    stage.run(&command).fails(27, "io");
    assert!(!stage.path("user/ran").exists());
}

/// `[::]` takes IPv4 too, whatever the system's default is: of the server and of forwarded ports.
/// Proves `system-default` in docs/faults.md.
#[test]
fn all_addresses_include_ipv4() {
    const SCRIPT: &str = r#"
        ip link set lo up && sysctl -qw net.ipv6.bindv6only=1 || exit 77
        "$1" --state "$2/server" serve --home "$2/home" --listen '[::]:5263' --allow-root --json >"$2/out" &
        server=$!
        trap "kill $server" EXIT
        for _ in $(seq 300); do [ -s "$2/out" ] && break; sleep 0.1; done
        "$1" --state "$2/client" join - --as alice <"$2/server/server/invite" || exit 1
        "$1" --state "$2/client" run -N -L '*:5300:127.0.0.1:5263' -R '[::]:5301:127.0.0.1:5263' 127.0.0.1 &
        trap "kill $server $!" EXIT
        for port in 5300 5301; do
            for _ in $(seq 100); do
                "$1" --state "$2/client" ping --accept-new 127.0.0.1:$port && continue 2
                sleep 0.1
            done
            exit 1
        done
    "#;
    let stage = stage();
    let mut inside = Command::new("unshare");
    inside
        .args([
            "-n",
            "sh",
            "-c",
            SCRIPT,
            "sh",
            env!("CARGO_BIN_EXE_landline"),
        ])
        .arg(stage.path(""))
        .env("HOME", stage.path("user"))
        .stdin(Stdio::null());
    match inside.output() {
        Ok(output) if output.status.code() == Some(77) => {
            eprintln!("SKIPPED: a network of its own needs Linux and root");
        }
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            if error.contains("unshare") {
                eprintln!("SKIPPED: {error}");
                return;
            }
            assert!(output.status.success(), "{error}");
        }
        Err(error) => eprintln!("SKIPPED: unshare: {error}"),
    }
}

/// A read-only folder is found before a command is run, and the advice fits the other end.
/// Proves `useless-advice` in docs/faults.md.
#[test]
fn system_error_of_server_has_advice() {
    let stage = stage();
    let place = stage.path("home/fixed");
    fs::create_dir(&place).unwrap();
    let Some(_disk) = Mount::disk(&place, "ro") else {
        return;
    };
    let server = stage.joined();
    stage.write("user/file", b"x");
    let outcome = stage.run(&["cp", "file", &server.at("fixed/")]);
    assert_eq!(outcome.status, Some(23), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 2, "{}", outcome.stderr);
}
