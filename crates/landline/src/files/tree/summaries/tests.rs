//! Copies between two folders of this machine, with the records between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread,
};

mod copies;
mod order;
mod random;

use tokio::sync::mpsc;

use super::*;
use crate::{
    Error,
    files::{
        Observed,
        messages::Compare,
        tree::{
            StoreOptions, SyncOptions, TreeEvents, TreeProgress, TreeSelection, TreeSummary,
            WalkOptions,
            bodies::{Outgoing, ThreadEnds, bodies},
            receiver::{ReceiverParts, TakenSummaries, TreeReceiver},
            records::{
                EntryContent, FolderAnswer, FromReceiver, FromSender, RecordBuffer, TreeEntry,
            },
            sender::{Summaries, TreeSender},
            walk::Walk,
            worker::Leave,
        },
    },
    paths::{FileTime, Folder, TempDir, TreeGuard, TreePlace, local},
};

/// An entry of a tree, and its name below it.
type Tree = BTreeMap<String, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    File {
        content: Vec<u8>,
        modified: FileTime,
        mode: u32,
    },
    Link(Vec<u8>),
}

fn time(seconds: i64) -> FileTime {
    FileTime {
        seconds: 1_700_000_000 + seconds,
        nanoseconds: 7,
    }
}

fn file(content: &str) -> Node {
    Node::File {
        content: content.as_bytes().to_vec(),
        modified: time(0),
        mode: 0o644,
    }
}

fn open(path: &Path) -> Folder {
    match local::open_tree_target(path, true).unwrap().place {
        TreePlace::Content(folder) => folder,
        other => panic!("{other:?} is no folder"),
    }
}

/// Makes a tree in an empty folder.
fn build(root: &Path, tree: &Tree) {
    let mut folders = vec![root.to_owned()];
    for (name, node) in tree {
        let path = root.join(name);
        let above = open(path.parent().unwrap());
        let name = path.file_name().unwrap();
        match node {
            Node::Folder => {
                above.create_folder(name).unwrap();
                open(&path).set_own_mode(0o755).unwrap();
                folders.push(path.clone());
            }
            Node::File {
                content,
                modified,
                mode,
            } => {
                local::write(&path, content).unwrap();
                above.set_mode_of(name, *mode).unwrap();
                above.set_modified(name, *modified).unwrap();
            }
            Node::Link(target) => above.create_link(target, name).unwrap(),
        }
    }
    for folder in folders.iter().rev() {
        open(folder).set_own_modified(time(0)).unwrap();
    }
}

fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut due = vec![PathBuf::new()];
    while let Some(below) = due.pop() {
        let folder = open(&root.join(&below));
        for entry in folder.reader().unwrap() {
            let (name, _) = entry.unwrap();
            let path = below.join(&name);
            let stat = folder.stat(&name).unwrap().unwrap();
            let node = match stat.kind {
                EntryKind::Folder => {
                    due.push(path.clone());
                    Node::Folder
                }
                EntryKind::Link => Node::Link(folder.read_link(&name).unwrap()),
                _ => Node::File {
                    content: local::read(&root.join(&path), 1 << 20).unwrap(),
                    modified: stat.modified,
                    mode: stat.mode,
                },
            };
            tree.insert(path.to_str().unwrap().to_owned(), node);
        }
    }
    tree
}

/// What a copy did and said.
struct Outcome {
    summary: Result<TreeSummary, Error>,
    /// The lines of changes, and the failures.
    lines: BTreeSet<String>,
    /// Files found, copied and kept, at the sender and at the receiver.
    counts: [[u64; 3]; 2],
    sent: Vec<u8>,
    answers: Vec<u8>,
}

impl Outcome {
    fn records_of(&self, kind: u8) -> usize {
        kinds(&self.sent)
            .iter()
            .filter(|found| **found == kind)
            .count()
    }

    /// The names of the files that were sent as entries.
    fn files(&self) -> Vec<String> {
        let mut buffer = RecordBuffer::default();
        buffer.input().extend_from_slice(&self.sent);
        let mut files = Vec::new();
        while let Some(record) = buffer.next_record().unwrap() {
            if let FromSender::Entry(entry) = FromSender::read(record).unwrap()
                && matches!(entry.content, EntryContent::File(_))
            {
                files.push(String::from_utf8(entry.name).unwrap());
            }
        }
        files.sort();
        files
    }

    fn same_folders(&self) -> usize {
        kinds(&self.answers)
            .iter()
            .filter(|found| **found == 9)
            .count()
    }
}

fn kinds(body: &[u8]) -> Vec<u8> {
    let mut buffer = RecordBuffer::default();
    buffer.input().extend_from_slice(body);
    let mut kinds = Vec::new();
    while let Some(record) = buffer.next_record().unwrap() {
        kinds.push(record[0]);
    }
    kinds
}

/// How a tree is copied.
#[derive(Debug, Clone)]
struct Copy {
    store: StoreOptions,
    patterns: Vec<String>,
    summaries: Summaries,
    /// After so many bytes of the sender the connection is lost.
    cut: Option<usize>,
}

impl Copy {
    fn new(summaries: Summaries) -> Self {
        let store = StoreOptions {
            changes: true,
            summaries: true,
            ..StoreOptions::default()
        };
        Self {
            store,
            patterns: Vec::new(),
            summaries,
            cut: None,
        }
    }

    fn deleting(mut self) -> Self {
        self.store.sync = Some(SyncOptions {
            delete: true,
            force: true,
            ..SyncOptions::default()
        });
        self
    }

