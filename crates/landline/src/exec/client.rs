//! The client's half of the service.

use std::{
    io::{self, Write},
    sync::mpsc as std_mpsc,
    time::Duration,
};

use landline_proto::{
    ErrorCode, Message,
    streams::{Read, Side, StreamEvent, StreamOptions, Streams},
};
use tokio::sync::mpsc;

use super::{
    Command, TerminalSize,
    client_input::ClientInput,
    messages::{
        ATTACHED, AttachToJob, Attached, CLIENT_RUNNING, CONTINUED, Continue, Continued, Exit,
        Finished, Resize, SERVICE, STARTED, STDERR, STDIN, STDOUT, Signal, Started,
        TRANSIT_TIME_MAX,
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
    /// Whether it has a terminal. Known of a job that was attached to.
    pub has_terminal: bool,
    /// Whether it takes input.
    pub has_input: bool,
    /// Where the streams begin: input, standard output and standard error.
    begin: [u64; 3],
}

/// A detached job that was started.
#[derive(Debug)]
pub struct DetachedJob {
    /// Its id.
    pub job: String,
    /// Whether there was a job of its name already, so that nothing was started.
    pub existing: bool,
}

impl Command {
    /// The request to send with the login. `on_lost` is how many seconds the command runs on when
    /// the connection is lost, and `timeout` how many it may run.
    ///
    /// # Errors
    /// `name-refused` if a string holds a NUL, [`landline_proto::ProtocolError::BodySize`] if the
    /// command is longer than 2 MiB.
    pub fn first_request(
        &self,
        terminal: Option<TerminalSize>,
        timeout: Option<u32>,
        on_lost: u32,
    ) -> Result<FirstRequest, Error> {
        let (mut run, body) = self.encode()?;
        run.terminal = terminal;
        run.timeout = timeout;
        run.on_lost = on_lost;
        FirstRequest::with_body(SERVICE, &run, &body)
    }

    /// The request to send with the login, to run the command as a detached job. A job of this name
    /// is not started twice. With `has_input`, clients that attach give it input.
    ///
    /// # Errors
    /// As [`first_request`](Self::first_request).
    pub fn first_detached_request(
        &self,
        terminal: Option<TerminalSize>,
        timeout: Option<u32>,
        name: Option<&str>,
        has_input: bool,
    ) -> Result<FirstRequest, Error> {
        let (mut run, body) = self.encode()?;
        run.terminal = terminal;
        run.timeout = timeout;
        run.detach = true;
        run.name = name.map(str::to_owned);
        run.input = has_input;
        FirstRequest::with_body(SERVICE, &run, &body)
    }
}

impl DetachedJob {
    /// Waits for the answer to a [first request](Command::first_detached_request).
    ///
    /// # Errors
    /// Why the command was not started, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive(channel: &mut Channel) -> Result<Self, Error> {
        let started: Started = channel.receive(&STARTED).await?.read()?;
        Ok(Self {
            job: started.job,
            existing: started.existing,
        })
    }
}

impl RunningCommand {
    /// Waits for the answer to [`AttachToJob`].
    ///
    /// # Errors
    /// `not-found`, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive_attached(channel: &mut Channel) -> Result<Self, Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        Ok(Self {
            job: attached.job,
            has_terminal: attached.terminal,
            has_input: attached.input,
            begin: [attached.stdin, attached.stdout, attached.stderr],
        })
    }

    /// Waits for the answer to a [first request](Command::first_request).
    ///
    /// # Errors
    /// Why the command was not started, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive(channel: &mut Channel) -> Result<Self, Error> {
        let started: Started = channel.receive(&STARTED).await?.read()?;
        Ok(Self {
            job: started.job,
            has_terminal: false,
            has_input: true,
            begin: [0; 3],
        })
    }

    /// What carries the command's input and output over one or several channels.
    ///
    /// Input is taken from its channel only as fast as the program takes it. Each output has a
    /// thread that writes it, so that one that blocks does not delay the other. `closed_output`
    /// says what happens when one cannot be written any more. The errors of both are in
    /// [`CommandExit`].
    pub fn carrier(
        &self,
        input: mpsc::Receiver<CommandInput>,
        control: mpsc::Receiver<CommandControl>,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
        closed_output: ClosedOutput,
    ) -> CommandCarrier {
        let [stdin_begin, stdout_begin, stderr_begin] = self.begin;
        CommandCarrier {
            streams: streams_from(self.begin),
            stdin: ClientInput::new(stdin_begin),
            stdout: WrittenOutput::new(STDOUT, stdout, stdout_begin),
            stderr: WrittenOutput::new(STDERR, stderr, stderr_begin),
            exit: None,
            input,
            control,
            closed_output,
        }
    }
}

