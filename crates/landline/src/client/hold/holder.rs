//! The process that holds a session.

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use landline_proto::messages::Ping;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf,
        copy_bidirectional_with_sizes,
    },
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    ANSWER_TIME_MAX, ATTACH, ATTACHMENT_BYTES_MAX, Attachment, GRANTED, HoldInfo, HoldPlace, INFO,
    OPEN, STOP,
};
use crate::{
    Error,
    client::connect,
    exec::TRANSIT_TIME_MAX,
    login::{Credential, FirstRequest, KnownServer},
    net::Channel,
    paths::user_id,
    ping,
};

/// How many attached connections wait for a command.
const RESERVE: usize = 2;
/// How long the reserve is not filled while a command may still wait for its answer. The handshake
/// of another connection would delay that.
const REFILL_DELAY: Duration = Duration::from_millis(50);
/// How often the server is asked for a sign of life, and how long it may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PONG_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that are passed on at a time.
const PASSED_BYTES: usize = 128 * 1024;

/// A session that this process holds for other commands.
pub struct Hold {
    shared: Arc<HeldSession>,
    /// The channel of the login, which tells when the session ends.
    login: Channel,
    idle_time: Duration,
}

struct HeldSession {
    server: KnownServer,
    attachment: Credential,
    /// Attached connections without a channel.
    reserve: Mutex<Vec<Channel>>,
    taken: Notify,
    /// Notified when a command has ended.
    passed: Notify,
    usage: Mutex<HoldUsage>,
    stop: CancellationToken,
}

/// How the session is used.
struct HoldUsage {
    channels: usize,
    /// When it ends, if there is no channel.
    end: Instant,
}

impl Hold {
    /// Logs in. The session ends when no command has used it for `idle_time`.
    ///
    /// # Errors
    /// Those of [`connect`]. The server may not let the session be attached to.
    pub async fn log_in(
        server: KnownServer,
        credential: Credential,
        idle_time: Duration,
    ) -> Result<Self, Error> {
        let first = FirstRequest::new(ping::SERVICE, &Ping {})?;
        let credential = credential.attachable();
        let mut connected = connect(&server, &credential, Some(&first)).await?;
        ping::receive_pong(&mut connected.login.channel).await?;
        let attachment = connected.login.attachment(&credential.method);
        let attachment = attachment
            .ok_or_else(|| Error::Lost("the server gives no session to attach to".into()))?;
        Ok(Self {
            shared: Arc::new(HeldSession {
                server,
                attachment,
                reserve: Mutex::default(),
                taken: Notify::new(),
                passed: Notify::new(),
                usage: Mutex::new(HoldUsage {
                    channels: 0,
                    end: Instant::now() + idle_time,
                }),
                stop: CancellationToken::new(),
            }),
            login: connected.login.channel,
            idle_time,
        })
    }

    /// Listens for commands. They can use the session from now on.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn listen(self, place: HoldPlace) -> Result<ListeningHold, Error> {
        let listener = place.bind()?;
        let listener =
            UnixListener::from_std(listener).map_err(|error| Error::io("the socket", &error))?;
        Ok(ListeningHold {
            hold: self,
            place,
            listener,
        })
    }
}

/// A held session that commands can use.
pub struct ListeningHold {
    hold: Hold,
    place: HoldPlace,
    listener: UnixListener,
}

impl ListeningHold {
    /// Serves commands until `stop`, until nothing has used the session for a while, or until the
    /// server ends it. Commands that use it then may end first.
    ///
    /// # Errors
    /// The server ended the session, or is not reached any more.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self {
            hold,
            place,
            listener,
        } = self;
        let Hold {
            shared,
            login,
            idle_time,
        } = hold;
        let (mut stop, mut watching) = (pin!(stop), pin!(watch(login)));
        let mut filling = pin!(shared.fill_reserve());
        let mut clients = JoinSet::new();
        let ended = loop {
            let end = {
                let now = lock(&shared.usage);
                (now.channels == 0).then_some(now.end)
            };
            tokio::select! {
                biased;
                () = &mut stop => break Ok(()),
                () = shared.stop.cancelled() => break Ok(()),
                error = &mut watching => break Err(error),
                Some(_) = clients.join_next() => {}
                accepted = listener.accept() => {
                    let (stream, _) = accepted.map_err(|error| Error::io("the socket", &error))?;
                    clients.spawn(shared.clone().serve(stream, idle_time));
                }
                () = &mut filling => {}
                // A command may use it by now.
                () = sleep_until(end) => if shared.is_unused() {
                    break Ok(());
                },
            }
        };
        drop((listener, place));
        shared.stop.cancel();
        lock(&shared.reserve).clear();
        while clients.join_next().await.is_some() {}
        ended
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Returns when the session has ended, or the server gives no sign of life.
async fn watch(mut login: Channel) -> Error {
    loop {
        let arrived = tokio::time::timeout(PING_INTERVAL, login.reader.wait_for_input()).await;
        let alive = match arrived {
            // Nothing is expected, so it is the end.
            Ok(()) => ping::receive_pong(&mut login).await,
            Err(_) => match tokio::time::timeout(PONG_TIME_MAX, ping::ping(&mut login)).await {
                Ok(answered) => answered.map(drop),
                Err(_) => Err(Error::Lost("the server does not answer".into())),
            },
        };
        if let Err(error) = alive {
            return error;
        }
    }
}

