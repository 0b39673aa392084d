//! A command that runs: its streams between the client and the supervisor.

use std::time::Duration;

use landline_proto::streams::{Read, Side, StreamEvent, StreamOptions, Streams};
use landline_supervisor::{
    protocol::{self, INPUT_WINDOW, Order, OutputStream, Report, Size, Status},
    signals,
};

use super::{
    messages::{Exit, Finished, Resize, SERVER_RUNNING, STDERR, STDIN, STDOUT, Signal},
    supervisor::Supervisor,
};
use crate::{
    Error,
    net::{Channel, StreamChannel, StreamInput},
    session::ServiceContext,
};

/// The most bytes of each output between supervisor and client that this server holds.
pub(super) const OUTPUT_WINDOW: u32 = 256 * 1024;
/// What the windows of a command's streams share beyond their initial sizes, in each direction.
const STREAM_POOL_BYTES: u64 = 16 * 1024 * 1024;
/// How long a program may take to end by itself when its time is over.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);
/// How long it may take when its session has ended.
const REVOCATION_GRACE: Duration = Duration::from_millis(500);
/// The most bytes of input in one order.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// A command that runs.
pub(super) struct Job {
    supervisor: Supervisor,
    outputs: [JobOutput; 2],
    /// How many bytes of input went to the supervisor.
    input_sent: u64,
    /// How many of them the program has taken.
    input_taken: u64,
    has_input_end: bool,
    exit: Option<protocol::Exit>,
    is_exit_sent: bool,
    has_timed_out: bool,
}

/// One output on its way to the client.
struct JobOutput {
    stream: OutputStream,
    number: u64,
    /// What the client has no credit for yet.
    pending: Vec<u8>,
    /// How many bytes the supervisor has sent.
    received: u64,
    has_ended: bool,
    is_finished: bool,
}

