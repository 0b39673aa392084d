//! `landline du`: adds up the space that files and folders take on a server.

use clap::{ArgAction, Args};
use landline::files::entries::{
    messages::Usage,
    records::{FileRecord, UsageRecord},
};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path, size},
};

/// Show the disk usage of files and folders on a server
///
/// Prints bytes on the disk, bytes of content, and the path. Without -s, each subfolder has a line
/// too. A file with several names counts once for each path that you name. du does not follow
/// symbolic links.
///
/// The path may have the patterns *, ? and [...].
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  landline du -sh nas:\n  landline du -sh 'nas:projects/*'"
)]
pub(crate) struct Du {
    /// Folder or file, as `[user@]host:path`
    ///
    /// `host:` alone means your home there.
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Print only what you name, not each folder below
    #[arg(short, long)]
    summarize: bool,
    /// Print sizes with a unit: 1.5K, 20M
    #[arg(short, long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    access: Access,
}

impl Run for Du {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "du")?;
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = Usage {
                    path: path.path.clone(),
                    pattern: true,
                    folders: !self.summarize,
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                            FileRecord::Usage(usage) if context.json => lines.add_json(&json!({
                                "host": path.host(), "path": usage.path, "disk": usage.disk,
                                "length": usage.length, "entries": usage.entries,
                            })),
                            FileRecord::Usage(usage) => lines.add(&self.line(path, &usage)),
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

impl Du {
    fn line(&self, path: &RemotePath, usage: &UsageRecord) -> String {
        let human = self.human_readable;
        let (disk, length) = (size(usage.disk, human), size(usage.length, human));
        format!("{disk}\t{length}\t{}", path.shown(&usage.path))
    }
}
