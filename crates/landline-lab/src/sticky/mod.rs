//! Measures sticky packets: what was sent, and what each receive returned.

mod picture;
mod trial;

use std::{io, time::Duration};

use super::{Language, Report, words::sticky as words};

/// The buffer size that programs of the courses pass to `recv`, in bytes.
pub(crate) const BUFFER_BYTES: usize = 1024;
/// The payloads of the small messages, in bytes.
const SMALL: [usize; 6] = [8, 14, 10, 18, 8, 12];
/// The maximum number of messages of one's own.
const MESSAGES_MAX: usize = 12;
/// The maximum length of a message of one's own, in bytes.
const MESSAGE_BYTES_MAX: usize = 1000;
/// The payloads of a message larger than the buffer and of one after it, in bytes.
const BIG: [usize; 2] = [3000, 500];

/// The transport of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP with Nagle's algorithm, the default. Small sends wait for acknowledgements.
    Nagle,
    /// TCP with `TCP_NODELAY`.
    NoDelay,
    /// TCP with Nagle's algorithm and length prefixes ([`landline_proto::frame`]).
    Framed,
    /// UDP.
    Datagrams,
}

impl Transport {
    /// All transports, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Nagle, Self::NoDelay, Self::Framed, Self::Datagrams];
}

/// The messages of a trial and the behavior of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Small messages, 2 ms apart, to a reader that is waiting.
    SmallSends,
    /// The same messages at once, to a reader that comes after the last.
    SlowReader,
    /// A message of 3,000 bytes, and one of 500 after it.
    BigSend,
}

impl Scenario {
    /// All scenarios, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::SmallSends, Self::SlowReader, Self::BigSend];

    /// The messages that are sent: the given texts as the small ones, if there are any.
    fn messages(self, texts: &[String]) -> Vec<Message> {
        let fill = |lengths: &[usize]| {
            (1..)
                .zip(lengths)
                .map(|(number, bytes)| Message {
                    payload: vec![number; *bytes],
                    text: None,
                })
                .collect()
        };
        match self {
            Self::BigSend => fill(&BIG),
            Self::SmallSends | Self::SlowReader if texts.is_empty() => fill(&SMALL),
            Self::SmallSends | Self::SlowReader => texts
                .iter()
                .map(|text| Message {
                    payload: text.clone().into_bytes(),
                    text: Some(text.clone()),
                })
                .collect(),
        }
    }
}

/// A message that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The bytes.
    pub payload: Vec<u8>,
    /// The text, if the user chose it.
    pub text: Option<String>,
}

/// The content of a part of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// The length before a message, or a part of it.
    Length,
    /// A message, or a part of it.
    Payload,
}

/// A part of a message that one receive returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of the message, from 1.
    pub message: usize,
    /// Whether it is of the length or of the payload.
    pub kind: PartKind,
    /// The offset of the part, in bytes.
    pub offset: usize,
    /// The length of the part, in bytes.
    pub bytes: usize,
    /// The length of the whole, in bytes.
    pub whole_bytes: usize,
}

impl Part {
    /// Whether the part is the whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes == self.whole_bytes
    }
}

/// The result of one receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receive {
    /// The time since the first send.
    pub at: Duration,
    /// The parts in it, in order.
    pub parts: Vec<Part>,
}

impl Receive {
    /// The number of bytes that it returned.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether it contains parts of more than one message.
    pub(crate) fn is_merged(&self) -> bool {
        let first = self.parts.first().map(|part| part.message);
        self.parts.iter().any(|part| Some(part.message) != first)
    }
}

/// The measurements of one transport in one scenario.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// The transport.
    pub transport: Transport,
    /// The scenario.
    pub scenario: Scenario,
    /// The messages that were sent.
    pub sent: Vec<Message>,
    /// The results of the receives.
    pub receives: Vec<Receive>,
    /// The payloads that the frame decoder returned, in bytes; `None` without frames.
    pub decoded: Option<Vec<usize>>,
}

impl Trial {
    /// The number of receives with parts of more than one message.
    pub(crate) fn merged_receives(&self) -> usize {
        self.receives
            .iter()
            .filter(|receive| receive.is_merged())
            .count()
    }

