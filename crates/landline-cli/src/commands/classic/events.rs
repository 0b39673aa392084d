//! The events of a server, for people and for programs.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use landline_classic::{ClassicEvent, ClassicSink};

use crate::{context::Context, terminal::shown_line};

/// Events that may wait to be printed. If the reader is too slow, further events are dropped; the
/// server does not wait.
const EVENTS: usize = 4096;

/// Starts a thread that prints events, so that a slow reader does not stop the server.
pub(super) fn start_printer(context: Context) -> (ClassicSink, JoinHandle<()>) {
    let (queue, events) = mpsc::sync_channel::<ClassicEvent>(EVENTS);
    let printer = std::thread::spawn(move || {
        for event in events {
            print_event(&context, &event);
        }
    });
    let sink: ClassicSink = Arc::new(move |event| {
        let _ = queue.try_send(event);
    });
    (sink, printer)
}

/// Prints events at once, for a server that forks: its children have no printing thread.
pub(super) fn print_directly(context: Context) -> ClassicSink {
    Arc::new(move |event| print_event(&context, &event))
}

/// Prints texts of peers to standard output, and everything else to standard error.
fn print_event(context: &Context, event: &ClassicEvent) {
    if context.json {
        if let Ok(event) = serde_json::to_value(event) {
            context.out.print_json(&event);
        }
        return;
    }
    match event {
        ClassicEvent::Text { peer, text } => context.out.print(&format!("{peer}: {text}")),
        ClassicEvent::Said {
            peer,
            name,
            text,
            spared,
        } => {
            let who = name.as_deref().unwrap_or(peer);
            context
                .out
                .print(&format!("{}: {}", shown_line(who), shown_line(text)));
            if *spared > 0 {
                context.err.print(&format!(
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
            context.err.print(&shown_line(&format!(
                "{peer} uploaded {path}: {size} bytes, sent as {name:?}{}",
                list_others(rest)
            )));
            if let Some(message) = rest.get("msg") {
                context.out.print(&shown_line(
                    message.as_str().unwrap_or(&message.to_string()),
                ));
            }
        }
        ClassicEvent::Turn { .. } => {
            if context.input.is_terminal() {
                context.err.prompt("> ");
            }
        }
        other => context.err.print(&shown_line(&describe(other))),
    }
}

/// Lists the keys of a header that the dialect does not define.
fn list_others(rest: &serde_json::Map<String, serde_json::Value>) -> String {
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

/// Describes an event for people.
fn describe(event: &ClassicEvent) -> String {
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
