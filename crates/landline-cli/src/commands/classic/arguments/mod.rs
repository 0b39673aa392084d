//! The arguments of `landline classic`, and of `landline classic serve`.

mod dial;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use landline_classic::{
    Model,
    codec::{Charset, Encodings, HeaderKeys, HmacKind, UploadForm, UpperCase},
};

use crate::arguments::{parse_milliseconds, parse_seconds};

/// How long a connection may be idle, in seconds.
const IDLE_SECONDS: &str = "300";
/// The pause that ends a message, in milliseconds.
const PAUSE_MILLISECONDS: &str = "20";
/// The word that ends `command-raw`.
const RAW_BYE: &str = "zaijian";
/// The word that leaves `udp-chat`.
const CHAT_BYE: &str = "886";

pub(super) use dial::{Dial, DialCommand, DialDatagrams, DialStream, DialUpload};

#[derive(Debug, Subcommand)]
pub(super) enum ClassicAction {
    /// Run a server of a dialect
    ///
    /// With `--profile NAME` instead of a dialect, landline reads the dialect and its options from
    /// classic.toml.
    #[command(subcommand)]
    Serve(ServeDialect),
    /// Connect to a server of a dialect
    ///
    /// With `--profile NAME` instead of a dialect, landline reads the dialect, the address and the
    /// options from classic.toml.
    #[command(subcommand)]
    Dial(Dial),
}

#[derive(Debug, Subcommand)]
pub(super) enum ServeDialect {
    /// Send the same bytes back, or in upper case
    Echo {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        upper: InUpper,
    },
    /// Print texts that follow their lengths (int32)
    Text {
        #[command(flatten)]
        stream: ServeStream,
        /// Answer each text with itself, or with TEXT
        #[arg(long, value_name = "TEXT", num_args = 0..=1, require_equals = true)]
        #[allow(
            clippy::option_option,
            reason = "not given, given alone, given with a text"
        )]
        reply: Option<Option<String>>,
    },
    /// Show each receive, and answer nothing
    Sink(ServeStream),
    /// Run shell commands; a length precedes the output
    ///
    /// It needs --secret-file, or --open.
    Command(ServeCommand),
    /// Run shell commands; the output is sent as it comes
    ///
    /// It needs --secret-file, or --open.
    CommandRaw {
        #[command(flatten)]
        command: ServeCommand,
        /// Word that ends the connection
        #[arg(long, value_name = "WORD", default_value = RAW_BYE)]
        bye: String,
    },
    /// Run shell commands; a JSON header precedes the output
    ///
    /// It needs --secret-file, or --open.
    CommandJson {
        #[command(flatten)]
        command: ServeCommand,
        #[command(flatten)]
        keys: CommandKeys,
    },
    /// Receive files after a JSON header with its length
    Upload(ServeUpload),
    /// Receive files after a JSON header without its length
    UploadBare(ServeUpload),
    /// Send files by name
    Download {
        #[command(flatten)]
        stream: ServeStream,
        /// Folder whose files are served
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Check a name and a password
    Login {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        pause: Pause,
        /// File of lines name:password that no other user can read
        #[arg(long, value_name = "FILE")]
        accounts: PathBuf,
        /// Text to send on success
        #[arg(long, value_name = "TEXT", default_value = "welcome")]
        greeting: String,
    },
    /// Ask only for proof of the secret
    ///
    /// With --secret-file, any dialect on TCP starts with this challenge.
    Challenge(ServeStream),
    /// Send the same datagram back, or in upper case
    UdpEcho {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        upper: InUpper,
    },
    /// Show each datagram, and answer none
    UdpSink(Listen),
    /// Relay a chat over datagrams; what you type goes to all
    UdpChat {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        chat: Chat,
        /// Forget a member who has been silent for this long
        #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds)]
        forget: Duration,
    },
    /// Talk in turns; an empty line hangs up
    Talk {
        #[command(flatten)]
        stream: ServeStream,
        #[command(flatten)]
        pause: Pause,
        /// Exit after the first call
        #[arg(long)]
        once: bool,
        /// Speak first, and send TEXT
        #[arg(long, value_name = "TEXT")]
        first: Option<String>,
        /// Answer each line with TEXT, to all callers at once
        #[arg(long, value_name = "TEXT")]
        reply: Option<String>,
        /// Word that ends a conversation, from either side
        #[arg(long, value_name = "WORD")]
        bye: Option<String>,
    },
}

impl ServeDialect {
    /// Whether the server forks, which needs a process with a single thread.
    pub(super) fn forks(&self) -> bool {
        let stream = match self {
            Self::Echo { stream, .. }
            | Self::Text { stream, .. }
            | Self::Download { stream, .. }
            | Self::Login { stream, .. }
            | Self::Talk { stream, .. }
            | Self::Sink(stream)
            | Self::Challenge(stream) => stream,
            Self::Command(command)
            | Self::CommandJson { command, .. }
            | Self::CommandRaw { command, .. } => &command.stream,
            Self::Upload(upload) | Self::UploadBare(upload) => &upload.stream,
            Self::UdpEcho { .. } | Self::UdpSink(_) | Self::UdpChat { .. } => return false,
        };
        stream.model == ModelName::Processes
    }
}

#[derive(Debug, Args)]
pub(super) struct Listen {
    /// Address and port, or a port on loopback; 0 takes a free port
    #[arg(long, value_name = "[ADDR:]PORT", default_value = "127.0.0.1:5264")]
    pub(super) listen: String,
    #[command(flatten)]
    pub(super) encoding: Encoding,
    #[command(flatten)]
    pub(super) show: ShowBytes,
}

