//! The client's half of the service.

use std::{
    io::{self, Write},
    time::Duration,
};

use landline_proto::{
    Message,
    streams::{Side, StreamEvent, StreamOptions, Streams},
};
use tokio::sync::mpsc;

use super::{
    Command, TerminalSize,
    client_input::ClientInput,
    client_keyboard::ClientKeyboard,
    client_output::WrittenOutput,
    messages::{
        AnsweredPart, CLIENT_RUNNING, CONTINUED, Continue, Continued, Exit, Finished, Keyboard,
        Resize, Run, SERVICE, STARTED, STDERR, STDIN, STDOUT, Signal, Started, TRANSIT_TIME_MAX,
    },
};
use crate::{
    Error,
    login::FirstRequest,
    net::{Channel, StreamChannel, StreamInput},
};

/// What the windows of a command's streams share beyond their initial sizes, in each direction.
const STREAM_POOL_BYTES: u64 = 16 * 1024 * 1024;

/// The input of a program while it runs.
#[derive(Debug)]
pub enum CommandInput {
    /// More of its input.
    Bytes(Vec<u8>),
    /// The input has ended.
    End,
    /// The user leaves. What came before is delivered first.
    Leave,
}

/// What is done to a program while it runs, beside its input.
#[derive(Debug)]
pub enum CommandControl {
    /// Send a signal to its process group, by its name without `SIG`.
    Signal(String),
    /// The terminal has another size.
    Resize(TerminalSize),
    /// Hand the keyboard of a job over to the one other user who watches, take it back, or give it
    /// back.
    HandOver,
}

/// Why [`CommandCarrier::carry`] has returned.
#[derive(Debug)]
pub enum CarryOutcome {
    /// The program has ended.
    Ended(CommandExit),
    /// The owner of a job offers the keyboard to this watcher, which can
    /// [take](CommandCarrier::take_keyboard) it.
    Offered(Keyboard),
    /// The user leaves, and all input is on its way.
    Left,
}

/// How a program ended.
#[derive(Debug)]
pub struct CommandExit {
    /// What it returned; `None` if a signal ended it.
    pub code: Option<u8>,
    /// The signal that ended it, without `SIG`, and its number on the server.
    pub signal: Option<(String, u8)>,
    /// Whether the server ended it because its time was over.
    pub timed_out: bool,
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// The most memory that it had at a time, in bytes.
    pub memory_bytes: u64,
    /// Whether a process that it left behind still had an output open, which the server has ended.
    pub left_open: bool,
    /// Why standard output could not be written to its end.
    pub stdout_error: Option<io::Error>,
    /// Why standard error could not be written to its end.
    pub stderr_error: Option<io::Error>,
}

/// A command that runs on a server.
#[derive(Debug)]
pub struct RunningCommand {
    /// The job's id.
    pub job: String,
    /// Whether it has a terminal. Known of a job that was attached to.
    pub has_terminal: bool,
    /// Whether it takes input.
    pub has_input: bool,
    /// Whether this client only watches it.
    pub(super) is_watching: bool,
    /// Where the streams begin: input, standard output and standard error.
    pub(super) begin: [u64; 3],
    /// The number of this client among those that had the input of the job.
    pub(super) owner: u64,
    /// What the terminal shows already.
    pub(super) screen: Option<Vec<u8>>,
    pub(super) answered: Option<AnsweredPart>,
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
    /// The request to send with the login. `on_lost` is how many seconds the command continues when
    /// the connection is lost, and `timeout` how many it may run.
    ///
    /// # Errors
    /// `name-refused` if a string holds a NUL, [`landline_proto::ProtocolError::BodySize`] if the
    /// command is longer than 2 MiB.
    pub fn first_request(
        &self,
        terminal: Option<&CommandTerminal>,
        timeout: Option<u32>,
        on_lost: u32,
    ) -> Result<FirstRequest, Error> {
        let (mut run, body) = self.encode()?;
        run.set_terminal(terminal);
        run.timeout = timeout;
        run.on_lost = on_lost;
        FirstRequest::with_body(SERVICE, &run, &body)
    }

