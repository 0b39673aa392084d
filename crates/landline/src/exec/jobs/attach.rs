//! A client that follows a job on the streams of a command.

use std::{sync::Arc, time::Duration};

use landline_proto::{
    ErrorCode,
    streams::{Read, Side, StreamEvent, StreamOptions, Streams},
};
use landline_supervisor::{
    protocol::{INPUT_WINDOW, Order, OutputStream, Size},
    signals,
    store::{JobFolder, Piece},
};
use tokio::time::Instant;

use super::{
    super::{
        foreground::{INPUT_BYTES_MAX, STREAM_POOL_BYTES},
        messages::{
            AnsweredPart, AttachToJob, Attached, Exit, Finished, Resize, SERVER_RUNNING, STDERR,
            STDIN, STDOUT, Screen, Signal, TerminalSize,
        },
    },
    JobTable,
    job::{Job, JobProgress, Phase},
    log::{blocking, send_body},
    screen::{ShownScreen, read_last_screen},
};
use crate::{
    Error,
    activity::Activity,
    net::{Channel, StreamChannel, StreamInput},
    session::ServiceContext,
};

/// The most bytes that are read from the files at a time.
pub(super) const READ_BYTES_MAX: usize = 256 * 1024;
/// How far ahead of its client's terminal a program may write, in bytes. At 10 Mbit/s, that takes a
/// tenth of a second.
const TERMINAL_WINDOW: u64 = 128 * 1024;
/// A client that is further behind gets the screen instead of the output, in bytes.
pub(super) const BEHIND_BYTES_MAX: u64 = 1024 * 1024;
/// The time between two changes of a terminal's size.
const RESIZE_PAUSE: Duration = Duration::from_millis(30);
/// How long the end of a job may take to be recorded, when its supervisor is gone.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// Carries the streams of a job until it has ended or the client leaves. The job stays as it is,
/// unless it is to be forgotten once a client has its end. Returns whether the channel can carry a
/// further request.
///
/// # Errors
/// `superseded` once another client has attached, where the job takes input; `io` if the job is
/// lost, or output was dropped before it was sent; [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn attach(
    channel: &mut Channel,
    context: &ServiceContext,
    table: &JobTable,
    job: &Arc<Job>,
    request: &AttachToJob,
) -> Result<bool, Error> {
    if request
        .owner
        .is_some_and(|owner| owner < job.progress().input.owner)
    {
        return Err(superseded());
    }
    let opening = job.clone();
    let files = Arc::new(blocking(move || opening.open_files()).await?);
    let beginning = if job.has_terminal() {
        Beginning::at_terminal(job, &files, request).await?
    } else {
        Beginning::at_pipes(job, &files, request).await?
    };
    let Beginning {
        outputs,
        owner,
        stdin,
        screen,
        answered,
    } = beginning;
    let [stdout, stderr] = &outputs;
    channel.send(&Attached {
        job: job.id().to_owned(),
        terminal: job.has_terminal(),
        input: job.has_input(),
        stdin,
        stdout: stdout.offset,
        stderr: stderr.offset,
        owner: owner.as_ref().map_or(0, |owner| owner.number),
        screen: screen.is_some(),
        answered: answered.filter(|part| part.to > stdout.offset),
    })?;
    if let Some(screen) = screen {
        let message = Screen {
            whole: screen.is_whole,
        };
        send_body(channel, &message, &screen.bytes).await?;
    }
    channel.flush().await?;
    let mut streams = Streams::new(Side::Server, STREAM_POOL_BYTES);
    let options = StreamOptions {
        receive_from: Some(stdin),
        ..StreamOptions::RECEIVE
    };
    streams.add(STDIN, &options);
    for output in &outputs {
        let options = StreamOptions {
            send_from: Some(output.offset),
            ..StreamOptions::SEND
        };
        streams.add(output.number, &options);
    }
    let mut progress = job.watch();
    let mut attached = AttachedClient {
        job,
        files,
        owner,
        outputs,
        limit: 0,
        resizer: Resizer::default(),
        is_exit_sent: false,
    };
    let mut channel = StreamChannel::new(channel, streams);
    if attached.owner.is_none() {
        channel.streams.stop(STDIN);
    }
    loop {
        let now = progress.borrow_and_update().clone();
        attached.forward_input(&mut channel, &now)?;
        attached.pump(&mut channel, &now).await?;
        attached.limit_output(&channel);
        attached.send_exit(&mut channel, &now)?;
        tokio::select! {
            // The table holds the other end.
            Ok(()) = progress.changed() => {}
            () = attached.resizer.wait() => attached.resizer.apply(job),
            input = channel.next(&SERVER_RUNNING) => {
                let is_done = match input {
                    Ok(input) => attached.take_input(input, &mut channel, context).await?,
                    Err(Error::Lost(_)) => return Ok(false),
                    Err(error) => return Err(error),
                };
                match is_done {
                    Some(true) => {
                        table.forget_delivered(job).await;
                        return match channel.finish().await {
                            Err(Error::Lost(_)) => Ok(false),
                            finished => finished.map(|()| true),
                        };
                    }
                    Some(false) => return Ok(false),
                    None => {}
                }
            }
        }
    }
}

