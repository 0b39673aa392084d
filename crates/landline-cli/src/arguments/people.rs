//! Accounts, keys, secrets, sessions and rights, as typed.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use landline::{
    admin::messages::INVITE_SECONDS_MAX,
    net::Target,
    proto::login::{SecretId, UserName},
};

use super::{Access, span};

#[derive(Debug, Args)]
pub(crate) struct User {
    /// At this server, over the line, as an admin there [default: the server on this machine,
    /// running or not]
    #[arg(long, value_name = "HOST", global = true)]
    pub(crate) on: Option<Target>,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) what: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an account. It may do nothing but what --files and --admin give it, or the rights file
    /// says
    Add {
        /// Its name
        name: UserName,
        /// Let these keys log in: lines of authorized_keys in a file, or - for standard input
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        password: NewPassword,
        /// Let it read (r:FOLDER) or read and write (rw:FOLDER) there, as in the rights file. rw:~
        /// is the home of whoever serves, which is as good as running commands as them:
        /// better rw:~/NAME
        #[arg(long, value_name = "RIGHT")]
        files: Vec<String>,
        /// Let it administer this server
        #[arg(long)]
        admin: bool,
        /// Print an invite with which a key can be registered
        #[arg(long)]
        invite: bool,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List the accounts
    List {
        /// Print one JSON line for each
        #[arg(long)]
        json: bool,
    },
    /// Show an account with its keys
    Show {
        name: UserName,
        /// Print it as one JSON line
        #[arg(long)]
        json: bool,
    },
    /// Let nobody log in as NAME any more, and end their sessions; what they have stays
    Disable {
        name: UserName,
        /// Even the last admin, so that nobody can undo it over the line
        #[arg(long)]
        force: bool,
    },
    /// Undo `disable`
    Enable { name: UserName },
    /// Forget an account with its keys and invites, and end its sessions; files stay
    Remove {
        name: UserName,
        /// Even the last admin, so that nobody is left to administer over the line
        #[arg(long)]
        force: bool,
    },
    /// The keys of an account
    Keys {
        name: UserName,
        #[command(subcommand)]
        what: KeysCommand,
    },
    /// Set the password of an account, in place of any other, or take it away; sessions that the
    /// old one logged in end
    Password {
        name: UserName,
        /// Take it away instead
        #[arg(long, conflicts_with_all = ["password_file", "password_fd"])]
        remove: bool,
        /// The password in the first line of this file, which nobody else may be able to read
        /// [default: asked for, twice]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The password in the first line of what this descriptor gives; 0 is standard input
        #[arg(long, value_name = "N", conflicts_with = "password_file")]
        password_fd: Option<u32>,
    },
    /// Print an invite: for a further key of NAME, or, where there is no such account, for a new
    /// one
    Invite {
        /// For whom [default: a new account of any name that is free]
        name: Option<UserName>,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List the invites that can still be redeemed
    Invites {
        /// Make this one void instead
        #[arg(long, value_name = "ID")]
        revoke: Option<String>,
        /// Print one JSON line for each
        #[arg(long, conflicts_with = "revoke")]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Let further keys log in. One that is there already takes the options of its new line
    Add {
        /// Lines of authorized_keys in a file, or - for standard input
        file: PathBuf,
    },
    /// List the keys
    List {
        /// Print one JSON line for each
        #[arg(long)]
        json: bool,
    },
    /// Let a key log in no more, and end its sessions
    Remove {
        /// Which: SHA256:..., as `list` and `ssh-keygen -l` show it
        fingerprint: String,
    },
}

/// The password that an account is made with.
#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Let a password log in too, of at least 8 characters, asked for at the terminal, twice
    #[arg(long)]
    pub(crate) password: bool,
    /// The same with the password in the first line of this file, which nobody else may be able to
    /// read
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
    /// The same with the password in the first line of what this descriptor gives; 0 is standard
    /// input
    #[arg(long, value_name = "N", conflicts_with_all = ["password", "password_file"])]
    pub(crate) password_fd: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct InviteTerms {
    /// How long the invite is good for, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = invite_span)]
    pub(crate) ttl: Duration,
    /// Where the server can be reached [default: as when it was last started]; only on the
    /// server's own machine
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "on")]
    pub(crate) public_name: Option<Target>,
}

/// As long as an invite may be good.
fn invite_span(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    match span.as_secs() {
        1..=INVITE_SECONDS_MAX => Ok(span),
        _ => Err("an invite is good for 1s to 30d".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The server: `[user@]host[:port]`
    pub(crate) host: Target,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Print one JSON line for each session
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Kick {
    /// The server: `[user@]host[:port]`
    pub(crate) host: Target,
    /// A user, or a session's id as `landline who` shows it
    #[arg(value_name = "USER|SESSION")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Make a secret by which a machine can log in as USER, and show it, this once
    Add(SecretAdd),
    /// List the secrets, without what is secret in them
    List {
        /// Only those of this user
        user: Option<UserName>,
    },
    /// Forget a secret: nobody can log in with it any more
    Remove {
        /// Which, as `landline secret list` shows it
        id: SecretId,
        /// Even the only way in of the last admin
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SecretAdd {
    /// Whose account the machine uses
    pub(crate) user: UserName,
    /// What a login is bound to: the connection, or, for clients whose TLS has no exporter, such
    /// as Python's, this server
    #[arg(long, value_name = "BINDING", default_value = "exporter")]
    pub(crate) binding: Binding,
    /// A name for people, such as the machine's
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Write it to this new file, which only you can read, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where the machine can reach this server [default: as when it last ran]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) public_name: Option<Target>,
}

/// What a secret is made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Binding {
    Exporter,
    ServerEndPoint,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Who
    pub(crate) user: UserName,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: CheckAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckAction {
    /// Run a command
    Exec {
        /// The command, word by word
        #[arg(required = true, last = true, value_name = "COMMAND")]
        words: Vec<OsString>,
    },
    /// Read a file
    Read {
        /// Its path: absolute, or from the home of the user who serves
        path: PathBuf,
    },
    /// Write a file
    Write {
        /// Its path: absolute, or from the home of the user who serves
        path: PathBuf,
    },
    /// Talk to people
    Chat,
    /// Manage users and sessions
    Admin,
}
