//! `landline bootstrap` to another account behind a real sshd.
//! If the tests run as root, the account is an unprivileged user whose home is on the stage. It has
//! no systemd; the tests in `service_live` have one.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use testkit::{Census, Outcome, Stage, Terminal, wait_for};

use super::{
    listed, route,
    sshd::{Sshd, command, own_name, run, script, ssh_runs, wrapper_script},
};
use crate::stage;

const FAR_USER: u32 = 65534;

/// The remote machine: an account with the empty home `far` on the stage. Its server is killed when
/// dropped.
struct Far {
    stage: Stage,
    sshd: Sshd,
    port: u16,
}

impl Far {
    fn new() -> Option<Self> {
        let stage = stage();
        let login = stage.path("login").display().to_string();
        let sshd = Sshd::start(&stage, "far", &format!("ForceCommand {login}"))?;
        let (home, programs) = (stage.path("far"), stage.path("far-bin"));
        for folder in [&home, &programs] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let other_user = if landline::paths::is_root() {
            // The account needs to reach its home.
            fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o711)).unwrap();
            chown(&home, Some(FAR_USER), Some(FAR_USER)).unwrap();
            format!("setpriv --reuid={FAR_USER} --regid={FAR_USER} --clear-groups ")
        } else {
            String::new()
        };
        let far = Self {
            stage,
            sshd,
            port: free_port(),
        };
        far.program("systemctl", "exit 1");
        far.login(&format!(
            "{other_user}env -i HOME={} PATH={}:/usr/bin:/bin sh -c",
            home.display(),
            programs.display()
        ));
        far.settings(&format!("listen = \"127.0.0.1:{}\"\n", far.port));
        Some(far)
    }

    /// Sets the shell that sshd starts for a login. It prints a greeting first, as many logins do.
    fn login(&self, shell: &str) {
        let body = format!(
            "#!/bin/sh\necho Welcome to far\nlandline=1\nexec {shell} \"$SSH_ORIGINAL_COMMAND\"\n"
        );
        let path = self.stage.write("login", body.as_bytes());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Adds a program that only the remote machine has.
    fn program(&self, name: &str, body: &str) {
        let path = self.stage.write(
            &format!("far-bin/{name}"),
            format!("#!/bin/sh\n{body}\n").as_bytes(),
        );
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn settings(&self, text: &str) {
        fs::create_dir_all(self.home(".config/landline")).unwrap();
        fs::write(self.home(".config/landline/server.toml"), text).unwrap();
        if landline::paths::is_root() {
            for path in [
                ".config",
                ".config/landline",
                ".config/landline/server.toml",
            ] {
                chown(self.home(path), Some(FAR_USER), Some(FAR_USER)).unwrap();
            }
        }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.stage.path("far").join(path)
    }

    fn bootstrap(&self, more: &[&str]) -> Outcome {
        run(&self.stage, &[&["bootstrap", "far"], more].concat())
    }

    /// The process id of the server that bootstrap has started in the background.
    fn server(&self) -> Option<u32> {
        self.noted(".local/state/landline/serve.pid")
    }

    fn noted(&self, file: &str) -> Option<u32> {
        fs::read_to_string(self.home(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The staging files beside the program.
    fn staging(&self) -> Vec<String> {
        let mut paths = Census::of(&self.home(".local/bin")).paths();
        paths.retain(|path| path.contains("bootstrap"));
        paths
    }

    fn kill_server(&self) {
        for id in [self.server(), self.noted("running")].into_iter().flatten() {
            let _ = Command::new("kill").arg("-9").arg(id.to_string()).status();
            wait_for("its end", || {
                !PathBuf::from(format!("/proc/{id}/cwd")).exists()
            });
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.kill_server();
    }
}

/// A process of the account in its own group, which is not a server. It is killed when dropped.
struct Sleeping(Child);

impl Sleeping {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        command
            .arg("1000")
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if landline::paths::is_root() {
            command.uid(FAR_USER);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a bootstrap with `--json` prints: what it set up, and what it joined.
#[track_caller]
fn results(outcome: Outcome) -> [Value; 2] {
    let lines: Vec<Value> = outcome
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.try_into().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A machine with sshd only. After the bootstrap files can be copied there. A second bootstrap
/// changes nothing.
#[test]
fn machine_with_only_sshd_is_joined() {
    let Some(far) = Far::new() else { return };
    let outcome = far.bootstrap(&["--json", "--as", "alice", "--name", "box"]);
    let said = outcome.stderr.clone();
    let [set_up, joined] = results(outcome);
    assert_eq!(
        set_up,
        json!({"copied": true, "server": "detached", "new_account": false})
    );
    assert_eq!(joined["name"], "box");
    assert_eq!(joined["address"], format!("far:{}", far.port));
    assert_eq!(
        (&joined["via"], &joined["user"]),
        (&json!("far"), &json!("alice"))
    );
    assert!(
        !said.contains("landline://"),
        "the invite was printed: {said}"
    );
    assert_eq!(far.sshd.count(), 4, "look, copy, start, join");
    assert_eq!(far.staging(), Vec::<String>::new());
    far.stage.write("user/f", b"content");
    run(&far.stage, &["cp", "f", "box:f"]).ok();
    assert_eq!(fs::read(far.home("f")).unwrap(), b"content");
    assert_eq!(listed(&far.stage)[0]["via"], "far");

    let (server, before) = (far.server().unwrap(), far.sshd.count());
    let [set_up, _] = results(far.bootstrap(&["--json", "--as", "alice"]));
    assert_eq!(
        set_up,
        json!({"copied": false, "server": "running", "new_account": false})
    );
    assert_eq!(far.sshd.count(), before + 3, "look, start, join");
    assert_eq!(far.server(), Some(server), "the server was restarted");
    assert_eq!(listed(&far.stage).len(), 1);
    run(&far.stage, &["ping", "far"]).ok();
    // Another user gets a new account without rights.
    let state = far.stage.path("user/other").display().to_string();
    let outcome = far.bootstrap(&["--json", "--as", "bob", "--state", &state]);
    let [set_up, _] = results(outcome);
    assert_eq!(set_up["new_account"], true);
    run(
        &far.stage,
        &["--json", "--state", &state, "cp", "f", "far:g"],
    )
    .fails(23, "denied");
    assert!(!ssh_runs(&far.stage));
}

/// A server that can be reached directly is joined directly, by its name in ssh_config.
#[test]
fn reachable_server_is_joined_directly() {
    let Some(far) = Far::new() else { return };
    fs::create_dir(far.stage.path("user/.ssh")).unwrap();
    far.stage
        .write("user/.ssh/config", b"Host far\n  HostName 127.0.0.1\n");
    let [_, joined] = results(far.bootstrap(&["--json", "--as", "alice"]));
    assert_eq!(joined["address"], format!("127.0.0.1:{}", far.port));
    assert_eq!(joined["via"], Value::Null);
    assert_eq!(far.sshd.count(), 3, "look, copy, start");
    assert_eq!(
        route(&far.stage, &["far"])["address"],
        format!("127.0.0.1:{}", far.port)
    );
    // A reinstalled server is not trusted as the earlier one.
    far.kill_server();
    fs::remove_dir_all(far.home(".local/state")).unwrap();
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(11, "server-changed");
    far.bootstrap(&["--as", "alice", "--replace"]).ok();
    run(&far.stage, &["ping", "far"]).ok();
}

/// A different program replaces the installed one, and its server is restarted.
#[test]
fn different_program_is_replaced() {
    let Some(far) = Far::new() else { return };
    far.bootstrap(&["--as", "alice"]).ok();
    let server = far.server().unwrap();
    // The same program with bytes appended is different and still runs.
    let mut program = fs::read(env!("CARGO_BIN_EXE_landline")).unwrap();
    program.extend(b"another build");
    let other = far.stage.write("other", &program);
    let again = [
        "--json",
        "--as",
        "alice",
        "--binary",
        other.to_str().unwrap(),
    ];
    let [set_up, _] = results(far.bootstrap(&again));
    assert_eq!(set_up["copied"], true);
    assert!(
        fs::read(far.home(".local/bin/landline")).unwrap() == program,
        "the other program was installed"
    );
    assert_ne!(far.server(), Some(server));
    assert!(
        !PathBuf::from(format!("/proc/{server}/cwd")).exists(),
        "the earlier server still runs"
    );
    run(&far.stage, &["ping", "far"]).ok();
    // The program was installed, but its server was not started.
    let server = far.server().unwrap();
    let place = far.home(".local/bin/landline");
    fs::remove_file(&place).unwrap();
    fs::write(&place, &program).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let [set_up, _] = results(far.bootstrap(&again));
    assert_eq!(set_up["copied"], false);
    assert_ne!(far.server(), Some(server), "the server was not restarted");
    // A server that was killed is started again.
    far.kill_server();
    run(&far.stage, &["--json", "ping", "far"]).fails(10, "ssh");
    far.bootstrap(&["--as", "alice", "--binary", other.to_str().unwrap()])
        .ok();
    run(&far.stage, &["ping", "far"]).ok();
}

/// `serve.pid` may contain anything. Unless it is the process id of a server, bootstrap ends no
/// process for it.
#[test]
fn invalid_pid_file_is_ignored() {
    let Some(far) = Far::new() else { return };
    far.bootstrap(&["--as", "alice"]).ok();
    let mut sleeping = Sleeping::start();
    let id = sleeping.0.id();
    // The group of a process, and processes that are not servers.
    for note in [
        format!("-{id}"),
        format!("0{id}"),
        id.to_string(),
        format!("{id}\n{id}"),
        "x".into(),
        String::new(),
    ] {
        far.kill_server();
        fs::write(far.home(".local/state/landline/serve.pid"), &note).unwrap();
        far.bootstrap(&["--as", "alice"]).ok();
        assert!(
            far.server().is_some_and(|server| server != id),
            "{note:?}: the server was not started"
        );
        run(&far.stage, &["ping", "far"]).ok();
    }
    assert!(
        sleeping.0.try_wait().unwrap().is_none(),
        "the other process was ended"
    );
}

#[test]
fn unusable_program_is_not_left_behind() {
    let Some(far) = Far::new() else { return };
    far.program("uname", "[ \"$1\" = -s ] && echo Plan9 || echo mips");
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(14, "platform");
    assert!(
        !far.home(".local").exists(),
        "the bootstrap installed something"
    );
    // With `--binary` the user vouches for the platform, so bootstrap tries the program.
    let file = far.stage.write("foreign", b"\x7fELF rubbish");
    far.bootstrap(&[
        "--json",
        "--as",
        "alice",
        "--binary",
        file.to_str().unwrap(),
    ])
    .fails(14, "platform");
    assert_eq!(
        Census::of(&far.home(".local/bin")).paths(),
        Vec::<String>::new()
    );
    // A shell would execute this file itself.
    let script = far.stage.write("script", b"#!/bin/sh\ntouch ran");
    far.bootstrap(&[
        "--json",
        "--as",
        "alice",
        "--binary",
        script.to_str().unwrap(),
    ])
    .fails(2, "usage");
    assert!(!far.home("ran").exists());
    far.bootstrap(&["--json", "--as", "alice", "--binary", "absent"])
        .fails(20, "not-found");
    far.bootstrap(&["--as", "alice", "--binary", env!("CARGO_BIN_EXE_landline")])
        .ok();
}

#[test]
fn interrupted_bootstrap_leaves_nothing() {
    let Some(far) = Far::new() else { return };
    // Only some of the bytes arrive. The remote side notices what is missing.
    let cut = wrapper_script(&far.stage).replace("exec ", "head -c 5000000 | ");
    script(&far.stage, &cut);
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(25, "digest-mismatch");
    assert_eq!(far.staging(), Vec::<String>::new());
    assert!(!far.home(".local/bin/landline").exists());
    // The connection stalls in the second step. Then either end closes it.
    let hold = wrapper_script(&far.stage).replace(
        "exec ",
        "{ head -c 5000000; sleep 1000 & echo $! >sleeping; wait; } | ",
    );
    let hold = format!(
        "if ! [ -f second ]; then\n>second\n{}\nfi\nrm second\n{hold}",
        wrapper_script(&far.stage)
    );
    for at_sshd in [true, false] {
        script(&far.stage, &hold);
        let mut child = command(&far.stage, &["bootstrap", "far", "--as", "alice"])
            .spawn()
            .unwrap();
        let sleeping = || fs::read_to_string(far.stage.path("user/sleeping")).unwrap_or_default();
        wait_for("the middle of the copy", || sleeping().ends_with('\n'));
        wait_for("the staging file", || {
            far.home(".local/bin").is_dir() && far.staging().len() == 1
        });
        if at_sshd {
            far.sshd.kill_sessions();
        } else {
            child.kill().unwrap();
        }
        Command::new("kill")
            .arg(sleeping().trim())
            .status()
            .unwrap();
        fs::remove_file(far.stage.path("user/sleeping")).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        if at_sshd {
            assert_eq!(output.status.code(), Some(10), "{output:?}");
        }
        wait_for("no staging file", || far.staging().is_empty());
    }
    script(&far.stage, &wrapper_script(&far.stage));
    far.bootstrap(&["--as", "alice"]).ok();
}

/// Both find no server and start one. The process id of the one that serves is kept.
/// Proves `create-race` in docs/faults.md.
#[test]
fn two_bootstraps_at_once_start_one_server() {
    let Some(far) = Far::new() else { return };
    far.bootstrap(&["--as", "alice"]).ok();
    far.kill_server();
    // Both start their servers at the same time: each waits for the other one.
    far.program(
        "setsid",
        "echo x >>~/starts\nwhile [ \"$(wc -l <~/starts)\" -lt 2 ]; do sleep 0.01; done\nexec /usr/bin/setsid \"$@\"",
    );
    let start = || {
        let mut bootstrap = command(&far.stage, &["bootstrap", "far", "--as", "alice"]);
        bootstrap.stdout(Stdio::null()).stderr(Stdio::null());
        bootstrap.spawn().unwrap()
    };
    for mut bootstrap in [start(), start()] {
        bootstrap.wait().unwrap();
    }
    let server = far.server().expect("the process id of a server");
    assert!(PathBuf::from(format!("/proc/{server}/cwd")).exists());
    far.bootstrap(&["--as", "alice"]).ok();
    assert_eq!(far.server(), Some(server), "it is found and stays");
    let state = Census::of(&far.home(".local/state/landline")).paths();
    let left: Vec<_> = state
        .iter()
        .filter(|path| path.contains("serve.pid.") || path.contains("serve.start"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Proves `option-injection` in docs/faults.md.
#[test]
fn obstacles_are_reported() {
    let Some(far) = Far::new() else { return };
    let home = far.home("");
    // The settings of the server are broken.
    far.settings("lisen = 1\n");
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(2, "settings");
    // Another program has the port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    far.settings(&format!("listen = \"{}\"\n", taken.local_addr().unwrap()));
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(30, "listen");
    let advised = far.bootstrap(&["--as", "alice"]).stderr;
    assert!(advised.contains("--port"), "{advised}");
    assert_eq!(far.server(), None, "serve.pid names a server");
    // A server that was started in another way.
    far.settings(&format!("listen = \"127.0.0.1:{}\"\n", far.port));
    far.bootstrap(&["--as", "alice"]).ok();
    let id = far.server().unwrap();
    let pid_file = far.home(".local/state/landline/serve.pid");
    fs::remove_file(&pid_file).unwrap();
    let [set_up, _] = results(far.bootstrap(&["--json", "--as", "alice"]));
    assert_eq!(set_up["server"], "other");
    fs::write(&pid_file, id.to_string()).unwrap();
    // A folder in place of the program, a missing home, no shell, no ssh.
    fs::remove_file(home.join(".local/bin/landline")).unwrap();
    fs::create_dir(home.join(".local/bin/landline")).unwrap();
    far.bootstrap(&["--json", "--as", "alice"]).fails(27, "io");
    far.login("env HOME=/absent sh -c");
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(20, "not-found");
    far.login("false");
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(14, "no-shell");
    let mut command = command(&far.stage, &["--json", "bootstrap", "far", "--as", "alice"]);
    command.env("PATH", far.stage.path("ssh"));
    far.stage.run_command(command).fails(10, "ssh");
    run(
        &far.stage,
        &["--json", "bootstrap", "nowhere.invalid", "--as", "alice"],
    )
    .fails(10, "ssh");
    run(
        &far.stage,
        &["--json", "bootstrap", "none", "--as", "alice"],
    )
    .fails(2, "usage");
    run(
        &far.stage,
        &[
            "--json",
            "bootstrap",
            "--as",
            "alice",
            "--",
            "-oProxyCommand=x",
        ],
    )
    .fails(2, "usage");
    far.bootstrap(&["--json", "--as", "alice", "--run-as", "bob"])
        .fails(14, "no-shell");
}

/// A word that is typed on the client stays one word for the remote shell.
/// Proves `shell-quoting` in docs/faults.md.
#[test]
fn root_is_refused_and_run_as_needs_systemd() {
    let Some(far) = Far::new() else { return };
    let is = |id: &str| {
        far.program(
            "id",
            &format!("[ \"$*\" = -u ] && echo {id} && exit\nexec /usr/bin/id \"$@\""),
        )
    };
    is("0");
    far.bootstrap(&["--json", "--as", "alice"])
        .fails(2, "usage");
    let (name, trace) = (own_name(), far.home("trace"));
    far.bootstrap(&["--json", "--as", "alice", "--run-as", &name])
        .fails(2, "usage");
    for odd in [
        format!("x; touch {}", trace.display()),
        format!("'$(touch {})", trace.display()),
        "-x".into(),
    ] {
        far.bootstrap(&["--json", "--as", "alice", &format!("--run-as={odd}")])
            .fails(2, "unknown-user");
    }
    assert!(!trace.exists());
    is("1000");
    far.bootstrap(&["--json", "--as", "alice", "--run-as", &name])
        .fails(2, "usage");
    assert!(!far.home(".local").exists());
}

/// The questions of ssh appear at the terminal.
#[test]
fn ssh_prompts_reach_the_terminal() {
    let Some(far) = Far::new() else { return };
    fs::write(far.stage.path("ssh/known_hosts"), "").unwrap();
    let ask = wrapper_script(&far.stage).replace("\"$@\"", "-o StrictHostKeyChecking=ask \"$@\"");
    script(&far.stage, &ask);
    let mut terminal = Terminal::start(&command(
        &far.stage,
        &["--json", "bootstrap", "far", "--as", &own_name()],
    ));
    terminal.wait_for("Are you sure you want to continue connecting");
    terminal.type_line("yes");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    let joined = format!(r#""address":"far:{}""#, far.port);
    assert!(terminal.shown.contains(&joined), "{}", terminal.shown);
}
