//! The log for whoever may have something to write: a server, which has it open, or a command at
//! its machine, most of which only look.

use std::sync::{Arc, Mutex, PoisonError};

use super::Audit;
use crate::{Error, paths::PrivateFolder};

/// The log, opened when something is to be written.
#[derive(Clone)]
pub struct Book {
    /// Where a command finds it; `None` for a server.
    folder: Option<Arc<PrivateFolder>>,
    open: Arc<Mutex<Option<Audit>>>,
}

impl Book {
    /// Of a server that runs.
    pub(crate) fn of_server(audit: Audit) -> Self {
        Self {
            folder: None,
            open: Arc::new(Mutex::new(Some(audit))),
        }
    }

    /// For a command at the machine of the server that keeps its state in `folder`.
    pub(crate) fn of_command(folder: Arc<PrivateFolder>) -> Self {
        Self {
            folder: Some(folder),
            open: Arc::default(),
        }
    }

    /// The log. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where a command cannot write it, or finds that it is not what it was: to go
    /// on then is for the server to do, which says so when it starts.
    pub(crate) fn open(&self) -> Result<Audit, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*open, &self.folder) {
            (Some(audit), _) => Ok(audit.clone()),
            (None, Some(folder)) => Ok(open.insert(Audit::follow(folder)?).clone()),
            (None, None) => Err(super::gone()),
        }
    }
}
