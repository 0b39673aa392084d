//! What a service knows of the session that it serves.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{
    BodyEnd, BodyRule, BodySize, ErrorCode, Header, ProtocolError, login::UserName,
    messages::ErrorMessage, state::SERVER_CHANNEL,
};
use tokio::sync::watch;

use super::{
    CountedUnit, ServiceDefinition, Session, SessionHandle, Subscription, TaskDrain, WorkLimits,
    WorkTable, WorkUnit, draining_error,
};
use crate::{
    Error,
    activity::Activity,
    audit::{Audit, Priority},
    net::{Channel, Received},
    paths::Root,
    rights::{Right, Rights, RightsFile},
    store::{Store, WorkStore},
};

/// What a service knows of the session that it serves, and what it does for it: the next request,
/// blocking work, audit and events. Cloning gives another handle to the same.
///
/// Draining, revocation and rights are checked here, for every service alike.
#[derive(Clone)]
pub struct ServiceContext {
    parts: Arc<ContextParts>,
    definition: &'static ServiceDefinition,
}

/// What is accepted before a service is opened.
static NO_SERVICE: ServiceDefinition = ServiceDefinition {
    name: "",
    features: &[],
    types: &[],
    requests: &SERVER_CHANNEL,
    other_states: &[],
    rights: &[("open", Right::Account), ("bundle", Right::Nothing)],
    words: &[],
    request_features: &[],
    kept_by: Right::Account,
};

/// What a [`ServiceContext`] is made of.
pub(crate) struct ContextParts {
    pub(crate) session: Session,
    /// The connection's place among the live sessions.
    pub(crate) connection: SessionHandle,
    pub(crate) drain: TaskDrain,
    pub(crate) root: Arc<Root>,
    pub(crate) rights: Arc<RightsFile>,
    pub(crate) store: Arc<Store>,
    pub(crate) work_store: WorkStore,
    pub(crate) work: WorkTable,
    pub(crate) audit: Audit,
    /// Whether the user had the right that keeps the session, when that was last looked at.
    pub(crate) had_right: AtomicBool,
}

impl ServiceContext {
    /// The context of a connection that has not opened a service.
    pub(crate) fn new(parts: ContextParts) -> Self {
        Self {
            parts: Arc::new(parts),
            definition: &NO_SERVICE,
        }
    }

    /// The same for a service that was opened.
    pub(crate) fn with_service(&self, definition: &'static ServiceDefinition) -> Self {
        Self {
            parts: self.parts.clone(),
            definition,
        }
    }

    /// The connection's place among the live sessions.
    pub(crate) fn connection(&self) -> &SessionHandle {
        &self.parts.connection
    }

    /// The user who is logged in.
    pub(crate) fn user(&self) -> &UserName {
        &self.parts.session.user
    }

    /// The session.
    pub(crate) fn session(&self) -> &Session {
        &self.parts.session
    }

    /// The address that this connection comes from.
    pub(crate) fn peer(&self) -> IpAddr {
        self.parts.connection.peer()
    }

    /// The rules in force.
    pub(crate) fn rights(&self) -> &Arc<RightsFile> {
        &self.parts.rights
    }

