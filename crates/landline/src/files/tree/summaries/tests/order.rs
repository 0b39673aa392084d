//! Peers that answer in another order, or lie.

use super::*;

/// Lets a receiver read these records. Returns its answers as well.
fn receive(
    target: &Path,
    taken: TakenSummaries,
    records: &[FromSender<'_>],
) -> (Result<TreeSummary, Error>, Vec<u8>) {
    let (connection, ends) = bodies(false);
    let mut body = Vec::new();
    for record in records {
        record.write(&mut body);
    }
    let (answers, input) = connection.into_parts();
    input.try_send(body).unwrap();
    drop(input);
    let reading = thread::spawn(move || collect(answers));
    let copy = Copy::new(FORCED);
    let lines = Arc::default();
    let done = copy.receiver(target, ends, taken, Arc::default(), &lines);
    (done, reading.join().unwrap())
}

/// Collects a body.
fn collect(mut out: mpsc::Receiver<Outgoing>) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Outgoing::Bytes(bytes)) = out.blocking_recv() {
        body.extend_from_slice(&bytes);
    }
    body
}

fn entry(parent: Option<u32>, name: &str, content: EntryContent) -> FromSender<'static> {
    FromSender::Entry(TreeEntry {
        parent,
        name: name.as_bytes().to_vec(),
        content,
        mode: 0o755,
        modified: time(0),
        is_recent: false,
        has_other_names: false,
    })
}

#[test]
fn receiver_refuses_summaries_that_are_not_due() {
    let tree = example();
    let pair = Pair::new(&tree, &tree);
    let target = pair.path("target");
    let root = || entry(None, "tree", EntryContent::Folder);
    let folder = || entry(Some(0), "a", EntryContent::Folder);
    let summary = |folder| FromSender::Summary {
        folder,
        digest: [7; 16],
    };
    let end = |folder| FromSender::FolderEnd {
        folder,
        is_incomplete: false,
    };
    let compared = TakenSummaries::Compared;
    let cases = [
        ("of nothing", compared, vec![root(), summary(1)]),
        (
            "twice",
            compared,
            vec![root(), folder(), summary(1), summary(1)],
        ),
        (
            "behind an entry",
            compared,
            vec![
                root(),
                folder(),
                entry(Some(1), "x", EntryContent::File(1)),
                summary(1),
            ],
        ),
        (
            "behind the end of the folder",
            compared,
            vec![root(), folder(), end(1), summary(1)],
        ),
        (
            "not announced",
            TakenSummaries::Refused,
            vec![root(), folder(), summary(1)],
        ),
    ];
    for (name, taken, records) in cases {
        let (done, _) = receive(&target, taken, &records);
        assert_eq!(done.unwrap_err().code_str(), "bad-header", "{name}");
    }
    assert_eq!(read(&target), tree);
}

#[test]
fn summary_that_lies_is_no_end_of_a_folder() {
    let tree = example();
    let pair = Pair::new(&tree, &tree);
    let mut records = vec![
        entry(None, "tree", EntryContent::Folder),
        entry(Some(0), "a", EntryContent::Folder),
        FromSender::Summary {
            folder: 1,
            digest: [7; 16],
        },
        FromSender::FolderEnd {
            folder: 0,
            is_incomplete: false,
        },
    ];
    let mut hasher = blake3::Hasher::new();
    for record in &records[..3] {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        hasher.update(&bytes);
    }
    let end = FromSender::End {
        entries: 2,
        digest: *hasher.finalize().as_bytes(),
    };
    // The first one may have been sent before the answer arrived.
    records.push(end.clone());
    let (done, answers) = receive(&pair.path("target"), TakenSummaries::Compared, &records);
    assert_eq!(done.unwrap_err().code_str(), "lost");
    let expand = FolderAnswer::Expand { folder: 1 };
    let mut expected = Vec::new();
    FromReceiver::Folder(expand).write(&mut expected);
    assert!(answers.starts_with(&expected));
    records.push(end);
    let (done, _) = receive(&pair.path("target"), TakenSummaries::Compared, &records);
    assert_eq!(done.unwrap_err().code_str(), "bad-header");
    assert_eq!(read(&pair.path("target")), tree);
}

