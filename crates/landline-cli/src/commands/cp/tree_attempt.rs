//! The attempts at a copy of trees.

use std::{
    ffi::OsString,
    sync::{Arc, Mutex},
    time::Instant,
};

use landline::{
    Client, ClientSession, Error,
    client::Widening,
    files::{
        messages::{Compare, SERVICE},
        tree::{
            EntryFailure, GetTree, Placement, StoreOptions, TreeProgress, TreeSummary, WalkOptions,
            check_place,
            client::{
                EarlierTree, Resolved, TreeDestination, TreeReport, get_tree, put_tree,
                put_tree_request, source_key,
            },
            relay::{RelayServer, relay_source_key, relay_tree},
        },
    },
    login::FirstRequest,
    net::{Channel, Location, Target},
    paths::{TreePlace, TreeSource, TreeTarget, local},
    proto::{Message, Name},
};
use log::debug;
use serde_json::json;

use super::{
    WAIT_MAX, WAIT_MIN,
    changes::ChangeLines,
    habits::{FOLDER_ADVICE, is_of_folder},
    is_session_limit, make_label,
    parallel::widen_during,
    progress::ProgressView,
    tree::{Ends, TreeCopy},
    tree_report::{EndedCopy, lock, name_server},
};
use crate::{connect::is_transient, context::Context, failure::Failure};

/// A copy whose server was found.
pub(super) struct PlannedTree<'a> {
    pub(super) copy: &'a TreeCopy,
    pub(super) context: &'a Context,
    pub(super) client: Client,
    pub(super) session: ClientSession,
    /// The server as the user named it.
    pub(super) target: Target,
    /// The session with the source of a copy between two servers.
    pub(super) source: Option<ClientSession>,
    pub(super) ends: Ends,
    /// With what files are compared.
    pub(super) compare: Compare,
    pub(super) was_connected: bool,
    pub(super) failures: Arc<Mutex<Vec<EntryFailure>>>,
    /// What people read about files that grew while they were read.
    pub(super) grown: Arc<Mutex<Vec<String>>>,
    pub(super) changes: Arc<ChangeLines>,
}

