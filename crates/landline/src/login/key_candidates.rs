//! The keys that a login may use, of which the server chooses one.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{ErrorCode, login::METHOD_PASSWORD};
use zeroize::Zeroizing;

use crate::{Error, keys::UserKey, password::Password};

/// The keys of somebody who wants in: one, or several, of which the server is asked which one it
/// would accept before anything is signed.
pub struct KeyCandidates {
    keys: Vec<Arc<UserKey>>,
    ask: Arc<dyn Prompter>,
    chosen: OnceLock<usize>,
    /// Whether the server was last heard to take passwords.
    takes_passwords: AtomicBool,
    /// The password, once none of them was accepted.
    typed: OnceLock<Arc<PasswordPrompt>>,
}

/// Whom a login can ask. Everything is asked while there is no connection.
pub trait Prompter: Send + Sync {
    /// The passphrase of the key in this file. May block.
    ///
    /// # Errors
    /// [`Error::Key`] where nobody can be asked.
    fn passphrase(&self, path: &Path) -> Result<Zeroizing<String>, Error>;

    /// This key was accepted. May block.
    fn accepted(&self, key: &UserKey);

    /// The password, once no key was accepted; `None` where nobody can be asked. May block.
    ///
    /// # Errors
    /// [`Error::Password`] for one that cannot be one.
    fn password(&self) -> Result<Option<Password>, Error>;

    /// The password once more, as the one that was given was not accepted; `None` where it was not
    /// typed, or nobody can be asked. May block.
    ///
    /// # Errors
    /// [`Error::Password`] for one that cannot be one.
    fn password_again(&self) -> Result<Option<Password>, Error>;

    /// The password was accepted, and the server has proved itself with it. May block.
    fn accepted_password(&self);
}

/// A password that was asked for.
pub struct PasswordPrompt {
    password: Mutex<Password>,
    was_accepted: AtomicBool,
    ask: Arc<dyn Prompter>,
}

impl PasswordPrompt {
    /// A password, and whoever wants to know that it was accepted.
    pub fn new(password: Password, ask: Arc<dyn Prompter>) -> Self {
        Self {
            password: Mutex::new(password),
            was_accepted: AtomicBool::new(false),
            ask,
        }
    }

    /// What was typed last.
    pub(super) fn password(&self) -> Password {
        self.password
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks for it once more, as it was not accepted. False where nobody can be asked, or it was
    /// accepted before: then it is the server's that has changed, perhaps in the middle of
    /// something.
    ///
    /// # Errors
    /// [`Error::Password`].
    pub(crate) async fn ask_again(&self) -> Result<bool, Error> {
        if self.was_accepted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let ask = self.ask.clone();
        let Some(password) = blocking(move || ask.password_again()).await? else {
            return Ok(false);
        };
        *self.password.lock().unwrap_or_else(PoisonError::into_inner) = password;
        Ok(true)
    }

    /// Tells whoever wants to know that it was accepted.
    pub(crate) async fn accepted(&self) {
        self.was_accepted.store(true, Ordering::Relaxed);
        let ask = self.ask.clone();
        let told = move || {
            ask.accepted_password();
            Ok(())
        };
        // A panic of theirs does not undo the login.
        let _ = blocking(told).await;
    }
}

impl KeyCandidates {
    /// A ring of `keys`, the preferred ones first, with somebody to ask for their passphrases.
    pub fn new(keys: Vec<Arc<UserKey>>, ask: Arc<dyn Prompter>) -> Self {
        Self {
            keys,
            ask,
            chosen: OnceLock::new(),
            takes_passwords: AtomicBool::new(false),
            typed: OnceLock::new(),
        }
    }

    /// All of them.
    pub fn keys(&self) -> &[Arc<UserKey>] {
        &self.keys
    }

    /// The key to sign with; `None` while the server has not chosen one of several.
    pub fn key(&self) -> Option<&Arc<UserKey>> {
        match self.keys.as_slice() {
            [key] => Some(key),
            keys => self.chosen.get().and_then(|&key| keys.get(key)),
        }
    }

    /// Unlocks the key to sign with, asking for its passphrase if need be.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub async fn unlock(&self) -> Result<(), Error> {
        let Some(key) = self.key().filter(|key| key.is_locked()).cloned() else {
            return Ok(());
        };
        let ask = self.ask.clone();
        blocking(move || {
            let path = key.path().unwrap_or(Path::new(""));
            key.unlock(&ask.passphrase(path)?)
        })
        .await
    }

    /// The password that is used in place of the keys, once somebody was asked for it.
    pub(crate) fn typed(&self) -> Option<&Arc<PasswordPrompt>> {
        self.typed.get()
    }

    /// By what the server lets people log in.
    pub(super) fn note_methods(&self, methods: &[String]) {
        self.takes_passwords.store(
            methods.iter().any(|method| method == METHOD_PASSWORD),
            Ordering::Relaxed,
        );
    }

    /// Asks for the password, as no key was accepted; `None` where the server takes none, or nobody
    /// can be asked.
    ///
    /// # Errors
    /// [`Error::Password`].
    pub(crate) async fn ask_password(&self) -> Result<Option<&Arc<PasswordPrompt>>, Error> {
        if !self.takes_passwords.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ask = self.ask.clone();
        let Some(password) = blocking(move || ask.password()).await? else {
            return Ok(None);
        };
        let ask = self.ask.clone();
        Ok(Some(self.typed.get_or_init(|| {
            Arc::new(PasswordPrompt::new(password, ask))
        })))
    }

    /// What the server chose.
    pub(super) fn choose(&self, key: usize) {
        let _ = self.chosen.set(key);
    }

    /// Tells whoever wants to know that the key was accepted.
    pub(crate) async fn accepted(&self) {
        if let Some(key) = self.key().cloned() {
            let ask = self.ask.clone();
            let told = move || {
                ask.accepted(&key);
                Ok(())
            };
            // A panic of theirs does not undo the login.
            let _ = blocking(told).await;
        }
    }
}

/// Runs what may block where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::here(ErrorCode::Io, error.to_string())))
}