impl HeldSession {
    /// Attaches connections whenever one of the reserve is taken, and the command that has taken it
    /// has ended or takes long. Never completes.
    async fn fill_reserve(&self) {
        loop {
            while lock(&self.reserve).len() < RESERVE {
                // Where it fails, a command tries again, or logs in by itself.
                let Ok(channel) = self.attach().await else {
                    break;
                };
                lock(&self.reserve).push(channel);
            }
            self.taken.notified().await;
            if !lock(&self.reserve).is_empty() {
                let _ = tokio::time::timeout(REFILL_DELAY, self.passed.notified()).await;
            }
        }
    }

    async fn attach(&self) -> Result<Channel, Error> {
        let connected = connect(&self.server, &self.attachment, None).await?;
        let channel = connected.login.channel;
        // Commands use it, and they continue after a lost connection.
        channel.limit_transit_time(TRANSIT_TIME_MAX);
        Ok(channel)
    }

    /// A connection for a command.
    async fn take(&self) -> Result<Channel, Error> {
        loop {
            let taken = lock(&self.reserve).pop();
            self.taken.notify_one();
            let Some(mut channel) = taken else {
                return self.attach().await;
            };
            // The server sends something only to say that it ends the connection.
            let has_ended = tokio::select! {
                biased;
                () = channel.reader.wait_for_input() => true,
                () = std::future::ready(()) => false,
            };
            if !has_ended {
                return Ok(channel);
            }
        }
    }

    /// Serves a command on this machine.
    async fn serve(self: Arc<Self>, mut stream: UnixStream, idle_time: Duration) {
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == user_id()) {
            let request = tokio::time::timeout(ANSWER_TIME_MAX, stream.read_u8()).await;
            // A command that is gone needs no answer.
            let _ = match request {
                Ok(Ok(OPEN)) => self.pass(stream, idle_time).await,
                Ok(Ok(ATTACH)) => {
                    let usage = self.use_for(idle_time);
                    let attached = self.hand_out(stream).await;
                    drop(usage);
                    attached
                }
                Ok(Ok(INFO)) => self.answer(&mut stream, &self.info()).await,
                Ok(Ok(STOP)) => {
                    self.stop.cancel();
                    self.answer(&mut stream, b"").await
                }
                _ => Ok(()),
            };
        }
    }

    async fn answer(&self, stream: &mut UnixStream, text: &[u8]) -> io::Result<()> {
        stream.write_all(&[&[GRANTED], text].concat()).await?;
        stream.shutdown().await
    }

    fn info(&self) -> Vec<u8> {
        let now = lock(&self.usage);
        let info = HoldInfo {
            server: self.server.to_string(),
            user: self.server.user.clone(),
            channels: now.channels,
            seconds_left: now.end.saturating_duration_since(Instant::now()).as_secs(),
        };
        serde_json::to_vec(&info).unwrap_or_default()
    }

    /// Passes bytes between a command and the server until both have finished.
    async fn pass(&self, mut stream: UnixStream, idle_time: Duration) -> io::Result<()> {
        let channel = self.take().await.map_err(io::Error::other)?;
        let Some(mut server) = channel.into_stream() else {
            return Ok(());
        };
        let usage = self.use_for(idle_time);
        let passed = async {
            stream.write_all(&[GRANTED]).await?;
            let mut command = CommandStream(stream);
            copy_bidirectional_with_sizes(&mut command, &mut server, PASSED_BYTES, PASSED_BYTES)
                .await
        };
        let passed = passed.await;
        drop(usage);
        self.passed.notify_one();
        passed.map(drop)
    }

    /// Gives the attachment to a command, and returns when that has ended.
    async fn hand_out(&self, mut stream: UnixStream) -> io::Result<()> {
        // It has room for all, so that nothing is moved and left behind.
        let mut answer = Zeroizing::new(Vec::with_capacity(ATTACHMENT_BYTES_MAX));
        answer.push(GRANTED);
        serde_json::to_writer(&mut *answer, &Attachment::of(&self.attachment))?;
        answer.push(b'\n');
        stream.write_all(&answer).await?;
        // A command sends nothing more.
        stream.read_u8().await.map(drop)
    }

    /// Whether no command has used it for long enough.
    fn is_unused(&self) -> bool {
        let now = lock(&self.usage);
        now.channels == 0 && now.end <= Instant::now()
    }

    /// Counts a channel of a command until the result is dropped.
    fn use_for(&self, idle_time: Duration) -> CountedUsage<'_> {
        lock(&self.usage).channels += 1;
        CountedUsage {
            usage: &self.usage,
            idle_time,
        }
    }
}

/// A command that uses the session. Once it is dropped, the time without commands begins.
struct CountedUsage<'a> {
    usage: &'a Mutex<HoldUsage>,
    idle_time: Duration,
}

impl Drop for CountedUsage<'_> {
    fn drop(&mut self) {
        let mut now = lock(self.usage);
        now.channels -= 1;
        now.end = Instant::now() + self.idle_time;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket to a command. If the command was killed, it fails, rather than end: the server must
/// not take that for a command that has finished.
struct CommandStream(UnixStream);

impl CommandStream {
    /// Whether the other end is closed, and not only for writing.
    fn poll_hung_up(&self, cx: &mut Context<'_>) -> bool {
        let ready = pin!(self.0.ready(Interest::WRITABLE)).poll(cx);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_write_closed())
    }
}

impl AsyncRead for CommandStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && self.poll_hung_up(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CommandStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
