//! The server's part of the service `admin`.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message, login::UserName};

use super::{
    Admin, Administration, Answer, Request,
    audit_detail::join_parts,
    audit_log::{ShowAudit, VerifyAudit},
    messages::{Changed, CheckRight, Kick, REQUESTS, SERVICE, TYPES, Who},
    paging::{Invites, Keys, LiveSessions, Secrets, SessionRow, Users, send_list},
    rules::{Actor, RIGHTS, Rule, Whose},
};
use crate::{
    Error,
    activity::Activity,
    admission::PeerNetwork,
    audit::Priority,
    net::Channel,
    rights::{Action, Right, Role},
    session::{
        AnswerGuard, Service, ServiceContext, ServiceDefinition, ServiceFuture, Session,
        SessionInfo, Sessions, Threads, WorkUnit,
    },
};

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &["admin"],
    types: TYPES,
    requests: &REQUESTS,
    other_states: &[],
    rights: RIGHTS,
    words: &[],
    request_features: &[],
    kept_by: Right::Role(Role::Helper),
};

/// The server's part of the service `admin`.
pub(crate) struct AdminService {
    pub(crate) administration: Arc<Administration>,
    pub(crate) sessions: Sessions,
    /// Workers for changes, which therefore never wait for the work of users.
    pub(crate) threads: Threads,
    /// Whether the commands of all users may run as the user of the server.
    pub(crate) share_uid: bool,
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
            // The name of the service could be taken for the role of the user.
            context.set_activity("");
            while let Some(header) = context.next_request(channel).await? {
                context.set_activity(header.kind());
                match self
                    .answer(channel, &Caller::Session(context), &header)
                    .await
                {
                    Ok(()) => {}
                    Err(error) if channel.is_sending_body() => return Err(error),
                    Err(error) => context.answer_failure(channel, error).await?,
                }
                context.set_activity("");
            }
            Ok(())
        })
    }
}

/// The sender of a request.
pub(crate) enum Caller<'a> {
    /// A logged-in user.
    Session(&'a ServiceContext),
    /// A command on the server's machine, which may do everything.
    Machine,
}

impl Caller<'_> {
    fn admin(&self) -> Option<Admin> {
        let Self::Session(context) = self else {
            return None;
        };
        let session = context.session();
        Some(Admin {
            user: context.user().clone(),
            credential: session.credential.clone(),
            may_grant: session.limits.may_grant,
            session: session.id.clone(),
            source: PeerNetwork::of(context.peer()),
            root: context.root().clone(),
        })
    }

    /// Whether the sender may make this request about a user.
    fn may(&self, request: &str, user: &UserName) -> bool {
        let Self::Session(context) = self else {
            return true;
        };
        let rules = context.rights().rules();
        let actor = Actor {
            role: rules.role(context.user()),
            may_grant: context.session().limits.may_grant,
            is_by_password: false,
        };
        let whose = if user == context.user() {
            Whose::Own
        } else {
            Whose::Other(rules.role(user))
        };
        Rule::of(request).is_some_and(|rule| rule.check(actor, whose).is_ok())
    }

    /// Keeps the session until the answer to a request has been sent.
    async fn start_answer(&self) -> Option<AnswerGuard> {
        match self {
            Self::Session(context) => Some(context.connection().start_answer().await),
            Self::Machine => None,
        }
    }
}