    /// The folders that the server serves.
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.parts.root
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.parts.store
    }

    pub(crate) fn work_store(&self) -> &WorkStore {
        &self.parts.work_store
    }

    /// Sets what this connection is doing, as `landline who` shows it: the first 200 characters.
    pub fn set_activity(&self, what: &str) {
        self.parts.connection.set_activity(what);
    }

    /// Waits for the next request, and checks that the user may make it; `None` where the client
    /// has finished. A request that the user has no right to is answered, and the next one awaited.
    ///
    /// # Errors
    /// `draining` where the server drains, `ended` where the session is being ended, what the
    /// client says, [`Error::Protocol`], [`Error::Lost`]. The channel has to end then.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_request(&self, channel: &mut Channel) -> Result<Option<Header>, Error> {
        let mut drain = self.parts.drain.clone();
        loop {
            let header = tokio::select! {
                biased;
                () = drain.wait_for_start() => return Err(draining_error()),
                error = self.parts.connection.terminated() => return Err(error),
                never = self.terminate_when_right_lost() => match never {},
                header = channel.receive_or_end(self.definition.requests) => header?,
            };
            let Some(header) = header else {
                return Ok(None);
            };
            match self.admit(header.kind()) {
                Ok(()) => return Ok(Some(header)),
                Err(
                    error @ Error::Failed {
                        code: ErrorCode::Denied | ErrorCode::CredentialLimited,
                        ..
                    },
                ) if self.may_continue_after(&header) => {
                    self.answer_failure(channel, error).await?;
                    self.receive_body(channel, &header).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the channel may continue after a denied request: it has no body, or one that the
    /// server drops.
    fn may_continue_after(&self, header: &Header) -> bool {
        let rule = self.definition.requests.check(header);
        header.body().is_none()
            || rule.is_ok_and(|rule| matches!(rule.body, BodyRule::Optional { .. }))
    }

    /// Receives the body of a request; nothing if it has none.
    ///
    /// # Errors
    /// As [`next_request`](Self::next_request).
    ///
    /// # Cancel safety
    /// Not cancel-safe: what was received is lost.
    pub(crate) async fn receive_body(
        &self,
        channel: &mut Channel,
        header: &Header,
    ) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let Some(size) = header.body() else {
            return Ok(body);
        };
        let receiving = async {
            loop {
                if let Received::End(end) = channel.receive_data(&mut body).await? {
                    return Ok::<_, Error>(end);
                }
            }
        };
        let end = tokio::select! {
            biased;
            error = self.parts.connection.terminated() => return Err(error),
            never = self.terminate_when_right_lost() => match never {},
            end = receiving => end?,
        };
        match (end, size) {
            (BodyEnd::GivenUp, BodySize::Known(declared)) => {
                let found = body.len() as u64;
                Err(ProtocolError::BodySize { declared, found }.into())
            }
            _ => Ok(body),
        }
    }

    /// Checks that the session is not being ended, that its credential may be used for a message
    /// of this type, and that the user has the right that it needs.
    ///
    /// # Errors
    /// `ended`, `credential-limited`, `denied`.
    pub(crate) fn admit(&self, kind: &str) -> Result<(), Error> {
        self.parts.connection.ensure_active()?;
        // Which service is opened is checked once it is known.
        if !std::ptr::eq(self.definition, &NO_SERVICE) {
            let feature = self.definition.feature(kind);
            let limits = &self.parts.session.limits;
            limits.check_request(self.definition.name, feature)?;
        }
        let rules = self.parts.rights.rules();
        rules.admit(self.user(), self.definition.right(kind), kind)
    }

    /// Reports what went wrong with a request and tells the client, after which the channel
    /// continues.
    ///
    /// # Errors
    /// `error` itself where the channel cannot go on after it: it concerns the connection, or the
    /// session is being ended.
    pub(crate) async fn answer_failure(
        &self,
        channel: &mut Channel,
        error: Error,
    ) -> Result<(), Error> {
        let is_about_request = match &error {
            Error::Failed { code, .. } => *code != ErrorCode::Ended,
            Error::State { .. } => true,
            _ => false,
        };
        if !is_about_request {
            return Err(error);
        }
        self.note_failure(&error);
        let reason = error
            .to_peer()
            .unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, "it failed"));
        channel.send(&reason)?;
        channel.flush().await
    }

    /// Runs blocking work for the user as a unit in the table of work, once the user has fewer than
    /// 64 others. `kind` says what it is.
    ///
    /// The work is cancelled when the session ends or this future is dropped. It notices at its
    /// next [`WorkUnit::spend`].
    ///
    /// # Errors
    /// What the work returns; `io` where it panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&WorkUnit) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let session = &self.parts.session;
        let running = self
            .parts
            .work
            .enter(&session.user, &session.id, kind)
            .await;
        let canceler = running.canceler();
        let unit = running.unit();
        let working = tokio::task::spawn_blocking(move || {
            let _running = running;
            work(&unit)
        });
        tokio::pin!(working);
        let done = tokio::select! {
            biased;
            done = &mut working => done,
            _ = self.parts.connection.terminated() => {
                canceler.cancel();
                working.await
            }
        };
        done.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }

    /// Enters work that is not blocking into the table of work, until the unit is dropped; `None`
    /// where there are too many units of this kind.
    pub(crate) fn count_work(&self, kind: &'static str, limits: WorkLimits) -> Option<CountedUnit> {
        let Session { user, id, .. } = &self.parts.session;
        self.parts.work.count(user, id, kind, limits)
    }

    /// Returns the reason to end an idle channel once the server drains.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn draining(&self) -> Error {
        self.parts.drain.clone().wait_for_start().await;
        draining_error()
    }

    /// Ends the session once a right that the user had is lost altogether, and never returns.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn terminate_when_right_lost(&self) -> Infallible {
        let (mut rules, right) = (self.parts.rights.watch(), self.definition.kept_by);
        loop {
            let has = rules.borrow_and_update().has(self.user(), right);
            let had = self.parts.had_right.swap(has, Ordering::Relaxed);
            if had && !has {
                self.terminate("the rights that it used were revoked".into())
                    .await;
                return std::future::pending().await;
            }
            if rules.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Ends the session once rules come into force by which `still` is no longer so, and never
    /// returns. What the session does is polled meanwhile, so that it can stop where the reason can
    /// be told.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn terminate_on_revocation(
        &self,
        rules: &mut watch::Receiver<Arc<Rights>>,
        what: &str,
        still: impl Fn(&Rights) -> bool + Clone + Send + 'static,
    ) -> Infallible {
        while rules.changed().await.is_ok() {
            let (now, still) = (rules.borrow_and_update().clone(), still.clone());
            let holds = tokio::task::spawn_blocking(move || still(&now)).await;
            if !holds.unwrap_or(false) {
                self.terminate(format!("the right to {what} was revoked"))
                    .await;
                break;
            }
        }
        std::future::pending().await
    }

    /// Ends the session for `reason`, or because its account or credential is no longer valid.
    async fn terminate(&self, reason: String) {
        let (store, user, credential) = (
            self.parts.store.clone(),
            self.user().clone(),
            self.parts.session.credential.clone(),
        );
        let revocation =
            tokio::task::spawn_blocking(move || store.revocation_reason(&user, &credential)).await;
        match revocation {
            Ok(Ok(Some(revocation))) => self.parts.connection.end(revocation),
            _ => self.parts.connection.end(&reason),
        }
    }

    /// Records what is about to be done in this session. The caller must not act if that fails; see
    /// [`crate::audit`].
    ///
    /// # Errors
    /// `audit`, `audit-quota`.
    pub(crate) async fn record(
        &self,
        activity: impl FnOnce(UserName, String) -> Activity,
    ) -> Result<(), Error> {
        let (activity, priority) = (self.activity(activity), self.log_priority());
        self.parts.audit.record(activity, priority).await
    }

    /// As [`record`](Self::record).
    ///
    /// # Errors
    /// As [`record`](Self::record).
    ///
    /// # Blocking
    /// Waits for the disk.
    pub(crate) fn record_blocking(
        &self,
        activity: impl FnOnce(UserName, String) -> Activity,
    ) -> Result<(), Error> {
        let (activity, priority) = (self.activity(activity), self.log_priority());
        self.parts.audit.record_blocking(activity, priority)
    }

    /// Records what was done in this session.
    pub(crate) fn note(&self, activity: impl FnOnce(UserName, String) -> Activity) {
        let (activity, priority) = (self.activity(activity), self.log_priority());
        self.parts.audit.note(activity, priority);
    }

    /// Records an error of this session.
    pub(crate) fn note_failure(&self, error: &Error) {
        self.note(|user, session| Activity::Failed {
            user,
            session,
            code: error.code_str(),
            message: error.to_string(),
        });
    }

    fn activity(&self, activity: impl FnOnce(UserName, String) -> Activity) -> Activity {
        activity(self.user().clone(), self.session().id.clone())
    }

    fn log_priority(&self) -> Priority {
        self.parts.rights.role(self.user()).log_priority()
    }

    /// Subscribes to the activities on the server that this user may see, from now on.
    pub fn subscribe(&self) -> Subscription {
        let (user, rights) = (self.user().clone(), self.rights().clone());
        Subscription::new(self.parts.audit.subscribe(), user, rights)
    }

    /// Whether the user has this right somewhere by the rules in force.
    pub fn has(&self, right: Right) -> bool {
        self.parts.rights.rules().has(self.user(), right)
    }
}
