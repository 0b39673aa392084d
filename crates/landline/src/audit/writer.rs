//! The thread that writes the log: what comes while it syncs is written and synced together.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{Entry, crowd::Crowd, entry::Need, line::Tip, log::Log};

/// How long a line that need not be durable at once may wait for others to be synced with.
const SYNC_DELAY: Duration = Duration::from_millis(100);
/// How long to wait with a sync after one that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How many entries are written at once at most.
const BATCH: usize = 1024;

/// Told once whether an entry is as safe as it has to be.
pub(super) type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

/// What the thread is asked for.
pub(super) enum Request {
    /// Write this; nobody waits for it without an answer.
    Write(Entry, Option<Answer>),
    /// Write what was counted, and make everything durable.
    Flush(Answer),
}

/// Writes until nobody is left who could ask for it.
pub(super) fn run(log: Log, requests: &Receiver<Request>, overflow: &Mutex<Crowd>) {
    let mut writer = Writer {
        log,
        crowd: Crowd::default(),
        sync_at: None,
    };
    loop {
        let due = [writer.sync_at, writer.crowd.deadline()]
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
                Request::Write(entry, answer) => entries.push((entry, answer)),
                Request::Flush(answer) => flushes.push(answer),
            }
        }
        let is_flush = is_over || !flushes.is_empty();
        writer.write(entries);
        writer
            .crowd
            .take(&mut overflow.lock().unwrap_or_else(PoisonError::into_inner));
        let flushed = writer.rest(is_flush);
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
    crowd: Crowd,
    /// When lines that need not be durable at once are to be.
    sync_at: Option<Instant>,
}

impl Writer {
    /// Writes what came, all of it or nothing, and tells those who wait.
    fn write(&mut self, asked: Vec<(Entry, Option<Answer>)>) {
        let now = Instant::now();
        let mut entries = Vec::with_capacity(asked.len());
        let mut waiting = Vec::with_capacity(asked.len());
        for (entry, answer) in asked {
            let kind = entry.kind();
            if entry.is_cheap() && !self.crowd.admits(kind.clone(), now) {
                if let Some(answer) = answer {
                    answer(Ok(()));
                }
                continue;
            }
            entries.push(entry);
            waiting.push((kind, answer));
        }
        let done = append(&mut self.log, &entries);
        for (kind, answer) in waiting {
            match answer {
                Some(answer) => answer(done.clone()),
                // Nobody waits, so it has happened: it is at least counted.
                None if done.is_err() => self.crowd.add(kind, 1, now),
                None => {}
            }
        }
    }

    /// Does what is due besides.
    fn rest(&mut self, is_flush: bool) -> Result<(), String> {
        let now = Instant::now();
        let mut done = Ok(());
        if is_flush
            || self
                .crowd
                .deadline()
                .is_some_and(|deadline| deadline <= now)
        {
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
        done
    }

    /// Writes what was counted. What cannot be written goes on being counted.
    fn write_counts(&mut self) -> Result<(), String> {
        let (kinds, entries): (Vec<_>, Vec<_>) = self.crowd.end().into_iter().unzip();
        let done = append(&mut self.log, &entries);
        if done.is_err() {
            let now = Instant::now();
            for (kind, count) in kinds {
                self.crowd.add(kind, count, now);
            }
        }
        done
    }
}

/// Appends entries, all of them or none.
fn append(log: &mut Log, entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Ok(());
    }
    let durable = entries.iter().any(|entry| entry.need() == Need::Durable);
    let build = |mut tip: Tip| {
        let mut lines = String::new();
        for entry in entries {
            let line;
            (line, tip) = tip.line(SystemTime::now(), entry);
            lines.push_str(&line);
            lines.push('\n');
        }
        (lines, tip)
    };
    log.append(durable, build)
        .map_err(|error| error.to_string())
}
