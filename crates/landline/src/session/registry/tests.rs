use super::*;
use crate::keys::{CredentialId, CredentialLimits};

pub(crate) fn session(user: &str, id: &str) -> Session {
    Session {
        user: user.parse().unwrap(),
        account: crate::store::AccountId(0),
        credential: CredentialId::Key(format!("SHA256:{user}")),
        method: "ssh-key".into(),
        id: id.into(),
        invited: false,
        limits: CredentialLimits::none(),
        binding: landline_proto::login::BindingType::TlsExporter,
        attach: None,
        attached: false,
    }
}

fn peer(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Whether the session is over when this connection has finished.
fn is_over(handle: &SessionHandle) -> bool {
    let remaining = handle.deregister(Departure::Finished, LINGER);
    matches!(remaining, Remaining::Nothing)
}

const LINGER: Duration = Duration::from_secs(600);

fn attachable(user: &str, id: &str) -> Session {
    Session {
        attach: Some(crate::keys::SecretKey::from_bytes([7; 32])),
        ..session(user, id)
    }
}

/// Begins a session and loses its connection.
fn lost(sessions: &Sessions, user: &str, id: &str, max: Option<u64>) -> Waiting {
    let handle = sessions.begin(attachable(user, id), peer(1), max).unwrap();
    match handle.deregister(Departure::Lost, LINGER) {
        Remaining::Waiting(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn lost_session_waits_and_can_be_attached_to() {
    let sessions = Sessions::default();
    let waiting = lost(&sessions, "alice", "1", None);
    assert_eq!(sessions.info("1").unwrap().connections, []);
    assert!(sessions.find("1").is_some(), "it can be attached to");
    let again = sessions.attach(&attachable("alice", "1"), peer(2)).unwrap();
    assert!(!waiting.wait_until_over().await, "it was attached to");
    assert!(is_over(&again), "it has finished");
}

#[tokio::test]
async fn waiting_session_ends_when_terminated_or_displaced() {
    let sessions = Sessions::default();
    let waiting = lost(&sessions, "alice", "1", None);
    assert!(sessions.end("kicked", "1").is_some());
    assert!(sessions.find("1").is_none());
    assert!(waiting.wait_until_over().await);
    assert!(sessions.list(|_| true).is_empty());
    let waiting = lost(&sessions, "alice", "2", Some(1));
    let _next = sessions
        .begin(session("alice", "3"), peer(1), Some(1))
        .unwrap();
    assert!(
        waiting.wait_until_over().await,
        "a connected session has its place"
    );
}

#[test]
fn few_sessions_of_a_user_wait() {
    let sessions = Sessions::default();
    let waiting: Vec<Waiting> = (0..DISCONNECTED_PER_USER_MAX + 3)
        .map(|number| lost(&sessions, "alice", &number.to_string(), None))
        .collect();
    let live = (0..waiting.len())
        .filter(|number| sessions.find(&number.to_string()).is_some())
        .count();
    assert_eq!(live, DISCONNECTED_PER_USER_MAX);
}

#[test]
fn session_that_cannot_attach_ends_with_its_connection() {
    let sessions = Sessions::default();
    for (session, linger) in [
        (session("alice", "1"), LINGER),
        (attachable("alice", "2"), Duration::ZERO),
    ] {
        let handle = sessions.begin(session, peer(1), None).unwrap();
        let remaining = handle.deregister(Departure::Lost, linger);
        assert!(matches!(remaining, Remaining::Nothing), "{remaining:?}");
    }
}

#[test]
fn session_ends_with_last_connection() {
    let sessions = Sessions::default();
    let first = sessions
        .begin(session("alice", "1"), peer(1), None)
        .unwrap();
    first.set_activity("ping");
    let second = sessions.attach(&session("alice", "1"), peer(2)).unwrap();
    assert!(
        sessions.attach(&session("alice", "2"), peer(3)).is_err(),
        "there is no such session"
    );
    let info = sessions.info("1").unwrap();
    assert_eq!(
        info.connections
            .iter()
            .map(|connection| connection.peer.port())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(info.connections[0].doing, "ping");
    assert!(!is_over(&first));
    assert!(!is_over(&first), "it left before");
    drop(first);
    assert_eq!(sessions.list(|_| true).len(), 1);
    assert!(is_over(&second));
    assert!(sessions.list(|_| true).is_empty());
    assert_eq!(sessions.info("1"), None);
}

#[test]
fn long_activity_is_cut_with_mark() {
    let sessions = Sessions::default();
    let connection = sessions
        .begin(session("alice", "1"), peer(1), None)
        .unwrap();
    for (count, noted) in [
        (200, "é".repeat(200)),
        (201, "é".repeat(200) + "…"),
        (4096, "é".repeat(200) + "…"),
    ] {
        connection.set_activity(&"é".repeat(count));
        assert_eq!(sessions.info("1").unwrap().connections[0].doing, noted);
    }
}

#[tokio::test]
async fn only_selected_sessions_are_terminated_with_reason() {
    let sessions = Sessions::default();
    let alice = sessions
        .begin(session("alice", "1"), peer(1), None)
        .unwrap();
    let again = sessions.attach(&session("alice", "1"), peer(2)).unwrap();
    let bob = sessions.begin(session("bob", "2"), peer(3), None).unwrap();
    let of_alice = sessions.list(|session| session.user.as_str() == "alice");
    assert_eq!(of_alice, [("1".to_owned(), "alice".parse().unwrap())]);
    assert_eq!(
        sessions
            .end("the account was disabled", "1")
            .unwrap()
            .connections
            .len(),
        2
    );
    assert_eq!(sessions.end("twice", "1"), None, "the first reason stands");
    assert_eq!(sessions.end("dave", "3"), None);
    for connection in [&alice, &again] {
        let Error::Failed { code, message, .. } = connection.terminated().await else {
            panic!("an ending")
        };
        assert_eq!(
            (code, &message[..]),
            (ErrorCode::Ended, "the account was disabled")
        );
    }
    assert!(
        sessions.attach(&session("alice", "1"), peer(4)).is_err(),
        "nothing joins a session that is being ended"
    );
    assert!(alice.ensure_active().is_err(), "it takes no more requests");
    assert!(bob.ensure_active().is_ok());
}

fn is_too_many<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(
        result,
        Err(Error::Failed {
            code: ErrorCode::TooManySessions,
            ..
        })
    )
}

#[test]
fn session_limit_ignores_connections() {
    let sessions = Sessions::default();
    let begin = |user: &str, id: &str| sessions.begin(session(user, id), peer(1), Some(2));
    let first = begin("alice", "1").unwrap();
    let further: Vec<SessionHandle> = (2..=16)
        .map(|port| sessions.attach(&session("alice", "1"), peer(port)).unwrap())
        .collect();
    assert!(
        is_too_many(sessions.attach(&session("alice", "1"), peer(17))),
        "it has sixteen"
    );
    let second = begin("alice", "2").unwrap();
    assert!(is_too_many(begin("alice", "3")));
    let _other = begin("bob", "4").unwrap();
    drop(first);
    assert!(
        is_too_many(begin("alice", "3")),
        "the session continues on its other connections"
    );
    assert!(sessions.attach(&session("alice", "1"), peer(17)).is_ok());
    drop(further);
    let _third = begin("alice", "3").unwrap();
    assert!(is_too_many(begin("alice", "5")));
    drop(second);
    assert!(
        sessions.begin(session("alice", "6"), peer(1), None).is_ok(),
        "no limit"
    );
    assert!(is_too_many(sessions.begin(
        session("carol", "7"),
        peer(1),
        Some(0)
    )));
}

/// A change that ends the sender's own session is answered first.
#[tokio::test]
async fn answer_is_sent_before_the_connection_closes() {
    let sessions = Sessions::default();
    let peer = ([127, 0, 0, 1], 1).into();
    let handle = sessions.begin(session("alice", "1"), peer, None).unwrap();
    let answering = handle.start_answer().await;
    handle.end("it asked for that");
    let mut finished = std::pin::pin!(handle.answer_finished());
    let early = tokio::select! {
        biased;
        () = &mut finished => true,
        () = std::future::ready(()) => false,
    };
    assert!(!early, "the answer is being sent");
    drop(answering);
    finished.await;
}
