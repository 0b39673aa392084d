//! Tests of the records.

use proptest::prelude::*;

use super::*;
use crate::paths::{Acl, AclAccount, AclEntry, AclSubject};

fn entry() -> impl Strategy<Value = TreeEntry> {
    let name = "[a-z]{1,8}".prop_map(String::into_bytes);
    let content = prop_oneof![
        Just(EntryContent::Folder),
        any::<u64>().prop_map(EntryContent::File),
        any::<u32>().prop_map(EntryContent::SameFile),
        "[a-z./]{1,20}".prop_map(|target| EntryContent::Link(target.into_bytes())),
    ];
    let time = (any::<i64>(), 0..1_000_000_000u32);
    (
        proptest::option::of(0..NO_PARENT),
        name,
        content,
        0..=0o777u16,
        time,
    )
        .prop_map(
            |(parent, name, content, mode, (seconds, nanoseconds))| TreeEntry {
                has_other_names: match content {
                    EntryContent::File(_) | EntryContent::SameFile(_) => seconds % 3 == 0,
                    _ => false,
                },
                parent,
                name,
                content,
                mode,
                modified: FileTime {
                    seconds,
                    nanoseconds,
                },
                is_recent: seconds % 2 == 0,
            },
        )
}

fn failure() -> impl Strategy<Value = EntryFailure> {
    (any::<u32>(), "\\PC{0,100}").prop_map(|(entry, message)| EntryFailure {
        entry,
        code: ErrorCode::Denied,
        message,
    })
}

/// An ACL that names a user and a group.
fn acl(name: &[u8], number: u32) -> Acl {
    let name = name.iter().map(|byte| byte.max(&1)).copied().collect();
    let entries = [
        (AclSubject::Owner, 7),
        (AclSubject::User(AclAccount::Name(name)), 6),
        (AclSubject::Group, 5),
        (
            AclSubject::NamedGroup(AclAccount::Number(number.min(u32::MAX - 1))),
            4,
        ),
        (AclSubject::Mask, 1),
        (AclSubject::Others, 0),
    ];
    let entries = entries.into_iter().map(|(subject, permissions)| AclEntry {
        subject,
        permissions,
    });
    Acl::new(entries.collect()).unwrap()
}

proptest! {
    #[test]
    fn records_of_sender_are_read_as_written(
        entry in entry(), failure in failure(), number: u32, offset: u64, digest: [u8; 32],
        content in proptest::collection::vec(any::<u8>(), 1..200), is_incomplete: bool,
    ) {
        let records = [
            FromSender::Entry(entry.clone()),
            FromSender::Attribute(Attribute::new(b"user.a".to_vec(), content.clone()).unwrap()),
            FromSender::Acl(AclRecord { is_default: is_incomplete, acl: acl(&content, number) }),
            FromSender::FolderEnd { folder: number, is_incomplete },
            FromSender::File { entry: number, digest, content: &content },
            FromSender::Piece { entry: number, offset, content: &content },
            FromSender::Hole { entry: number, offset, length: 1 + u64::from(number) % (64 << 20) },
            FromSender::FileEnd { entry: number, length: offset, digest },
            FromSender::Changed { entry: number, length: offset, modified: entry.modified },
            FromSender::Grown { entry: number, message: failure.message.clone() },
            FromSender::Failed(failure),
            FromSender::Skipped,
            FromSender::Summary { folder: number / 2, digest: std::array::from_fn(|at| digest[at]) },
            FromSender::End { entries: number, digest },
        ];
        let mut buffer = RecordBuffer::default();
        for record in &records {
            record.write(buffer.input());
        }
        for record in &records {
            let bytes = buffer.next_record().unwrap().unwrap();
            prop_assert_eq!(&FromSender::read(bytes).unwrap(), record);
        }
        prop_assert!(buffer.is_complete());
    }

    #[test]
    fn records_of_receiver_are_read_as_written(
        failure in failure(), first in 0..u32::MAX / 2, count in 1..u32::MAX / 2, offset: u64,
        digest: [u8; 32],
    ) {
        let records = [
            FromReceiver::Want { first, count },
            FromReceiver::WantRest { entry: first, offset, digest },
            FromReceiver::Compared { entry: first, is_wanted_again: first % 2 == 0 },
            FromReceiver::Decided { entries: first },
            FromReceiver::Failed(failure),
            FromReceiver::Folder(FolderAnswer::Same { folder: first, files: count, bytes: offset }),
            FromReceiver::Folder(FolderAnswer::Expand { folder: first }),
            FromReceiver::Folder(FolderAnswer::ExpandAll),
            FromReceiver::Done(TreeSummary {
                entries: first, files: count, others: 1, removed: 2, failures: 3,
                bytes: offset, digest,
            }),
        ];
        let mut buffer = RecordBuffer::default();
        for record in &records {
            record.write(buffer.input());
        }
        for record in &records {
            let bytes = buffer.next_record().unwrap().unwrap();
            prop_assert_eq!(&FromReceiver::read(bytes).unwrap(), record);
        }
        prop_assert!(buffer.is_complete());
    }

    #[test]
    fn cuts_between_reads_change_nothing(entries in proptest::collection::vec(entry(), 1..20), cut in 1..50usize) {
        let mut body = Vec::new();
        for entry in &entries {
            FromSender::Entry(entry.clone()).write(&mut body);
        }
        let mut buffer = RecordBuffer::default();
        let mut read = Vec::new();
        for piece in body.chunks(cut) {
            buffer.input().extend_from_slice(piece);
            while let Some(record) = buffer.next_record().unwrap() {
                match FromSender::read(record).unwrap() {
                    FromSender::Entry(entry) => read.push(entry),
                    other => panic!("{other:?}"),
                }
            }
        }
        prop_assert_eq!(read, entries);
        prop_assert!(buffer.is_complete());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = FromSender::read(&bytes);
        let _ = FromReceiver::read(&bytes);
        let mut buffer = RecordBuffer::default();
        buffer.input().extend_from_slice(&bytes);
        while let Ok(Some(_)) = buffer.next_record() {}
    }
}

#[test]
fn names_and_numbers_that_mean_nothing_are_refused() {
    let good = TreeEntry {
        parent: Some(0),
        name: b"name".to_vec(),
        content: EntryContent::File(1),
        mode: 0o644,
        modified: FileTime::default(),
        is_recent: false,
        has_other_names: false,
    };
    let is_refused = |entry: TreeEntry| {
        let mut bytes = Vec::new();
        FromSender::Entry(entry).write(&mut bytes);
        FromSender::read(&bytes[LENGTH_BYTES..]) == Err(RecordError::Content(1))
    };
    assert!(!is_refused(good.clone()));
    for name in ["", ".", "..", "a/b", "a\0", ".landline-x.part"] {
        let name = name.as_bytes().to_vec();
        assert!(
            is_refused(TreeEntry {
                name,
                ..good.clone()
            }),
            "{good:?}"
        );
    }
    assert!(is_refused(TreeEntry {
        mode: 0o4755,
        ..good.clone()
    }));
    let late = FileTime {
        seconds: 0,
        nanoseconds: 1_000_000_000,
    };
    assert!(is_refused(TreeEntry {
        modified: late,
        ..good.clone()
    }));
    for target in ["", "a\0b", &"a".repeat(TARGET_BYTES_MAX + 1)] {
        let content = EntryContent::Link(target.as_bytes().to_vec());
        assert!(is_refused(TreeEntry {
            content,
            ..good.clone()
        }));
    }
}
