//! Serves one connection, from its first byte to its last.

use std::{
    net::SocketAddr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use landline_proto::{
    ErrorCode, Limits, Message, Name,
    limits::OPEN_TIME_MAX,
    message,
    messages::{Bundle, Open},
    state::{MessageRule, ProtocolState, SERVER_CHANNEL},
};

use super::{
    bundles::{self, BundleRole, FirstOfBundle},
    state::{AdmittedConnection, ServerState},
};
use crate::{
    Error, Side,
    activity::{Activity, FileChange},
    admission::{PeerNetwork, Refused, Ticket},
    audit::Priority,
    net::{Channel, PartialFrame, Transport, linger, tls},
    session::{
        ContextParts, Departure, Remaining, ServiceContext, Session, TaskDrain, draining_error,
    },
};

/// What opens a channel that several connections carry: all of the state before, but a bundle.
static BUNDLE_OPEN: ProtocolState =
    ProtocolState::new("server-channel", &[MessageRule::new(Open::TYPE)]);

/// How long an unfinished frame may take after its session is terminated.
///
/// The reason of the termination is sent after the frame.
const FRAME_TIME: Duration = Duration::from_millis(300);
/// How long a login waits for the home of its user to be made.
const HOME_TIME: Duration = Duration::from_secs(1);
/// How long a login may take after the server starts to drain.
///
/// The client then learns why it cannot log in.
const DRAIN_LOGIN_TIME: Duration = Duration::from_secs(3);
/// How long it may take to tell a client that its network is shut out.
const NOTICE_TIME: Duration = Duration::from_secs(3);

/// Serves one connection, unless the network of the peer is shut out.
pub(super) async fn serve_if_admitted(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    state: Arc<ServerState>,
    drain: TaskDrain,
) {
    // An IPv4 client of an IPv6 socket is known by its own address.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let network = PeerNetwork::of(peer.ip());
    match state.admission.admit(network, Instant::now()) {
        Ok(ticket) => serve(transport, peer, ticket, state, drain).await,
        Err(refused) => {
            let error = shut_out_error(refused);
            note_refusal(&state, peer, &error.code_str(), &error.to_string());
            if refused.may_tell {
                send_in_place_of_greeting(transport, &state, &error).await;
            }
        }
    }
}

/// The error for a client whose network is shut out. It does not depend on any account.
fn shut_out_error(refused: Refused) -> Error {
    let seconds = refused.remaining.as_secs() + 1;
    let message = format!("too many refused logins from your network; try again in {seconds} s");
    Error::here(ErrorCode::ShutOut, message)
}

/// Tells a client why it is not greeted, unless many others are being told.
async fn send_in_place_of_greeting(
    transport: Box<dyn Transport>,
    state: &ServerState,
    error: &Error,
) {
    let mut last = Vec::new();
    let (Ok(_slot), Some(reason)) = (state.notices.try_acquire(), error.to_peer()) else {
        return;
    };
    if message::encode(&reason, None, &Limits::LOGIN, &mut last).is_err() {
        return;
    }
    let sending = async {
        let handshake = tls::accept(transport, state.identity.tls(), &last);
        if let Ok(stream) = handshake.await {
            linger(stream, &[]).await;
        }
    };
    let _ = tokio::time::timeout(NOTICE_TIME, sending).await;
}

/// Serves one connection, from its first byte to its last.
async fn serve(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    ticket: Ticket,
    state: Arc<ServerState>,
    mut drain: TaskDrain,
) {
    let (mut channel, session, (connection, _permit)) =
        match log_in(transport, peer, ticket, &state, &mut drain).await {
            Some(logged_in) => logged_in,
            None => return,
        };
    let context = ServiceContext::new(ContextParts {
        session,
        connection,
        drain: drain.clone(),
        root: state.root.clone(),
        rights: state.rights.clone(),
        store: state.store.clone(),
        work_store: state.work_store.clone(),
        work: state.work.clone(),
        audit: state.audit.clone(),
        had_right: AtomicBool::new(false),
    });
    if context.session().invited {
        on_invite_redeemed(&state, &context).await;
    }
    if !context.session().attached {
        create_home(&context).await;
    }
    let mut is_over = drain.clone();
    channel.set_shutdown(context.connection().termination_signal());
    let partial = channel.writer.partial_frame();
    channel.set_rate_limiter(state.rate_limiter_of(context.user()));
    channel.set_buffers(state.buffers.of(context.user()));
    let mut bundle = None;
    let served = tokio::select! {
        biased;
        served = serve_channel(&mut channel, &context, &state, &mut drain, &mut bundle) => served,
        error = terminated(&context, &partial) => Err(error),
        () = is_over.wait_for_end() => {
            let error = draining_error();
            context.note_failure(&error);
            Err(error)
        }
    };
    let departure = match &served {
        // A client that ends TLS within a copy does not come back.
        Err(Error::Lost(_)) if !channel.reader.has_ended() => Departure::Lost,
        _ => Departure::Finished,
    };
    if let Some(bundle) = bundle {
        bundle.end(departure);
    }
    match served {
        Ok(()) => channel.finish().await,
        Err(error) => {
            // A client that is drained between requests has not failed.
            if !matches!(
                error,
                Error::Failed {
                    side: Side::Here,
                    code: ErrorCode::Draining,
                    ..
                }
            ) {
                context.note_failure(&error);
            }
            match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                None => channel.finish().await,
            }
        }
    }
    leave_session(&context, departure, state.session_linger);
}

