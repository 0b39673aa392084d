//! `landline cp -r`: copies of trees.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use landline::{
    Client, ClientSession, Error, Side,
    files::{
        messages::{Compare, SERVICE},
        tree::{
            EntryFailure, GetTree, Placement, StoreOptions, TreeEvents, TreeProgress, TreeSummary,
            WalkOptions, check_place,
            client::{
                EarlierTree, Resolved, TreeReport, get_tree, put_tree, put_tree_request, source_key,
            },
            relay::{RelayServer, relay_source_key, relay_tree},
        },
    },
    login::FirstRequest,
    net::{Channel, Location, RateLimiter, Target},
    paths::{TreePlace, TreeSource, local},
    proto::{Message, Name},
};
use log::debug;
use serde_json::json;

use super::{
    WAIT_MAX, WAIT_MIN, delta::DeltaOption, is_session_limit, make_label, progress::ProgressView,
};
use crate::{
    arguments::{Access, TypedLocation},
    connect::{self, is_transient},
    context::Context,
    failure::Failure,
    terminal::{bytes, shown_line},
};

/// How many failures are printed one by one.
const FAILURES_MAX: u32 = 100;

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
    /// Whether folders are copied; otherwise they are refused.
    pub(in crate::commands) takes_folders: bool,
    /// Whether content that shrinks is compressed.
    pub(in crate::commands) compress: bool,
    pub(in crate::commands) quiet: bool,
    /// How long a lost connection is made again.
    pub(in crate::commands) retry: Duration,
    pub(in crate::commands) rate_limiter: Option<Arc<RateLimiter>>,
}

/// The two ends of a copy.
enum Ends {
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

/// A copy whose server was found.
struct PlannedTree<'a> {
    copy: &'a TreeCopy,
    /// With what files are compared.
    compare: Compare,
    context: &'a Context,
    client: Client,
    session: ClientSession,
    /// The server as the user named it.
    target: Target,
    /// The session with the source of a copy between two servers.
    source: Option<ClientSession>,
    ends: Ends,
    was_connected: bool,
    failures: Arc<Mutex<Vec<EntryFailure>>>,
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
        let (target, ends) = self.plan()?;
        let client = context.client()?;
        let (server, credential) = connect::find_server(context, &client, &target, access).await?;
        let source = match &ends {
            Ends::Between { source, .. } => {
                let found = connect::find_server(context, &client, source, access).await?;
                Some(ClientSession::new(found.0, found.1))
            }
            Ends::Upload { .. } | Ends::Download { .. } => None,
        };
        let compare = self.delta.compare(&server, u64::MAX);
        // The content of a copy between two servers counts once.
        let mut session = ClientSession::new(server, credential);
        if let Some(rate_limiter) = &self.rate_limiter {
            session.set_rate_limiter(rate_limiter.clone());
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
        };
        let stop = stop()?;
        let progress = Arc::new(TreeProgress::default());
        let done = tokio::select! {
            done = planned.copy_all(view, &progress) => Some(done),
            () = stop => None,
        };
        done.unwrap_or_else(|| Err(Failure::stopped(progress.bytes() > 0)))
    }

    /// Finds the two ends.
    fn plan(&self) -> Result<(Target, Ends), Failure> {
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
        match &destination.location {
            Location::Remote { target, path } if is_remote(sources) => {
                let (source, paths) = remote_sources(sources)?;
                let ends = Ends::Between {
                    source,
                    request: self.get_tree(paths),
                    path: remote_name(path),
                    placement,
                };
                Ok((target.clone(), ends))
            }
            Location::Remote { target, path } => {
                let path = remote_name(path);
                let sources = self.local_sources(sources)?;
                Ok((
                    target.clone(),
                    Ends::Upload {
                        sources,
                        path,
                        placement,
                    },
                ))
            }
            Location::Local(folder) => {
                let (server, paths) = remote_sources(sources)?;
                let request = self.get_tree(paths);
                let exact = placement == Placement::Exact;
                // Fail before connecting if nothing can be written there.
                let opened = local::open_tree_target(folder, exact).map_err(Error::from)?;
                check_place(&opened, placement)?;
                Ok((
                    server,
                    Ends::Download {
                        request,
                        target: folder.clone(),
                        placement,
                    },
                ))
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
        }
    }

    fn local_sources(&self, sources: &[TypedLocation]) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        let mut names = std::collections::HashSet::new();
        for source in sources {
            let path = match &source.location {
                Location::Local(path) => path.clone(),
                Location::Remote { .. } => {
                    return Err(Failure::usage(
                        "some of the sources are on a server; copy them on their own",
                    ));
                }
                Location::Stream => {
                    return Err(Failure::usage("- is a single file; copy it on its own"));
                }
            };
            let opened = local::open_tree_source(&path).map_err(Error::from)?;
            if !self.takes_folders && local::is_folder(&path) {
                return Err(super::habits::folder_failure(&path));
            }
            if !names.insert(opened.name) {
                let what = format!("{}: two sources have this name", source.text);
                return Err(Failure::usage(what).with_advice("copy one of them on its own"));
            }
            paths.push(path);
        }
        Ok(paths)
    }
}