fn superseded() -> Error {
    let message = "another client has attached to the job";
    Error::here(ErrorCode::Superseded, message)
}

/// Where a client begins to follow a job.
struct Beginning {
    outputs: [AttachedOutput; 2],
    owner: Option<InputOwner>,
    /// How much input the job was given before.
    stdin: u64,
    screen: Option<ShownScreen>,
    answered: Option<AnsweredPart>,
}

impl Beginning {
    fn outputs(request: &AttachToJob) -> [AttachedOutput; 2] {
        let stdout = request.stdout.unwrap_or(0);
        [
            AttachedOutput::new(OutputStream::Stdout, STDOUT, stdout),
            AttachedOutput::new(OutputStream::Stderr, STDERR, request.stderr),
        ]
    }

    /// At the output that the client has not got, as far as it is kept.
    async fn at_pipes(
        job: &Arc<Job>,
        files: &Arc<JobFolder>,
        request: &AttachToJob,
    ) -> Result<Self, Error> {
        let (now, mut outputs) = (job.progress(), Self::outputs(request));
        for output in &mut outputs {
            output.skip_dropped(files, &now).await?;
        }
        // From here on, what another client sends is not taken.
        let (owner, stdin) = job.has_input().then(|| job.own_input()).unzip();
        Ok(Self {
            outputs,
            owner: owner.map(|number| InputOwner {
                job: job.clone(),
                number,
            }),
            stdin: stdin.unwrap_or(0),
            screen: None,
            answered: None,
        })
    }

    /// At the screen of the job, unless the client is not far behind.
    async fn at_terminal(
        job: &Arc<Job>,
        files: &Arc<JobFolder>,
        request: &AttachToJob,
    ) -> Result<Self, Error> {
        let mut beginning = Self {
            outputs: Self::outputs(request),
            owner: None,
            stdin: job.progress().input.sent,
            screen: None,
            answered: None,
        };
        let size = request.terminal.and_then(TerminalSize::clamped);
        let screen = beginning.own_terminal(job, size).await?;
        let now = job.progress();
        let screen = match screen {
            Some(screen) => screen,
            None if request.stdout.is_none() => {
                let (files, stored) = (files.clone(), now.stored_of(OutputStream::Stdout));
                blocking(move || read_last_screen(&files, stored)).await?
            }
            None => {
                for output in &mut beginning.outputs {
                    output.skip_dropped(files, &now).await?;
                }
                return Ok(beginning);
            }
        };
        let [stdout, _] = &mut beginning.outputs;
        if let Some(from) = request.stdout {
            stdout.skip_dropped(files, &now).await?;
            // A client that has nothing yet gets everything.
            let is_near = from == 0 || screen.offset.saturating_sub(from) <= BEHIND_BYTES_MAX;
            if is_near && stdout.offset == from {
                return Ok(beginning);
            }
        }
        stdout.offset = screen.offset;
        beginning.screen = Some(screen);
        beginning.answered = None;
        Ok(beginning)
    }

    /// Makes the client the owner of the keyboard. Returns the screen from which on its terminal
    /// shows the output; `None` if the job is over.
    async fn own_terminal(
        &mut self,
        job: &Arc<Job>,
        size: Option<TerminalSize>,
    ) -> Result<Option<ShownScreen>, Error> {
        let mut progress = job.watch();
        if progress.borrow().is_over() {
            return Ok(None);
        }
        let size = size.map(|TerminalSize { rows, columns }| Size { rows, columns });
        let (keyboard, screen) = job.own_terminal(size);
        self.stdin = keyboard.stdin;
        self.owner = Some(InputOwner {
            job: job.clone(),
            number: keyboard.number,
        });
        match job.wait_for_screen(screen).await {
            Ok(screen) => {
                self.answered = keyboard.answered(&screen);
                Ok(Some(screen))
            }
            Err(error) => {
                // It may have ended meanwhile.
                let is_over = async { progress.wait_for(JobProgress::is_over).await.is_ok() };
                let is_over = tokio::time::timeout(END_TIME_MAX, is_over).await;
                if is_over != Ok(true) {
                    return Err(error);
                }
                self.owner = None;
                Ok(None)
            }
        }
    }
}

