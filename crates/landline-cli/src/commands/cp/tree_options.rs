//! The options of `landline cp` for copies of trees.

use clap::Args;
use landline::{
    files::{
        messages::Compare,
        tree::{StoreOptions, WalkOptions},
    },
    net::Location,
};

use super::{
    Cp, SharedParts,
    tree::{TreeCopy, is_remote},
};
use crate::{arguments::TypedLocation, failure::Failure};

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
    /// Stay on the file system of SRC
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Do not keep times
    #[arg(long)]
    no_times: bool,
    /// Compress content that shrinks, with zstd
    ///
    /// For slow connections. Content that does not shrink by a twentieth is sent as it is.
    #[arg(short = 'z', visible_short_alias = 'C', long, conflicts_with_all = ["from_command", "restart"])]
    compress: bool,
}

impl TreeOptions {
    /// Whether trees are copied.
    fn is_used(&self) -> bool {
        self.recursive
            || self.preserve
            || self.archive
            || self.no_target_directory
            || self.one_file_system
            || self.no_times
            || self.compress
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
        shared: &SharedParts,
    ) -> Result<TreeCopy, Failure> {
        self.habits.check()?;
        let options = &self.tree;
        let takes_folders = options.recursive || options.archive;
        if !takes_folders && (options.no_target_directory || options.one_file_system) {
            return Err(Failure::usage(
                "-T and -x are for copies of folders; add -r",
            ));
        }
        let times = !options.no_times && (options.recursive || options.archive || options.preserve);
        Ok(TreeCopy {
            paths,
            is_exact: options.no_target_directory,
            store: StoreOptions {
                replace: !self.no_clobber,
                exact_mode: options.preserve || options.archive,
                times,
                compare: Compare::Nothing,
            },
            walk: WalkOptions {
                one_file_system: options.one_file_system,
                compare: Compare::Nothing,
            },
            delta: self.delta,
            takes_folders,
            compress: options.compress,
            quiet: self.quiet,
            retry: self.retry,
            rate_limiter: shared.rate_limiter.clone(),
        })
    }
}
