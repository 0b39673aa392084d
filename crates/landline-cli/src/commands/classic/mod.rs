//! `landline classic`: serves and dials the plain formats that socket courses teach.

mod dial;
mod files;
mod input;
mod output;
mod serve;
mod show;

use std::path::{Path, PathBuf};

use landline_classic::Challenge;

use crate::{
    arguments::classic::{Classic, Secret},
    failure::Failure,
    signals,
};

pub(crate) async fn run(state: PathBuf, command: Classic) -> Result<(), Failure> {
    match command {
        Classic::Serve(serve) => serve::run(state, serve).await,
        Classic::Dial(dial) => {
            let stop = signals::stop()?;
            tokio::pin!(stop);
            dial::run(dial, stop).await
        }
    }
}

/// What forks: to be called before the process has a second thread.
pub(crate) fn run_forking(state: &Path, command: Classic) -> Result<(), Failure> {
    match command {
        Classic::Serve(serve) => serve::run_forking(state, serve),
        Classic::Dial(_) => Ok(()),
    }
}

/// The secret that was named, if one was.
fn challenge(secret: &Secret) -> Result<Option<Challenge>, Failure> {
    secret
        .secret_file
        .as_deref()
        .map(|path| Challenge::load(path, secret.hmac))
        .transpose()
        .map_err(Failure::from)
}
