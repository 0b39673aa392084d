//! Streams on a channel that continues a lost one.

use std::collections::BTreeMap;

use super::{
    Receiving, Resume, ResumeEntry, Sending, Stream, StreamEvent, StreamViolation, Streams,
    transmit::append,
};
use crate::{Message, ProtocolError};

/// The `resume` messages that are still to be sent or received before streams continue.
#[derive(Debug, Default)]
pub(super) struct ResumeState {
    own_due: bool,
    peer_awaited: bool,
}

impl ResumeState {
    pub(super) fn is_pending(&self) -> bool {
        self.own_due || self.peer_awaited
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.peer_awaited
    }
}

impl Streams {
    /// Continues on a new channel after the old one was lost.
    ///
    /// Call it when the service's own messages have found out on the new channel what it
    /// continues, and before anything about streams is read from it. Control messages that were
    /// not sent are dropped: the service knows which of them still matter. Each side then sends a
    /// `resume`, and every stream continues at the exact byte.
    ///
    /// It also begins a channel that continues the work of an earlier process: declare the
    /// streams with their first offsets, then call this.
    pub fn reconnect(&mut self) {
        self.control.clear();
        self.urgent.clear();
        self.turns.clear();
        self.body = None;
        for stream in self.streams.values_mut() {
            (stream.is_urgent, stream.has_turn) = (false, false);
            if let Some(send) = stream.send.as_mut() {
                send.suspend();
            }
            if let Some(receive) = stream.receive.as_mut() {
                receive.suspend();
            }
        }
        self.resume = ResumeState {
            own_due: true,
            peer_awaited: true,
        };
    }

    pub(super) fn transmit_resume(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.resume.own_due {
            return false;
        }
        self.resume.own_due = false;
        let streams = self
            .streams
            .iter_mut()
            .map(|(&number, stream)| entry(number, stream))
            .collect();
        append(&Resume { streams }, None, out);
        self.schedule_all();
        true
    }

    pub(super) fn handle_resume(&mut self, resume: Resume) -> Result<(), ProtocolError> {
        if !self.resume.peer_awaited {
            return Err(out_of_turn(Resume::TYPE, "any message of this channel"));
        }
        self.resume.peer_awaited = false;
        let mut entries = BTreeMap::new();
        for entry in resume.streams {
            let stream = entry.stream;
            if entries.insert(stream, entry).is_some() {
                return Err(StreamViolation::Twice.on(stream));
            }
        }
        for (&number, stream) in &mut self.streams {
            let event = match entries.get(&number) {
                None => Some(StreamEvent::Gone { stream: number }),
                Some(entry) => apply(entry, stream).map_err(|violation| violation.on(number))?,
            };
            self.events.extend(event);
        }
        self.streams
            .retain(|number, _| entries.contains_key(number));
        self.schedule_all();
        Ok(())
    }

    fn schedule_all(&mut self) {
        let numbers: Vec<u64> = self.streams.keys().copied().collect();
        for number in numbers {
            self.schedule(number);
        }
    }
}

/// A message that is not accepted now.
pub(super) fn out_of_turn(found: &str, expected: &str) -> ProtocolError {
    let mut found = found.to_owned();
    found.truncate(found.floor_char_boundary(32));
    ProtocolError::UnexpectedMessage {
        found,
        expected: expected.to_owned(),
    }
}

fn entry(number: u64, stream: &mut Stream) -> ResumeEntry {
    let receive = stream.receive.as_mut();
    receive.map_or(
        ResumeEntry {
            stream: number,
            offset: None,
            window: None,
            from: None,
        },
        |receive: &mut Receiving| receive.resume_entry(number),
    )
}

/// Lets this side's half of a stream go on as the peer's entry says.
fn apply(entry: &ResumeEntry, stream: &mut Stream) -> Result<Option<StreamEvent>, StreamViolation> {
    let number = entry.stream;
    let send: Option<&mut Sending> = stream.send.as_mut();
    match (send, entry.offset, entry.window, entry.from) {
        (None, None, None, None) => Ok(None),
        (Some(send), Some(offset), Some(window), from) => {
            send.resume(offset, from.unwrap_or(offset), window)?;
            Ok(Some(StreamEvent::Writable { stream: number }))
        }
        (Some(send), Some(offset), None, None) => {
            let is_news = !send.is_stopped();
            send.resume_stopped(offset)?;
            Ok(is_news.then_some(StreamEvent::Stopped {
                stream: number,
                offset,
            }))
        }
        (_, None, Some(_), _) | (_, _, None, Some(_)) => Err(StreamViolation::Entry),
        (None, Some(_), ..) | (Some(_), None, ..) => Err(StreamViolation::NotOpen),
    }
}
