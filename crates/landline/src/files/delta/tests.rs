//! Both parts together, on files of a temporary folder.

use std::{os::unix::fs::FileExt, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{
    Error,
    paths::{File, TempDir, anonymous_file},
};

const SUBTREE: usize = SUBTREE_BYTES as usize;

/// Applies changes at once, and counts them.
struct Loopback {
    patcher: Patcher,
    answers: Vec<Known>,
    sent: u64,
    reused: u64,
    wire: u64,
    searches: u32,
}

impl ChangeSink for Loopback {
    fn send(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let mut record = Vec::new();
        change.write(&mut record);
        self.wire += record.len() as u64;
        let change = Change::read(&record).unwrap();
        match self.patcher.apply(&change)? {
            Applied::Sent(length) => self.sent += length,
            Applied::Kept(length) | Applied::Written(length) => self.reused += length,
            Applied::Search => {
                self.searches += 1;
                let answers = &mut self.answers;
                self.patcher.sums(&mut |known, _| {
                    answers.extend(known.cloned());
                    Ok(())
                })?;
            }
            Applied::Whole => {}
        }
        Ok(())
    }

    fn wait(&mut self, known: &mut KnownContent) -> Result<(), Error> {
        if self.answers.is_empty() {
            assert!(self.patcher.can_compare(), "both sides wait");
            self.answers.push(self.patcher.compare_some()?.0);
        }
        for answer in self.answers.drain(..) {
            let mut record = Vec::new();
            answer.write(&mut record);
            self.wire += record.len() as u64;
            known.add(Known::read(&record).unwrap())?;
        }
        Ok(())
    }
}

fn file(folder: &Path, content: &[u8]) -> File {
    let file = anonymous_file(folder).unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// What a copy did: the new content, bytes that were sent, on the wire, and searches.
struct Outcome {
    content: Vec<u8>,
    sent: u64,
    wire: u64,
    searches: u32,
    disk: u64,
}

/// Copies `new` to a receiver that has `old` and the staging file of an earlier attempt.
fn copy(new: &[u8], old: Option<&[u8]>, earlier: &[u8]) -> Outcome {
    copy_over(false, new, old, earlier)
}

fn copy_over(is_fast: bool, new: &[u8], old: Option<&[u8]>, earlier: &[u8]) -> Outcome {
    let folder = TempDir::create(&std::env::temp_dir()).unwrap();
    let [mut one, two] = [false, true].map(|is_direct| {
        let staged = file(folder.path(), earlier);
        let old = old.map(|old| file(folder.path(), old));
        transfer(is_fast, new, staged, earlier.len() as u64, old, is_direct)
    });
    assert!(one.content == two.content, "past the page cache");
    assert_eq!((one.sent, one.searches), (two.sent, two.searches));
    one.disk = one.disk.max(two.disk);
    one
}

/// Builds `new` in `staged`, through the page cache or past it.
fn transfer(
    is_fast: bool,
    new: &[u8],
    staged: File,
    staged_length: u64,
    replaced: Option<File>,
    is_direct: bool,
) -> Outcome {
    let patcher = Patcher::new(PatcherParts {
        sparse: true,
        staged: staged.try_clone().unwrap(),
        direct: is_direct.then(|| staged.try_clone().unwrap()),
        staged_length,
        replaced,
        length: new.len() as u64,
        shown: "file".into(),
    })
    .unwrap();
    let mut loopback = Loopback {
        answers: vec![patcher.basis()],
        patcher,
        sent: 0,
        reused: 0,
        wire: 0,
        searches: 0,
    };
    let mut read = |offset: u64, buffer: &mut [u8]| {
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&new[offset..offset + buffer.len()]);
        Ok(())
    };
    let known = KnownContent::default();
    let comparer = Comparer::new(new.len() as u64, &mut read, known, &mut loopback, false);
    let digest = if is_fast {
        comparer.on_a_fast_connection().run().unwrap()
    } else {
        comparer.run().unwrap()
    };
    assert_eq!(digest, blake3::hash(new), "the sender's digest");
    assert_eq!(loopback.patcher.digest().unwrap(), digest, "the receiver's");
    assert_eq!(loopback.sent + loopback.reused, new.len() as u64);
    let metadata = staged.metadata().unwrap();
    let mut content = vec![0; usize::try_from(metadata.len()).unwrap()];
    staged.read_exact_at(&mut content, 0).unwrap();
    Outcome {
        content,
        sent: loopback.sent,
        wire: loopback.wire,
        searches: loopback.searches,
        disk: std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
    }
}

/// Bytes that do not repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    reader.fill(&mut bytes);
    bytes
}

