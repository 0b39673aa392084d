//! What a client knows of the keyboard of the job that it follows.

use super::{
    client_output::WrittenOutput,
    messages::{HandKeyboard, Keyboard},
};

/// What is called with news of the keyboard.
type KeyboardHook = Box<dyn FnMut(&Keyboard) + Send>;

/// Where the keyboard of a job is.
pub(super) struct ClientKeyboard {
    /// The number of this client among those that had the input of the job; 0 if it had none.
    pub(super) owner: u64,
    pub(super) is_watching: bool,
    /// Whether this client has it in the place of the owner.
    pub(super) is_guest: bool,
    /// Whether it is offered to a watcher.
    pub(super) is_offering: bool,
    /// Whether this client takes it when it is offered.
    pub(super) takes_offers: bool,
    /// Whether no other user has it.
    pub(super) is_here: bool,
    /// Whether another user may have had it.
    pub(super) was_lent: bool,
    /// What is called with news.
    pub(super) hook: Option<KeyboardHook>,
}

impl ClientKeyboard {
    pub(super) fn new(owner: u64, is_watching: bool) -> Self {
        Self {
            owner,
            is_watching,
            is_guest: false,
            is_offering: false,
            takes_offers: false,
            is_here: true,
            was_lent: false,
            hook: None,
        }
    }

    /// Takes news from the server. Returns an offer that is to be taken.
    pub(super) fn note(&mut self, news: Keyboard, stdout: &mut WrittenOutput) -> Option<Keyboard> {
        if news.offer.is_some() {
            return Some(news).filter(|_| self.takes_offers);
        }
        self.is_offering = news.has && news.user.is_some();
        self.was_lent |= !news.has;
        self.is_here = news.has;
        if let Some(from) = news.from {
            stdout.set_answering(news.has, from);
        }
        if let Some(hook) = &mut self.hook {
            hook(&news);
        }
        None
    }

    /// Whether what is typed goes to the program.
    pub(super) fn passes_keys(&self) -> bool {
        self.is_here && !self.is_watching
    }

    /// What asks the server to hand the keyboard over, or back; `None` for a client without one.
    pub(super) fn hand_over(&mut self) -> Option<HandKeyboard> {
        let give = self.is_here && !self.is_offering && !self.is_guest;
        // From now on the server may count what another user types.
        self.was_lent |= give;
        (self.owner > 0).then_some(HandKeyboard { give })
    }
}
