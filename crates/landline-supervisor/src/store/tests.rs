//! The writer against the reader.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::protocol::{Exit, Report, Status};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervisor-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn job(&self) -> JobFolder {
        JobFolder::open(&self.0).unwrap()
    }

    fn writer(&self, bytes_max: u64) -> Writer {
        let folder = std::fs::File::open(&self.0).unwrap();
        Writer::new(Rc::new(folder.into()), bytes_max, [0, 0])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was written of a stream: each byte, or `None` where it was dropped at once.
type Written = Vec<Option<u8>>;

/// What is read of a stream: each byte, or `None` in a gap.
fn read(job: &JobFolder, stream: OutputStream, stored: u64, bytes_max: usize) -> Written {
    let mut read = Written::new();
    loop {
        match job
            .read(stream, read.len() as u64, stored, bytes_max)
            .unwrap()
        {
            Piece::Bytes(bytes) => {
                assert!((1..=bytes_max).contains(&bytes.len()));
                read.extend(bytes.into_iter().map(Some));
            }
            Piece::Gap { to } => {
                assert!(to > read.len() as u64 && to <= stored);
                read.resize(usize::try_from(to).unwrap(), None);
            }
            Piece::End => return read,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn written_output_is_read_back(
        steps in proptest::collection::vec((any::<bool>(), 1..400_000_usize, 0..8_u8), 1..30),
        mebibytes in 1..8_u64,
        bytes_max in 1..300_000_usize,
    ) {
        let folder = Folder::new();
        let cap = mebibytes << 20;
        let mut writer = folder.writer(cap);
        let mut written = [Written::new(), Written::new()];
        let mut drops = 0;
        for (is_stderr, length, kind) in steps {
            let stream = OutputStream::ALL[usize::from(is_stderr)];
            let before = &mut written[usize::from(is_stderr)];
            let offset = before.len() as u64;
            let bytes: Vec<u8> = (0..length).map(|at| ((at ^ before.len()) % 251) as u8).collect();
            // As after a write that has failed.
            let is_dropped = kind == 0;
            writer.retry_at = is_dropped.then(|| Instant::now() + Duration::from_secs(1000));
            writer.append(stream, offset, &bytes);
            drops += usize::from(is_dropped);
            before.extend(bytes.into_iter().map(|byte| (!is_dropped).then_some(byte)));
        }
        let job = folder.job();
        let (mut total, index) = (0, job.index(0, 1000).unwrap());
        for (stream, written) in OutputStream::ALL.into_iter().zip(&written) {
            let stored = written.len() as u64;
            let read = read(&job, stream, stored, bytes_max);
            prop_assert_eq!(read.len(), written.len());
            total += read.iter().flatten().count() as u64;
            for (read, written) in read.iter().zip(written) {
                prop_assert!(read.is_none() || read == written, "another byte is read");
            }
            let first = written.len().min(100_000);
            if drops == 0 {
                prop_assert!(read[..first] == written[..first], "the beginning is kept");
                prop_assert!(read.last() == written.last(), "the newest is kept");
                prop_assert_eq!(job.stored(stream).unwrap(), stored);
            }
        }
        prop_assert!(total <= cap.max(4 * SEGMENT_BYTES_MAX));
        prop_assert_eq!(job.bytes().unwrap(), total + (index.len() * RECORD_BYTES) as u64);
        if written.iter().map(Vec::len).sum::<usize>() as u64 + 2 * SEGMENT_BYTES_MAX <= cap && drops == 0 {
            prop_assert_eq!(total, written.iter().map(Vec::len).sum::<usize>() as u64);
        }
        if drops == 0 {
            let last = IndexRecord {
                time: u64::MAX,
                stdout: written[0].len() as u64,
                stderr: written[1].len() as u64,
            };
            let records: Vec<_> = index.into_iter().chain([last]).collect();
            for pair in records.windows(2) {
                let grows = (pair[0].stdout < pair[1].stdout, pair[0].stderr < pair[1].stderr);
                prop_assert!(grows != (true, true), "one stream grows between two records");
                prop_assert!(pair[0].stdout <= pair[1].stdout && pair[0].stderr <= pair[1].stderr);
            }
        }
    }

    #[test]
    fn any_files_are_read_without_panic(
        names in proptest::collection::vec("[12]-[0f]{15}[0-9a-g]|1|index|status|x", 0..8),
        content in proptest::collection::vec(any::<u8>(), 0..200),
        offset in any::<u64>(),
        stored in any::<u64>(),
    ) {
        let folder = Folder::new();
        for name in names {
            std::fs::write(folder.0.join(name), &content).unwrap();
        }
        let job = folder.job();
        for stream in OutputStream::ALL {
            for (offset, stored) in [(offset, stored), (0, u64::MAX), (offset % 200, stored % 200)] {
                match job.read(stream, offset, stored, 100).unwrap() {
                    Piece::Bytes(bytes) => prop_assert!(!bytes.is_empty()),
                    Piece::Gap { to } => prop_assert!(to > offset && to <= stored),
                    Piece::End => prop_assert!(offset >= stored),
                }
            }
            job.stored(stream).unwrap();
        }
        job.bytes().unwrap();
        job.index(offset, 10).unwrap();
        let _ = job.exit();
    }
}

#[test]
fn room_of_open_segments_counts() {
    let folder = Folder::new();
    let cap = 4 * SEGMENT_BYTES_MAX + SEGMENT_BYTES_MAX / 2;
    let mut writer = folder.writer(cap);
    let segment = vec![0; usize::try_from(SEGMENT_BYTES_MAX).unwrap()];
    writer.append(OutputStream::Stdout, 0, b"x");
    for number in 0..4 {
        writer.append(OutputStream::Stderr, number * SEGMENT_BYTES_MAX, &segment);
    }
    writer.append(OutputStream::Stdout, 1, &segment[1..]);
    assert!(folder.job().bytes().unwrap() <= cap + INDEX_BYTES_OF_TEST);
}

/// More than the index of a short test has.
const INDEX_BYTES_OF_TEST: u64 = 4096;

/// Writes a byte to each output in turn, and returns how many records the index got.
fn records_of_turns(writer: &mut Writer, folder: &Folder, turns: u64) -> usize {
    let count = || folder.job().index(0, 1000).unwrap().len();
    let (before, offset) = (count(), writer.index_bytes);
    for turn in offset..offset + turns {
        for stream in OutputStream::ALL {
            writer.append(stream, turn, b"x");
        }
    }
    count() - before
}

#[test]
fn index_that_grows_has_a_record_a_second() {
    let folder = Folder::new();
    let mut writer = folder.writer(1 << 30);
    assert_eq!(records_of_turns(&mut writer, &folder, 10), 20);
    // As after so many records.
    writer.index_bytes = INDEX_BYTES_DENSE - 3 * RECORD_BYTES as u64;
    assert_eq!(records_of_turns(&mut writer, &folder, 10), 3);
    assert_eq!(writer.index_bytes, INDEX_BYTES_DENSE);
    let make_old = |writer: &mut Writer| {
        let (_, time) = writer.last_record.as_mut().unwrap();
        *time -= Duration::from_secs(1);
    };
    make_old(&mut writer);
    assert_eq!(records_of_turns(&mut writer, &folder, 10), 1);
    writer.index_bytes = INDEX_BYTES_MAX - RECORD_BYTES as u64;
    make_old(&mut writer);
    assert_eq!(records_of_turns(&mut writer, &folder, 10), 1);
    assert_eq!(writer.index_bytes, INDEX_BYTES_MAX);
    make_old(&mut writer);
    assert_eq!(records_of_turns(&mut writer, &folder, 10), 0);
}

#[test]
fn segment_names_are_exact() {
    for (name, expected) in [
        ("1-0000000000000000", Some((OutputStream::Stdout, 0))),
        ("2-00000000000fffff", Some((OutputStream::Stderr, 0xf_ffff))),
        ("2-ffffffffffffffff", Some((OutputStream::Stderr, u64::MAX))),
        ("3-0000000000000000", None),
        ("1-000000000000000", None),
        ("1-00000000000FFFFF", None),
        ("1-+000000000000001", None),
        ("01-0000000000000000", None),
        ("1-0000000000000000.new", None),
        ("index", None),
    ] {
        assert_eq!(parse_segment_name(name.as_bytes()), expected, "{name}");
    }
}

#[test]
fn folder_without_supervisor_is_empty() {
    let folder = Folder::new();
    let job = folder.job();
    assert!(!job.is_locked().unwrap());
    assert_eq!(job.exit().unwrap(), None);
    assert_eq!(job.stored(OutputStream::Stdout).unwrap(), 0);
    assert_eq!(job.bytes().unwrap(), 0);
    assert!(job.index(0, 10).unwrap().is_empty());
    assert!(job.connect().is_err());
    let gap = job.read(OutputStream::Stdout, 3, 9, 10).unwrap();
    assert_eq!(gap, Piece::Gap { to: 9 });
    assert!(JobFolder::open(&folder.0.join("other")).is_err());
}

#[test]
fn written_status_is_read_back() {
    let folder = Folder::new();
    let exit = Exit {
        status: Status::Code(3),
        user_time: Duration::from_micros(5),
        system_time: Duration::ZERO,
        memory_bytes_max: 1,
        timed_out: false,
        stdout: 3,
        stderr: 0,
        started: 1,
        ended: 2,
        left_open: true,
    };
    let mut writer = folder.writer(1 << 20);
    writer.append(OutputStream::Stdout, 0, b"abc");
    writer.finish(&exit).unwrap();
    let job = folder.job();
    assert_eq!(job.exit().unwrap(), Some(exit));
    let mut damaged = Vec::new();
    Report::InputStop.encode(&mut damaged);
    for content in [&damaged[..], &[], &[0; 5000]] {
        std::fs::write(folder.0.join(STATUS), content).unwrap();
        assert!(job.exit().is_err(), "{content:?}");
    }
}