#[test]
fn only_changed_parts_are_sent() {
    let old = noise(80 * SUBTREE + 1000, 1);
    let mut new = old.clone();
    new[5 * SUBTREE + 7] ^= 1;
    new[80 * SUBTREE + 999] ^= 1;
    let outcome = copy(&new, Some(&old), &[]);
    assert!(outcome.content == new);
    assert_eq!(outcome.sent, SUBTREE_BYTES + 1000);
    assert_eq!(outcome.searches, 0);
    let same = copy(&old, Some(&old), &[]);
    assert!(same.content == old && same.sent == 0 && same.wire < 81 * 32 + 100);
}

#[test]
fn what_an_earlier_attempt_left_is_not_sent() {
    let new = noise(30 * SUBTREE, 2);
    let old = noise(20 * SUBTREE, 3);
    let mut earlier = new[..25 * SUBTREE + 5].to_vec();
    earlier[3 * SUBTREE] ^= 1;
    for old in [None, Some(&old[..])] {
        let outcome = copy(&new, old, &earlier);
        assert!(outcome.content == new);
        assert_eq!(outcome.sent, 6 * SUBTREE_BYTES);
    }
    // The rest comes from the file that is replaced.
    let outcome = copy(&new, Some(&new), &earlier[..10 * SUBTREE]);
    assert!(outcome.content == new);
    assert_eq!(outcome.sent, SUBTREE_BYTES);
}

#[test]
fn inserted_byte_moves_content_and_sends_little() {
    let old = noise(400 * SUBTREE, 4);
    let new = [b"x", &old[..]].concat();
    let outcome = copy(&new, Some(&old), &[]);
    assert!(outcome.content == new);
    assert_eq!(outcome.searches, 1);
    assert!(
        outcome.sent < 11 * SUBTREE_BYTES && outcome.wire < new.len() as u64 / 30,
        "{} of {}",
        outcome.sent,
        new.len()
    );
}

#[test]
fn fast_connection_ends_the_comparison() {
    let new = noise(400 * SUBTREE, 7);
    // The rest is the same, but is not compared any more.
    let mut old = new.clone();
    old[..300 * SUBTREE].copy_from_slice(&noise(300 * SUBTREE, 8));
    for old in [None, Some(&old[..])] {
        let earlier = if old.is_none() {
            &noise(320 * SUBTREE, 9)[..]
        } else {
            &[]
        };
        let outcome = copy_over(true, &new, old, earlier);
        assert!(outcome.content == new);
        assert_eq!(outcome.sent, new.len() as u64);
    }
    let slow = copy(&new, Some(&old), &[]);
    assert!(slow.sent < 310 * SUBTREE_BYTES, "{}", slow.sent);
}

/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn zeros_are_holes_and_are_compared() {
    let zeros = vec![0; 40 * SUBTREE];
    for length in [16 * SUBTREE, 32 * SUBTREE, 32 * SUBTREE + 1] {
        let outcome = copy(&zeros[..length], None, &[]);
        assert!(outcome.content == zeros[..length]);
        assert_eq!(outcome.disk, 0);
        assert!(outcome.wire < 200);
    }
    // A sparse file replaces a dense one.
    let mut sparse = zeros.clone();
    sparse[7] = 1;
    sparse[20 * SUBTREE..21 * SUBTREE].fill(5);
    sparse[40 * SUBTREE - 2] = 9;
    let dense = noise(40 * SUBTREE, 5);
    let outcome = copy(&sparse, Some(&dense), &[]);
    assert!(outcome.content == sparse);
    assert!(
        outcome.disk <= 3 * SUBTREE_BYTES + 128 * 1024,
        "{}",
        outcome.disk
    );
    // Zeros that are not there are not taken for kept.
    let outcome = copy(&zeros, None, &dense[..10 * SUBTREE]);
    assert!(outcome.content == zeros);
}

/// Proves `slow-search` in docs/faults.md.
#[test]
fn regular_content_takes_no_quadratic_time() {
    // By the bytes that are hashed for nothing, not by the clock.
    for pattern in [&b"a"[..], b"abc", b"abcdefghijklmnopqrstuvwxyz0123456"] {
        let old: Vec<u8> = pattern.iter().copied().cycle().take(32 * SUBTREE).collect();
        let new = [&b"#"[..], &old].concat();
        let outcome = copy(&new, Some(&old), &[]);
        assert!(outcome.content == new);
        assert!(outcome.sent < 12 * SUBTREE_BYTES, "{}", outcome.sent);
    }
}

