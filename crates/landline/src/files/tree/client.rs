//! The client's part of `put-tree` and `get-tree`.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{BodySize, Name};

use super::{
    StoreOptions, TreeEvents, TreeProgress, TreeSelection, TreeSummary, WalkOptions,
    bodies::bodies,
    compression::Compression,
    messages::{GetTree, Placement, PutTree, TREE, Tree},
    receiver::{ReceiverParts, TakenSummaries, TreeReceiver},
    run_exchange,
    sender::{Summaries, TreeSender},
    walk::{FollowLink, Walk},
    worker::Worker,
};
use crate::{
    Error,
    crypto::Fingerprint,
    files::{ManifestStore, manifests::Manifest},
    net::Channel,
    paths::{TreeGuard, TreeSource, TreeTarget, local, read_proc},
};

/// What a copy tells while it runs.
#[derive(Debug, Clone, Default)]
pub struct TreeReport {
    /// What was done so far.
    pub progress: Arc<TreeProgress>,
    /// Called for failures of single entries, as they happen.
    pub events: TreeEvents,
}

/// Stores trees on the server, after [`PutTree`] was sent. Returns what the server did.
///
/// With `compress`, content that shrinks is compressed if the server takes that. `selection` says
/// which entries are sent.
///
/// # Errors
/// Errors of the server, `ended`, [`Error::Protocol`], or [`Error::Lost`]. The caller then has to
/// call [`Channel::fail`]. Failures of single entries are reported, and are no error.
///
/// # Cancel safety
/// Not cancel-safe: the channel cannot be used afterwards.
pub async fn put_tree(
    channel: &mut Channel,
    sources: Vec<TreeSource>,
    options: WalkOptions,
    compress: bool,
    selection: TreeSelection,
    report: TreeReport,
    resolved: &mut Resolved,
) -> Result<TreeSummary, Error> {
    // The server says in its header that it takes packed records.
    let is_possible = Arc::new(AtomicBool::new(false));
    let compression = Compression::new(compress, is_possible.clone());
    channel.send_with_body(&Tree::default(), BodySize::Unknown)?;
    let summaries = Summaries::over(channel, &options);
    let (connection, ends) = bodies(false);
    let guard = Arc::new(TreeGuard::unlimited());
    let work = Worker::Client.run(move |leave| {
        let sources = sources
            .into_iter()
            .map(|source| Ok((source, guard.clone())))
            .collect();
        let follow = |link: &Path| Ok(local::open_tree_source(link)?);
        let mut walk = Walk::new(sources, options).following(FollowLink::new(follow));
        walk.select(selection.clone());
        let (progress, events, compare) = (report.progress, report.events, options.compare);
        TreeSender::new(walk, ends, leave.clone(), progress, events, compare)
            .compressing(compression)
            .dry(options.dry_run)
            .summing(summaries)
            .telling(&selection)
            .run()
    });
    let on_header = |tree: Tree| {
        is_possible.store(tree.packed, Ordering::Relaxed);
        *resolved = Resolved::of(tree);
    };
    run_exchange(channel, connection, &TREE, work, on_header).await
}

/// The destination as the server has resolved it. A copy that fails may have set it.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// The path of the copy, or of the folder into which it goes.
    pub path: Option<Name>,
    /// How the destination was meant. Another attempt has to say the same, because the destination
    /// may exist by then.
    pub placement: Option<Placement>,
}

impl Resolved {
    pub(super) fn of(tree: Tree) -> Self {
        Self {
            path: tree.path,
            placement: tree.placement,
        }
    }
}

/// What identifies the sources of a copy: the same for each attempt at it, and no path of this
/// machine.
pub fn source_key(sources: &[PathBuf]) -> Name {
    let mut hasher = blake3::Hasher::new();
    // Two machines may have the same paths.
    let machine = read_proc("sys/kernel/hostname").unwrap_or_default();
    hasher.update(machine.as_bytes());
    for source in sources {
        let full = std::path::absolute(source).unwrap_or_else(|_| source.clone());
        let full = full.as_os_str().as_encoded_bytes();
        hasher.update(&(full.len() as u64).to_le_bytes());
        hasher.update(full);
    }
    Name(hasher.finalize().to_hex().as_bytes().to_vec())
}

