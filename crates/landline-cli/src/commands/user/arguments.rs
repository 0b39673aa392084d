//! The arguments of `landline user`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landline::{
    admin::messages::INVITE_SECONDS_MAX,
    net::Target,
    proto::login::UserName,
    rights::{GivenRights, GivenWord, Quota, Role},
};

use crate::arguments::{On, parse_span};

/// Manage accounts, rights, keys and invites
///
/// Works on this machine's server, running or not. With --on, it works on another server, where
/// you must be an admin. Without being one, you can manage the keys of your own account there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  landline user add alice --files rw:~/alice --invite
  landline user grant alice --files r:/srv --exec 'git pull' --on nas
  landline user keys add alice ~/.ssh/id_ed25519.pub --on alice@nas --password")]
pub(crate) struct User {
    #[command(flatten)]
    pub(super) on: On,
    #[command(subcommand)]
    pub(super) what: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add an account
    ///
    /// It has no rights except those that the options name. Names that differ only
    /// in case are the same.
    Add {
        /// User name
        name: UserName,
        /// Add the keys in FILE, or in standard input (-)
        ///
        /// Each line is one of authorized_keys.
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        rights: RightsToGive,
        /// Print an invite to register a key
        #[arg(long)]
        invite: bool,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List the accounts
    List,
    /// Show an account with its keys
    Show {
        /// User name
        name: UserName,
    },
    /// Disable an account and end its sessions
    ///
    /// Keys, invites and files stay.
    Disable {
        /// User name
        name: UserName,
        /// Disable even the last owner
        ///
        /// After that, only a command on the server's machine can undo it.
        #[arg(long)]
        force: bool,
    },
    /// Enable a disabled account
    Enable {
        /// User name
        name: UserName,
    },
    /// Remove an account and end its sessions
    ///
    /// Its keys, secrets, invites and rights are removed. Files stay.
    Remove {
        /// User name
        name: UserName,
        /// Remove even the last owner
        ///
        /// After that, only commands on the server's machine can administer the server.
        #[arg(long)]
        force: bool,
    },
    /// Give more rights to an existing account
    ///
    /// The account keeps its other rights. A new right to a folder replaces the old one. Admins can
    /// give only rights that they have themselves.
    #[command(
        after_help = "Example:\n  landline user grant alice --files rw:~/alice --quota bytes=10GiB"
    )]
    Grant {
        /// User name
        name: UserName,
        #[command(flatten)]
        rights: RightsToGive,
    },
    /// Take rights from an account
    ///
    /// Sessions that use these rights end within 2 seconds.
    #[command(after_help = "Example:\n  landline user revoke alice --files /srv --quota bytes")]
    Revoke {
        /// User name
        name: UserName,
        #[command(flatten)]
        rights: RightsToTake,
    },
    /// Add, list and remove the keys of an account
    Keys {
        #[command(subcommand)]
        what: KeysCommand,
    },
    /// Set or remove the password of an account
    ///
    /// Sessions that the old password logged in end.
    Password {
        #[command(subcommand)]
        what: PasswordCommand,
    },
    /// Print an invite
    ///
    /// The invite registers a key for NAME. If there is no such account, it also creates one.
    Invite {
        /// User name [default: a new account, whose user chooses the name]
        name: Option<UserName>,
        #[command(flatten)]
        terms: InviteTerms,
    },
    /// List and revoke the invites that can still be redeemed
    Invites {
        #[command(subcommand)]
        what: InvitesCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Add keys, or change the options of keys
    ///
    /// A key that the account already has gets the options of its new line.
    Add {
        /// User name
        name: UserName,
        /// File with lines of authorized_keys, or - for standard input
        file: PathBuf,
    },
    /// List the keys
    List {
        /// User name
        name: UserName,
    },
    /// Remove a key and end its sessions
    Remove {
        /// User name
        name: UserName,
        /// Fingerprint of the key: SHA256:...
        ///
        /// `landline user keys list` and `ssh-keygen -l` show it.
        #[arg(value_name = "KEY")]
        fingerprint: String,
        /// Keep the jobs that the key has started
        ///
        /// Use it when another key replaces this one.
        #[arg(long)]
        keep_jobs: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PasswordCommand {
    /// Set a password, which replaces an earlier one
    Set {
        /// User name
        name: UserName,
        #[command(flatten)]
        source: NewPasswordSource,
    },
    /// Remove the password
    Remove {
        /// User name
        name: UserName,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum InvitesCommand {
    /// List the invites
    List,
    /// Revoke an invite
    Revoke {
        /// Id, from `landline user invites list`
        id: String,
    },
}

/// The password of a new account.
#[derive(Debug, Args)]
pub(super) struct NewPassword {
    /// Also set a password, which is asked for twice
    ///
    /// It has at least 8 characters.
    #[arg(long)]
    pub(super) new_password: bool,
    #[command(flatten)]
    pub(super) source: NewPasswordSource,
}

/// Where a new password is read from.
#[derive(Debug, Args)]
pub(super) struct NewPasswordSource {
    /// Read the new password from the first line of FILE
    ///
    /// No other user may be able to read the file. By default the password is asked for, twice.
    #[arg(long, value_name = "FILE")]
    pub(super) new_password_file: Option<PathBuf>,
    /// Read the new password from descriptor N; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with = "new_password_file")]
    pub(super) new_password_fd: Option<u32>,
}

/// Rights to give.
#[derive(Debug, Args)]
pub(super) struct RightsToGive {
    /// Allow reading (r:FOLDER) or reading and writing (rw:FOLDER)
    ///
    /// As in the rights file. Without --home, rw:~ is the home of the account that serves. A user
    /// who can write there can run commands as that account, so rw:~/NAME is better.
    #[arg(long, value_name = "RIGHT", value_parser = parse_files_right)]
    pub(super) files: Vec<String>,
    /// Set the folder that `~` and `host:` mean for the user
    ///
    /// It is absolute, or begins with ~/, the home of the account that serves.
    #[arg(long, value_name = "FOLDER", value_parser = parse_home)]
    pub(super) home: Option<String>,
    /// Set the role: owner, admin, helper or user
    ///
    /// A helper sees all sessions and ends those of users. An admin manages users and helpers. An
    /// owner manages all accounts.
    #[arg(long)]
    pub(super) role: Option<Role>,
    /// Set a limit, such as bytes=10GiB
    ///
    /// The limits are bytes=10GiB, files=N, sessions=N and rate=50MiB/s. A user whom an admin adds
    /// has the limits of that admin by default.
    #[arg(long, value_name = "LIMIT", value_parser = parse_limit)]
    quota: Vec<Quota>,
    #[command(flatten)]
    words: Words,
}

impl RightsToGive {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.home.is_none()
            && self.role.is_none()
            && self.quota.is_empty()
            && self.words().is_empty()
    }

    /// What the options say about words of services.
    pub(super) fn words(&self) -> Vec<GivenWord> {
        self.words.all()
    }

    /// All limits together. The last one of a kind counts.
    pub(super) fn quota(&self) -> Quota {
        self.quota.iter().fold(Quota::default(), |all, one| Quota {
            bytes: one.bytes.or(all.bytes),
            files: one.files.or(all.files),
            sessions: one.sessions.or(all.sessions),
            rate: one.rate.or(all.rate),
        })
    }
}

/// Rights to take.
#[derive(Debug, Args)]
pub(super) struct RightsToTake {
    /// Remove the right to this folder
    ///
    /// FOLDER removes any right to it. r:FOLDER and rw:FOLDER remove only that right.
    #[arg(long, value_name = "FOLDER")]
    pub(super) files: Vec<String>,
    /// Remove the home folder
    #[arg(long)]
    pub(super) home: bool,
    /// Remove the role, which makes it an ordinary user
    #[arg(long)]
    pub(super) role: bool,
    /// Remove a limit: bytes, files, sessions or rate
    #[arg(long, value_name = "LIMIT", value_parser = Quota::KEYS)]
    pub(super) quota: Vec<String>,
    #[command(flatten)]
    pub(super) words: Words,
}

impl RightsToTake {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            files,
            home,
            role,
            quota,
            words,
        } = self;
        files.is_empty() && !home && !role && quota.is_empty() && words.all().is_empty()
    }
}

/// Words of services, to give or to take.
#[derive(Debug, Args)]
pub(super) struct Words {
    /// Running this command, or any
    ///
    /// Write words with blanks between them, or a list such as '["git", "a b"]'. `*` matches any
    /// characters, and ... at the end matches any further words. `user revoke --exec any` removes
    /// the whole right.
    #[arg(long, value_name = "COMMAND")]
    exec: Vec<String>,
    /// Using a shell; also needs the right --exec
    #[arg(long)]
    shell: bool,
    /// Using a terminal for these commands
    #[arg(long)]
    pty: bool,
    /// Watching the terminals of USER, or any
    #[arg(long, value_name = "USER")]
    watch: Vec<String>,
    /// Forwarding to HOST:PORT, or any
    #[arg(long, value_name = "HOST:PORT")]
    forward: Vec<String>,
    /// Listening on [ADDRESS:]PORT of the server, or any
    #[arg(long, value_name = "PORT")]
    listen: Vec<String>,
}

impl Words {
    pub(super) fn all(&self) -> Vec<GivenWord> {
        let given = |word: &str, item: Vec<String>| GivenWord {
            any: item == ["any"],
            item: if item == ["any"] { Vec::new() } else { item },
            word: word.to_owned(),
        };
        let commands = self
            .exec
            .iter()
            .map(|command| given("exec", words_of(command)));
        let switches = [("shell", self.shell), ("pty", self.pty)];
        let switches = switches
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(word, _)| given(word, Vec::new()));
        let places = [
            ("watch", &self.watch),
            ("forward", &self.forward),
            ("listen", &self.listen),
        ];
        let places = places.into_iter().flat_map(|(word, places)| {
            places
                .iter()
                .map(move |place| given(word, vec![place.clone()]))
        });
        commands.chain(switches).chain(places).collect()
    }
}