/// Answers a sender with these records.
fn answer(source: &Path, summaries: Summaries, answers: &[FolderAnswer]) -> Result<(), Error> {
    let (connection, ends) = bodies(false);
    let (out, input) = connection.into_parts();
    let mut body = Vec::new();
    for answer in answers {
        FromReceiver::Folder(*answer).write(&mut body);
    }
    let reading = thread::spawn(move || collect(out));
    let copy = Copy::new(summaries);
    let source = source.to_owned();
    let sending = thread::spawn(move || copy.sender(&source, ends, Arc::default()));
    input.blocking_send(body).unwrap();
    drop(input);
    let sent = sending.join().unwrap();
    reading.join().unwrap();
    sent.map(drop)
}

#[test]
fn sender_refuses_answers_without_a_summary() {
    let mut tree = Tree::new();
    tree.insert("x".to_owned(), file("x"));
    tree.insert("y".to_owned(), file("y"));
    let pair = Pair::new(&tree, &Tree::new());
    let source = pair.path("source");
    let same = |folder, files, bytes| FolderAnswer::Same {
        folder,
        files,
        bytes,
    };
    let expand = |folder| FolderAnswer::Expand { folder };
    let cases = [
        ("same for no folder", FORCED, vec![same(1, 2, 2)]),
        ("no folder is expanded", FORCED, vec![expand(1)]),
        (
            "all twice",
            FORCED,
            vec![FolderAnswer::ExpandAll, FolderAnswer::ExpandAll],
        ),
        (
            "all, not announced",
            Summaries::Off,
            vec![FolderAnswer::ExpandAll],
        ),
        (
            "same, nothing is held back",
            Summaries::Allowed,
            vec![same(0, 2, 2)],
        ),
    ];
    for (name, summaries, answers) in cases {
        let error = answer(&source, summaries, &answers).unwrap_err();
        assert_eq!(error.code_str(), "bad-header", "{name}");
    }
    // What comes next is missing, but nothing is wrong.
    let error = answer(&source, Summaries::Allowed, &[FolderAnswer::ExpandAll]).unwrap_err();
    assert_eq!(error.code_str(), "lost");
}

