//! A command that runs: its streams between the client and the supervisor.

use std::time::Duration;

use landline_proto::streams::{Read, Side, StreamEvent, StreamOptions, Streams};
use landline_supervisor::{
    protocol::{
        self, Adopted, INPUT_WINDOW, InputState, Order, OutputState, OutputStream, Report, Size,
    },
    signals,
};

use super::{
    hand_over::HandOver,
    lost_runs::{Claim, Claims},
    messages::{
        Exit, Finished, HandKeyboard, Keyboard, Resize, SERVER_RUNNING, STDERR, STDIN, STDOUT,
        Signal, TerminalSize,
    },
    supervisor::Supervisor,
};
use crate::{
    Error,
    net::{Channel, StreamChannel, StreamInput},
    session::{ServiceContext, draining_error},
};

/// The most bytes of each output between supervisor and client that this server holds.
pub(super) const OUTPUT_WINDOW: u32 = 256 * 1024;
/// What the windows of a command's streams share beyond their initial sizes, in each direction.
pub(super) const STREAM_POOL_BYTES: u64 = 16 * 1024 * 1024;
/// How long it may take when its session has ended.
const REVOCATION_GRACE: Duration = Duration::from_millis(500);
/// The most bytes of input in one order.
pub(super) const INPUT_BYTES_MAX: usize = 64 * 1024;

/// A command that runs for a client.
pub(super) struct Foreground {
    supervisor: Supervisor,
    outputs: [JobOutput; 2],
    /// How many bytes of input went to the supervisor.
    input_sent: u64,
    /// How many of them the program has taken.
    input_taken: u64,
    has_input_end: bool,
    exit: Option<protocol::Exit>,
    is_exit_sent: bool,
    /// The streams to the client, unless a channel has them.
    streams: Streams,
    /// Whether a client that was lost may come back.
    outlives_channel: bool,
}

/// How [`Foreground::serve`] ended.
pub(super) enum Served {
    /// The client has taken everything.
    Done {
        /// Whether the channel can carry a further request.
        continues: bool,
    },
    /// Another connection continues.
    Claimed(Claim),
}

enum CarryEnd {
    Done,
    Left,
    Claimed(Claim),
}

/// One output on its way to the client.
struct JobOutput {
    stream: OutputStream,
    number: u64,
    /// What the client has no credit for yet.
    pending: Vec<u8>,
    /// How many bytes the supervisor has sent, to this server or one before.
    received: u64,
    /// The offset and the limit that the supervisor was told last.
    acknowledged: (u64, u64),
    has_ended: bool,
    is_finished: bool,
}

impl Foreground {
    /// A program that was just started. `outlives_channel` says whether it continues for a while
    /// when its client is lost.
    pub(super) fn new(supervisor: Supervisor, outlives_channel: bool) -> Self {
        let [stdout, stderr] = [OutputState::default(); 2];
        Self::with_state(
            supervisor,
            stdout,
            stderr,
            InputState::default(),
            outlives_channel,
        )
    }

    /// A program that an earlier server has started, whose supervisor was adopted. Its client may
    /// have more of the output than that server has told the supervisor.
    pub(super) fn adopted(supervisor: Supervisor, adopted: &Adopted) -> Self {
        let (stdout, stderr) = (adopted.stdout, adopted.stderr);
        let mut program = Self::with_state(supervisor, stdout, stderr, adopted.input, true);
        if adopted.input.has_stopped {
            program.streams.stop(STDIN);
        }
        program
    }

    fn with_state(
        supervisor: Supervisor,
        stdout: OutputState,
        stderr: OutputState,
        input: InputState,
        outlives_channel: bool,
    ) -> Self {
        let mut streams = Streams::new(Side::Server, STREAM_POOL_BYTES);
        let options = StreamOptions {
            receive_from: Some(input.received),
            ..StreamOptions::RECEIVE
        };
        streams.add(STDIN, &options);
        let mut output = |stream, number, state: OutputState| {
            let options = StreamOptions {
                send_from: Some(state.acknowledged),
                send_ahead: state.read,
                ..StreamOptions::SEND
            };
            streams.add(number, &options);
            JobOutput {
                stream,
                number,
                pending: Vec::new(),
                received: state.acknowledged,
                acknowledged: (
                    state.acknowledged,
                    state.acknowledged + u64::from(OUTPUT_WINDOW),
                ),
                has_ended: false,
                is_finished: false,
            }
        };
        Self {
            supervisor,
            outputs: [
                output(OutputStream::Stdout, STDOUT, stdout),
                output(OutputStream::Stderr, STDERR, stderr),
            ],
            input_sent: input.received,
            input_taken: input.taken,
            has_input_end: input.has_end,
            exit: None,
            is_exit_sent: false,
            streams,
            outlives_channel,
        }
    }

