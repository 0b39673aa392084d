//! The arguments of `landline user`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landline::{
    admin::messages::INVITE_SECONDS_MAX, net::Target, proto::login::UserName, rights::Role,
};

use crate::arguments::{Access, parse_span};

/// Manage accounts, keys and invites
///
/// Works on this machine's server, running or not. With --on, it works on another server, where
/// you must be an admin.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline user add alice --files rw:~/alice --invite")]
pub(crate) struct User {
    /// Server to administer [default: the server on this machine]
    #[arg(long, value_name = "HOST", global = true)]
    pub(super) on: Option<Target>,
    #[command(flatten)]
    pub(super) access: Access,
    #[command(subcommand)]
    pub(super) what: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add an account
    ///
    /// It has no rights except those of --files, --role and the rights file. Names that differ only
    /// in case are the same.
    Add {
        /// User name
        name: UserName,
        /// Add the keys in FILE (lines of authorized_keys); - is standard input
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        password: NewPassword,
        /// Allow reading (r:FOLDER) or reading and writing (rw:FOLDER)
        ///
        /// As in the rights file. Without --home, rw:~ is the home of the account that serves. A
        /// user who can write there can run commands as that account, so rw:~/NAME is better.
        #[arg(long, value_name = "RIGHT")]
        files: Vec<String>,
        /// Set the folder that `~` and `host:` mean for the user
        ///
        /// It is absolute, or begins with ~/, the home of the account that serves.
        #[arg(long, value_name = "FOLDER")]
        home: Option<String>,
        /// Set the role: owner, admin, helper or user
        ///
        /// A helper sees all sessions and ends those of users. An admin manages users and helpers.
        /// An owner manages all accounts.
        #[arg(long, default_value_t)]
        role: Role,
        /// Print an invite to register a key
        #[arg(long)]
        invite: bool,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List the accounts
    List,
    /// Show an account with its keys
    Show { name: UserName },
    /// Disable an account and end its sessions
    ///
    /// Keys, invites and files stay.
    Disable {
        name: UserName,
        /// Disable even the last owner, so that only this machine can undo it
        #[arg(long)]
        force: bool,
    },
    /// Enable a disabled account
    Enable { name: UserName },
    /// Remove an account with its keys and invites, and end its sessions
    ///
    /// Files stay.
    Remove {
        name: UserName,
        /// Remove even the last owner, so that only this machine can administer
        #[arg(long)]
        force: bool,
    },
    /// Manage the keys of an account
    Keys {
        name: UserName,
        #[command(subcommand)]
        what: KeysCommand,
    },
    /// Set or remove the password of an account
    ///
    /// Sessions that the old password logged in end.
    Password {
        name: UserName,
        /// Remove the password
        #[arg(long, conflicts_with_all = ["password_file", "password_fd"])]
        remove: bool,
        /// Read the password from the first line of FILE
        ///
        /// No other user may be able to read the file. By default the password is asked for,
        /// twice.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Read the password from descriptor N; 0 is standard input
        #[arg(long, value_name = "N", conflicts_with = "password_file")]
        password_fd: Option<u32>,
    },
    /// Print an invite
    ///
    /// It is for a further key of NAME, or for a new account if there is no such account.
    Invite {
        /// User name [default: a new account, named by who redeems the invite]
        name: Option<UserName>,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List or revoke the invites that can still be redeemed
    Invites {
        /// Revoke this invite
        #[arg(long, value_name = "ID")]
        revoke: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Add keys, or change the options of keys
    ///
    /// A key that the account already has gets the options of its new line.
    Add {
        /// File with lines of authorized_keys, or - for standard input
        file: PathBuf,
    },
    /// List the keys
    List,
    /// Remove a key and end its sessions
    Remove {
        /// Fingerprint, as `list` and `ssh-keygen -l` show it: SHA256:...
        fingerprint: String,
    },
}

/// The password of a new account.
#[derive(Debug, Args)]
pub(super) struct NewPassword {
    /// Also set a password, which is asked for twice
    ///
    /// It has at least 8 characters.
    #[arg(long)]
    pub(super) password: bool,
    /// Also set the password in the first line of FILE
    ///
    /// No other user may be able to read the file.
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub(super) password_file: Option<PathBuf>,
    /// Also set the password read from descriptor N; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with_all = ["password", "password_file"])]
    pub(super) password_fd: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct InviteTerms {
    /// Lifetime of the invite, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_lifetime)]
    pub(super) ttl: Duration,
    /// Address of this server in the invite [default: as at its last start]
    ///
    /// Not with --on.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "on")]
    pub(super) public_name: Option<Target>,
}

/// Parses the lifetime of an invite.
fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    match span.as_secs() {
        1..=INVITE_SECONDS_MAX => Ok(span),
        _ => Err("an invite is valid for 1s to 30d".to_owned()),
    }
}
