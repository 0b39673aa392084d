//! The options of copies of trees, and what `cp` makes of them.

use std::io::Read;

use clap::Args;
use landline::{
    files::{
        messages::Compare,
        tree::{StoreOptions, SyncOptions, TreeSelection, WalkOptions, WalkedLinks},
    },
    net::Location,
    paths::HAS_ACLS,
};

use super::{
    Cp, SharedParts,
    selection::{RefusedOptions, SelectionOptions},
    tree::TreeCopy,
    tree_paths::is_remote,
};
use crate::{arguments::TypedLocation, context::Context, failure::Failure};

/// The options of copies of trees.
#[derive(Debug, Args)]
pub(super) struct TreeOptions {
    /// Copy folders with everything in them
    ///
    /// A folder SRC becomes DST/SRC if DST exists, else DST. SRC/. means the content of SRC. The
    /// copy keeps times, and symbolic links that stay within the tree. It reports other links. It
    /// does not keep owners.
    #[arg(short = 'r', visible_short_alias = 'R', long, conflicts_with_all = ["from_command", "restart"])]
    recursive: bool,
    /// Keep the exact permission bits and the times
    #[arg(short = 'p', long, conflicts_with_all = ["from_command", "restart"])]
    preserve: bool,
    /// Copy folders, permission bits and times: as -r -p
    #[arg(short = 'a', long, conflicts_with_all = ["from_command", "restart"])]
    archive: bool,
    /// Make DST itself the copy, even if DST is a folder
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Print what would be copied, and copy nothing
    ///
    /// It prints what --itemize prints.
    #[arg(long, conflicts_with_all = ["from_command", "restart"])]
    dry_run: bool,
    /// Compress content that shrinks, with zstd
    ///
    /// For slow connections. Content that does not shrink by a twentieth is sent as it is.
    #[arg(short = 'z', visible_short_alias = 'C', long, conflicts_with_all = ["from_command", "restart"])]
    compress: bool,
    #[command(flatten)]
    shared: SharedOptions,
}

/// What `--links` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LinksOption {
    Skip,
    All,
}

/// The options that `cp` and `sync` share.
#[derive(Debug, Args)]
pub(in crate::commands) struct SharedOptions {
    /// Stay on the file system of SRC
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Do not keep times
    #[arg(long)]
    no_times: bool,
    /// Compare the contents of files of the same length
    ///
    /// Without it, files with the same length and time count as unchanged. Both sides read all
    /// such files.
    #[arg(long)]
    checksum: bool,
    /// Keep hard links
    ///
    /// Without it, each name of a file that has several (hard links) becomes a file of its own.
    /// landline links only to what this copy has stored or compared.
    #[arg(short = 'H', long)]
    hard_links: bool,
    /// Keep the extended attributes of users
    ///
    /// Those whose names begin with `user.`. DST gets exactly those of SRC.
    #[arg(long)]
    xattrs: bool,
    /// Keep POSIX ACLs, and with them the exact permission bits
    ///
    /// ACLs name users and groups. DST gives their permissions to those of the same names. It
    /// leaves out a name that it does not have, reports it, and the exit status is 1.
    #[arg(long)]
    acls: bool,
    /// Copy what symbolic links lead to
    ///
    /// Also if it is outside of SRC. On a server, a link leads to nothing that you may not read.
    /// Without it, landline copies links that stay within SRC, and reports others.
    #[arg(short = 'L', long, conflicts_with = "links")]
    follow_links: bool,
    /// Leave out all symbolic links (skip), or copy them all
    ///
    /// skip leaves them out and does not report any. all also makes links that lead out of SRC. It
    /// is only for copies to this machine.
    #[arg(long, value_name = "WHICH")]
    links: Option<LinksOption>,
    /// Leave out devices, FIFOs and sockets
    ///
    /// Without it, landline reports each of them, and the exit status is 1. With sync --delete,
    /// what DST has of such a name is deleted.
    #[arg(long)]
    skip_special: bool,
    /// Write the holes of sparse files as zeros
    ///
    /// Without it, a part of a file that takes no space at SRC takes none at DST, if the file has
    /// more than 128 KiB.
    #[arg(long)]
    no_sparse: bool,
    /// Make DST appear only if all of SRC was copied
    ///
    /// DST must not exist.
    #[arg(long)]
    atomic: bool,
    /// Print a line for each entry that changes
    ///
    /// A line is the action (new, change, delete), the kind (file, folder, link, special), what
    /// changes (a attributes, c content, k kind, l ACL, m mode, n name, t time, or -) and the path
    /// below DST.
    #[arg(long)]
    itemize: bool,
    #[command(flatten)]
    selection: SelectionOptions,
    #[command(flatten)]
    refused: RefusedOptions,
}

impl SharedOptions {
    fn is_used(&self) -> bool {
        self.one_file_system
            || self.no_times
            || self.checksum
            || self.no_sparse
            || self.hard_links
            || self.xattrs
            || self.acls
            || self.follow_links
            || self.links.is_some()
            || self.skip_special
            || self.atomic
            || self.itemize
            || self.selection.is_used()
    }

    /// Checks that no option asks for what landline does not do.
    ///
    /// # Errors
    /// The option, and what to write instead.
    pub(in crate::commands) fn check(&self) -> Result<(), Failure> {
        if self.acls && !HAS_ACLS {
            let what = "--acls: this system has no POSIX ACLs";
            return Err(Failure::usage(what).with_advice("leave out --acls"));
        }
        self.refused.check()
    }

