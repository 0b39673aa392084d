//! `talk`: the caller and the operator speak in turn.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, mpsc, oneshot},
};

use super::{
    ClassicEvent, Connection, Received,
    codec::{Bursts, Charset, Talk, TalkAction, TalkSide},
    service::Reporter,
};
use crate::{Error, Wording};

/// Why a member or caller left that said the word for it.
pub(super) const GOODBYE: Wording = Wording::fixed("goodbye", "道别");

/// The source of a local user's lines. A line is requested only when it is needed.
pub struct LineSource {
    /// The requested line. It is kept if the caller that requested it is dropped.
    requested: Mutex<Option<oneshot::Receiver<String>>>,
    requests: mpsc::UnboundedSender<oneshot::Sender<String>>,
}

/// The requests for lines.
///
/// Each is answered with one line; dropping this ends the source.
pub type LineRequests = mpsc::UnboundedReceiver<oneshot::Sender<String>>;

impl LineSource {
    /// A source, and the requests that its other half must answer.
    pub fn new() -> (Self, LineRequests) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let source = Self {
            requested: Mutex::default(),
            requests,
        };
        (source, receiver)
    }

    /// The next line; `None` if the other half is gone.
    ///
    /// # Cancel safety
    /// A dropped call loses no line: the next call returns it.
    pub async fn next_line(&self) -> Option<String> {
        let mut requested = self.requested.lock().await;
        let pending = match requested.as_mut() {
            Some(pending) => pending,
            None => {
                let (reply, line) = oneshot::channel();
                self.requests.send(reply).ok()?;
                requested.insert(line)
            }
        };
        let line = pending.await;
        *requested = None;
        line.ok()
    }
}

/// The operator, who answers one call at a time.
///
/// The source of the operator's lines is opened at the first call. So under the model of processes
/// the process of the call opens it.
pub struct Operator {
    open_lines: Box<dyn Fn() -> LineSource + Send + Sync>,
    lines: OnceLock<Mutex<LineSource>>,
}

impl Operator {
    /// An operator whose lines come from the source that `open_lines` opens.
    pub fn new(open_lines: impl Fn() -> LineSource + Send + Sync + 'static) -> Self {
        Self {
            open_lines: Box::new(open_lines),
            lines: OnceLock::new(),
        }
    }

    fn lines(&self) -> &Mutex<LineSource> {
        self.lines.get_or_init(|| Mutex::new((self.open_lines)()))
    }
}

/// The server's side of its conversations.
#[derive(Clone)]
pub enum Speaker {
    /// A person. While a call lasts, the next caller waits.
    Person(Arc<Operator>),
    /// This reply to each line. All callers talk at the same time.
    Script(String),
}

/// The options of a server of conversations.
#[derive(Clone)]
pub struct TalkOptions {
    /// Who answers.
    pub speaker: Speaker,
    /// The server's first line, if it begins.
    pub first: Option<String>,
    /// The word with which either side ends a conversation.
    pub bye: Option<String>,
}

/// An event of a conversation, for the local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TalkEvent {
    /// The peer said this.
    Received(String),
    /// It is the local user's turn.
    YourTurn,
}

/// The way in which a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The local user hung up.
    HungUp,
    /// One side said goodbye.
    Bye,
    /// The peer is gone.
    Gone,
}

/// The server: one call, as soon as the speaker is free.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    bursts: Bursts,
    charset: Charset,
    options: &TalkOptions,
    report: &Reporter,
) -> Result<(), Error> {
    match &options.speaker {
        Speaker::Person(operator) => {
            let lines = operator.lines().lock().await;
            let next_line = || lines.next_line();
            let show = |event| report.talk_event(event);
            answer_call(
                connection, bursts, charset, options, next_line, show, report,
            )
            .await
        }
        Speaker::Script(reply) => {
            let next_line = || std::future::ready(Some(reply.clone()));
            let show = |event| {
                if event != TalkEvent::YourTurn {
                    report.talk_event(event);
                }
            };
            answer_call(
                connection, bursts, charset, options, next_line, show, report,
            )
            .await
        }
    }
}