    /// The request to send with the login, to run the command as a detached job.
    ///
    /// # Errors
    /// As [`first_request`](Self::first_request).
    pub fn first_detached_request(&self, options: &JobOptions) -> Result<FirstRequest, Error> {
        let (mut run, body) = self.encode()?;
        run.set_terminal(options.terminal.as_ref());
        run.timeout = options.timeout;
        run.detach = true;
        run.name = options.name.clone();
        run.input = options.has_input;
        run.attach = options.attaches;
        run.forget = options.is_forgotten;
        FirstRequest::with_body(SERVICE, &run, &body)
    }
}

/// The terminal that a program gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTerminal {
    /// Its size.
    pub size: TerminalSize,
    /// Its modes: numbers and values of RFC 4254, section 8. Those that are not here have their
    /// usual values.
    pub modes: Vec<(u8, u8)>,
}

/// How a command runs as a detached job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Its terminal; `None` for pipes.
    pub terminal: Option<CommandTerminal>,
    /// How many seconds it may run.
    pub timeout: Option<u32>,
    /// Its name. A job of this name is not started twice.
    pub name: Option<String>,
    /// Whether clients that attach give it input. A job with a terminal has input anyway.
    pub has_input: bool,
    /// Whether this client attaches to it at once, as with [`AttachToJob`](super::AttachToJob).
    pub attaches: bool,
    /// Whether it is removed once a client has its end.
    pub is_forgotten: bool,
}

impl Run {
    fn set_terminal(&mut self, terminal: Option<&CommandTerminal>) {
        self.terminal = terminal.map(|terminal| terminal.size);
        let modes = terminal.iter().flat_map(|terminal| &terminal.modes);
        self.modes = modes.flat_map(|(mode, value)| [*mode, *value]).collect();
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
            is_watching: false,
            begin: [0; 3],
            owner: 0,
            screen: None,
            answered: None,
        })
    }

    /// What carries the command's input and output over one or several channels.
    ///
    /// Input is taken from its channel only as fast as the program takes it. Each output has a
    /// thread that writes it, so that one that blocks does not delay the other. `closed_output`
    /// says what happens when one cannot be written any more. The errors of both are in
    /// [`CommandExit`].
    ///
    /// With `is_shown`, standard output is a terminal that shows that of the command. It is not
    /// asked again what another party has answered, and the command does not get its clipboard.
    pub fn carrier(
        self,
        input: mpsc::Receiver<CommandInput>,
        control: mpsc::Receiver<CommandControl>,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
        is_shown: bool,
        closed_output: ClosedOutput,
    ) -> CommandCarrier {
        let [stdin_begin, stdout_begin, stderr_begin] = self.begin;
        let mut stdout = WrittenOutput::new(STDOUT, stdout, stdout_begin);
        if is_shown {
            stdout.filter_for_terminal();
            stdout.set_answered(self.answered);
        }
        if let Some(screen) = self.screen {
            stdout.show_screen(screen, stdout_begin);
        }
        CommandCarrier {
            streams: streams_from(self.begin),
            stdin: ClientInput::new(stdin_begin),
            stdout,
            stderr: WrittenOutput::new(STDERR, stderr, stderr_begin),
            keyboard: ClientKeyboard::new(self.owner, self.is_watching),
            exit: None,
            input,
            control,
            closed_output,
            is_probing: false,
        }
    }
}

/// The client's side of a command while it runs.
pub struct CommandCarrier {
    /// Those of the channel that was lost last.
    pub(super) streams: Streams,
    pub(super) stdin: ClientInput,
    pub(super) stdout: WrittenOutput,
    pub(super) stderr: WrittenOutput,
    pub(super) keyboard: ClientKeyboard,
    exit: Option<Exit>,
    pub(super) input: mpsc::Receiver<CommandInput>,
    control: mpsc::Receiver<CommandControl>,
    closed_output: ClosedOutput,
    is_probing: bool,
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
    /// Notices a server that does not answer any more, also where the connection seems to work:
    /// within 4 s while it has something to answer, and else within 30 s.
    pub fn probe_connections(&mut self) {
        self.is_probing = true;
    }

    /// Has [`carry`](Self::carry) return when the keyboard is offered. Otherwise this client
    /// continues to watch.
    pub fn take_offers(&mut self) {
        self.keyboard.takes_offers = true;
    }

    /// Calls this with all that the server says about who has the keyboard of the job.
    pub fn on_keyboard(&mut self, hook: impl FnMut(&Keyboard) + Send + 'static) {
        self.keyboard.hook = Some(Box::new(hook));
    }

