//! The server's half of the service `admin`.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message, messages::ErrorMessage, order::State};

use super::{
    Admin, Administration, Answer, Request,
    detail::joined,
    lists::{Invites, Keys, LiveSessions, Users, send_list},
    messages::{Changed, Kick, Who},
};
use crate::{
    Error, Event,
    admission::Source,
    audit::Entry,
    net::Channel,
    rights::Right,
    server::{
        Account, Drain, going_down,
        sessions::{SessionInfo, Sessions},
    },
};

/// What the service works on.
pub(crate) struct Desk {
    pub(crate) administration: Arc<Administration>,
    pub(crate) sessions: Sessions,
}

/// Serves one `admin` channel until the client finishes or the server drains.
pub(crate) async fn serve(
    channel: &mut Channel,
    account: &Account,
    desk: &Desk,
    drain: &mut Drain,
) -> Result<(), Error> {
    let (mut rules, mut was_admin) = (account.rights.watch(), false);
    loop {
        let header = tokio::select! {
            biased;
            () = drain.begun() => return Err(going_down()),
            never = account.end_without(&mut rules, Right::Admin, &mut was_admin) => match never {},
            header = channel.receive_or_end(State::ServerAdmin) => header?,
        };
        let Some(header) = header else { return Ok(()) };
        match desk.answer(channel, account, &header).await {
            Ok(()) => {}
            Err(error @ (Error::Failed { .. } | Error::State { .. })) => {
                account.report_failure(&error);
                let reason = error.to_peer().unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, "it failed"));
                channel.send(&reason)?;
            }
            Err(error) => return Err(error),
        }
        channel.flush().await?;
    }
}

impl Desk {
    /// Gathers the answer to a request.
    async fn answer(&self, channel: &mut Channel, account: &Account, header: &Header) -> Result<(), Error> {
        let by = account.user().clone();
        account.admit(State::ServerAdmin, header)?;
        let is_admin = account.rights.is_admin(&by);
        // Everybody may see and end their own sessions.
        let is_theirs = |session: &SessionInfo| is_admin || session.user == by;
        if header.kind() == Who::TYPE {
            header.read::<Who>()?;
            let sessions = self.sessions.list().into_iter().filter(is_theirs).collect();
            return send_list::<LiveSessions>(channel, sessions);
        }
        if header.kind() == Kick::TYPE {
            let Kick { target } = header.read()?;
            return send_list::<LiveSessions>(channel, self.kick(account, &target, is_theirs).await?);
        }
        let Some(request) = Request::read(header)?.map(|request| request.of(&by)) else { return Ok(()) };
        let (kind, subject, changes) = (request.kind(), request.subject(), request.changes_something());
        let administration = self.administration.clone();
        let source = Source::of(account.connection.peer());
        let admin = Admin { user: by, key: account.session.key.clone(), session: account.session.id.clone(), source };
        let answer = blocking(move || administration.perform(Some(&admin), &request)).await?;
        if changes {
            report(account, kind, &subject);
        }
        match answer {
            Answer::Changed => channel.send(&Changed {}),
            Answer::Users(rows) => send_list::<Users>(channel, rows),
            Answer::Keys(rows) => send_list::<Keys>(channel, rows),
            Answer::Invites(rows) => send_list::<Invites>(channel, rows),
            Answer::Invite(invite) => channel.send(&invite),
            Answer::Registration(registration) => channel.send(&registration),
        }
    }

    /// Ends the sessions that `target` names and that may be ended.
    async fn kick(
        &self,
        account: &Account,
        target: &str,
        may_be_ended: impl Fn(&SessionInfo) -> bool,
    ) -> Result<Vec<SessionInfo>, Error> {
        let is_meant = |session: &SessionInfo| {
            (session.session == target || session.user.as_str() == target) && may_be_ended(session)
        };
        let mut meant = self.sessions.list();
        meant.retain(is_meant);
        if meant.is_empty() {
            return Err(Error::here(ErrorCode::NotFound, "there is no such session, and no session of such a user"));
        }
        let subject: String = target.chars().take(64).collect();
        let entry = |user, session| Entry::Admin {
            user: Some(user),
            session: Some(session),
            action: Kick::TYPE.to_owned(),
            subject,
            detail: joined(meant.into_iter().map(|session| format!("{} of {}", session.session, session.user))),
        };
        account.record(entry).await?;
        let ended = self.sessions.end(&format!("{} has ended the session", account.user()), is_meant);
        report(account, Kick::TYPE, target);
        Ok(ended)
    }
}

fn report(account: &Account, request: &'static str, subject: &str) {
    let subject = subject.chars().take(64).collect();
    account.report(|user, session| Event::Administered { user, session, request, subject });
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
}
