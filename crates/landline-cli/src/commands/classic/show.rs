//! What happens at a server, for people and for programs.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use landline_classic::{ClassicEvent, ClassicSink};

use super::input;
use crate::terminal::{print, print_json, prompt, say, shown_line};

/// Events that may wait to be printed. A reader that is slower than that misses some; the server
/// does not wait for it.
const EVENTS: usize = 4096;

/// Prints from a thread of its own, so that a slow reader does not stop the server.
pub(super) fn printer(json: bool) -> (ClassicSink, JoinHandle<()>) {
    let (queue, events) = mpsc::sync_channel::<ClassicEvent>(EVENTS);
    let printer =
        std::thread::spawn(move || events.into_iter().for_each(|event| show(&event, json)));
    let sink: ClassicSink = Arc::new(move |event| {
        let _ = queue.try_send(event);
    });
    (sink, printer)
}

/// Prints at once: for processes that are forked from one another, in which no such thread runs.
pub(super) fn direct(json: bool) -> ClassicSink {
    Arc::new(move |event| show(&event, json))
}

/// What was said goes to standard output, what happened to standard error.
fn show(event: &ClassicEvent, json: bool) {
    if json {
        if let Ok(event) = serde_json::to_value(event) {
            print_json(&event);
        }
        return;
    }
    match event {
        ClassicEvent::Text { peer, text } => print(&format!("{peer}: {text}")),
        ClassicEvent::Said {
            peer,
            name,
            text,
            spared,
        } => {
            let who = name.as_deref().unwrap_or(peer);
            print(&format!("{}: {}", shown_line(who), shown_line(text)));
            if *spared > 0 {
                say(&format!(
                    "  (not relayed to {spared}, who have said too little themselves)"
                ));
            }
        }
        ClassicEvent::Stored {
            peer,
            path,
            name,
            size,
            rest,
        } => {
            say(&shown_line(&format!(
                "{peer} uploaded {path}: {size} bytes, sent as {name:?}{}",
                others(rest)
            )));
            if let Some(message) = rest.get("msg") {
                print(&shown_line(
                    message.as_str().unwrap_or(&message.to_string()),
                ));
            }
        }
        ClassicEvent::Turn { .. } => {
            if input::is_terminal() {
                prompt("> ");
            }
        }
        other => say(&shown_line(&sentence(other))),
    }
}

/// The keys of a header that mean nothing to us.
fn others(rest: &serde_json::Map<String, serde_json::Value>) -> String {
    let others: Vec<String> = rest
        .iter()
        .filter(|(key, _)| *key != "msg")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if others.is_empty() {
        String::new()
    } else {
        format!(" ({})", others.join(", "))
    }
}

/// An event in words.
fn sentence(event: &ClassicEvent) -> String {
    match event {
        ClassicEvent::Connected { peer } => format!("{peer} has connected"),
        ClassicEvent::Proven { peer } => format!("{peer} has the secret"),
        ClassicEvent::Command {
            peer,
            command,
            code,
            bytes,
        } => {
            format!("{peer} ran {command:?}: status {code}, {bytes} bytes")
        }
        ClassicEvent::Sent { peer, name, size } => format!("{peer} fetched {name:?}: {size} bytes"),
        ClassicEvent::Login { peer, user } => format!("{peer} logged in as {user:?}"),
        ClassicEvent::Refused { peer, message } => format!("refused {peer}: {message}"),
        ClassicEvent::Calling { peer } => format!("{peer} calls"),
        ClassicEvent::Joined { peer } => format!("{peer} has joined"),
        ClassicEvent::Left { peer, why } => format!("{peer} has left: {why}"),
        ClassicEvent::Closed { peer } => format!("{peer} is done"),
        ClassicEvent::Failed { peer, message } => format!("{peer} failed: {message}"),
        other => format!("{other:?}"),
    }
}
