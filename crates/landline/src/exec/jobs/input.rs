//! The input of a job, and which client it belongs to.

use landline_supervisor::protocol::{Order, Size};

use super::{job::Job, record::now};

/// How far the input of a job has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InputProgress {
    /// How many bytes the supervisor was sent by all clients.
    pub(super) sent: u64,
    /// How many of them the program has taken.
    pub(super) taken: u64,
    /// Whether a client has ended it.
    pub(super) has_end: bool,
    /// Whether the program reads no more.
    pub(super) has_stopped: bool,
    /// The client that the input belongs to: the one that attached last.
    pub(super) owner: u64,
    /// From which byte of standard output on no client's terminal has got it; `None` while one
    /// does.
    pub(super) unattended_from: Option<u64>,
    /// How often the size of the terminal was set.
    pub(super) resizes: u64,
}

impl InputProgress {
    /// Makes a new client the owner. Returns its number, which is above all before, also those that
    /// an earlier server gave.
    pub(super) fn take_over(&mut self) -> u64 {
        self.owner = now().max(self.owner + 1);
        self.owner
    }
}

impl Job {
    /// Makes a new client the one that the input belongs to. Returns its number, and how much input
    /// the job was given before.
    pub(super) fn own_input(&self) -> (u64, u64) {
        let mut own = (0, 0);
        self.change_input(|input| own = (input.take_over(), input.sent));
        own
    }

    /// Changes who has the input, and what is known of it.
    pub(super) fn change_input(&self, change: impl FnOnce(&mut InputProgress)) {
        self.progress
            .send_modify(|progress| change(&mut progress.input));
    }

    /// Gives the terminal another size.
    pub(super) fn resize(&self, size: Size) {
        self.change_input(|input| {
            input.resizes += 1;
            self.order(Order::Resize(size));
        });
    }

    /// Sends input on, which the caller keeps within the window. `false` if the input belongs to
    /// another client by now: then nothing is sent.
    pub(super) fn send_input(&self, owner: u64, bytes: Vec<u8>) -> bool {
        let mut is_own = false;
        // The order is queued in here, so that orders are in the order of their offsets.
        self.progress.send_modify(|progress| {
            let input = &mut progress.input;
            is_own = input.owner == owner;
            if is_own {
                let offset = input.sent;
                input.sent += bytes.len() as u64;
                self.order(Order::Input { offset, bytes });
            }
        });
        is_own
    }

    /// Ends the input, once, unless it belongs to another client by now.
    pub(super) fn end_input(&self, owner: u64) {
        self.progress.send_if_modified(|progress| {
            let input = &mut progress.input;
            let is_end = input.owner == owner && !input.has_end;
            if is_end {
                input.has_end = true;
                let offset = input.sent;
                self.order(Order::InputEnd { offset });
            }
            is_end
        });
    }
}
