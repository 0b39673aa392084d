//! The server's part of `put-tree` and `get-tree`.

use std::{os::unix::ffi::OsStrExt, sync::Arc};

use landline_proto::{BodySize, ErrorCode, Header, Message, Name, ProtocolError};

use super::{
    StoreOptions, SyncOptions, TreeEvents, TreeProgress, TreeSelection, TreeSummary,
    bodies::bodies,
    check_not_home, check_place,
    compression::Compression,
    messages::{GetTree, Placement, PutTree, TREE, Tree},
    receiver::{Moment, ReceiverParts, TakenSummaries, TreeReceiver},
    run_exchange,
    sender::{Summaries, TreeSender},
    walk::{FollowLink, Walk, WalkedSource},
    worker::Worker,
};
use crate::{
    Error, Side,
    activity::{Activity, Direction, FileChange},
    files::{
        ManifestStore,
        manifests::Manifest,
        messages::Compare,
        quota::TreeQuota,
        server::{check_still_allowed, record_start, still_may},
    },
    net::Channel,
    paths::{HAS_ACLS, TreeGuard, TreeOrigin, TreePlace, TreeSource, TreeTarget},
    rights::Rights,
    session::{ServiceContext, WorkUnit},
};

/// The most sources of one `get-tree`.
const SOURCES_MAX: usize = 1024;
/// How many sources that cannot be read are logged.
const NOTED_MAX: usize = 16;

/// Receives a tree.
///
/// # Errors
/// What ends the channel. A request that is refused is answered, and is no error.
pub(crate) async fn put_tree(
    channel: &mut Channel,
    context: &ServiceContext,
    manifests: &ManifestStore,
    header: &Header,
) -> Result<(), Error> {
    let put: PutTree = header.read()?;
    // Watched before the request is checked, so that no change of the rules is missed.
    let mut rules = context.rights().watch();
    let now = rules.borrow_and_update().clone();
    let mut options = put.options();
    if context.admit(GetTree::TYPE).is_err() {
        // What is compared tells the client about the content.
        options.compare = Compare::Nothing;
    }
    let limits = context.rights().quota(context.user());
    let quota = TreeQuota::for_user(context.work_store(), context.user(), limits);
    let summaries = taken_summaries(context, &put);
    if let Err(error) = check_options(context, &options, quota.as_ref()) {
        return context.answer_failure(channel, error).await;
    }
    let (preparing, asked, manifests) = (context.clone(), put.clone(), manifests.clone());
    let prepare = move |_: &WorkUnit| prepare_put(&preparing, &now, &manifests, &asked);
    let prepared = match context.blocking("files put-tree", prepare).await {
        Ok(prepared) => prepared,
        Err(error) => return context.answer_failure(channel, error).await,
    };
    let PreparedPut {
        target,
        guard,
        manifest,
        backup,
    } = prepared;
    let path = target.path_bytes();
    context.set_activity(&format!("files put {}", String::from_utf8_lossy(&path)));
    let placement = match target.place {
        TreePlace::Into(_) => Placement::Into,
        TreePlace::As(..) | TreePlace::Content(_) => Placement::Exact,
    };
    let tree = Tree {
        path: Some(Name(path.clone())),
        placement: Some(placement),
        packed: true,
    };
    channel.send_with_body(&tree, BodySize::Unknown)?;
    let backup_path = backup.as_ref().map(|(folder, _)| folder.path_bytes());
    let places = std::iter::once(path.clone()).chain(backup_path);
    let checks: Vec<_> = places
        .map(|place| still_may(context, place, true))
        .collect();
    let still = move |rules: &Rights| checks.iter().all(|still| still(rules));
    let (recording, still_then, stored) = (context.clone(), still.clone(), path.clone());
    // Just before the tree appears: none is stored without its line in the log.
    let record = move |moment: Moment<'_>| {
        check_still_allowed(&recording, still_then.clone())?;
        let path = stored.clone();
        recording.record_blocking(|user, session| match moment {
            Moment::Remove => Activity::FilesChange {
                user,
                session,
                action: FileChange::Remove,
                path: Name(path),
                to: None,
            },
            Moment::Complete(summary) => copied(user, session, Direction::Put, path, summary),
        })
    };
    let heartbeat = manifest
        .as_ref()
        .map(|manifest| manifest.heartbeat().clone())
        .unwrap_or_default();
    let store = context.work_store().clone();
    let reads_selection = put.selection;
    let (connection, ends) = bodies(true);
    let worker = Worker::Server(context, "files put-tree");
    let work = worker.run(move |leave| {
        TreeReceiver::new(ReceiverParts {
            target,
            guard,
            options,
            manifest,
            quota,
            store: Some(store),
            selection: TreeSelection::default(),
            reads_selection,
            backup,
            names: None,
            takes_packed: true,
            summaries,
            ends,
            leave: leave.clone(),
            progress: Arc::new(TreeProgress::default()),
            events: TreeEvents::default(),
        })?
        .run(Box::new(record))
    });
    tokio::select! {
        biased;
        never = context.terminate_on_revocation(&mut rules, "write this tree", still) => {
            match never {}
        }
        done = run_exchange(channel, connection, &TREE, work, |_: Tree| ()) => done.map(drop),
        () = heartbeat.preempted() => {
            let message = "another attempt at the same copy has taken over";
            Err(Error::here(ErrorCode::Superseded, message))
        }
    }
}

