//! `landline classic`, as typed.

mod dial;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use landline_classic::{
    Model,
    codec::{Charset, HmacKind, Upper},
};

use super::seconds;

/// How long a connection may be idle.
const IDLE_SECONDS: &str = "300";
/// The pause that ends a message.
const PAUSE_MILLISECONDS: &str = "20";
/// The word that ends `command-raw`.
const RAW_BYE: &str = "zaijian";
/// The word that leaves `udp-chat`.
const CHAT_BYE: &str = "886";

pub(crate) use dial::{Dial, DialCommand, DialDatagrams, DialStream, DialUpload};

#[derive(Debug, Subcommand)]
pub(crate) enum Classic {
    /// Serve a dialect. `--profile NAME` in place of the dialect takes it and its options from
    /// `classic.toml`
    #[command(subcommand)]
    Serve(Serve),
    /// Speak a dialect with a server. `--profile NAME` in place of the dialect takes it, the
    /// address and the options from `classic.toml`
    #[command(subcommand)]
    Dial(Dial),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Serve {
    /// The same bytes, or in upper case
    Echo {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        upper: InUpper,
    },
    /// Texts behind their lengths (int32), printed
    Text {
        #[command(flatten)]
        stream: ServeStream,
        /// Answer each text, with itself or with TEXT
        #[arg(long, value_name = "TEXT", num_args = 0..=1, require_equals = true)]
        #[allow(
            clippy::option_option,
            reason = "not given, given alone, given with a text"
        )]
        reply: Option<Option<String>>,
    },
    /// Shell commands; the output behind its length. Beyond loopback only with --secret-file
    Command(ServeCommand),
    /// Shell commands; the output as it comes. Beyond loopback only with --secret-file
    CommandRaw {
        #[command(flatten)]
        command: ServeCommand,
        /// The word that ends the connection
        #[arg(long, value_name = "WORD", default_value = RAW_BYE)]
        bye: String,
    },
    /// Shell commands; the output behind a JSON header. Beyond loopback only with --secret-file
    CommandJson(ServeCommand),
    /// Files behind a JSON header with its length
    Upload(ServeUpload),
    /// Files behind a JSON header without its length
    UploadBare(ServeUpload),
    /// Files that are asked for by name
    Download {
        #[command(flatten)]
        stream: ServeStream,
        /// The folder whose files are served
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// A name and a password
    Login {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        pause: Pause,
        /// A file of lines name:password that nobody else can read
        #[arg(long, value_name = "FILE")]
        accounts: PathBuf,
        /// What is said on success
        #[arg(long, value_name = "TEXT", default_value = "welcome")]
        greeting: String,
    },
    /// Nothing but the challenge of --secret-file, which may stand in front of any dialect on TCP
    Challenge(ServeStream),
    /// The same datagram, or in upper case
    UdpEcho {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        upper: InUpper,
    },
    /// A chat of many by datagrams: what you type goes to all of them
    UdpChat {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        chat: Chat,
        /// Who has said nothing for so long is forgotten
        #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
        forget: Duration,
    },
    /// A conversation: one speaks, then the other. An empty line hangs up
    Talk {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        pause: Pause,
        /// End after the first call
        #[arg(long)]
        once: bool,
        /// Speak first, and say this
        #[arg(long, value_name = "TEXT")]
        first: Option<String>,
        /// The word that ends a conversation, whoever says it
        #[arg(long, value_name = "WORD")]
        bye: Option<String>,
    },
}

impl Classic {
    /// Whether it forks, which only a process with one thread may.
    pub(crate) fn forks(&self) -> bool {
        let Self::Serve(serve) = self else {
            return false;
        };
        let stream = match serve {
            Serve::Echo { stream, .. }
            | Serve::Text { stream, .. }
            | Serve::Download { stream, .. }
            | Serve::Login { stream, .. }
            | Serve::Talk { stream, .. }
            | Serve::Challenge(stream) => stream,
            Serve::Command(command)
            | Serve::CommandJson(command)
            | Serve::CommandRaw { command, .. } => &command.stream,
            Serve::Upload(upload) | Serve::UploadBare(upload) => &upload.stream,
            Serve::UdpEcho { .. } | Serve::UdpChat { .. } => return false,
        };
        stream.model == ModelName::Processes
    }
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Where to listen: an address and a port, or a port of loopback; port 0 takes a free one
    #[arg(long, value_name = "[ADDR:]PORT", default_value = "127.0.0.1:5264")]
    pub(crate) listen: String,
    #[command(flatten)]
    pub(crate) encoding: Encoding,
    /// Print one JSON line when listening, and one for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeStream {
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// One client at a time, a thread each, a process each, or a task each
    #[arg(long, value_enum, default_value = "tasks")]
    pub(crate) model: ModelName,
    /// How many clients may wait to be served
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) backlog: i32,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Give up a connection on which nothing moves for so long
    #[arg(long, value_name = "SECONDS", default_value = IDLE_SECONDS, value_parser = seconds)]
    pub(crate) idle: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Encoding {
    /// The encoding of text: utf-8, gbk, big5, shift_jis, ... (any that the web knows)
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    pub(crate) encoding: Charset,
}

#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// Ask for (or give) proof of the secret in this file first, which nobody else can read
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// How it is proved: md5, sha256 or sha512
    #[arg(long, value_name = "DIGEST", default_value = "sha256")]
    pub(crate) hmac: HmacKind,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The pause that ends a message where no newline does
    #[arg(long, value_name = "MILLISECONDS", default_value = PAUSE_MILLISECONDS, value_parser = milliseconds)]
    pub(crate) pause: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct InUpper {
    /// In upper case: of a to z (ascii), or of all text (unicode)
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "unicode")]
    pub(crate) upper: Option<Upper>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    #[command(flatten)]
    pub(crate) stream: ServeStream,
    #[command(flatten)]
    pub(crate) pause: Pause,
    /// The encoding that the commands' output is in, if it is another
    #[arg(long, value_name = "NAME")]
    pub(crate) child_encoding: Option<Charset>,
    /// How long a command may take
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) time_limit: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ServeUpload {
    #[command(flatten)]
    pub(crate) stream: ServeStream,
    /// The folder that files go to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Let a file replace another
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Tell the client how it went, by a JSON receipt behind its length
    #[arg(long)]
    pub(crate) ack: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Your name in it
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    pub(crate) name: String,
    /// The word that leaves
    #[arg(long, value_name = "WORD", default_value = CHAT_BYE)]
    pub(crate) bye: String,
}

/// A model, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelName {
    Inline,
    Threads,
    Processes,
    Tasks,
}

impl From<ModelName> for Model {
    fn from(name: ModelName) -> Self {
        match name {
            ModelName::Inline => Self::Inline,
            ModelName::Threads => Self::Threads,
            ModelName::Processes => Self::Processes,
            ModelName::Tasks => Self::Tasks,
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(Duration::from_millis(count)),
        _ => Err("a whole number of milliseconds is needed".into()),
    }
}
