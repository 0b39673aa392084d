//! The server of any dialect on TCP, for one connection.

use std::{future::Future, sync::Arc, time::Duration};

use landline_paths::{ErrorKind, Root};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    Challenge, ClassicEvent, ClassicSink, Connection, challenge,
    codec::{Bursts, DialectError, DownloadResponse, Encodings, Receipt, UpperCase, encode_frame},
    command::{self, CommandOptions},
    download, echo,
    login::{self, LoginOptions},
    sink,
    talk::{self, TalkEvent, TalkOptions},
    text::{self, TextOptions},
    upload::{self, UploadOptions},
};
use crate::Error;

/// The time that work in progress has once the server drains.
///
/// A connection that waits for its client's next message ends at once.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(8);

/// The beginning of an answer to a mistake, where the dialect has no other form for it.
pub const REFUSED: &str = "refused: ";

/// A dialect on TCP, with its options.
#[derive(Clone)]
pub enum Dialect {
    /// Sends the same bytes back, or in upper case.
    Echo(Option<UpperCase>),
    /// Takes texts with a length prefix, and replies to them.
    Text(TextOptions),
    /// Runs shell commands and sends their output.
    Command(CommandOptions),
    /// Takes files.
    Upload(UploadOptions),
    /// Sends files from this folder.
    Download(Arc<Root>),
    /// Asks for a name and a password.
    Login(LoginOptions),
    /// Only the challenge.
    Challenge,
    /// Receives, and answers nothing.
    Sink,
    /// A conversation with an operator.
    Talk(TalkOptions),
}

/// The settings for all connections of a server.
#[derive(Clone)]
pub struct Service {
    /// The dialect.
    pub dialect: Dialect,
    /// The encodings of text.
    pub encodings: Encodings,
    /// The challenge that a client must answer first.
    pub challenge: Option<Challenge>,
    /// The pause that ends a message in dialects without another end.
    pub pause: Duration,
    /// The idle time after which a connection is closed.
    pub idle_time_max: Duration,
    /// Whether each receive and each send is reported.
    pub show: bool,
}

/// Reports the events of one connection.
pub(super) struct Reporter {
    events: ClassicSink,
    peer: String,
}

impl Reporter {
    /// The client's address.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Reports an event.
    pub(super) fn event(&self, event: impl FnOnce(String) -> ClassicEvent) {
        (self.events)(event(self.peer.clone()));
    }

    /// Reports an event of a conversation to the operator.
    pub(super) fn talk_event(&self, event: TalkEvent) {
        self.event(|peer| match event {
            TalkEvent::Received(text) => ClassicEvent::Said {
                peer,
                name: None,
                text,
                held: 0,
            },
            TalkEvent::YourTurn => ClassicEvent::Turn { peer },
        });
    }
}

/// The client's message when a file named `name` is not taken or sent.
///
/// It does not contain the path of the folder.
pub(super) fn client_message(error: &Error, name: &str) -> String {
    if let Error::Name { source, .. } = error {
        return format!("{name}: {source}");
    }
    let kind = match error {
        Error::Path(landline_paths::Error::Path { kind, .. }) => *kind,
        Error::OutsideFolder => ErrorKind::NameRefused,
        Error::Io { source, .. } => ErrorKind::of(source),
        _ => ErrorKind::Io,
    };
    let why = match kind {
        ErrorKind::NotFound => "no such file",
        ErrorKind::NotAFile => "not a regular file",
        ErrorKind::NameRefused | ErrorKind::Denied => "not a name that is served",
        ErrorKind::Exists => "already exists",
        ErrorKind::NoSpace => "no space left",
        _ => "it failed",
    };
    format!("{name}: {why}")
}

impl Service {
    /// Whether any client that can connect runs commands.
    pub(super) fn runs_commands_unproven(&self) -> bool {
        matches!(self.dialect, Dialect::Command(_)) && self.challenge.is_none()
    }

