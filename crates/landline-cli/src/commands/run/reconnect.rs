//! Carrying a command over new connections after lost ones.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use landline::{
    Error,
    exec::{CarryOutcome, CommandCarrier, CommandExit, Keyboard, WatchJob, continue_request},
    login::FirstRequest,
    net::Channel,
    proto::ErrorCode,
};

use super::{input::EscapeKey, lines::Printer};
use crate::{
    connect::is_transient,
    context::Context,
    failure::Failure,
    streams::OutputStream,
    terminal::shown_line,
    terminal_mode::{RemoteTerminal, ScreenWatch, terminal_size},
};

/// The pauses before the attempts to connect again; the last one repeats.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// How long an attempt may take.
pub(in crate::commands) const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);
/// After this time without a connection, the user gets a message.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The message while there is no connection.
pub(in crate::commands) const CONNECTION_LOST: &str = "the connection is lost; trying again";
/// The message after that.
pub(in crate::commands) const CONNECTED_AGAIN: &str = "connected again";

/// The most characters of a message beside what a terminal shows.
const SHOWN_CHARS_MAX: usize = 200;

/// How a command is continued on another connection.
pub(in crate::commands) enum Continuation {
    /// The run of this id, for this time after the connection was lost.
    Run { id: String, time: Duration },
    /// The detached job of this id, however long it takes.
    Job { id: String },
    /// Watching a job.
    Watch(WatchJob),
}

impl Continuation {
    fn time(&self) -> Duration {
        match self {
            Self::Run { time, .. } => *time,
            Self::Job { .. } | Self::Watch(_) => Duration::MAX,
        }
    }

    /// Connects again and continues there, with the whole screen if that is spoiled. Returns the
    /// channel, and whether the terminal shows the whole screen.
    async fn attempt(
        &self,
        is_spoiled: bool,
        dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
        carrier: &mut CommandCarrier,
    ) -> Result<(Channel, bool), Error> {
        let request = match self {
            Self::Run { id, .. } => continue_request(id)?,
            Self::Job { id } => {
                let size = terminal_size();
                carrier.attach_request(id, size, is_spoiled).await?
            }
            Self::Watch(request) => WatchJob {
                terminal: request.terminal.and(terminal_size()),
                ..request.clone()
            }
            .first_request()?,
        };
        let mut channel = dial(&request).await?;
        let has_screen = match self {
            Self::Run { .. } => carrier.continue_on(&mut channel).await.map(|()| false)?,
            Self::Job { .. } => carrier.attach_again(&mut channel).await?,
            Self::Watch(_) => carrier.watch_again(&mut channel).await.map(|()| true)?,
        };
        Ok((channel, has_screen))
    }
}

/// Carries a command to its end. After a lost connection it continues at the exact byte, if it can
/// connect again in time. A watcher to whom the keyboard is offered takes it, and watches again
/// when it has it no more. `dial` opens a channel on a new connection. `None` if the user leaves.
///
/// # Errors
/// As [`CommandCarrier::carry`]; `lost` once the time is over or the user leaves.
pub(in crate::commands) async fn carry(
    teller: &Teller,
    dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
    channel: &mut Channel,
    carrier: &mut CommandCarrier,
    continuation: &Continuation,
) -> Result<Option<CommandExit>, Failure> {
    if !continuation.time().is_zero() {
        carrier.probe_connections();
    }
    loop {
        let lost = match carrier.carry(channel).await {
            Ok(CarryOutcome::Ended(exit)) => return Ok(Some(exit)),
            Ok(CarryOutcome::Left) => return Ok(None),
            Ok(CarryOutcome::Offered(offer)) => {
                match take_keyboard(teller, dial, carrier, continuation, &offer).await {
                    Ok(taken) => {
                        *channel = taken;
                        continue;
                    }
                    Err(error) => error,
                }
            }
            Err(error) if teller.is_guest() && (is_superseded(&error) || is_lost(&error)) => {
                teller.end_guest(&error);
                error
            }
            Err(error) if is_lost(&error) && !continuation.time().is_zero() => error,
            Err(error) => return Err(error.into()),
        };
        match reconnect(teller, dial, carrier, continuation).await? {
            Some(again) => *channel = again,
            None => return Err(lost.into()),
        }
    }
}

