//! What a server and a supervisor say to each other, and what programs write to terminals.

use landline::exec::{ModeLatch, OutputFilter};
use landline_supervisor::{
    protocol::{FrameBuffer, FrameError, Order, Report, Size},
    terminal::Terminal,
};

use crate::{controls, segmentations};

/// The frames of a stream, read as orders and as reports.
pub fn supervisor(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| {
        if choice % 2 == 0 {
            decode(&pieces, Order::decode, Order::encode)
        } else {
            decode(&pieces, Report::decode, Report::encode)
        }
    });
    assert!(whole == steps && steps == bytes);
}

/// What a program writes to its terminal, on its way to that of its user or of a watcher.
pub fn terminal_output(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let filter = || match choice % 3 {
        0 => OutputFilter::for_owner(),
        1 => OutputFilter::for_watcher(),
        _ => {
            let mut filter = OutputFilter::for_owner();
            filter.set_drops_queries(true);
            filter
        }
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| {
        let (mut filter, mut passed) = (filter(), Vec::new());
        for piece in pieces {
            filter.filter(piece, &mut passed);
        }
        passed
    });
    assert!(whole == steps && steps == bytes);
    // What passes once passes again.
    let mut again = Vec::new();
    filter().filter(&whole, &mut again);
    assert!(whole.starts_with(&again));
    let mut latch = ModeLatch::default();
    latch.note(&whole);
    let undone = latch.undo();
    assert!(latch.undo().is_empty());
    // What undoes the modes leaves nothing to undo.
    latch.note(&whole);
    latch.note(&undone);
    assert!(latch.undo().is_empty());
}

/// How many frames were read, and why reading ended.
fn decode<T: PartialEq + std::fmt::Debug>(
    pieces: &[&[u8]],
    decode: impl Fn(&[u8]) -> Result<T, FrameError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> (usize, Option<FrameError>) {
    let mut frames = FrameBuffer::default();
    let mut count = 0;
    for piece in pieces {
        frames.extend(piece);
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (count, Some(error)),
            };
            let decoded = match decode(frame) {
                Ok(decoded) => decoded,
                Err(error) => return (count, Some(error)),
            };
            count += 1;
            let mut bytes = Vec::new();
            encode(&decoded, &mut bytes);
            let mut again = FrameBuffer::default();
            again.extend(&bytes);
            let frame = again.next_frame().ok().flatten();
            let decoded_again = frame.and_then(|frame| decode(frame).ok());
            assert_eq!(decoded_again.as_ref(), Some(&decoded));
        }
    }
    (count, None)
}

/// The output of a program with a terminal. The choice and the step decide the sizes.
///
/// However the output is cut, the model is the same. A dump of it is quiet, and brings another
/// model to the same state.
pub fn terminal(input: &[u8]) {
    let Some((choice, step, output)) = controls(input) else {
        return;
    };
    let first = Size {
        rows: 1 + u16::from(choice % 8),
        columns: 1 + u16::from(choice / 8),
    };
    let second = Size {
        rows: 1 + u16::try_from(step % 7).unwrap_or(0),
        columns: 1 + u16::try_from(step % 31).unwrap_or(0),
    };
    let [whole, steps, bytes] = segmentations(output, step).map(|pieces| {
        let mut terminal = Terminal::new(first);
        pieces.iter().for_each(|piece| terminal.feed(piece));
        let answers = terminal.take_answers();
        let dump = terminal.dump(Some(usize::MAX), usize::MAX);
        terminal.resize(second);
        (answers, dump, terminal)
    });
    assert!((&whole.0, &whole.1) == (&steps.0, &steps.1));
    assert!((&whole.0, &whole.1) == (&bytes.0, &bytes.1));
    for (size, dump) in [
        (first, whole.1),
        (second, whole.2.dump(Some(usize::MAX), usize::MAX)),
    ] {
        assert!(dump.is_whole && dump.unfinished <= output.len() as u64);
        let restore = |bytes: &[u8]| {
            let mut restored = Terminal::new(size);
            restored.feed(bytes);
            assert!(restored.take_answers().is_empty());
            restored.dump(Some(0), usize::MAX)
        };
        let once = restore(&dump.bytes);
        let twice = restore(&once.bytes);
        assert!(once == twice && once.unfinished == 0);
    }
}
