//! A server that starts a supervisor and speaks with it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use landline_supervisor::protocol::{
    Adopted, Exit, FrameBuffer, INPUT_WINDOW, Order, OutputStream, Report, Start, Status, Step,
};

use crate::folder::Folder;

/// The window of each output.
pub(crate) const WINDOW: u32 = 65536;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's side of one supervisor.
pub(crate) struct Server {
    socket: UnixStream,
    frames: FrameBuffer,
    /// Bytes of input that were sent, and that were taken.
    pub(crate) sent: u64,
    pub(crate) taken: u64,
    /// What each output has brought.
    pub(crate) outputs: BTreeMap<u8, Vec<u8>>,
    /// Which outputs have ended.
    pub(crate) ended: Vec<OutputStream>,
    pub(crate) input_stopped: bool,
    /// How far each output is stored.
    pub(crate) stored: BTreeMap<u8, u64>,
    pub(crate) pid: u32,
    /// Whether output is acknowledged as it comes.
    pub(crate) acknowledges: bool,
}

impl Server {
    /// Starts a supervisor.
    pub(crate) fn new() -> Self {
        Self::launch("supervisor")
    }

    /// Starts the supervisor for which this program takes `word`.
    pub(crate) fn launch(word: &str) -> Self {
        let (own, theirs) = UnixStream::pair().unwrap();
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut launcher = Command::new(std::env::current_exe().unwrap())
            .arg(word)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(launcher.wait().unwrap().success(), "it detaches itself");
        Self {
            socket: own,
            frames: FrameBuffer::default(),
            sent: 0,
            taken: 0,
            outputs: BTreeMap::from([(1, Vec::new()), (2, Vec::new())]),
            ended: Vec::new(),
            input_stopped: false,
            stored: BTreeMap::new(),
            pid: 0,
            acknowledges: true,
        }
    }

    /// Starts `sh -c script`.
    pub(crate) fn with_script(script: &str) -> Self {
        let mut server = Self::new();
        server.order(&Order::Start(Box::new(script_start(script))));
        server.wait_for_start().unwrap();
        server
    }

    /// Starts a program.
    pub(crate) fn with_start(start: Start) -> Self {
        let mut server = Self::new();
        server.order(&Order::Start(Box::new(start)));
        server.wait_for_start().unwrap();
        server
    }