#[test]
fn changes_that_are_not_possible_are_refused() {
    let folder = TempDir::create(&std::env::temp_dir()).unwrap();
    let make = |old: Option<&[u8]>| {
        Patcher::new(PatcherParts {
            sparse: true,
            staged: anonymous_file(folder.path()).unwrap(),
            direct: None,
            staged_length: 0,
            replaced: old.map(|old| file(folder.path(), old)),
            length: 3 * SUBTREE_BYTES,
            shown: "file".into(),
        })
        .unwrap()
    };
    let old = noise(3 * SUBTREE, 6);
    let kept = |length| Change::Kept { length };
    let copied = |from, length| Change::Copied { from, length };
    let piece = &old[..SUBTREE];
    let refused = |old: Option<&[u8]>, compare: bool, changes: &[Change<'_>]| {
        let mut patcher = make(old);
        if compare {
            patcher.compare_some().unwrap();
        }
        let (last, first) = changes.split_last().unwrap();
        for change in first {
            patcher.apply(change).unwrap();
        }
        let error = patcher.apply(last).unwrap_err();
        assert_eq!(error.code_str(), "bad-header", "{changes:?}");
    };
    refused(Some(&old), false, &[kept(1)]);
    refused(Some(&old), false, &[Change::Piece(piece)]);
    refused(Some(&old), true, &[kept(1)]);
    refused(Some(&old), true, &[kept(SUBTREE_BYTES + 1)]);
    refused(Some(&old), true, &[kept(u64::MAX)]);
    refused(
        Some(&old),
        true,
        &[Change::Piece(&piece[1..]), kept(SUBTREE_BYTES)],
    );
    refused(None, true, &[kept(SUBTREE_BYTES)]);
    refused(None, true, &[Change::Search]);
    refused(
        None,
        true,
        &[Change::Zeros {
            length: 4 * SUBTREE_BYTES,
        }],
    );
    refused(Some(&old), true, &[copied(0, 1)]);
    refused(
        Some(&old),
        true,
        &[Change::Search, copied(1, 3 * SUBTREE_BYTES)],
    );
    refused(Some(&old), true, &[Change::Search, copied(u64::MAX, 2)]);
    refused(Some(&old), true, &[Change::Search, Change::Search]);
    refused(Some(&old), false, &[Change::Whole, kept(SUBTREE_BYTES)]);
    let mut patcher = make(Some(&old));
    assert!(patcher.digest().is_err(), "nothing has arrived");
}

/// A file that cannot be read, as on a damaged disk.
#[expect(
    clippy::disallowed_methods,
    reason = "no other file is opened only to write"
)]
fn unreadable(folder: &Path, content: &[u8]) -> File {
    let path = folder.join("unreadable");
    std::fs::write(&path, content).unwrap();
    File::options().write(true).open(path).unwrap()
}

#[test]
fn replaced_file_that_cannot_be_read_is_of_no_use() {
    let folder = TempDir::create(&std::env::temp_dir()).unwrap();
    let old = noise(40 * SUBTREE, 41);
    let new = [b"x", &old[1..]].concat();
    let replaced = || Some(unreadable(folder.path(), &old));
    let staged = anonymous_file(folder.path()).unwrap();
    let outcome = transfer(false, &new, staged, 0, replaced(), false);
    assert!(outcome.content == new);
    assert_eq!(outcome.sent, new.len() as u64);
    assert_eq!(outcome.searches, 1);
    // What was said to have moved cannot be read any more.
    let mut patcher = Patcher::new(PatcherParts {
        sparse: true,
        staged: anonymous_file(folder.path()).unwrap(),
        direct: None,
        staged_length: 0,
        replaced: replaced(),
        length: 3 * SUBTREE_BYTES,
        shown: "file".into(),
    })
    .unwrap();
    patcher.apply(&Change::Search).unwrap();
    let copied = Change::Copied { from: 0, length: 9 };
    let error = patcher.apply(&copied).unwrap_err();
    assert_eq!(error.code_str(), "digest-mismatch");
}

