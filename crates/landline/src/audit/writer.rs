//! The thread that writes the log. Requests that arrive during a sync are written and synced
//! together.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::broadcast;

use super::{
    Priority,
    aggregate::{self, Aggregator, Kind},
    budget::Budgets,
    line::{encode_line, time_text},
    log::Log,
};
use crate::activity::{Activity, Record};

/// How long a line that need not be durable at once may wait for others to be synced with.
const SYNC_DELAY: Duration = Duration::from_millis(100);
/// How long to wait with a sync after one that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The most requests that are written at once.
const BATCH: usize = 1024;
const SECONDS_PER_DAY: u64 = 86_400;

/// Why an activity is not in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be written.
    Unwritten(String),
    /// The user's budget of the day is used up.
    OverQuota,
}

/// Called once with the outcome.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// A request to the thread.
pub(super) enum Request {
    /// Write this.
    Write(Entry),
    /// Write all counts, and make everything durable.
    Flush(Answer),
}

/// An activity to be written.
pub(super) struct Entry {
    pub(super) activity: Activity,
    pub(super) priority: Priority,
    /// Who waits for it, if anybody does.
    pub(super) answer: Option<Answer>,
}

/// Writes until the last sender of requests is dropped.
pub(super) fn run(
    log: Log,
    requests: &Receiver<Request>,
    overflow: &Mutex<Aggregator>,
    publisher: broadcast::Sender<Arc<Record>>,
    user_day_bytes_max: u64,
) {
    let mut writer = Writer {
        log,
        aggregator: Aggregator::default(),
        budgets: Budgets::new(user_day_bytes_max),
        publisher,
        sync_at: None,
    };
    loop {
        let due = [writer.sync_at, writer.aggregator.deadline()]
            .into_iter()
            .flatten()
            .min();
        let first = match due.map(|due| due.saturating_duration_since(Instant::now())) {
            Some(wait) => requests.recv_timeout(wait),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut entries = Vec::new();
        let mut flushes = Vec::new();
        for request in first.into_iter().chain(requests.try_iter()).take(BATCH) {
            match request {
                Request::Write(entry) => entries.push(entry),
                Request::Flush(answer) => flushes.push(answer),
            }
        }
        let is_flush = is_over || !flushes.is_empty();
        writer.write(entries);
        writer
            .aggregator
            .take(&mut overflow.lock().unwrap_or_else(PoisonError::into_inner));
        let flushed = writer.do_due_work(is_flush);
        for answer in flushes {
            answer(flushed.clone());
        }
        if is_over {
            return;
        }
    }
}

struct Writer {
    log: Log,
    aggregator: Aggregator,
    budgets: Budgets,
    publisher: broadcast::Sender<Arc<Record>>,
    /// When lines that need not be durable at once are synced.
    sync_at: Option<Instant>,
}

impl Writer {
    /// Writes what the limits allow, all of it or nothing, and answers those who wait.
    fn write(&mut self, entries: Vec<Entry>) {
        let now = Instant::now();
        let day = day(SystemTime::now());
        let has_space = self.log.extend_reserve();
        let mut admitted = Vec::with_capacity(entries.len());
        for entry in entries {
            let kind = Kind::of(&entry.activity);
            if aggregate::is_cheap(&entry.activity) && !self.aggregator.admits(kind, now) {
                if let Some(answer) = entry.answer {
                    answer(Ok(()));
                }
                continue;
            }
            let user = entry.activity.user().map(|user| user.as_str());
            if !has_space && entry.priority == Priority::Limited {
                let problem = "the disk is full, and the rest is reserved for admins".to_owned();
                self.refuse(entry, Refusal::Unwritten(problem));
            } else if !self.budgets.admits(user, entry.priority, day) {
                self.refuse(entry, Refusal::OverQuota);
            } else {
                admitted.push(entry);
            }
        }
        let activities = admitted
            .iter()
            .map(|entry| (entry.activity.clone(), entry.priority));
        match self.append(activities.collect()) {
            Ok(()) => {
                for entry in admitted {
                    if let Some(answer) = entry.answer {
                        answer(Ok(()));
                    }
                }
            }
            Err(problem) => {
                for entry in admitted {
                    self.refuse(entry, Refusal::Unwritten(problem.clone()));
                }
            }
        }
        self.cut();
    }

    /// Reports an activity that is not in the log.
    ///
    /// If no caller waits for the answer, the activity has happened, so it is counted and
    /// published.
    fn refuse(&mut self, entry: Entry, refusal: Refusal) {
        if let Some(answer) = entry.answer {
            return answer(Err(refusal));
        }
        self.aggregator
            .add(Kind::of(&entry.activity), 1, Instant::now());
        self.publish(Record {
            seq: None,
            time: time_text(SystemTime::now().into()),
            activity: entry.activity,
        });
    }

    /// Syncs and writes counts when they are due, or now.
    fn do_due_work(&mut self, is_flush: bool) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut done = Ok(());
        let deadline = self.aggregator.deadline();
        if is_flush || deadline.is_some_and(|deadline| deadline <= now) {
            done = self.write_counts();
        }
        if self.log.is_synced() {
            self.sync_at = None;
        } else if is_flush || self.sync_at.is_some_and(|at| at <= now) {
            let synced = self.log.sync();
            self.sync_at = synced.is_err().then(|| now + RETRY_DELAY);
            done = done.and(synced.map_err(|error| error.to_string()));
        } else {
            self.sync_at = self.sync_at.or_else(|| Some(now + SYNC_DELAY));
        }
        done.map_err(Refusal::Unwritten)
    }

    /// Writes the counts. Those that cannot be written are kept.
    fn write_counts(&mut self) -> Result<(), String> {
        let (kinds, activities): (Vec<_>, Vec<_>) = self.aggregator.end().into_iter().unzip();
        let activities = activities.into_iter();
        let written = self.append(activities.map(|it| (it, Priority::Exempt)).collect());
        if written.is_err() {
            let now = Instant::now();
            for (kind, count) in kinds {
                self.aggregator.add(kind, count, now);
            }
        }
        written
    }

    /// Removes the oldest files of a log that is too large, once that is recorded durably. What
    /// fails is tried again with the next lines.
    fn cut(&mut self) {
        let Some(excess) = self.log.excess() else {
            return;
        };
        let cut = Activity::Cut {
            through: excess.through,
            hash: excess.hash.to_string(),
            bytes: excess.bytes,
        };
        if self.append(vec![(cut, Priority::Exempt)]).is_ok() {
            self.log.remove_excess(&excess);
        }
    }

    /// Appends activities, all of them or none, and publishes them.
    fn append(&mut self, activities: Vec<(Activity, Priority)>) -> Result<(), String> {
        if activities.is_empty() {
            return Ok(());
        }
        let durable = activities
            .iter()
            .any(|(activity, _)| durability(activity) == Durability::Disk);
        let mut head = self.log.head();
        let mut lines = String::new();
        let mut records = Vec::with_capacity(activities.len());
        let mut charges = Vec::with_capacity(activities.len());
        for (activity, priority) in activities {
            let time = SystemTime::now();
            let line;
            (line, head) = encode_line(&head, time, &activity);
            lines.push_str(&line);
            lines.push('\n');
            charges.push((activity.user().cloned(), priority, line.len() as u64 + 1));
            records.push(Record {
                seq: Some(head.seq),
                time: time_text(time.into()),
                activity,
            });
        }
        self.log
            .append(lines.as_bytes(), head, durable)
            .map_err(|error| error.to_string())?;
        for (user, priority, bytes) in charges {
            let user = user.as_ref().map(|user| user.as_str());
            self.budgets.charge(user, priority, bytes);
        }
        for record in records {
            self.publish(record);
        }
        Ok(())
    }

    fn publish(&self, record: Record) {
        // Without subscribers it goes nowhere.
        let _ = self.publisher.send(Arc::new(record));
    }
}

/// Where a line has to be before the caller may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// In the file: it survives the end of the process.
    File,
    /// On the disk: it survives a power cut.
    Disk,
}

fn durability(activity: &Activity) -> Durability {
    match activity {
        Activity::Login { .. }
        | Activity::Transfer { .. }
        | Activity::FilesChange { .. }
        | Activity::Tree { .. }
        | Activity::RunStart { .. }
        | Activity::JobSignal { .. }
        | Activity::JobAttach { .. }
        | Activity::JobHandOver { .. }
        | Activity::JobWatch { .. }
        | Activity::JobForget { .. }
        | Activity::ForwardStart { .. }
        | Activity::ForwardListen { .. }
        | Activity::Admin { .. }
        | Activity::RightsChange { .. }
        | Activity::Gap { .. }
        | Activity::Cut { .. } => Durability::Disk,
        _ => Durability::File,
    }
}

/// The day in UTC, counted from 1970.
fn day(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / SECONDS_PER_DAY).cast_signed()
}
