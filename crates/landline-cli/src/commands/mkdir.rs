//! `landline mkdir`: makes folders on a server.

use clap::Args;
use landline::files::entries::{messages::MakeFolder, records::FileRecord};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path},
};

/// Make folders on a server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline mkdir -p nas:photos/2026")]
pub(crate) struct Mkdir {
    /// Folder, as `[user@]host:path`
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Make parent folders too, and accept existing ones
    #[arg(short, long)]
    parents: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for Mkdir {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "mkdir")?;
        for_each_path(context, &self.access, &paths, async |session, path, _| {
            let request = MakeFolder {
                path: path.path.clone(),
                parents: self.parents,
            };
            let asking = session.ask(&path.target, &request, |batch| {
                let mut lines = OutputLines::new(context);
                for record in batch {
                    if let FileRecord::Done(done) = record
                        && context.json
                    {
                        lines.add_json(&json!({
                            "event": "made", "host": path.host(), "path": done.path,
                            "entries": done.entries,
                        }));
                    }
                }
                lines.write()
            });
            asking.await
        })
        .await
    }
}
