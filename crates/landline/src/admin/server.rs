//! The server's half of the service `admin`.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message};

use super::{
    Admin, Administration, Answer, Request,
    detail::joined,
    lists::{Invites, Keys, LiveSessions, Users, send_list},
    messages::{Changed, Kick, REQUESTS, SERVICE, Who},
    rules::{Actor, RIGHTS, Rule, Whose},
};
use crate::{
    Error, Event,
    admission::Source,
    audit::Entry,
    net::Channel,
    rights::{Right, Role},
    session::{
        Service, ServiceContext, ServiceDefinition, ServiceFuture, Session, SessionInfo, Sessions,
        Threads,
    },
};

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["admin"],
    requests: &REQUESTS,
    other_states: &[],
    rights: RIGHTS,
    words: &[],
    request_features: &[],
    kept_by: Right::Role(Role::Helper),
    exit_statuses: &[],
};

/// The server's half of the service `admin`.
pub(crate) struct AdminService {
    pub(crate) administration: Arc<Administration>,
    pub(crate) sessions: Sessions,
    /// Changes never wait for the work of users.
    pub(crate) threads: Threads,
}

impl Service for AdminService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            while let Some(header) = context.next_request(channel).await? {
                match self.answer(channel, context, &header).await {
                    Ok(()) => channel.flush().await?,
                    Err(error) => context.answer_failure(channel, error).await?,
                }
            }
            Ok(())
        })
    }
}

impl AdminService {
    /// Gathers the answer to a request.
    async fn answer(
        &self,
        channel: &mut Channel,
        account: &ServiceContext,
        header: &Header,
    ) -> Result<(), Error> {
        let by = account.user().clone();
        if header.kind() == Who::TYPE {
            header.read::<Who>()?;
            let sessions = self
                .sessions
                .list(|session| may(account, Who::TYPE, session));
            let sessions = sessions.into_iter();
            // Some may be gone when it comes to them.
            let rows = sessions.filter_map(|(session, _)| self.sessions.info(&session));
            return send_list::<LiveSessions>(channel, rows).await;
        }
        if header.kind() == Kick::TYPE {
            let Kick { target } = header.read()?;
            return send_list::<LiveSessions>(channel, self.kick(account, &target).await?).await;
        }
        let Some(request) = Request::read(header)?.map(|request| request.of(&by)) else {
            return Ok(());
        };
        let (kind, subject, changes) = (
            request.kind(),
            request.subject(),
            request.changes_something(),
        );
        let administration = self.administration.clone();
        let session = account.session();
        let admin = Admin {
            user: by,
            key: session.key.clone(),
            may_grant: session.limits.may_grant,
            session: session.id.clone(),
            source: Source::of(account.peer()),
            root: account.root().clone(),
        };
        let work = move || administration.perform(Some(&admin), &request);
        let answer = self.threads.run(work).await?;
        if changes {
            report(account, kind, &subject);
        }
        match answer {
            Answer::Changed => channel.send(&Changed {}),
            Answer::Users(rows) => send_list::<Users>(channel, rows).await,
            Answer::Keys(rows) => send_list::<Keys>(channel, rows).await,
            Answer::Invites(rows) => send_list::<Invites>(channel, rows).await,
            Answer::Invite(invite) => channel.send(&invite),
            Answer::Registration(registration) => channel.send(&registration),
        }
    }

    /// Ends the sessions that `target` names now and that may be ended. One that begins meanwhile
    /// is not in the log, and goes on.
    async fn kick(
        &self,
        account: &ServiceContext,
        target: &str,
    ) -> Result<Vec<SessionInfo>, Error> {
        let is_named = |session: &Session| {
            (session.id == target || session.user.as_str() == target)
                && may(account, Who::TYPE, session)
        };
        if self.sessions.list(is_named).is_empty() {
            return Err(Error::here(
                ErrorCode::NotFound,
                "there is no such session, and no session of such a user",
            ));
        }
        let is_meant = |session: &Session| is_named(session) && may(account, Kick::TYPE, session);
        let meant = self.sessions.list(is_meant);
        if meant.is_empty() {
            let problem = format!("{} may not end sessions of {target}", account.user());
            return Err(Error::here(ErrorCode::Denied, problem));
        }
        let subject: String = target.chars().take(64).collect();
        let detail = joined(
            meant
                .iter()
                .map(|(session, user)| format!("{session} of {user}")),
        );
        let entry = |user, session| Entry::Admin {
            user: Some(user),
            session: Some(session),
            action: Kick::TYPE.to_owned(),
            subject,
            detail,
        };
        account.record(entry).await?;
        let reason = format!("{} has ended the session", account.user());
        let ended = meant
            .iter()
            .filter_map(|(session, _)| self.sessions.end(&reason, session))
            .collect();
        report(account, Kick::TYPE, target);
        Ok(ended)
    }
}