    /// Whether it continues for a while when its client is lost.
    pub(super) fn outlives_channel(&self) -> bool {
        self.outlives_channel
    }

    /// How it ended.
    pub(super) fn exit(&self) -> Option<protocol::Exit> {
        self.exit
    }

    /// How many bytes each output has had.
    pub(super) fn output_bytes(&self) -> [u64; 2] {
        let [stdout, stderr] = &self.outputs;
        [stdout.received, stderr.received]
    }

    /// Carries the streams until the client has taken everything, or another connection of the
    /// client continues.
    ///
    /// After an error, or when this is dropped, the caller ends the program or keeps this to
    /// [continue](Self::reconnect).
    ///
    /// # Errors
    /// `ended` where the session is being ended; `draining` where the next server continues; what
    /// the client says; [`Error::Protocol`], [`Error::Lost`]; `io` where the supervisor fails.
    pub(super) async fn serve(
        &mut self,
        channel: &mut Channel,
        context: &ServiceContext,
        revoked: impl Future<Output = std::convert::Infallible>,
        claims: &mut Claims,
        hand_over: &HandOver,
    ) -> Result<Served, Error> {
        let streams = std::mem::replace(&mut self.streams, Streams::new(Side::Server, 0));
        let mut channel = StreamChannel::new(channel, streams);
        let served = self
            .carry(&mut channel, context, revoked, claims, hand_over)
            .await;
        match served {
            Ok(CarryEnd::Done) => match channel.finish().await {
                Err(Error::Lost(_)) => Ok(Served::Done { continues: false }),
                finished => finished.map(|()| Served::Done { continues: true }),
            },
            Ok(CarryEnd::Left) => Ok(Served::Done { continues: false }),
            Ok(CarryEnd::Claimed(claim)) => {
                self.streams = channel.into_streams();
                Ok(Served::Claimed(claim))
            }
            Err(error) => {
                if error.to_peer().is_some() {
                    channel.complete_message().await;
                }
                self.streams = channel.into_streams();
                Err(error)
            }
        }
    }

    async fn carry(
        &mut self,
        channel: &mut StreamChannel<'_>,
        context: &ServiceContext,
        revoked: impl Future<Output = std::convert::Infallible>,
        claims: &mut Claims,
        hand_over: &HandOver,
    ) -> Result<CarryEnd, Error> {
        tokio::pin!(revoked);
        loop {
            let (is_running, is_continuable) = (self.exit.is_none(), self.outlives_channel);
            tokio::select! {
                biased;
                error = context.connection().terminated() => {
                    self.end_at_once();
                    return Err(error);
                }
                never = &mut revoked => match never {},
                () = hand_over.begun(), if is_continuable => return Err(draining_error()),
                Some(claim) = claims.next() => return Ok(CarryEnd::Claimed(claim)),
                report = self.supervisor.next(), if is_running => {
                    self.take(report?, &mut channel.streams)?;
                }
                input = channel.next(&SERVER_RUNNING) => {
                    let is_done = match input {
                        Ok(input) => self.take_input(input, &mut channel.streams)?,
                        // A client that has the exit may be gone before it reads the rest.
                        Err(Error::Lost(_)) if self.is_exit_sent && !self.outlives_channel => {
                            return Ok(CarryEnd::Left);
                        }
                        Err(error) => return Err(error),
                    };
                    if is_done {
                        // A further request may follow, so nothing about streams comes after it.
                        return match channel.flush().await {
                            Ok(()) => {
                                channel.send(&Finished {})?;
                                Ok(CarryEnd::Done)
                            }
                            Err(Error::Lost(_)) => Ok(CarryEnd::Left),
                            Err(error) => Err(error),
                        };
                    }
                }
            }
        }
    }