/// Whether a path means the content of a folder: it ends in a component `.`, or is the home.
fn is_content(text: &str) -> bool {
    text == "."
        || text.ends_with(":~")
        || text.ends_with(":~/")
        || text.ends_with(":/")
        || text.ends_with("/.")
        || text.ends_with(':')
        || text.ends_with(":.")
}

/// Whether all sources are on servers.
pub(super) fn is_remote(sources: &[TypedLocation]) -> bool {
    let is_remote = |path: &TypedLocation| matches!(path.location, Location::Remote { .. });
    sources.iter().all(is_remote)
}

fn remote_sources(sources: &[TypedLocation]) -> Result<(Target, Vec<Name>), Failure> {
    let mut found: Option<Target> = None;
    let mut names = Vec::new();
    for source in sources {
        let Location::Remote { target, path } = &source.location else {
            return Err(Failure::usage(
                "neither side is remote; one must be host:path",
            ));
        };
        if found.as_ref().is_some_and(|other| other != target) {
            return Err(Failure::usage(
                "the sources are on several servers; copy from one at a time",
            ));
        }
        found = Some(target.clone());
        names.push(remote_name(path));
    }
    match found {
        Some(target) => Ok((target, names)),
        None => Err(Failure::usage("give a source and a destination")),
    }
}

/// The path to send to the server, without the `.` that asks for the content.
fn remote_name(path: &[u8]) -> Name {
    Name(match path {
        b"" | b"." => b".".to_vec(),
        b"/." => b"/".to_vec(),
        [path @ .., b'/', b'.'] => path.to_vec(),
        path => path.to_vec(),
    })
}

