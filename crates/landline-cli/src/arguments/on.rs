//! `--on HOST`: the server that a command administers.

use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, parser::ValueSource};
use landline::net::Target;

use super::Access;

/// The heading of the options in the help.
const HEADING: &str = "Another server";

/// The server to administer, and how to log in there.
///
/// The options may stand anywhere after the command's name.
#[derive(Debug)]
pub(crate) struct On {
    pub(crate) host: Option<Target>,
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
struct OnArguments {
    /// Server to administer [default: the server on this machine]
    ///
    /// A machine name or `[user@]host[:port]`. The options below say how to log in there.
    #[arg(long, value_name = "HOST")]
    on: Option<Target>,
    #[command(flatten)]
    access: Access,
}

impl Args for On {
    fn augment_args(command: Command) -> Command {
        let own = OnArguments::augment_args(Command::new("on"));
        own.get_arguments().fold(command, |command, argument| {
            command.arg(argument.clone().global(true).help_heading(HEADING))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for On {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let on = Self::from(OnArguments::from_arg_matches(matches)?);
        match on_the_command_line(matches) {
            Some(option) if on.host.is_none() => {
                let problem = format!(
                    "--{option} says how to log in to another server, which needs --on HOST"
                );
                Err(clap::Error::raw(
                    ErrorKind::MissingRequiredArgument,
                    problem,
                ))
            }
            _ => Ok(on),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The first option for the login that a user typed.
fn on_the_command_line(matches: &ArgMatches) -> Option<String> {
    let access = Access::augment_args(Command::new("on"));
    let mut options = access.get_arguments();
    let option = options.find(|option| {
        matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    Some(option?.get_long()?.to_owned())
}

impl From<OnArguments> for On {
    fn from(arguments: OnArguments) -> Self {
        let OnArguments { on, access } = arguments;
        Self { host: on, access }
    }
}