    /// Takes what the program does while there is no channel. Never returns, unless the supervisor
    /// fails.
    ///
    /// # Errors
    /// `io`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn drive(&mut self) -> Error {
        loop {
            if self.exit.is_some() {
                return std::future::pending().await;
            }
            let taken = match self.supervisor.next().await {
                Ok(report) => {
                    let mut streams =
                        std::mem::replace(&mut self.streams, Streams::new(Side::Server, 0));
                    let taken = self.take(report, &mut streams);
                    self.streams = streams;
                    taken
                }
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return error;
            }
        }
    }

    /// Continues on a new channel, once the service's messages have said so.
    pub(super) fn reconnect(&mut self) {
        self.streams.reconnect();
        self.is_exit_sent = false;
    }

    /// Ends the program and all that it started. Nothing of it is kept.
    pub(super) fn end_at_once(&mut self) {
        self.supervisor.order(Order::End {
            grace: REVOCATION_GRACE,
        });
        self.release();
    }

    /// Lets the supervisor end once the program has.
    pub(super) fn release(&mut self) {
        self.supervisor.order(Order::Leave);
        self.supervisor.send_now();
    }

    /// Sends what was ordered until the supervisor is gone. Reports are dropped.
    pub(super) async fn until_gone(&mut self) {
        while self.supervisor.next().await.is_ok() {}
    }

    /// Takes a report of the supervisor.
    fn take(&mut self, report: Report, streams: &mut Streams) -> Result<(), Error> {
        match report {
            Report::Output { stream, bytes, .. } => {
                let output = self.output(stream);
                output.received += bytes.len() as u64;
                output.pending.extend(bytes);
                self.pump(streams);
            }
            Report::OutputEnd { stream, .. } => {
                self.output(stream).has_ended = true;
                self.pump(streams);
            }
            Report::InputAck { offset } => {
                self.input_taken = offset;
                self.forward_input(streams);
            }
            Report::InputStop => streams.stop(STDIN),
            Report::Exited(exit) => {
                self.exit = Some(exit);
                // A program with a terminal has no standard error.
                for output in &mut self.outputs {
                    output.has_ended = true;
                }
                streams.stop(STDIN);
                self.pump(streams);
            }
            Report::Started { .. }
            | Report::Failed { .. }
            | Report::Stored { .. }
            | Report::Adopted(_)
            | Report::Screen { .. }
            | Report::Confirmed => {}
        }
        self.send_exit(streams)
    }

    /// Takes what the client has sent; whether it is done.
    fn take_input(&mut self, input: StreamInput, streams: &mut Streams) -> Result<bool, Error> {
        match input {
            StreamInput::Event(
                StreamEvent::Readable { stream: STDIN } | StreamEvent::Gone { stream: STDIN },
            ) => self.forward_input(streams),
            StreamInput::Event(_) => {
                self.pump(streams);
                self.send_exit(streams)?;
            }
            StreamInput::Message(header) => match header.kind() {
                "signal" => {
                    let Signal { signal } = header.read()?;
                    if let Some(signal) = signals::number(&signal) {
                        self.supervisor.order(Order::Signal { signal });
                    }
                }
                "resize" => {
                    let Resize { rows, columns } = header.read()?;
                    if let Some(TerminalSize { rows, columns }) =
                        (TerminalSize { rows, columns }).clamped()
                    {
                        self.supervisor.order(Order::Resize(Size { rows, columns }));
                    }
                }
                // A command that is no job has no watchers.
                "hand-over" => {
                    let HandKeyboard { give } = header.read()?;
                    // A client that reads no answers gets none.
                    if give && !streams.has_queued_control() {
                        streams.send_control(&Keyboard {
                            has: true,
                            refused: Some("only jobs can be watched".to_owned()),
                            ..Keyboard::default()
                        })?;
                    }
                }
                _ => {
                    if !self.is_exit_sent {
                        return Err(lost("the client was done before the command"));
                    }
                    return Ok(true);
                }
            },
            StreamInput::End if self.is_exit_sent => return Ok(true),
            // It leaves, so that nothing is to be continued.
            StreamInput::End => {
                self.outlives_channel = false;
                return Err(lost("the client ended while the command ran"));
            }
        }
        Ok(false)
    }

    /// Passes output on as far as the client has room.
    fn pump(&mut self, streams: &mut Streams) {
        let is_running = self.exit.is_none();
        for output in &mut self.outputs {
            output.skip_what_the_client_has(streams);
            if !output.pending.is_empty() {
                match streams.write(output.number, &output.pending) {
                    Some(written) => drop(output.pending.drain(..written)),
                    None => {
                        output.pending.clear();
                        let stream = output.stream;
                        self.supervisor.order(Order::OutputStop { stream });
                    }
                }
            }
            if is_running && let Some(ack) = output.next_ack(streams) {
                self.supervisor.order(ack);
            }
            if output.has_ended && output.pending.is_empty() && !output.is_finished {
                output.is_finished = true;
                streams.finish(output.number);
            }
        }
    }

    /// Passes input on as far as the program takes it. The client keeps what the program has not
    /// taken, since this server may end at any time.
    fn forward_input(&mut self, streams: &mut Streams) {
        if let Some(offsets) = streams.offsets(STDIN) {
            let taken = self.input_taken.saturating_sub(offsets.consumed);
            streams.consume(STDIN, usize::try_from(taken).unwrap_or(usize::MAX));
        }
        let consumed = streams
            .offsets(STDIN)
            .map_or(self.input_sent, |offsets| offsets.consumed);
        loop {
            let room = INPUT_WINDOW as u64 - (self.input_sent - self.input_taken);
            let room = usize::try_from(room).unwrap_or(0).min(INPUT_BYTES_MAX);
            let part = match streams.peek(STDIN, self.input_sent.saturating_sub(consumed)) {
                Read::Bytes(bytes) if room > 0 => bytes.get(..room.min(bytes.len())),
                Read::End if !self.has_input_end && self.exit.is_none() => {
                    self.has_input_end = true;
                    let offset = self.input_sent;
                    self.supervisor.order(Order::InputEnd { offset });
                    return;
                }
                _ => return,
            };
            let bytes = part.unwrap_or_default().to_vec();
            let length = bytes.len();
            let offset = self.input_sent;
            self.supervisor.order(Order::Input { offset, bytes });
            self.input_sent += length as u64;
        }
    }

    /// Tells the client how the program ended, once all output is on its way.
    fn send_exit(&mut self, streams: &mut Streams) -> Result<(), Error> {
        let Some(exit) = self.exit else {
            return Ok(());
        };
        if self.is_exit_sent || !self.outputs.iter().all(|output| output.is_finished) {
            return Ok(());
        }
        self.is_exit_sent = true;
        Ok(streams.send_control(&Exit::from(exit))?)
    }

    fn output(&mut self, stream: OutputStream) -> &mut JobOutput {
        let [stdout, stderr] = &mut self.outputs;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }
}

