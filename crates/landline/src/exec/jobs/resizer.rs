//! The size of a job's terminal, as its client changes it.

use std::time::Duration;

use landline_supervisor::protocol::Size;
use tokio::time::Instant;

use super::{super::messages::TerminalSize, job::Job};

/// The time between two changes of a terminal's size.
const RESIZE_PAUSE: Duration = Duration::from_millis(30);

/// Gives the terminal of a job its sizes, not too often.
#[derive(Default)]
pub(super) struct Resizer {
    /// The size of the client's terminal.
    pub(super) size: Option<Size>,
    wanted: Option<Size>,
    resized_at: Option<Instant>,
}

impl Resizer {
    /// A client whose terminal has this size, which the terminal of the job has already.
    pub(super) fn new(size: Option<Size>) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Records the size of the client's terminal, which the terminal of the job gets if the client
    /// has the keyboard. Sizes that are none are ignored.
    pub(super) fn want(&mut self, size: TerminalSize, has_keyboard: bool) {
        if let Some(size) = size.to_supervisor() {
            self.size = Some(size);
            self.wanted = self.size.filter(|_| has_keyboard);
        }
    }

    /// Waits until a wanted size is to be applied.
    pub(super) async fn wait(&self) {
        match (self.wanted, self.resized_at) {
            (None, _) => std::future::pending().await,
            (Some(_), None) => {}
            (Some(_), Some(at)) => tokio::time::sleep_until(at + RESIZE_PAUSE).await,
        }
    }

    /// Wants the size that the client has, since it has the keyboard again.
    pub(super) fn want_own(&mut self) {
        self.wanted = self.size;
    }

    /// Applies a wanted size now, if this client types.
    pub(super) fn apply(&mut self, job: &Job, typist: u64) {
        if let Some(size) = self.wanted.take() {
            self.resized_at = Some(Instant::now());
            job.resize(typist, size);
        }
    }
}
