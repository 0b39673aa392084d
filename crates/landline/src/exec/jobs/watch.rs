//! A client that sees what the terminal of a job shows.

use std::{sync::Arc, time::Duration};

use landline_proto::{
    ErrorCode, Message,
    streams::{Side, StreamEvent, StreamOptions, Streams},
};
use landline_supervisor::{
    protocol::{OutputStream, Size},
    store::{JobFolder, Piece},
    terminal::Terminal,
};
use tokio::{sync::watch, time::Instant};

use super::{
    super::{
        foreground::STREAM_POOL_BYTES,
        messages::{
            Attached, Exit, Finished, Keyboard, Resize, SERVER_WATCHED, STDERR, STDIN, STDOUT,
            TerminalSize,
        },
        terminal::OutputFilter,
    },
    attach::{BEHIND_BYTES_MAX, READ_BYTES_MAX},
    job::{Job, JobProgress, Phase},
    log::blocking,
    screen::{ShownScreen, read_last_screen},
};
use crate::{
    Error,
    net::{Channel, StreamChannel, StreamInput},
};

/// How long a burst of output is, for a watcher. One that brings too much ends with the screen.
const BURST_TIME: Duration = Duration::from_millis(100);
/// What breaks a string off that was passed on in part.
const STRING_END: &[u8] = b"\x18";

