//! `landline sync`: makes a folder equal to another one.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use landline::{files::tree::SyncOptions, net::Location};

use super::cp::{
    RateLimits, delta::DeltaOption, habits::local_name_advice, parallel::ParallelOption,
    progress::ProgressView, tree::TreeCopy, tree_options::SharedOptions,
};
use crate::{
    arguments::{Access, TypedLocation, location_parser, parse_rate, parse_seconds},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    signals,
};

/// Make a folder equal to another one, to or from a server
///
/// DST becomes what SRC is, with or without a slash at the end. Files that are unchanged are not
/// sent: those with the same length and time. Times are kept. What only DST has stays, unless you
/// add --delete.
///
/// With --delete, landline deletes nothing before all of SRC has arrived and was verified. Nothing
/// is deleted in a folder of which SRC could not be read whole. The command refuses to delete if
/// SRC is empty, if more than 20 entries and more than half of all would go, and if DST is or
/// contains your home.
#[derive(Debug, Args)]
#[command(
    override_usage = "landline sync [OPTIONS] <SRC> <DST>",
    after_help = "Examples:\n  landline sync photos nas:photos\n  landline sync --delete --dry-run site/ web:site\n  landline sync nas:notes notes"
)]
pub(crate) struct Sync {
    /// Folder to copy, or `[user@]host:path`
    #[arg(value_name = "SRC", value_parser = location_parser())]
    source: TypedLocation,
    /// Folder that becomes equal to SRC, or `[user@]host:path`
    #[arg(value_name = "DST", value_parser = location_parser())]
    destination: TypedLocation,
    /// Delete what SRC does not have
    #[arg(long, help_heading = "Deleting")]
    delete: bool,
    /// Delete also what the patterns leave out
    #[arg(long, requires = "delete", help_heading = "Deleting")]
    delete_excluded: bool,
    /// Delete nothing if it would be more than N entries
    #[arg(long, requires = "delete", value_name = "N", help_heading = "Deleting")]
    max_delete: Option<u64>,
    /// Delete although it looks like an accident
    ///
    /// SRC may be empty, most of DST may go, and DST may be or contain your home.
    #[arg(long, requires = "delete", help_heading = "Deleting")]
    force: bool,
    /// Move what is replaced or deleted to this folder
    ///
    /// DIR is a path on the machine of DST, and on the same file system. Entries keep their paths
    /// below DST. A name that is taken gets a number. This command does not delete DIR. If DIR is
    /// below DST, a later --delete without --backup-dir deletes it.
    #[arg(long, value_name = "DIR", help_heading = "Deleting")]
    backup_dir: Option<OsString>,
    /// Print what would change, and change nothing
    ///
    /// It prints what --itemize prints.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep the exact permission bits
    #[arg(short = 'p', long, short_alias = 'a', alias = "archive")]
    preserve: bool,
    /// Compress content that shrinks, with zstd
    ///
    /// For slow connections. Content that does not shrink by a twentieth is sent as it is.
    #[arg(short = 'z', visible_short_alias = 'C', long)]
    compress: bool,
    #[command(flatten)]
    delta: DeltaOption,
    #[command(flatten)]
    shared: SharedOptions,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Time to retry after a lost connection; 0 does not retry
    ///
    /// Also the time to wait while too many sessions are open.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    retry: Duration,
    /// Move at most RATE bytes a second: 500K, 2M
    ///
    /// K, M and G are KiB, MiB and GiB. The limit is for both directions.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    limit_rate: Option<u64>,
    #[command(flatten)]
    parallel: ParallelOption,
    #[command(flatten)]
    access: Access,
}

impl Run for Sync {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        self.shared.check()?;
        if self.delete && self.shared.has_list() {
            let what = "--files-from names what is copied; with --delete all else would go";
            return Err(Failure::usage(what).with_advice("leave out one of them"));
        }
        if let Some(folder) = &self.backup_dir
            && !matches!(Location::parse(folder), Ok(Location::Local(_)))
        {
            let what = "--backup-dir is a path on the machine of DST, without a host";
            return Err(Failure::usage(what)
                .with_advice("leave out the host, or write ./ before a name with a colon"));
        }
        let sync = SyncOptions {
            delete: self.delete,
            delete_excluded: self.delete_excluded,
            max_delete: self.max_delete,
            force: self.force,
        };
        let copy = TreeCopy {
            is_exact: true,
            store: self
                .shared
                .store(self.preserve, true, self.dry_run, Some(sync)),
            walk: self.shared.walk(self.preserve, self.dry_run),
            selection: self.shared.read_selection(context)?,
            backup: self.backup_dir,
            delta: self.delta,
            parallel: self.parallel,
            takes_folders: true,
            compress: self.compress,
            paths: vec![self.source, self.destination],
            quiet: self.quiet,
            retry: self.retry,
            rate_limits: self.limit_rate.map(RateLimits::new),
        };
        let view = ProgressView::new(context, self.quiet, &context.out);
        copy.run_with(context, &self.access, &view, signals::stop)
            .await
            .map_err(|failure| local_name_advice(failure, &copy.paths))?;
        Ok(ExitStatus::SUCCESS)
    }
}
