//! The command under test, with folders of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use landline::audit::LineHash;
use rustix::process::Pid;
use serde_json::Value;

/// The longest wait for something that must happen. It only ends a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Part of util-linux. It replaces itself by the command, so its process id is the command's.
pub(crate) const SETSID: &str = "/usr/bin/setsid";

/// A temporary folder with a server's state and home, a client's state, and the command under test.
///
/// Removed when dropped.
pub struct Stage {
    folder: PathBuf,
    binary: PathBuf,
}

/// The outcome of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; `None` for a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Outcome {
    /// Waits for the end of a command with piped output.
    pub fn of(child: Child) -> Self {
        outcome(child)
    }

    /// Asserts success and returns standard output as text.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "stderr: {}", self.stderr);
        String::from_utf8(self.stdout).expect("text")
    }

    /// Asserts that a command with `--json` succeeded, and returns its one result.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("one JSON object")
    }

    /// Asserts that a command with `--json` failed with this exit status and code.
    ///
    /// Returns the message for people.
    #[track_caller]
    pub fn fails(self, status: i32, code: &str) -> String {
        let last = self.stderr.lines().last().unwrap_or_default();
        let failure: Value = serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("no failure ({error}): {}", self.stderr));
        assert_eq!(
            (
                failure["code"].as_str(),
                failure["status"].as_i64(),
                self.status
            ),
            (Some(code), Some(status.into()), Some(status)),
            "{failure}"
        );
        failure["message"].as_str().expect("a text").to_owned()
    }
}

impl Stage {
    /// The processes of this stage: those that have its folder in their environment.
    pub fn processes(&self) -> Vec<Pid> {
        // With a slash, so that no folder with a longer name is meant.
        let folder = [self.folder.as_os_str().as_bytes(), b"/"].concat();
        let has_folder = |pid: &Pid| {
            let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
            let environment = environment.unwrap_or_default();
            environment
                .windows(folder.len())
                .any(|window| window == folder.as_slice())
        };
        let entries = fs::read_dir("/proc").into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter(|pid| *pid != rustix::process::getpid())
            .filter(has_folder)
            .collect()
    }

    /// A fresh stage for the command at `binary`.
    pub fn new(binary: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let make = |folder: &Path| fs::DirBuilder::new().mode(0o700).create(folder);
        let folder = loop {
            let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let folder =
                std::env::temp_dir().join(format!("landline-test-{}-{count}", std::process::id()));
            match make(&folder) {
                // An earlier process with the same id was killed and left its folder.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| folder).expect("a fresh folder"),
            }
        };
        for name in ["home", "server", "client", "user"] {
            make(&folder.join(name)).expect("a fresh folder");
        }
        Self {
            folder,
            binary: binary.into(),
        }
    }

    /// A path on the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The server's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file on the stage.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file that can be written");
        path
    }

    /// Reads a file on the stage.
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The client command with these arguments, not started.
    ///
    /// It has no terminal, as in a script, wherever the tests run. [`Terminal`](crate::Terminal)
    /// provides one.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = without_terminal(&self.binary);
        command
            .env_clear()
            .env("LANDLINE_STATE", self.path("client"))
            .env("HOME", self.path("user"))
            .env("USER", "tester")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.path("user"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command of [`command`](Self::command) to its end, after the test has changed it.
    pub fn run_command(&self, mut command: Command) -> Outcome {
        outcome(command.spawn().expect("the command starts"))
    }

    /// Runs the client command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        outcome(self.command(arguments).spawn().expect("the command starts"))
    }

    /// Runs the client command with `input` as standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Outcome {
        with_input(self.command(arguments), input)
    }

    /// Starts the server on a free loopback port, with these further arguments.
    pub fn serve(&self, arguments: &[&str]) -> ServerProcess {
        self.serve_at("127.0.0.1:0", arguments)
    }

    /// Starts the server on this address, with these further arguments.
    #[track_caller]
    pub fn serve_at(&self, address: &str, arguments: &[&str]) -> ServerProcess {
        let mut command = self.serve_command(address);
        command.args(arguments);
        self.serve_with(command)
    }

    /// Starts a command of [`serve_command`](Self::serve_command), after the test has changed it.
    #[track_caller]
    pub fn serve_with(&self, command: Command) -> ServerProcess {
        ServerProcess::start(command)
    }

    /// The server command on this address, not started.
    pub fn serve_command(&self, address: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("LANDLINE_STATE", self.path("server"))
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .args(["serve", "--json", "--allow-root", "--listen", address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command on the server's machine to its end.
    pub fn run_at_server<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        let mut command = self.command(arguments);
        command
            .env("LANDLINE_STATE", self.path("server"))
            .env("HOME", self.home());
        outcome(command.spawn().expect("the command starts"))
    }

    /// The same with `input` as standard input.
    pub fn run_with_input_at_server<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        input: &[u8],
    ) -> Outcome {
        let mut command = self.command(arguments);
        command
            .env("LANDLINE_STATE", self.path("server"))
            .env("HOME", self.home());
        with_input(command, input)
    }

    /// Replaces the rights file of the server by a rename, as an editor does.
    pub fn write_rights(&self, text: &str) {
        let staging = self.write("server/server/rights.new", text.as_bytes());
        fs::set_permissions(
            &staging,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("the staging file is ours");
        fs::rename(staging, self.path("server/server/rights.toml")).expect("the folder is ours");
    }

    /// Starts a server and joins it as `alice`.
    #[track_caller]
    pub fn joined(&self) -> ServerProcess {
        let server = self.serve(&[]);
        self.run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
            .ok();
        server
    }
}

/// Ends what the stage has left, such as shells, and removes its folder.
impl Drop for Stage {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A command in its own session without a terminal, if setsid is installed.
fn without_terminal(binary: &Path) -> Command {
    if !Path::new(SETSID).exists() {
        return Command::new(binary);
    }
    let mut command = Command::new(SETSID);
    command.arg(binary);
    command
}

fn with_input(mut command: Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // The command may end before it has read everything.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        outcome(child)
    })
}

