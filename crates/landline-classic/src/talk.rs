//! `talk`: one side speaks, then the other.

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
    ClassicEvent, Connection, Got,
    codec::{Act, Bursts, Charset, Side, Talk},
    service::Reporter,
};
use crate::Error;

/// A person at this end: gives lines one by one, when they are asked for.
pub struct Person {
    /// The line that was asked for and has not come yet, so that it is not lost if whoever asked
    /// is gone.
    asked: Mutex<Option<oneshot::Receiver<String>>>,
    requests: mpsc::UnboundedSender<oneshot::Sender<String>>,
}

/// A person's own half: asked for a line, it is to give one. Dropped, the person has gone.
pub type Requests = mpsc::UnboundedReceiver<oneshot::Sender<String>>;

impl Person {
    /// A person, and where its lines are asked for.
    pub fn new() -> (Self, Requests) {
        let (requests, asked) = mpsc::unbounded_channel();
        (
            Self {
                asked: Mutex::default(),
                requests,
            },
            asked,
        )
    }

    /// The next line; `None` where the person has gone. Cancel-safe: the line comes to whoever asks
    /// next.
    pub async fn line(&self) -> Option<String> {
        let mut asked = self.asked.lock().await;
        let waiting = match asked.as_mut() {
            Some(waiting) => waiting,
            None => {
                let (give, line) = oneshot::channel();
                self.requests.send(give).ok()?;
                asked.insert(line)
            }
        };
        let line = waiting.await;
        *asked = None;
        line.ok()
    }
}

/// Who answers calls, one at a time. Nobody is asked for before the first call, so that under the
/// model of processes it is the process of the call that asks.
pub struct Operator {
    call: Box<dyn Fn() -> Person + Send + Sync>,
    person: OnceLock<Mutex<Person>>,
}

impl Operator {
    /// An operator who is there when `call` is called.
    pub fn new(call: impl Fn() -> Person + Send + Sync + 'static) -> Self {
        Self {
            call: Box::new(call),
            person: OnceLock::new(),
        }
    }

    fn person(&self) -> &Mutex<Person> {
        self.person.get_or_init(|| Mutex::new((self.call)()))
    }
}

/// How calls are taken.
#[derive(Clone)]
pub struct TalkOptions {
    /// Who answers: the next caller waits.
    pub operator: Arc<Operator>,
    /// What is said first, if the operator's side is to begin.
    pub first: Option<String>,
    /// The word that ends a conversation, whoever says it.
    pub bye: Option<String>,
}

/// What happens in a conversation, for the person at this end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scene {
    /// The other side says this.
    Heard(String),
    /// It is this side's turn to speak.
    Turn,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// This side hung up.
    HungUp,
    /// Somebody said goodbye.
    Bye,
    /// The other side is gone.
    Gone,
}

/// The server's half: one call, as soon as the operator is free for it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    bursts: Bursts,
    charset: Charset,
    options: &TalkOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let operator = options.operator.person().lock().await;
    report.event(|peer| ClassicEvent::Calling { peer });
    if let Some(first) = &options.first {
        line.send(&charset.encode(first)).await?;
    }
    let talk = Talk::new(Side::Operator, options.bye.clone());
    let ending = converse(
        line,
        bursts,
        charset,
        talk,
        || operator.line(),
        |scene| report.scene(scene),
    )
    .await;
    report.event(|peer| ClassicEvent::Left {
        peer,
        why: match &ending {
            Ok(Ending::HungUp) => "hung up",
            Ok(Ending::Bye) => "goodbye",
            Ok(Ending::Gone) => "the caller is gone",
            Err(_) => "the line broke",
        },
    });
    ending.map(|_| ())
}

/// The client's half, and what both have in common: a conversation to its end. `person` gives this
/// side's next line, and is asked only in its turn; it has to be cancel-safe.
///
/// # Errors
/// [`Error::Lost`], [`Error::Dialect`].
pub async fn converse<S, F>(
    line: &mut Connection<S>,
    mut bursts: Bursts,
    charset: Charset,
    mut talk: Talk,
    mut person: impl FnMut() -> F,
    mut scene: impl FnMut(Scene),
) -> Result<Ending, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<String>>,
{
    let mut is_open = true;
    if talk.is_our_turn() {
        scene(Scene::Turn);
    }
    loop {
        while talk.hears() {
            let message = match bursts.poll_message(Instant::now())? {
                None if is_open => break,
                None => bursts.finish(),
                message => message,
            };
            let Some(message) = message else {
                return Ok(Ending::Gone);
            };
            match talk.handle_heard(&message) {
                Act::Show(text) => scene(Scene::Heard(text)),
                Act::ShowAndEnd(text) => {
                    scene(Scene::Heard(text));
                    return Ok(Ending::Bye);
                }
                _ => continue,
            }
            scene(Scene::Turn);
        }
        if !is_open {
            return Ok(Ending::Gone);
        }
        let deadline = bursts.poll_timeout().filter(|_| talk.hears());
        tokio::select! {
            got = wait(line, talk.is_our_turn(), deadline), if !bursts.is_full() => match got? {
                Got::Bytes(bytes) => bursts.handle_input(Instant::now(), &bytes),
                Got::End => is_open = false,
                Got::Timeout => {}
            },
            said = person(), if talk.is_our_turn() => match said.map_or(Act::End, |said| talk.handle_said(&said)) {
                Act::Send(text) => line.send(&charset.encode(&text)).await?,
                Act::SendAndEnd(text) => {
                    line.send(&charset.encode(&text)).await?;
                    return Ok(Ending::Bye);
                }
                Act::AskAgain => scene(Scene::Turn),
                _ => return Ok(Ending::HungUp),
            },
        }
    }
}

/// Waits for bytes: for as long as it takes where a person of this side is to speak.
async fn wait<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    is_our_turn: bool,
    deadline: Option<Instant>,
) -> Result<Got, Error> {
    if is_our_turn {
        line.listen(deadline).await
    } else {
        line.read(deadline).await
    }
}
