//! Ends sessions whose account, key, secret or password is not good any more.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;

use crate::{
    Error, Event, EventSink,
    session::{Entered, Sessions, Threads, Validity, validity},
    store::Store,
};

/// The longest time to sleep until a key expires: the clock may be set meanwhile.
const CLOCK_TIME: Duration = Duration::from_secs(10);
/// The time until the next attempt after one that failed.
const RETRY_TIME: Duration = Duration::from_millis(250);
/// A failure is reported once it has happened this many times in a row.
const FAILURES_REPORTED: u32 = 4;
/// How many new connections are examined together.
const ENTRIES_MAX: usize = 256;

/// Ends the sessions of accounts and keys that were removed, disabled or given other options, or
/// that have expired. Never returns.
///
/// All sessions are examined when the store has changed and when a key expires. A new connection is
/// examined by itself: its login may have been decided just before a change, and its session
/// entered just after the others were examined. What keeps the server from that for a second is
/// reported, and retried.
pub(super) async fn watch(
    store: Arc<Store>,
    sessions: Sessions,
    threads: Threads,
    events: EventSink,
) {
    let mut changes = store.subscribe();
    let mut entries = sessions.subscribe();
    let mut expiry: Option<i64> = None;
    let mut failures = 0;
    let mut due = Due::All;
    loop {
        let examiner = Examiner {
            store: store.clone(),
            sessions: sessions.clone(),
        };
        let is_all = matches!(due, Due::All);
        match threads.run(move || examiner.examine(due)).await {
            Ok(found) => {
                failures = 0;
                expiry = if is_all {
                    found
                } else {
                    earliest(expiry, found)
                };
                due = next(&mut changes, &mut entries, expiry).await;
            }
            Err(error) => {
                failures += 1;
                if failures == FAILURES_REPORTED {
                    let message = error.to_string();
                    events(Event::RevocationFailed { message });
                }
                tokio::time::sleep(RETRY_TIME).await;
                changes.mark_unchanged();
                due = Due::All;
            }
        }
    }
}

/// What is to be examined.
enum Due {
    /// All live sessions.
    All,
    /// Connections that were entered.
    New(Vec<Entered>),
}

/// Waits until something is to be examined.
async fn next(
    changes: &mut tokio::sync::watch::Receiver<()>,
    entries: &mut mpsc::UnboundedReceiver<Entered>,
    expiry: Option<i64>,
) -> Due {
    let mut new = Vec::new();
    tokio::select! {
        biased;
        // The store lives as long as this.
        Ok(()) = changes.changed() => Due::All,
        () = expired(expiry) => Due::All,
        1.. = entries.recv_many(&mut new, ENTRIES_MAX) => Due::New(new),
    }
}

/// Returns at this moment, in seconds since 1970.
async fn expired(moment: Option<i64>) {
    let Some(moment) = moment else {
        return pending().await;
    };
    let moment = UNIX_EPOCH + Duration::from_secs(moment.max(0).cast_unsigned());
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(CLOCK_TIME)).await;
    }
}

fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

struct Examiner {
    store: Arc<Store>,
    sessions: Sessions,
}

impl Examiner {
    /// Ends sessions that could not be logged in any more. Returns when the first key of the others
    /// expires. Blocking.
    fn examine(&self, due: Due) -> Result<Option<i64>, Error> {
        let logins = match due {
            Due::All => self.sessions.logins(),
            Due::New(entered) => entered
                .into_iter()
                .map(|Entered { session, peer }| (session, vec![peer]))
                .collect(),
        };
        let mut expiry = None;
        for (session, peers) in &logins {
            match validity(&self.store, session, peers)? {
                Validity::Valid { until } => expiry = earliest(expiry, until),
                Validity::Revoked(reason) => drop(self.sessions.end(&reason, &session.id)),
            }
        }
        Ok(expiry)
    }
}
