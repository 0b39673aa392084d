//! Who a channel is served for, and what they may reach.

use std::{convert::Infallible, sync::Arc};

use landline_proto::{Header, login::UserName, order::State};
use tokio::sync::watch;

use super::SessionHandle;
use crate::{
    Error, Event, EventSink,
    audit::{Audit, Entry},
    files::{Allowance, Partials},
    net::LogPace,
    paths::Root,
    rights::{Right, Rights, RightsFile},
    session::Session,
    store::Store,
};

/// Who a channel is served for, and what they may reach.
pub(crate) struct ServiceContext {
    pub(crate) root: Arc<Root>,
    pub(crate) partials: Partials,
    pub(crate) rights: Arc<RightsFile>,
    pub(crate) store: Arc<Store>,
    pub(crate) session: Session,
    /// The connection's place among the live sessions.
    pub(crate) connection: SessionHandle,
    pub(crate) events: EventSink,
    pub(crate) audit: Audit,
    /// How fast the log may grow by what the user does.
    pub(crate) log_pace: LogPace,
}

impl ServiceContext {
    /// Who it is.
    pub(crate) fn user(&self) -> &UserName {
        &self.session.user
    }

    /// Lets a message pass for which the user has the right, as far as that does not depend on what
    /// it names, unless the session is being ended.
    ///
    /// # Errors
    /// `denied`, `ended`.
    pub(crate) fn admit(&self, state: State, header: &Header) -> Result<(), Error> {
        self.connection.goes_on()?;
        self.rights.rules().admit(self.user(), state, header.kind())
    }

    /// What a copy counts against, if the user has a quota of bytes or files.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        Allowance::of(&self.store, self.user(), self.rights.quota(self.user()))
    }

    /// Ends the session once a right that the user has, or `had` before, is gone altogether, and
    /// never returns. Cancel-safe.
    pub(crate) async fn end_without(
        &self,
        rules: &mut watch::Receiver<Arc<Rights>>,
        right: Right,
        had: &mut bool,
    ) -> Infallible {
        loop {
            let has = rules.borrow_and_update().has(self.user(), right);
            if *had && !has {
                self.end_for("the rights that it went by were taken back".into())
                    .await;
                return std::future::pending().await;
            }
            *had = has;
            if rules.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Ends the session once rules come into force by which `still` is no longer so, and never
    /// returns. What the session does goes on to be polled meanwhile, so that it can stop where
    /// the reason can be told. Cancel-safe.
    pub(crate) async fn end_unless(
        &self,
        rules: &mut watch::Receiver<Arc<Rights>>,
        what: &str,
        still: impl Fn(&Rights) -> bool + Clone + Send + 'static,
    ) -> Infallible {
        while rules.changed().await.is_ok() {
            let (now, still) = (rules.borrow_and_update().clone(), still.clone());
            let holds = tokio::task::spawn_blocking(move || still(&now)).await;
            if !holds.unwrap_or(false) {
                self.end_for(format!("the right to {what} was taken back"))
                    .await;
                break;
            }
        }
        std::future::pending().await
    }

    /// Ends the session for this reason, or for the better one that the account or key is gone
    /// altogether.
    async fn end_for(&self, reason: String) {
        let (store, user, key) = (
            self.store.clone(),
            self.user().clone(),
            self.session.key.clone(),
        );
        let objection = tokio::task::spawn_blocking(move || store.objection(&user, &key)).await;
        match objection {
            Ok(Ok(Some(objection))) => self.connection.end(objection),
            _ => self.connection.end(&reason),
        }
    }

    /// Reports an event of this session.
    pub(crate) fn report(&self, event: impl FnOnce(String, String) -> Event) {
        (self.events)(event(
            self.session.user.to_string(),
            self.session.id.clone(),
        ));
    }

    /// Writes down what is about to be done in this session, which must not be done where that
    /// fails. [`crate::audit`] says more.
    pub(crate) async fn record(
        &self,
        entry: impl FnOnce(String, String) -> Entry,
    ) -> Result<(), Error> {
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
        self.note(|user, session| Entry::Failed {
            user,
            session,
            code: error.code_str(),
            message: error.to_string(),
        });
        self.report(|user, session| Event::Failed {
            user,
            session,
            code: error.code_str(),
            message: error.to_string(),
        });
    }
}