/// The server: one call, with the lines of `next_line`.
async fn answer_call<S, F>(
    connection: &mut Connection<S>,
    bursts: Bursts,
    charset: Charset,
    options: &TalkOptions,
    next_line: impl FnMut() -> F,
    show: impl FnMut(TalkEvent),
    report: &Reporter,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<String>>,
{
    report.event(|peer| ClassicEvent::Calling { peer });
    if let Some(first) = &options.first {
        connection.send(&charset.encode(first)).await?;
    }
    let talk = Talk::new(TalkSide::Operator, options.bye.clone());
    let ending = converse(connection, bursts, charset, talk, next_line, show).await;
    report.event(|peer| ClassicEvent::Left {
        peer,
        why: match &ending {
            Ok(Ending::HungUp) => Wording::new("hung up", "已挂断"),
            Ok(Ending::Bye) => GOODBYE,
            Ok(Ending::Gone) => Wording::new("the caller is gone", "来电者已断开"),
            Err(_) => Wording::new("the connection broke", "连接中断"),
        },
    });
    ending?;
    Ok(())
}

/// Runs a conversation to its end, for either side.
///
/// `next_line` gives the local user's next line. It is called only in that user's turn, and must be
/// cancel-safe. `show` gets the events.
///
/// # Errors
/// [`Error::Lost`] or [`Error::Dialect`].
pub async fn converse<S, F>(
    connection: &mut Connection<S>,
    mut bursts: Bursts,
    charset: Charset,
    mut talk: Talk,
    mut next_line: impl FnMut() -> F,
    mut show: impl FnMut(TalkEvent),
) -> Result<Ending, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<String>>,
{
    let mut is_open = true;
    if talk.is_our_turn() {
        show(TalkEvent::YourTurn);
    }
    loop {
        while talk.is_listening() {
            let message = match bursts.poll_message(Instant::now())? {
                None if is_open => break,
                None => bursts.finish()?,
                message => message,
            };
            let Some(message) = message else {
                return Ok(Ending::Gone);
            };
            match talk.handle_remote(&message) {
                TalkAction::Show(text) => show(TalkEvent::Received(text)),
                TalkAction::ShowAndEnd(text) => {
                    show(TalkEvent::Received(text));
                    return Ok(Ending::Bye);
                }
                _ => continue,
            }
            show(TalkEvent::YourTurn);
        }
        if !is_open {
            return Ok(Ending::Gone);
        }
        let deadline = bursts.poll_timeout().filter(|_| talk.is_listening());
        tokio::select! {
            // A caller that has finished sending still gets the answer to its last line.
            biased;
            line = next_line(), if talk.is_our_turn() => {
                match line.map_or(TalkAction::End, |line| talk.handle_local(&line)) {
                    TalkAction::Send(text) => connection.send(&charset.encode(&text)).await?,
                    TalkAction::SendAndEnd(text) => {
                        connection.send(&charset.encode(&text)).await?;
                        return Ok(Ending::Bye);
                    }
                    TalkAction::PromptAgain => show(TalkEvent::YourTurn),
                    _ => return Ok(Ending::HungUp),
                }
            }
            received = wait(connection, talk.is_our_turn(), deadline), if !bursts.is_full() => match received? {
                Received::Bytes(bytes) => bursts.handle_input(Instant::now(), &bytes),
                Received::End => is_open = false,
                Received::Timeout => {}
            },
        }
    }
}

/// Reads bytes. There is no idle limit while the local user is to speak.
async fn wait<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    is_our_turn: bool,
    deadline: Option<Instant>,
) -> Result<Received, Error> {
    if is_our_turn {
        connection.read_without_idle_limit(deadline).await
    } else {
        connection.read(deadline).await
    }
}
