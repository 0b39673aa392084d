//! How many round trips a login takes, counted on an in-memory connection.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use landline::{
    Error, Server, ServerOptions,
    admin::{
        Request,
        passwords::{SetPassword, password_record},
    },
    audit::AuditOptions,
    files::{
        Input, Progress,
        client::{PutFlight, put, put_request},
        messages::Compare,
    },
    keys::UserKey,
    login::{
        AuthMethod, Credential, FirstRequest, KeyCandidates, Login, PasswordPrompt, Prompter,
        connect,
    },
    net::{DialedStream, HostPort, Transport},
    password::Password,
    paths::{PrivateFolder, local},
    ping,
    proto::{Name, login::UserName, messages::Ping},
};
use testkit::{
    Stage,
    link::{self, RoundTrips},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The handshake of TCP is one of the three round trips. This link does not count it.
#[tokio::test]
async fn first_answer_takes_three_round_trips() {
    let stage = Stage::new("unused");
    let (server, mut credential, key) = server_of(&stage);
    let mut kept: Option<Login> = None;

    let folder = PrivateFolder::open_or_create(&stage.path("client")).unwrap();
    let (other, _) = UserKey::load_or_create(&folder, "other").unwrap();
    let keys = AuthMethod::Keys(Arc::new(KeyCandidates::new(
        vec![Arc::new(other), key.clone()],
        false,
        Arc::new(NoPrompter),
    )));
    let typed = Password::from_bytes(b"correct horse").unwrap();
    let password = AuthMethod::Password(Arc::new(PasswordPrompt::new(
        typed.clone(),
        Arc::new(NoPrompter),
    )));
    let mut further = [AuthMethod::Key(key), keys.clone(), keys, password].into_iter();
    let due = [
        ("invite", 2),
        ("a known key", 2),
        ("one of two keys", 3),
        ("the one that was chosen", 2),
        ("a password", 3),
        ("a further connection of its session", 2),
    ];

    let first = FirstRequest::new(ping::SERVICE, &Ping {}).unwrap();
    for (what, round_trips) in due {
        let (near, taken) = serve_one(&server);
        let mut login = connect(
            DialedStream::new(Box::new(near)),
            "memory",
            server.fingerprint(),
            &credential,
            Some(&first),
        )
        .await
        .unwrap();
        ping::receive_pong(&mut login.channel).await.unwrap();
        assert_eq!(taken.count(), round_trips, "{what}");
        match (further.next(), login.attachment(&credential.method)) {
            (Some(next), _) => {
                login.channel.finish().await;
                if matches!(next, AuthMethod::Password(_)) {
                    set_password(&server, &typed).await;
                }
                credential.method = next;
            }
            (None, Some(attachment)) => {
                credential = attachment;
                kept = Some(login);
            }
            (None, None) => {
                let first = kept.take().unwrap();
                assert_eq!(login.welcome.session, first.welcome.session);
                assert_eq!(login.welcome.key, first.welcome.key);
            }
        }
    }
    assert!(kept.is_none(), "no connection was attached");
}

/// A short file is stored in the flight of the login. A further one takes one round trip.
#[tokio::test]
async fn short_files_take_no_further_round_trip() {
    let stage = Stage::new("unused");
    let (server, credential, _) = server_of(&stage);
    let (near, taken) = serve_one(&server);
    let (mut near, mut channel) = (Some(near), None);
    for (length, round_trips) in [(1, 2), (65_536, 3), (65_537, 5)] {
        let content = vec![7; length];
        let source = stage.write("source", &content);
        let input = Input::File(Arc::new(local::open_source(&source).unwrap()));
        let name = Name(length.to_string().into_bytes());
        let request = put_request(&input, name, None, false, false, Compare::Earlier);
        let flight = PutFlight::new(&request, &input, true).unwrap();
        if channel.is_none() {
            let stream = DialedStream::new(Box::new(near.take().unwrap()));
            let pin = server.fingerprint();
            let login = connect(stream, "memory", pin, &credential, Some(&flight.first));
            channel = Some(login.await.unwrap().channel);
        } else if let Some(channel) = &mut channel {
            flight.first.send_further(channel).await.unwrap();
        }
        let progress = Arc::new(Progress::default());
        let channel = channel.as_mut().unwrap();
        let (copied, _) = put(channel, input, flight, &progress).await.unwrap();
        assert_eq!(copied.length, length as u64);
        assert!(stage.read(&format!("home/{length}")) == content);
        assert_eq!(taken.count(), round_trips, "{length}");
    }
}

/// A connection so slow that most of the content leaves only after the login.
#[tokio::test]
async fn slow_connection_logs_in_before_early_content_has_left() {
    let stage = Stage::new("unused");
    let (server, credential, _) = server_of(&stage);
    let (near, _) = serve_one(&server);
    let content = vec![7; 65_536];
    let source = stage.write("source", &content);
    let input = Input::File(Arc::new(local::open_source(&source).unwrap()));
    let name = Name(b"copy".to_vec());
    let request = put_request(&input, name, None, false, false, Compare::Earlier);
    let flight = PutFlight::new(&request, &input, true).unwrap();
    let stream = DialedStream::new(Box::new(NarrowUntilAnswer::new(near)));
    let pin = server.fingerprint();
    let login = connect(stream, "memory", pin, &credential, Some(&flight.first));
    let mut channel = login.await.unwrap().channel;
    let progress = Arc::new(Progress::default());
    put(&mut channel, input, flight, &progress).await.unwrap();
    assert!(stage.read("home/copy") == content);
}

/// Takes so many bytes from the client, and more only once the server has answered them.
struct NarrowUntilAnswer<T> {
    inner: T,
    left: usize,
    is_open: bool,
    waiting: Option<Waker>,
}

impl<T> NarrowUntilAnswer<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            left: 20_000,
            is_open: false,
            waiting: None,
        }
    }
}

