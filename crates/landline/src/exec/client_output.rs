//! The output of a command on its way from the server to where it is written.

use std::{
    io::{self, Write},
    sync::mpsc as std_mpsc,
};

use landline_proto::streams::{Read, Streams};
use tokio::sync::mpsc;

use super::{messages::AnsweredPart, terminal::OutputFilter};

/// The most bytes that are written at a time.
const PART_BYTES_MAX: usize = 64 * 1024;

/// What the thread writes at a time.
pub(super) struct WritePart {
    bytes: Vec<u8>,
    /// How many bytes of the output that is.
    length: usize,
}

/// An output of the program on its way to where it is written.
pub(super) struct WrittenOutput {
    pub(super) stream: u64,
    /// To the thread that writes; `None` once nothing more is written.
    pub(super) parts: Option<std_mpsc::SyncSender<WritePart>>,
    /// From that thread: how many bytes were written.
    pub(super) written: mpsc::Receiver<io::Result<usize>>,
    pub(super) is_busy: bool,
    /// How far the stream was written.
    pub(super) total: u64,
    pub(super) error: Option<io::Error>,
    /// Whether nothing was done about the error yet.
    is_news: bool,
    /// What a terminal must not get.
    filter: Option<OutputFilter>,
    answered: Option<AnsweredPart>,
}

impl WrittenOutput {
    pub(super) fn new(stream: u64, mut writer: Box<dyn Write + Send>, begin: u64) -> Self {
        let (parts, to_write) = std_mpsc::sync_channel::<WritePart>(1);
        let (done, written) = mpsc::channel(1);
        // It ends with this value, or with the process while it is blocked.
        std::thread::spawn(move || {
            while let Ok(part) = to_write.recv() {
                let result = writer.write_all(&part.bytes).and_then(|()| writer.flush());
                if done.blocking_send(result.map(|()| part.length)).is_err() {
                    return;
                }
            }
        });
        Self {
            stream,
            parts: Some(parts),
            written,
            is_busy: false,
            total: begin,
            error: None,
            is_news: false,
            filter: None,
            answered: None,
        }
    }

    /// Passes on only what is right for a terminal.
    pub(super) fn filter_for_terminal(&mut self) {
        self.filter = Some(OutputFilter::for_owner());
    }

    /// Whether it is shown by a terminal.
    pub(super) fn is_for_terminal(&self) -> bool {
        self.filter.is_some()
    }

    /// Sets in which part another party has answered the queries to the terminal.
    pub(super) fn set_answered(&mut self, answered: Option<AnsweredPart>) {
        self.answered = answered;
    }

    /// Sets whether this terminal answers queries from this offset on, or another one does.
    pub(super) fn set_answering(&mut self, answers: bool, from: u64) {
        self.answered = match self.answered {
            Some(part) if answers => Some(AnsweredPart { to: from, ..part }),
            _ if answers => None,
            part => {
                // What another party has answered, and is not shown yet, stays so.
                let shown_later = part.filter(|part| part.to > self.total);
                let from = shown_later.map_or(from, |part| part.from.min(from));
                Some(AnsweredPart { from, to: u64::MAX })
            }
        };
    }

    /// Writes a screen, after which the output continues at this offset.
    pub(super) fn show_screen(&mut self, bytes: Vec<u8>, offset: u64) {
        self.total = offset;
        if self.filter.is_some() {
            self.filter_for_terminal();
        }
        if let Some(parts) = &self.parts {
            self.is_busy = parts.try_send(WritePart { bytes, length: 0 }).is_ok();
        }
    }

    /// Gives the next part to the thread, if it has written the one before.
    pub(super) fn pump(&mut self, streams: &mut Streams) {
        let Some(parts) = self.parts.as_ref().filter(|_| !self.is_busy) else {
            return;
        };
        if let Read::Bytes(bytes) = streams.read(self.stream) {
            let part = bytes
                .get(..bytes.len().min(PART_BYTES_MAX))
                .unwrap_or_default();
            let length = part.len();
            let bytes = match &mut self.filter {
                Some(filter) => filter_part(filter, self.answered, self.total, part),
                None => part.to_vec(),
            };
            self.is_busy = parts.try_send(WritePart { bytes, length }).is_ok();
        }
    }

    /// Records what the thread has written; `None` if there is no thread any more.
    pub(super) fn settle(&mut self, result: Option<io::Result<usize>>, streams: &mut Streams) {
        self.is_busy = false;
        match result {
            Some(Ok(length)) => {
                self.total += length as u64;
                streams.consume(self.stream, length);
            }
            Some(Err(error)) => {
                self.close(error);
                streams.stop(self.stream);
            }
            None => self.parts = None,
        }
    }

    /// Waits until the thread has written what it was given.
    pub(super) async fn settle_now(&mut self) {
        if self.is_busy {
            let result = self.written.recv().await;
            self.is_busy = false;
            match result {
                Some(Ok(length)) => self.total += length as u64,
                Some(Err(error)) => self.close(error),
                None => self.parts = None,
            }
        }
    }

    fn close(&mut self, error: io::Error) {
        self.parts = None;
        self.error = Some(error);
        self.is_news = true;
    }

    /// Whether it was closed since this was asked last.
    pub(super) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Whether the stream was written up to here, or no more can be.
    pub(super) fn has_written(&self, bytes: u64) -> bool {
        self.parts.is_none() || self.total >= bytes
    }
}

/// What of a part at this offset a terminal gets.
fn filter_part(
    filter: &mut OutputFilter,
    answered: Option<AnsweredPart>,
    offset: u64,
    part: &[u8],
) -> Vec<u8> {
    let mut shown = Vec::with_capacity(part.len());
    let (from, to) = answered.map_or((0, 0), |answered| (answered.from, answered.to));
    let split = |rest: &[u8], at: u64, end: u64| {
        let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        count.min(rest.len())
    };
    let (before, rest) = part.split_at(split(part, offset, from));
    let offset = offset + before.len() as u64;
    let (inside, behind) = rest.split_at(split(rest, offset, to));
    for (bytes, drops_queries) in [(before, false), (inside, true), (behind, false)] {
        filter.set_drops_queries(drops_queries);
        filter.filter(bytes, &mut shown);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `query-twice` in docs/faults.md.
    #[test]
    fn answered_queries_are_not_shown_again() {
        let query = b"\x1b[6n";
        let output = [&b"a"[..], query, b"b", query, b"c", query].concat();
        let answered = Some(AnsweredPart { from: 5, to: 12 });
        let expected = [&b"a"[..], query, b"bc", query].concat();
        for size in 1..output.len() {
            let (mut filter, mut shown, mut offset) = (OutputFilter::for_owner(), Vec::new(), 0);
            for part in output.chunks(size) {
                shown.extend(filter_part(&mut filter, answered, offset, part));
                offset += part.len() as u64;
            }
            assert_eq!(shown, expected, "{size}");
        }
    }
}
