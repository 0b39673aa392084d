//! `landline mv`: renames and moves files and folders on a server.

use clap::Args;
use landline::files::entries::{messages::Move, records::FileRecord};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path},
};

/// Rename or move files and folders on a server
///
/// If DST is a folder, mv moves into it. mv replaces a file in one step, so that the name always
/// has either the old or the new file. It never replaces a folder. To move to another server or
/// file system, copy instead.
///
/// SRC may have the patterns *, ? and [...].
#[derive(Debug, Args)]
#[command(
    override_usage = "landline mv [OPTIONS] <HOST:SRC>... <HOST:DST>",
    after_help = "Examples:\n  landline mv nas:draft.txt nas:final.txt\n  landline mv 'nas:*.log' nas:old/"
)]
pub(crate) struct Mv {
    /// Files or folders, then the new path or a folder
    ///
    /// Each is `[user@]host:path`.
    #[arg(value_name = "HOST:PATH", num_args = 2.., required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Do not replace an existing file
    #[arg(short, long)]
    no_clobber: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for Mv {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let mut sources = RemotePath::all(&self.paths, "mv")?;
        let Some(to) = sources.pop() else {
            return Err(Failure::usage("give a path and its new path"));
        };
        if sources.iter().any(|source| source.target != to.target) {
            let failure = Failure::usage("the paths are on different servers");
            return Err(failure.with_advice("copy to the other server with landline cp"));
        }
        let into = sources.len() > 1;
        for_each_path(
            context,
            &self.access,
            &sources,
            async |session, path, failures| {
                let request = Move {
                    path: path.path.clone(),
                    pattern: true,
                    to: to.path.clone(),
                    into,
                    replace: !self.no_clobber,
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                        FileRecord::Done(done) if context.json => lines.add_json(&json!({
                            "event": "moved", "host": path.host(), "path": done.path, "to": done.to,
                        })),
                        FileRecord::Failed(failed) => failures.print_record(failed),
                        _ => {}
                    }
                    }
                    lines.write()
                });
                asking.await
            },
        )
        .await
    }
}