    /// Serves one connection to its end.
    ///
    /// When `drain` completes, the connection ends as soon as the client has what it asked for,
    /// and within 8 s.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: String,
        drain: impl Future<Output = ()> + Send,
        events: &ClassicSink,
    ) {
        let report = Reporter {
            events: events.clone(),
            peer,
        };
        report.event(|peer| ClassicEvent::Connected { peer });
        let mut connection = Connection::new(stream, self.idle_time_max);
        if self.show {
            let (events, peer) = (events.clone(), report.peer.clone());
            connection.set_watcher(Arc::new(move |direction, bytes| {
                events(ClassicEvent::of_wire(peer.clone(), direction, bytes));
            }));
        }
        let (drain_begins, mut drain_begun) = watch::channel(false);
        connection.set_drain(async move {
            let _ = drain_begun.wait_for(|has_begun| *has_begun).await;
        });
        let drain_deadline = async {
            drain.await;
            drain_begins.send_replace(true);
            tokio::time::sleep(DRAIN_TIME).await;
        };
        let served = tokio::select! {
            served = self.serve_proven(&mut connection, &report) => served,
            () = drain_deadline => Err(Error::Draining),
        };
        report.event(|peer| match &served {
            Ok(()) => ClassicEvent::Closed { peer },
            Err(error) => ClassicEvent::Failed {
                peer,
                message: error.wording(),
            },
        });
        if !matches!(served, Err(Error::Lost(_))) {
            connection.close().await;
        }
    }

    /// Asks for the proof, serves the dialect, and tells the client about a mistake of its own.
    async fn serve_proven<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S>,
        report: &Reporter,
    ) -> Result<(), Error> {
        let served = async {
            if let Some(challenge) = &self.challenge {
                challenge.verify_peer(connection).await?;
                report.event(|peer| ClassicEvent::Proven { peer });
            }
            self.serve_dialect(connection, report).await
        };
        let served = served.await;
        // A client without the secret learns nothing: the dialect only closes the connection.
        if let Err(error @ (Error::Dialect(_) | Error::TooManyTexts | Error::OtherAnswer { .. })) =
            &served
            && !matches!(error, Error::Dialect(DialectError::Foreign(_)))
        {
            let answer = self.answer_to_mistake(&error.to_string());
            // The client may be gone.
            let _ = connection.send(&answer).await;
        }
        served
    }

    /// The answer of the dialect to a client that made a mistake.
    fn answer_to_mistake(&self, reason: &str) -> Vec<u8> {
        let sent = self.encodings.sent;
        let text = sent.encode(&format!("{REFUSED}{reason}\n"));
        match &self.dialect {
            Dialect::Text(_) => encode_frame(&text),
            Dialect::Command(options) => options.frame_answer(sent, &text),
            Dialect::Upload(_) => Receipt::Error(reason.into()).encode(sent),
            Dialect::Download(_) => DownloadResponse::Error(reason.into()).encode(sent),
            Dialect::Echo(_) | Dialect::Login(_) | Dialect::Talk(_) | Dialect::Challenge => text,
            Dialect::Sink => Vec::new(),
        }
    }

    async fn serve_dialect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S>,
        report: &Reporter,
    ) -> Result<(), Error> {
        let bursts = || Bursts::new(self.encodings.received, self.pause);
        match &self.dialect {
            Dialect::Echo(upper) => echo::serve(connection, *upper, self.encodings).await,
            Dialect::Text(options) => {
                text::serve(connection, self.encodings, options, report).await
            }
            Dialect::Command(options) => {
                command::serve(connection, bursts(), self.encodings, options, report).await
            }
            Dialect::Upload(options) => {
                upload::serve(connection, self.encodings, options, report).await
            }
            Dialect::Download(folder) => {
                download::serve(connection, self.encodings, folder, report).await
            }
            Dialect::Login(options) => {
                login::serve(connection, bursts(), self.encodings, options, report).await
            }
            Dialect::Sink => sink::serve(connection).await,
            Dialect::Challenge => challenge::confirm(connection).await,
            Dialect::Talk(options) => {
                talk::serve(connection, bursts(), self.encodings.sent, options, report).await
            }
        }
    }
}
