//! Standard input of a dialect: what a person types, or a program pipes in.

use landline_classic::talk::LineSource;
use tokio::sync::mpsc;

use crate::streams::{InputStream, read_line};

/// The most bytes that are read at once where lines do not matter.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that may wait to be sent.
const CHUNKS: usize = 4;

/// Reads lines on request: nothing before it is asked for, and not a byte after a line.
pub(super) fn start_person(input: InputStream) -> LineSource {
    let (person, mut requests) = LineSource::new();
    std::thread::spawn(move || {
        let Ok(mut input) = input.open() else {
            return;
        };
        while let Some(give) = requests.blocking_recv() {
            let Ok(Some(line)) = read_line(&mut input) else {
                return;
            };
            // A line whose request was dropped is kept for the next request.
            let _ = give.send(line);
        }
    });
    person
}

/// Reads all of the input in chunks.
pub(super) fn start_chunks(input: InputStream) -> mpsc::Receiver<Vec<u8>> {
    let (queue, chunks) = mpsc::channel(CHUNKS);
    std::thread::spawn(move || {
        let Ok(mut input) = input.open() else {
            return;
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count) = input.read(&mut chunk)
            && count > 0
        {
            let chunk = chunk.get(..count).unwrap_or_default().to_vec();
            if queue.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    chunks
}
