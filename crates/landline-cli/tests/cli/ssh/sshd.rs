//! A real sshd, and the system's ssh with a configuration on the stage.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process_group};
use testkit::{Stage, wait_for};

const SSHD: &str = "/usr/sbin/sshd";
const SSH: &str = "/usr/bin/ssh";

/// An sshd that is started for each connection, as inetd does it. So its port is known, and its
/// sessions can be killed. All of them are killed when dropped.
pub(crate) struct Sshd {
    folder: PathBuf,
    sessions: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    /// Starts an sshd that the stage's ssh knows as `name`. The stage's key logs in as the user of
    /// this process.
    ///
    /// `options` are lines of its configuration. Prints SKIPPED and returns `None` if sshd is not
    /// installed.
    pub(crate) fn start(stage: &Stage, name: &str, options: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() || !Path::new(SSH).exists() {
            eprintln!("SKIPPED: sshd is needed (openssh-server, openssh-client)");
            return None;
        }
        if landline::paths::is_root() {
            // sshd needs an empty folder, which its package creates at boot.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        set_up(stage);
        let folder = stage.path("ssh").join(name);
        fs::create_dir(&folder).unwrap();
        let host_key = folder.join("host_key");
        generate_key(&host_key, "");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        add_host(stage, name, port, &host_key);
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\n{options}\n",
            host_key.display(),
            stage.path("ssh/key.pub").display()
        );
        fs::write(folder.join("config"), config).unwrap();
        let sshd = Self {
            folder,
            sessions: Arc::default(),
        };
        let (folder, sessions) = (sshd.folder.clone(), sshd.sessions.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                sessions.lock().unwrap().push(session(&folder, connection));
            }
        });
        Some(sshd)
    }

    /// Kills every session, as if the machine lost power.
    pub(crate) fn kill_sessions(&self) {
        for mut session in self.sessions.lock().unwrap().drain(..) {
            // A session may be several processes.
            let _ = kill_process_group(Pid::from_child(&session), Signal::KILL);
            let _ = session.wait();
        }
    }

    /// The number of connections so far.
    pub(crate) fn count(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    /// The log of sshd.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill_sessions();
    }
}

fn session(folder: &Path, connection: TcpStream) -> Child {
    let other = connection.try_clone().unwrap();
    let mut command = Command::new(SSHD);
    command
        .arg("-i")
        .arg("-f")
        .arg(folder.join("config"))
        .arg("-E")
        .arg(folder.join("log"))
        .env_clear();
    command
        .stdin(OwnedFd::from(connection))
        .stdout(OwnedFd::from(other))
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().unwrap()
}

/// Writes the key, the known hosts and a wrapper for the system's ssh.
///
/// OpenSSH finds its configuration through the password file, not through HOME, so the wrapper
/// names the configuration.
fn set_up(stage: &Stage) {
    let folder = stage.path("ssh");
    if folder.exists() {
        return;
    }
    fs::create_dir(&folder).unwrap();
    fs::create_dir(stage.path("bin")).unwrap();
    generate_key(&folder.join("key"), "");
    fs::write(folder.join("known_hosts"), "").unwrap();
    let rest = format!(
        "User {}\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityFile {}\nIdentitiesOnly yes\n\
         IdentityAgent none\nStrictHostKeyChecking yes\nNumberOfPasswordPrompts 1\n",
        own_name(),
        folder.join("known_hosts").display(),
        folder.join("key").display(),
    );
    fs::write(folder.join("rest"), rest).unwrap();
    fs::write(
        folder.join("config"),
        format!("Host *\n  Include {}\n", folder.join("rest").display()),
    )
    .unwrap();
    script(
        stage,
        &format!("exec {SSH} -F {} \"$@\"", folder.join("config").display()),
    );
}

/// Replaces the wrapper of the stage's ssh.
pub(crate) fn script(stage: &Stage, body: &str) {
    let path = stage.path("bin/ssh");
    // A program that runs cannot be overwritten.
    let staging = stage.write("bin/ssh.new", format!("#!/bin/sh\n{body}\n").as_bytes());
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(staging, path).unwrap();
}

/// The body of the original wrapper.
pub(crate) fn wrapper_script(stage: &Stage) -> String {
    format!(
        "exec {SSH} -F {} \"$@\"",
        stage.path("ssh/config").display()
    )
}

/// Adds a host of this name to ssh's configuration and known hosts.
fn add_host(stage: &Stage, name: &str, port: u16, host_key: &Path) {
    let config = stage.path("ssh/config");
    let before = fs::read_to_string(&config).unwrap();
    let host = format!("Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {name}\n");
    fs::write(&config, host + &before).unwrap();
    let public = fs::read_to_string(host_key.with_extension("pub")).unwrap();
    let known = stage.path("ssh/known_hosts");
    let before = fs::read_to_string(&known).unwrap();
    fs::write(&known, format!("{before}{name} {public}")).unwrap();
}

/// Generates a key with this passphrase. An empty one means none.
pub(crate) fn generate_key(path: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command
        .args([
            "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-C", "stage", "-f",
        ])
        .arg(path);
    assert!(command.status().unwrap().success());
}

/// The client command with the stage's ssh first in PATH.
pub(crate) fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = stage.command(arguments);
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", stage.path("bin").display()),
    );
    command
}

/// Runs the client command to its end.
pub(crate) fn run(stage: &Stage, arguments: &[&str]) -> testkit::Outcome {
    stage.run_command(command(stage, arguments))
}

/// Waits until no ssh of the stage runs.
#[track_caller]
pub(crate) fn wait_for_no_ssh(stage: &Stage) {
    wait_for("every ssh to end", || !ssh_runs(stage));
}

/// Whether an ssh of the stage runs.
pub(crate) fn ssh_runs(stage: &Stage) -> bool {
    let config = stage.path("ssh/config").display().to_string();
    let line = |process: fs::DirEntry| {
        fs::read_to_string(process.path().join("cmdline")).unwrap_or_default()
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|process| line(process).contains(&config))
}

/// The children of a process that have ended and are not reaped.
pub(crate) fn zombies(parent: u32) -> usize {
    let is_one = |process: fs::DirEntry| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| is_one(process).then_some(()))
        .count()
}

/// The name of the user of this process.
pub(crate) fn own_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
