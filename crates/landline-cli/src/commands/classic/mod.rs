//! `landline classic`: serves and dials the plain formats that socket courses teach.

mod arguments;
mod dial;
mod events;
mod files;
mod input;
mod output;
mod profile;
mod serve;
mod words;

use std::ops::ControlFlow::{self, Break, Continue};

use arguments::{ClassicAction, SecretSource};
use clap::Args;
use landline_classic::Challenge;
use landline_lab::Language;
pub(crate) use profile::expand as expand_profile;

use crate::{
    arguments::LanguageOption,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
};

/// Serve or dial the plain formats that socket courses teach
///
/// Each format is called a dialect, such as echo or upload. Start a server of a dialect with
/// `serve`, and connect to one with `dial`. Nothing is encrypted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline classic dial echo 127.0.0.1:5264 hello")]
pub(crate) struct Classic {
    #[command(flatten)]
    language: LanguageOption,
    #[command(subcommand)]
    action: ClassicAction,
}

impl Run for Classic {
    fn prepare(self, context: &Context) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
        match self.action {
            ClassicAction::Serve(serve) if serve.forks() => {
                let context = in_language(context, self.language);
                let served = serve::run_forking(&context, serve);
                Break(finish(&context, served))
            }
            action => Continue(Self { action, ..self }),
        }
    }

    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let context = in_language(context, self.language);
        let done = match self.action {
            ClassicAction::Serve(serve) => serve::run(&context, serve).await,
            ClassicAction::Dial(dial) => {
                let stop = signals::stop()?;
                tokio::pin!(stop);
                dial::run(&context, dial, stop).await
            }
        };
        finish(&context, done)
    }
}

/// The language of the messages for people. Programs get English.
fn choose_language(context: &Context, option: LanguageOption) -> Language {
    if context.json {
        Language::English
    } else {
        option.choose(&context.environment)
    }
}

fn in_language(context: &Context, option: LanguageOption) -> Context {
    Context {
        language: choose_language(context, option),
        ..context.clone()
    }
}

fn finish(context: &Context, done: Result<(), Failure>) -> Result<ExitStatus, Failure> {
    done.map(|()| ExitStatus::SUCCESS)
        .map_err(|failure| failure.in_language(context.language))
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