/// A client among those that had the input of a job. Dropping it says that the client has left.
struct InputOwner {
    job: Arc<Job>,
    /// Its number.
    number: u64,
}

impl Drop for InputOwner {
    fn drop(&mut self) {
        if self.job.has_terminal() {
            self.job.leave_terminal(self.number);
        }
    }
}

/// Gives the terminal of a job its sizes, not too often.
#[derive(Default)]
struct Resizer {
    wanted: Option<Size>,
    resized_at: Option<Instant>,
}

impl Resizer {
    /// Records a wanted size. Sizes that are none are ignored.
    fn want(&mut self, size: TerminalSize) {
        if let Some(TerminalSize { rows, columns }) = size.clamped() {
            self.wanted = Some(Size { rows, columns });
        }
    }

    /// Waits until a wanted size is to be applied.
    async fn wait(&self) {
        match (self.wanted, self.resized_at) {
            (None, _) => std::future::pending().await,
            (Some(_), None) => {}
            (Some(_), Some(at)) => tokio::time::sleep_until(at + RESIZE_PAUSE).await,
        }
    }

    /// Applies a wanted size now.
    fn apply(&mut self, job: &Job) {
        if let Some(size) = self.wanted.take() {
            self.resized_at = Some(Instant::now());
            job.resize(size);
        }
    }
}

struct AttachedClient<'a> {
    job: &'a Job,
    files: Arc<JobFolder>,
    /// `None` without input.
    owner: Option<InputOwner>,
    outputs: [AttachedOutput; 2],
    /// Up to where the supervisor may read what the terminal shows; 0 at first.
    limit: u64,
    resizer: Resizer,
    is_exit_sent: bool,
}

/// An output on its way from the files to the client.
struct AttachedOutput {
    stream: OutputStream,
    number: u64,
    /// How many bytes were read.
    offset: u64,
    /// What the client has no credit for yet.
    pending: Vec<u8>,
    is_stopped: bool,
    is_finished: bool,
}

impl AttachedOutput {
    fn new(stream: OutputStream, number: u64, offset: u64) -> Self {
        Self {
            stream,
            number,
            offset,
            pending: Vec::new(),
            is_stopped: false,
            is_finished: false,
        }
    }

    /// Goes to the first byte that is kept.
    async fn skip_dropped(
        &mut self,
        files: &Arc<JobFolder>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        let stored = now.stored_of(self.stream);
        self.offset = self.offset.min(stored);
        while let Piece::Gap { to } = self.read_piece(files, stored, 1).await? {
            self.offset = to;
        }
        Ok(())
    }

    async fn read_piece(
        &self,
        files: &Arc<JobFolder>,
        stored: u64,
        bytes_max: usize,
    ) -> Result<Piece, Error> {
        let (files, stream, offset) = (files.clone(), self.stream, self.offset);
        blocking(move || {
            let piece = files.read(stream, offset, stored, bytes_max);
            piece.map_err(|error| Error::io("the output of the job", &error))
        })
        .await
    }
}

