//! `landline ls`: lists files and folders on a server.

use std::cmp::Ordering;

use clap::{ArgAction, Args};
use landline::{
    files::entries::{
        messages::ListEntries,
        records::{EntryRecord, FileRecord, RecordKind},
    },
    proto::Name,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{Ended, Failures, OutputLines, RemotePath, for_each_path, shown_name, size},
    terminal::moment,
};

/// The most memory for the entries of a folder that are sorted here, in bytes.
const SORTED_BYTES_MAX: usize = 256 << 20;

/// List files and folders on a server
///
/// Prints one name per line, sorted by bytes. If you name a link to a folder, landline lists the
/// folder. Control characters, and bytes that are not UTF-8, are escaped.
///
/// The path may have the patterns *, ? and [...]. The server expands them, so quote them. If a
/// file has exactly that name, it is the only match.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  landline ls nas:\n  landline ls -lh 'nas:logs/*.gz'"
)]
pub(crate) struct Ls {
    /// Folder or file, as `[user@]host:path`
    ///
    /// `host:` alone means your home there.
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// List names that begin with a dot too
    #[arg(short, long)]
    all: bool,
    /// List a folder itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    /// Print sizes with a unit: 1.5K, 20M
    #[arg(short, long)]
    human_readable: bool,
    /// Print mode, size, time, name and the target of a link
    ///
    /// The size is in bytes, and the time in UTC.
    #[arg(short)]
    long: bool,
    /// List all folders below too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Reverse the order
    #[arg(short, long)]
    reverse: bool,
    /// Sort by size, the largest first
    #[arg(short = 'S', overrides_with = "by_time")]
    by_size: bool,
    /// Sort by time of modification, the newest first
    ///
    /// Each folder is sorted by itself, and so are the matches of each pattern.
    #[arg(short = 't', overrides_with = "by_size")]
    by_time: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    access: Access,
}

impl Run for Ls {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let paths = RemotePath::all(&self.paths, "ls")?;
        let mut listing = Listing {
            options: &self,
            context,
            lines: OutputLines::new(context),
            has_headings: paths.len() > 1 || self.recursive,
            has_printed: false,
            folder: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
        };
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = ListEntries {
                    path: path.path.clone(),
                    pattern: true,
                    itself: self.directory,
                    recursive: self.recursive,
                    hidden: self.all,
                };
                listing.folder = None;
                let target = &path.target;
                let asking = session.ask(target, &request, |batch| {
                    listing.print(path, batch, failures)
                });
                let done = asking.await;
                listing.end_folder(path)?;
                done
            },
        )
        .await
    }
}

/// The folder whose entries arrive.
struct OpenFolder {
    path: Name,
    sorted: bool,
}

/// Prints entries as they arrive.
struct Listing<'a> {
    options: &'a Ls,
    context: &'a Context,
    lines: OutputLines<'a>,
    /// Whether each folder has a heading.
    has_headings: bool,
    has_printed: bool,
    folder: Option<OpenFolder>,
    /// Entries of a folder that come in another order than they are printed in.
    waiting: Vec<EntryRecord>,
    waiting_bytes: usize,
}

impl Ls {
    /// Whether entries are printed in another order than that of their names.
    fn has_order(&self) -> bool {
        self.by_time || self.by_size || self.reverse
    }

    /// The order in which two entries are printed.
    fn compare(&self, one: &EntryRecord, other: &EntryRecord) -> Ordering {
        let time = |entry: &EntryRecord| (entry.modified, entry.nanoseconds);
        let found = if self.by_time {
            time(other).cmp(&time(one))
        } else if self.by_size {
            other.length.cmp(&one.length)
        } else {
            Ordering::Equal
        };
        let found = found.then_with(|| one.name.0.cmp(&other.name.0));
        if self.reverse { found.reverse() } else { found }
    }
}

