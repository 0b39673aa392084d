//! A client that follows a job on the streams of a command.

use std::sync::Arc;

use landline_proto::{
    ErrorCode,
    streams::{Read, Side, StreamEvent, StreamOptions, Streams},
};
use landline_supervisor::{
    protocol::{INPUT_WINDOW, Order, OutputStream, Size},
    signals,
    store::{JobFolder, Piece},
};

use super::{
    super::{
        foreground::{INPUT_BYTES_MAX, STREAM_POOL_BYTES},
        messages::{
            AttachToJob, Attached, Exit, Finished, Resize, SERVER_RUNNING, STDERR, STDIN, STDOUT,
            Signal,
        },
    },
    job::{Job, JobProgress, Phase},
    log::blocking,
};
use crate::{
    Error,
    net::{Channel, StreamChannel, StreamInput},
};

/// The most bytes that are read from the files at a time.
const READ_BYTES_MAX: usize = 256 * 1024;

/// Carries the streams of a job until it has ended or the client leaves. The job stays as it is.
/// Returns whether the channel can carry a further request.
///
/// # Errors
/// `superseded` once another client has attached, where the job takes input; `io` if the job is
/// lost, or output was dropped before it was sent; [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn attach(
    channel: &mut Channel,
    job: &Arc<Job>,
    request: &AttachToJob,
) -> Result<bool, Error> {
    let opening = job.clone();
    let files = Arc::new(blocking(move || opening.open_files()).await?);
    let mut progress = job.watch();
    let now = progress.borrow_and_update().clone();
    let mut outputs = [
        AttachedOutput::new(OutputStream::Stdout, STDOUT, request.stdout),
        AttachedOutput::new(OutputStream::Stderr, STDERR, request.stderr),
    ];
    for output in &mut outputs {
        output.skip_dropped(&files, &now).await?;
    }
    let [stdout, stderr] = &outputs;
    // From here on, what another client sends is not taken.
    let (owner, stdin) = job.has_input().then(|| job.own_input()).unzip();
    let stdin = stdin.unwrap_or(0);
    channel.send(&Attached {
        job: job.id().to_owned(),
        terminal: job.has_terminal(),
        input: job.has_input(),
        stdin,
        stdout: stdout.offset,
        stderr: stderr.offset,
    })?;
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
    let mut attached = AttachedClient {
        job,
        files,
        owner,
        outputs,
        is_exit_sent: false,
    };
    if let Some(size) = request.terminal {
        job.order(Order::Resize(Size {
            rows: size.rows,
            columns: size.columns,
        }));
    }
    let mut channel = StreamChannel::new(channel, streams);
    if attached.owner.is_none() {
        channel.streams.stop(STDIN);
    }
    loop {
        let now = progress.borrow_and_update().clone();
        attached.forward_input(&mut channel, &now)?;
        attached.pump(&mut channel, &now).await?;
        attached.send_exit(&mut channel, &now)?;
        tokio::select! {
            // The table holds the other end.
            Ok(()) = progress.changed() => {}
            input = channel.next(&SERVER_RUNNING) => {
                let is_done = match input {
                    Ok(input) => attached.take_input(input, &mut channel)?,
                    Err(Error::Lost(_)) => return Ok(false),
                    Err(error) => return Err(error),
                };
                match is_done {
                    Some(true) => {
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

struct AttachedClient<'a> {
    job: &'a Job,
    files: Arc<JobFolder>,
    /// The number of this client among those that the input belonged to; `None` without input.
    owner: Option<u64>,
    outputs: [AttachedOutput; 2],
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

    /// Takes what the client has sent; whether the channel can go on, once the client is done.
    fn take_input(
        &mut self,
        input: StreamInput,
        channel: &mut StreamChannel<'_>,
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
                    let Signal { signal } = header.read()?;
                    if let Some(signal) = signals::number(&signal) {
                        self.job.order(Order::Signal { signal });
                    }
                }
                "resize" => {
                    let Resize { rows, columns } = header.read()?;
                    if self.owner.is_some() {
                        self.job.order(Order::Resize(Size { rows, columns }));
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
        let Some(owner) = self.owner else {
            return Ok(());
        };
        let superseded = || {
            let message = "another client has attached to the job";
            Error::here(ErrorCode::Superseded, message)
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
            if !self.job.send_input(owner, bytes) {
                return Err(superseded());
            }
            channel.streams.consume(STDIN, length);
        }
    }
}
