//! The keyboard of a job's terminal, which its owner may lend to a watcher.
//!
//! The client that attached last is the owner of the input. A watcher to whom it offers the
//! keyboard attaches as a guest. The guest has the keyboard until one of the two gives it up: then
//! the owner has it back. There is never more than one who types and answers queries.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{ErrorCode, Message, login::UserName};
use landline_supervisor::protocol::{Order, OutputStream, Size};
use tokio::sync::oneshot;

use super::{
    super::{
        command::Words,
        messages::{Keyboard, Run},
        start::{action, may_have_terminal},
    },
    job::{Job, JobProgress, Notice},
    screen::{KEEP_SIZE, KeyboardOwner, ShownScreen},
};
use crate::{
    Error,
    keys::Facility,
    paths::Root,
    rights::{Action, Rights, WATCH},
    session::ServiceContext,
};

/// A watcher who has the keyboard in the place of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    /// Its number among the clients of the job.
    pub(super) number: u64,
    pub(super) user: UserName,
    /// From which byte of standard output on its terminal answers queries; `None` until that is
    /// known.
    pub(super) from: Option<u64>,
}

/// The owner offers the keyboard to a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) number: u64,
    /// The number of the watcher.
    pub(super) watcher: u64,
    /// The watcher's user.
    pub(super) user: UserName,
}

/// The offer that a watcher takes.
pub(in super::super) struct OfferedKeyboard {
    /// Its number.
    pub(super) number: u64,
    /// Who takes it.
    pub(super) user: UserName,
    /// Whether it was taken.
    pub(super) is_lent: AtomicBool,
}

impl OfferedKeyboard {
    fn is(&self, offer: &Offer) -> bool {
        offer.number == self.number && offer.user.folded() == self.user.folded()
    }

    /// Whether the offer is there.
    pub(super) fn is_open(&self, job: &Job) -> bool {
        let offer = job.progress().input.offer;
        offer.is_some_and(|offer| self.is(&offer))
    }
}

/// A watcher of a job.
pub(super) struct Watcher {
    pub(super) number: u64,
    pub(super) user: UserName,
    /// The session in which it watches.
    pub(super) context: ServiceContext,
}

/// Whether a user may type at the terminal of another user's job by these rules: that needs what
/// opening a shell needs, and the right to watch. Blocking.
pub(super) fn may_type(
    rules: &Rights,
    user: &UserName,
    owner: &UserName,
    root: &Root,
    share_uid: bool,
) -> bool {
    let watch = Action::Word {
        name: WATCH.name.to_owned(),
        arguments: vec![owner.as_str().as_bytes().to_vec()],
    };
    rules.may_run_commands(user, share_uid)
        && rules.check(user, &action(&Words::Login), root).allowed
        && rules.check(user, &watch, root).allowed
        && may_have_terminal(rules, user)
}

/// Checks that the user of a session may type at the terminal of another user's job.
///
/// # Errors
/// `denied`, `credential-limited`, `ended`.
pub(super) async fn check_guest(
    context: &ServiceContext,
    owner: &UserName,
    share_uid: bool,
) -> Result<(), Error> {
    context.admit(Run::TYPE)?;
    let limits = &context.session().limits;
    if limits.command.is_some() || limits.forbidden.contains(&Facility::Pty) {
        let message = "the key of this session may open no shell";
        return Err(Error::here(ErrorCode::CredentialLimited, message));
    }
    let (checked, owner) = (context.clone(), owner.clone());
    // Not among the work of that user, who could fill its table and so delay the owner.
    let checking = tokio::task::spawn_blocking(move || {
        let (rules, user) = (checked.rights().rules(), checked.user());
        may_type(&rules, user, &owner, checked.root(), share_uid)
    });
    if checking.await.unwrap_or(false) {
        Ok(())
    } else {
        let message = "you may not open a shell on this server, so you may not type at one";
        Err(Error::here(ErrorCode::Denied, message))
    }
}

