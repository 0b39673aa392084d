//! A supervisor that speaks version 1 of the supervisor protocol, and never changes.
//!
//! It proves that a server works with a supervisor of an older release. So it shares no code with
//! `landline-supervisor`, and is not to be changed when that crate changes.
//!
//! It runs no program, but plays one:
//!
//! - standard output is the line `v1`, then a copy of the input;
//! - standard error is the line `frozen`;
//! - it ends with the code 21 when the input has ended, or at once without input;
//! - the orders `end` and `signal` end it with that signal (15 for `end`);
//! - with a terminal, the screen of the order `screen` is `ESC c` and the size that the terminal
//!   has: two numbers with `x` between them.
//!
//! With the disk store each output has one segment, and the index has one record.
#![allow(
    clippy::disallowed_methods,
    reason = "test support, which shares no code with the product"
)]

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::OpenOptionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, Mode, flock},
};

/// Set for the process that the launcher does not wait for.
const DETACHED: &str = "SUPERVISOR_V1_DETACHED";
const NEVER: u64 = u64::MAX;

/// Runs the supervisor. Standard input is a socket to the server.
///
/// # Errors
/// What the system says.
pub fn main() -> io::Result<()> {
    if std::env::var_os(DETACHED).is_none() {
        // The server waits for this process only.
        Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(DETACHED, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        return Ok(());
    }
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The server sees the end of this process, since no other copy is open.
    rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?;
    let mut bytes = Vec::new();
    let Some((1, start)) = next_frame(&socket, &mut bytes)? else {
        return Ok(());
    };
    Supervisor::start(socket, bytes, &start)?.run()
}

struct Supervisor {
    server: Option<(UnixStream, Vec<u8>)>,
    listener: Option<UnixListener>,
    /// Locked while this process lives.
    _lock: Option<OwnedFd>,
    folder: Option<PathBuf>,
    is_disk: bool,
    window: u64,
    on_lost: u64,
    lost_at: Option<Instant>,
    outputs: [Output; 2],
    /// Rows and columns.
    terminal: Option<[u64; 2]>,
    has_input: bool,
    received: u64,
    has_input_end: bool,
    started: u64,
    /// Kind and value of the status.
    status: Option<[u8; 2]>,
    is_exit_told: bool,
    has_left: bool,
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    acknowledged: u64,
    limit: u64,
    sent: u64,
    is_end_told: bool,
    is_stopped: bool,
}

impl Supervisor {
    fn start(socket: UnixStream, bytes: Vec<u8>, start: &[u8]) -> io::Result<Self> {
        let mut fields = Fields(start);
        assert_eq!(fields.number(2), 1, "the version");
        fields.string();
        for _ in 0..2 {
            for _ in 0..fields.number(4) {
                fields.string();
            }
        }
        fields.string();
        let has_terminal = fields.number(1) == 1;
        let size = [fields.number(2), fields.number(2)];
        let (_modes, _is_attended) = (fields.string(), fields.number(1));
        let has_input = fields.number(1) == 1 || has_terminal;
        let folder = String::from_utf8(fields.string()).map_err(io::Error::other)?;
        let is_disk = fields.number(1) == 1;
        let window = fields.number(4);
        let (_bytes_max, _timeout) = (fields.number(8), fields.number(8));
        let on_lost = fields.number(8);
        assert!(fields.0.is_empty(), "nothing follows");
        let folder = Some(PathBuf::from(folder)).filter(|path| path.is_absolute());
        let (mut lock, mut listener) = (None, None);
        if let Some(folder) = &folder {
            let file: OwnedFd = create(folder.join("lock"))?.into();
            flock(&file, FlockOperation::LockExclusive)?;
            lock = Some(file);
            rustix::process::umask(Mode::RWXG | Mode::RWXO);
            listener = Some(UnixListener::bind(folder.join("socket"))?);
        }
        let output = |line: &str| Output {
            bytes: line.as_bytes().to_vec(),
            limit: window,
            ..Output::default()
        };
        let supervisor = Self {
            server: Some((socket, bytes)),
            listener,
            _lock: lock,
            folder,
            is_disk,
            window,
            on_lost,
            lost_at: None,
            outputs: [output("v1\n"), output("frozen\n")],
            terminal: has_terminal.then_some(size),
            has_input,
            received: 0,
            has_input_end: !has_input,
            started: now(),
            status: None,
            is_exit_told: false,
            has_left: false,
        };
        supervisor.send(1, &std::process::id().to_le_bytes());
        Ok(supervisor)
    }

    fn run(mut self) -> io::Result<()> {
        if self.is_disk {
            self.store()?;
        }
        loop {
            if self.has_input_end && self.status.is_none() {
                self.status = Some([0, 21]);
            }
            self.report()?;
            let is_lost = self.server.is_none();
            let is_over = self.lost_at.is_some_and(|at| at <= Instant::now());
            if is_lost && is_over && self.status.is_none() {
                self.status = Some([1, 15]);
                continue;
            }
            if self.status.is_some() && (self.is_disk || self.has_left || (is_lost && is_over)) {
                return self.leave();
            }
            self.wait()?;
        }
    }

    /// Waits for an order, a server or the time, and takes it.
    fn wait(&mut self) -> io::Result<()> {
        if self
            .server
            .as_ref()
            .is_some_and(|(_, bytes)| frame_end(bytes).is_some())
        {
            return self.take_order();
        }
        let mut fds = Vec::new();
        let socket = self.server.as_ref().map(|(socket, _)| socket.as_fd());
        fds.extend(socket.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let listener = self.listener.as_ref().map(AsFd::as_fd);
        fds.extend(listener.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let time = self.lost_at.map(|at| Timespec {
            tv_sec: 0,
            tv_nsec: at
                .saturating_duration_since(Instant::now())
                .as_millis()
                .min(900) as i64
                * 1_000_000
                + 1,
        });
        poll(&mut fds, time.as_ref())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let has_server = self.server.is_some();
        if self.listener.is_some() && ready[usize::from(has_server)] {
            self.accept()?;
        } else if has_server && ready[0] {
            self.take_order()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        let (socket, _) = listener.accept()?;
        let mut bytes = Vec::new();
        if next_frame(&socket, &mut bytes)? != Some((9, vec![1, 0])) {
            return Ok(());
        }
        let mut adopted = vec![1, 0];
        adopted.extend(std::process::id().to_le_bytes());
        adopted.push(u8::from(self.is_disk));
        for output in &mut self.outputs {
            if self.is_disk {
                output.acknowledged = output.bytes.len() as u64;
            }
            output.limit = output.acknowledged + self.window;
            output.sent = output.acknowledged;
            output.is_end_told = false;
            adopted.extend(output.acknowledged.to_le_bytes());
            adopted.extend((output.bytes.len() as u64).to_le_bytes());
            adopted.push(u8::from(self.status.is_some() || output.is_stopped));
        }
        adopted.push(u8::from(self.has_input));
        adopted.extend(self.received.to_le_bytes());
        adopted.extend(self.received.to_le_bytes());
        adopted.extend([u8::from(self.has_input && self.has_input_end), 0]);
        self.is_exit_told = false;
        self.lost_at = None;
        self.server = Some((socket, bytes));
        self.send(9, &adopted);
        if self.is_disk {
            self.tell_stored();
        }
        Ok(())
    }

    fn take_order(&mut self) -> io::Result<()> {
        let Some((socket, bytes)) = &mut self.server else {
            return Ok(());
        };
        let Some((kind, content)) = next_frame(socket, bytes)? else {
            self.server = None;
            if self.on_lost == NEVER {
                return self.store();
            }
            self.lost_at = Some(Instant::now() + Duration::from_millis(self.on_lost));
            return Ok(());
        };
        let mut fields = Fields(&content);
        match kind {
            2 => {
                assert_eq!(fields.number(8), self.received, "the offset of the input");
                self.received += fields.0.len() as u64;
                if self.status.is_none() && !self.outputs[0].is_stopped {
                    self.outputs[0].bytes.extend(fields.0);
                }
                self.send(5, &self.received.to_le_bytes());
                if self.is_disk {
                    self.store()?;
                }
            }
            3 => {
                assert_eq!(fields.number(8), self.received, "the offset of the input");
                self.has_input_end = true;
            }
            4 => {
                let output = &mut self.outputs[fields.stream()];
                let (offset, limit) = (fields.number(8), fields.number(8));
                if !self.is_disk {
                    assert!((output.acknowledged..=output.sent).contains(&offset));
                    assert!(limit >= output.limit, "a limit does not shrink");
                    (output.acknowledged, output.limit) = (offset, limit);
                }
            }
            5 => {
                let output = &mut self.outputs[fields.stream()];
                output.is_stopped = true;
                if !self.is_disk {
                    output
                        .bytes
                        .truncate(usize::try_from(output.sent).unwrap_or(0));
                }
            }
            6 if self.status.is_none() => self.status = Some([1, fields.number(1) as u8]),
            8 if self.status.is_none() => self.status = Some([1, 15]),
            7 => self.resize([fields.number(2), fields.number(2)]),
            6 | 8 => {}
            10 => self.store()?,
            11 => self.has_left = true,
            12 => {
                self.resize([fields.number(2), fields.number(2)]);
                let [rows, columns] = self.terminal.expect("only with a terminal");
                let mut content = (self.outputs[0].bytes.len() as u64).to_le_bytes().to_vec();
                content.push(1);
                content.extend(format!("\x1bc{rows}x{columns}").as_bytes());
                self.send(10, &content);
            }
            13 => assert!(fields.number(1) < 2, "a flag"),
            14 => self.send(11, &[]),
            _ => panic!("the order {kind}"),
        }
        Ok(())
    }

    /// Changes the size of the terminal, if there is one; 0 is no size.
    fn resize(&mut self, size: [u64; 2]) {
        if let Some(terminal) = &mut self.terminal
            && !size.contains(&0)
        {
            *terminal = size;
        }
    }

    /// Tells the server what it does not know.
    fn report(&mut self) -> io::Result<()> {
        let has_ended = self.status.is_some();
        for number in 0..2 {
            loop {
                let output = &self.outputs[number];
                let to = output
                    .limit
                    .min(output.bytes.len() as u64)
                    .min(output.sent + 1000);
                if self.is_disk || to <= output.sent {
                    break;
                }
                let from = output.sent;
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
                let mut content = vec![number as u8 + 1];
                content.extend(from.to_le_bytes());
                content.extend(&output.bytes[range]);
                self.outputs[number].sent = to;
                self.send(3, &content);
            }
            let output = &self.outputs[number];
            let length = output.bytes.len() as u64;
            let is_sent = self.is_disk || output.sent == length;
            if (has_ended || output.is_stopped) && is_sent && !output.is_end_told {
                let mut content = vec![number as u8 + 1];
                content.extend(length.to_le_bytes());
                self.outputs[number].is_end_told = self.server.is_some();
                self.send(4, &content);
            }
        }
        let is_told = self.outputs.iter().all(|output| output.is_end_told) || self.server.is_none();
        if let Some(status) = self.status
            && !self.is_exit_told
            && is_told
        {
            let mut content = status.to_vec();
            content.extend([0; 24]);
            content.push(0);
            for output in &self.outputs {
                content.extend((output.bytes.len() as u64).to_le_bytes());
            }
            content.extend(self.started.to_le_bytes());
            content.extend(now().to_le_bytes());
            if self.is_disk
                && let Some(folder) = &self.folder
            {
                create(folder.join("status.new"))?.write_all(&frame(7, &content))?;
                std::fs::rename(folder.join("status.new"), folder.join("status"))?;
            }
            self.is_exit_told = true;
            self.send(7, &content);
        }
        Ok(())
    }

    /// Keeps output on disk from now on, and writes what there is.
    fn store(&mut self) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            panic!("there is no job folder");
        };
        self.is_disk = true;
        let mut record = now().to_le_bytes().to_vec();
        record.extend([0; 16]);
        create(folder.join("index"))?.write_all(&record)?;
        for (number, output) in self.outputs.iter().enumerate() {
            let base = output.acknowledged;
            let mut file = create(folder.join(format!("{}-{base:016x}", number + 1)))?;
            file.write_all(&output.bytes[usize::try_from(base).unwrap_or(0)..])?;
        }
        self.tell_stored();
        Ok(())
    }

    fn tell_stored(&self) {
        for (number, output) in self.outputs.iter().enumerate() {
            let mut content = vec![number as u8 + 1];
            content.extend((output.bytes.len() as u64).to_le_bytes());
            self.send(8, &content);
        }
    }

    fn send(&self, kind: u8, content: &[u8]) {
        if let Some((socket, _)) = &self.server {
            // A server that is gone is seen when its orders are read.
            let _ = (&*socket).write_all(&frame(kind, content));
        }
    }

    fn leave(&self) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_file(folder.join("socket"));
            if !self.is_disk {
                let _ = std::fs::remove_file(folder.join("lock"));
                let _ = std::fs::remove_file(folder.join("record"));
                let _ = std::fs::remove_dir(folder);
            }
        }
        Ok(())
    }
}

/// The integers and strings of a frame.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self, length: usize) -> u64 {
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn string(&mut self) -> Vec<u8> {
        let length = self.number(4) as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn stream(&mut self) -> usize {
        self.number(1) as usize - 1
    }
}

/// The type and the content of the next frame; `None` once the server has closed the socket.
fn next_frame(mut socket: &UnixStream, bytes: &mut Vec<u8>) -> io::Result<Option<(u8, Vec<u8>)>> {
    loop {
        if let Some(end) = frame_end(bytes) {
            let (kind, content) = (bytes[4], bytes[5..end].to_vec());
            bytes.drain(..end);
            return Ok(Some((kind, content)));
        }
        let mut more = [0; 65536];
        match socket.read(&mut more) {
            Ok(0) => return Ok(None),
            Ok(count) => bytes.extend(&more[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Where the first frame ends, if it is complete.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let end = 4 + u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    (bytes.len() >= end).then_some(end)
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 1).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &[kind], content].concat()
}

fn create(path: PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.map_or(0, |time| time.as_millis() as u64)
}
