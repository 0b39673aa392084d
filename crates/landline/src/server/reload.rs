//! Rules come into force while the server runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{JoinSet, spawn_blocking},
};

use crate::{
    Event, EventSink,
    rights::{REST_TIME, RightsFile},
};

/// How often the file is looked at: what changed there is in force within a second.
const LOOK_TIME: Duration = Duration::from_millis(500);
/// How often it is said that a change waits, for the audit log or for the file to be read. It is
/// tried with each look.
const WAITING_SAID_TIME: Duration = Duration::from_secs(60);

/// Follows the file for as long as what it returns lives: reads it when it has changed, and at
/// every notice of `reload`.
pub(super) fn follow(
    rights: Arc<RightsFile>,
    reload: Arc<Notify>,
    events: EventSink,
) -> JoinSet<()> {
    let mut following = JoinSet::new();
    following.spawn(async move {
        let mut waiting_said: Option<Instant> = None;
        loop {
            let is_asked = tokio::select! {
                () = reload.notified() => true,
                () = tokio::time::sleep(LOOK_TIME) => false,
            };
            let file = rights.clone();
            let read = spawn_blocking(move || {
                (is_asked || file.has_changed() && file.is_at_rest(REST_TIME))
                    .then(|| file.reload())
            });
            match read.await {
                Ok(Some(Ok(rules))) => {
                    waiting_said = None;
                    events(Event::RightsLoaded {
                        users: rules.user_count(),
                    });
                }
                Ok(Some(Err(error))) => {
                    if rights.has_changed() {
                        if !is_asked
                            && waiting_said.is_some_and(|said| said.elapsed() < WAITING_SAID_TIME)
                        {
                            continue;
                        }
                        waiting_said = Some(Instant::now());
                    }
                    events(Event::RightsRefused {
                        message: error.to_string(),
                    });
                }
                Ok(None) | Err(_) => {}
            }
        }
    });
    following
}