/// The request for [`put_tree`].
///
/// `source` says what the copy consists of, the same for each attempt at it. `backup` is the folder
/// for what is replaced or removed.
pub fn put_tree_request(
    path: Name,
    placement: Placement,
    source: Name,
    options: StoreOptions,
    selection: &TreeSelection,
    backup: Option<Name>,
) -> PutTree {
    PutTree {
        path,
        placement,
        source,
        replace: options.replace,
        exact_mode: options.exact_mode,
        times: options.times,
        compare: options.compare,
        checksum: options.checksum,
        atomic: options.atomic,
        dry_run: options.dry_run,
        changes: options.changes,
        selection: !selection.takes_all(),
        fill_holes: !options.sparse,
        hard_links: options.hard_links,
        attributes: options.attributes,
        acls: options.acls,
        summaries: options.summaries,
        sync: options.sync,
        backup,
    }
}

/// The name that a copy of this path gets: the server does not choose it.
pub(super) fn own_name(path: &[u8]) -> Vec<u8> {
    local::own_name_of_bytes(path).unwrap_or_default()
}

/// What an earlier attempt to fetch a tree left, if there was one.
///
/// Locked against other processes until it is dropped. The default is none: a copy with it cannot
/// be resumed.
#[derive(Debug, Default)]
pub struct EarlierTree(Option<Manifest>);

impl EarlierTree {
    /// Looks for an earlier attempt at `request` to `server`, with this target.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads the disk, and may wait some seconds for another attempt.
    pub fn find(
        manifests: &ManifestStore,
        server: &Fingerprint,
        request: &GetTree,
        target: &TreeTarget,
    ) -> Result<Self, Error> {
        let full = std::path::absolute(&target.shown).unwrap_or_else(|_| target.shown.clone());
        let mut parts: Vec<&[u8]> = vec![b"get-tree", server.bytes()];
        parts.push(full.as_os_str().as_encoded_bytes());
        parts.extend(request.paths.iter().map(|path| &path.0[..]));
        // A copy of the client is not preempted.
        let manifest = match manifests.lock(&parts, |_| false)? {
            Some(manifest) => Some(manifest),
            None => manifests.anonymous()?,
        };
        Ok(Self(manifest))
    }
}

/// Where a tree that is fetched goes.
#[derive(Debug)]
pub struct TreeDestination {
    /// The folder or name.
    pub target: TreeTarget,
    /// What an earlier attempt left; see [`EarlierTree::find`].
    pub earlier: EarlierTree,
    /// The folder for what is replaced or removed.
    pub backup: Option<TreeTarget>,
}

/// Fetches trees from the server, after `request` was sent.
///
/// # Errors
/// As [`put_tree`], and what goes wrong on this side: `denied`, `no-space`, `io`.
///
/// # Cancel safety
/// Not cancel-safe: the channel cannot be used afterwards.
pub async fn get_tree(
    channel: &mut Channel,
    request: &GetTree,
    destination: TreeDestination,
    options: StoreOptions,
    selection: TreeSelection,
    report: TreeReport,
) -> Result<TreeSummary, Error> {
    let TreeDestination {
        target,
        earlier: EarlierTree(earlier),
        backup,
    } = destination;
    let names = request.paths.iter().map(|path| own_name(&path.0)).collect();
    let takes_packed = request.compress;
    let summaries = if request.summaries {
        TakenSummaries::Compared
    } else {
        TakenSummaries::Refused
    };
    channel.send_with_body(&Tree::default(), BodySize::Unknown)?;
    let (connection, ends) = bodies(false);
    let work = Worker::Client.run(move |leave| {
        TreeReceiver::new(ReceiverParts {
            target,
            guard: TreeGuard::unlimited(),
            options,
            manifest: earlier,
            quota: None,
            store: None,
            selection,
            reads_selection: false,
            backup: backup.map(|folder| (folder, TreeGuard::unlimited())),
            names: Some(names),
            takes_packed,
            summaries,
            ends,
            leave: leave.clone(),
            progress: report.progress,
            events: report.events,
        })?
        .run(Box::new(|_| Ok(())))
    });
    run_exchange(channel, connection, &TREE, work, |_: Tree| ()).await
}