/// What the user may learn from summaries.
fn taken_summaries(context: &ServiceContext, put: &PutTree) -> TakenSummaries {
    match (put.summaries, context.admit(GetTree::TYPE)) {
        (false, _) => TakenSummaries::Refused,
        (true, Ok(())) => TakenSummaries::Compared,
        // An answer tells the client that a folder has nothing else.
        (true, Err(_)) => TakenSummaries::Expanded,
    }
}

/// Checks that the user may ask for this.
fn check_options(
    context: &ServiceContext,
    options: &StoreOptions,
    quota: Option<&TreeQuota>,
) -> Result<(), Error> {
    if options.sync.is_some_and(|sync| sync.delete) {
        context.admit("remove")?;
    }
    if options.acls && !options.exact_mode {
        let message = "put-tree has acls without exact_mode".to_owned();
        return Err(ProtocolError::BadHeader(message).into());
    }
    if options.acls && !HAS_ACLS {
        return Err(no_acls());
    }
    if quota.is_some() && (options.attributes || options.acls) {
        let message = "you have a quota, which counts neither extended attributes nor ACLs; leave \
                       out --xattrs and --acls";
        return Err(Error::here(ErrorCode::Denied, message));
    }
    Ok(())
}

/// The error for ACLs, on a system without.
fn no_acls() -> Error {
    let message = "the server's system has no POSIX ACLs; leave out --acls";
    Error::here(ErrorCode::Denied, message)
}

/// What a `put-tree` writes to.
struct PreparedPut {
    target: TreeTarget,
    guard: TreeGuard,
    /// What an earlier attempt left, locked.
    manifest: Option<Manifest>,
    backup: Option<(TreeTarget, TreeGuard)>,
}

/// Checks a `put-tree`, records its start and opens what it writes to.
///
/// # Blocking
/// Reads and writes the disk.
fn prepare_put(
    context: &ServiceContext,
    rules: &Rights,
    manifests: &ManifestStore,
    put: &PutTree,
) -> Result<PreparedPut, Error> {
    let (user, root) = (context.user(), context.root());
    let grants = rules.files(user);
    let path = rules.locate(user, &put.path.0)?;
    let is_exact = put.placement == Placement::Exact;
    let open = |path: &[u8], exact: bool| {
        if put.dry_run {
            root.plan_tree_target(grants, path, exact)
        } else {
            root.open_tree_target(grants, path, exact)
        }
    };
    let (target, guard) = open(&path, is_exact)?;
    check_place(&target, put.placement)?;
    check_homes(context, rules, &target, put.sync)?;
    let backup = match &put.backup {
        Some(folder) => {
            let folder = rules.locate(user, &folder.0)?;
            Some(open(&folder, true)?)
        }
        None => None,
    };
    let guard = guard.protecting(root.protected_folders(&rules.all_folders()));
    let path = target.path_bytes();
    // A comparison by digests reads files.
    if !put.dry_run || put.checksum {
        record_start(context, Direction::Put, path.clone(), None)?;
    }
    let parts: [&[u8]; 4] = [b"put-tree", user.as_str().as_bytes(), &path, &put.source.0];
    let manifest = if put.dry_run {
        None
    } else {
        // A newer attempt at the same copy takes over.
        match manifests.lock(&parts, |_| true)? {
            Some(manifest) => Some(manifest),
            None => manifests.anonymous()?,
        }
    };
    Ok(PreparedPut {
        target,
        guard,
        manifest,
        backup,
    })
}

