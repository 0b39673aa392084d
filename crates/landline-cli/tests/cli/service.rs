//! The server under a service manager: passed sockets, notifications and units.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixDatagram, UnixListener},
            process::CommandExt,
        },
    },
    process::{Command, Stdio},
};

use testkit::Stage;

use crate::{run::HOST, stage};

/// The server command as systemd starts it, with this socket.
fn activated(stage: &Stage, listener: &TcpListener) -> Command {
    activated_at(stage, listener, &listener.local_addr().unwrap().to_string())
}

/// The same with `address` as the address to listen at.
fn activated_at(stage: &Stage, listener: &TcpListener, address: &str) -> Command {
    let socket = listener.try_clone().unwrap();
    with_socket(&stage.serve_command(address), "", socket.into())
}

/// A command as systemd starts it: descriptor 3 is the socket, and LISTEN_PID is the process id of
/// the command. Only a shell that becomes the command knows that id in advance. The shell runs
/// `script` before.
fn with_socket(started: &Command, script: &str, socket: OwnedFd) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("{script} LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"");
    command
        .args(["-c", &script])
        .arg(started.get_program())
        .args(started.get_args());
    command.env_clear().envs(
        started
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: only system calls happen between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let mut third = std::os::fd::FromRawFd::from_raw_fd(3);
            // The socket may already be descriptor 3, with its close-on-exec flag set.
            let done = rustix::io::dup2(&socket, &mut third)
                .and_then(|()| rustix::io::fcntl_setfd(&third, rustix::io::FdFlags::empty()));
            std::mem::forget::<std::os::fd::OwnedFd>(third);
            Ok(done?)
        });
    }
    command
}

