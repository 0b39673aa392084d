//! Copies of trees: what a user asks for, and where it goes.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landline::{
    Error,
    files::{
        messages::Compare,
        tree::{
            GetTree, Placement, StoreOptions, TreeProgress, TreeSelection, WalkOptions,
            check_not_home, check_place,
        },
    },
    net::{Location, Target},
    paths::{TreeOrigin, local},
    proto::Name,
};

use super::{
    RateLimits,
    changes::ChangeLines,
    delta::DeltaOption,
    parallel::ParallelOption,
    progress::ProgressView,
    tree_attempt::PlannedTree,
    tree_paths::{is_content, is_remote, remote_name, remote_sources},
};
use crate::{
    arguments::{Access, TypedLocation},
    connect,
    context::Context,
    failure::Failure,
};

/// A copy of trees, as the user asks for it.
pub(in crate::commands) struct TreeCopy {
    /// The sources, and the destination last.
    pub(in crate::commands) paths: Vec<TypedLocation>,
    /// Whether the destination itself becomes the copy.
    pub(in crate::commands) is_exact: bool,
    pub(in crate::commands) store: StoreOptions,
    pub(in crate::commands) walk: WalkOptions,
    /// When only the changed parts of files are sent.
    pub(in crate::commands) delta: DeltaOption,
    /// Over how many connections the content goes.
    pub(in crate::commands) parallel: ParallelOption,
    /// Which entries of the sources are copied.
    pub(in crate::commands) selection: TreeSelection,
    /// The folder for what is replaced or removed, at the destination's machine.
    pub(in crate::commands) backup: Option<OsString>,
    /// Whether folders are copied; otherwise they are refused.
    pub(in crate::commands) takes_folders: bool,
    /// Whether content that shrinks is compressed.
    pub(in crate::commands) compress: bool,
    pub(in crate::commands) quiet: bool,
    /// How long a lost connection is made again.
    pub(in crate::commands) retry: Duration,
    pub(in crate::commands) rate_limits: Option<RateLimits>,
}

/// The two ends of a copy.
pub(super) enum Ends {
    Upload {
        sources: Vec<PathBuf>,
        path: Name,
        placement: Placement,
    },
    Download {
        request: GetTree,
        target: PathBuf,
        placement: Placement,
    },
    Between {
        source: Target,
        request: GetTree,
        path: Name,
        placement: Placement,
    },
}

impl TreeCopy {
    /// Copies until `stop` is ready, and connects again when the connection is lost.
    ///
    /// # Errors
    /// The copy could not be completed. If single entries could not be copied, the failure is
    /// `incomplete`.
    pub(in crate::commands) async fn run_with<S: Future<Output = ()>>(
        &self,
        context: &Context,
        access: &Access,
        view: &ProgressView,
        stop: impl FnOnce() -> Result<S, Failure>,
    ) -> Result<(), Failure> {
        let (target, ends, unreadable) = self.plan(context, view)?;
        self.check_home(context, &ends)?;
        let client = context.client()?;
        let mut session = connect::find_session(context, &client, &target, access).await?;
        let source = match &ends {
            Ends::Between { source, .. } => {
                let mut session = connect::find_session(context, &client, source, access).await?;
                self.parallel.set(&mut session);
                if let Some(limits) = &self.rate_limits {
                    session.set_rate_limiter(limits.source.clone());
                }
                Some(session)
            }
            Ends::Upload { .. } | Ends::Download { .. } => None,
        };
        let compare = self.delta.compare(session.server(), u64::MAX);
        self.parallel.set(&mut session);
        if let Some(limits) = &self.rate_limits {
            session.set_rate_limiter(limits.content.clone());
        }
        let mut planned = PlannedTree {
            compare,
            copy: self,
            context,
            client,
            session,
            target: access.with_port(&target)?,
            source,
            ends,
            was_connected: false,
            failures: Arc::default(),
            grown: Arc::default(),
            changes: Arc::new(ChangeLines::new(context, view)),
        };
        let stop = stop()?;
        let progress = Arc::new(TreeProgress::default());
        let done = tokio::select! {
            done = planned.copy_all(view, &progress) => Some(done),
            () = stop => None,
        };
        let mut done = done.unwrap_or_else(|| Err(Failure::stopped(progress.bytes() > 0)));
        for failure in unreadable {
            match &done {
                Ok(()) => done = Err(failure),
                Err(_) => view.print_failure(context, &failure),
            }
        }
        done
    }

    /// Checks that nothing is removed from the home of this user, unless that is forced.
    fn check_home(&self, context: &Context, ends: &Ends) -> Result<(), Failure> {
        let (Ends::Download { target, .. }, Some(home)) = (ends, context.environment.home()) else {
            return Ok(());
        };
        let (Ok(source), Ok(target)) = (
            local::open_tree_source(&home),
            local::open_tree_target(target, true),
        ) else {
            return Ok(());
        };
        match source.origin {
            TreeOrigin::Folder(home, _) => Ok(check_not_home(&target, &home, self.store.sync)?),
            TreeOrigin::Entry(..) => Ok(()),
        }
    }

