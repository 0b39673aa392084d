//! `landline rm`: removes files and folders on a server.

use clap::Args;
use landline::files::entries::{messages::Remove, records::FileRecord};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{Ended, OutputLines, RemotePath, for_each_path},
};

/// Remove files and folders on a server
///
/// rm removes a link itself, never what it points to. It refuses to remove a home, a folder that a
/// user has a right to, and any folder that contains one of these.
///
/// The path may have the patterns *, ? and [...]. The server expands them, so quote them. If a
/// file has exactly that name, it is the only match.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline rm nas:old.txt\n  landline rm -r 'nas:cache-*'")]
pub(crate) struct Rm {
    /// File or folder, as `[user@]host:path`
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Remove folders too, with all in them
    #[arg(short, visible_short_alias = 'R', long)]
    recursive: bool,
    /// Accept a path that does not exist
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for Rm {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "rm")?;
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = Remove {
                    path: path.path.clone(),
                    pattern: true,
                    recursive: self.recursive,
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                            FileRecord::Done(done) if context.json => lines.add_json(&json!({
                                "event": "removed", "host": path.host(), "path": done.path,
                                "entries": done.entries,
                            })),
                            FileRecord::Failed(failed) if self.accepts(&failed.code) => {}
                            FileRecord::Failed(failed) => failures.print_record(failed),
                            _ => {}
                        }
                    }
                    lines.write()
                });
                match asking.await {
                    Err(Ended::Failed(failure)) if self.accepts(&failure.code) => Ok(()),
                    Err(Ended::Failed(failure))
                        if failure.code == "not-a-file" && !self.recursive =>
                    {
                        let advice = "use -r to remove a folder with all in it";
                        Err(failure.with_advice(advice).into())
                    }
                    done => done,
                }
            },
        )
        .await
    }
}

impl Rm {
    /// Whether a failure with this code does not matter.
    fn accepts(&self, code: &str) -> bool {
        self.force && code == "not-found"
    }
}
