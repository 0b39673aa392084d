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
    net::{Channel, HostPort, StreamChannel, StreamInput},
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
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

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
    serve_with(None).await
}

/// A server behind a gate, if there is one.
async fn serve_with(gate: Option<Gate>) -> Served {
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
    let mut port = listener.local_addr().unwrap().port();
    if let Some(gate) = gate {
        port = gate.open_before(port).await;
    }
    let address = HostPort {
        host: "127.0.0.1".into(),
        port,
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

/// Passes connections on to a server: the first ones at once, the others when so many have come.
struct Gate {
    at_once: usize,
    then_at: usize,
    /// Ends the connection with the number `then_at`, counted from 1.
    cut: Arc<Notify>,
    /// How many bytes each connection that is over has brought to the server.
    passed: watch::Sender<Vec<u64>>,
    /// How many have come.
    counted: watch::Sender<usize>,
}

impl Gate {
    fn new(at_once: usize, then_at: usize) -> Self {
        Self {
            at_once,
            then_at,
            cut: Arc::default(),
            passed: watch::Sender::new(Vec::new()),
            counted: watch::Sender::new(0),
        }
    }

    /// The port at which the gate accepts.
    async fn open_before(self, server: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                self.counted.send_modify(|count| *count += 1);
                let mut counted = self.counted.subscribe();
                let needed = match *counted.borrow() {
                    early if early <= self.at_once => 0,
                    _ => self.then_at,
                };
                let number = *counted.borrow();
                let (cut, passed) = (self.cut.clone(), self.passed.clone());
                tokio::spawn(async move {
                    counted.wait_for(|count| *count >= needed).await.unwrap();
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        copied = copy_bidirectional(&mut near, &mut far) => {
                            let (bytes, _) = copied.unwrap_or_default();
                            passed.send_modify(|passed| passed.push(bytes));
                        }
                        () = cut.notified(), if number == self.then_at => {}
                    }
                });
            }
        });
        port
    }
}

/// No connection is attached only after another one has been.
#[tokio::test(flavor = "multi_thread")]
async fn channels_of_session_open_at_the_same_time() {
    let gate = Gate::new(1, 5);
    let served = serve_with(Some(gate)).await;
    let mut first = open(&served, ping::SERVICE, &Ping {}).await;
    ping::receive_pong(&mut first.login.channel).await.unwrap();
    served.session.prepare_reserve(2).await;
    let opened = tokio::join!(
        open(&served, ping::SERVICE, &Ping {}),
        open(&served, ping::SERVICE, &Ping {}),
        open(&served, ping::SERVICE, &Ping {}),
        open(&served, ping::SERVICE, &Ping {}),
    );
    for mut opened in [opened.0, opened.1, opened.2, opened.3] {
        ping::receive_pong(&mut opened.login.channel).await.unwrap();
    }
    assert_eq!(served.sessions.list(|_| true).len(), 1, "one login");
}

/// Opens a channel of `ping`, with all connections that it may have.
async fn open_wide(served: &Served) -> Channel {
    let first = FirstRequest::new(ping::SERVICE, &Ping {}).unwrap();
    let opened = served.session.open_wide_channel(&first).await;
    let (mut channel, widening) = opened.unwrap();
    ping::receive_pong(&mut channel).await.unwrap();
    served.session.widen(&widening.unwrap()).await;
    channel
}

/// A channel sends over all its connections, which go with it, and with them the session.
#[tokio::test(flavor = "multi_thread")]
async fn channel_uses_several_connections() {
    let gate = Gate::new(8, 0);
    let mut passed = gate.passed.subscribe();
    let mut served = serve_with(Some(gate)).await;
    served.session.set_further_connections(|_| 3);
    let first = FirstRequest::open(dummy::SERVICE).unwrap();
    let opened = served.session.open_wide_channel(&first).await;
    let (mut channel, widening) = opened.unwrap();
    let widening = widening.unwrap();
    // What is complete stays as it is.
    served.session.widen(&widening).await;
    served.session.widen(&widening).await;
    let body: Vec<u8> = (0..dummy::BODY_BYTES_MAX)
        .map(|at| (at % 251) as u8)
        .collect();
    dummy::send_store(&mut channel, &body).await.unwrap();
    let stored: Stored = channel.receive(&ANSWER).await.unwrap().read().unwrap();
    let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    assert_eq!((stored.length, stored.sum), (dummy::BODY_BYTES_MAX, sum));
    assert_eq!(served.sessions.list(|_| true).len(), 1, "one login");
    channel.finish().await;
    let passed = passed.wait_for(|passed| passed.len() == 4).await.unwrap();
    // A connection whose task does not run for a while gets nothing.
    let used = passed.iter().filter(|bytes| **bytes > 64 << 10).count();
    assert!(used > 1, "{passed:?}");
    until("end of the session", || {
        served.sessions.list(|_| true).is_empty()
    })
    .await;
}

/// A channel is lost with one of its connections, and the next one opens again.
#[tokio::test(flavor = "multi_thread")]
async fn channel_is_lost_with_one_of_its_connections() {
    let gate = Gate::new(8, 3);
    let cut = gate.cut.clone();
    let mut served = serve_with(Some(gate)).await;
    served.session.set_further_connections(|_| 2);
    let mut channel = open_wide(&served).await;
    ping::ping(&mut channel).await.unwrap();
    cut.notify_one();
    for _ in 0..2 {
        let lost = ping::receive_pong(&mut channel).await;
        assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    }
    drop(channel);
    open_wide(&served).await;
}

/// A refusal of the request comes in the stream of the bundle.
#[tokio::test(flavor = "multi_thread")]
async fn request_on_bundle_can_be_refused() {
    let mut served = serve().await;
    served.session.set_further_connections(|_| 1);
    let first = FirstRequest::open("nothing").unwrap();
    let opened = served.session.open_wide_channel(&first).await;
    let refused = opened.unwrap().0.receive(&ANSWER).await;
    let Err(Error::Failed { code, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(code, ErrorCode::UnknownService);
}

/// A session that is ended says so on a channel of several connections.
#[tokio::test(flavor = "multi_thread")]
async fn end_of_session_ends_channel_of_several_connections() {
    let mut served = serve().await;
    served.session.set_further_connections(|_| 2);
    let mut channel = open_wide(&served).await;
    let (id, _) = served.sessions.list(|_| true).pop().unwrap();
    served.sessions.end("by a test", &id).unwrap();
    let ended = ping::receive_pong(&mut channel).await;
    let Err(Error::Failed { code, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(code, ErrorCode::Ended);
}

/// Where further connections are of no use, a channel is not made for them.
#[tokio::test(flavor = "multi_thread")]
async fn channel_without_further_connections_is_no_bundle() {
    let mut served = serve().await;
    served.session.set_further_connections(|_| 0);
    let first = FirstRequest::new(ping::SERVICE, &Ping {}).unwrap();
    let opened = served.session.open_wide_channel(&first).await;
    let (mut channel, widening) = opened.unwrap();
    ping::receive_pong(&mut channel).await.unwrap();
    assert!(widening.is_none());
}

/// Many channels of one session work at the same time, after one login.
#[tokio::test(flavor = "multi_thread")]
async fn channels_of_session_run_in_parallel() {
    let served = serve().await;
    let mut channels = Vec::new();
    for _ in 0..5 {
        served.session.prepare_reserve(1).await;
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