#[test]
fn content_that_is_written_here_costs_and_is_not_sent() {
    let folder = TempDir::create(&std::env::temp_dir()).unwrap();
    let old = noise(3 * SUBTREE, 40);
    let mut patcher = Patcher::new(PatcherParts {
        sparse: true,
        staged: anonymous_file(folder.path()).unwrap(),
        direct: None,
        staged_length: 0,
        replaced: Some(file(folder.path(), &old)),
        length: 4 * SUBTREE_BYTES,
        shown: "file".into(),
    })
    .unwrap();
    patcher.compare_some().unwrap();
    let length = SUBTREE_BYTES;
    for (change, applied, cost) in [
        (Change::Kept { length }, Applied::Kept(length), 0),
        (Change::Zeros { length }, Applied::Written(length), length),
        (Change::Search, Applied::Search, 0),
        (
            Change::Copied { from: 1, length },
            Applied::Written(length),
            length,
        ),
        (Change::Piece(b"new"), Applied::Sent(3), 3),
    ] {
        assert_eq!(patcher.apply(&change).unwrap(), applied);
        assert_eq!(applied.cost(), cost, "{applied:?}");
    }
}

#[test]
fn answers_that_are_not_due_are_refused() {
    let basis = || Known::Basis {
        length: 2 * SUBTREE_BYTES,
        replaced: 0,
    };
    let values = |count| Known::Values(vec![[0; 32]; count]);
    let blocks = || Known::Blocks {
        key: [0; 32],
        block_bytes: 65_536,
        count: 1,
    };
    let sums = Known::Sums(vec![]);
    for answers in [
        vec![values(1)],
        vec![basis(), basis()],
        vec![basis(), values(3)],
        vec![basis(), blocks()],
        vec![sums],
    ] {
        let mut known = KnownContent::default();
        let (last, first) = answers.split_last().unwrap();
        for answer in first {
            known.add(answer.clone()).unwrap();
        }
        assert!(known.add(last.clone()).is_err(), "{answers:?}");
    }
}

/// An edit at a place and of a length in parts of 1000.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, usize, u64),
    Delete(usize, usize),
    Move(usize, usize, usize),
    Overwrite(usize, usize, u64),
    Zero(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let part = 0..1000usize;
    let edit = prop_oneof![
        (part.clone(), 0..100usize, any::<u64>()).prop_map(|(a, b, c)| Edit::Insert(a, b, c)),
        (part.clone(), 0..300usize).prop_map(|(a, b)| Edit::Delete(a, b)),
        (part.clone(), 0..300usize, part.clone()).prop_map(|(a, b, c)| Edit::Move(a, b, c)),
        (part.clone(), 0..100usize, any::<u64>()).prop_map(|(a, b, c)| Edit::Overwrite(a, b, c)),
        (part, 0..300usize).prop_map(|(a, b)| Edit::Zero(a, b)),
    ];
    prop::collection::vec(edit, 0..5)
}

fn apply(edits: &[Edit], content: &mut Vec<u8>) {
    for edit in edits {
        let scale = content.len();
        let at = |part: usize| part * scale / 1000;
        let range = |from: usize, length: usize| at(from)..(at(from) + at(length)).min(scale);
        match *edit {
            Edit::Insert(place, length, seed) => {
                let place = at(place);
                content.splice(place..place, noise(at(length) + 1, seed));
            }
            Edit::Delete(place, length) => {
                content.drain(range(place, length));
            }
            Edit::Move(place, length, to) => {
                let moved: Vec<u8> = content.drain(range(place, length)).collect();
                let to = at(to).min(content.len());
                content.splice(to..to, moved);
            }
            Edit::Overwrite(place, length, seed) => {
                let range = range(place, length);
                let bytes = noise(range.len(), seed);
                content[range].copy_from_slice(&bytes);
            }
            Edit::Zero(place, length) => content[range(place, length)].fill(0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn edited_content_is_rebuilt(
        seed in any::<u64>(),
        blocks in 4..40usize,
        tail in 0..SUBTREE,
        edits in edits(),
        earlier in 0..1000usize,
        has_old in any::<bool>(),
    ) {
        let old = noise(blocks * SUBTREE + tail, seed);
        let mut new = old.clone();
        apply(&edits, &mut new);
        prop_assume!(new.len() as u64 >= COMPARED_BYTES_MIN);
        let earlier = &new[..new.len() * earlier / 1000];
        let outcome = copy(&new, has_old.then_some(&old), earlier);
        prop_assert!(outcome.content == new);
        let outcome = copy(&new, Some(&old), &[]);
        prop_assert!(outcome.content == new);
    }

    #[test]
    fn records_are_read_as_written(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(change) = Change::read(&bytes) {
            let mut written = Vec::new();
            change.write(&mut written);
            prop_assert_eq!(&written, &bytes);
        }
        if let Ok(known) = Known::read(&bytes) {
            let mut written = Vec::new();
            known.write(&mut written);
            prop_assert_eq!(&written, &bytes);
        }
    }
}