impl AttachedClient<'_> {
    /// Passes output on as far as the client has room.
    async fn pump(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        for output in &mut self.outputs {
            let stored = now.stored_of(output.stream);
            loop {
                if output.is_stopped {
                    output.offset = stored;
                    output.pending.clear();
                } else if output.pending.is_empty() && output.offset < stored {
                    match output
                        .read_piece(&self.files, stored, READ_BYTES_MAX)
                        .await?
                    {
                        Piece::Bytes(bytes) => {
                            output.offset += bytes.len() as u64;
                            output.pending = bytes;
                        }
                        Piece::Gap { to } => {
                            let count = to - output.offset;
                            let message = format!(
                                "{count} bytes of the output were dropped before they could be sent"
                            );
                            return Err(Error::here(ErrorCode::Io, message));
                        }
                        Piece::End => break,
                    }
                }
                if output.pending.is_empty() {
                    break;
                }
                match channel.streams.write(output.number, &output.pending) {
                    Some(0) => break,
                    Some(written) => drop(output.pending.drain(..written)),
                    None => output.is_stopped = true,
                }
            }
            if now.is_over()
                && output.offset >= stored
                && output.pending.is_empty()
                && !output.is_finished
            {
                output.is_finished = true;
                channel.streams.finish(output.number);
            }
        }
        Ok(())
    }

    /// Lets the program write as far ahead of the client as a person can wait for what Ctrl-C does.
    fn limit_output(&mut self, channel: &StreamChannel<'_>) {
        let [stdout, _] = &self.outputs;
        if self.owner.is_none() || !self.job.has_terminal() {
            return;
        }
        let limit = match channel.streams.offsets(STDOUT) {
            Some(offsets) if !stdout.is_stopped => offsets.acknowledged + TERMINAL_WINDOW,
            _ => u64::MAX,
        };
        if limit != self.limit {
            self.limit = limit;
            self.job.order(Order::OutputAck {
                stream: OutputStream::Stdout,
                offset: 0,
                limit,
            });
        }
    }

    /// Tells the client how the program ended, once all output is on its way.
    fn send_exit(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        if self.is_exit_sent || !self.outputs.iter().all(|output| output.is_finished) {
            return Ok(());
        }
        match &now.phase {
            Phase::Ended(exit) => {
                self.is_exit_sent = true;
                channel.streams.stop(STDIN);
                channel.send(&Exit::from(*exit))
            }
            Phase::Lost(reason) => {
                let message = format!("the job is lost: {reason}");
                Err(Error::here(ErrorCode::Io, message))
            }
            _ => Ok(()),
        }
    }

    /// Takes what the client has sent; whether the channel can continue, once the client is done.
    async fn take_input(
        &mut self,
        input: StreamInput,
        channel: &mut StreamChannel<'_>,
        context: &ServiceContext,
    ) -> Result<Option<bool>, Error> {
        match input {
            StreamInput::Event(StreamEvent::Stopped { stream, .. }) => {
                let mut outputs = self.outputs.iter_mut();
                if let Some(output) = outputs.find(|output| output.number == stream) {
                    output.is_stopped = true;
                }
            }
            StreamInput::Event(_) => {}
            StreamInput::Message(header) => match header.kind() {
                "signal" => {
                    let Signal { signal: name } = header.read()?;
                    if let Some(signal) = signals::number(&name) {
                        let job = self.job.id().to_owned();
                        let record = |user, session| Activity::JobSignal {
                            user,
                            session,
                            job,
                            signal: name,
                            tree: false,
                        };
                        // A signal that cannot be recorded is dropped. The client stays.
                        if context.record(record).await.is_ok() {
                            self.job.order(Order::Signal { signal });
                        }
                    }
                }
                "resize" => {
                    let Resize { rows, columns } = header.read()?;
                    if self.owner.is_some() {
                        self.resizer.want(TerminalSize { rows, columns });
                    }
                }
                _ => {
                    if self.is_exit_sent {
                        channel.send(&Finished {})?;
                    }
                    return Ok(Some(self.is_exit_sent));
                }
            },
            StreamInput::End => return Ok(Some(false)),
        }
        Ok(None)
    }

    /// Passes input on as far as the program takes it.
    fn forward_input(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        let Some(InputOwner { number: owner, .. }) = self.owner else {
            return Ok(());
        };
        if now.input.owner != owner {
            return Err(superseded());
        }
        if now.input.has_stopped || now.is_over() {
            channel.streams.stop(STDIN);
            return Ok(());
        }
        loop {
            let input = self.job.progress().input;
            let room = INPUT_WINDOW as u64 - (input.sent - input.taken).min(INPUT_WINDOW as u64);
            let room = usize::try_from(room).unwrap_or(0).min(INPUT_BYTES_MAX);
            let part = match channel.streams.read(STDIN) {
                Read::Bytes(bytes) if room > 0 => bytes.get(..room.min(bytes.len())),
                // At a terminal, another client may attach and type.
                Read::End if !self.job.has_terminal() => {
                    self.job.end_input(owner);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let bytes = part.unwrap_or_default().to_vec();
            let length = bytes.len();
            // What is typed is for the size at which it was typed.
            self.resizer.apply(self.job);
            if !self.job.send_input(owner, bytes) {
                return Err(superseded());
            }
            channel.streams.consume(STDIN, length);
        }
    }
}