/// Takes the connection out of its session, and reports the end of the session now or later.
fn leave_session(context: &ServiceContext, departure: Departure, linger: Duration) {
    match context.connection().deregister(departure, linger) {
        Remaining::Others => {}
        Remaining::Nothing => report_closed(context),
        Remaining::Waiting(waiting) => {
            context.note(|user, session| Activity::Disconnected { user, session });
            let context = context.clone();
            tokio::spawn(async move {
                if waiting.wait_until_over().await {
                    report_closed(&context);
                }
            });
        }
    }
}

/// Reports that a session is over.
fn report_closed(context: &ServiceContext) {
    context.note(|user, session| Activity::Logout { user, session });
}

/// Logs a client in. A rejected login has been recorded.
async fn log_in(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    ticket: Ticket,
    state: &ServerState,
    drain: &mut TaskDrain,
) -> Option<(Channel, Session, AdmittedConnection)> {
    let suspicion = Suspicion {
        state,
        peer,
        is_raised: AtomicBool::new(false),
    };
    let report_guess = |guess| suspicion.is_raised.store(guess, Ordering::Relaxed);
    let draining = drain.clone();
    // A login that completes while the server drains gets an error, not `welcome`.
    let admit = |session: &Session| {
        if draining.has_started() {
            Err(draining_error())
        } else {
            state.admit(session, peer)
        }
    };
    let out_of_time = async {
        drain.wait_for_start().await;
        tokio::time::sleep(DRAIN_LOGIN_TIME).await;
    };
    let accepted = tokio::select! {
        biased;
        () = out_of_time => {
            let error = draining_error();
            note_refusal(state, peer, &error.code_str(), &error.to_string());
            Err(error)
        }
        () = ticket.evicted() => {
            let message = "the server dropped the oldest connection without a login, to make room for a new one";
            note_refusal(state, peer, "evicted", message);
            return None;
        }
        accepted = super::login::accept(transport, peer, state.login_context(&report_guess), admit) => accepted,
    };
    if accepted.as_ref().is_err_and(is_guess) {
        suspicion.is_raised.store(true, Ordering::Relaxed);
    }
    accepted.ok()
}

/// Records whether a connection has made a guess before its login.
///
/// A guess counts against the network of the peer, however the connection ends.
struct Suspicion<'a> {
    state: &'a ServerState,
    peer: SocketAddr,
    is_raised: AtomicBool,
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        if *self.is_raised.get_mut() {
            self.state
                .admission
                .penalize(PeerNetwork::of(self.peer.ip()), Instant::now());
        }
    }
}

/// Logs a rejection that the login itself has not logged.
fn note_refusal(state: &ServerState, peer: SocketAddr, code: &str, message: &str) {
    let (code, message) = (code.to_owned(), message.to_owned());
    let refused = Activity::Refused {
        peer,
        code,
        user: None,
        method: None,
        message,
    };
    state.audit.note(refused, Priority::Limited);
}

/// Whether a rejected login may have been a guess.
fn is_guess(error: &Error) -> bool {
    use ErrorCode::{InviteExpired, InviteUnknown, InviteUsed, InviteUser};
    match error {
        Error::LoginRefused(_) => true,
        Error::Failed {
            side: Side::Here,
            code,
            ..
        } => {
            matches!(
                code,
                InviteUnknown | InviteUsed | InviteExpired | InviteUser
            )
        }
        _ => false,
    }
}