impl<T: Transport> Transport for NarrowUntilAnswer<T> {}

impl<T: Transport> AsyncRead for NarrowUntilAnswer<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if self.left == 0 && buffer.filled().len() > before {
            self.is_open = true;
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
        read
    }
}

impl<T: Transport> AsyncWrite for NarrowUntilAnswer<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_open {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        let taken = &bytes[..bytes.len().min(self.left)];
        if taken.is_empty() {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, taken);
        if let Poll::Ready(Ok(written)) = written {
            self.left -= written;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A server, and the owner's first login with the key.
fn server_of(stage: &Stage) -> (Arc<Server>, Credential, Arc<UserKey>) {
    let options = ServerOptions {
        state: stage.path("server"),
        home: stage.home(),
        connections_max: 8,
        drain_time: Duration::ZERO,
        session_linger: Duration::ZERO,
        exec: None,
        audit: AuditOptions::default(),
    };
    let server = Arc::new(Server::open(&options).unwrap());
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
    let (key, _) = UserKey::load_or_create(&folder, "key").unwrap();
    let key = Arc::new(key);
    let credential = Credential::new(
        "alice".parse().unwrap(),
        AuthMethod::Invite(key.clone(), invite.token),
    )
    .attachable();
    (server, credential, key)
}

/// A connection to the server: the client's end, and the counter of its round trips.
fn serve_one(server: &Arc<Server>) -> (impl Transport + 'static, RoundTrips) {
    let (near, far, round_trips) = link::counted();
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve_connection(Box::new(far), "127.0.0.1:1".parse().unwrap())
            .await;
    });
    (near, round_trips)
}

/// Gives alice a password, as a command does while the server runs.
async fn set_password(server: &Server, password: &Password) {
    let administration = server.administration();
    let alice: UserName = "alice".parse().unwrap();
    let ask = async |request: Request| administration.apply(None, &request);
    let record = password_record(ask, alice.clone(), administration.fingerprint(), password)
        .await
        .unwrap();
    administration
        .apply(
            None,
            &SetPassword {
                user: Some(alice),
                record,
            }
            .into(),
        )
        .unwrap();
}

/// Prompts for nothing, since the keys have no passphrase.
struct NoPrompter;

impl Prompter for NoPrompter {
    fn password(&self, _: &Error) -> Result<Option<Password>, Error> {
        Ok(None)
    }

    fn retry_password(&self) -> Result<Option<Password>, Error> {
        panic!("the password is right");
    }

    fn on_password_accepted(&self) {}

    fn passphrase(
        &self,
        path: &std::path::Path,
        _: bool,
    ) -> Result<Option<zeroize::Zeroizing<String>>, Error> {
        panic!("{} is not locked", path.display());
    }

    fn on_key_skipped(&self, reason: &Error) {
        panic!("{reason}");
    }

    fn on_key_accepted(&self, _key: &UserKey) {}
}