impl AdminService {
    /// Answers a request. A change is answered even if it ends the sender's own session.
    pub(crate) async fn answer(
        &self,
        channel: &mut Channel,
        caller: &Caller<'_>,
        header: &Header,
    ) -> Result<(), Error> {
        if header.kind() == Who::TYPE {
            header.read::<Who>()?;
            let sessions = self
                .sessions
                .list(|session| caller.may(Who::TYPE, &session.user));
            // Some may be gone when it comes to them.
            let rows = sessions
                .into_iter()
                .filter_map(|(session, _)| self.sessions.info(&session))
                .map(|info| self.session_row(info));
            send_list::<LiveSessions>(channel, rows).await?;
            return channel.flush().await;
        }
        if header.kind() == Kick::TYPE {
            let Kick { target } = header.read()?;
            let _answering = caller.start_answer().await;
            let ended = self.kick(caller, &target).await?.into_iter();
            let rows = ended.map(|info| self.session_row(info));
            send_list::<LiveSessions>(channel, rows).await?;
            return channel.flush().await;
        }
        if [CheckRight::TYPE, ShowAudit::TYPE, VerifyAudit::TYPE].contains(&header.kind()) {
            let Caller::Session(context) = caller else {
                let problem = "a command on this machine reads the files itself";
                return Err(Error::here(ErrorCode::Denied, problem));
            };
            return match header.kind() {
                CheckRight::TYPE => self.check_right(channel, caller, context, header).await,
                ShowAudit::TYPE => self.show_audit(channel, context, header).await,
                _ => self.verify_audit(channel, context).await,
            };
        }
        let Some(request) = Request::read(header)? else {
            return Ok(());
        };
        let admin = caller.admin();
        let request = match &admin {
            Some(admin) => request.of(&admin.user),
            None => request,
        };
        let _answering = match request.changes_something() {
            true => caller.start_answer().await,
            false => None,
        };
        let request = Arc::new(request);
        let checked = match (caller, &admin) {
            (Caller::Session(context), Some(admin))
                if self.administration.compares_rights(admin, &request) =>
            {
                // On no thread of logins: an account may have thousands of folders.
                let (administration, admin) = (self.administration.clone(), admin.clone());
                let checked = request.clone();
                let check = move |_: &WorkUnit| administration.check(&admin, &checked);
                Some(context.blocking("admin check", check).await?)
            }
            _ => None,
        };
        let administration = self.administration.clone();
        let work = move || match &checked {
            Some(checked) => administration.apply_checked(admin.as_ref(), &request, Some(checked)),
            None => administration.apply(admin.as_ref(), &request),
        };
        let answer = self.threads.run(work).await?;
        match answer {
            Answer::Changed => channel.send(&Changed {})?,
            Answer::Users(rows) => send_list::<Users>(channel, rows).await?,
            Answer::Keys(rows) => send_list::<Keys>(channel, rows).await?,
            Answer::Invites(rows) => send_list::<Invites>(channel, rows).await?,
            Answer::Invite(invite) => channel.send(&invite)?,
            Answer::Registration(registration) => channel.send(&registration)?,
            Answer::Secrets(rows) => send_list::<Secrets>(channel, rows).await?,
            Answer::Server(server) => channel.send(&server)?,
        }
        channel.flush().await
    }

    fn session_row(&self, info: SessionInfo) -> SessionRow {
        let role = self.administration.role(&info.user);
        SessionRow::new(info, role)
    }

    /// Ends the sessions that `target` names and that the sender may end.
    ///
    /// A session that begins meanwhile is not in the log, and is not ended.
    async fn kick(&self, caller: &Caller<'_>, target: &str) -> Result<Vec<SessionInfo>, Error> {
        let is_named = |session: &Session| {
            (session.id == target || session.user.as_str() == target)
                && caller.may(Who::TYPE, &session.user)
        };
        if self.sessions.list(is_named).is_empty() {
            return Err(Error::here(
                ErrorCode::NotFound,
                "no session has this id, and no user of this name has a session",
            ));
        }
        let is_meant =
            |session: &Session| is_named(session) && caller.may(Kick::TYPE, &session.user);
        let meant = self.sessions.list(is_meant);
        if meant.is_empty() {
            let problem = format!("you may not end sessions of {target}");
            return Err(Error::here(ErrorCode::Denied, problem));
        }
        let subject = target.chars().take(64).collect();
        let detail = join_parts(
            meant
                .iter()
                .map(|(session, user)| format!("{session} of {user}")),
        );
        let activity = |user, session| Activity::Admin {
            user,
            session,
            action: Kick::TYPE.to_owned(),
            subject,
            detail,
        };
        let reason = match caller {
            Caller::Session(context) => {
                context
                    .record(|user, session| activity(Some(user), Some(session)))
                    .await?;
                format!("{} has ended the session", context.user())
            }
            Caller::Machine => {
                let audit = self.administration.audit()?;
                audit.record(activity(None, None), Priority::Exempt).await?;
                "the session was ended on the server's machine".to_owned()
            }
        };
        let ended = meant
            .iter()
            .filter_map(|(session, _)| self.sessions.end(&reason, session));
        Ok(ended.collect())
    }

