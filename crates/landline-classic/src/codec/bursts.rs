//! Messages that a newline or a pause ends.

use std::time::{Duration, Instant};

use super::{BURST_BYTES_MAX, Charset, DialectError, foreign::foreign_protocol};

/// The time that one message may take in all.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(10);

/// Takes messages from a stream in which a newline or a pause ends each.
///
/// After every input and every timeout, call [`poll_message`](Self::poll_message) until it returns
/// `None`. This also limits the memory that it uses.
#[derive(Debug)]
pub struct Bursts {
    charset: Charset,
    pause: Duration,
    pending: Vec<u8>,
    /// The beginning of the next message in `pending`.
    start: usize,
    /// There is no newline in `pending` before this index.
    searched: usize,
    started_at: Option<Instant>,
    /// Whether there was no message yet.
    is_first: bool,
    latest: Option<Instant>,
}

impl Bursts {
    /// A decoder for text in `charset`, in which `pause` ends a message.
    pub fn new(charset: Charset, pause: Duration) -> Self {
        Self {
            charset,
            pause,
            pending: Vec::new(),
            start: 0,
            searched: 0,
            started_at: None,
            is_first: true,
            latest: None,
        }
    }

    /// Takes bytes that arrived at `now`.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.pending.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.pending.extend_from_slice(bytes);
        self.started_at.get_or_insert(now);
        self.latest = Some(now);
    }

    /// Whether messages must be taken before more bytes are read.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= BURST_BYTES_MAX
    }

    /// The next message that is complete at `now`, without its newline.
    ///
    /// It may be empty.
    ///
    /// # Errors
    /// [`DialectError::Endless`] above [`BURST_BYTES_MAX`], [`DialectError::Slow`] for a message
    /// that takes too long, [`DialectError::Foreign`] for a first message of another protocol, or
    /// [`DialectError::Undecodable`].
    pub fn poll_message(&mut self, now: Instant) -> Result<Option<String>, DialectError> {
        let unsearched = self.pending.get(self.searched..).unwrap_or_default();
        if let Some((end, next)) = self.charset.newline(unsearched) {
            let message = self
                .pending
                .get(self.start..self.searched + end)
                .unwrap_or_default()
                .to_vec();
            self.start = self.searched + next;
            self.searched = self.start;
            // The bytes after the newline arrived with the latest input.
            self.started_at = self.latest.filter(|_| !self.rest().is_empty());
            return self.text(&message).map(Some);
        }
        // The first half of a two-byte newline may be the last byte.
        self.searched = self.start + self.rest().len() / 2 * 2;
        let since = |moment: Option<Instant>| {
            moment.map_or(Duration::ZERO, |moment| {
                now.saturating_duration_since(moment)
            })
        };
        if self.rest().is_empty() {
            return Ok(None);
        }
        if self.rest().len() > BURST_BYTES_MAX {
            return Err(DialectError::Endless {
                limit: BURST_BYTES_MAX,
            });
        }
        if since(self.latest) >= self.pause {
            return self.finish();
        }
        if since(self.started_at) >= MESSAGE_TIME_MAX {
            return Err(DialectError::Slow(MESSAGE_TIME_MAX.as_secs()));
        }
        Ok(None)
    }

    /// When to call [`poll_message`](Self::poll_message) if no input arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.rest().is_empty() {
            return None;
        }
        let pause = self.latest? + self.pause;
        Some(pause.min(self.started_at? + MESSAGE_TIME_MAX))
    }

    /// The rest at the end of the stream, if there is any.
    ///
    /// # Errors
    /// [`DialectError::Foreign`] or [`DialectError::Undecodable`].
    pub fn finish(&mut self) -> Result<Option<String>, DialectError> {
        let rest = self.rest().to_vec();
        *self = Self {
            is_first: self.is_first,
            ..Self::new(self.charset, self.pause)
        };
        if rest.is_empty() {
            return Ok(None);
        }
        self.text(&rest).map(Some)
    }

    fn rest(&self) -> &[u8] {
        self.pending.get(self.start..).unwrap_or_default()
    }

    /// The text of a message.
    fn text(&mut self, bytes: &[u8]) -> Result<String, DialectError> {
        if self.is_first
            && let Some(protocol) = foreign_protocol(bytes)
        {
            return Err(DialectError::Foreign(protocol));
        }
        self.is_first &= bytes.trim_ascii().is_empty();
        let text = self.charset.try_decode(bytes)?;
        Ok(text.strip_suffix('\r').map(str::to_owned).unwrap_or(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);

    fn all(bursts: &mut Bursts, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| bursts.poll_message(now).unwrap()).collect()
    }

    #[test]
    fn pause_ends_message_and_input_postpones_it() {
        let mut bursts = Bursts::new(Charset::default(), PAUSE);
        let start = Instant::now();
        bursts.handle_input(start, b"l");
        bursts.handle_input(start + PAUSE / 2, b"s");
        assert_eq!(bursts.poll_timeout(), Some(start + PAUSE * 3 / 2));
        assert_eq!(bursts.poll_message(start + PAUSE), Ok(None));
        assert_eq!(
            bursts.poll_message(start + PAUSE * 3 / 2),
            Ok(Some("ls".into()))
        );
        assert_eq!(
            (
                bursts.poll_timeout(),
                bursts.poll_message(start + PAUSE * 9)
            ),
            (None, Ok(None))
        );
    }

    #[test]
    fn endless_message_without_pause_is_rejected() {
        let mut bursts = Bursts::new(Charset::default(), PAUSE);
        let start = Instant::now();
        let mut now = start;
        let refused = loop {
            bursts.handle_input(now, b"x");
            if let Err(error) = bursts.poll_message(now) {
                break error;
            }
            now += PAUSE / 2;
        };
        assert_eq!(
            (refused, now - start),
            (DialectError::Slow(10), MESSAGE_TIME_MAX)
        );
        let mut bursts = Bursts::new(Charset::default(), PAUSE);
        bursts.handle_input(start, &[b'x'; BURST_BYTES_MAX]);
        assert!(bursts.is_full() && bursts.poll_message(start) == Ok(None));
        bursts.handle_input(start, b"x");
        assert_eq!(
            bursts.poll_message(start),
            Err(DialectError::Endless {
                limit: BURST_BYTES_MAX
            })
        );
    }

    proptest! {
        #[test]
        fn messages_do_not_depend_on_segmentation(
            lines in proptest::collection::vec("[^\r\n]{0,20}", 0..6),
            step in 1usize..9,
            label in proptest::sample::select(&["utf-8", "gb18030", "utf-16le"][..]),
        ) {
            let charset: Charset = label.parse().unwrap();
            prop_assume!(label != "gb18030" || lines.iter().all(|line| charset.decode(&charset.encode(line)) == *line));
            let mut bursts = Bursts::new(charset, PAUSE);
            let start = Instant::now();
            let stream = charset.encode(&lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                bursts.handle_input(start, piece);
                found.extend(all(&mut bursts, start));
            }
            prop_assert_eq!(found, lines);
            prop_assert_eq!(bursts.finish(), Ok(None));
        }
    }
}