/// The words of a command: a list in JSON, or words with blanks between them.
fn words_of(command: &str) -> Vec<String> {
    serde_json::from_str(command)
        .unwrap_or_else(|_| command.split_whitespace().map(str::to_owned).collect())
}

#[derive(Debug, Args)]
pub(super) struct InviteTerms {
    /// Lifetime of the invite, at most 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_lifetime)]
    pub(super) ttl: Duration,
    /// Address of this server in the invite [default: its addresses when it last started]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) public_name: Option<Target>,
}

/// Checks a right to a folder as the rights file has it.
fn parse_files_right(text: &str) -> Result<String, String> {
    let rights = GivenRights {
        files: vec![text.to_owned()],
        ..GivenRights::default()
    };
    rights.check().map(|()| text.to_owned())
}

/// Checks a home as the rights file has it.
fn parse_home(text: &str) -> Result<String, String> {
    let rights = GivenRights {
        home: Some(text.to_owned()),
        ..GivenRights::default()
    };
    rights.check().map(|()| text.to_owned())
}

/// Parses one limit.
fn parse_limit(text: &str) -> Result<Quota, String> {
    let mut quota = Quota::default();
    quota.add(text)?;
    Ok(quota)
}

/// Parses the lifetime of an invite.
fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    match span.as_secs() {
        1..=INVITE_SECONDS_MAX => Ok(span),
        _ => Err("an invite is valid for 1s to 30d".to_owned()),
    }
}