/// Takes the keyboard that is offered to a watcher.
///
/// # Errors
/// It is not offered any more, or the connection is lost. The caller watches again.
async fn take_keyboard(
    teller: &Teller,
    dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
    carrier: &mut CommandCarrier,
    continuation: &Continuation,
    offer: &Keyboard,
) -> Result<Channel, Error> {
    let Continuation::Watch(watched) = continuation else {
        return Err(Error::Lost("only a watcher can take the keyboard".into()));
    };
    let taking = async {
        let mut channel = dial(&watched.keyboard_request(offer, terminal_size())?).await?;
        carrier.take_keyboard(&mut channel).await?;
        Ok::<_, Error>(channel)
    };
    let taken = tokio::time::timeout(ATTEMPT_TIME_MAX, taking).await;
    let channel = taken.map_err(|_| Error::Lost("the server does not answer".into()))??;
    teller.begin_guest(offer);
    Ok(channel)
}

/// Whether another client has the keyboard.
fn is_superseded(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::Superseded,
            ..
        }
    )
}

/// Connects again; `None` if that was not possible in time.
async fn reconnect(
    teller: &Teller,
    dial: &impl AsyncFn(&FirstRequest) -> Result<Channel, Error>,
    carrier: &mut CommandCarrier,
    continuation: &Continuation,
) -> Result<Option<Channel>, Failure> {
    let mut attempts = Attempts::new(continuation.time());
    loop {
        let Some(pause) = attempts.next_pause() else {
            return Ok(None);
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = carrier.signaled() => return Ok(None),
        }
        if attempts.is_to_be_told() {
            teller.tell(CONNECTION_LOST);
        }
        let is_told = attempts.is_told;
        // A message in the middle of a full screen has to go again.
        let is_spoiled = is_told && teller.screen.is_full();
        let attempt = continuation.attempt(is_spoiled, dial, carrier);
        match tokio::time::timeout(ATTEMPT_TIME_MAX, attempt).await {
            Ok(Ok((channel, has_screen))) => {
                // The screen says so itself, and is not to be spoiled.
                if is_told && !has_screen {
                    teller.tell(CONNECTED_AGAIN);
                }
                return Ok(Some(channel));
            }
            Ok(Err(error)) if !is_transient(&error) => return Err(why_over(error)),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Attempts to connect again after a lost connection.
pub(in crate::commands) struct Attempts {
    since: Instant,
    /// How long to try.
    time: Duration,
    pauses: std::array::IntoIter<Duration, { PAUSES.len() }>,
    /// Whether the user has got a message.
    pub(in crate::commands) is_told: bool,
}

impl Attempts {
    /// Attempts from now on, for this time.
    pub(in crate::commands) fn new(time: Duration) -> Self {
        Self {
            since: Instant::now(),
            time,
            pauses: PAUSES.into_iter(),
            is_told: false,
        }
    }

    /// How long to wait before the next attempt; `None` if the time would be over then.
    pub(in crate::commands) fn next_pause(&mut self) -> Option<Duration> {
        let [.., last] = PAUSES;
        let pause = self.pauses.next().unwrap_or(last);
        (self.since.elapsed() + pause < self.time).then_some(pause)
    }

    /// Whether the user is to get a message by now. Returns `true` once.
    pub(in crate::commands) fn is_to_be_told(&mut self) -> bool {
        let is_now = !self.is_told && self.since.elapsed() >= QUIET_TIME;
        self.is_told |= is_now;
        is_now
    }
}

/// Whether the command may go on: the connection was lost, or the server ends.
pub(in crate::commands) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Lost(_) => true,
        Error::Failed { code, .. } => *code == ErrorCode::Draining,
        _ => false,
    }
}

/// The failure of a command that cannot be continued.
fn why_over(error: Error) -> Failure {
    match &error {
        Error::Failed {
            code: ErrorCode::NotFound,
            ..
        } => Failure::new(
            "lost",
            "the command was ended while there was no connection",
        ),
        _ => error.into(),
    }
}

/// Prints messages to the user while a command runs.
pub(in crate::commands) struct Teller {
    place: TellerPlace,
    screen: ScreenWatch,
    /// The sequence that hands the keyboard over.
    hand_over: Option<String>,
    /// Whether this watcher has the keyboard.
    is_guest: AtomicBool,
}

/// Where messages are printed.
enum TellerPlace {
    Nowhere,
    Stderr(OutputStream),
    /// A terminal that passes every key on, and needs more to begin a line.
    RawTerminal(OutputStream),
    /// Beside the output of this host.
    Host(Arc<Printer>, String),
}

impl Teller {
    /// Prints to standard error, beside what a terminal shows if there is one.
    pub(in crate::commands) fn new(
        context: &Context,
        terminal: &RemoteTerminal,
        escape: EscapeKey,
    ) -> Self {
        let err = context.err.clone();
        Self {
            place: match (context.json, terminal.is_raw()) {
                (true, _) => TellerPlace::Nowhere,
                (false, true) => TellerPlace::RawTerminal(err),
                (false, false) => TellerPlace::Stderr(err),
            },
            screen: terminal.watch_screen(),
            hand_over: escape.hand_over(),
            is_guest: AtomicBool::new(false),
        }
    }

    /// Prints beside the output of this host.
    pub(super) fn of_host(context: &Context, printer: Arc<Printer>, name: &str) -> Self {
        Self {
            place: if context.json {
                TellerPlace::Nowhere
            } else {
                TellerPlace::Host(printer, name.to_owned())
            },
            screen: ScreenWatch::none(),
            hand_over: None,
            is_guest: AtomicBool::new(false),
        }
    }

    /// Whether this watcher has the keyboard.
    pub(in crate::commands) fn is_guest(&self) -> bool {
        self.is_guest.load(Ordering::SeqCst)
    }

    /// Whether there is a terminal whose keys can go to a program.
    pub(in crate::commands) fn can_type(&self) -> bool {
        matches!(self.place, TellerPlace::RawTerminal(_))
    }

    /// This watcher has the keyboard from now on.
    fn begin_guest(&self, offer: &Keyboard) {
        let owner = offer.user.as_ref().map(ToString::to_string);
        let owner = owner.unwrap_or_default();
        self.is_guest.store(true, Ordering::SeqCst);
        self.tell_at_screen(&format!(
            "you have the keyboard of {owner}{}",
            self.hint("gives it back")
        ));
    }

    /// This watcher has it no more.
    fn end_guest(&self, reason: &Error) {
        self.is_guest.store(false, Ordering::SeqCst);
        self.screen.undo();
        if let Error::Failed { message, .. } = reason {
            self.tell_at_screen(message);
        }
    }

    /// Tells the owner of a job where its keyboard is.
    pub(in crate::commands) fn tell_keyboard(&self, news: &Keyboard) {
        let user = news.user.as_ref().map(ToString::to_string);
        let what = match (&user, &news.refused) {
            (_, Some(reason)) => format!("the keyboard is not handed over: {reason}"),
            (Some(user), _) if news.has => format!("{user} is offered the keyboard"),
            (Some(user), _) => {
                format!("{user} has the keyboard{}", self.hint("takes it back"))
            }
            (None, _) => "you have the keyboard".to_owned(),
        };
        self.tell_at_screen(&what);
    }

    fn hint(&self, what: &str) -> String {
        let keys = self.hand_over.as_ref();
        keys.map_or_else(String::new, |keys| format!("; {keys} {what}"))
    }

    /// Prints on a line of its own, or in the last line of a full screen.
    fn tell_at_screen(&self, what: &str) {
        // A part of it may be the server's.
        let what: String = shown_line(what).chars().take(SHOWN_CHARS_MAX).collect();
        let what = what.as_str();
        match &self.place {
            TellerPlace::RawTerminal(err) if self.screen.is_full() => {
                let text = format!("\x1b7\x1b[999;1H\x1b[0;7m{what}\x1b[0m\x1b[K\x1b8");
                let _ = err.raw().write_all(text.as_bytes());
            }
            _ => self.tell(what),
        }
    }

    fn tell(&self, what: &str) {
        match &self.place {
            TellerPlace::Nowhere => {}
            TellerPlace::Stderr(err) => err.print(what),
            TellerPlace::RawTerminal(err) => {
                let text = format!("\r\n{what}\r\n");
                let _ = err.raw().write_all(text.as_bytes());
            }
            // Its output fails, too, if this cannot be printed.
            TellerPlace::Host(printer, name) => drop(printer.print_message(name, what)),
        }
    }
}
