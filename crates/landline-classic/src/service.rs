//! The server's side of any dialect on TCP, for one connection.

use std::{future::Future, sync::Arc, time::Duration};

use landline_paths::{ErrorKind, Root};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    Challenge, ClassicEvent, ClassicSink, Connection, challenge,
    codec::{Bursts, Charset, Upper},
    command::{self, CommandOptions},
    download, echo,
    login::{self, LoginOptions},
    talk::{self, Scene, TalkOptions},
    text::{self, Reply},
    upload::{self, UploadOptions},
};
use crate::Error;

/// How long what runs may go on once a server drains. A connection that waits for its client's next
/// message ends at once.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(8);

/// A dialect on TCP, and how it is served.
#[derive(Clone)]
pub enum Dialect {
    /// The same bytes, or in upper case.
    Echo(Option<Upper>),
    /// Texts behind their lengths, and what is answered.
    Text(Option<Reply>),
    /// A shell command and its output.
    Command(CommandOptions),
    /// Files that come.
    Upload(UploadOptions),
    /// Files that are asked for, and where they are.
    Download(Arc<Root>),
    /// A name and a password.
    Login(LoginOptions),
    /// Nothing but the challenge.
    Challenge,
    /// A conversation.
    Talk(TalkOptions),
}

/// How connections are served.
#[derive(Clone)]
pub struct Service {
    /// What is spoken.
    pub dialect: Dialect,
    /// The encoding of text.
    pub charset: Charset,
    /// What has to be proved first.
    pub challenge: Option<Challenge>,
    /// The pause that ends a message where nothing else does.
    pub pause: Duration,
    /// How long a connection may be idle.
    pub idle_time_max: Duration,
}

/// Tells of one connection.
pub(super) struct Reporter {
    events: ClassicSink,
    peer: String,
}

impl Reporter {
    /// Tells of something.
    pub(super) fn event(&self, event: impl FnOnce(String) -> ClassicEvent) {
        (self.events)(event(self.peer.clone()));
    }

    /// Tells the operator what a caller says.
    pub(super) fn scene(&self, scene: Scene) {
        self.event(|peer| match scene {
            Scene::Heard(text) => ClassicEvent::Said {
                peer,
                name: None,
                text,
                spared: 0,
            },
            Scene::Turn => ClassicEvent::Turn { peer },
        });
    }
}

/// Why a file named `name` is not taken or given, for the client: without the path of the folder,
/// which is nobody's business.
pub(super) fn told(error: &Error, name: &str) -> String {
    let kind = match error {
        Error::Path(landline_paths::Error::Path { kind, .. }) => *kind,
        Error::Name { .. } | Error::OutsideFolder => ErrorKind::NameRefused,
        Error::Io { source, .. } => ErrorKind::of(source),
        _ => ErrorKind::Io,
    };
    let why = match kind {
        ErrorKind::NotFound => "no such file",
        ErrorKind::NotAFile => "not a regular file",
        ErrorKind::NameRefused | ErrorKind::Denied => "not a name that is served",
        ErrorKind::Exists => "exists already",
        ErrorKind::NoSpace => "no space left",
        _ => "it failed",
    };
    format!("{name}: {why}")
}

impl Service {
    /// Serves one connection to its end. Once `drain` completes, it ends when the client has what
    /// it has asked for, and within 8 s.
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
        let mut line = Connection::new(stream, self.idle_time_max);
        let (begun, mut begins) = watch::channel(false);
        line.set_drain(async move { drop(begins.wait_for(|begun| *begun).await) });
        let over = async {
            drain.await;
            begun.send_replace(true);
            tokio::time::sleep(DRAIN_TIME).await;
        };
        let served = tokio::select! {
            served = self.speak(&mut line, &report) => served,
            () = over => Err(Error::Draining),
        };
        report.event(|peer| match &served {
            Ok(()) => ClassicEvent::Closed { peer },
            Err(error) => ClassicEvent::Failed {
                peer,
                message: error.to_string(),
            },
        });
        if !matches!(served, Err(Error::Lost(_))) {
            line.close().await;
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Connection<S>,
        report: &Reporter,
    ) -> Result<(), Error> {
        if let Some(challenge) = &self.challenge {
            challenge.ask(line).await?;
            report.event(|peer| ClassicEvent::Proven { peer });
        }
        let bursts = || Bursts::new(self.charset, self.pause);
        match &self.dialect {
            Dialect::Echo(upper) => echo::serve(line, *upper, self.charset).await,
            Dialect::Text(reply) => text::serve(line, self.charset, reply.as_ref(), report).await,
            Dialect::Command(options) => {
                command::serve(line, bursts(), self.charset, options, report).await
            }
            Dialect::Upload(options) => upload::serve(line, self.charset, options, report).await,
            Dialect::Download(folder) => download::serve(line, self.charset, folder, report).await,
            Dialect::Login(options) => {
                login::serve(line, bursts(), self.charset, options, report).await
            }
            Dialect::Challenge => challenge::pass(line).await,
            Dialect::Talk(options) => {
                talk::serve(line, bursts(), self.charset, options, report).await
            }
        }
    }
}
