//! What a person types, or a program pipes in.

use std::{
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
};

use landline::paths::File;
use landline_classic::talk::Person;
use tokio::sync::mpsc;

/// What is read at once where lines do not matter.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that may wait to be sent.
const CHUNKS: usize = 4;

/// The person at standard input. Nothing is read before it is asked for, and not a byte behind a
/// line.
pub(super) fn person() -> Person {
    let (person, mut requests) = Person::new();
    std::thread::spawn(move || {
        let Ok(mut input) = standard_input() else {
            return;
        };
        while let Some(give) = requests.blocking_recv() {
            let Some(line) = line(&mut input) else { return };
            // Whoever asked may be gone; it is not lost, as it is asked for until it comes.
            let _ = give.send(line);
        }
    });
    person
}

/// Whether a person is there, rather than a pipe or a file.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// All of standard input, in chunks.
pub(super) fn chunks() -> mpsc::Receiver<Vec<u8>> {
    let (queue, chunks) = mpsc::channel(CHUNKS);
    std::thread::spawn(move || {
        let Ok(mut input) = standard_input() else {
            return;
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count) = input.read(&mut chunk)
            && count > 0
        {
            if queue
                .blocking_send(chunk.get(..count).unwrap_or_default().to_vec())
                .is_err()
            {
                return;
            }
        }
    });
    chunks
}

/// Standard input without a buffer, which would hold what another process is to read.
fn standard_input() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// The next line without its end; `None` at the end of the input.
fn line(input: &mut File) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    let text = String::from_utf8_lossy(&line);
    Some(text.strip_suffix('\r').unwrap_or(&text).to_owned())
}
