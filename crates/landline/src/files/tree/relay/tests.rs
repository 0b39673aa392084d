//! Tests of the relay.

use super::*;
use crate::{
    files::{
        Observed,
        delta::Change,
        messages::Compare,
        tree::records::{PIECE_BYTES, Packer, RECORD_BYTES_MAX, TreeEntry},
    },
    paths::FileTime,
};

fn relay(paths: &[&str]) -> RelayCheck {
    let request = GetTree {
        paths: paths
            .iter()
            .map(|path| Name(path.as_bytes().to_vec()))
            .collect(),
        folders: true,
        one_file_system: false,
        compare: Compare::Nothing,
        compress: false,
        dry_run: false,
        selection: false,
        hard_links: false,
        attributes: false,
        acls: false,
        skip_special: false,
        links: crate::files::tree::WalkedLinks::Keep,
        summaries: true,
        exact_mode: false,
    };
    RelayCheck::new(&request, TreeReport::default())
}

fn entry(parent: Option<u32>, name: &str, content: EntryContent) -> FromSender<'static> {
    FromSender::Entry(TreeEntry {
        parent,
        name: name.as_bytes().to_vec(),
        content,
        mode: 0o644,
        modified: FileTime::default(),
        is_recent: false,
        has_other_names: false,
    })
}

/// Feeds a record of the source, without its length.
fn content(relay: &mut RelayCheck, record: &FromSender<'_>) -> Result<Position, Error> {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    relay.check_content(&bytes[4..])
}

fn answer(relay: &mut RelayCheck, record: &FromReceiver) -> Result<Position, Error> {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    relay.check_answer(&bytes[4..])
}

/// Proves `server-picks-name` in docs/faults.md.
#[test]
fn source_chooses_no_names_at_the_destination() {
    let folder = || EntryContent::Folder;
    let mut right = relay(&["a/photos", "notes"]);
    content(&mut right, &entry(None, "photos", folder())).unwrap();
    content(&mut right, &entry(Some(0), "any", folder())).unwrap();
    content(&mut right, &entry(None, "notes", EntryContent::File(1))).unwrap();
    assert!(content(&mut right, &entry(None, "more", folder())).is_err());
    // One that cannot be read gives its name to no other.
    let mut skipping = relay(&["a/photos", "notes"]);
    content(&mut skipping, &FromSender::Skipped).unwrap();
    content(&mut skipping, &entry(None, "notes", EntryContent::File(1))).unwrap();
    assert!(content(&mut skipping, &FromSender::Skipped).is_err());
    let mut other = relay(&["a/photos"]);
    assert!(content(&mut other, &entry(None, ".ssh", folder())).is_err());
}

/// Bytes that stand for much more must not be kept as what they stand for.
///
/// Proves `decompression` in docs/faults.md.
#[tokio::test]
async fn unpacked_records_are_passed_on_in_pieces() {
    let zeros = FromSender::Piece {
        entry: 1,
        offset: 0,
        content: &[0; PIECE_BYTES],
    };
    let mut plain = Vec::new();
    zeros.write(&mut plain);
    let packed = Packer::new().unwrap().pack(plain);
    let (input, received) = mpsc::channel(1);
    input.send(packed.repeat(100)).await.unwrap();
    let (out, mut passed) = mpsc::channel(1);
    let forward = Forward {
        first: Vec::new(),
        input: received,
        records: RecordBuffer::unpacking(),
        out: &out,
        compression: Compression::default(),
    };
    let mut checked = 0;
    tokio::select! {
        done = forward.run(|_| { checked += 1; Ok(Position::Within) }, || false) => panic!("{done:?}"),
        first = passed.recv() => match first {
            Some(Outgoing::Bytes(bytes)) => assert!(bytes.len() <= 2 * RECORD_BYTES_MAX),
            other => panic!("{other:?}"),
        },
    }
    assert!(checked < 10, "{checked} records at once");
}

#[tokio::test]
async fn records_are_packed_only_if_the_destination_takes_them() {
    for is_possible in [true, false] {
        let mut plain = Vec::new();
        let zeros = FromSender::Piece {
            entry: 1,
            offset: 0,
            content: &[0; PIECE_BYTES],
        };
        zeros.write(&mut plain);
        let length = plain.len();
        let (input, received) = mpsc::channel(1);
        input.send(plain).await.unwrap();
        let (out, mut passed) = mpsc::channel(2);
        let forward = Forward {
            first: Vec::new(),
            input: received,
            records: RecordBuffer::default(),
            out: &out,
            compression: Compression::new(true, Arc::new(AtomicBool::new(is_possible))),
        };
        forward.run(|_| Ok(Position::Last), || false).await.unwrap();
        let Some(Outgoing::Bytes(bytes)) = passed.recv().await else {
            panic!("no bytes");
        };
        assert_eq!(bytes.len() < length / 10, is_possible);
    }
}

