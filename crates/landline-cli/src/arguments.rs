//! The command line, as typed. Help comes from here alone.

pub(crate) mod classic;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use landline::{
    audit::Since,
    lab::Language,
    login::Fingerprint,
    net::{Location, Target},
    proto::login::{SecretId, UserName},
};

/// One line to every machine you own: run commands, move files, talk to the people on it.
///
/// This release copies files. Start a server with `landline serve`, hand its invite to a client, and redeem it there with
/// `landline join`. Then `landline cp` copies either way, encrypted and verified.
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
    /// Ask a server for a sign of life, and show how long each step took
    Ping(Ping),
    /// Say who may log in: accounts, keys and invites, on the server's own machine or over the line
    User(User),
    /// Show who is logged in at a server, from where, and what they are doing; all of them to an admin, to others themselves
    Who(Who),
    /// End the sessions of a user, or one of them; whoever has an account can log in again
    Kick(Kick),
    /// Let machines log in to this server with secrets; on the server's own machine
    #[command(subcommand)]
    Secret(Secret),
    /// Copy one file to or from a server, encrypted, verified, whole or not at all; the same command again resumes
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
    /// See on this machine what courses tell about sockets, measured: tables, two sentences, a picture for a lecture
    Lab(Lab),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: ServeSettings,
    /// Print one JSON line when listening, and one for each event
    #[arg(long)]
    pub(crate) json: bool,
    /// Only say whether all settings can be used
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// What can also be said by the environment (LANDLINE_LISTEN) or in a file (listen = "..."); a flag counts first, the file last.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeSettings {
    /// The file with the settings [default: landline/server.toml in $XDG_CONFIG_HOME or ~/.config, else /etc/landline/server.toml]
    #[arg(long, env = "LANDLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: port 5263 on all addresses]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// The name under which this machine can be reached, for the invite [default: all its addresses]
    #[arg(long, value_name = "HOST")]
    pub(crate) public_name: Option<String>,
    /// The folder that is served [default: $HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Connections at a time; further ones wait [default: up to 1024, if the system lets this process open so many files]
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections: Option<u64>,
    /// How long transfers may go on after SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain: Option<Duration>,
    /// Serve although this is root: whoever may write root's home can then do everything
    #[arg(long)]
    pub(crate) allow_root: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) settings: ServeSettings,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invite (landline://...), or - to read it from standard input
    #[arg(required_unless_present = "secret_file")]
    pub(crate) invite: Option<String>,
    /// In place of an invite: log in with the secret in this file, which the server's machine made (landline secret add), now and
    /// from then on. The file stays where it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["invite", "name", "identity"])]
    pub(crate) secret_file: Option<PathBuf>,
    /// The user name to have there [default: the name you have here]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<UserName>,
    /// Believe the invite where another server is known at its address
    #[arg(long)]
    pub(crate) replace: bool,
    /// The key to register: a private key file of OpenSSH (ed25519, ECDSA, RSA), or the public half of a key in ssh-agent
    /// [default: one made for this client]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct User {
    /// At this server, over the line, as an admin there [default: the server on this machine, running or not]
    #[arg(long, value_name = "HOST", global = true)]
    pub(crate) on: Option<Target>,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) what: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an account. It may do nothing but what --files and --admin give it, or the rights file says
    Add {
        /// Its name
        name: UserName,
        /// Let these keys log in: lines of authorized_keys in a file, or - for standard input
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
        /// Let it read (r:FOLDER) or read and write (rw:FOLDER) there, as in the rights file: rw:~ is the home
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
    /// Print an invite: for a further key of NAME, or, where there is no such account, for a new one
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

#[derive(Debug, Args)]
pub(crate) struct InviteTerms {
    /// How long the invite is good for, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    pub(crate) ttl: Duration,
    /// Where the server can be reached [default: as when it was last started]; only on the server's own machine
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "on")]
    pub(crate) public_name: Option<Target>,
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
    },
}

#[derive(Debug, Args)]
pub(crate) struct SecretAdd {
    /// Whose account the machine uses
    pub(crate) user: UserName,
    /// What a login is bound to: the connection, or, for clients whose TLS has no exporter, such as Python's, this server
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
pub(crate) struct Ping {
    /// The server: `[user@]host[:port]`
    pub(crate) host: Target,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// How to log in.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Log in with this key: a private key file, or the public half of a key in ssh-agent [default: the one that joined, else
    /// whichever of the agent's and the usual files the server accepts]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Trust a server that is not known yet without asking: whoever answers there now
    #[arg(long)]
    pub(crate) accept_new: bool,
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
    /// From where: a path, `[user@]host:path`, `landline://[user@]host[:port]/path`, or - for standard input. A path with a colon
    /// in its first part is written ./a:b
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
    /// How long to try to reconnect when the line breaks; 0 gives up at once
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) retry: Duration,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Make the server a service that starts by itself, and start it
    Install(ServiceInstall),
    /// Say how the service is
    Status {
        /// The service of your own, not the system's
        #[arg(long)]
        user: bool,
    },
    /// End the service and take it away; accounts, keys and the audit log stay
    Remove {
        /// The service of your own, not the system's
        #[arg(long)]
        user: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServiceInstall {
    /// A service of your own, which takes no root, in place of the system's
    #[arg(long)]
    pub(crate) user: bool,
    /// As which user the system's service runs
    #[arg(long, value_name = "NAME")]
    pub(crate) run_as: Option<String>,
    /// The port to listen on
    #[arg(long, default_value_t = landline::proto::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Only print the units
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that the audit log is as it was written: nothing edited, moved, taken out or cut off
    Verify {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the audit log
    Show {
        /// Only what this user did, or what was done to them
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only from then on: 90s, 30m, 1h, 2d ago, 2026-11-20 (UTC), or 2026-11-20T08:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// Print the lines as they are in the log
        #[arg(long)]
        json: bool,
    },
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

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How much to copy, in MiB
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) size: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) experiment: Experiment,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Experiment {
    /// What was sent and what each receive returned: TCP with and without Nagle's algorithm, framed TCP, UDP
    Sticky(LabOptions),
    /// Inline, threads, processes and tasks under the same load: latency, throughput, memory, and what blocked handlers do to others
    Models(LabOptions),
    /// A connection's states from SYN to TIME_WAIT, which call blocks until what, SO_REUSEADDR, a full backlog
    Lifecycle(LabOptions),
}

#[derive(Debug, Args)]
pub(crate) struct LabOptions {
    /// Draw a picture too, into this file or folder
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// In which language [default: Chinese where the locale is, else English]
    #[arg(long, value_name = "LANG")]
    pub(crate) lang: Option<ReportLanguage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReportLanguage {
    /// English
    En,
    /// Chinese
    Zh,
}

impl From<ReportLanguage> for Language {
    fn from(language: ReportLanguage) -> Self {
        match language {
            ReportLanguage::En => Self::English,
            ReportLanguage::Zh => Self::Chinese,
        }
    }
}

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
    let count: u64 = text.get(..text.len() - 1).unwrap_or_default().parse().map_err(|_| bad())?;
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(bad)
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "a whole number of seconds is needed".to_owned())
}
