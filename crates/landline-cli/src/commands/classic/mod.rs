//! `landline classic`: serves and dials the plain formats that socket courses teach.

mod arguments;
mod dial;
mod events;
mod files;
mod input;
mod output;
mod profile;
mod serve;

use std::ops::ControlFlow::{self, Break, Continue};

use arguments::{ClassicAction, SecretSource};
use clap::Args;
use landline_classic::Challenge;
pub(crate) use profile::expand as expand_profile;

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
};

/// Serve or dial the plain formats that socket courses teach
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline classic dial echo 127.0.0.1:5264 hello")]
pub(crate) struct Classic {
    #[command(subcommand)]
    action: ClassicAction,
}

impl Run for Classic {
    fn prepare(self, context: &Context) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
        match self.action {
            ClassicAction::Serve(serve) if serve.forks() => {
                Break(serve::run_forking(context, serve).map(|()| ExitStatus::SUCCESS))
            }
            action => Continue(Self { action }),
        }
    }

    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.action {
            ClassicAction::Serve(serve) => serve::run(context, serve).await?,
            ClassicAction::Dial(dial) => {
                let stop = signals::stop()?;
                tokio::pin!(stop);
                dial::run(context, dial, stop).await?;
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

/// Loads the secret of `--secret-file`, if the option is given.
fn load_challenge(secret: &SecretSource) -> Result<Option<Challenge>, Failure> {
    secret
        .secret_file
        .as_deref()
        .map(|path| Challenge::load(path, secret.hmac))
        .transpose()
        .map_err(Failure::from)
}