/// The sender may be in the middle of a folder when the receiver asks for all entries.
#[test]
fn folder_that_is_being_listed_is_sent_when_all_is_wanted() {
    let mut tree = Tree::new();
    // More than the sender can send before the first chunk is taken.
    for number in 0..6000 {
        let name = format!("{number:0255}");
        tree.insert(name, Node::Folder);
    }
    tree.insert("x".to_owned(), file("x"));
    tree.insert("y".to_owned(), file("y"));
    let pair = Pair::new(&tree, &Tree::new());
    let (connection, ends) = bodies(false);
    let (mut out, input) = connection.into_parts();
    let (copy, source) = (Copy::new(FORCED), pair.path("source"));
    let sending = thread::spawn(move || copy.sender(&source, ends, Arc::default()));
    let mut buffer = RecordBuffer::default();
    let (mut files, mut summaries, mut has_answered) = (0, 0, false);
    let (entries, digest) = loop {
        let record = buffer.next_record().unwrap().map(<[u8]>::to_vec);
        let Some(record) = record else {
            match out.blocking_recv() {
                Some(Outgoing::Bytes(bytes)) => buffer.input().extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
            if !std::mem::replace(&mut has_answered, true) {
                let mut body = Vec::new();
                FromReceiver::Folder(FolderAnswer::ExpandAll).write(&mut body);
                input.blocking_send(body).unwrap();
            }
            continue;
        };
        match FromSender::read(&record).unwrap() {
            FromSender::End { entries, digest } => break (entries, digest),
            FromSender::Summary { .. } => summaries += 1,
            FromSender::Entry(entry) if entry.content != EntryContent::Folder => files += 1,
            _ => {}
        }
    };
    assert_eq!((entries, files, summaries), (6003, 2, 0));
    let summary = TreeSummary {
        digest,
        ..TreeSummary::default()
    };
    let mut body = Vec::new();
    FromReceiver::Decided { entries }.write(&mut body);
    FromReceiver::Done(summary).write(&mut body);
    input.blocking_send(body).unwrap();
    drop(input);
    assert_eq!(sending.join().unwrap().unwrap(), summary);
}

/// What is wanted after the end is sent, with a second end.
#[test]
fn sender_ends_again_after_a_wish() {
    let mut tree = Tree::new();
    tree.insert("x".to_owned(), file("x"));
    tree.insert("y".to_owned(), file("y"));
    let pair = Pair::new(&tree, &Tree::new());
    let (connection, ends) = bodies(false);
    let (mut out, input) = connection.into_parts();
    let (copy, source) = (Copy::new(Summaries::Off), pair.path("source"));
    let sending = thread::spawn(move || copy.sender(&source, ends, Arc::default()));
    let mut sent = Vec::new();
    let mut wait_for_ends = |count: usize| {
        while kinds(&sent).iter().filter(|kind| **kind == 7).count() < count {
            match out.blocking_recv() {
                Some(Outgoing::Bytes(bytes)) => sent.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        sent.clone()
    };
    assert!(!kinds(&wait_for_ends(1)).contains(&3));
    let mut body = Vec::new();
    FromReceiver::Want { first: 1, count: 1 }.write(&mut body);
    FromReceiver::Decided { entries: 3 }.write(&mut body);
    input.blocking_send(body).unwrap();
    let sent = wait_for_ends(2);
    // The folder, its two files and its end, and then the file that is wanted.
    assert_eq!(kinds(&sent), [1, 1, 1, 2, 7, 3, 7]);
    let mut summary = TreeSummary::default();
    summary.digest.copy_from_slice(&sent[sent.len() - 32..]);
    let mut body = Vec::new();
    FromReceiver::Done(summary).write(&mut body);
    input.blocking_send(body).unwrap();
    drop(input);
    assert_eq!(sending.join().unwrap().unwrap(), summary);
}

/// A receiver that wants nothing decides about the rest, is done, and ends, all at once.
#[test]
fn receiver_that_wants_nothing_may_end_at_once() {
    let tree = example();
    let pair = Pair::new(&tree, &tree);
    let (connection, ends) = bodies(false);
    let (mut out, input) = connection.into_parts();
    let (copy, source) = (Copy::new(Summaries::Off), pair.path("source"));
    let sending = thread::spawn(move || copy.sender(&source, ends, Arc::default()));
    let mut buffer = RecordBuffer::default();
    let digest = loop {
        match buffer.next_record().unwrap().map(FromSender::read) {
            Some(Ok(FromSender::End { digest, .. })) => break digest,
            Some(record) => drop(record.unwrap()),
            None => match out.blocking_recv() {
                Some(Outgoing::Bytes(bytes)) => buffer.input().extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            },
        }
    };
    let summary = TreeSummary {
        digest,
        ..TreeSummary::default()
    };
    let mut body = Vec::new();
    FromReceiver::Decided { entries: 21 }.write(&mut body);
    FromReceiver::Done(summary).write(&mut body);
    input.blocking_send(body).unwrap();
    drop(input);
    assert_eq!(sending.join().unwrap().unwrap(), summary);
}

/// The receiver says that it has other files than the sender: they are not taken for each other.
#[test]
fn sender_refuses_other_counts_than_those_of_the_folder() {
    let mut tree = Tree::new();
    tree.insert("x".to_owned(), file("x"));
    tree.insert("y".to_owned(), file("y"));
    let pair = Pair::new(&tree, &Tree::new());
    for (files, bytes, code) in [(2, 2, "lost"), (1, 2, "bad-header"), (2, 3, "bad-header")] {
        let (connection, ends) = bodies(false);
        let (mut out, input) = connection.into_parts();
        let (copy, source) = (Copy::new(FORCED), pair.path("source"));
        let sending = thread::spawn(move || copy.sender(&source, ends, Arc::default()));
        // The folder and its summary.
        let mut sent = Vec::new();
        while !kinds(&sent).contains(&13) {
            match out.blocking_recv() {
                Some(Outgoing::Bytes(bytes)) => sent.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        let mut body = Vec::new();
        let folder = 0;
        FromReceiver::Folder(FolderAnswer::Same {
            folder,
            files,
            bytes,
        })
        .write(&mut body);
        input.blocking_send(body).unwrap();
        drop(input);
        let error = sending.join().unwrap().unwrap_err();
        assert_eq!(error.code_str(), code, "{files} files of {bytes} bytes");
    }
}
