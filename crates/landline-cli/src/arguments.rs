//! The command line, as typed. Help comes from here alone.

pub(crate) mod classic;
mod lab;
mod people;
mod server;

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
pub(crate) use lab::{Experiment, Lab, LabOptions};
use landline::{
    crypto::Fingerprint,
    net::{Location, Target},
    proto::login::UserName,
    ssh_config::ProxyJump,
};
pub(crate) use people::{
    Binding, Check, CheckAction, InviteTerms, KeysCommand, Kick, NewPassword, Secret, SecretAdd,
    User, UserCommand, Who,
};
pub(crate) use server::{Audit, Config, Serve, ServeSettings, Service, ServiceInstall};

/// One line to every machine you own: run commands, move files, talk to the people on it.
///
/// This release copies files, administers users and their rights, and speaks the formats of socket
/// courses. Start a server with `landline serve`, hand its invite to a client, and redeem it there
/// with `landline join`. Then `landline cp` copies either way, encrypted and verified.
#[derive(Debug, Parser)]
#[command(name = "landline", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    /// Keep everything in this folder, instead of in $XDG_STATE_HOME/landline
    #[arg(long, env = "LANDLINE_STATE", value_name = "DIR", global = true)]
    pub(crate) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve this machine
    Serve(Serve),
    /// Print the settings that serve would have, and where each comes from
    Config(Config),
    /// Redeem an invite: from then on this client knows the server, and the server knows its key
    Join(Join),
    /// Put landline on a machine where only ssh is, start its server, and join it; the same command
    /// again brings it up to date
    Bootstrap(Bootstrap),
    /// Ask a server for a sign of life, and show how long each step took
    Ping(Ping),
    /// Say who may log in: accounts, keys and invites, on the server's own machine or over the line
    User(User),
    /// Change your own password at a server, or take it away; the first one an admin sets with
    /// `user password`
    Passwd(Passwd),
    /// Show who is logged in at a server, from where, and what they are doing; all of them to an
    /// admin, to others themselves
    Who(Who),
    /// End the sessions of a user, or one of them; whoever has an account can log in again
    Kick(Kick),
    /// Let machines log in to this server with secrets; on the server's own machine
    #[command(subcommand)]
    Secret(Secret),
    /// Copy one file to or from a server, encrypted, verified, whole or not at all; the same
    /// command again resumes
    Cp(Cp),
    /// Let systemd run the server of this machine
    #[command(subcommand)]
    Service(Service),
    /// Look at the audit log of the server on this machine, also while it runs: who did what
    #[command(subcommand)]
    Audit(Audit),
    /// Serve or dial one of the plain formats that socket courses teach
    #[command(subcommand)]
    Classic(classic::Classic),
    /// See and change which servers this client trusts
    #[command(subcommand)]
    Trust(Trust),
    /// Say whether a user may do something on this machine, and which line of rights.toml says so
    Check(Check),
    /// Show it all on this machine: a server, a client, 1 GiB both ways; leaves nothing behind
    Demo(Demo),
    /// See on this machine what courses tell about sockets, measured: tables, two sentences, a
    /// picture for a lecture
    Lab(Lab),
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invite (landline://...), or - to read it from standard input
    #[arg(required_unless_present = "secret_file")]
    pub(crate) invite: Option<String>,
    /// In place of an invite: log in with the secret in this file, which the server's machine made
    /// (landline secret add), now and from then on. The file stays where it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["invite", "name", "identity"])]
    pub(crate) secret_file: Option<PathBuf>,
    /// The user name to have there [default: the name you have here]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<UserName>,
    /// Believe the invite where another server is known at its address
    #[arg(long)]
    pub(crate) replace: bool,
    /// The key to register: a private key file of OpenSSH (ed25519, ECDSA, RSA), or the public
    /// half of a key in ssh-agent [default: one made for this client]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Reach it through ssh to this host, now and from then on: as with the other commands
    #[arg(long, value_name = VIA)]
    pub(crate) via_ssh: Option<ProxyJump>,
}