/// Carries what the terminal of a job shows until the job has ended or the client leaves. Returns
/// whether the channel can carry a further request.
///
/// A client that is too slow, or a program that is too fast, does not matter to the job: the client
/// gets the screen instead of the output. So does one whose `terminal` is smaller. The owner of the
/// keyboard may offer it to this `watcher`, which then attaches on another channel.
///
/// # Errors
/// `io` if the job is lost or does not answer; [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn watch(
    channel: &mut Channel,
    job: &Arc<Job>,
    watcher: u64,
    terminal: Option<TerminalSize>,
) -> Result<bool, Error> {
    let opening = job.clone();
    let files = Arc::new(blocking(move || opening.open_files()).await?);
    channel.send(&Attached {
        job: job.id().to_owned(),
        terminal: true,
        ..Attached::default()
    })?;
    channel.flush().await?;
    let mut streams = Streams::new(Side::Server, STREAM_POOL_BYTES);
    streams.add(STDIN, &StreamOptions::RECEIVE);
    streams.add(STDOUT, &StreamOptions::SEND);
    streams.add(STDERR, &StreamOptions::SEND);
    streams.stop(STDIN);
    streams.finish(STDERR);
    let mut progress = job.watch();
    let mut watched = WatchedOutput::new(job, files);
    watched.size = terminal.and_then(TerminalSize::to_supervisor);
    let mut last_offer = None;
    let mut channel = StreamChannel::new(channel, streams);
    loop {
        let now = progress.borrow_and_update().clone();
        watched.pump(&mut channel, &now).await?;
        watched.send_exit(&mut channel, &now)?;
        let offer = now.input.offer.filter(|offer| offer.watcher == watcher);
        if let Some(offer) = offer
            && last_offer != Some(offer.number)
        {
            last_offer = Some(offer.number);
            channel.send(&Keyboard {
                has: false,
                user: Some(job.user().clone()),
                offer: last_offer,
                ..Keyboard::default()
            })?;
        }
        let resume_at = watched.resume_at;
        tokio::select! {
            // The table holds the other end.
            Ok(()) = wait_for_news(&mut progress, resume_at.is_some()) => {
                watched.resume_at = None;
            }
            () = pause(resume_at) => watched.resume_at = None,
            input = channel.next(&SERVER_WATCHED) => match input {
                Ok(StreamInput::Event(StreamEvent::Stopped { stream: STDOUT, .. })) => {
                    watched.is_stopped = true;
                }
                Ok(StreamInput::Event(_)) => {}
                Ok(StreamInput::Message(header)) if header.kind() == Resize::TYPE => {
                    let Resize { rows, columns } = header.read()?;
                    watched.resize(TerminalSize { rows, columns });
                }
                Ok(StreamInput::Message(_)) if watched.is_exit_sent => {
                    if channel.flush().await.is_err() {
                        return Ok(false);
                    }
                    channel.send(&Finished {})?;
                    return match channel.finish().await {
                        Err(Error::Lost(_)) => Ok(false),
                        finished => finished.map(|()| true),
                    };
                }
                Ok(StreamInput::Message(_) | StreamInput::End) | Err(Error::Lost(_)) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits until the progress changes; with `only_end`, until the job is over. The output of a job may
/// be removed soon after its end, so that is read without a pause.
async fn wait_for_news(
    progress: &mut watch::Receiver<JobProgress>,
    only_end: bool,
) -> Result<(), watch::error::RecvError> {
    if only_end {
        progress.wait_for(JobProgress::is_over).await.map(drop)
    } else {
        progress.changed().await
    }
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The output on its way from the files to a watcher.
struct WatchedOutput<'a> {
    job: &'a Arc<Job>,
    files: Arc<JobFolder>,
    filter: OutputFilter,
    /// How many bytes of the output were read, or are on the screen that was sent.
    offset: u64,
    /// What the client has no credit for yet.
    pending: Vec<u8>,
    /// How many bytes were sent.
    sent: u64,
    /// The size of the watcher's terminal; `None` if its output is no terminal.
    size: Option<Size>,
    /// How often the terminal's size was set when its screen was sent last; `None` before that.
    resizes: Option<u64>,
    /// When the burst began, and how many bytes were read since.
    burst: (Instant, usize),
    /// Set after too much of a burst: when the next screen is due.
    resume_at: Option<Instant>,
    is_stopped: bool,
    is_exit_sent: bool,
}

impl<'a> WatchedOutput<'a> {
    fn new(job: &'a Arc<Job>, files: Arc<JobFolder>) -> Self {
        Self {
            job,
            files,
            filter: OutputFilter::for_watcher(),
            offset: 0,
            pending: Vec::new(),
            sent: 0,
            size: None,
            resizes: None,
            burst: (Instant::now(), 0),
            resume_at: None,
            is_stopped: false,
            is_exit_sent: false,
        }
    }

    /// The watcher's terminal has another size. A size that is none is ignored.
    fn resize(&mut self, size: TerminalSize) {
        let now = size.to_supervisor().or(self.size);
        if now != self.size {
            self.size = now;
            self.resizes = None;
            // However often it changes, there is a screen at a time.
            self.resume_at.get_or_insert(Instant::now() + BURST_TIME);
        }
    }

    /// Whether the watcher's terminal may be too small for the output of the program, which is for
    /// the size of the job's terminal.
    fn is_cropped(&self, now: &JobProgress) -> bool {
        let Some(own) = self.size else {
            return false;
        };
        let exceeds = |job: Size| job.rows > own.rows || job.columns > own.columns;
        now.input.size.is_some_and(exceeds)
    }

    /// Passes on what is shown, as far as the client has room.
    async fn pump(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        let stored = now.stored_of(OutputStream::Stdout);
        loop {
            if self.is_stopped {
                self.pending.clear();
                self.offset = stored;
                return Ok(());
            }
            if self.pending.is_empty() && !self.read_more(now, stored).await? {
                return Ok(());
            }
            match channel.streams.write(STDOUT, &self.pending) {
                Some(0) if !self.pending.is_empty() => return Ok(()),
                Some(written) => {
                    self.pending.drain(..written);
                    self.sent += written as u64;
                }
                None => self.is_stopped = true,
            }
        }
    }

    /// Reads what comes next, output or a screen; `false` if there is nothing now.
    async fn read_more(&mut self, now: &JobProgress, stored: u64) -> Result<bool, Error> {
        if self.resume_at.is_some() {
            return Ok(false);
        }
        let is_behind = stored.saturating_sub(self.offset) > BEHIND_BYTES_MAX;
        if self.resizes != Some(now.input.resizes) || is_behind {
            self.resizes = Some(now.input.resizes);
            return self.read_screen(now, stored).await.map(|()| true);
        }
        if self.offset >= stored {
            return Ok(false);
        }
        if self.is_cropped(now) {
            self.read_screen(now, stored).await?;
            self.resume_at = Some(Instant::now() + BURST_TIME);
            return Ok(true);
        }
        let (files, offset) = (self.files.clone(), self.offset);
        let reading = blocking(move || {
            let piece = files.read(OutputStream::Stdout, offset, stored, READ_BYTES_MAX);
            piece.map_err(|error| Error::io("the output of the job", &error))
        });
        match reading.await? {
            Piece::Bytes(bytes) => {
                self.offset += bytes.len() as u64;
                self.filter.filter(&bytes, &mut self.pending);
                self.note_burst(bytes.len());
                Ok(true)
            }
            Piece::Gap { .. } => self.read_screen(now, stored).await.map(|()| true),
            Piece::End => Ok(false),
        }
    }

    /// Takes the screen instead of the output up to it.
    async fn read_screen(&mut self, now: &JobProgress, stored: u64) -> Result<(), Error> {
        let screen = if now.is_over() {
            self.read_last_screen(now, stored).await?
        } else {
            match self.job.watched_screen().await {
                Err(_) if self.job.is_over() => {
                    let now = self.job.progress();
                    let stored = now.stored_of(OutputStream::Stdout);
                    self.read_last_screen(&now, stored).await?
                }
                screen => screen?,
            }
        };
        self.offset = screen.offset;
        (self.filter, self.pending) = filter_screen(&screen);
        self.burst = (Instant::now(), 0);
        Ok(())
    }

    /// What stands for the screen of a job that has ended. The supervisor cannot tell any more.
    async fn read_last_screen(&self, now: &JobProgress, stored: u64) -> Result<ShownScreen, Error> {
        let files = self.files.clone();
        let cropped = now.input.size.filter(|_| self.is_cropped(now));
        blocking(move || {
            let screen = read_last_screen(&files, stored)?;
            Ok(match cropped {
                Some(size) => crop(screen, size),
                None => screen,
            })
        })
        .await
    }

    /// Pauses after too many bytes in a short time, and then continues with the screen.
    fn note_burst(&mut self, count: usize) {
        let (begun, bytes) = self.burst;
        self.burst = if begun.elapsed() > BURST_TIME {
            (Instant::now(), count)
        } else {
            (begun, bytes + count)
        };
        let (begun, bytes) = self.burst;
        if bytes as u64 > BEHIND_BYTES_MAX {
            self.resume_at = Some(begun + BURST_TIME);
            self.resizes = None;
        }
    }

    /// Tells the client how the program ended, once all that is shown is on its way.
    fn send_exit(
        &mut self,
        channel: &mut StreamChannel<'_>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        let stored = now.stored_of(OutputStream::Stdout);
        if self.is_exit_sent || self.offset < stored || !self.pending.is_empty() {
            return Ok(());
        }
        match &now.phase {
            Phase::Ended(exit) => {
                self.is_exit_sent = true;
                channel.streams.finish(STDOUT);
                channel.send(&Exit {
                    stdout: self.sent,
                    stderr: 0,
                    ..Exit::from(*exit)
                })
            }
            Phase::Lost(reason) => {
                let message = format!("the job is lost: {reason}");
                Err(Error::here(ErrorCode::Io, message))
            }
            _ => Ok(()),
        }
    }
}

/// The upper left part of a screen of this size, for a terminal that is smaller.
fn crop(screen: ShownScreen, size: Size) -> ShownScreen {
    let mut terminal = Terminal::new(size);
    terminal.feed(&screen.bytes);
    ShownScreen {
        bytes: terminal.dump(None, usize::MAX).bytes,
        ..screen
    }
}

/// What of a screen a watcher gets, and the filter for the output after it. The screen may end
/// within a string, which the output continues.
fn filter_screen(screen: &ShownScreen) -> (OutputFilter, Vec<u8>) {
    let (mut filter, mut shown) = (OutputFilter::for_watcher(), STRING_END.to_vec());
    filter.filter(&screen.bytes, &mut shown);
    (filter, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The screen of a terminal that got this output.
    fn screen(output: &[u8]) -> ShownScreen {
        let mut terminal = Terminal::new(Size {
            rows: 5,
            columns: 20,
        });
        terminal.feed(output);
        ShownScreen {
            offset: output.len() as u64,
            is_whole: true,
            bytes: terminal.dump(None, usize::MAX).bytes,
        }
    }

    #[test]
    fn watcher_screen_has_only_visible_output() {
        let output =
            b"\x1b]2;title\x07\x1b]7;file:///srv\x07\x1b[?1000h\x1b[?2004h\x1b[>1u\x1b[?1049h\
            \x1b[?25l\x1b[31mred";
        let (_, shown) = filter_screen(&screen(output));
        let shown = String::from_utf8(shown).unwrap();
        for seen in ["red", "\x1b[0;31m", "\x1b[?1049h", "\x1b[?25l"] {
            assert!(shown.contains(seen), "{seen:?} is missing in {shown:?}");
        }
        for unseen in ["title", "srv", "1000h", "2004h", "\x1b[>1u"] {
            assert!(!shown.contains(unseen), "{unseen:?} is in {shown:?}");
        }
    }

    #[test]
    fn last_screen_does_not_wrap_in_a_smaller_terminal() {
        let line = b"0123456789abcdefghij\r\nsecond";
        let last = ShownScreen {
            offset: line.len() as u64,
            is_whole: true,
            bytes: line.to_vec(),
        };
        let size = Size {
            rows: 5,
            columns: 20,
        };
        let shown = String::from_utf8(crop(last, size).bytes).unwrap();
        assert!(shown.contains("\x1b[?7l"), "{shown:?}");
        assert!(shown.contains("\x1b[2;1H\x1b[2Ksecond"), "{shown:?}");
    }

    #[test]
    fn rest_of_a_string_is_not_shown() {
        let long = [&b"\x1b]52;c;"[..], &vec![b'A'; 2 << 20]].concat();
        let (mut filter, mut shown) = filter_screen(&screen(&long));
        filter.filter(b"AAAA\x07text", &mut shown);
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.ends_with("text") && !shown.contains("AAAA"),
            "{shown:?}"
        );
    }
}
