//! The keys that a login may use, of which the server chooses one.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{ErrorCode, login::METHOD_PASSWORD};
use zeroize::Zeroizing;

use crate::{Error, keys::UserKey, password::Password};

/// The candidate keys of a login.
///
/// The client asks the server which one it would accept before it signs, or has the user type a
/// passphrase. Only an unlocked key that is expected to log in signs at once.
pub struct KeyCandidates {
    keys: Vec<Arc<UserKey>>,
    /// Whether the only key is known to log in, or was named for it.
    is_expected: bool,
    prompter: Arc<dyn Prompter>,
    selection: Mutex<Selection>,
    /// Whether the last greeting of the server offered passwords.
    takes_passwords: AtomicBool,
    /// The password, if no key was accepted and the user typed one.
    password_prompt: OnceLock<Arc<PasswordPrompt>>,
}

/// What is known about the candidates.
#[derive(Default)]
struct Selection {
    /// The key that the server would accept.
    chosen: Option<Arc<UserKey>>,
    /// Keys that cannot sign, such as one whose passphrase was not typed.
    skipped: Vec<Arc<UserKey>>,
}

/// Prompts the user. A login prompts only while there is no connection.
///
/// All methods may block.
pub trait Prompter: Send + Sync {
    /// Prompts for the passphrase of the key in this file.
    ///
    /// `None` if the user skips this key. `is_retry` says that the last one was wrong.
    ///
    /// # Errors
    /// [`Error::Key`] if there is no terminal to prompt on.
    fn passphrase(&self, path: &Path, is_retry: bool) -> Result<Option<Zeroizing<String>>, Error>;

    /// Reports that a key is skipped, and why.
    fn on_key_skipped(&self, reason: &Error);

    /// Reports that the server accepted this key.
    fn on_key_accepted(&self, key: &UserKey);

    /// Prompts for the password, after no key was accepted, for the reason `refused`.
    ///
    /// `None` if the user typed none, or there is no terminal to prompt on.
    ///
    /// # Errors
    /// [`Error::Password`] for text that cannot be a password.
    fn password(&self, refused: &Error) -> Result<Option<Password>, Error>;

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
    ///
    /// `is_expected` says that the only one is known to log in, or was named for it.
    pub fn new(keys: Vec<Arc<UserKey>>, is_expected: bool, prompter: Arc<dyn Prompter>) -> Self {
        Self {
            is_expected: is_expected && keys.len() == 1,
            keys,
            prompter,
            selection: Mutex::default(),
            takes_passwords: AtomicBool::new(false),
            password_prompt: OnceLock::new(),
        }
    }

    /// The candidates that can still sign.
    pub(crate) fn remaining(&self) -> Vec<Arc<UserKey>> {
        let skipped = &self.selection().skipped;
        let remaining = self.keys.iter().filter(|key| {
            let is_same = |skipped: &Arc<UserKey>| Arc::ptr_eq(skipped, key);
            !skipped.iter().any(is_same)
        });
        remaining.cloned().collect()
    }

    /// The key to sign with; `None` if the server has to be asked.
    pub(crate) fn key(&self) -> Option<Arc<UserKey>> {
        let sole = self.keys.first().filter(|_| self.is_expected);
        let unlocked = sole.filter(|key| !key.is_locked()).cloned();
        self.selection().chosen.clone().or(unlocked)
    }

    /// The keys that were not accepted, for people. Escape before printing.
    pub(crate) fn refused(&self) -> Vec<String> {
        let describe = |key: Arc<UserKey>| format!("{} {key}", key.public().fingerprint());
        self.remaining().into_iter().map(describe).collect()
    }

    /// Unlocks the key that the server has chosen, with the passphrase that the user types.
    ///
    /// # Errors
    /// [`Error::Key`] if the key stays locked. It is no candidate any more.
    pub(crate) async fn unlock(&self) -> Result<(), Error> {
        let Some(key) = self.key().filter(|key| key.is_locked()) else {
            return Ok(());
        };
        let prompter = self.prompter.clone();
        let unlocked = blocking(move || {
            let path = key.path().unwrap_or(Path::new(""));
            key.unlock_by_asking(|is_retry| prompter.passphrase(path, is_retry))
        })
        .await;
        if unlocked.is_err() {
            self.skip_chosen();
        }
        unlocked
    }

    /// Skips the key that the server has chosen, and tells the user why.
    pub(crate) async fn skip(&self, reason: Error) -> Error {
        self.skip_chosen();
        let prompter = self.prompter.clone();
        let told = move || {
            prompter.on_key_skipped(&reason);
            Ok(reason)
        };
        blocking(told).await.unwrap_or_else(|error| error)
    }

    /// Whether the server has chosen a key.
    pub(crate) fn has_chosen(&self) -> bool {
        self.selection().chosen.is_some()
    }

    fn skip_chosen(&self) {
        let mut selection = self.selection();
        let chosen = selection.chosen.take();
        selection.skipped.extend(chosen);
    }

    fn selection(&self) -> MutexGuard<'_, Selection> {
        self.selection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    /// Prompts for the password, after no key was accepted, for the reason `refused`.
    ///
    /// # Errors
    /// `refused` if the server takes no passwords, or the user typed none; [`Error::Password`].
    pub(crate) async fn prompt_password(
        &self,
        refused: Error,
    ) -> Result<&Arc<PasswordPrompt>, Error> {
        if !self.takes_passwords.load(Ordering::Relaxed) {
            return Err(refused);
        }
        let prompter = self.prompter.clone();
        let typed = blocking(move || {
            let typed = prompter.password(&refused)?;
            typed.ok_or(refused)
        });
        let password = typed.await?;
        let prompter = self.prompter.clone();
        Ok(self
            .password_prompt
            .get_or_init(|| Arc::new(PasswordPrompt::new(password, prompter))))
    }

    /// Records the key that the server chose.
    pub(super) fn choose(&self, key: Arc<UserKey>) {
        self.selection().chosen = Some(key);
    }

    /// Reports to the prompter that the key was accepted.
    pub(crate) async fn report_accepted(&self) {
        if let Some(key) = self.key() {
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
