//! A server process, and its clients.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// The time limit for what must happen, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct ServerProcess {
    pub(super) process: Child,
    /// The lines that the server prints.
    pub(super) lines: Receiver<String>,
    pub(super) address: SocketAddr,
}

impl ServerProcess {
    pub(super) fn start(kind: &str, processes: &str, connections_max: usize) -> Self {
        Self::start_with(&["serve", kind, processes, &connections_max.to_string()])
    }

    pub(super) fn start_with(arguments: &[&str]) -> Self {
        Self::start_with_errors_to(Stdio::null(), arguments)
    }

    /// Starts a server whose standard error goes to `errors`.
    pub(super) fn start_with_errors_to(errors: Stdio, arguments: &[&str]) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let address = lines.recv_timeout(PATIENCE).unwrap().parse().unwrap();
        Self {
            process,
            lines,
            address,
        }
    }

    pub(super) fn pid(&self) -> String {
        self.process.id().to_string()
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks until a client has its answer in the time that the server gives it.
    pub(super) fn ask_until_answered(&self) -> String {
        loop {
            let mut client = self.connect();
            let mut answer = String::new();
            let is_sent = writeln!(client.0.get_mut(), "who").is_ok();
            if is_sent && client.0.read_line(&mut answer).is_ok() && !answer.is_empty() {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Has the server end, by a client that asks for that in time.
    pub(super) fn stop(&mut self) {
        while let Ok(mut client) = TcpStream::connect(self.address) {
            let _ = client.write_all(b"stop\n");
            let _ = client.read(&mut [0]);
        }
        self.wait_for_line("cut off 0");
    }

    /// Reads the server's lines until one begins with `expected`.
    pub(super) fn wait_for_line(&mut self, expected: &str) {
        let mut lines_seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(expected) => return,
                Ok(line) => lines_seen.push(line),
                Err(_) => panic!("the server did not say {expected:?} but {lines_seen:?}"),
            }
        }
    }

    /// The number of child processes.
    pub(super) fn children(&self) -> usize {
        let tasks =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.id()))
                .unwrap();
        tasks.split_whitespace().count()
    }

    pub(super) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    pub(super) fn end(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for ServerProcess {
    /// Ends the server also if a test fails.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) struct Client(pub(super) BufReader<TcpStream>);

impl Client {
    pub(super) fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(super) fn send(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    pub(super) fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.receive()
    }

    pub(super) fn receive(&mut self) -> String {
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    pub(super) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