    /// The number of messages that were split over several receives.
    pub(crate) fn split_messages(&self) -> usize {
        let holds =
            |receive: &&Receive, message| receive.parts.iter().any(|part| part.message == message);
        (1..=self.sent.len())
            .filter(|message| {
                self.receives
                    .iter()
                    .filter(|receive| holds(receive, *message))
                    .count()
                    > 1
            })
            .count()
    }

    /// The payloads of all messages together, in bytes.
    pub(crate) fn sent_bytes(&self) -> usize {
        self.sent.iter().map(|message| message.payload.len()).sum()
    }

    /// The number of payload bytes that never arrived.
    pub(crate) fn lost_bytes(&self) -> usize {
        let parts = self.receives.iter().flat_map(|receive| &receive.parts);
        let arrived: usize = parts
            .filter(|part| part.kind == PartKind::Payload)
            .map(|part| part.bytes)
            .sum();
        self.sent_bytes().saturating_sub(arrived)
    }

    /// The number of messages that the program got whole and alone.
    pub(crate) fn whole_messages(&self) -> usize {
        match &self.decoded {
            Some(decoded) => decoded
                .iter()
                .zip(&self.sent)
                .filter(|(arrived, sent)| **arrived == sent.payload.len())
                .count(),
            None => self
                .receives
                .iter()
                .filter(|receive| matches!(receive.parts.as_slice(), [part] if part.is_whole()))
                .count(),
        }
    }
}

/// The measurements of sending far more than fits while the reader sleeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overrun {
    /// The transport.
    pub transport: Transport,
    /// The number of messages of 1,000 bytes that were sent.
    pub sent: usize,
    /// The number of messages that arrived whole.
    pub arrived: usize,
    /// The time that the sends took in all.
    pub send_time: Duration,
}

/// All measurements.
#[derive(Debug, Clone)]
pub struct Sticky {
    /// A trial for each transport and scenario.
    pub(crate) trials: Vec<Trial>,
    /// An overrun for each transport.
    pub(crate) overruns: Vec<Overrun>,
}

impl Sticky {
    /// Measures on loopback sockets for about two seconds.
    ///
    /// `messages` are sent as the small messages. If there are none, the lab has its own.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for more than 12 messages, and for a message that is empty
    /// or longer than 1,000 bytes in UTF-8. The system's error, or that something arrived that
    /// was never sent.
    ///
    /// # Blocking
    /// It blocks for the whole measurement.
    pub fn run(messages: &[String]) -> io::Result<Self> {
        check(messages)?;
        let mut trials = Vec::new();
        for transport in Transport::ALL {
            for scenario in Scenario::ALL {
                trials.push(trial::run(
                    transport,
                    scenario,
                    scenario.messages(messages),
                )?);
            }
        }
        let overruns = Transport::ALL
            .map(trial::overrun)
            .into_iter()
            .collect::<io::Result<_>>()?;
        Ok(Self { trials, overruns })
    }

    /// The measurements in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language).to_owned(),
            tables: words::tables(self, language),
            summary: words::summary(self, language),
            notes: vec![words::legend(self, language)],
            picture: picture::draw(self, language),
        }
    }

    /// The trial of a transport and scenario.
    pub(crate) fn trial(&self, transport: Transport, scenario: Scenario) -> Option<&Trial> {
        self.trials
            .iter()
            .find(|trial| trial.transport == transport && trial.scenario == scenario)
    }

    /// The overrun of a transport.
    pub(crate) fn overrun(&self, transport: Transport) -> Option<&Overrun> {
        self.overruns
            .iter()
            .find(|overrun| overrun.transport == transport)
    }
}

fn check(messages: &[String]) -> io::Result<()> {
    let is_too_long = |message: &&String| message.is_empty() || message.len() > MESSAGE_BYTES_MAX;
    let problem = if messages.len() > MESSAGES_MAX {
        format!(
            "{} messages; at most {MESSAGES_MAX} are sent",
            messages.len()
        )
    } else if let Some(message) = messages.iter().find(is_too_long) {
        let length = message.len();
        format!("a message of {length} bytes; 1 to {MESSAGE_BYTES_MAX} are sent")
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests;