#[test]
fn comparison_that_was_not_asked_for_is_refused() {
    let mut relay = relay(&["t"]);
    content(&mut relay, &entry(None, "t", EntryContent::File(9))).unwrap();
    assert!(answer(&mut relay, &FromReceiver::WantChanges { entry: 0 }).is_err());
    let change = Change::Zeros { length: 9 };
    assert!(content(&mut relay, &FromSender::Change { entry: 0, change }).is_err());
}

#[test]
fn progress_counts_what_passes() {
    let mut relay = relay(&["t"]);
    content(&mut relay, &entry(None, "t", EntryContent::Folder)).unwrap();
    for name in ["a", "b", "c"] {
        content(&mut relay, &entry(Some(0), name, EntryContent::File(10))).unwrap();
    }
    assert_eq!(relay.progress.state().total, None);
    let end = FromSender::FolderEnd {
        folder: 0,
        is_incomplete: false,
    };
    content(&mut relay, &end).unwrap();
    answer(&mut relay, &FromReceiver::Want { first: 1, count: 1 }).unwrap();
    let rest = FromReceiver::WantRest {
        entry: 2,
        offset: 4,
        digest: [0; 32],
    };
    answer(&mut relay, &rest).unwrap();
    answer(&mut relay, &FromReceiver::Decided { entries: 4 }).unwrap();
    let file = FromSender::File {
        entry: 1,
        digest: [0; 32],
        content: &[0; 10],
    };
    content(&mut relay, &file).unwrap();
    let piece = FromSender::Piece {
        entry: 2,
        offset: 4,
        content: &[0; 6],
    };
    content(&mut relay, &piece).unwrap();
    let end = FromSender::FileEnd {
        entry: 2,
        length: 10,
        digest: [0; 32],
    };
    content(&mut relay, &end).unwrap();
    let state = relay.progress.state();
    assert_eq!((state.done, state.total, state.kept), (30, Some(30), 14));
    assert_eq!(state.files.unwrap().done, 3);
    assert!(relay.files.is_empty());
}

/// Folders that are the same count as soon as the destination says so.
#[test]
fn progress_counts_what_summaries_stand_for() {
    let mut relay = relay(&["t"]);
    content(&mut relay, &entry(None, "t", EntryContent::Folder)).unwrap();
    let summary = FromSender::Summary {
        folder: 0,
        digest: [0; 16],
    };
    content(&mut relay, &summary).unwrap();
    assert_eq!(relay.progress.state().total, None);
    let same = FolderAnswer::Same {
        folder: 0,
        files: 3,
        bytes: 50,
    };
    answer(&mut relay, &FromReceiver::Folder(same)).unwrap();
    assert!(answer(&mut relay, &FromReceiver::Folder(same)).is_err());
    let state = relay.progress.state();
    assert_eq!((state.done, state.total, state.kept), (50, Some(50), 50));
    assert_eq!(state.files.unwrap().done, 3);
}

/// The source may say that it has ended, and then send what is wanted all the same.
#[tokio::test]
async fn records_after_an_end_are_passed_on() {
    let end = FromSender::End {
        entries: 1,
        digest: [0; 32],
    };
    let file = FromSender::File {
        entry: 0,
        digest: [0; 32],
        content: b"content",
    };
    for has_end in [true, false] {
        let mut body = Vec::new();
        for record in [&end, &file, &end] {
            record.write(&mut body);
        }
        let (input, received) = mpsc::channel(1);
        input.send(body.clone()).await.unwrap();
        drop(input);
        let (out, mut passed) = mpsc::channel(2);
        let forward = Forward {
            first: Vec::new(),
            input: received,
            records: RecordBuffer::default(),
            out: &out,
            compression: Compression::default(),
        };
        let check = Mutex::new(relay(&["t"]));
        let done = forward.run(
            |record| lock(&check).check_content(record),
            || has_end && lock(&check).has_end,
        );
        assert_eq!(done.await.is_ok(), has_end);
        match passed.recv().await {
            Some(Outgoing::Bytes(bytes)) => assert_eq!(bytes, body),
            other => panic!("{other:?}"),
        }
        if has_end {
            assert!(matches!(passed.recv().await, Some(Outgoing::End)));
        }
    }
}