fn outcome(child: Child) -> Outcome {
    let output = child
        .wait_with_output()
        .expect("the command can be waited for");
    Outcome {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running `landline serve`. Killed when dropped.
pub struct ServerProcess {
    child: Child,
    /// Its address, `127.0.0.1:PORT`.
    pub address: String,
    /// Its fingerprint.
    pub fingerprint: String,
    invite_file: Option<PathBuf>,
    events: Mutex<mpsc::Receiver<Value>>,
}

impl ServerProcess {
    #[track_caller]
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let Some(Ok(first)) = lines.next() else {
            let output = child.wait_with_output().expect("its output can be read");
            panic!(
                "the server did not start: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let first: Value = serde_json::from_str(&first).expect("a JSON line");
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ =
                    sender.send(serde_json::from_str(&line).expect("every event is one JSON line"));
            }
        });
        let text = |key: &str| first[key].as_str().map(str::to_owned);
        Self {
            child,
            address: text("listening").expect("an address"),
            fingerprint: text("fingerprint").expect("a fingerprint"),
            invite_file: text("invite_file").map(PathBuf::from),
            events: Mutex::new(events),
        }
    }

    /// The owner's invite.
    #[track_caller]
    pub fn invite(&self) -> String {
        let file = self.invite_file.as_ref().expect("an invite file");
        fs::read_to_string(file)
            .expect("the invite")
            .trim()
            .to_owned()
    }

    /// The file with the owner's invite, if there is one.
    pub fn invite_file(&self) -> Option<&Path> {
        self.invite_file.as_deref()
    }

    /// The location of `path` on this server, as an argument of `cp`.
    pub fn at(&self, path: &str) -> String {
        format!("landline://{}/{path}", self.address)
    }

    /// Waits for an event of this name and skips others.
    #[track_caller]
    pub fn event(&self, name: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        let events = self
            .events
            .lock()
            .expect("no test thread failed while it waited");
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = events
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no event {name:?} came"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until the server has applied the current rights file.
    #[track_caller]
    pub fn rights_loaded(&self, stage: &Stage) {
        let hash = LineHash::of(&stage.read("server/server/rights.toml")).to_string();
        while self.event("rights-loaded")["hash"] != *hash {}
    }

    /// Waits for the next event.
    #[track_caller]
    pub fn next_event(&self) -> Value {
        let events = self
            .events
            .lock()
            .expect("no test thread failed while it waited");
        events
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("the server printed no event"))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGHUP, upon which the server reads its rights again.
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Stops the process, as if it hung, until [`resume`](Self::resume).
    pub fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Continues the process after [`stop`](Self::stop).
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("the server runs");
    }

    /// Kills the process and waits until it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process ends. Returns its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }

    /// Resident memory in KiB, and open descriptors.
    pub fn usage(&self) -> (u64, usize) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a process");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib = line
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.id()))
            .expect("descriptors")
            .count();
        (kib, descriptors)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` is true. Panics with `what` if that takes too long.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}
