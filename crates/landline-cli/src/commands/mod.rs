//! One module for each command, and the table that registers them.

mod attach;
mod audit;
mod bootstrap;
mod cat;
mod check;
pub(crate) mod classic;
mod completions;
mod config;
mod cp;
mod demo;
mod df;
mod du;
mod follow;
pub(crate) mod hold;
mod hosts;
mod jobs;
mod join;
mod kick;
mod kill;
pub(crate) mod lab;
mod logs;
mod ls;
mod mkdir;
mod mv;
mod passwd;
mod ping;
mod rm;
mod run;
mod secret;
mod serve;
pub(crate) mod service;
mod shell;
mod stat;
mod sum;
mod sync;
mod top;
mod trust;
mod user;
mod wait;
mod watch;
mod who;

use std::ops::ControlFlow::{self, Break, Continue};

use clap::{Args, Subcommand};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Makes [`Command`] of the table: headings of the help, and under each the commands as
/// `module::Arguments`. A command has the name of its module.
macro_rules! register {
    ($($heading:literal: $($module:ident::$Arguments:ident),+;)+) => {
        /// The command that a user typed.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(
                #[command(name = stringify!($module))]
                $Arguments($module::$Arguments),
            )+)+
        }

        impl Command {
            /// The headings of the help with the names of their commands, in the order of the help.
            pub(crate) const GROUPS: &[(&str, &[&str])] =
                &[$(($heading, &[$(stringify!($module)),+])),+];

            /// Adds the commands to `parent`. The options of each are defined when it is named.
            pub(crate) fn add_deferred(parent: clap::Command) -> clap::Command {
                parent.subcommands([$($(
                    clap::Command::new(stringify!($module))
                        .defer($module::$Arguments::augment_args)
                ),+),+])
            }
        }

        impl Run for Command {
            fn prepare(
                self,
                context: &Context,
            ) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
                match self {
                    $($(
                        Self::$Arguments(command) => match command.prepare(context) {
                            Continue(command) => Continue(Self::$Arguments(command)),
                            Break(done) => Break(done),
                        },
                    )+)+
                }
            }

            async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
                match self {
                    $($(Self::$Arguments(command) => command.run(context).await,)+)+
                }
            }
        }
    };
}

register! {
    "Work with files": cp::Cp, sync::Sync, ls::Ls, stat::Stat, cat::Cat, sum::Sum, du::Du, df::Df, mkdir::Mkdir, mv::Mv, rm::Rm;
    "Open a shell": shell::Shell, watch::Watch;
    "Run commands": run::RunCommand, jobs::Jobs, logs::Logs, attach::Attach, wait::Wait, kill::Kill, top::Top, hold::HoldCommand;
    "Use a server": join::Join, hosts::Hosts, trust::Trust, ping::Ping, who::Who, kick::Kick, passwd::Passwd;
    "Set up a server": bootstrap::Bootstrap, serve::Serve, service::Service, config::Config;
    "Manage accounts and rights": user::User, secret::Secret, check::Check, audit::Audit;
    "Learn and try": demo::Demo, completions::Completions, classic::Classic, lab::Lab;
}