#[derive(Debug, Args)]
pub(super) struct ServeStream {
    #[command(flatten)]
    pub(super) listen: Listen,
    /// How clients are served
    ///
    /// One client at a time (inline), or each by its own thread, process or task.
    #[arg(long, value_enum, default_value = "tasks")]
    pub(super) model: ModelName,
    /// Number of clients that may wait to be accepted
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) backlog: i32,
    #[command(flatten)]
    pub(super) secret: SecretSource,
    /// Close a connection that has been idle for this long
    #[arg(long, value_name = "SECONDS", default_value = IDLE_SECONDS, value_parser = parse_seconds)]
    pub(super) idle: Duration,
}

#[derive(Debug, Args)]
pub(super) struct Encoding {
    /// Encoding of text: utf-8, gbk, big5, shift_jis, ...
    ///
    /// Python's names are known too. Text that does not decode is refused.
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    encoding: Charset,
    /// Encoding of the server's text, if it differs
    #[arg(long, value_name = "NAME")]
    reply_encoding: Option<Charset>,
}

impl Encoding {
    /// The encodings of a server.
    pub(super) fn of_server(&self) -> Encodings {
        Encodings {
            received: self.encoding,
            sent: self.reply_encoding.unwrap_or(self.encoding),
        }
    }

    /// The encodings of a client.
    pub(super) fn of_client(&self) -> Encodings {
        self.of_server().reversed()
    }
}

#[derive(Debug, Args)]
pub(super) struct ShowBytes {
    /// Show the bytes of each receive as it came, and of each send
    #[arg(long)]
    pub(super) show: bool,
}

#[derive(Debug, Args)]
pub(super) struct SecretSource {
    /// Start with a proof of the secret in FILE
    ///
    /// No other user may be able to read the file. A server asks for the proof, a client gives it.
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Digest of the proof: md5, sha256 or sha512
    ///
    /// `md5-key-nonce` is the MD5 of the secret and the nonce, for programs that know no HMAC.
    /// `md5-key-nonce-hex` is its hexdigest.
    #[arg(long, value_name = "DIGEST", default_value = "sha256")]
    pub(super) hmac: HmacKind,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Pause that ends a message without a newline
    #[arg(long, value_name = "MILLISECONDS", default_value = PAUSE_MILLISECONDS, value_parser = parse_milliseconds)]
    pub(super) pause: Duration,
}

#[derive(Debug, Args)]
pub(super) struct InUpper {
    /// Convert to upper case: a to z (ascii), or all text (unicode)
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "unicode")]
    pub(super) upper: Option<UpperCase>,
}

#[derive(Debug, Args)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    pub(super) stream: ServeStream,
    #[command(flatten)]
    pub(super) pause: Pause,
    /// Run commands of clients that prove nothing
    ///
    /// On loopback they must belong to the same user. On other addresses any client runs commands.
    #[arg(long, conflicts_with = "secret_file")]
    pub(super) open: bool,
    /// Encoding of the commands' output, if it differs
    #[arg(long, value_name = "NAME")]
    pub(super) child_encoding: Option<Charset>,
    /// Time limit of a command
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds)]
    pub(super) time_limit: Duration,
}

#[derive(Debug, Args)]
pub(super) struct ServeUpload {
    #[command(flatten)]
    pub(super) stream: ServeStream,
    /// Folder to store files in
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
    /// Replace existing files
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Keep files of the same name apart
    ///
    /// With `number` a second a.txt becomes a-2.txt. With `folder` each sender has a folder, named
    /// by its address.
    #[arg(long, value_name = "HOW", value_enum, conflicts_with = "overwrite")]
    pub(super) same_name: Option<SameNameRule>,
    #[command(flatten)]
    pub(super) keys: UploadKeys,
    /// Send a JSON receipt, after its length, for each file
    #[arg(long)]
    pub(super) ack: bool,
}

/// How uploads of the same name are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SameNameRule {
    Number,
    Folder,
}

#[derive(Debug, Args)]
pub(super) struct UploadKeys {
    /// JSON key of the file's name
    #[arg(long, value_name = "KEY")]
    name_key: Option<String>,
    /// JSON key of the file's size
    #[arg(long, value_name = "KEY")]
    size_key: Option<String>,
}

impl UploadKeys {
    /// The keys of this format, as far as they are not given.
    pub(super) fn of_form(&self, form: UploadForm) -> HeaderKeys {
        let usual = HeaderKeys::of_upload(form);
        HeaderKeys {
            name: self.name_key.clone().unwrap_or(usual.name),
            size: self.size_key.clone().unwrap_or(usual.size),
            ..usual
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CommandKeys {
    /// JSON key of the size of the output
    #[arg(long, value_name = "KEY", default_value = "size")]
    size_key: String,
    /// JSON key of the exit status
    #[arg(long, value_name = "KEY", default_value = "code")]
    code_key: String,
}

impl CommandKeys {
    pub(super) fn to_keys(&self) -> HeaderKeys {
        HeaderKeys {
            size: self.size_key.clone(),
            code: self.code_key.clone(),
            ..HeaderKeys::of_command()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Chat {
    /// Your name in the chat
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    pub(super) name: String,
    /// Word that leaves the chat
    #[arg(long, value_name = "WORD", default_value = CHAT_BYE)]
    pub(super) bye: String,
}

/// The name of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModelName {
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