    /// Takes over from this server as another one, which has only what was acknowledged. Returns
    /// what the supervisor says, and the older connection.
    pub(crate) fn adopt(&mut self, folder: &Folder) -> (Adopted, UnixStream) {
        let socket = folder.job().connect().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let older = std::mem::replace(&mut self.socket, socket);
        self.frames = FrameBuffer::default();
        self.ended.clear();
        self.stored.clear();
        self.order(&Order::Adopt);
        let Some(Report::Adopted(adopted)) = self.next() else {
            panic!("not adopted");
        };
        for (stream, state) in [(1, adopted.stdout), (2, adopted.stderr)] {
            let output = self.outputs.get_mut(&stream).unwrap();
            output.truncate(usize::try_from(state.acknowledged).unwrap());
        }
        self.sent = adopted.input.received;
        self.taken = adopted.input.taken;
        (adopted, older)
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn order(&mut self, order: &Order) {
        let mut bytes = Vec::new();
        order.encode(&mut bytes);
        self.socket.write_all(&bytes).unwrap();
    }

    /// Waits until the program runs.
    pub(crate) fn wait_for_start(&mut self) -> Result<u32, (Step, u32)> {
        match self.next() {
            Some(Report::Started { pid }) => {
                self.pid = pid;
                Ok(pid)
            }
            Some(Report::Failed { step, errno }) => Err((step, errno)),
            other => panic!("{other:?}"),
        }
    }

    /// Sends input, as far as the program takes it.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.input_stopped {
            let room = INPUT_WINDOW as u64 - (self.sent - self.taken);
            let length = bytes.len().min(usize::try_from(room).unwrap());
            if length == 0 {
                assert_eq!(self.take_one(), None, "the program has not ended");
                continue;
            }
            let (now, later) = bytes.split_at(length);
            self.order(&Order::Input {
                offset: self.sent,
                bytes: now.to_vec(),
            });
            self.sent += length as u64;
            bytes = later;
        }
    }

    /// Waits until the program has taken what was sent.
    pub(crate) fn wait_until_input_is_taken(&mut self) {
        while self.taken < self.sent {
            assert_eq!(self.take_one(), None, "the program has not ended");
        }
    }

    pub(crate) fn finish_input(&mut self) {
        let offset = self.sent;
        self.order(&Order::InputEnd { offset });
    }

    /// Takes reports until the program has ended.
    pub(crate) fn wait_for_exit(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.take_one() {
                return exit;
            }
        }
    }

    pub(crate) fn wait_for_status(&mut self) -> Status {
        self.wait_for_exit().status
    }

    /// Takes reports until standard output has brought `text`.
    pub(crate) fn wait_for_output(&mut self, text: &str) {
        while !self.stdout().contains(text) {
            assert_eq!(
                self.take_one(),
                None,
                "{text:?} is missing: {:?}",
                self.stdout()
            );
        }
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.outputs[&1]).into_owned()
    }

    /// Takes reports until this one, which is not taken.
    pub(crate) fn wait_for(&mut self, is_awaited: impl Fn(&Report) -> bool) -> Report {
        loop {
            let report = self.next().expect("the supervisor is there");
            if is_awaited(&report) {
                return report;
            }
            assert_eq!(self.take(report), None, "the program has not ended");
        }
    }

    /// Takes one report.
    pub(crate) fn take_one(&mut self) -> Option<Exit> {
        let report = self.next().expect("the supervisor is there");
        self.take(report)
    }

    fn take(&mut self, report: Report) -> Option<Exit> {
        match report {
            Report::Output {
                stream,
                offset,
                bytes,
            } => {
                let output = self.outputs.get_mut(&(stream as u8)).unwrap();
                assert_eq!(offset, output.len() as u64, "no byte is lost or doubled");
                output.extend(bytes);
                let offset = output.len() as u64;
                if self.acknowledges {
                    let limit = offset + u64::from(WINDOW);
                    self.order(&Order::OutputAck {
                        stream,
                        offset,
                        limit,
                    });
                }
            }
            Report::OutputEnd { stream, offset } => {
                let stored = self.stored.get(&(stream as u8)).copied();
                let received = self.outputs[&(stream as u8)].len() as u64;
                assert_eq!(offset, stored.unwrap_or(received));
                self.ended.push(stream);
            }
            Report::InputAck { offset } => self.taken = offset,
            Report::InputStop => self.input_stopped = true,
            Report::Exited(exit) => return Some(exit),
            Report::Stored { stream, offset } => {
                self.stored.insert(stream as u8, offset);
            }
            other => panic!("{other:?}"),
        }
        None
    }

    /// The next report; `None` once the supervisor has closed the socket.
    pub(crate) fn next(&mut self) -> Option<Report> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(Report::decode(frame).unwrap());
            }
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes).expect("a report in time") {
                0 => return None,
                count => self.frames.extend(&bytes[..count]),
            }
        }
    }

    /// The process id of the supervisor, while the program runs.
    pub(crate) fn supervisor(&self) -> u32 {
        stat(self.pid)[1].parse().unwrap()
    }

    /// The processor time of the supervisor.
    pub(crate) fn supervisor_ticks(&self) -> u64 {
        let stat = stat(self.supervisor());
        let ticks = |at: usize| stat[at].parse::<u64>().unwrap();
        ticks(11) + ticks(12)
    }

    /// Waits until there is no report for a moment; what comes is taken.
    pub(crate) fn take_for(&mut self, moment: Duration) {
        self.socket.set_read_timeout(Some(moment)).unwrap();
        let mut bytes = [0; 65536];
        while let Ok(count @ 1..) = self.socket.read(&mut bytes) {
            self.frames.extend(&bytes[..count]);
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

/// How `sh -c script` is started.
pub(crate) fn script_start(script: &str) -> Start {
    Start {
        program: b"/bin/sh".to_vec(),
        arguments: ["sh", "-c", script]
            .map(|word| word.as_bytes().to_vec())
            .to_vec(),
        environment: vec![b"PATH=/usr/bin:/bin".to_vec()],
        folder: b"/".to_vec(),
        terminal: None,
        has_input: true,
        window: WINDOW,
        ..Start::default()
    }
}

/// What /proc says of a process, from its state on.
fn stat(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().map(str::to_owned).collect()
}

/// Waits until the process is gone.
pub(crate) fn assert_gone(pid: u32) {
    wait_until(&format!("process {pid} is gone"), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
}

/// Waits until this is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