impl Job {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        let output = |stream, number| JobOutput {
            stream,
            number,
            pending: Vec::new(),
            received: 0,
            has_ended: false,
            is_finished: false,
        };
        Self {
            supervisor,
            outputs: [
                output(OutputStream::Stdout, STDOUT),
                output(OutputStream::Stderr, STDERR),
            ],
            input_sent: 0,
            input_taken: 0,
            has_input_end: false,
            exit: None,
            is_exit_sent: false,
            has_timed_out: false,
        }
    }

    /// How it ended, and how many bytes each output has had.
    pub(super) fn exit(&self) -> Option<(protocol::Exit, u64, u64)> {
        let [stdout, stderr] = &self.outputs;
        Some((self.exit?, stdout.received, stderr.received))
    }

    /// Carries the streams until the client has taken everything. Returns whether the channel can
    /// carry a further request.
    ///
    /// When this returns an error, or is dropped, the program and all that it started are ended.
    ///
    /// # Errors
    /// `ended` where the session is being ended; what the client says; [`Error::Protocol`],
    /// [`Error::Lost`]; `io` where the supervisor fails.
    pub(super) async fn serve(
        &mut self,
        channel: &mut Channel,
        context: &ServiceContext,
        timeout: Option<Duration>,
        revoked: impl Future<Output = std::convert::Infallible>,
    ) -> Result<bool, Error> {
        let mut streams = Streams::new(Side::Server, STREAM_POOL_BYTES);
        streams.add(STDIN, &StreamOptions::RECEIVE);
        streams.add(STDOUT, &StreamOptions::SEND);
        streams.add(STDERR, &StreamOptions::SEND);
        let mut channel = StreamChannel::new(channel, streams);
        let deadline = async move {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        tokio::pin!(revoked);
        loop {
            let is_running = self.exit.is_none();
            tokio::select! {
                biased;
                error = context.connection().terminated() => {
                    self.end(REVOCATION_GRACE);
                    return Err(error);
                }
                never = &mut revoked => match never {},
                () = &mut deadline, if is_running && !self.has_timed_out => {
                    self.has_timed_out = true;
                    self.end(TIMEOUT_GRACE);
                }
                report = self.supervisor.next(), if is_running => {
                    self.take(report?, &mut channel)?;
                }
                input = channel.next(&SERVER_RUNNING) => {
                    let is_done = match input {
                        Ok(input) => self.take_input(input, &mut channel)?,
                        // A client that has the exit may be gone before it reads the rest.
                        Err(Error::Lost(_)) if self.is_exit_sent => return Ok(false),
                        Err(error) => return Err(error),
                    };
                    if is_done {
                        return match channel.finish().await {
                            Err(Error::Lost(_)) => Ok(false),
                            finished => finished.map(|()| true),
                        };
                    }
                }
            }
        }
    }

    fn end(&mut self, grace: Duration) {
        self.supervisor.order(&Order::End { grace });
        self.supervisor.send_now();
    }

    /// Takes a report of the supervisor.
    fn take(&mut self, report: Report, channel: &mut StreamChannel<'_>) -> Result<(), Error> {
        match report {
            Report::Output { stream, bytes, .. } => {
                let output = self.output(stream);
                output.received += bytes.len() as u64;
                output.pending.extend(bytes);
                self.pump(channel);
            }
            Report::OutputEnd { stream, .. } => {
                self.output(stream).has_ended = true;
                self.pump(channel);
            }
            Report::InputAck { offset } => {
                self.input_taken = offset;
                self.forward_input(channel);
            }
            Report::InputStop => channel.streams.stop(STDIN),
            Report::Exited(exit) => {
                self.exit = Some(exit);
                // A program with a terminal has no standard error.
                for output in &mut self.outputs {
                    output.has_ended = true;
                }
                channel.streams.stop(STDIN);
                self.pump(channel);
            }
            Report::Started { .. }
            | Report::Failed { .. }
            | Report::Stored { .. }
            | Report::Adopted(_) => {}
        }
        self.send_exit(channel)
    }

    /// Takes what the client has sent; whether it is done.
    fn take_input(
        &mut self,
        input: StreamInput,
        channel: &mut StreamChannel<'_>,
    ) -> Result<bool, Error> {
        match input {
            StreamInput::Event(StreamEvent::Readable { stream: STDIN }) => {
                self.forward_input(channel);
            }
            StreamInput::Event(StreamEvent::Writable { .. } | StreamEvent::Stopped { .. }) => {
                self.pump(channel);
                self.send_exit(channel)?;
            }
            StreamInput::Event(_) => {}
            StreamInput::Message(header) => match header.kind() {
                "signal" => {
                    let Signal { signal } = header.read()?;
                    if let Some(signal) = signals::number(&signal) {
                        self.supervisor.order(&Order::Signal { signal });
                    }
                }
                "resize" => {
                    let Resize { rows, columns } = header.read()?;
                    self.supervisor
                        .order(&Order::Resize(Size { rows, columns }));
                }
                _ => {
                    if !self.is_exit_sent {
                        return Err(lost("the client was done before the command"));
                    }
                    channel.send(&Finished {})?;
                    return Ok(true);
                }
            },
            StreamInput::End if self.is_exit_sent => return Ok(true),
            StreamInput::End => return Err(lost("the client ended while the command ran")),
        }
        Ok(false)
    }

    /// Passes output on as far as the client has room.
    fn pump(&mut self, channel: &mut StreamChannel<'_>) {
        for output in &mut self.outputs {
            if !output.pending.is_empty() {
                match channel.streams.write(output.number, &output.pending) {
                    Some(0) => continue,
                    Some(written) => drop(output.pending.drain(..written)),
                    None => {
                        output.pending.clear();
                        let stream = output.stream;
                        self.supervisor.order(&Order::OutputStop { stream });
                    }
                }
                let offset = output.received - output.pending.len() as u64;
                self.supervisor.order(&Order::OutputAck {
                    stream: output.stream,
                    offset,
                    limit: offset + u64::from(OUTPUT_WINDOW),
                });
            }
            if output.has_ended && output.pending.is_empty() && !output.is_finished {
                output.is_finished = true;
                channel.streams.finish(output.number);
            }
        }
    }

    /// Passes input on as far as the program takes it.
    fn forward_input(&mut self, channel: &mut StreamChannel<'_>) {
        loop {
            let room = INPUT_WINDOW as u64 - (self.input_sent - self.input_taken);
            let room = usize::try_from(room).unwrap_or(0).min(INPUT_BYTES_MAX);
            let part = match channel.streams.read(STDIN) {
                Read::Bytes(bytes) if room > 0 => bytes.get(..room.min(bytes.len())),
                Read::End if !self.has_input_end && self.exit.is_none() => {
                    self.has_input_end = true;
                    let offset = self.input_sent;
                    self.supervisor.order(&Order::InputEnd { offset });
                    return;
                }
                _ => return,
            };
            let bytes = part.unwrap_or_default().to_vec();
            let length = bytes.len();
            let offset = self.input_sent;
            self.supervisor.order(&Order::Input { offset, bytes });
            self.input_sent += length as u64;
            channel.streams.consume(STDIN, length);
        }
    }

    /// Tells the client how the program ended, once all output is on its way.
    fn send_exit(&mut self, channel: &mut StreamChannel<'_>) -> Result<(), Error> {
        let Some((exit, stdout, stderr)) = self.exit() else {
            return Ok(());
        };
        if self.is_exit_sent || !self.outputs.iter().all(|output| output.is_finished) {
            return Ok(());
        }
        self.is_exit_sent = true;
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (code, number) = match exit.status {
            Status::Code(code) => (Some(code), None),
            Status::Signal { signal, .. } => (None, Some(signal)),
        };
        channel.send(&Exit {
            code,
            signal: number.map(signals::name),
            number,
            timed_out: self.has_timed_out,
            stdout,
            stderr,
            user_time: microseconds(exit.user_time),
            system_time: microseconds(exit.system_time),
            memory: exit.memory_bytes_max,
        })
    }

    fn output(&mut self, stream: OutputStream) -> &mut JobOutput {
        let [stdout, stderr] = &mut self.outputs;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }
}

fn lost(problem: &str) -> Error {
    Error::Lost(problem.to_owned())
}
