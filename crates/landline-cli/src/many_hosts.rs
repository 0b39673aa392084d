//! What commands on many hosts share: the set of hosts, the work on each, and the summary.

use std::{collections::BTreeMap, path::Path};

use landline::{
    exec::CommandControl,
    net::{HostSet, Target},
    paths::local,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    client_settings::ClientSettings,
    context::{Context, ExitStatus},
    failure::Failure,
    signals::{self, SignalUse},
};

/// On how many hosts work is done at a time by default.
pub(crate) const JOBS: usize = 32;
/// The longest file of hosts.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads sets of hosts such as `nas,web[1-20],@db`, and those in a file. Each host comes once.
///
/// # Errors
/// A set or a group is malformed, the file cannot be read, or there is no host.
pub(crate) fn read_hosts(
    context: &Context,
    texts: &[String],
    file: Option<&Path>,
) -> Result<Vec<(String, Target)>, Failure> {
    let groups = ClientSettings::read(&context.environment)?.groups;
    let mut set = HostSet::default();
    for text in texts {
        set.add(text, &groups)?;
    }
    if let Some(path) = file {
        let shown = path.display();
        let bytes = local::read(path, FILE_BYTES_MAX)
            .map_err(|error| landline::Error::io(&shown, &error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{shown} is not UTF-8")))?;
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                set.add(line, &groups)?;
            }
        }
    }
    let hosts = set.into_hosts();
    if hosts.is_empty() {
        return Err(Failure::usage("the set of hosts is empty"));
    }
    Ok(hosts)
}

/// What became of the work on a host.
pub(crate) enum Outcome {
    /// It ended with this status, or did not start.
    Ended(u8),
    /// The host was not reached, or the output was lost.
    WithoutStatus,
    /// A signal stopped this process first.
    Stopped,
}

/// Becomes the name of the signal that stops this process.
pub(crate) type Stopped = watch::Receiver<Option<String>>;

/// Does the work on all hosts, on `jobs` of them at a time. Must be called within a
/// [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// Signals cannot be received, or the work panicked. A host that fails is no error here.
pub(crate) async fn run_all<F: Future<Output = Outcome> + 'static>(
    hosts: Vec<(String, Target)>,
    jobs: usize,
    work: impl Fn(String, Target, Stopped) -> F,
) -> Result<Summary, Failure> {
    let (control, mut orders) = mpsc::channel(16);
    signals::forward(control, SignalUse::Pass, false)?;
    let (stop, stopped) = watch::channel(None);
    let mut summary = Summary::new(hosts.len());
    let mut waiting = hosts.into_iter();
    let mut running = JoinSet::new();
    loop {
        while stop.borrow().is_none() && running.len() < jobs {
            let Some((name, target)) = waiting.next() else {
                break;
            };
            let working = work(name.clone(), target, stopped.clone());
            running.spawn_local(async move { (name, working.await) });
        }
        tokio::select! {
            done = running.join_next() => match done {
                None => break,
                Some(Ok((name, outcome))) => summary.add(name, outcome),
                Some(Err(error)) => return Err(Failure::local(error.to_string())),
            },
            Some(CommandControl::Signal(signal)) = orders.recv() => {
                summary.is_stopped = true;
                stop.send_replace(Some(signal));
            }
        }
    }
    Ok(summary)
}

/// How the work ended, by host.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) hosts: usize,
    /// The hosts of each status but 0.
    failed: BTreeMap<u8, Vec<String>>,
    without_status: Vec<String>,
    pub(crate) succeeded: usize,
    is_stopped: bool,
}

impl Summary {
    fn new(hosts: usize) -> Self {
        Self {
            hosts,
            failed: BTreeMap::new(),
            without_status: Vec::new(),
            succeeded: 0,
            is_stopped: false,
        }
    }

    fn add(&mut self, name: String, outcome: Outcome) {
        match outcome {
            Outcome::Ended(0) => self.succeeded += 1,
            Outcome::Ended(status) => self.failed.entry(status).or_default().push(name),
            Outcome::WithoutStatus => self.without_status.push(name),
            Outcome::Stopped => {}
        }
    }

    /// The summary in one line.
    pub(crate) fn text(&self) -> String {
        let mut parts = vec![format!("{} ok", self.succeeded)];
        for (status, names) in &self.failed {
            parts.push(format!("status {status}: {}", names.join(", ")));
        }
        if !self.without_status.is_empty() {
            parts.push(format!("failed: {}", self.without_status.join(", ")));
        }
        let failed: usize = self.failed.values().map(Vec::len).sum();
        let rest = self.hosts - self.succeeded - failed - self.without_status.len();
        if rest > 0 {
            parts.push(format!("{rest} stopped"));
        }
        let hosts = if self.hosts == 1 { "host" } else { "hosts" };
        format!("{} {hosts}: {}", self.hosts, parts.join("; "))
    }

    /// The highest status; that of a signal if one stopped this process. `without_status` is for
    /// hosts that gave none.
    pub(crate) fn status(&self, without_status: u8) -> ExitStatus {
        let highest = self.failed.keys().last().copied().unwrap_or(0);
        match (self.is_stopped, self.without_status.is_empty()) {
            (true, _) => ExitStatus(Failure::interrupted().status),
            (false, false) => ExitStatus(without_status),
            (false, true) => ExitStatus(highest),
        }
    }
}
