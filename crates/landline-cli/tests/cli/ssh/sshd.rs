//! A real sshd, and the system's ssh with a configuration of the stage's own.

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

/// An sshd that is started for each connection, as inetd does it, so that its port is known and
/// each of its sessions can be ended. All of them end when dropped.
pub(crate) struct Sshd {
    folder: PathBuf,
    sessions: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    /// Starts one that the stage's ssh knows as `name`, where the stage's key lets the user of this
    /// process in. `options` are lines of its configuration. `None`, aloud, where there is
    /// none.
    pub(crate) fn start(stage: &Stage, name: &str, options: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() || !Path::new(SSH).exists() {
            eprintln!("SKIPPED: sshd is needed (openssh-server, openssh-client)");
            return None;
        }
        if landline::paths::is_root() {
            // It wants a folder in which nothing is; the package's own service makes it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        set_up(stage);
        let folder = stage.path("ssh").join(name);
        fs::create_dir(&folder).unwrap();
        let host_key = folder.join("host_key");
        generate(&host_key, "");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        introduce(stage, name, port, &host_key);
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

    /// Ends every session without warning, as a machine does that is switched off.
    pub(crate) fn kill_sessions(&self) {
        for mut session in self.sessions.lock().unwrap().drain(..) {
            // sshd may be several processes.
            let _ = kill_process_group(Pid::from_child(&session), Signal::KILL);
            let _ = session.wait();
        }
    }

    /// How many connections there were.
    pub(crate) fn count(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    /// What it has noted.
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

/// The stage's ssh: a key, who is known, and the system's ssh told to look there alone. OpenSSH
/// finds its configuration by the user's entry in the password file, not by HOME, so it is named in
/// a script in front of it.
fn set_up(stage: &Stage) {
    let folder = stage.path("ssh");
    if folder.exists() {
        return;
    }
    fs::create_dir(&folder).unwrap();
    fs::create_dir(stage.path("bin")).unwrap();
    generate(&folder.join("key"), "");
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

/// Puts a script in the place of the stage's ssh.
pub(crate) fn script(stage: &Stage, body: &str) {
    let path = stage.path("bin/ssh");
    // One that runs cannot be written to.
    let staging = stage.write("bin/ssh.new", format!("#!/bin/sh\n{body}\n").as_bytes());
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(staging, path).unwrap();
}

/// What the script does that is there from the start.
pub(crate) fn plain(stage: &Stage) -> String {
    format!(
        "exec {SSH} -F {} \"$@\"",
        stage.path("ssh/config").display()
    )
}

/// Lets ssh know a host by this name.
fn introduce(stage: &Stage, name: &str, port: u16, host_key: &Path) {
    let config = stage.path("ssh/config");
    let before = fs::read_to_string(&config).unwrap();
    let host = format!("Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {name}\n");
    fs::write(&config, host + &before).unwrap();
    let public = fs::read_to_string(host_key.with_extension("pub")).unwrap();
    let known = stage.path("ssh/known_hosts");
    let before = fs::read_to_string(&known).unwrap();
    fs::write(&known, format!("{before}{name} {public}")).unwrap();
}

/// Makes a key with a passphrase, or an empty one for none.
pub(crate) fn generate(path: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command
        .args([
            "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-C", "stage", "-f",
        ])
        .arg(path);
    assert!(command.status().unwrap().success());
}

/// The client command, with the stage's ssh as the first one there is.
pub(crate) fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = stage.command(arguments);
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", stage.path("bin").display()),
    );
    command
}

/// Runs it to its end.
pub(crate) fn run(stage: &Stage, arguments: &[&str]) -> testkit::Outcome {
    stage.run_command(command(stage, arguments))
}

/// Waits until none of the stage's ssh is left.
#[track_caller]
pub(crate) fn wait_for_no_ssh(stage: &Stage) {
    wait_for("the end of every ssh", || !ssh_runs(stage));
}

/// Whether one of the stage's ssh is left.
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

/// The children of a process that are dead and have not been reaped.
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
