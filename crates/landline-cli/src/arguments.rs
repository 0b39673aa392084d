//! The command line as a user typed it. Every help text comes from such definitions.

mod access;
mod language;
mod on;
mod values;

use std::{ffi::OsString, path::PathBuf};

pub(crate) use access::{Access, AddressFamily, PasswordSource, VIA};
use clap::{Args, FromArgMatches, Parser};
pub(crate) use language::LanguageOption;
pub(crate) use on::On;
pub(crate) use values::{
    CopyPath, HostsPath, TypedLocation, copy_path_parser, location_parser, parse_milliseconds,
    parse_rate, parse_seconds, parse_span,
};

use crate::{commands::Command, help};

/// Copy files between your machines and run commands on them.
///
/// Connections use TLS 1.3, and copies are verified. Only `landline classic` sends plain text.
///
/// 1. On the machine that you want to reach, run `landline serve`. It prints an invite.
///
/// 2. On your own machine, run `landline join 'INVITE' --name nas`.
///
/// 3. Copy a file with `landline cp FILE nas:`, or run a command with `landline run nas COMMAND`.
#[derive(Debug, Parser)]
#[command(name = "landline", version, help_template = help::template(), after_long_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Without a command, the commands are listed.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// State folder [default: $XDG_STATE_HOME/landline]
    ///
    /// It holds your keys, the servers that you know, and the data of a server on this machine.
    /// The variable LANDLINE_STATE sets another default.
    #[arg(long, value_name = "DIR", global = true, display_order = COMMON)]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON instead of text
    ///
    /// Each result or event is one line on standard output. A failure is one line on standard
    /// error, with code, message and status. A result that has no JSON form is printed as text.
    #[arg(long, global = true, display_order = COMMON)]
    pub(crate) json: bool,
    /// Show each step of a connection, with times
    ///
    /// Prints each address, route, key and method on standard error as landline tries it.
    #[arg(short, long, global = true, display_order = COMMON, overrides_with = "verbose")]
    pub(crate) verbose: bool,
    /// Print details for a bug report
    ///
    /// Prints the release, the settings and each step, but no passwords, keys or invites.
    #[arg(long, global = true, display_order = COMMON)]
    pub(crate) debug: bool,
}

impl Arguments {
    /// Reads the words of a command line, the first of which is the program's name.
    ///
    /// All definitions together take longer to make than many commands take to run. So first only
    /// those of the command that is named are made. All of them are needed for what clap prints.
    pub(crate) fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let short = Common::augment_args(clap::Command::new("landline"));
        Command::add_deferred(short)
            .try_get_matches_from(&words)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .or_else(|_| Self::try_parse_from(words))
    }
}

/// The place of the options of every command in a list: after those of the command itself.
const COMMON: usize = 900;

pub(crate) const EXIT_STATUS: &str = "\
Exit status:
   0  success                              23  permission denied
   1  failure on this machine              24  no space left
   2  wrong usage                          25  content damaged in transit
  10  cannot connect, or connection lost   26  file changed while it was read
  11  unknown server or fingerprint        27  read or write error
  12  login, key or invite refused         28  nothing deleted: too much, or an accident
  13  peer broke the protocol              30  cannot listen
  14  peer lacks a version or feature      31  state folder unusable
  20  no such file or folder               32  key or secret unusable
  21  not a regular file                   33  server is shutting down
  22  already exists                       34  another attempt at this copy took over
                                           35  an admin ended the session
                                           36  server cannot write its audit log
                                           37  audit log was changed
                                           38  too many sessions
                                           40  this machine's server does not answer
                                          130  stopped by a signal";
