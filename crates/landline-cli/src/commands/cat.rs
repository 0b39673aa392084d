//! `landline cat`: prints files of a server.

use std::sync::Arc;

use clap::Args;
use landline::{
    Error, Side,
    files::{
        Output, Progress,
        client::{get, get_request},
        entries::{messages::ListEntries, records::FileRecord},
    },
    proto::Name,
};

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{Ended, Failures, FileSession, RemotePath, for_each_path},
};

/// Print files from a server
///
/// The bytes are verified. If a file arrives damaged or changes meanwhile, cat fails after it has
/// printed a part of it. --json does not change the output.
///
/// The path may have the patterns *, ? and [...].
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  landline cat nas:notes.txt\n  landline cat 'nas:logs/*.log' | less"
)]
pub(crate) struct Cat {
    /// File, as `[user@]host:path`
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    #[command(flatten)]
    access: Access,
}

impl Run for Cat {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "cat")?;
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                if !is_pattern(&path.path) {
                    return print(context, session, path, &path.path).await;
                }
                for name in expand(session, path, failures).await? {
                    match print(context, session, path, &name).await {
                        Err(Ended::Failed(failure)) => failures.print(&failure),
                        done => done?,
                    }
                }
                Ok(())
            },
        )
        .await
    }
}

fn is_pattern(path: &Name) -> bool {
    path.0.iter().any(|byte| b"*?[".contains(byte))
}

/// The paths that a pattern matches.
async fn expand(
    session: &mut FileSession<'_>,
    path: &RemotePath,
    failures: &mut Failures<'_>,
) -> Result<Vec<Name>, Ended> {
    let request = ListEntries {
        path: path.path.clone(),
        pattern: true,
        itself: true,
        recursive: false,
        hidden: false,
    };
    let mut names = Vec::new();
    let asking = session.ask(&path.target, &request, |batch| {
        for record in batch {
            match record {
                FileRecord::Entry(entry) => names.push(entry.name),
                FileRecord::Failed(failed) => failures.print_record(failed),
                _ => {}
            }
        }
        Ok(())
    });
    asking.await?;
    Ok(names)
}

/// Prints one file.
async fn print(
    context: &Context,
    session: &mut FileSession<'_>,
    path: &RemotePath,
    name: &Name,
) -> Result<(), Ended> {
    let output = Output::Stream(Box::new(context.out.raw()), "standard output");
    let request = get_request(name.clone(), &output);
    let channel = session.send(&path.target, &request).await?;
    let error = match get(channel, output, &Arc::new(Progress::default())).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    session.fail(&error).await;
    match error {
        Error::Failed {
            side: Side::Here,
            cause: Some("EPIPE"),
            ..
        } => Err(Ended::ReaderGone),
        error => Err(Failure::from(error).into()),
    }
}
