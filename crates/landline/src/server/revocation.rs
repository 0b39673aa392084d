//! Whoever could not log in any more does not stay either.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Error, Event, EventSink,
    session::{Sessions, Threads},
    store::{Revision, Store},
};

/// How often the store is asked whether something has changed, here or by another process.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often all sessions are looked at, for what time alone has changed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// After so many failures in a row it is said: a second, in which another process may just have
/// held the store.
const FAILURES_SAID: u32 = 4;

/// Ends the sessions of accounts and keys that were removed, disabled or given other options, or
/// have expired. What keeps it from that for a second is an event, and it tries again. Never
/// returns; dropping it stops it.
pub(super) async fn watch(
    store: Arc<Store>,
    sessions: Sessions,
    threads: Threads,
    events: EventSink,
) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let anew = || Watch {
        store: store.clone(),
        sessions: sessions.clone(),
        revision: None,
        all_at: Instant::now(),
        examined: BTreeSet::new(),
    };
    let mut watch = anew();
    let mut failures = 0u32;
    loop {
        interval.tick().await;
        let looked = threads.run(move || {
            let looked = watch.look();
            Ok((watch, looked))
        });
        let failure = match looked.await {
            Ok((back, looked)) => {
                watch = back;
                looked.err().map(|error| error.to_string())
            }
            // A mistake of ours must not let anybody stay: all sessions are examined again.
            Err(panic) => {
                watch = anew();
                Some(panic.to_string())
            }
        };
        failures = if failure.is_some() {
            failures.saturating_add(1)
        } else {
            0
        };
        if let Some(message) = failure.filter(|_| failures == FAILURES_SAID) {
            events(Event::RevocationFailed { message });
        }
    }
}

struct Watch {
    store: Arc<Store>,
    sessions: Sessions,
    /// What the store was when all sessions of [`examined`](Self::examined) were found to be in
    /// order.
    revision: Option<Revision>,
    /// When all sessions were examined last: a key may expire though nothing changes.
    all_at: Instant,
    /// Sessions and the numbers of their connections.
    examined: BTreeSet<(String, u64)>,
}

impl Watch {
    /// Examines all sessions if the store has changed, else those that are new or have a new
    /// connection: their login may have been decided just before the change, and their session
    /// entered just after it was looked at.
    fn look(&mut self) -> Result<(), Error> {
        let revision = self.store.revision()?;
        let logins = self.sessions.logins();
        if self.revision != Some(revision) || self.all_at.elapsed() >= EXPIRY_INTERVAL {
            self.examined.clear();
            self.all_at = Instant::now();
        }
        for (session, connections) in &logins {
            if connections
                .keys()
                .all(|number| self.examined.contains(&(session.id.clone(), *number)))
            {
                continue;
            }
            let peers: Vec<_> = connections.values().copied().collect();
            if let Some(objection) = crate::session::objection(&self.store, session, &peers)? {
                self.sessions.end(&objection, &session.id);
            }
        }
        self.revision = Some(revision);
        self.examined = logins
            .into_iter()
            .flat_map(|(session, connections)| {
                connections
                    .into_keys()
                    .map(move |number| (session.id.clone(), number))
            })
            .collect();
        Ok(())
    }
}