    fn run(&self, source: &Path, target: &Path) -> Outcome {
        let (bodies_of_sender, sender_ends) = bodies(false);
        let (bodies_of_receiver, receiver_ends) = bodies(false);
        let (out, input) = bodies_of_sender.into_parts();
        let (answers, receiver_input) = bodies_of_receiver.into_parts();
        let cut = self.cut;
        let forward = thread::spawn(move || pass_on(out, receiver_input, cut));
        let backward = thread::spawn(move || pass_on(answers, input, None));
        let lines = Arc::new(Mutex::new(BTreeSet::new()));
        let [to_sender, to_receiver] = [Arc::new(TreeProgress::default()), Arc::default()];
        let receiver = {
            let (copy, target, lines) = (self.clone(), target.to_owned(), lines.clone());
            let progress = to_receiver.clone();
            thread::spawn(move || {
                let taken = if copy.summaries == Summaries::Off {
                    TakenSummaries::Refused
                } else {
                    TakenSummaries::Compared
                };
                copy.receiver(&target, receiver_ends, taken, progress, &lines)
            })
        };
        let sent = self.sender(source, sender_ends, to_sender.clone());
        let received = receiver.join().unwrap();
        if let (Ok(sent), Ok(received)) = (&sent, &received) {
            assert_eq!(sent, received);
        }
        let counts = [to_sender, to_receiver].map(|progress| {
            let files = progress.state().files.unwrap();
            [files.found, files.copied, files.done - files.copied]
        });
        let lines = lines.lock().unwrap().clone();
        Outcome {
            summary: sent.and(received),
            lines,
            counts,
            sent: forward.join().unwrap(),
            answers: backward.join().unwrap(),
        }
    }

    fn sender(
        &self,
        source: &Path,
        ends: ThreadEnds,
        progress: Arc<TreeProgress>,
    ) -> Result<TreeSummary, Error> {
        let options = WalkOptions {
            summaries: true,
            exact_mode: self.store.exact_mode,
            dry_run: self.store.dry_run,
            ..WalkOptions::default()
        };
        let guard = Arc::new(TreeGuard::unlimited());
        let source = local::open_tree_source(source).unwrap();
        let walk = Walk::new(vec![Ok((source, guard))], options);
        let leave = Leave::Flag(Arc::new(AtomicBool::new(false)));
        let events = TreeEvents::default();
        TreeSender::new(walk, ends, leave, progress, events, Compare::Nothing)
            .dry(self.store.dry_run)
            .summing(self.summaries)
            .reading_selection(!self.patterns.is_empty())
            .run()
    }

    /// Receives into the folder `target`, as a client does.
    fn receiver(
        &self,
        target: &Path,
        ends: ThreadEnds,
        summaries: TakenSummaries,
        progress: Arc<TreeProgress>,
        lines: &Arc<Mutex<BTreeSet<String>>>,
    ) -> Result<TreeSummary, Error> {
        let (failures, changes) = (lines.clone(), lines.clone());
        let events = TreeEvents::new(move |failure| {
            failures
                .lock()
                .unwrap()
                .insert(failure.code.as_str().to_owned());
        });
        let events = events.with_changes(move |change| {
            let path = String::from_utf8(change.path.clone()).unwrap();
            let line = format!("{:?} {:?} {path}", change.action, change.details);
            changes.lock().unwrap().insert(line);
        });
        TreeReceiver::new(ReceiverParts {
            target: local::open_tree_target(target, true).unwrap(),
            guard: TreeGuard::unlimited(),
            options: self.store,
            manifest: None,
            quota: None,
            store: None,
            selection: TreeSelection::new(self.patterns.clone(), None).unwrap(),
            reads_selection: false,
            backup: None,
            names: Some(vec![b"tree".to_vec()]),
            takes_packed: false,
            summaries,
            ends,
            leave: Leave::Flag(Arc::new(AtomicBool::new(false))),
            progress,
            events,
        })?
        .run(Box::new(|_| Ok(())))
    }
}

/// Passes a body on, and returns it. The connection is lost after `cut` bytes.
fn pass_on(
    mut out: mpsc::Receiver<Outgoing>,
    input: mpsc::Sender<Vec<u8>>,
    cut: Option<usize>,
) -> Vec<u8> {
    let mut passed = Vec::new();
    while let Some(Outgoing::Bytes(bytes)) = out.blocking_recv() {
        passed.extend_from_slice(&bytes);
        let is_lost = cut.is_some_and(|cut| passed.len() > cut);
        if is_lost || input.blocking_send(bytes).is_err() {
            break;
        }
    }
    passed
}

const FORCED: Summaries = Summaries::SentAfter(0);

/// A source and a target, which are removed in the end.
struct Pair {
    scratch: TempDir,
}

impl Pair {
    fn new(source: &Tree, target: &Tree) -> Self {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let pair = Self { scratch };
        let root = open(pair.scratch.path());
        for (name, tree) in [("source", source), ("target", target)] {
            root.create_folder(OsStr::new(name)).unwrap();
            open(&pair.path(name)).set_own_mode(0o755).unwrap();
            build(&pair.path(name), tree);
        }
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn copy(&self, copy: &Copy) -> Outcome {
        copy.run(&self.path("source"), &self.path("target"))
    }
}

/// Three folders, of which each has three files and a link, and one of them another folder.
fn example() -> Tree {
    let mut tree = Tree::new();
    for folder in ["a", "b", "c", "b/deep"] {
        tree.insert(folder.to_owned(), Node::Folder);
        for name in ["x", "y", "z"] {
            tree.insert(
                format!("{folder}/{name}"),
                file(&format!("{name} of {folder}")),
            );
        }
        tree.insert(format!("{folder}/link"), Node::Link(b"x".to_vec()));
    }
    tree
}