    /// Carries input and output until the program has ended and all of its output was written,
    /// until the keyboard is offered to a watcher, or until the input says that the user leaves.
    ///
    /// After [`Error::Lost`], [`continue_on`](Self::continue_on) another channel may be possible.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`]. Output that arrived before may
    /// have been written.
    ///
    /// # Cancel safety
    /// None.
    pub async fn carry(&mut self, channel: &mut Channel) -> Result<CarryOutcome, Error> {
        channel.limit_transit_time(TRANSIT_TIME_MAX);
        let streams = std::mem::replace(&mut self.streams, Streams::new(Side::Client, 0));
        let mut channel = StreamChannel::new(channel, streams);
        if self.is_probing {
            channel = channel.probe();
        }
        match self.carry_on(&mut channel).await {
            Ok(CarriedTo::Offer(offer)) => {
                self.streams = channel.into_streams();
                Ok(CarryOutcome::Offered(offer))
            }
            Ok(CarriedTo::Left) => {
                self.streams = channel.into_streams();
                Ok(CarryOutcome::Left)
            }
            Ok(CarriedTo::Exit(exit)) => {
                match channel.finish().await {
                    // All of it is here, so the server has nothing more to give.
                    Ok(()) | Err(Error::Lost(_)) => {}
                    Err(error) => return Err(error),
                }
                let errors = [self.stdout.error.take(), self.stderr.error.take()];
                Ok(CarryOutcome::Ended(CommandExit::new(&exit, errors)))
            }
            Err(error) => {
                self.streams = channel.into_streams();
                Err(error)
            }
        }
    }

    async fn carry_on(&mut self, channel: &mut StreamChannel<'_>) -> Result<CarriedTo, Error> {
        let Self {
            stdin,
            stdout,
            stderr,
            exit,
            input,
            control,
            closed_output,
            keyboard,
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
                // Messages about streams would come too late after it.
                channel.flush().await?;
                channel.send(&Finished {})?;
                return Ok(CarriedTo::Exit(exit.clone()));
            }
            if stdin.is_left() {
                channel.flush().await?;
                return Ok(CarriedTo::Left);
            }
            tokio::select! {
                biased;
                result = stdout.written.recv(), if stdout.is_busy => stdout.settle(result, &mut channel.streams),
                result = stderr.written.recv(), if stderr.is_busy => stderr.settle(result, &mut channel.streams),
                arrived = channel.next(&CLIENT_RUNNING) => match arrived? {
                    StreamInput::Message(header) if header.kind() == Keyboard::TYPE => {
                        if let Some(offer) = keyboard.note(header.read()?, stdout) {
                            return Ok(CarriedTo::Offer(offer));
                        }
                    }
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
                    // What is typed while another user has the keyboard goes nowhere.
                    Some(CommandInput::Bytes(_)) if !keyboard.passes_keys() => {}
                    Some(CommandInput::Bytes(bytes)) => stdin.push(bytes, &mut channel.streams),
                    Some(CommandInput::End) => stdin.finish(&mut channel.streams),
                    Some(CommandInput::Leave) => stdin.is_leaving = true,
                    None => stdin.is_closed = true,
                },
                Some(given) = control.recv() => match given {
                    CommandControl::Signal(signal) => channel.send(&Signal { signal })?,
                    CommandControl::Resize(TerminalSize { rows, columns }) => {
                        channel.send(&Resize { rows, columns })?;
                    }
                    CommandControl::HandOver => {
                        if let Some(request) = keyboard.hand_over() {
                            channel.send(&request)?;
                        }
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

/// How far a command was carried.
enum CarriedTo {
    Exit(Exit),
    Offer(Keyboard),
    Left,
}

/// The client's streams of a command, from these offsets on.
pub(super) fn streams_from([stdin, stdout, stderr]: [u64; 3]) -> Streams {
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

impl CommandExit {
    fn new(exit: &Exit, [stdout_error, stderr_error]: [Option<io::Error>; 2]) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal.clone().zip(exit.number),
            timed_out: exit.timed_out,
            user_time: Duration::from_micros(exit.user_time),
            system_time: Duration::from_micros(exit.system_time),
            memory_bytes: exit.memory,
            left_open: exit.left_open,
            stdout_error,
            stderr_error,
        }
    }
}
