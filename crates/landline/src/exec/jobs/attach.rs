//! A client that follows a job on the streams of a command.

use std::{sync::Arc, time::Duration};

use landline_proto::{
    ErrorCode,
    login::UserName,
    streams::{Read, Side, StreamEvent, StreamOptions, Streams},
};
use landline_supervisor::{
    protocol::{INPUT_WINDOW, Order, OutputStream},
    signals,
    store::{JobFolder, Piece},
};
use tokio::time::Instant;

use super::{
    super::{
        foreground::{INPUT_BYTES_MAX, STREAM_POOL_BYTES},
        messages::{
            AttachToJob, Attached, Exit, Finished, HandKeyboard, Keyboard, Resize, SERVER_RUNNING,
            STDIN, STDOUT, Screen, Signal, TerminalSize,
        },
        terminal::OutputFilter,
    },
    JobTable,
    beginning::{AttachedOutput, Beginning, size_of},
    input::superseded,
    job::{Job, JobProgress, Phase},
    keyboard::{InputOwner, KeyboardPlace, OfferedKeyboard},
    log::{blocking, send_body},
    resizer::Resizer,
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
/// How long the keyboard is offered to a watcher.
const OFFER_TIME: Duration = Duration::from_secs(10);
/// A client that is further behind gets the screen instead of the output, in bytes.
pub(super) const BEHIND_BYTES_MAX: u64 = 1024 * 1024;

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
    offered: Option<&OfferedKeyboard>,
) -> Result<bool, Error> {
    let opening = job.clone();
    let files = Arc::new(blocking(move || opening.open_files()).await?);
    let beginning = if job.has_terminal() {
        Beginning::at_terminal(job, &files, request, offered).await?
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
    let streams = streams_from(stdin, &outputs);
    let mut progress = job.watch();
    let mut attached = AttachedClient {
        job,
        files,
        owner,
        outputs,
        limit: 0,
        keyboard: KeyboardPlace::Here,
        returned_at: answered.map(|part| part.to),
        offered_until: None,
        last_guest: progress.borrow().input.last_guest,
        resizer: Resizer::new(size_of(request)),
        is_exit_sent: false,
    };
    if offered.is_some() {
        let [stdout, _] = &mut attached.outputs;
        stdout.filter = Some(OutputFilter::for_guest());
    }
    let mut channel = StreamChannel::new(channel, streams);
    if attached.owner.is_none() {
        channel.streams.stop(STDIN);
    }
    loop {
        let now = progress.borrow_and_update().clone();
        attached.follow_keyboard(&mut channel, &now)?;
        attached.forward_input(&mut channel, &now)?;
        attached.pump(&mut channel, &now).await?;
        attached.limit_output(&channel);
        attached.send_exit(&mut channel, &now)?;
        tokio::select! {
            // The table holds the other end.
            Ok(()) = progress.changed() => {}
            () = attached.resizer.wait() => attached.resizer.apply(job, attached.number()),
            () = sleep_until(attached.offered_until) => job.end_offer(attached.number()),
            change = attached.keyboard.returned(job) => {
                channel.send(&change)?;
                attached.returned_at = change.from;
                // The guest has set another one.
                attached.limit = 0;
                attached.resizer.want_own();
            }
            input = channel.next(&SERVER_RUNNING) => {
                let is_done = match input {
                    Ok(input) => attached.take_input(input, &mut channel, context, table).await?,
                    Err(Error::Lost(_)) => return Ok(false),
                    Err(error) => return Err(error),
                };
                match is_done {
                    Some(true) => {
                        // The owner gets the end, too.
                        if offered.is_none() {
                            table.forget_delivered(job).await;
                        }
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

/// The streams of an attached client, from these offsets on.
fn streams_from(stdin: u64, outputs: &[AttachedOutput; 2]) -> Streams {
    let mut streams = Streams::new(Side::Server, STREAM_POOL_BYTES);
    let options = StreamOptions {
        receive_from: Some(stdin),
        ..StreamOptions::RECEIVE
    };
    streams.add(STDIN, &options);
    for output in outputs {
        let options = StreamOptions {
            send_from: Some(output.offset),
            ..StreamOptions::SEND
        };
        streams.add(output.number, &options);
    }
    streams
}

struct AttachedClient<'a> {
    job: &'a Arc<Job>,
    files: Arc<JobFolder>,
    /// `None` without input.
    owner: Option<InputOwner>,
    outputs: [AttachedOutput; 2],
    /// Up to where the supervisor may read what the terminal shows; 0 at first.
    limit: u64,
    keyboard: KeyboardPlace,
    /// From which byte on the client's terminal answers again, until the client has that.
    returned_at: Option<u64>,
    /// Until when the keyboard is offered to a watcher, as the client was told.
    offered_until: Option<Instant>,
    /// The last guest of whom the client knows.
    last_guest: u64,
    resizer: Resizer,
    is_exit_sent: bool,
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl AttachedClient<'_> {
    /// The number among the clients that had the input; 0 without input.
    fn number(&self) -> u64 {
        self.owner.as_ref().map_or(0, |owner| owner.number)
    }

    /// Tells an owner of the keyboard where it is now.
    fn follow_keyboard(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        if self.owner.as_ref().is_none_or(|owner| owner.is_guest) {
            return Ok(());
        }
        let last_guest = std::mem::replace(&mut self.last_guest, now.input.last_guest);
        if last_guest != now.input.last_guest && now.input.guest.is_none() {
            self.keyboard.set_passed();
        }
        if self.offered_until.is_some() && now.input.offer.is_none() {
            self.offered_until = None;
            if now.input.guest.is_none() {
                channel.send(&Keyboard {
                    has: true,
                    ..Keyboard::default()
                })?;
            }
        }
        match self.keyboard.follow(self.job, now, self.resizer.size) {
            Some(change) => channel.send(&change),
            None => Ok(()),
        }
    }

    /// Hands the keyboard over, takes it back, or gives it back. Returns what the client is to be
    /// told.
    async fn hand_over(
        &mut self,
        gives: bool,
        context: &ServiceContext,
        table: &JobTable,
    ) -> Result<Option<Keyboard>, Error> {
        let refused = |reason: &str| Keyboard {
            has: true,
            refused: Some(reason.to_owned()),
            ..Keyboard::default()
        };
        let owner = self.owner.as_ref().filter(|_| self.job.has_terminal());
        let Some((number, is_guest)) = owner.map(|owner| (owner.number, owner.is_guest)) else {
            return Ok(Some(refused("the job has no terminal")));
        };
        let job = self.job.clone();
        let activity = |to: &UserName| {
            let (job, to) = (job.id().to_owned(), to.clone());
            |user, session| Activity::JobHandOver {
                user,
                session,
                job,
                to,
            }
        };
        let input = job.progress().input;
        match (gives, is_guest) {
            // What ends the turn of a guest is recorded with its end.
            (false, true) => job.end_guest(number),
            // The owner has the keyboard back before that is recorded.
            (false, false) => {
                job.take_keyboard_back(number);
                if input.guest.is_some() || input.offer.is_some() {
                    context.note(activity(job.user()));
                }
            }
            (true, _) => {}
        }
        let is_free = input.guest.is_none() && input.offer.is_none();
        if !gives || is_guest || !is_free || !self.keyboard.is_here() {
            return Ok(None);
        }
        let (watcher, user) = match job.only_guest(table.shares_uid()).await {
            Ok(only) => only,
            Err(reason) => return Ok(Some(refused(&reason))),
        };
        if context.record(activity(&user)).await.is_err() {
            return Ok(Some(refused("it cannot be recorded")));
        }
        let is_offered = job.offer_keyboard(number, watcher, &user);
        self.offered_until = is_offered.then(|| Instant::now() + OFFER_TIME);
        Ok(is_offered.then_some(Keyboard {
            has: true,
            user: Some(user),
            ..Keyboard::default()
        }))
    }

    /// Passes output on as far as the client has room.
    async fn pump(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        if !self.keyboard.is_settled() {
            return Ok(());
        }
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
                            match &mut output.filter {
                                Some(filter) => filter.filter(&bytes, &mut output.pending),
                                None => output.pending = bytes,
                            }
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
                if output.pending.is_empty() && output.offset >= stored {
                    break;
                }
                match channel.streams.write(output.number, &output.pending) {
                    Some(0) if !output.pending.is_empty() => break,
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
        if self.owner.is_none() || !self.job.has_terminal() || !self.keyboard.is_here() {
            return;
        }
        let offsets = channel.streams.offsets(STDOUT);
        if offsets.is_some_and(|now| self.returned_at.is_some_and(|at| now.acknowledged >= at)) {
            self.returned_at = None;
            self.job.change_input(|input| input.lent_from = None);
        }
        let limit = match offsets {
            Some(offsets) if !stdout.is_stopped => {
                // A guest's stream has offsets of its own.
                let on_the_way =
                    offsets.written - offsets.acknowledged + stdout.pending.len() as u64;
                stdout.offset - on_the_way.min(stdout.offset) + TERMINAL_WINDOW
            }
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
                let mut exit = Exit::from(*exit);
                let [stdout, _] = &self.outputs;
                if stdout.filter.is_some() {
                    let offsets = channel.streams.offsets(STDOUT);
                    exit.stdout = offsets.map_or(0, |offsets| offsets.written);
                }
                channel.send(&exit)
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
        table: &JobTable,
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
                        let is_recorded = context.record(record).await.is_ok();
                        // A guest may have lost the keyboard meanwhile.
                        let typist = self.job.progress().input.typist();
                        let is_late = |owner: &InputOwner| owner.is_guest && owner.number != typist;
                        if is_recorded && !self.owner.as_ref().is_some_and(is_late) {
                            self.job.order(Order::Signal { signal });
                        }
                    }
                }
                "resize" => {
                    let Resize { rows, columns } = header.read()?;
                    if self.owner.is_some() {
                        let size = TerminalSize { rows, columns };
                        self.resizer.want(size, self.keyboard.is_here());
                    }
                }
                "hand-over" => {
                    let HandKeyboard { give } = header.read()?;
                    // A client that reads no answers gets none.
                    if give && channel.streams.has_queued_control() {
                        return Ok(None);
                    }
                    if let Some(change) = self.hand_over(give, context, table).await? {
                        channel.send(&change)?;
                    }
                }
                _ => {
                    if self.is_exit_sent {
                        // A further request may follow, so nothing about streams comes after it.
                        match channel.flush().await {
                            Ok(()) => channel.send(&Finished {})?,
                            Err(Error::Lost(_)) => {}
                            Err(error) => return Err(error),
                        }
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
        let Some(InputOwner {
            number, is_guest, ..
        }) = self.owner
        else {
            return Ok(());
        };
        // Once the job is over, every client gets its end.
        if now.is_over() {
            channel.streams.stop(STDIN);
            return Ok(());
        }
        if is_guest && now.input.typist() != number {
            let message = format!("{} has the keyboard back", self.job.user());
            return Err(Error::here(ErrorCode::Superseded, message));
        }
        if !is_guest && now.input.owner != number {
            return Err(superseded());
        }
        if now.input.has_stopped {
            channel.streams.stop(STDIN);
            return Ok(());
        }
        loop {
            let input = self.job.progress().input;
            if !self.keyboard.is_here() || input.typist() != number {
                // What is typed while a guest has the keyboard goes nowhere.
                let Read::Bytes(bytes) = channel.streams.read(STDIN) else {
                    return Ok(());
                };
                let length = bytes.len();
                channel.streams.consume(STDIN, length);
                continue;
            }
            let room = INPUT_WINDOW as u64 - (input.sent - input.taken).min(INPUT_WINDOW as u64);
            let room = usize::try_from(room).unwrap_or(0).min(INPUT_BYTES_MAX);
            let part = match channel.streams.read(STDIN) {
                Read::Bytes(bytes) if room > 0 => bytes.get(..room.min(bytes.len())),
                // At a terminal, another client may attach and type.
                Read::End if !self.job.has_terminal() => {
                    self.job.end_input(number);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let bytes = part.unwrap_or_default().to_vec();
            let length = bytes.len();
            // What is typed is for the size at which it was typed.
            self.resizer.apply(self.job, number);
            // Another client that types by now is noticed in the next round.
            if self.job.send_input(number, bytes) {
                channel.streams.consume(STDIN, length);
            }
        }
    }
}