impl PlannedTree<'_> {
    /// Retries until the copy is done, cannot be done, or `--retry` has passed without progress.
    pub(super) async fn copy_all(
        &mut self,
        view: &ProgressView,
        progress: &Arc<TreeProgress>,
    ) -> Result<(), Failure> {
        let mut shown = view.of_copy(&make_label(&self.label()));
        let start = Instant::now();
        let mut lost_since: Option<Instant> = None;
        let mut wait = WAIT_MIN;
        let mut was_resumed = false;
        loop {
            let moved_before = progress.bytes();
            progress.begin_attempt();
            let attempt = self.attempt(progress);
            let error = match shown.follow(&**progress, attempt).await {
                Ok((summary, place)) => {
                    self.remark_shared(view, progress.shared_files());
                    let ended = EndedCopy {
                        summary,
                        place,
                        moved: progress.bytes(),
                        seconds: start.elapsed().as_secs_f64(),
                        was_resumed,
                    };
                    return self.report(view, &ended);
                }
                Err(error) => error,
            };
            let has_moved = progress.bytes() > moved_before;
            if has_moved {
                lost_since = None;
                wait = WAIT_MIN;
            }
            // As for a single file.
            let may_pass =
                has_moved || self.was_connected || lost_since.is_some() || is_session_limit(&error);
            let since = *lost_since.get_or_insert_with(Instant::now);
            if !(may_pass && is_transient(&error)) || since.elapsed() + wait > self.copy.retry {
                let is_lost = self.was_connected && is_transient(&error);
                let is_of_folder = is_of_folder(&error);
                let failure = Failure::from(error);
                self.print_failures(view, 0);
                return Err(if is_lost {
                    failure.with_advice("run the same command again to resume")
                } else if is_of_folder && !self.copy.takes_folders {
                    failure.with_advice(FOLDER_ADVICE)
                } else if failure.code == "no-space" {
                    super::explain_kept(failure)
                } else {
                    failure
                });
            }
            was_resumed = true;
            // The next attempt reports them again.
            self.failures().clear();
            lock(&self.grown).clear();
            view.remark(&format!("{error}; trying again"));
            view.print_event(&json!({"event": "reconnecting", "message": error.to_string()}));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn label(&self) -> String {
        self.copy
            .paths
            .first()
            .map(|path| path.text.clone())
            .unwrap_or_default()
    }

    /// Connects and copies once.
    async fn attempt(
        &mut self,
        progress: &Arc<TreeProgress>,
    ) -> Result<(TreeSummary, String), Error> {
        let selection = self.copy.selection.clone();
        let backup = self.copy.backup.as_ref();
        let report = self.tree_report(progress);
        match &self.ends {
            Ends::Upload {
                sources,
                path,
                placement,
            } => {
                let opened: Vec<TreeSource> = sources
                    .iter()
                    .map(|path| local::open_tree_source(path))
                    .collect::<Result<_, _>>()?;
                let source = source_key(sources);
                let (store, backup) = (self.store(), self.backup_name());
                let request =
                    put_tree_request(path.clone(), *placement, source, store, &selection, backup);
                let target = self.target.clone();
                let compress = self.copy.compress;
                let walk = WalkOptions {
                    compare: self.compare,
                    ..self.copy.walk
                };
                let (mut channel, widening) = self.request(&request).await?;
                let mut resolved = Resolved::default();
                let work = put_tree(
                    &mut channel,
                    opened,
                    walk,
                    compress,
                    selection,
                    report,
                    &mut resolved,
                );
                let done = widen_during(&self.session, widening, &**progress, work).await;
                self.keep_placement(resolved.placement);
                let summary = close(channel, done).await?;
                let place = Location::Remote {
                    target,
                    path: resolved.path.unwrap_or_else(|| request.path.clone()).0,
                };
                Ok((summary, place.to_string()))
            }
            Ends::Download {
                request,
                target,
                placement,
            } => {
                let exact = *placement == Placement::Exact;
                let target = local::open_tree_target(target, exact)?;
                check_place(&target, *placement)?;
                let open = |folder: &OsString| local::open_tree_target(folder.as_ref(), true);
                let backup = backup.map(open).transpose()?;
                let shown = target.shown.display().to_string();
                let resolved = match target.place {
                    TreePlace::Into(_) => Placement::Into,
                    TreePlace::As(..) | TreePlace::Content(_) => Placement::Exact,
                };
                let request = GetTree {
                    compare: self.compare,
                    ..request.clone()
                };
                let store = self.store();
                let earlier = if store.dry_run {
                    EarlierTree::default()
                } else {
                    self.find_earlier(&request, &target)
                };
                let destination = TreeDestination {
                    target,
                    earlier,
                    backup,
                };
                let (mut channel, widening) = self.request(&request).await?;
                self.keep_placement(Some(resolved));
                let work = get_tree(
                    &mut channel,
                    &request,
                    destination,
                    store,
                    selection,
                    report,
                );
                let done = widen_during(&self.session, widening, &**progress, work).await;
                Ok((close(channel, done).await?, shown))
            }
            Ends::Between {
                source,
                request,
                path,
                placement,
            } => {
                let (source, request) = (source.clone(), request.clone());
                let (path, placement) = (path.clone(), *placement);
                self.attempt_between(source, request, path, placement, report)
                    .await
            }
        }
    }

    /// What an earlier attempt left. A read-only or full state folder prevents a resume, and not
    /// the copy.
    fn find_earlier(&self, request: &GetTree, target: &TreeTarget) -> EarlierTree {
        let server = self.session.server().fingerprint;
        let find = |manifests| EarlierTree::find(&manifests, &server, request, target);
        let found = self.client.manifests().and_then(find);
        found.unwrap_or_else(|error| {
            debug!("the copy cannot be resumed: {error}");
            EarlierTree::default()
        })
    }

    /// Connects to both servers and copies once from `source` to the other one.
    async fn attempt_between(
        &mut self,
        source: Target,
        request: GetTree,
        path: Name,
        placement: Placement,
        report: TreeReport,
    ) -> Result<(TreeSummary, String), Error> {
        let progress = report.progress.clone();
        let session = self.source.as_ref().unwrap_or(&self.session);
        let key = relay_source_key(&session.server().fingerprint, &request);
        // A server learns from the digests what the other one has, so only if they are asked for.
        let compare = if self.copy.store.checksum {
            Compare::Earlier
        } else {
            Compare::Nothing
        };
        let request = GetTree { compare, ..request };
        let store = StoreOptions {
            compare,
            ..self.copy.store
        };
        let selection = &self.copy.selection;
        let put = put_tree_request(path, placement, key, store, selection, self.backup_name());
        let target = self.target.clone();
        let first = FirstRequest::new(SERVICE, &request)?;
        let (mut from, from_widening) = session.open_wide_channel(&first).await?;
        let (mut to, to_widening) = self.request(&put).await?;
        let mut resolved = Resolved::default();
        let selection = &self.copy.selection;
        let work = relay_tree(
            &mut from,
            &mut to,
            &request,
            selection,
            report,
            &mut resolved,
        );
        let work = widen_during(&self.session, to_widening, &*progress, work);
        let session = self.source.as_ref().unwrap_or(&self.session);
        let relayed = widen_during(session, from_widening, &*progress, work).await;
        self.keep_placement(resolved.placement);
        let done = relayed.map_err(|(end, error)| match end {
            RelayServer::Source => name_server(error, &source),
            RelayServer::Destination => name_server(error, &target),
        });
        let done = close(to, done).await;
        let summary = close(from, done).await?;
        let place = Location::Remote {
            target,
            path: resolved.path.unwrap_or(put.path).0,
        };
        Ok((summary, place.to_string()))
    }

    /// The folder for what is replaced or removed, as a server gets it.
    fn backup_name(&self) -> Option<Name> {
        let backup = self.copy.backup.as_ref();
        backup.map(|folder| Name(folder.as_encoded_bytes().to_vec()))
    }

    pub(super) fn store(&self) -> StoreOptions {
        StoreOptions {
            compare: self.compare,
            changes: self.copy.store.changes && !self.copy.quiet,
            // A file that is named gets the content of the source, whatever its time is.
            checksum: self.copy.store.checksum || !self.copy.takes_folders,
            ..self.copy.store
        }
    }

    /// Keeps how the destination was meant: at the next attempt it may exist.
    fn keep_placement(&mut self, resolved: Option<Placement>) {
        let (Ends::Upload { placement, .. }
        | Ends::Download { placement, .. }
        | Ends::Between { placement, .. }) = &mut self.ends;
        if let Some(resolved) = resolved {
            *placement = resolved;
        }
    }

    async fn request(
        &mut self,
        request: &impl Message,
    ) -> Result<(Channel, Option<Widening>), Error> {
        let first = FirstRequest::new(SERVICE, request)?;
        let opened = self.session.open_wide_channel(&first).await?;
        self.was_connected = true;
        Ok(opened)
    }
}

/// Closes the channel. If the copy failed on this side, tells the peer why.
async fn close<T>(channel: Channel, done: Result<T, Error>) -> Result<T, Error> {
    match &done {
        Ok(_) => channel.finish().await,
        Err(error) => match error.to_peer() {
            Some(reason) => channel.fail(&reason).await,
            None if matches!(error, Error::Lost(_)) => drop(channel),
            None => channel.finish().await,
        },
    }
    done
}
