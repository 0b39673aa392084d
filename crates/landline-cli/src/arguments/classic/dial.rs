//! `landline classic dial`, as typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landline::net::{HostPort, Target};

use super::{Chat, Encoding, Pause, RAW_BYE, Secret, milliseconds};

#[derive(Debug, Subcommand)]
pub(crate) enum Dial {
    /// Send bytes, and get them back
    Echo {
        #[command(flatten)]
        stream: DialStream,
        /// What to send [default: standard input]
        text: Vec<String>,
    },
    /// Send texts behind their lengths
    Text {
        #[command(flatten)]
        stream: DialStream,
        /// Wait for the answer to each
        #[arg(long)]
        reply: bool,
        /// The texts [default: the lines of standard input]
        text: Vec<String>,
    },
    /// Run shell commands whose output comes behind its length
    Command(DialCommand),
    /// Run shell commands whose output comes as it is
    CommandRaw {
        #[command(flatten)]
        command: DialCommand,
        /// The word that ends the connection
        #[arg(long, value_name = "WORD", default_value = RAW_BYE)]
        bye: String,
    },
    /// Run shell commands whose output comes behind a JSON header; the exit status is that of the
    /// last one
    CommandJson(DialCommand),
    /// Send files behind a JSON header with its length
    Upload(DialUpload),
    /// Send files behind a JSON header without its length
    UploadBare(DialUpload),
    /// Fetch files by name
    Download {
        #[command(flatten)]
        stream: DialStream,
        /// The names
        #[arg(required = true)]
        names: Vec<String>,
        /// The folder that files go to
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Replace files that are there
        #[arg(long)]
        overwrite: bool,
        /// Show no progress
        #[arg(short, long)]
        quiet: bool,
    },
    /// Log in; the password is asked for, or is the first line of standard input
    Login {
        #[command(flatten)]
        stream: DialStream,
        /// The user
        user: String,
    },
    /// Pass a challenge
    Challenge(DialStream),
    /// Send datagrams, and get them back
    UdpEcho {
        #[command(flatten)]
        dial: DialDatagrams,
        /// How long to wait for each answer
        #[arg(long, value_name = "MILLISECONDS", default_value = "2000", value_parser = milliseconds)]
        timeout: Duration,
        /// The datagrams [default: the lines of standard input]
        text: Vec<String>,
    },
    /// Join a chat by datagrams
    UdpChat {
        #[command(flatten)]
        dial: DialDatagrams,
        #[command(flatten)]
        chat: Chat,
    },
    /// Talk: you speak, then the other side
    Talk {
        #[command(flatten)]
        stream: DialStream,
        #[command(flatten)]
        pause: Pause,
        /// The word that ends the conversation, whoever says it
        #[arg(long, value_name = "WORD")]
        bye: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DialDatagrams {
    /// The server: host:port
    #[arg(value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) address: HostPort,
    #[command(flatten)]
    pub(crate) encoding: Encoding,
}

#[derive(Debug, Args)]
pub(crate) struct DialStream {
    #[command(flatten)]
    pub(crate) dial: DialDatagrams,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

#[derive(Debug, Args)]
pub(crate) struct DialCommand {
    #[command(flatten)]
    pub(crate) stream: DialStream,
    /// The command, as one argument or several [default: the lines of standard input, one after
    /// the other]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DialUpload {
    #[command(flatten)]
    pub(crate) stream: DialStream,
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A message that the server prints when a file is there
    #[arg(long, value_name = "TEXT")]
    pub(crate) msg: Option<String>,
    /// Wait for the receipt of each file (a server with --ack sends it)
    #[arg(long)]
    pub(crate) ack: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn host_port(text: &str) -> Result<HostPort, String> {
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