#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// The machine, as ssh is to reach it: the port is sshd's; several with commas, the first one
    /// first
    #[arg(value_name = VIA)]
    pub(crate) host: ProxyJump,
    /// The user name to have there [default: the name you have here]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<UserName>,
    /// The port on which the server is to listen; one that runs in the background already stays
    /// where it is [default: where it is, else as its settings say, else 5263]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The program to put there, built for that machine [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// As which user systemd is to run the server there, where ssh leads to root
    #[arg(long, value_name = "NAME")]
    pub(crate) run_as: Option<String>,
    /// Believe the invite where another server is known at its address
    #[arg(long)]
    pub(crate) replace: bool,
    /// The key to register, as with join [default: one made for this client]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The server: `[user@]host[:port]`
    pub(crate) host: Target,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// How to log in.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Log in with this key: a private key file, or the public half of a key in ssh-agent
    /// [default: the one that joined, else whichever of the agent's and the usual files the
    /// server accepts]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Trust a server that is not known yet without asking: whoever answers there now
    #[arg(long)]
    pub(crate) accept_new: bool,
    /// Reach the server through ssh to this host, where only sshd can be reached from here: the
    /// server as it is called there, and `localhost` is that host itself. Several with commas,
    /// the first one first; none for a direct line [default: as was said when it was joined or
    /// first trusted, else ProxyJump in ~/.ssh/config]
    #[arg(long, value_name = VIA)]
    pub(crate) via_ssh: Option<ProxyJump>,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
}

/// Where a password is read.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// Use a password, asked for at the terminal, or in the file that LANDLINE_PASSWORD_FILE names
    #[arg(long, conflicts_with = "identity")]
    pub(crate) password: bool,
    /// The password in the first line of this file, which nobody else may be able to read (for a
    /// pipe: --password-fd)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "password"])]
    pub(crate) password_file: Option<PathBuf>,
    /// The password in the first line of what this descriptor gives; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with_all = ["identity", "password", "password_file"])]
    pub(crate) password_fd: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Passwd {
    /// The server: `[user@]host[:port]`
    pub(crate) host: Target,
    /// Take the password away instead: only keys and secrets log in then
    #[arg(long, conflicts_with_all = ["new_password_file", "new_password_fd"])]
    pub(crate) remove: bool,
    /// The new password in the first line of this file, which nobody else may be able to read
    /// [default: asked for, twice]
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// The new password in the first line of what this descriptor gives; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with = "new_password_file")]
    pub(crate) new_password_fd: Option<u32>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Show the servers that are known: address, fingerprint, who to log in as and by what
    List {
        /// Print one JSON line for each server
        #[arg(long)]
        json: bool,
    },
    /// Trust another fingerprint from now on: what a server's owner says after it was set up anew
    Replace {
        /// The server: `host[:port]`
        host: Target,
        /// The fingerprint, 64 hexadecimal digits
        fingerprint: Fingerprint,
    },
    /// Forget a server, with its fingerprint
    Forget {
        /// The server: `host[:port]`; without a port, all at this host
        host: Target,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// From where: a path, `[user@]host:path`, `landline://[user@]host[:port]/path`, or - for
    /// standard input. A path with a colon in its first part is written ./a:b
    #[arg(value_name = "SRC", value_parser = location())]
    pub(crate) source: Location,
    /// To where: likewise, or - for standard output
    #[arg(value_name = "DST", value_parser = location())]
    pub(crate) destination: Location,
    /// Refuse to replace a file
    #[arg(short, long)]
    pub(crate) no_clobber: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print one JSON line for each event, in place of everything else
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
    /// Begin anew: forget what an earlier try has left
    #[arg(long)]
    pub(crate) restart: bool,
    /// How long to try again when the line breaks, or too many sessions are open; 0 gives up at
    /// once
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) retry: Duration,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How much to copy, in MiB
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) size: u64,
}

/// How hosts to go through are written.
const VIA: &str = "[USER@]HOST[:PORT]";

const EXIT_STATUS: &str = "\
Exit status:
   0  done                                    23  refused by a rule, or no right to it
   1  something failed on this machine        24  no space left
   2  a mistake on the command line           25  the content was damaged on the way
  10  cannot connect, or the line broke       26  the file changed while it was read
  11  not the server that is known here       27  reading or writing failed
  12  login, key or invite refused            30  cannot listen
  13  the other side broke the protocol       31  the state folder cannot be used
  14  nothing in common with the other side   32  a key or secret cannot be used
  20  no such file or folder                  33  the server is going down
  21  not a regular file                      34  another try at the same copy took over
  22  exists already                          35  an admin ended the session
                                              36  the server cannot write its audit log
                                              37  the audit log is not as it was written
                                              38  too many sessions at a time
                                             130  stopped by a signal";

fn location() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new().try_map(|text| Location::parse(&text))
}

/// `90s`, `30m`, `24h`, `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let bad = || "a whole number with s, m, h or d behind it is needed".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(bad()),
    };
    let count: u64 = text
        .get(..text.len() - 1)
        .unwrap_or_default()
        .parse()
        .map_err(|_| bad())?;
    count
        .checked_mul(unit)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds is needed".to_owned())
}
