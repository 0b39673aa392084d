//! The input of a job, and which client it belongs to.

use landline_proto::ErrorCode;
use landline_supervisor::protocol::{Order, Size};

use super::{
    job::Job,
    keyboard::{Guest, Offer},
    record::now,
};
use crate::Error;

/// How far the input of a job has come.
#[derive(Debug, Clone, Default)]
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
    /// The number that this client had before.
    pub(super) known: Option<u64>,
    /// The watcher who has the keyboard in the place of the owner.
    pub(super) guest: Option<Guest>,
    /// The watcher to whom the owner offers it.
    pub(super) offer: Option<Offer>,
    /// The number of the last offer.
    pub(super) last_offer: u64,
    /// The number of the last guest.
    pub(super) last_guest: u64,
    /// From which byte of standard output on a guest's terminal has answered queries, until the
    /// terminal of the owner has got what came before it answers again.
    pub(super) lent_from: Option<u64>,
    /// From which byte of standard output on no client's terminal has got it; `None` while one
    /// does.
    pub(super) unattended_from: Option<u64>,
    /// How often the size of the terminal was set.
    pub(super) resizes: u64,
    /// That size. `None` if only an earlier server knew it.
    pub(super) size: Option<Size>,
}

impl InputProgress {
    /// Makes a client the owner, which has had this number before if it has had one. Returns its
    /// number, which is above all before, also those that an earlier server gave. `None` if another
    /// client has attached since.
    pub(super) fn take_over(&mut self, known: Option<u64>) -> Option<u64> {
        // The answer to its last attempt may be lost. Then the newest number is its own.
        let is_last = known.is_none_or(|known| known >= self.owner || self.known == Some(known));
        is_last.then(|| {
            self.known = known;
            self.owner = self.next_number();
            (self.guest, self.offer) = (None, None);
            self.owner
        })
    }

    /// A number above all that clients and offers had.
    pub(super) fn next_number(&self) -> u64 {
        now().max(self.owner + 1).max(self.last_offer + 1)
    }

    /// The terminal gets this size, if it is one.
    pub(super) fn note_size(&mut self, size: Option<Size>) {
        self.resizes += u64::from(size.is_some());
        self.size = size.or(self.size);
    }

    /// The number of the client that may type now.
    pub(super) fn typist(&self) -> u64 {
        self.guest.as_ref().map_or(self.owner, |guest| guest.number)
    }
}

impl Job {
    /// Makes a client the one that the input belongs to, which had this number if it had one.
    /// Returns its number, and how much input the job was given before.
    ///
    /// # Errors
    /// `superseded` if another client has attached since.
    pub(super) fn own_input(&self, known: Option<u64>) -> Result<(u64, u64), Error> {
        let mut own = None;
        self.change_input(|input| {
            own = input.take_over(known).map(|number| (number, input.sent));
        });
        own.ok_or_else(superseded)
    }

    /// Changes who has the input, and what is known of it.
    pub(super) fn change_input(&self, change: impl FnOnce(&mut InputProgress)) {
        self.progress
            .send_modify(|progress| change(&mut progress.input));
    }

    /// Gives the terminal another size, if this client types.
    pub(super) fn resize(&self, typist: u64, size: Size) {
        self.change_input(|input| {
            if input.typist() == typist {
                input.note_size(Some(size));
                self.order(Order::Resize(size));
            }
        });
    }

    /// Sends input on, which the caller keeps within the window. `false` if another client types by
    /// now: then nothing is sent.
    pub(super) fn send_input(&self, typist: u64, bytes: Vec<u8>) -> bool {
        let mut is_own = false;
        // The order is queued in here, so that orders are in the order of their offsets.
        self.progress.send_modify(|progress| {
            let input = &mut progress.input;
            is_own = input.typist() == typist;
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

pub(super) fn superseded() -> Error {
    let message = "another client has attached to the job";
    Error::here(ErrorCode::Superseded, message)
}
