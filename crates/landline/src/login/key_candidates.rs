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

/// The candidate keys of a login.
///
/// If there are several, the client asks the server which one it would accept before it signs.
pub struct KeyCandidates {
    keys: Vec<Arc<UserKey>>,
    prompter: Arc<dyn Prompter>,
    chosen: OnceLock<usize>,
    /// Whether the last greeting of the server offered passwords.
    takes_passwords: AtomicBool,
    /// The password, if no key was accepted and the user typed one.
    password_prompt: OnceLock<Arc<PasswordPrompt>>,
}

/// Prompts the user. A login prompts only while there is no connection.
///
/// All methods may block.
pub trait Prompter: Send + Sync {
    /// Prompts for the passphrase of the key in this file.
    ///
    /// # Errors
    /// [`Error::Key`] if there is no terminal to prompt on.
    fn passphrase(&self, path: &Path) -> Result<Zeroizing<String>, Error>;

    /// Reports that the server accepted this key.
    fn on_key_accepted(&self, key: &UserKey);

    /// Prompts for the password, after no key was accepted.
    ///
    /// `None` if there is no terminal to prompt on.
    ///
    /// # Errors
    /// [`Error::Password`] for text that cannot be a password.
    fn password(&self) -> Result<Option<Password>, Error>;

    /// Prompts for the password again, after the server rejected it.
    ///
    /// `None` if the user did not type it, or there is no terminal to prompt on.
    ///
    /// # Errors
    /// [`Error::Password`] for text that cannot be a password.
    fn retry_password(&self) -> Result<Option<Password>, Error>;

    /// Reports that client and server have proved the password to each other.
    fn on_password_accepted(&self);
}

/// A password, and the prompter that can ask for it again.
pub struct PasswordPrompt {
    password: Mutex<Password>,
    was_accepted: AtomicBool,
    prompter: Arc<dyn Prompter>,
}

impl PasswordPrompt {
    /// A password, with the prompter to report to.
    pub fn new(password: Password, prompter: Arc<dyn Prompter>) -> Self {
        Self {
            password: Mutex::new(password),
            was_accepted: AtomicBool::new(false),
            prompter,
        }
    }

    /// The password that the user typed last.
    pub(super) fn password(&self) -> Password {
        self.password
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Prompts again after the server rejected the password.
    ///
    /// Returns false if the user cannot be prompted, or if the server accepted the password before.
    /// In the latter case the password was changed on the server.
    ///
    /// # Errors
    /// [`Error::Password`].
    pub(crate) async fn retry(&self) -> Result<bool, Error> {
        if self.was_accepted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let prompter = self.prompter.clone();
        let Some(password) = blocking(move || prompter.retry_password()).await? else {
            return Ok(false);
        };
        *self.password.lock().unwrap_or_else(PoisonError::into_inner) = password;
        Ok(true)
    }

    /// Reports to the prompter that the password was accepted.
    pub(crate) async fn report_accepted(&self) {
        self.was_accepted.store(true, Ordering::Relaxed);
        let prompter = self.prompter.clone();
        let report = move || {
            prompter.on_password_accepted();
            Ok(())
        };
        // A panic of the prompter does not undo the login.
        let _ = blocking(report).await;
    }
}

impl KeyCandidates {
    /// The candidates `keys`, in order of preference.
    pub fn new(keys: Vec<Arc<UserKey>>, prompter: Arc<dyn Prompter>) -> Self {
        Self {
            keys,
            prompter,
            chosen: OnceLock::new(),
            takes_passwords: AtomicBool::new(false),
            password_prompt: OnceLock::new(),
        }
    }

    /// All candidate keys.
    pub(crate) fn keys(&self) -> &[Arc<UserKey>] {
        &self.keys
    }

    /// The key to sign with; `None` while the server has not chosen one of several.
    pub(crate) fn key(&self) -> Option<&Arc<UserKey>> {
        match self.keys.as_slice() {
            [key] => Some(key),
            keys => self.chosen.get().and_then(|&key| keys.get(key)),
        }
    }

    /// Unlocks the key to sign with; prompts for its passphrase if necessary.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub async fn unlock(&self) -> Result<(), Error> {
        let Some(key) = self.key().filter(|key| key.is_locked()).cloned() else {
            return Ok(());
        };
        let prompter = self.prompter.clone();
        blocking(move || {
            let path = key.path().unwrap_or(Path::new(""));
            key.unlock(&prompter.passphrase(path)?)
        })
        .await
    }

    /// The password that replaces the keys, once the user typed it.
    pub(crate) fn password_prompt(&self) -> Option<&Arc<PasswordPrompt>> {
        self.password_prompt.get()
    }

    /// Records the login methods that the server offers.
    pub(super) fn set_methods(&self, methods: &[String]) {
        self.takes_passwords.store(
            methods.iter().any(|method| method == METHOD_PASSWORD),
            Ordering::Relaxed,
        );
    }

    /// Prompts for the password, after no key was accepted.
    ///
    /// `None` if the server takes no passwords, or there is no terminal to prompt on.
    ///
    /// # Errors
    /// [`Error::Password`].
    pub(crate) async fn prompt_password(&self) -> Result<Option<&Arc<PasswordPrompt>>, Error> {
        if !self.takes_passwords.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let prompter = self.prompter.clone();
        let Some(password) = blocking(move || prompter.password()).await? else {
            return Ok(None);
        };
        let prompter = self.prompter.clone();
        Ok(Some(self.password_prompt.get_or_init(|| {
            Arc::new(PasswordPrompt::new(password, prompter))
        })))
    }

    /// Records the key that the server chose.
    pub(super) fn choose(&self, key: usize) {
        let _ = self.chosen.set(key);
    }

    /// Reports to the prompter that the key was accepted.
    pub(crate) async fn report_accepted(&self) {
        if let Some(key) = self.key().cloned() {
            let prompter = self.prompter.clone();
            let report = move || {
                prompter.on_key_accepted(&key);
                Ok(())
            };
            // A panic of the prompter does not undo the login.
            let _ = blocking(report).await;
        }
    }
}

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::here(ErrorCode::Io, error.to_string())))
}