/// Grants the initial rights, if the invite was the owner's.
async fn on_invite_redeemed(state: &Arc<ServerState>, context: &ServiceContext) {
    let granting = state.clone();
    let granted = tokio::task::spawn_blocking(move || granting.grant_owner()).await;
    if let Ok(Err(error)) = granted {
        context.note_failure(&error);
    }
}

/// Creates the home of a user that does not exist yet, if the user and the credential may write
/// there. A disk that does not answer holds up the login for [`HOME_TIME`] only.
async fn create_home(context: &ServiceContext) {
    let limits = &context.session().limits;
    if limits.check_request("files", Some("files.put")).is_err() {
        return;
    }
    let context = context.clone();
    let creating = tokio::task::spawn_blocking(move || {
        let (rules, user) = (context.rights().rules(), context.user());
        let record = |home: &Path| {
            let path = Name(home.as_os_str().as_bytes().to_vec());
            let recorded = context.record_blocking(|user, session| Activity::FilesChange {
                user,
                session,
                action: FileChange::MakeFolder,
                path,
                to: None,
            });
            recorded.is_ok()
        };
        if let Ok(home) = rules.locate(user, b"~/") {
            context
                .root()
                .create_granted(rules.files(user), &home, record);
        }
    });
    let _ = tokio::time::timeout(HOME_TIME, creating).await;
}

/// Returns once the session is terminated from elsewhere.
///
/// It leaves time for an answer, and for an unfinished frame, after which the reason can be sent.
async fn terminated(context: &ServiceContext, partial: &PartialFrame) -> Error {
    let error = context.connection().terminated().await;
    context.connection().answer_finished().await;
    if partial.is_there() {
        tokio::time::sleep(FRAME_TIME).await;
    }
    error
}

fn open_timeout() -> Error {
    let message = format!("no channel was opened within {} s", OPEN_TIME_MAX.as_secs());
    Error::here(ErrorCode::OpenTimeout, message)
}