impl PlannedTree<'_> {
    /// Retries until the copy is done, cannot be done, or `--retry` has passed without progress.
    async fn copy_all(
        &mut self,
        view: &ProgressView,
        progress: &Arc<TreeProgress>,
    ) -> Result<(), Failure> {
        let mut shown = view.of_copy(&make_label(&self.label()));
        let start = Instant::now();
        let mut lost_since: Option<Instant> = None;
        let mut wait = WAIT_MIN;
        loop {
            let moved_before = progress.bytes();
            let was_connected = self.was_connected;
            progress.begin_attempt();
            let attempt = self.attempt(progress);
            let error = match shown.follow(&**progress, attempt).await {
                Ok((summary, place)) => {
                    return self.report(view, &summary, &place, start.elapsed());
                }
                Err(error) => error,
            };
            let has_moved = progress.bytes() > moved_before;
            if has_moved {
                lost_since = None;
                wait = WAIT_MIN;
            }
            let may_pass =
                has_moved || was_connected || lost_since.is_some() || is_session_limit(&error);
            let since = *lost_since.get_or_insert_with(Instant::now);
            if !(may_pass && is_transient(&error)) || since.elapsed() + wait > self.copy.retry {
                let is_lost = self.was_connected && is_transient(&error);
                let failure = Failure::from(error);
                self.print_failures(view);
                return Err(if is_lost {
                    failure.with_advice("run the same command again to resume")
                } else if failure.code == "not-a-file" && !self.copy.takes_folders {
                    failure.with_advice("if it is a folder, add -r to copy it with all in it")
                } else {
                    failure
                });
            }
            // The next attempt reports them again.
            self.failures().clear();
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

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<EntryFailure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects and copies once.
    async fn attempt(
        &mut self,
        progress: &Arc<TreeProgress>,
    ) -> Result<(TreeSummary, String), Error> {
        let failures = self.failures.clone();
        let report = TreeReport {
            progress: progress.clone(),
            events: TreeEvents::new(move |failure| {
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failures.len() < FAILURES_MAX as usize {
                    failures.push(failure);
                }
            }),
        };
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
                let store = self.store();
                let request = put_tree_request(path.clone(), *placement, source, store);
                let target = self.target.clone();
                let compress = self.copy.compress;
                let walk = WalkOptions {
                    compare: self.compare,
                    ..self.copy.walk
                };
                let mut channel = self.request(&request).await?;
                let mut resolved = Resolved::default();
                let done =
                    put_tree(&mut channel, opened, walk, compress, report, &mut resolved).await;
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
                let shown = target.shown.display().to_string();
                let resolved = match target.place {
                    TreePlace::Into(_) => Placement::Into,
                    TreePlace::As(..) | TreePlace::Content(_) => Placement::Exact,
                };
                let request = GetTree {
                    compare: self.compare,
                    ..request.clone()
                };
                let server = self.session.server().fingerprint;
                // A read-only or full state folder prevents a resume, and not the copy.
                let earlier = self
                    .client
                    .manifests()
                    .and_then(|manifests| EarlierTree::find(&manifests, &server, &request, &target))
                    .unwrap_or_else(|error| {
                        debug!("the copy cannot be resumed: {error}");
                        EarlierTree::default()
                    });
                let store = self.store();
                let mut channel = self.request(&request).await?;
                self.keep_placement(Some(resolved));
                let done = get_tree(&mut channel, &request, target, earlier, store, report).await;
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

    /// Connects to both servers and copies once from `source` to the other one.
    async fn attempt_between(
        &mut self,
        source: Target,
        request: GetTree,
        path: Name,
        placement: Placement,
        report: TreeReport,
    ) -> Result<(TreeSummary, String), Error> {
        let session = self.source.as_ref().unwrap_or(&self.session);
        let key = relay_source_key(&session.server().fingerprint, &request);
        let put = put_tree_request(path, placement, key, self.copy.store);
        let target = self.target.clone();
        let first = FirstRequest::new(SERVICE, &request)?;
        let mut from = session.open_channel(&first).await?.login.channel;
        let mut to = self.request(&put).await?;
        let mut resolved = Resolved::default();
        let relayed = relay_tree(&mut from, &mut to, &request, report, &mut resolved).await;
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

    /// Keeps how the destination was meant: at the next attempt it may exist.
    fn keep_placement(&mut self, resolved: Option<Placement>) {
        let (Ends::Upload { placement, .. }
        | Ends::Download { placement, .. }
        | Ends::Between { placement, .. }) = &mut self.ends;
        if let Some(resolved) = resolved {
            *placement = resolved;
        }
    }

    fn store(&self) -> StoreOptions {
        StoreOptions {
            compare: self.compare,
            ..self.copy.store
        }
    }

    async fn request(&mut self, request: &impl Message) -> Result<Channel, Error> {
        let first = FirstRequest::new(SERVICE, request)?;
        let connected = self.session.open_channel(&first).await?;
        self.was_connected = true;
        Ok(connected.login.channel)
    }

    /// Prints what was not copied.
    fn print_failures(&self, view: &ProgressView) {
        for failure in self.failures().drain(..) {
            let code = failure.code.as_str();
            view.print_event(&json!({
                "event": "failed", "code": code, "message": failure.message,
            }));
            if !self.context.json {
                view.print_error(&shown_line(&format!("landline: {}", failure.message)));
            }
        }
    }

    fn report(
        &self,
        view: &ProgressView,
        summary: &TreeSummary,
        place: &str,
        time: Duration,
    ) -> Result<(), Failure> {
        let digest = summary.digest_text();
        self.print_failures(view);
        view.print_event(&json!({
            "event": "done", "digest": digest, "path": place, "entries": summary.entries,
            "files": summary.files, "others": summary.others, "failures": summary.failures,
            "bytes": summary.bytes, "seconds": time.as_secs_f64(),
        }));
        if !self.context.json && !self.copy.quiet {
            let line = format!("{digest}  {}", shown_line(place));
            view.print_result(&self.context.out, &line);
        }
        let seconds = time.as_secs_f64();
        view.remark(&format!(
            "{} of {} entries, {}, copied and verified in {seconds:.1} s",
            summary.files,
            summary.entries,
            bytes(summary.bytes),
        ));
        match summary.failures {
            0 => Ok(()),
            count => Err(Failure::new(
                "incomplete",
                format!("{count} entries could not be copied; all others are complete"),
            )),
        }
    }
}

/// Says which of two servers an error is about.
fn name_server(error: Error, server: &Target) -> Error {
    match error {
        Error::Failed {
            side: side @ Side::There,
            code,
            message,
            cause,
        } => Error::Failed {
            side,
            code,
            message: format!("{}: {message}", server.host),
            cause,
        },
        error => error,
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