    /// Whether only the paths of a list are copied.
    pub(in crate::commands) fn has_list(&self) -> bool {
        self.selection.has_list()
    }

    /// How the tree is stored.
    pub(in crate::commands) fn store(
        &self,
        exact_mode: bool,
        times: bool,
        dry_run: bool,
        sync: Option<SyncOptions>,
    ) -> StoreOptions {
        StoreOptions {
            replace: true,
            exact_mode: exact_mode || self.acls,
            times: times && !self.no_times,
            checksum: self.checksum,
            compare: Compare::Nothing,
            atomic: self.atomic,
            dry_run,
            changes: dry_run || self.itemize,
            sparse: !self.no_sparse,
            hard_links: self.hard_links,
            attributes: self.xattrs,
            acls: self.acls,
            all_links: self.links == Some(LinksOption::All),
            summaries: self.takes_summaries(),
            sync,
        }
    }

    /// How the source is walked.
    pub(in crate::commands) fn walk(&self, exact_mode: bool, dry_run: bool) -> WalkOptions {
        WalkOptions {
            one_file_system: self.one_file_system,
            compare: Compare::Nothing,
            dry_run,
            hard_links: self.hard_links,
            attributes: self.xattrs,
            acls: self.acls,
            skip_special: self.skip_special,
            links: match self.links {
                _ if self.follow_links => WalkedLinks::Follow,
                Some(LinksOption::Skip) => WalkedLinks::Skip,
                Some(LinksOption::All) | None => WalkedLinks::Keep,
            },
            summaries: self.takes_summaries(),
            exact_mode,
        }
    }

    /// Whether a summary of a folder can tell that it is unchanged.
    fn takes_summaries(&self) -> bool {
        let is_plain = !self.checksum && !self.hard_links && !self.xattrs && !self.acls;
        is_plain && !self.follow_links && !self.no_times && !self.has_list()
    }

    /// Reads which entries are copied, and tells of patterns that can never match.
    ///
    /// # Errors
    /// A pattern, a path or a file is not usable.
    pub(in crate::commands) fn read_selection(
        &self,
        context: &Context,
    ) -> Result<TreeSelection, Failure> {
        let selection = self.selection.read(|bytes_max| {
            let mut bytes = Vec::new();
            let input = context.input.open()?;
            let read = input.take(bytes_max + 1).read_to_end(&mut bytes)?;
            if read as u64 > bytes_max {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes)
        })?;
        for pattern in selection.useless_patterns() {
            let text = format!(
                "landline: the pattern {pattern} can never match: a folder above it, or a later \
                 pattern, leaves out all that it matches"
            );
            context.err.print(&crate::terminal::shown_line(&text));
        }
        Ok(selection)
    }
}

impl TreeOptions {
    /// Whether trees are copied.
    fn is_used(&self) -> bool {
        self.recursive
            || self.preserve
            || self.archive
            || self.no_target_directory
            || self.dry_run
            || self.compress
            || self.shared.is_used()
    }

    fn takes_folders(&self) -> bool {
        self.recursive || self.archive
    }

    /// Reads which entries are copied.
    ///
    /// # Errors
    /// Options that do not fit together, and a selection that is not usable.
    pub(super) fn read_selection(&self, context: &Context) -> Result<TreeSelection, Failure> {
        self.shared.check()?;
        let is_for_folders = self.no_target_directory
            || self.shared.one_file_system
            || self.shared.atomic
            || self.shared.selection.is_used();
        if !self.takes_folders() && is_for_folders {
            return Err(Failure::usage(
                "-T, -x, --atomic and the options for which entries are for copies of folders; add -r",
            ));
        }
        self.shared.read_selection(context)
    }
}

impl Cp {
    /// Whether these paths are copied as trees: with options for trees, and between two servers.
    pub(super) fn is_tree_copy(&self, paths: &[TypedLocation]) -> Result<bool, Failure> {
        let is_between = match paths.split_last() {
            Some((destination, sources)) => {
                matches!(destination.location, Location::Remote { .. })
                    && !sources.is_empty()
                    && is_remote(sources)
            }
            None => false,
        };
        if is_between && self.restart {
            return Err(Failure::usage(
                "a copy between two servers cannot be restarted; remove what is there first",
            ));
        }
        Ok(is_between || self.tree.is_used())
    }

    /// The copy of trees that the options ask for.
    ///
    /// # Errors
    /// Options that do not fit together.
    pub(super) fn tree_copy(
        &self,
        paths: Vec<TypedLocation>,
        parts: &SharedParts,
    ) -> Result<TreeCopy, Failure> {
        let options = &self.tree;
        let shared = &options.shared;
        if paths.len() != 2 && (shared.atomic || shared.has_list()) {
            return Err(Failure::usage("--atomic and --files-from take one source"));
        }
        let takes_folders = options.takes_folders();
        let exact_mode = options.preserve || options.archive;
        let times = takes_folders || options.preserve;
        Ok(TreeCopy {
            paths,
            is_exact: options.no_target_directory,
            store: StoreOptions {
                replace: !self.no_clobber,
                ..shared.store(exact_mode, times, options.dry_run, None)
            },
            walk: shared.walk(exact_mode, options.dry_run),
            selection: parts.selection.clone(),
            backup: None,
            delta: self.delta,
            parallel: self.parallel,
            takes_folders,
            compress: options.compress,
            quiet: self.quiet,
            retry: self.retry,
            rate_limits: parts.rate_limits.clone(),
        })
    }
}
