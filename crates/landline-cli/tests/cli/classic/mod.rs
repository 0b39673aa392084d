//! The classic dialects against plain CPython programs in `python/classic/`, which are written like
//! those of the courses.

mod bad_input;
mod clients;
mod documented;
mod failures;
mod files;
mod languages;
mod people;
mod profiles;
mod servers;
mod shown;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use testkit::{Outcome, Stage};

/// The longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How a client cuts its messages.
const SEGMENTS: [&str; 3] = ["whole", "bytes", "random"];

/// Every model of a server for connections.
const MODELS: [&str; 4] = ["inline", "threads", "processes", "tasks"];

/// A running `landline classic serve`. Killed when dropped.
struct Server {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
    /// The lines of its standard error.
    said: Arc<Mutex<String>>,
    /// The thread that reads its standard error.
    listener: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a dialect on a free port, with further arguments.
    #[track_caller]
    fn start(stage: &Stage, dialect: &str, arguments: &[&str]) -> Self {
        Self::spawn(&mut Self::command(stage, dialect, arguments))
    }

    /// Runs a command that serves a dialect.
    #[track_caller]
    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let (errors, heard) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
        let listener = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let Some(Ok(first)) = lines.next() else {
            child.wait().unwrap();
            panic!("the server did not start: {}", said.lock().unwrap());
        };
        let address = match serde_json::from_str::<Value>(&first) {
            Ok(first) => first["listening"].as_str().unwrap().to_owned(),
            // The words before it depend on the language.
            Err(_) => first.rsplit(' ').next().unwrap().to_owned(),
        };
        let (queue, received) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = queue.send(line);
            }
        });
        Self {
            child,
            address,
            lines: received,
            said,
            listener: Some(listener),
        }
    }

    /// The command that serves a dialect in the folder `home` of the stage.
    fn command(stage: &Stage, dialect: &str, arguments: &[&str]) -> Command {
        let mut command = stage.command(&["classic", "serve", dialect]);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "0"]);
        }
        command
            .args(arguments)
            .current_dir(stage.home())
            .stdin(Stdio::piped());
        command
    }

    /// Its standard input.
    fn keyboard(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The next line of its standard output.
    #[track_caller]
    fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("a line of output from the server")
    }

    /// Waits for an event of this name and skips others.
    #[track_caller]
    fn event(&self, name: &str) -> Value {
        loop {
            let event: Value =
                serde_json::from_str(&self.line()).expect("every event is one JSON line");
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Sends SIGTERM, waits until the server has ended, and returns what it printed since.
    #[track_caller]
    fn stop(mut self) -> (String, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert_eq!(
            self.child.wait().unwrap().code(),
            Some(0),
            "{}",
            self.said.lock().unwrap()
        );
        self.listener.take().unwrap().join().unwrap();
        let errors = std::mem::take(&mut *self.said.lock().unwrap());
        (self.lines.iter().map(|line| line + "\n").collect(), errors)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seed of this run for random cuts.
fn seed() -> String {
    let seed = std::env::var("LANDLINE_SEED").unwrap_or_else(|_| std::process::id().to_string());
    eprintln!("LANDLINE_SEED={seed}");
    seed
}

fn python(program: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/python/classic");
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(folder.join(program))
        .env("PYTHONIOENCODING", "utf-8")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A command that runs a Python client in the client's folder of the stage.
fn client(stage: &Stage, server: &Server, dialect: &str, arguments: &[&str]) -> Command {
    let mut command = python("clients.py");
    command
        .arg(dialect)
        .arg(&server.address)
        .args(arguments)
        .current_dir(stage.path("user"));
    command
        .env("LANDLINE_SEED", seed())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a Python client and returns its output. It must succeed.
#[track_caller]
fn run_client(
    stage: &Stage,
    server: &Server,
    dialect: &str,
    segments: &str,
    arguments: &[&str],
) -> String {
    output_of(client(stage, server, dialect, arguments).env("SEGMENTS", segments))
}

/// Returns the output of a program that must succeed.
#[track_caller]
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server in Python for one client.
struct PythonServer {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
}

impl PythonServer {
    #[track_caller]
    fn start(stage: &Stage, dialect: &str, segments: &str, arguments: &[&str]) -> Self {
        Self::with(stage, dialect, segments, arguments, &[])
    }

    /// Starts the server with these environment variables.
    #[track_caller]
    fn with(
        stage: &Stage,
        dialect: &str,
        segments: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = python("servers.py");
        command
            .arg(dialect)
            .args(arguments)
            .envs(settings.iter().copied())
            .current_dir(stage.home());
        command
            .env("SEGMENTS", segments)
            .env("LANDLINE_SEED", seed())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("a port").unwrap();
        let (queue, received) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = queue.send(line);
            }
        });
        Self {
            child,
            address: format!("127.0.0.1:{port}"),
            lines: received,
        }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("a line of output from the Python server")
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `landline classic dial`.
fn dial(stage: &Stage, dialect: &str, address: &str, arguments: &[&str]) -> Outcome {
    stage.run(&[&["classic", "dial", dialect, address], arguments].concat())
}