impl Job {
    /// The one watcher to whom the keyboard can be handed over.
    ///
    /// # Errors
    /// Why there is none, for the user.
    pub(super) async fn only_guest(&self, share_uid: bool) -> Result<(u64, UserName), String> {
        let owner = &self.record.user;
        let others: Vec<_> = self
            .watchers()
            .iter()
            .filter(|watcher| watcher.user.folded() != owner.folded())
            .map(|watcher| {
                (
                    watcher.number,
                    watcher.user.clone(),
                    watcher.context.clone(),
                )
            })
            .collect();
        let (number, user, context) = match others.as_slice() {
            [] => return Err("no other user watches".to_owned()),
            [only] => only.clone(),
            several => {
                let count = several.len();
                return Err(format!("{count} others watch, and it must be one"));
            }
        };
        match check_guest(&context, owner, share_uid).await {
            Ok(()) => Ok((number, user)),
            Err(_) => Err(format!("{user} may not open a shell on this server")),
        }
    }

    /// Offers the keyboard to a watcher; `false` if the input belongs to another client by now.
    pub(super) fn offer_keyboard(&self, owner: u64, watcher: u64, user: &UserName) -> bool {
        let mut is_offered = false;
        self.change_input(|input| {
            is_offered = input.owner == owner && input.guest.is_none();
            if is_offered {
                input.last_offer = input.next_number();
                input.offer = Some(Offer {
                    number: input.last_offer,
                    watcher,
                    user: user.clone(),
                });
            }
        });
        is_offered
    }

    /// The owner offers the keyboard no more.
    pub(super) fn end_offer(&self, owner: u64) {
        self.change_input(|input| {
            if input.owner == owner {
                input.offer = None;
            }
        });
    }

    /// The owner takes the keyboard back, and any offer of it.
    pub(super) fn take_keyboard_back(&self, owner: u64) {
        self.change_input(|input| {
            if input.owner == owner {
                (input.guest, input.offer) = (None, None);
            }
        });
    }

    /// A guest gives the keyboard up, unless it has it no more.
    pub(super) fn end_guest(&self, number: u64) {
        self.change_input(|input| {
            input.guest.take_if(|guest| guest.number == number);
        });
    }

    /// Withdraws what is offered to a watcher that leaves.
    pub(super) fn withdraw_offer(&self, watcher: u64) {
        self.change_input(|input| {
            input.offer.take_if(|offer| offer.watcher == watcher);
        });
    }

    /// Gives the keyboard to the user to whom it was offered, whose terminal has this size if it
    /// has one. From the screen on, that terminal gets the output and answers queries.
    ///
    /// # Errors
    /// `superseded` if it is not offered any more.
    pub(super) fn lend_keyboard(
        &self,
        offered: &OfferedKeyboard,
        size: Option<Size>,
    ) -> Result<(KeyboardOwner, oneshot::Receiver<ShownScreen>), Error> {
        let mut lent = None;
        self.change_input(|input| {
            let Some(offer) = input.offer.take_if(|offer| offered.is(offer)) else {
                return;
            };
            let number = offer.number;
            input.last_guest = number;
            input.guest = Some(Guest {
                number,
                user: offer.user,
                from: None,
            });
            let stdin = input.sent;
            input.note_size(size);
            let owner = KeyboardOwner::in_place_of_owner(number, stdin);
            lent = Some((owner, self.order_screen(size, 0)));
            offered.is_lent.store(true, Ordering::Relaxed);
        });
        lent.ok_or_else(|| {
            let message = "the keyboard is not offered any more";
            Error::here(ErrorCode::Superseded, message)
        })
    }

    /// Records from where on the terminal of a guest answers queries.
    pub(super) fn set_guest_from(&self, number: u64, from: u64) {
        self.change_input(|input| {
            if let Some(guest) = input.guest.as_mut().filter(|guest| guest.number == number) {
                guest.from = Some(from);
                let lent_from = *input.lent_from.get_or_insert(from);
                input.lent_from = Some(lent_from.min(from));
            }
        });
    }

