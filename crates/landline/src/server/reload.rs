//! Rules come into force while the server runs.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    task::{JoinSet, spawn_blocking},
};

use crate::{
    Event, EventSink,
    audit::{Audit, Entry},
    rights::{REST_TIME, RightsFile},
};

/// How often the file is looked at: what changed there is in force within a second.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// Follows the file for as long as what it returns lives: reads it when it has changed, and at every notice of `reload`.
pub(super) fn follow(rights: Arc<RightsFile>, reload: Arc<Notify>, audit: Audit, events: EventSink) -> JoinSet<()> {
    let mut following = JoinSet::new();
    following.spawn(async move {
        loop {
            let is_asked = tokio::select! {
                () = reload.notified() => true,
                () = tokio::time::sleep(LOOK_TIME) => false,
            };
            let file = rights.clone();
            let read = spawn_blocking(move || {
                (is_asked || file.has_changed() && file.is_at_rest(REST_TIME)).then(|| file.reload())
            });
            match read.await {
                Ok(Some(Ok(rules))) => {
                    let users = rules.user_count();
                    let (action, subject) = ("rights-load".to_owned(), rights.path().display().to_string());
                    let detail = Some(format!("{users} users"));
                    audit.note(Entry::Admin { user: None, session: None, action, subject, detail });
                    events(Event::RightsLoaded { users });
                }
                Ok(Some(Err(error))) => events(Event::RightsRefused { message: error.to_string() }),
                Ok(None) | Err(_) => {}
            }
        }
    });
    following
}
