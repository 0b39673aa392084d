//! The client's half of the service.

use std::{
    io::{self, Write},
    sync::mpsc as std_mpsc,
    time::Duration,
};

use landline_proto::streams::{Read, Side, StreamEvent, StreamOptions, Streams};
use tokio::sync::mpsc;

use super::{
    Command, TerminalSize,
    messages::{
        CLIENT_RUNNING, Exit, Finished, Resize, SERVICE, STARTED, STDERR, STDIN, STDOUT, Signal,
        Started,
    },
};
use crate::{
    Error,
    login::FirstRequest,
    net::{Channel, StreamChannel, StreamInput},
};

/// What the windows of a command's streams share beyond their initial sizes, in each direction.
const STREAM_POOL_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes that are written at a time.
const PART_BYTES_MAX: usize = 64 * 1024;

/// The input of a program while it runs.
#[derive(Debug)]
pub enum CommandInput {
    /// More of its input.
    Bytes(Vec<u8>),
    /// The input has ended.
    End,
}

/// What is done to a program while it runs, beside its input.
#[derive(Debug)]
pub enum CommandControl {
    /// Send a signal to its process group, by its name without `SIG`.
    Signal(String),
    /// The terminal has another size.
    Resize(TerminalSize),
}

/// How a program ended.
#[derive(Debug)]
pub struct CommandExit {
    /// What it returned; `None` if a signal ended it.
    pub code: Option<u8>,
    /// The signal that ended it, without `SIG`, and its number at the server.
    pub signal: Option<(String, u8)>,
    /// Whether the server ended it because its time was over.
    pub timed_out: bool,
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// The most memory that it had at a time, in bytes.
    pub memory_bytes: u64,
    /// Why standard output could not be written to its end.
    pub stdout_error: Option<io::Error>,
    /// Why standard error could not be written to its end.
    pub stderr_error: Option<io::Error>,
}

/// A command that runs at a server.
#[derive(Debug)]
pub struct RunningCommand {
    /// The job's id.
    pub job: String,
}

impl Command {
    /// The request to send with the login.
    ///
    /// # Errors
    /// `name-refused` if a string holds a NUL, [`landline_proto::ProtocolError::BodySize`] if the
    /// command is longer than 2 MiB.
    pub fn first_request(
        &self,
        terminal: Option<TerminalSize>,
        timeout: Option<u32>,
    ) -> Result<FirstRequest, Error> {
        let (mut run, body) = self.encode()?;
        run.terminal = terminal;
        run.timeout = timeout;
        FirstRequest::with_body(SERVICE, &run, &body)
    }
}