    /// Gives the terminal the size that its owner has. From the screen on, the owner's terminal
    /// answers queries again.
    fn return_keyboard(&self, size: Option<Size>) -> oneshot::Receiver<ShownScreen> {
        let mut receiver = None;
        self.change_input(|input| {
            input.note_size(size);
            receiver = Some(self.order_screen(size, 0));
        });
        receiver.unwrap_or_else(|| oneshot::channel().1)
    }

    /// Orders the screen, with this many lines of history.
    pub(super) fn order_screen(
        &self,
        size: Option<Size>,
        history: u32,
    ) -> oneshot::Receiver<ShownScreen> {
        let (sender, receiver) = oneshot::channel();
        let order = Order::Screen {
            size: size.unwrap_or(KEEP_SIZE),
            history,
        };
        self.queue(order, Notice::Screen(sender));
        receiver
    }
}

/// A client among those that had the input of a job. Dropping it says that the client has left.
pub(super) struct InputOwner {
    pub(super) job: Arc<Job>,
    /// Its number.
    pub(super) number: u64,
    /// Whether it has the keyboard in the place of the owner.
    pub(super) is_guest: bool,
}

impl Drop for InputOwner {
    fn drop(&mut self) {
        if self.is_guest {
            self.job.end_guest(self.number);
        } else if self.job.has_terminal() {
            self.job.leave_terminal(self.number);
        }
    }
}

/// Where the keyboard is, as an attached client was told.
pub(super) enum KeyboardPlace {
    /// At this client.
    Here,
    /// At a guest.
    Guest {
        /// Whether this client was told.
        is_told: bool,
    },
    /// On its way back to this client.
    Returning(Pin<Box<dyn Future<Output = Option<u64>> + Send>>),
}

impl KeyboardPlace {
    /// A guest came and went, which the owner was not told.
    pub(super) fn set_passed(&mut self) {
        if self.is_here() {
            *self = Self::Guest { is_told: false };
        }
    }

    /// Follows what has happened to the keyboard of this owner, whose terminal has this size.
    /// Returns what the owner is to be told.
    pub(super) fn follow(
        &mut self,
        job: &Arc<Job>,
        now: &JobProgress,
        size: Option<Size>,
    ) -> Option<Keyboard> {
        if matches!(self, Self::Here) && now.input.guest.is_some() {
            *self = Self::Guest { is_told: false };
        }
        let Self::Guest { is_told } = self else {
            return None;
        };
        let Some(guest) = &now.input.guest else {
            let (screen, job) = (job.return_keyboard(size), job.clone());
            *self = Self::Returning(Box::pin(async move {
                let screen = job.wait_for_screen(screen).await;
                screen.ok().map(|screen| screen.offset)
            }));
            return None;
        };
        let from = guest.from.filter(|_| !*is_told)?;
        *is_told = true;
        Some(Keyboard {
            has: false,
            user: Some(guest.user.clone()),
            from: Some(from),
            ..Keyboard::default()
        })
    }

    /// Waits until the keyboard is back. Returns what the owner is to be told.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn returned(&mut self, job: &Job) -> Keyboard {
        let Self::Returning(screen) = self else {
            return std::future::pending().await;
        };
        let from = screen.as_mut().await;
        *self = Self::Here;
        // A supervisor that does not answer writes nothing either.
        let from = from.unwrap_or_else(|| job.progress().stored_of(OutputStream::Stdout));
        Keyboard {
            has: true,
            from: Some(from),
            ..Keyboard::default()
        }
    }

    /// Whether this client has the keyboard.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Here)
    }

    /// Whether it is known whose terminal answers the queries in further output.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self, Self::Guest { is_told: false } | Self::Returning(_))
    }
}