/// Sends trees.
///
/// # Errors
/// As [`put_tree`].
pub(crate) async fn get_tree(
    channel: &mut Channel,
    context: &ServiceContext,
    header: &Header,
) -> Result<(), Error> {
    let get: GetTree = header.read()?;
    let mut rules = context.rights().watch();
    let now = rules.borrow_and_update().clone();
    let options = get.options();
    let preparing = context.clone();
    let asked = get.clone();
    let prepare = move |_: &WorkUnit| {
        let user = preparing.user();
        check_sources(&asked)?;
        if asked.acls && !HAS_ACLS {
            return Err(no_acls());
        }
        let open = |path: &Name| -> WalkedSource {
            let path = now.locate(user, &path.0)?;
            let (source, guard) = preparing.root().open_tree_source(now.files(user), &path)?;
            if !asked.folders && matches!(source.origin, TreeOrigin::Folder(..)) {
                return Err(Error::Failed {
                    side: Side::Here,
                    code: ErrorCode::NotAFile,
                    message: format!("{} is a folder, not a regular file", source.shown.display()),
                    cause: Some("EISDIR"),
                });
            }
            Ok((source, Arc::new(guard)))
        };
        if let [path] = asked.paths.as_slice() {
            return Ok(vec![Ok(open(path)?)]);
        }
        // Of several sources, one that cannot be read stops no other.
        Ok(asked.paths.iter().map(open).collect())
    };
    let recording = context.clone();
    let prepare = move |unit: &WorkUnit| {
        let sources: Vec<WalkedSource> = prepare(unit)?;
        for (source, _) in sources.iter().flatten() {
            record_start(&recording, Direction::Get, source.path_bytes(), None)?;
        }
        let unreadable = sources.iter().filter_map(|source| source.as_ref().err());
        for error in unreadable.take(NOTED_MAX) {
            recording.note_failure(error);
        }
        Ok(sources)
    };
    let sources = match context.blocking("files get-tree", prepare).await {
        Ok(sources) => sources,
        Err(error) => return context.answer_failure(channel, error).await,
    };
    let places: Vec<Vec<u8>> = sources
        .iter()
        .flatten()
        .map(|(source, _)| source.path_bytes())
        .collect();
    // It stands for the whole copy when it is complete.
    let path = places.first().or(get.paths.first().map(|path| &path.0));
    let path = path.cloned().unwrap_or_default();
    context.set_activity(&format!("files get {}", String::from_utf8_lossy(&path)));
    channel.send_with_body(&Tree::default(), BodySize::Unknown)?;
    let checks: Vec<_> = places
        .into_iter()
        .map(|place| still_may(context, place, false))
        .collect();
    let still = move |rules: &crate::rights::Rights| checks.iter().all(|still| still(rules));
    // By the rules of that moment, as if the user had asked for the link itself.
    let following = context.clone();
    let follow = FollowLink::new(move |link| {
        let rules = following.rights().rules();
        let grants = rules.files(following.user());
        let path = link.as_os_str().as_bytes();
        let (source, _) = following.root().open_tree_source(grants, path)?;
        Ok(source)
    });
    let summaries = Summaries::over(channel, &options);
    let (connection, ends) = bodies(true);
    let worker = Worker::Server(context, "files get-tree");
    let work = worker.run(move |leave| {
        let walk = Walk::new(sources, options).following(follow);
        let (progress, events) = (Arc::default(), TreeEvents::default());
        let compare = options.compare;
        TreeSender::new(walk, ends, leave.clone(), progress, events, compare)
            .compressing(Compression::requested(get.compress))
            .dry(options.dry_run)
            .summing(summaries)
            .reading_selection(get.selection)
            .run()
    });
    let summary = tokio::select! {
        biased;
        never = context.terminate_on_revocation(&mut rules, "read this tree", still) => {
            match never {}
        }
        done = run_exchange(channel, connection, &TREE, work, |_: Tree| ()) => done?,
    };
    // Not durable: the client has the content already.
    context.note(|user, session| copied(user, session, Direction::Get, path, &summary));
    Ok(())
}

/// Checks that a sync does not remove from the user's home, or from that of the account that
/// serves.
fn check_homes(
    context: &ServiceContext,
    rules: &Rights,
    target: &TreeTarget,
    sync: Option<SyncOptions>,
) -> Result<(), Error> {
    let user = context.user();
    let home = rules.locate(user, b"~").ok().and_then(|home| {
        let opened = context.root().open_tree_source(rules.files(user), &home);
        opened.ok()
    });
    if let Some((
        TreeSource {
            origin: TreeOrigin::Folder(home, _),
            ..
        },
        _,
    )) = home
    {
        check_not_home(target, &home, sync)?;
    }
    let home = context.root().home();
    let home = home.map_err(|error| Error::io(target.shown.display(), &error))?;
    check_not_home(target, &home, sync)
}

fn check_sources(get: &GetTree) -> Result<(), Error> {
    if get.paths.is_empty() || get.paths.len() > SOURCES_MAX {
        let message = format!("get-tree names 1 to {SOURCES_MAX} paths");
        return Err(ProtocolError::BadHeader(message).into());
    }
    Ok(())
}

/// The activity of a copy that is complete.
fn copied(
    user: landline_proto::login::UserName,
    session: String,
    direction: Direction,
    path: Vec<u8>,
    summary: &TreeSummary,
) -> Activity {
    Activity::Tree {
        user,
        session,
        direction,
        path: Name(path),
        entries: summary.entries,
        files: summary.files,
        bytes: summary.bytes,
        removed: summary.removed,
        failures: summary.failures,
        digest: summary.digest_text(),
    }
}