impl Listing<'_> {
    fn print(
        &mut self,
        path: &RemotePath,
        batch: Vec<FileRecord>,
        failures: &mut Failures<'_>,
    ) -> Result<(), Ended> {
        for record in batch {
            match record {
                FileRecord::Entry(entry) => {
                    let is_sorted = self.folder.as_ref().is_none_or(|folder| folder.sorted);
                    if !self.options.has_order() && (is_sorted || self.context.json) {
                        self.print_entry(path, &entry);
                    } else {
                        self.wait(path, entry)?;
                    }
                }
                FileRecord::Folder(folder) => {
                    self.end_folder(path)?;
                    self.begin_folder(path, &folder.path);
                    self.folder = Some(OpenFolder {
                        path: folder.path,
                        sorted: folder.sorted,
                    });
                }
                FileRecord::Failed(failed) => {
                    self.lines.write()?;
                    failures.print_record(failed);
                }
                _ => {}
            }
        }
        self.lines.write()
    }

    fn begin_folder(&mut self, path: &RemotePath, folder: &Name) {
        if self.context.json || !(self.has_headings || folder.0 != path.path.0) {
            return;
        }
        if self.has_printed {
            self.lines.add("");
        }
        self.has_printed = true;
        self.lines.add(&format!("{}:", path.shown(folder)));
    }

    /// Keeps an entry until its folder is complete.
    fn wait(&mut self, path: &RemotePath, entry: EntryRecord) -> Result<(), Ended> {
        let target = entry.target.as_ref().map_or(0, |target| target.0.len());
        self.waiting_bytes += size_of::<EntryRecord>() + entry.name.0.len() + target;
        self.waiting.push(entry);
        if self.waiting_bytes > SORTED_BYTES_MAX {
            if self.options.has_order() {
                // What has arrived is not in the order of the whole.
                self.waiting = Vec::new();
                let failure = Failure::new("limit", "the folder has too many entries to be sorted");
                return Err(failure.with_advice("leave out -t, -S and -r").into());
            }
            // Names are in order in each part.
            self.end_folder(path)?;
        }
        Ok(())
    }

    /// Prints the entries that had to be sorted.
    fn end_folder(&mut self, path: &RemotePath) -> Result<(), Ended> {
        let mut entries = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        entries.sort_unstable_by(|one, other| self.options.compare(one, other));
        for entry in &entries {
            self.print_entry(path, entry);
        }
        self.lines.write()
    }

    fn print_entry(&mut self, path: &RemotePath, entry: &EntryRecord) {
        self.has_printed = true;
        if self.context.json {
            let folder = self.folder.as_ref().map(|folder| &folder.path);
            self.lines.add_json(&to_json(path, folder, entry));
            return;
        }
        let name = match &self.folder {
            Some(_) => shown_name(&entry.name),
            None => path.shown(&entry.name),
        };
        if !self.options.long {
            self.lines.add(&name);
            return;
        }
        let target = entry.target.iter().map(shown_name);
        let target = target.map(|target| format!(" -> {target}"));
        let (mode, time) = (mode_text(entry), moment(entry.modified));
        let (size, width) = if self.options.human_readable {
            (size(entry.length, true), 6)
        } else {
            (size(entry.length, false), 12)
        };
        self.lines.add(&format!(
            "{mode} {size:>width$} {time} {name}{}",
            target.collect::<String>()
        ));
    }
}

/// Kind and permission bits as `ls -l` shows them.
pub(super) fn mode_text(entry: &EntryRecord) -> String {
    let kind = match entry.kind {
        RecordKind::File => '-',
        RecordKind::Folder => 'd',
        RecordKind::Link => 'l',
        RecordKind::Special => '?',
    };
    let bits = (0..9).map(|bit| {
        let is_set = entry.mode & (0o400 >> bit) != 0;
        match bit % 3 {
            _ if !is_set => '-',
            0 => 'r',
            1 => 'w',
            _ => 'x',
        }
    });
    std::iter::once(kind).chain(bits).collect()
}

/// An entry for programs, with its path in the words of the request.
pub(super) fn to_json(path: &RemotePath, folder: Option<&Name>, entry: &EntryRecord) -> Value {
    let whole = match folder {
        None => entry.name.clone(),
        Some(folder) if folder.0 == b"." => entry.name.clone(),
        Some(folder) => {
            let slash: &[u8] = if folder.0.ends_with(b"/") { b"" } else { b"/" };
            Name([&folder.0, slash, &entry.name.0].concat())
        }
    };
    let mut value = json!(entry);
    if let Some(keys) = value.as_object_mut() {
        keys.remove("name");
        keys.insert("host".into(), json!(path.host()));
        keys.insert("path".into(), json!(whole));
    }
    value
}
