//! What the terminal of a job shows, and which client has it.

use std::time::Duration;

use landline_proto::ErrorCode;
use landline_supervisor::{
    protocol::{Order, OutputStream, Size},
    store::{JobFolder, Piece},
};
use tokio::sync::oneshot;

use super::{
    super::{messages::AnsweredPart, terminal::OutputFilter},
    input::superseded,
    job::Job,
};
use crate::Error;

/// How many lines of history come with a screen.
const HISTORY_LINES: u32 = 200;
/// How long a supervisor may take to report its screen.
const SCREEN_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of the end of the output stands for the screen of a job that has ended, in bytes.
const TAIL_BYTES_MAX: u64 = 256 * 1024;
/// What brings a terminal to its first state.
const RESET: &[u8] = b"\x1b[!p\x1b[?1049l\x1b[m\x1b[2J\x1b[H";
/// No size: the terminal keeps the one that it has.
pub(super) const KEEP_SIZE: Size = Size {
    rows: 0,
    columns: 0,
};

/// What a terminal shows that got the output up to an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownScreen {
    /// The offset.
    pub(super) offset: u64,
    /// Whether nothing is missing.
    pub(super) is_whole: bool,
    /// What brings another terminal there.
    pub(super) bytes: Vec<u8>,
}

/// A client that has the keyboard of a job.
pub(super) struct KeyboardOwner {
    /// Its number among the clients of the job.
    pub(super) number: u64,
    /// How much input the job was given before.
    pub(super) stdin: u64,
    /// Where the output began that no terminal got until now; `None` if this client takes over
    /// from another one.
    unattended_from: Option<u64>,
}

impl KeyboardOwner {
    /// One that takes over from the owner, after this much input.
    pub(super) fn in_place_of_owner(number: u64, stdin: u64) -> Self {
        Self {
            number,
            stdin,
            unattended_from: None,
        }
    }

    /// The part of the output, up to the screen, in which queries were answered by the supervisor.
    pub(super) fn answered(&self, screen: &ShownScreen) -> Option<AnsweredPart> {
        let from = self.unattended_from?;
        (from < screen.offset).then_some(AnsweredPart {
            from,
            to: screen.offset,
        })
    }
}

impl Job {
    /// Makes a client the owner of the keyboard, which had this number if it had one, and whose
    /// terminal has this size if it has one. From the screen on, its terminal gets the output and
    /// answers queries.
    ///
    /// # Errors
    /// `superseded` if another client has attached since.
    pub(super) fn own_terminal(
        &self,
        known: Option<u64>,
        size: Option<Size>,
    ) -> Result<(KeyboardOwner, oneshot::Receiver<ShownScreen>), Error> {
        let mut owned = None;
        // The orders are queued in here, so that they are in the order of the owners.
        self.change_input(|input| {
            let Some(number) = input.take_over(known) else {
                return;
            };
            let owner = KeyboardOwner {
                number,
                stdin: input.sent,
                unattended_from: [input.unattended_from.take(), input.lent_from]
                    .into_iter()
                    .flatten()
                    .min(),
            };
            input.note_size(size);
            self.order(Order::Attended(true));
            owned = Some((owner, self.order_screen(size, HISTORY_LINES)));
        });
        owned.ok_or_else(superseded)
    }

    /// Records that a client with the keyboard has left, unless another one has it by now. Number 0
    /// is the client that is to attach to a job when it is started.
    pub(in super::super) fn leave_terminal(&self, owner: u64) {
        let stored = self.progress().stored_of(OutputStream::Stdout);
        self.change_input(|input| {
            if input.owner == owner && input.unattended_from.is_none() {
                // A guest has the keyboard only while its owner is there.
                (input.guest, input.offer) = (None, None);
                input.unattended_from = Some(stored);
                self.order(Order::Attended(false));
            }
        });
    }

    /// What the terminal shows, for a watcher.
    ///
    /// # Errors
    /// `io` if the supervisor does not answer.
    pub(super) async fn watched_screen(&self) -> Result<ShownScreen, Error> {
        self.wait_for_screen(self.order_screen(None, 0)).await
    }

    /// Waits for the answer to the order for a screen.
    ///
    /// # Errors
    /// `io` if the supervisor does not answer, or the job is over.
    pub(super) async fn wait_for_screen(
        &self,
        screen: oneshot::Receiver<ShownScreen>,
    ) -> Result<ShownScreen, Error> {
        match tokio::time::timeout(SCREEN_TIME_MAX, screen).await {
            Ok(Ok(screen)) => Ok(screen),
            Ok(Err(_)) | Err(_) => {
                let message = "the job does not answer: look at its state";
                Err(Error::here(ErrorCode::Io, message))
            }
        }
    }
}

/// What stands for the screen of a job that has ended: the end of its output. Blocking.
///
/// # Errors
/// `io`.
pub(super) fn read_last_screen(files: &JobFolder, stored: u64) -> Result<ShownScreen, Error> {
    let failed = |error| Error::io("the output of the job", &error);
    let mut offset = stored.saturating_sub(TAIL_BYTES_MAX);
    let mut is_whole = offset == 0;
    let (mut filter, mut bytes) = (OutputFilter::for_watcher(), RESET.to_vec());
    while offset < stored {
        let bytes_max = usize::try_from(stored - offset).unwrap_or(usize::MAX);
        match files
            .read(OutputStream::Stdout, offset, stored, bytes_max)
            .map_err(failed)?
        {
            Piece::Bytes(part) => {
                offset += part.len() as u64;
                filter.filter(&part, &mut bytes);
            }
            Piece::Gap { to } => {
                offset = to;
                is_whole = false;
            }
            Piece::End => break,
        }
    }
    Ok(ShownScreen {
        offset: stored,
        is_whole,
        bytes,
    })
}
