//! The events that a server reported.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use landline_socketserver::{Event, Failure};

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Events {
    pub(crate) fn put(&self, event: &Event<'_>) {
        let text = match event {
            Event::Accepted { .. } => "accepted".to_owned(),
            Event::Refused { reason, .. } => format!("refused {reason:?}"),
            Event::Ended { failure: None, .. } => "ended".to_owned(),
            Event::Ended {
                failure: Some(failure),
                ..
            } => match failure {
                Failure::Handler(error) => format!("failed {:?}", error.kind()),
                Failure::Handshake(error) => format!("handshake {:?}", error.kind()),
                other => other.to_string(),
            },
            Event::AcceptFailed { .. } => "accept failed".to_owned(),
            Event::WorkerEnded { .. } => "worker ended".to_owned(),
            Event::Draining { .. } => "draining".to_owned(),
            _ => "other".to_owned(),
        };
        self.0.0.lock().unwrap().push(text);
        self.0.1.notify_all();
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.0
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|event| *event == text)
            .count()
    }

    /// Waits for events that must come.
    pub(crate) fn await_count(&self, text: &str, count: usize) {
        self.await_that(|events| events.iter().filter(|event| *event == text).count() >= count);
    }

    /// Waits until the events meet a condition.
    pub(crate) fn await_that(&self, is_so: impl Fn(&[String]) -> bool) {
        let (events, changed) = &*self.0;
        let guard = events.lock().unwrap();
        let wait = changed
            .wait_timeout_while(guard, Duration::from_secs(30), |events| !is_so(events))
            .unwrap();
        assert!(
            !wait.1.timed_out(),
            "what was awaited did not happen, but: {:?}",
            wait.0
        );
    }
}
