//! The arguments of `landline classic dial`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landline::net::{HostPort, Target};

use super::{Chat, CommandKeys, Encoding, Pause, SecretSource, ShowBytes, UploadKeys};
use crate::arguments::{parse_milliseconds, parse_seconds};

/// How long to wait for an answer, in seconds.
const WAIT_SECONDS: &str = "5";
/// How long to wait for an answer that may not come, in seconds.
const SILENCE_SECONDS: &str = "2";

#[derive(Debug, Subcommand)]
pub(in crate::commands::classic) enum Dial {
    /// Send bytes and receive them back
    ///
    /// It ends when as much came back as was sent.
    Echo {
        #[command(flatten)]
        stream: DialStream,
        /// Fail if nothing comes back for this long
        #[arg(long, value_name = "SECONDS", default_value = WAIT_SECONDS, value_parser = parse_seconds)]
        wait: Duration,
        /// Text to send [default: standard input]
        text: Vec<String>,
    },
    /// Send texts after their lengths
    Text {
        #[command(flatten)]
        stream: DialStream,
        /// Wait for an answer to each text
        #[arg(long)]
        reply: bool,
        /// Texts to send [default: the lines of standard input]
        text: Vec<String>,
    },
    /// Send each argument with one send, and print what comes back
    Send {
        #[command(flatten)]
        stream: DialStream,
        #[command(flatten)]
        pause: SendPause,
        /// Stop when nothing comes back for this long
        #[arg(long, value_name = "SECONDS", default_value = SILENCE_SECONDS, value_parser = parse_seconds)]
        wait: Duration,
        /// Texts to send
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Run shell commands; a length precedes the output
    Command(DialCommand),
    /// Run shell commands; the output is received as it comes
    CommandRaw {
        #[command(flatten)]
        command: DialCommand,
        /// Stop when the last command has sent nothing for this long
        #[arg(long, value_name = "SECONDS", default_value = WAIT_SECONDS, value_parser = parse_seconds)]
        wait: Duration,
    },
    /// Run shell commands; a JSON header precedes the output
    ///
    /// The exit status is that of the last command.
    CommandJson {
        #[command(flatten)]
        command: DialCommand,
        #[command(flatten)]
        keys: CommandKeys,
    },
    /// Send files after a JSON header with its length
    Upload(DialUpload),
    /// Send files after a JSON header without its length
    UploadBare(DialUpload),
    /// Fetch files by name
    Download {
        #[command(flatten)]
        stream: DialStream,
        /// Names of the files
        #[arg(required = true)]
        names: Vec<String>,
        /// Folder to store files in
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Replace existing files
        #[arg(long)]
        overwrite: bool,
        /// Print no progress
        #[arg(short, long)]
        quiet: bool,
    },
    /// Log in with a name and a password
    ///
    /// The password is asked for, or is the first line of standard input.
    Login {
        #[command(flatten)]
        stream: DialStream,
        /// User name
        user: String,
    },
    /// Answer a challenge
    Challenge(DialStream),
    /// Send datagrams and receive them back
    UdpEcho {
        #[command(flatten)]
        dial: DialDatagrams,
        /// Time to wait for each answer
        #[arg(long, value_name = "MILLISECONDS", default_value = "2000", value_parser = parse_milliseconds)]
        timeout: Duration,
        /// Datagrams to send [default: the lines of standard input]
        text: Vec<String>,
    },
    /// Send each argument as one datagram, and wait for no answer
    UdpSend {
        #[command(flatten)]
        dial: DialDatagrams,
        #[command(flatten)]
        pause: SendPause,
        /// Datagrams to send
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Join a chat over datagrams
    UdpChat {
        #[command(flatten)]
        dial: DialDatagrams,
        #[command(flatten)]
        chat: Chat,
    },
    /// Talk in turns; you speak first
    Talk {
        #[command(flatten)]
        stream: DialStream,
        #[command(flatten)]
        pause: Pause,
        /// Word that ends the conversation, from either side
        #[arg(long, value_name = "WORD")]
        bye: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(in crate::commands::classic) struct SendPause {
    /// Pause between two sends
    #[arg(long, value_name = "MILLISECONDS", value_parser = parse_milliseconds)]
    pub(in crate::commands::classic) pause: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::commands::classic) struct DialDatagrams {
    /// Server: host:port
    #[arg(value_name = "HOST:PORT", value_parser = parse_host_port)]
    pub(in crate::commands::classic) address: HostPort,
    #[command(flatten)]
    pub(in crate::commands::classic) encoding: Encoding,
    #[command(flatten)]
    pub(in crate::commands::classic) show: ShowBytes,
}

#[derive(Debug, Args)]
pub(in crate::commands::classic) struct DialStream {
    #[command(flatten)]
    pub(in crate::commands::classic) dial: DialDatagrams,
    #[command(flatten)]
    pub(in crate::commands::classic) secret: SecretSource,
}

#[derive(Debug, Args)]
pub(in crate::commands::classic) struct DialCommand {
    #[command(flatten)]
    pub(in crate::commands::classic) stream: DialStream,
    /// Command, as one argument or several [default: each line of standard input]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(in crate::commands::classic) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::commands::classic) struct DialUpload {
    #[command(flatten)]
    pub(in crate::commands::classic) stream: DialStream,
    /// Files to send
    #[arg(required = true, value_name = "FILE")]
    pub(in crate::commands::classic) files: Vec<PathBuf>,
    /// Message that the server prints when a file has arrived
    #[arg(long, value_name = "TEXT")]
    pub(in crate::commands::classic) msg: Option<String>,
    #[command(flatten)]
    pub(in crate::commands::classic) keys: UploadKeys,
    /// Give up if the receipt or the end takes longer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub(in crate::commands::classic) wait: Duration,
    /// Wait for the receipt of each file, from a server with --ack
    #[arg(long)]
    pub(in crate::commands::classic) ack: bool,
    /// Print no progress
    #[arg(short, long)]
    pub(in crate::commands::classic) quiet: bool,
}

fn parse_host_port(text: &str) -> Result<HostPort, String> {
    let target: Target = text
        .parse()
        .map_err(|error: landline::Error| error.to_string())?;
    match target.port {
        Some(port) if target.user.is_none() => Ok(HostPort {
            host: target.host,
            port,
        }),
        _ => Err("host:port is needed".into()),
    }
}
