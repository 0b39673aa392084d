//! The events of a server, for people and for programs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use landline_classic::{ClassicEvent, ClassicSink, Direction, Watcher, codec::python_literal};

use super::words;
use crate::{
    context::Context,
    streams::{Color, OutputStream},
    terminal::shown_line,
};

/// Events that may wait to be printed. If the reader is too slow, further events are dropped; the
/// server does not wait.
const EVENTS: usize = 4096;
/// Bytes of texts that may wait to be printed.
const EVENT_BYTES: usize = 16 << 20;
/// Bytes of a receive or send that are shown to people. Programs get all.
const SHOWN_BYTES_MAX: usize = 1024;

/// Starts a thread that prints events, so that a slow reader does not stop the server.
pub(super) fn start_printer(context: Context) -> (ClassicSink, JoinHandle<()>) {
    let (queue, events) = mpsc::sync_channel::<ClassicEvent>(EVENTS);
    let waiting = Arc::new(AtomicUsize::new(0));
    let printed = waiting.clone();
    let printer = std::thread::spawn(move || {
        for event in events {
            print_event(&context, &event);
            printed.fetch_sub(event.text_bytes(), Ordering::Relaxed);
        }
    });
    let sink: ClassicSink = Arc::new(move |event| {
        let bytes = event.text_bytes();
        let before = waiting.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > EVENT_BYTES || queue.try_send(event).is_err() {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
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
            held,
        } => {
            let who = name.as_deref().unwrap_or(peer);
            context
                .out
                .print(&format!("{}: {}", shown_line(who), shown_line(text)));
            if *held > 0 {
                context.err.print(&context.choose(words::held_back(*held)));
            }
        }
        ClassicEvent::Stored { rest, .. } => {
            print_description(context, event);
            if let Some(message) = rest.get("msg") {
                context.out.print(&shown_line(
                    message.as_str().unwrap_or(&message.to_string()),
                ));
            }
        }
        ClassicEvent::Recv { peer, bytes } => {
            show_bytes(context, &context.out, peer, Direction::Recv, &bytes.0);
        }
        ClassicEvent::Send { peer, bytes } => {
            show_bytes(context, &context.out, peer, Direction::Send, &bytes.0);
        }
        ClassicEvent::Turn { .. } => {
            if context.input.is_terminal() {
                context.err.prompt("> ");
            }
        }
        other => print_description(context, other),
    }
}

fn print_description(context: &Context, event: &ClassicEvent) {
    let text = context.choose(words::describe(event));
    context.err.print(&shown_line(&text));
}

/// Shows the bytes that a client receives and sends, on standard error: its output is the server's.
pub(super) fn watcher(context: &Context, peer: String) -> Watcher {
    let context = context.clone();
    Arc::new(move |direction, bytes| {
        if context.json {
            let event = ClassicEvent::of_wire(peer.clone(), direction, bytes);
            if let Ok(event) = serde_json::to_value(event) {
                context.err.print_json(&event);
            }
        } else {
            show_bytes(&context, &context.err, &peer, direction, bytes);
        }
    })
}

/// Prints a line such as `127.0.0.1:5000 recv 5 b'hello'`.
fn show_bytes(
    context: &Context,
    out: &OutputStream,
    peer: &str,
    direction: Direction,
    bytes: &[u8],
) {
    let (word, color) = match direction {
        Direction::Recv => ("recv", Color::Green),
        Direction::Send => ("send", Color::Cyan),
    };
    let shown = python_literal(bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes));
    let rest = if bytes.len() > SHOWN_BYTES_MAX {
        " ..."
    } else {
        ""
    };
    let line = format!("{peer} {word} {} {shown}{rest}", bytes.len());
    let has_color = context.environment.variable("NO_COLOR").is_none();
    out.print_in_color(has_color.then_some(color), &line);
}