/// The client's side of a command while it runs.
pub struct CommandCarrier {
    /// Those of the channel that was lost last.
    streams: Streams,
    stdin: ClientInput,
    stdout: WrittenOutput,
    stderr: WrittenOutput,
    exit: Option<Exit>,
    input: mpsc::Receiver<CommandInput>,
    control: mpsc::Receiver<CommandControl>,
    closed_output: ClosedOutput,
}

/// What happens when an output cannot be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedOutput {
    /// It is not read any more, so the next write of the program fails.
    Stop,
    /// The program gets SIGPIPE: it is a job, whose output is kept whatever its clients read.
    Signal,
    /// The client leaves the job.
    Leave,
}

impl CommandCarrier {
    /// Carries input and output until the program has ended and all of its output was written.
    ///
    /// After [`Error::Lost`], [`continue_on`](Self::continue_on) another channel may be possible.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`]. Output that arrived before may
    /// have been written.
    ///
    /// # Cancel safety
    /// None.
    pub async fn carry(&mut self, channel: &mut Channel) -> Result<CommandExit, Error> {
        channel.limit_transit_time(TRANSIT_TIME_MAX);
        let streams = std::mem::replace(&mut self.streams, Streams::new(Side::Client, 0));
        let mut channel = StreamChannel::new(channel, streams);
        match self.carry_on(&mut channel).await {
            Ok(exit) => {
                match channel.finish().await {
                    // All of it is here, so the server has nothing more to give.
                    Ok(()) | Err(Error::Lost(_)) => {}
                    Err(error) => return Err(error),
                }
                let errors = [self.stdout.error.take(), self.stderr.error.take()];
                Ok(CommandExit::new(&exit, errors))
            }
            Err(error) => {
                self.streams = channel.into_streams();
                Err(error)
            }
        }
    }