/// The variables announce sockets that were not passed. The server does not use descriptors that it
/// has opened itself instead.
#[test]
fn missing_passed_socket_is_an_error() {
    let stage = stage();
    let server = stage.serve_command("127.0.0.1:0");
    for count in ["1", "2", "40"] {
        let mut command = Command::new("/bin/sh");
        let script = format!("LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" \"$@\" 3>&-");
        command
            .args(["-c", &script])
            .arg(server.get_program())
            .args(server.get_args());
        command.env_clear().envs(
            server
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        stage.run_command(command).fails(2, "usage");
    }
}

#[test]
fn passed_socket_is_served_and_manager_notified() {
    let stage = stage();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = UnixDatagram::bind(stage.path("notify")).unwrap();
    let hear = || {
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut command = activated(&stage, &listener);
    command.env("NOTIFY_SOCKET", stage.path("notify"));
    let mut server = stage.serve_with(command);
    assert_eq!(server.address, listener.local_addr().unwrap().to_string());
    assert_eq!(hear(), "READY=1");
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    server.terminate();
    // Transfers have 30 s to complete, and the rest of the shutdown takes some more.
    assert_eq!(hear(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000");
    assert_eq!(server.wait(), Some(0));
    // The manager keeps the socket. The next server accepts a client that connects now.
    let early = stage.command(&["ping", "127.0.0.1"]).spawn().unwrap();
    let _server = stage.serve_with(activated(&stage, &listener));
    assert!(early.wait_with_output().unwrap().status.success());
}

/// The process that starts commands is not the server, and commands have what it has. They outlive
/// it.
#[test]
fn launcher_starts_commands() {
    let stage = stage();
    let path = stage.path("launcher");
    let listener = UnixListener::bind(&path).unwrap();
    let binary = env!("CARGO_BIN_EXE_landline");
    let mut started = Command::new(binary);
    started.arg("launcher");
    let start = || {
        let socket = listener.try_clone().unwrap();
        with_socket(&started, "ulimit -n 777;", socket.into())
            .spawn()
            .unwrap()
    };
    let mut launcher = start();
    let mut serve = stage.serve_command("127.0.0.1:0");
    serve.env("LANDLINE_LAUNCHER", &path);
    let server = stage.serve_with(serve);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    let run = |script| stage.run(&["--json", "run", HOST, "--", "sh", "-c", script]);
    assert_eq!(run("ulimit -n").ok(), "777\n");
    let script = "echo ready; while ! [ -e go ]; do sleep 0.05; done; exit 5";
    let mut job = stage
        .command(&["run", HOST, "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    let mut first = [0; 6];
    job.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    stage.write("home/go", b"");
    assert_eq!(job.wait().unwrap().code(), Some(5));
    let mut launcher = start();
    run("true").ok();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    fs::remove_file(&path).unwrap();
    // There may be one in reserve.
    run("true");
    run("true").fails(255, "io");
    assert_eq!(started.output().unwrap().status.code(), Some(2));
}

#[test]
fn socket_at_wrong_address_is_refused() {
    let stage = stage();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = UnixDatagram::bind(stage.path("notify")).unwrap();
    for elsewhere in ["127.0.0.1:1", "[::]:0", "0.0.0.0:0", "192.0.2.1"] {
        let mut command = activated_at(&stage, &listener, elsewhere);
        command.env("NOTIFY_SOCKET", stage.path("notify"));
        let message = stage.run_command(command).fails(2, "settings");
        let mut bytes = [0; 1024];
        let length = manager.recv(&mut bytes).unwrap();
        let heard = String::from_utf8(bytes[..length].to_vec()).unwrap();
        assert!(heard.starts_with(&format!("STATUS={message}")), "{heard}");
    }
    // Port 0 matches any port.
    let _server = stage.serve_with(activated_at(&stage, &listener, "127.0.0.1:0"));
}

#[test]
fn units_are_valid() {
    let stage = stage();
    for arguments in [&["--user"][..], &["--run-as", "daemon"]] {
        let said = stage
            .run(
                &[
                    &["service", "install", "--print", "--port", "6000"],
                    arguments,
                ]
                .concat(),
            )
            .ok();
        let units = [
            "landline.service",
            "landline.socket",
            "landline-launcher.service",
            "landline-launcher.socket",
        ];
        let mut texts = Vec::new();
        let mut rest = said.as_str();
        for unit in units.iter().rev() {
            let (before, text) = rest.split_once(&format!("# {unit}\n")).unwrap();
            stage.write(unit, text.as_bytes());
            texts.push(text);
            rest = before;
        }
        let [launcher_socket, launcher, socket, service] = texts[..] else {
            panic!("{said}")
        };
        for setting in [
            "NoNewPrivileges=yes",
            "MemoryMax=1G",
            "TasksMax=4500",
            "LimitCORE=0",
            "UMask=0027",
        ] {
            assert!(service.lines().any(|line| line == setting), "{said}");
        }
        assert!(socket.contains("ListenStream=6000"), "{said}");
        assert!(launcher_socket.contains("SocketMode=0600\n"), "{said}");
        for setting in [
            "KillMode=process",
            "OOMPolicy=continue",
            "TasksMax=infinity",
            "Delegate=yes",
        ] {
            assert!(launcher.lines().any(|line| line == setting), "{said}");
        }
        assert!(!launcher.contains("NoNewPrivileges"), "{said}");
        let scope = if arguments == ["--user"] {
            "--user"
        } else {
            "--system"
        };
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", scope, "--man=no"])
            .args(units.map(|unit| stage.path(unit)));
        verify.env("XDG_RUNTIME_DIR", stage.path(""));
        let Ok(output) = verify.output() else {
            eprintln!("SKIPPED: systemd-analyze is needed (systemd)");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.contains("landline"))
            .collect();
        assert!(
            output.status.success() && ours.is_empty(),
            "{scope}: {said}"
        );
    }
    stage
        .run(&["--json", "service", "install", "--print"])
        .fails(2, "usage");
    stage
        .run(&[
            "--json", "service", "install", "--print", "--run-as", "a\nb",
        ])
        .fails(2, "usage");
}

#[test]
fn install_without_systemd_writes_nothing() {
    let stage = stage();
    let mut command = stage.command(&["--json", "service", "install", "--user"]);
    command.env("PATH", stage.path("user"));
    stage.run_command(command).fails(1, "no-systemd");
    assert_eq!(fs::read_dir(stage.path("user")).unwrap().count(), 0);
}

#[test]
fn list_without_server_creates_no_state() {
    let stage = stage();
    for arguments in [
        &["--json", "user", "list"][..],
        &["--json", "secret", "list"],
    ] {
        let mut command = stage.command(arguments);
        command.env("LANDLINE_STATE", stage.path("nothing"));
        stage.run_command(command).fails(31, "no-server");
    }
    assert!(!stage.path("nothing").exists());
}