    /// Finds the two ends. Also returns why some of several local sources cannot be read.
    fn plan(
        &self,
        context: &Context,
        view: &ProgressView,
    ) -> Result<(Target, Ends, Vec<Failure>), Failure> {
        let Some((destination, sources)) =
            self.paths.split_last().filter(|(_, rest)| !rest.is_empty())
        else {
            return Err(Failure::usage("give a source and a destination")
                .with_advice("for example: landline cp -r FOLDER HOST:"));
        };
        let is_content = match sources {
            [source] => is_content(&source.text),
            sources => match sources.iter().find(|source| is_content(&source.text)) {
                Some(source) => {
                    let what = format!("{} means the content of a folder", source.text);
                    return Err(Failure::usage(what).with_advice("copy it on its own"));
                }
                None => false,
            },
        };
        let placement = match sources.len() {
            1 if self.is_exact || is_content => Placement::Exact,
            1 => Placement::Auto,
            _ if self.is_exact => {
                return Err(Failure::usage("-T takes one source"));
            }
            _ => Placement::Into,
        };
        if self.store.all_links && !matches!(destination.location, Location::Local(_)) {
            let what = "--links all is only for copies to this machine";
            return Err(Failure::usage(what)
                .with_advice("leave it out: links that stay within SRC are copied"));
        }
        match &destination.location {
            Location::Remote { target, path } if is_remote(sources) => {
                let (source, paths) = remote_sources(sources)?;
                let ends = Ends::Between {
                    source,
                    request: self.get_tree(paths),
                    path: remote_name(path),
                    placement,
                };
                Ok((target.clone(), ends, Vec::new()))
            }
            Location::Remote { target, path } => {
                let path = remote_name(path);
                let (sources, mut unreadable) = self.local_sources(sources)?;
                if sources.is_empty() && !unreadable.is_empty() {
                    // The last one that is printed is the first one, whose status counts.
                    for failure in unreadable.drain(1..) {
                        view.print_failure(context, &failure);
                    }
                    return Err(unreadable.remove(0));
                }
                let ends = Ends::Upload {
                    sources,
                    path,
                    placement,
                };
                Ok((target.clone(), ends, unreadable))
            }
            Location::Local(folder) => {
                let (server, paths) = remote_sources(sources)?;
                let request = self.get_tree(paths);
                let exact = placement == Placement::Exact;
                // Fail before connecting if nothing can be written there.
                let opened = local::open_tree_target(folder, exact).map_err(Error::from)?;
                check_place(&opened, placement)?;
                let ends = Ends::Download {
                    request,
                    target: folder.clone(),
                    placement,
                };
                Ok((server, ends, Vec::new()))
            }
            Location::Stream => Err(Failure::usage(
                "- is a single file; a tree needs a folder to go to",
            )),
        }
    }

    fn get_tree(&self, paths: Vec<Name>) -> GetTree {
        GetTree {
            paths,
            folders: self.takes_folders,
            one_file_system: self.walk.one_file_system,
            compare: Compare::Nothing,
            compress: self.compress,
            dry_run: self.walk.dry_run,
            selection: !self.selection.takes_all(),
            hard_links: self.walk.hard_links,
            attributes: self.walk.attributes,
            acls: self.walk.acls,
            skip_special: self.walk.skip_special,
            links: self.walk.links,
            summaries: self.walk.summaries,
            exact_mode: self.walk.exact_mode,
        }
    }

    /// The paths of the sources that can be read; of several, also why others cannot.
    fn local_sources(
        &self,
        sources: &[TypedLocation],
    ) -> Result<(Vec<PathBuf>, Vec<Failure>), Failure> {
        let mut paths = Vec::new();
        let mut unreadable = Vec::new();
        let mut names = std::collections::HashSet::new();
        for source in sources {
            let path = match &source.location {
                Location::Local(path) => path,
                Location::Remote { .. } => {
                    return Err(Failure::usage(
                        "some of the sources are on a server; copy them on their own",
                    ));
                }
                Location::Stream => {
                    return Err(Failure::usage("- is a single file; copy it on its own"));
                }
            };
            match self.check_source(path) {
                Ok(name) => {
                    if !names.insert(name) {
                        return Err(super::habits::same_name_failure(&source.text));
                    }
                    paths.push(path.clone());
                }
                Err(failure) => unreadable.push(failure),
            }
        }
        Ok((paths, unreadable))
    }

    /// Checks that a local source can be copied. Returns its name.
    fn check_source(&self, path: &Path) -> Result<OsString, Failure> {
        let opened = local::open_tree_source(path).map_err(Error::from)?;
        if !self.takes_folders && local::is_folder(path) {
            return Err(super::habits::folder_failure(path.display()));
        }
        let needs_folder = self.store.sync.is_some() || self.selection.has_list();
        if needs_folder && matches!(opened.origin, TreeOrigin::Entry(..)) {
            let what = format!("{} is not a folder", path.display());
            return Err(Failure::new("not-a-folder", what)
                .with_advice("copy a single file with landline cp"));
        }
        Ok(opened.name)
    }
}
