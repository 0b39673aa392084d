//! `landline df`: shows the space of file systems on a server.

use clap::{ArgAction, Args};
use landline::files::entries::{
    messages::Space,
    records::{FileRecord, SpaceRecord},
};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path, size},
};

/// Show the free space of file systems on a server
///
/// Prints the size in bytes, the used space, the free space, and the used part in percent. Your
/// quota on the server can be smaller.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Example:\n  landline df -h nas:"
)]
pub(crate) struct Df {
    /// Folder or file there, as `[user@]host:path`
    ///
    /// `host:` alone means your home there.
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Print sizes with a unit: 1.5K, 20M
    #[arg(short, long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    access: Access,
}

impl Run for Df {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "df")?;
        let mut has_head = context.json;
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = Space {
                    path: path.path.clone(),
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                            FileRecord::Space(space) if context.json => lines.add_json(&json!({
                                "host": path.host(), "path": space.path, "total": space.total,
                                "free": space.free, "available": space.available,
                                "files": space.files, "files_free": space.files_free,
                            })),
                            FileRecord::Space(space) => {
                                if !std::mem::replace(&mut has_head, true) {
                                    let head = ["SIZE", "USED", "AVAILABLE", "USE%"];
                                    lines.add(&columns(head.map(str::to_owned), "PATH"));
                                }
                                lines.add(&self.line(path, &space));
                            }
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

impl Df {
    fn line(&self, path: &RemotePath, space: &SpaceRecord) -> String {
        let used = space.total.saturating_sub(space.free);
        let usable = u128::from(used) + u128::from(space.available);
        // Rounded up, as df does.
        let percent = (u128::from(used) * 100).div_ceil(usable.max(1));
        let human = self.human_readable;
        let [total, used, available] =
            [space.total, used, space.available].map(|bytes| size(bytes, human));
        let cells = [total, used, available, format!("{percent}%")];
        columns(cells, &path.shown(&space.path))
    }
}

fn columns([total, used, available, percent]: [String; 4], path: &str) -> String {
    format!("{total:>16}  {used:>16}  {available:>16}  {percent:>4}  {path}")
}