    async fn carry_on(&mut self, channel: &mut StreamChannel<'_>) -> Result<Exit, Error> {
        let Self {
            stdin,
            stdout,
            stderr,
            exit,
            input,
            control,
            closed_output,
            ..
        } = self;
        loop {
            for output in [&mut *stdout, &mut *stderr] {
                if !output.take_closed() {
                    continue;
                }
                match closed_output {
                    ClosedOutput::Stop => {}
                    ClosedOutput::Signal => channel.send(&Signal {
                        signal: "PIPE".to_owned(),
                    })?,
                    ClosedOutput::Leave => {
                        let error = output.error.take();
                        let error = error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
                        let what = if output.stream == STDOUT {
                            "standard output"
                        } else {
                            "standard error"
                        };
                        return Err(Error::io(what, &error));
                    }
                }
            }
            stdout.pump(&mut channel.streams);
            stderr.pump(&mut channel.streams);
            if let Some(exit) = &exit
                && stdout.has_written(exit.stdout)
                && stderr.has_written(exit.stderr)
            {
                // Messages about streams would come too late behind it.
                channel.flush().await?;
                channel.send(&Finished {})?;
                return Ok(exit.clone());
            }
            tokio::select! {
                biased;
                result = stdout.written.recv(), if stdout.is_busy => stdout.settle(result, &mut channel.streams),
                result = stderr.written.recv(), if stderr.is_busy => stderr.settle(result, &mut channel.streams),
                arrived = channel.next(&CLIENT_RUNNING) => match arrived? {
                    StreamInput::Message(header) => *exit = Some(header.read()?),
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

    /// Waits for the answer to [`continue_request`] on a new channel, on which
    /// [`carry`](Self::carry) then continues at the exact byte.
    ///
    /// # Errors
    /// `not-found` if the command is over; [`Error::Lost`], [`Error::Protocol`].
    pub async fn continue_on(&mut self, channel: &mut Channel) -> Result<(), Error> {
        let _: Continued = channel.receive(&CONTINUED).await?.read()?;
        self.streams.reconnect();
        Ok(())
    }

    /// The request to attach to a job again on a new channel, after what was written here.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub async fn attach_request(
        &mut self,
        job: &str,
        terminal: Option<TerminalSize>,
    ) -> Result<FirstRequest, Error> {
        // What a thread is writing counts once it was written.
        self.stdout.settle_now().await;
        self.stderr.settle_now().await;
        let request = AttachToJob {
            job: job.to_owned(),
            stdout: self.stdout.total,
            stderr: self.stderr.total,
            terminal,
        };
        request.first_request()
    }

    /// Waits for the answer to it. [`carry`](Self::carry) then continues at the exact byte.
    ///
    /// # Errors
    /// `not-found` if there is no such job; `io` if output was dropped meanwhile;
    /// [`Error::Lost`], [`Error::Protocol`].
    pub async fn attach_again(&mut self, channel: &mut Channel) -> Result<(), Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        let have = [self.stdout.total, self.stderr.total];
        if have != [attached.stdout, attached.stderr] || !self.stdin.go_back(attached.stdin) {
            let message = "the job runs on, and its streams do not fit to what is here";
            return Err(Error::here(ErrorCode::Io, message));
        }
        let [stdout, stderr] = have;
        self.streams = streams_from([attached.stdin, stdout, stderr]);
        for output in [&self.stdout, &self.stderr] {
            if output.parts.is_none() {
                self.streams.stop(output.stream);
            }
        }
        self.stdin.write(&mut self.streams);
        Ok(())
    }

    /// Waits until the server has nothing more to say about a command that was carried to its end.
    /// The channel can carry a further request then.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`].
    pub async fn release(channel: &mut Channel) -> Result<(), Error> {
        while channel.receive(&CLIENT_RUNNING).await?.kind() != Finished::TYPE {}
        Ok(())
    }

    /// Waits for a signal to the command while there is no channel.
    ///
    /// # Cancel safety
    /// Nothing is lost but signals and sizes.
    pub async fn signaled(&mut self) {
        while let Some(control) = self.control.recv().await {
            if matches!(control, CommandControl::Signal(_)) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// The client's streams of a command, from these offsets on.
fn streams_from([stdin, stdout, stderr]: [u64; 3]) -> Streams {
    let mut streams = Streams::new(Side::Client, STREAM_POOL_BYTES);
    let options = StreamOptions {
        send_from: Some(stdin),
        ..StreamOptions::SEND
    };
    streams.add(STDIN, &options);
    for (stream, begin) in [(STDOUT, stdout), (STDERR, stderr)] {
        let options = StreamOptions {
            receive_from: Some(begin),
            ..StreamOptions::RECEIVE
        };
        streams.add(stream, &options);
    }
    streams
}

/// The request to continue a command on a new channel.
///
/// # Errors
/// None in practice, because the message always fits.
pub fn continue_request(job: &str) -> Result<FirstRequest, Error> {
    let request = Continue {
        job: job.to_owned(),
    };
    FirstRequest::new(SERVICE, &request)
}

/// An output of the program on its way to where it is written.
struct WrittenOutput {
    stream: u64,
    /// To the thread that writes; `None` once nothing more is written.
    parts: Option<std_mpsc::SyncSender<Vec<u8>>>,
    /// From that thread: how many bytes were written.
    written: mpsc::Receiver<io::Result<usize>>,
    is_busy: bool,
    /// How far the stream was written.
    total: u64,
    error: Option<io::Error>,
    /// Whether nothing was done about the error yet.
    is_news: bool,
}

impl WrittenOutput {
    fn new(stream: u64, mut writer: Box<dyn Write + Send>, begin: u64) -> Self {
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
            total: begin,
            error: None,
            is_news: false,
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
                self.close(error);
                streams.stop(self.stream);
            }
            None => self.parts = None,
        }
    }

    /// Waits until the thread has written what it was given.
    async fn settle_now(&mut self) {
        if self.is_busy {
            let result = self.written.recv().await;
            self.is_busy = false;
            match result {
                Some(Ok(length)) => self.total += length as u64,
                Some(Err(error)) => self.close(error),
                None => self.parts = None,
            }
        }
    }

    fn close(&mut self, error: io::Error) {
        self.parts = None;
        self.error = Some(error);
        self.is_news = true;
    }

    /// Whether it was closed since this was asked last.
    fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Whether the stream was written up to here, or no more can be.
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
