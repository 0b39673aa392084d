//! Sticky packets: what was sent, and what each receive returned.

mod picture;
mod trial;

use std::{io, time::Duration};

use super::{Language, Report, words::sticky as words};

/// What a program of the courses gives to `recv`.
pub const BUFFER_BYTES: usize = 1024;
/// The payloads of the small messages, in bytes.
const SMALL: [usize; 6] = [8, 14, 10, 18, 8, 12];
/// A message that does not fit the buffer, and one behind it.
const BIG: [usize; 2] = [3000, 500];

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// TCP as it comes: small sends wait for the acknowledgement of earlier ones.
    Nagle,
    /// TCP with `TCP_NODELAY`.
    NoDelay,
    /// TCP as it comes, with a length before each message ([`landline_proto::frame`]).
    Framed,
    /// UDP.
    Datagrams,
}

impl Way {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Nagle, Self::NoDelay, Self::Framed, Self::Datagrams];
}

/// What is sent, and how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Six small messages, 2 ms apart, to a reader that waits for them.
    Small,
    /// The same at once, to a reader that comes when all have been sent.
    Slow,
    /// A message of 3,000 bytes and one of 500 behind it.
    Big,
}

impl Load {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Small, Self::Slow, Self::Big];

    /// The payload of each message, in bytes.
    fn messages(self) -> &'static [usize] {
        match self {
            Self::Small | Self::Slow => &SMALL,
            Self::Big => &BIG,
        }
    }
}

/// What a piece of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// (A part of) the length before a message.
    Length,
    /// (A part of) a message.
    Payload,
}

/// A piece of a message, as it lay in what one receive returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which message, from 1.
    pub message: usize,
    /// What it is.
    pub kind: Kind,
    /// Where in it the piece begins, in bytes.
    pub from: usize,
    /// How long the piece is, in bytes.
    pub bytes: usize,
    /// How long the whole is, in bytes.
    pub of: usize,
}

impl Part {
    /// Whether nothing of it is missing here.
    pub fn is_whole(&self) -> bool {
        self.bytes == self.of
    }
}

/// What one receive returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    /// When, since the first send.
    pub at: Duration,
    /// What was in it, in order.
    pub parts: Vec<Part>,
}

impl Receive {
    /// How many bytes it returned.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether it holds something of more than one message.
    pub fn is_stuck(&self) -> bool {
        let first = self.parts.first().map(|part| part.message);
        self.parts.iter().any(|part| Some(part.message) != first)
    }
}

/// One way under one load.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The way.
    pub way: Way,
    /// The load.
    pub load: Load,
    /// The payload of each message sent, in bytes.
    pub sent: Vec<usize>,
    /// What each receive returned.
    pub receives: Vec<Receive>,
    /// The payloads that the frame decoder gave to the program, in bytes; `None` where there are
    /// no frames.
    pub decoded: Option<Vec<usize>>,
}

impl Trial {
    /// How many receives held something of more than one message.
    pub fn stuck(&self) -> usize {
        self.receives
            .iter()
            .filter(|receive| receive.is_stuck())
            .count()
    }

    /// How many messages came in pieces, over several receives.
    pub fn cut(&self) -> usize {
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

    /// How many payload bytes never came.
    pub fn lost(&self) -> usize {
        let parts = self.receives.iter().flat_map(|receive| &receive.parts);
        let came: usize = parts
            .filter(|part| part.kind == Kind::Payload)
            .map(|part| part.bytes)
            .sum();
        self.sent.iter().sum::<usize>().saturating_sub(came)
    }

    /// How many messages the program was handed whole and alone.
    pub fn whole(&self) -> usize {
        match &self.decoded {
            Some(decoded) => decoded
                .iter()
                .zip(&self.sent)
                .filter(|(came, sent)| came == sent)
                .count(),
            None => self
                .receives
                .iter()
                .filter(|receive| matches!(receive.parts.as_slice(), [part] if part.is_whole()))
                .count(),
        }
    }
}

/// Far more than fits was sent while the reader slept.
#[derive(Debug, Clone, Copy)]
pub struct Overrun {
    /// The way.
    pub way: Way,
    /// How many messages of 1,000 bytes were sent.
    pub sent: usize,
    /// How many of them arrived whole.
    pub arrived: usize,
    /// How long the sends took in all.
    pub sending: Duration,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Sticky {
    /// Every way under every load.
    pub trials: Vec<Trial>,
    /// Every way, with too much for it.
    pub overruns: Vec<Overrun>,
}

impl Sticky {
    /// Measures, on loopback sockets; takes about two seconds. Blocking.
    ///
    /// # Errors
    /// What the system says about a socket, or that something arrived which was never sent.
    pub fn run() -> io::Result<Self> {
        let mut trials = Vec::new();
        for way in Way::ALL {
            for load in Load::ALL {
                trials.push(trial::run(way, load)?);
            }
        }
        let overruns = Way::ALL
            .map(trial::overrun)
            .into_iter()
            .collect::<io::Result<_>>()?;
        Ok(Self { trials, overruns })
    }

    /// What was measured in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language).to_owned(),
            tables: words::tables(self, language),
            seen: words::seen(self, language),
            notes: vec![words::legend(language).to_owned()],
            picture: picture::draw(self, language),
        }
    }

    /// One trial.
    pub fn trial(&self, way: Way, load: Load) -> Option<&Trial> {
        self.trials
            .iter()
            .find(|trial| trial.way == way && trial.load == load)
    }

    /// One overrun.
    pub fn overrun(&self, way: Way) -> Option<&Overrun> {
        self.overruns.iter().find(|overrun| overrun.way == way)
    }
}

#[cfg(test)]
mod tests;
