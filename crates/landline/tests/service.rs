//! A service that the library does not know is served like the others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use landline::{
    ClientSession, Connected, Error, Server, ServerOptions,
    audit::AuditOptions,
    keys::UserKey,
    login::{AuthMethod, Credential, FirstRequest, KnownServer},
    net::{HostPort, StreamChannel, StreamInput},
    paths::PrivateFolder,
    ping,
    proto::{
        ErrorCode, Message,
        messages::Ping,
        streams::{Read, Side, StreamEvent},
    },
    session::Sessions,
};
use testkit::{
    Stage,
    dummy::{self, ANSWER, DummyService, Echo, Note, STREAMING, Stored, Work},
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// A server with the dummy service, and a session with it.
struct Served {
    _stage: Stage,
    session: ClientSession,
    sessions: Sessions,
    is_working: Arc<AtomicBool>,
    work: landline::session::WorkTable,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve() -> Served {
    let stage = Stage::new("unused");
    let service = DummyService::default();
    let is_working = service.is_working.clone();
    let options = ServerOptions {
        state: stage.path("server"),
        home: stage.home(),
        connections_max: 64,
        drain_time: Duration::ZERO,
        session_linger: Duration::ZERO,
        exec: None,
        audit: AuditOptions::default(),
    };
    let server = Server::open_with(&options, vec![Arc::new(service)]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = HostPort {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let invite = server
        .owner_invite({
            let address = address.clone();
            move || vec![address.clone()]
        })
        .unwrap()
        .unwrap();
    let folder = PrivateFolder::open_or_create(&stage.path("client")).unwrap();
    let (key, _) = UserKey::load_or_create(&folder, "key").unwrap();
    let user: landline::proto::login::UserName = "alice".parse().unwrap();
    let method = AuthMethod::Invite(Arc::new(key), invite.token);
    let known = KnownServer::new(address, server.fingerprint(), user.clone());
    let session = ClientSession::new(known, Credential::new(user, method));
    let (sessions, work) = (server.sessions(), server.work().clone());
    let serving = tokio::spawn(async move {
        let reload = Arc::new(Notify::new());
        let run = server.run(listener, std::future::pending(), reload);
        run.await.unwrap();
    });
    Served {
        _stage: stage,
        session,
        sessions,
        is_working,
        work,
        serving,
    }
}

async fn open(served: &Served, service: &str, request: &impl Message) -> Connected {
    let first = FirstRequest::new(service, request).unwrap();
    served.session.open_channel(&first).await.unwrap()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "no {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn body_above_one_mebibyte_is_refused() {
    let served = serve().await;
    for (length, is_taken) in [
        (dummy::BODY_BYTES_MAX, true),
        (dummy::BODY_BYTES_MAX + 1, false),
    ] {
        let first = FirstRequest::open(dummy::SERVICE).unwrap();
        let opened = served.session.open_channel(&first).await.unwrap();
        let mut channel = opened.login.channel;
        let body = vec![1; usize::try_from(length).unwrap()];
        let sent = dummy::send_store(&mut channel, &body).await;
        let answer = match sent {
            Ok(()) => channel.receive(&ANSWER).await,
            Err(error) => Err(error),
        };
        if is_taken {
            let stored: Stored = answer.unwrap().read().unwrap();
            assert_eq!((stored.length, stored.sum), (length, length));
        } else {
            let Err(Error::Failed { code, .. }) = answer else {
                panic!("{answer:?}");
            };
            assert_eq!(code, ErrorCode::BodySize);
        }
    }
}

/// Streams and messages flow both ways at the same time. The client does not read stream 2.
#[tokio::test(flavor = "multi_thread")]
async fn streams_and_messages_flow_both_ways() {
    const LENGTH: usize = 3 << 20;
    let served = serve().await;
    let opened = open(&served, dummy::SERVICE, &Echo {}).await;
    let mut channel = opened.login.channel;
    let mut flowing = StreamChannel::new(&mut channel, dummy::streams(Side::Client));
    let content: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let (mut written, mut returned, mut notes) = (0, Vec::new(), 0);
    flowing.send(&Note { number: 0 }).unwrap();
    while flowing.streams.read(1) != Read::End || notes < 10 {
        if written < LENGTH {
            written += flowing.streams.write(0, &content[written..]).unwrap();
        } else {
            flowing.streams.finish(0);
        }
        match flowing.next(&STREAMING).await.unwrap() {
            StreamInput::Message(header) => {
                let Note { number } = header.read().unwrap();
                notes += 1;
                assert_eq!(number, notes);
                flowing.send(&Note { number }).unwrap();
            }
            StreamInput::Event(StreamEvent::Readable { stream: 1 }) => {
                while let Read::Bytes(bytes) = flowing.streams.read(1) {
                    returned.extend_from_slice(bytes);
                    let length = bytes.len();
                    flowing.streams.consume(1, length);
                }
            }
            StreamInput::Event(_) => {}
            StreamInput::End => panic!("the server finished early"),
        }
    }
    assert!(returned == content, "{} bytes came back", returned.len());
    assert!(matches!(flowing.streams.read(2), Read::Bytes(_)), "unread");
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_cancels_blocking_work() {
    let served = serve().await;
    let opened = open(&served, dummy::SERVICE, &Work {}).await;
    let mut working = opened;
    until("work", || served.is_working.load(Ordering::Relaxed)).await;
    let running = served.work.running();
    assert_eq!(running.len(), 1);
    assert_eq!(
        (running[0].user.as_str(), running[0].kind),
        ("alice", "dummy work")
    );
    let session = working.login.welcome.session.clone();
    served.sessions.end("revoked", &session).unwrap();
    until("end of the work", || {
        !served.is_working.load(Ordering::Relaxed)
    })
    .await;
    let told = working.login.channel.receive(&ANSWER).await;
    assert!(
        matches!(
            &told,
            Err(Error::Failed {
                code: ErrorCode::Ended,
                ..
            })
        ),
        "{told:?}"
    );
    until("empty table", || served.work.running().is_empty()).await;
}

/// A client that vanishes leaves no work running.
#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_cancels_blocking_work() {
    let served = serve().await;
    let opened = open(&served, dummy::SERVICE, &Work {}).await;
    until("work", || served.is_working.load(Ordering::Relaxed)).await;
    drop(opened);
    until("end of the work", || {
        !served.is_working.load(Ordering::Relaxed)
    })
    .await;
}

/// Many channels of one session work at the same time, after one login.
#[tokio::test(flavor = "multi_thread")]
async fn channels_of_session_run_in_parallel() {
    let served = serve().await;
    let mut channels = Vec::new();
    for _ in 0..5 {
        served.session.prepare_reserve().await.unwrap();
        let mut opened = open(&served, ping::SERVICE, &Ping {}).await;
        ping::receive_pong(&mut opened.login.channel).await.unwrap();
        channels.push(opened);
    }
    for opened in &mut channels {
        ping::ping(&mut opened.login.channel).await.unwrap();
    }
    assert_eq!(served.sessions.list(|_| true).len(), 1, "one login");
    let ids: Vec<&str> = channels
        .iter()
        .map(|opened| opened.login.welcome.session.as_str())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    // The server has ended the session, so the next channel logs in again.
    served.sessions.end("restarted", ids[0]).unwrap();
    until("end of the session", || {
        served.sessions.list(|_| true).is_empty()
    })
    .await;
    let mut opened = open(&served, ping::SERVICE, &Ping {}).await;
    ping::receive_pong(&mut opened.login.channel).await.unwrap();
}