impl RunningCommand {
    /// Waits for the answer to a [first request](Command::first_request).
    ///
    /// # Errors
    /// Why the command was not started, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive(channel: &mut Channel) -> Result<Self, Error> {
        let started: Started = channel.receive(&STARTED).await?.read()?;
        Ok(Self { job: started.job })
    }

    /// Carries input and output until the program has ended and all of its output was written.
    ///
    /// Input is taken from its channel only as fast as the program takes it. Each output has a
    /// thread that writes it, so that one that blocks does not delay the other. An output that
    /// cannot be written is not read any more: the next write of the program fails. The errors of
    /// both are in [`CommandExit`].
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`]. WrittenOutput that arrived
    /// before may have been written.
    pub async fn carry(
        self,
        channel: &mut Channel,
        mut input: mpsc::Receiver<CommandInput>,
        mut control: mpsc::Receiver<CommandControl>,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Result<CommandExit, Error> {
        let mut streams = Streams::new(Side::Client, STREAM_POOL_BYTES);
        streams.add(STDIN, &StreamOptions::SEND);
        streams.add(STDOUT, &StreamOptions::RECEIVE);
        streams.add(STDERR, &StreamOptions::RECEIVE);
        let mut channel = StreamChannel::new(channel, streams);
        let (mut stdout, mut stderr) = (
            WrittenOutput::new(STDOUT, stdout),
            WrittenOutput::new(STDERR, stderr),
        );
        let mut stdin = Stdin::default();
        let mut exit: Option<Exit> = None;
        loop {
            stdout.pump(&mut channel.streams);
            stderr.pump(&mut channel.streams);
            if let Some(exit) = &exit
                && stdout.has_written(exit.stdout)
                && stderr.has_written(exit.stderr)
            {
                // Messages about streams would come too late behind it.
                channel.flush().await?;
                channel.send(&Finished {})?;
                channel.finish().await?;
                let errors = [stdout.error, stderr.error];
                return Ok(CommandExit::new(exit, errors));
            }
            tokio::select! {
                biased;
                result = stdout.written.recv(), if stdout.is_busy => stdout.settle(result, &mut channel.streams),
                result = stderr.written.recv(), if stderr.is_busy => stderr.settle(result, &mut channel.streams),
                arrived = channel.next(&CLIENT_RUNNING) => match arrived? {
                    StreamInput::Message(header) => exit = Some(header.read()?),
                    StreamInput::Event(StreamEvent::Writable { stream: STDIN }) => {
                        stdin.write(&mut channel.streams);
                    }
                    StreamInput::Event(StreamEvent::Stopped { stream: STDIN, .. }) => {
                        stdin.stop(&mut channel.streams);
                    }
                    StreamInput::Event(_) => {}
                    StreamInput::End => {
                        return Err(Error::Lost("the server ended while the command ran".into()));
                    }
                },
                given = input.recv(), if stdin.takes_more() => match given {
                    Some(CommandInput::Bytes(bytes)) => stdin.push(bytes, &mut channel.streams),
                    Some(CommandInput::End) => stdin.finish(&mut channel.streams),
                    None => stdin.is_closed = true,
                },
                Some(given) = control.recv() => match given {
                    CommandControl::Signal(signal) => channel.send(&Signal { signal })?,
                    CommandControl::Resize(TerminalSize { rows, columns }) => {
                        channel.send(&Resize { rows, columns })?;
                    }
                },
            }
        }
    }
}

/// The program's input on its way to the server.
#[derive(Default)]
struct Stdin {
    /// What there is no credit for yet.
    waiting: Vec<u8>,
    has_ended: bool,
    /// Whether nothing is given any more.
    is_closed: bool,
}

impl Stdin {
    fn takes_more(&self) -> bool {
        self.waiting.is_empty() && !self.is_closed
    }

    fn push(&mut self, bytes: Vec<u8>, streams: &mut Streams) {
        if !self.has_ended {
            self.waiting = bytes;
            self.write(streams);
        }
    }

    fn write(&mut self, streams: &mut Streams) {
        match streams.write(STDIN, &self.waiting) {
            Some(written) => drop(self.waiting.drain(..written)),
            None => self.waiting.clear(),
        }
    }

    fn finish(&mut self, streams: &mut Streams) {
        self.has_ended = true;
        streams.finish(STDIN);
    }

    /// The program reads no more: what comes is dropped.
    fn stop(&mut self, streams: &mut Streams) {
        self.waiting.clear();
        self.finish(streams);
    }
}

/// An output of the program on its way to where it is written.
struct WrittenOutput {
    stream: u64,
    /// To the thread that writes; `None` once nothing more is written.
    parts: Option<std_mpsc::SyncSender<Vec<u8>>>,
    /// From that thread: how many bytes were written.
    written: mpsc::Receiver<io::Result<usize>>,
    is_busy: bool,
    total: u64,
    error: Option<io::Error>,
}

impl WrittenOutput {
    fn new(stream: u64, mut writer: Box<dyn Write + Send>) -> Self {
        let (parts, to_write) = std_mpsc::sync_channel::<Vec<u8>>(1);
        let (done, written) = mpsc::channel(1);
        // It ends with this value, or with the process while it is blocked.
        std::thread::spawn(move || {
            while let Ok(part) = to_write.recv() {
                let result = writer.write_all(&part).and_then(|()| writer.flush());
                if done.blocking_send(result.map(|()| part.len())).is_err() {
                    return;
                }
            }
        });
        Self {
            stream,
            parts: Some(parts),
            written,
            is_busy: false,
            total: 0,
            error: None,
        }
    }

    /// Gives the next part to the thread, if it has written the one before.
    fn pump(&mut self, streams: &mut Streams) {
        let Some(parts) = self.parts.as_ref().filter(|_| !self.is_busy) else {
            return;
        };
        if let Read::Bytes(bytes) = streams.read(self.stream) {
            let part = bytes
                .get(..bytes.len().min(PART_BYTES_MAX))
                .unwrap_or_default();
            self.is_busy = parts.try_send(part.to_vec()).is_ok();
        }
    }

    /// Notes what the thread has written; `None` if there is no thread any more.
    fn settle(&mut self, result: Option<io::Result<usize>>, streams: &mut Streams) {
        self.is_busy = false;
        match result {
            Some(Ok(length)) => {
                self.total += length as u64;
                streams.consume(self.stream, length);
            }
            Some(Err(error)) => {
                self.parts = None;
                self.error = Some(error);
                streams.stop(self.stream);
            }
            None => self.parts = None,
        }
    }

    /// Whether so many bytes were written, or no more can be.
    fn has_written(&self, bytes: u64) -> bool {
        self.parts.is_none() || self.total >= bytes
    }
}

impl CommandExit {
    fn new(exit: &Exit, [stdout_error, stderr_error]: [Option<io::Error>; 2]) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal.clone().zip(exit.number),
            timed_out: exit.timed_out,
            user_time: Duration::from_micros(exit.user_time),
            system_time: Duration::from_micros(exit.system_time),
            memory_bytes: exit.memory,
            stdout_error,
            stderr_error,
        }
    }
}