/// Serves the channel that the client opens. If several connections carry it, this one serves it
/// for all, and `bundle` tells the others how it ended.
async fn serve_channel(
    channel: &mut Channel,
    context: &ServiceContext,
    state: &ServerState,
    drain: &mut TaskDrain,
    bundle: &mut Option<FirstOfBundle>,
) -> Result<(), Error> {
    // A client must not hold a slot without a channel.
    let header = tokio::select! {
        biased;
        () = drain.wait_for_start() => return Err(draining_error()),
        header = channel.receive_or_end(&SERVER_CHANNEL) => header?,
        // A client may keep an attached connection in reserve.
        () = tokio::time::sleep(OPEN_TIME_MAX), if !context.session().attached => {
            return Err(open_timeout());
        }
    };
    let Some(mut header) = header else {
        return Ok(());
    };
    if header.kind() == Bundle::TYPE {
        let Bundle { bundle: id } = header.read()?;
        let session = &context.session().id;
        match state.bundles.join(session, context.user(), id, channel)? {
            BundleRole::First(first) => *bundle = Some(first),
            BundleRole::Further(ended) => {
                context.set_activity("part of a channel");
                return bundles::wait(ended).await;
            }
        }
        header = tokio::select! {
            biased;
            () = drain.wait_for_start() => return Err(draining_error()),
            header = channel.receive(&BUNDLE_OPEN) => header?,
            () = tokio::time::sleep(OPEN_TIME_MAX) => return Err(open_timeout()),
        };
    }
    context.admit(header.kind())?;
    let open: Open = header.read()?;
    context.session().limits.check_open(&open.service)?;
    context.set_activity(&open.service);
    let service = state.services.service(&open.service)?;
    let context = context.with_service(service.definition());
    service.serve(channel, &context).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Server, ServerOptions,
        admin::{
            messages::{SESSIONS, Who},
            paging::LiveSessions,
        },
        audit::AuditOptions,
        keys::{CredentialLimits, UserKey},
        login::{AuthMethod, Credential, Invite, Login},
        net::HostPort,
        paths::PrivateFolder,
        proto::{Message, messages::Ping},
    };

    fn server(stage: &testkit::Stage) -> Arc<Server> {
        let server = Server::open(&ServerOptions {
            state: stage.path("server"),
            home: stage.home(),
            connections_max: 8,
            drain_time: Duration::ZERO,
            session_linger: Duration::ZERO,
            exec: None,
            audit: AuditOptions::default(),
        });
        Arc::new(server.unwrap())
    }

    /// The owner's invite, and a key to redeem it with.
    fn invite_and_key(server: &Server, stage: &testkit::Stage) -> (Invite, Arc<UserKey>) {
        let invite = server
            .owner_invite(|| {
                vec![HostPort {
                    host: "memory".into(),
                    port: 1,
                }]
            })
            .unwrap()
            .unwrap();
        let folder = PrivateFolder::open_or_create(&stage.path("client")).unwrap();
        (
            invite,
            Arc::new(UserKey::load_or_create(&folder, "key").unwrap().0),
        )
    }

    /// Logs alice in by `method`, with the first request of a service.
    async fn log_in_by(
        server: &Arc<Server>,
        method: AuthMethod,
        service: &str,
        request: &impl Message,
    ) -> Login {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serving = server.clone();
        tokio::spawn(async move {
            serving
                .serve_connection(Box::new(far), ([127, 0, 0, 1], 1).into())
                .await;
        });
        let credential = Credential::new("alice".parse().unwrap(), method);
        let dialed = crate::net::DialedStream::new(Box::new(near));
        crate::login::connect(
            dialed,
            "memory",
            server.fingerprint(),
            &credential,
            Some(&crate::login::FirstRequest::new(service, request).unwrap()),
        )
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn sessions_of_user_share_one_rate() {
        let stage = testkit::Stage::new("unused");
        let server = server(&stage);
        let (invite, key) = invite_and_key(&server, &stage);
        let mut sessions = Vec::new();
        for method in [
            AuthMethod::Invite(key.clone(), invite.token),
            AuthMethod::Key(key),
        ] {
            let mut login = log_in_by(&server, method, crate::ping::SERVICE, &Ping {}).await;
            crate::ping::receive_pong(&mut login.channel).await.unwrap();
            sessions.push(login);
        }
        let rate_limiter = server
            .state
            .rate_limiters
            .of(&"alice".parse().unwrap(), || None);
        assert_eq!(
            Arc::strong_count(&rate_limiter),
            6,
            "the server's, this one, and one for each half of each session's channel"
        );
    }

    /// The list needs several messages. None of the sessions is lost between them.
    #[tokio::test]
    async fn long_session_list_is_complete() {
        let stage = testkit::Stage::new("unused");
        let server = server(&stage);
        let (invite, key) = invite_and_key(&server, &stage);
        let begin = |number: usize| {
            let session = Session {
                user: "bob".parse().unwrap(),
                account: crate::store::AccountId(0),
                credential: crate::keys::CredentialId::Key("SHA256:bob".into()),
                method: "ssh-key".into(),
                id: format!("{number:04}"),
                invited: false,
                limits: CredentialLimits::none(),
                binding: landline_proto::login::BindingType::TlsExporter,
                attach: None,
                attached: false,
            };
            let connection = server
                .sessions()
                .begin(session, ([127, 0, 0, 1], 1).into(), None)
                .unwrap();
            connection.set_activity(&"x".repeat(200));
            connection
        };
        let others: Vec<_> = (0..400).map(begin).collect();
        let method = AuthMethod::Invite(key, invite.token);
        let mut login = log_in_by(&server, method, crate::admin::messages::SERVICE, &Who {}).await;
        let (mut listed, mut messages, mut more) = (Vec::new(), 0, true);
        while more {
            let part: LiveSessions = login
                .channel
                .receive(&SESSIONS)
                .await
                .unwrap()
                .read()
                .unwrap();
            listed.extend(part.rows);
            (messages, more) = (messages + 1, part.more);
        }
        assert!(messages > 1);
        let of_bob = listed
            .iter()
            .filter(|row| row.user.as_str() == "bob")
            .map(|row| row.session.clone());
        assert_eq!(
            of_bob.collect::<Vec<_>>(),
            (0..400)
                .map(|number| format!("{number:04}"))
                .collect::<Vec<_>>()
        );
        assert_eq!(listed.len(), others.len() + 1, "and alice's own session");
    }
}