/// Whether the user may make this request about a session.
fn may(account: &ServiceContext, request: &str, session: &Session) -> bool {
    let rules = account.rights().rules();
    let actor = Actor {
        role: rules.role(account.user()),
        may_grant: account.session().limits.may_grant,
        is_by_password: false,
    };
    let whose = if session.user == *account.user() {
        Whose::Own
    } else {
        Whose::Other(rules.role(&session.user))
    };
    Rule::of(request).is_some_and(|rule| rule.check(actor, whose).is_ok())
}

fn report(account: &ServiceContext, request: &'static str, subject: &str) {
    let subject = subject.chars().take(64).collect();
    account.report(|user, session| Event::Administered {
        user,
        session,
        request,
        subject,
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        audit::{Audit, AuditOptions, Book},
        login::Identity,
        net::LogPaces,
        password::Passwords,
        paths::{PrivateFolder, Root},
        rights::{RightWords, RightsFile},
        session::{ContextParts, Drain, SessionHandle, WorkTable, tests::session},
        store::Store,
    };

    /// A service, and an account that asks at it.
    fn service_and_account(stage: &testkit::Stage) -> (AdminService, ServiceContext) {
        let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
        let store = Arc::new(Store::open(&folder.path_of("store")).unwrap());
        let (audit, _) = Audit::open(&folder, &AuditOptions::default()).unwrap();
        let words = RightWords::default();
        let rights = RightsFile::of_server(
            folder.clone(),
            words,
            audit.clone(),
            Some(&"alice".parse().unwrap()),
        );
        let rights = Arc::new(rights.unwrap());
        let fingerprint = Identity::load_or_create(&folder, false)
            .unwrap()
            .fingerprint();
        let sessions = Sessions::default();
        let account = ServiceContext::new(ContextParts {
            log_pace: LogPaces::default().of(&"alice".parse().unwrap()),
            root: Arc::new(Root::open(&stage.home(), &stage.path("server")).unwrap()),
            rights: rights.clone(),
            store: store.clone(),
            connection: begun(&sessions, "alice", "1"),
            session: session("alice", "1"),
            drain: Drain::never(),
            work: WorkTable::default(),
            events: Arc::new(|_| {}),
            audit: audit.clone(),
            had_right: AtomicBool::new(false),
        });
        let passwords = Passwords::open(&store, fingerprint).unwrap();
        let administration = Administration::new(
            folder,
            store,
            rights,
            Arc::new(passwords),
            fingerprint,
            Book::of_server(audit),
        );
        (
            AdminService {
                administration: Arc::new(administration),
                sessions,
                threads: Threads::start("test", 1).unwrap(),
            },
            account,
        )
    }

    fn begun(sessions: &Sessions, user: &str, id: &str) -> SessionHandle {
        sessions
            .begin(session(user, id), ([127, 0, 0, 1], 1).into(), None)
            .unwrap()
    }

    /// What the log says is what is done, whatever begins while it is written.
    #[tokio::test]
    async fn only_the_sessions_that_the_log_names_are_ended() {
        let stage = testkit::Stage::new("unused");
        let (service, account) = service_and_account(&stage);
        let named = begun(&service.sessions, "bob", "2");
        let mut kick = std::pin::pin!(service.kick(&account, "bob"));
        // It waits for the log.
        let early = tokio::select! {
            biased;
            ended = &mut kick => Some(ended),
            () = std::future::ready(()) => None,
        };
        let later = begun(&service.sessions, "bob", "3");
        let ended = match early {
            Some(ended) => ended,
            None => kick.await,
        };
        assert_eq!(
            ended
                .unwrap()
                .into_iter()
                .map(|info| info.session)
                .collect::<Vec<_>>(),
            ["2"]
        );
        assert!(named.ensure_active().is_err());
        assert!(later.ensure_active().is_ok() && account.connection().ensure_active().is_ok());
    }
}