impl JobOutput {
    /// The offset of the first pending byte.
    fn passed_on(&self) -> u64 {
        self.received - self.pending.len() as u64
    }

    /// Drops what an earlier server has sent to the client.
    fn skip_what_the_client_has(&mut self, streams: &Streams) {
        let written = streams.offsets(self.number).map(|offsets| offsets.written);
        let skip = written.unwrap_or(0).saturating_sub(self.passed_on());
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.pending.drain(..skip.min(self.pending.len()));
    }

    /// What to tell the supervisor, if that is news. It may forget what the client has consumed,
    /// but not what only this server has.
    fn next_ack(&mut self, streams: &Streams) -> Option<Order> {
        let consumed = streams
            .offsets(self.number)
            .map_or(self.received, |offsets| offsets.acknowledged);
        let (offset, limit) = self.acknowledged;
        let now = (
            consumed.min(self.received).max(offset),
            (self.passed_on() + u64::from(OUTPUT_WINDOW)).max(limit),
        );
        (now != self.acknowledged).then(|| {
            self.acknowledged = now;
            Order::OutputAck {
                stream: self.stream,
                offset: now.0,
                limit: now.1,
            }
        })
    }
}

fn lost(problem: &str) -> Error {
    Error::Lost(problem.to_owned())
}
