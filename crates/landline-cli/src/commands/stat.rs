//! `landline stat`: shows the properties of files and folders on a server.

use clap::Args;
use landline::files::entries::{
    messages::ListEntries,
    records::{EntryRecord, FileRecord, RecordKind},
};

use super::ls::{mode_text, to_json};
use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path, shown_name},
    terminal::moment,
};

/// Show the properties of files and folders on a server
///
/// stat shows a link itself, not what it points to. The path may have the patterns *, ? and [...].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline stat nas:notes.txt")]
pub(crate) struct Stat {
    /// File or folder, as `[user@]host:path`
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    #[command(flatten)]
    access: Access,
}

impl Run for Stat {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "stat")?;
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = ListEntries {
                    path: path.path.clone(),
                    pattern: true,
                    itself: true,
                    recursive: false,
                    hidden: false,
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                            FileRecord::Entry(entry) if context.json => {
                                lines.add_json(&to_json(path, None, &entry));
                            }
                            FileRecord::Entry(entry) => lines.add(&describe(path, &entry)),
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

fn describe(path: &RemotePath, entry: &EntryRecord) -> String {
    let kind = match entry.kind {
        RecordKind::File => "file",
        RecordKind::Folder => "folder",
        RecordKind::Link => "link",
        RecordKind::Special => "device, FIFO or socket",
    };
    let time = moment(entry.modified);
    let time = time.trim_end_matches('Z');
    let mut text = format!(
        "{}\n  kind      {kind}\n  size      {} bytes, {} on the disk\n  mode      {:03o} {}\n\
         \x20 modified  {time}.{:09}Z\n  names     {}",
        path.shown(&entry.name),
        entry.length,
        entry.disk,
        entry.mode,
        mode_text(entry),
        entry.nanoseconds,
        entry.links,
    );
    if let Some(target) = &entry.target {
        text.push_str(&format!("\n  target    {}", shown_name(target)));
    }
    text
}