    /// Answers whether a user may do something. Every user may ask about their own account.
    async fn check_right(
        &self,
        channel: &mut Channel,
        caller: &Caller<'_>,
        context: &ServiceContext,
        header: &Header,
    ) -> Result<(), Error> {
        let CheckRight {
            user,
            right,
            arguments,
        } = header.read()?;
        if !caller.may(CheckRight::TYPE, &user) {
            let problem = format!("{} about {user} needs the role admin", CheckRight::TYPE);
            return Err(Error::here(ErrorCode::Denied, problem));
        }
        let (rules, root) = (context.rights().rules(), context.root().clone());
        let arguments = arguments.into_iter().map(|argument| argument.0).collect();
        let action = Action::parse(&right, arguments, rules.words())
            .map_err(|problem| Error::here(ErrorCode::NameRefused, problem))?;
        let share_uid = self.share_uid;
        let check = move |_: &WorkUnit| Ok(rules.check_at_server(&user, &action, &root, share_uid));
        let verdict = context.blocking("admin check-right", check).await?;
        channel.send(&verdict)?;
        channel.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{atomic::AtomicBool, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::{
        admin::messages::RemoveUser,
        audit::{Audit, AuditOptions},
        keys::CredentialId,
        login::Identity,
        password::Passwords,
        paths::{PrivateFolder, Root},
        rights::{RightWords, RightsFile},
        session::{ContextParts, SessionHandle, TaskDrain, WorkTable, tests::session},
        store::{Store, WorkStore},
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
            root: Arc::new(Root::open(&stage.home(), &stage.path("server")).unwrap()),
            rights: rights.clone(),
            work_store: WorkStore::open(&folder, &store).unwrap(),
            store: store.clone(),
            connection: begun(&sessions, "alice", "1"),
            session: session("alice", "1"),
            drain: TaskDrain::never(),
            work: WorkTable::default(),
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
            Some(audit),
        );
        (
            AdminService {
                administration: Arc::new(administration),
                sessions,
                threads: Threads::start("test", 1).unwrap(),
                share_uid: false,
            },
            account,
        )
    }

    fn begun(sessions: &Sessions, user: &str, id: &str) -> SessionHandle {
        sessions
            .begin(session(user, id), ([127, 0, 0, 1], 1).into(), None)
            .unwrap()
    }

    /// Otherwise a user without a role could delay all changes of admins.
    /// Proves `lock-before-check` in docs/faults.md.
    #[test]
    fn denied_request_waits_for_no_change() {
        let stage = testkit::Stage::new("unused");
        let (service, _account) = service_and_account(&stage);
        let bob = Admin {
            user: "bob".parse().unwrap(),
            credential: CredentialId::Key("SHA256:x".into()),
            may_grant: true,
            session: "2".into(),
            source: PeerNetwork::of([127, 0, 0, 1].into()),
            root: Arc::new(Root::open(&stage.home(), &stage.path("server")).unwrap()),
        };
        let request = RemoveUser {
            user: "alice".parse().unwrap(),
            force: true,
        };
        let administration = service.administration.clone();
        let changing = service.administration.lock_changes();
        let (sender, answers) = mpsc::channel();
        let asking = std::thread::spawn(move || {
            let answer = administration.apply(Some(&bob), &request.into());
            let _ = sender.send(answer.map(drop));
        });
        let answer = answers.recv_timeout(Duration::from_secs(20));
        drop(changing);
        asking.join().unwrap();
        let error = answer.expect("an answer before the change ends");
        assert_eq!(error.unwrap_err().code_str(), "denied");
    }

    /// What the log says is what is done, whatever begins while it is written.
    #[tokio::test]
    async fn only_logged_sessions_are_ended() {
        let stage = testkit::Stage::new("unused");
        let (service, account) = service_and_account(&stage);
        let named = begun(&service.sessions, "bob", "2");
        let mut kick = std::pin::pin!(service.kick(&Caller::Machine, "bob"));
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
