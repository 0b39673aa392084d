//! Who a channel is served for, and what they may reach.

use std::sync::Arc;

use landline_proto::login::UserName;

use super::{code_text, sessions::Connection};
use crate::{
    Error, Event, EventSink,
    audit::{Audit, Entry},
    files::Partials,
    login::Session,
    paths::Root,
};

/// Who a channel is served for, and what they may reach.
pub(crate) struct Account {
    pub(crate) root: Arc<Root>,
    pub(crate) partials: Partials,
    pub(crate) session: Session,
    /// The connection's place among the live sessions.
    pub(crate) connection: Connection,
    pub(crate) events: EventSink,
    pub(crate) audit: Audit,
}

impl Account {
    /// Who it is.
    pub(crate) fn user(&self) -> &UserName {
        &self.session.user
    }

    /// Reports an event of this session.
    pub(crate) fn report(&self, event: impl FnOnce(String, String) -> Event) {
        (self.events)(event(self.session.user.to_string(), self.session.id.clone()));
    }

    /// Writes down what is about to be done in this session, which must not be done where that fails. [`crate::audit`] says more.
    pub(crate) async fn record(&self, entry: impl FnOnce(String, String) -> Entry) -> Result<(), Error> {
        self.audit.record(self.entry(entry)).await
    }

    /// Writes down what was done in this session.
    pub(crate) fn note(&self, entry: impl FnOnce(String, String) -> Entry) {
        self.audit.note(self.entry(entry));
    }

    /// An entry about this session.
    pub(crate) fn entry(&self, entry: impl FnOnce(String, String) -> Entry) -> Entry {
        entry(self.session.user.to_string(), self.session.id.clone())
    }

    /// Reports and writes down what went wrong in this session.
    pub(crate) fn report_failure(&self, error: &Error) {
        self.note(|user, session| Entry::Failed { user, session, code: code_text(error), message: error.to_string() });
        self.report(|user, session| Event::Failed {
            user,
            session,
            code: code_text(error),
            message: error.to_string(),
        });
    }
}
