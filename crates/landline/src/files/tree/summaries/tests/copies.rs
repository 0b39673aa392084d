//! What is sent of trees that differ.

use super::*;

#[test]
fn unchanged_folders_are_compared_by_their_summaries() {
    let tree = example();
    let pair = Pair::new(&tree, &tree);
    let outcome = pair.copy(&Copy::new(FORCED));
    let summary = outcome.summary.as_ref().unwrap();
    assert_eq!((outcome.records_of(13), outcome.same_folders()), (4, 4));
    assert_eq!(outcome.files(), [""; 0]);
    // The root, four folders, twelve files and four links.
    assert_eq!((summary.entries, summary.files, summary.others), (21, 0, 0));
    assert_eq!(outcome.counts, [[12, 0, 12]; 2]);
    assert!(outcome.lines.is_empty());
}

/// Changes one tree, and says which files are sent as entries.
type Case = (&'static str, fn(&mut Tree), &'static [&'static str]);

#[test]
fn entries_of_a_folder_that_differs_are_sent() {
    let at_source: [Case; 7] = [
        (
            "content",
            |tree| drop(tree.insert("b/x".to_owned(), file("longer than before"))),
            &["x", "y", "z"],
        ),
        (
            "time",
            |tree| {
                let Some(Node::File { modified, .. }) = tree.get_mut("b/x") else {
                    panic!("no file");
                };
                modified.nanoseconds += 1;
            },
            &["x", "y", "z"],
        ),
        (
            "a new file",
            |tree| drop(tree.insert("b/new".to_owned(), file("new"))),
            &["new", "x", "y", "z"],
        ),
        (
            "a removed file",
            |tree| drop(tree.remove("b/x")),
            &["y", "z"],
        ),
        (
            "a link in place of a file",
            |tree| drop(tree.insert("b/x".to_owned(), Node::Link(b"y".to_vec()))),
            &["y", "z"],
        ),
        (
            "the target of a link",
            |tree| drop(tree.insert("b/link".to_owned(), Node::Link(b"y".to_vec()))),
            &["x", "y", "z"],
        ),
        (
            "a folder in place of a file",
            |tree| drop(tree.insert("b/x".to_owned(), Node::Folder)),
            &["y", "z"],
        ),
    ];
    for (name, change, sent) in at_source {
        let (mut source, target) = (example(), example());
        change(&mut source);
        let pair = Pair::new(&source, &target);
        let outcome = pair.copy(&Copy::new(FORCED).deleting());
        assert!(outcome.summary.is_ok(), "{name}: {:?}", outcome.summary);
        assert_eq!(outcome.files(), sent, "{name}");
        assert_eq!(outcome.same_folders(), 3, "{name}");
        assert_eq!(read(&pair.path("target")), source, "{name}");
    }
}

#[test]
fn permission_bits_count_only_if_they_are_copied() {
    let (mut source, target) = (example(), example());
    let Some(Node::File { mode, .. }) = source.get_mut("b/x") else {
        panic!("no file");
    };
    *mode = 0o600;
    for exact_mode in [false, true] {
        let pair = Pair::new(&source, &target);
        let mut copy = Copy::new(FORCED);
        copy.store.exact_mode = exact_mode;
        let outcome = pair.copy(&copy);
        let same = if exact_mode { 3 } else { 4 };
        assert_eq!(outcome.same_folders(), same);
        let expected = if exact_mode { &source } else { &target };
        assert_eq!(&read(&pair.path("target")), expected);
        assert_eq!(
            outcome.summary.unwrap().others,
            u32::from(exact_mode),
            "{exact_mode}"
        );
    }
}

#[test]
fn extra_entries_of_a_folder_that_is_otherwise_the_same_are_removed() {
    for delete in [false, true] {
        let (source, mut target) = (example(), example());
        target.insert("b/extra".to_owned(), file("extra"));
        // A folder does not count in the summary.
        target.insert("c/old".to_owned(), Node::Folder);
        target.insert("c/old/file".to_owned(), file("old"));
        let pair = Pair::new(&source, &target);
        let copy = Copy::new(FORCED);
        let outcome = pair.copy(&if delete { copy.deleting() } else { copy });
        assert_eq!(outcome.same_folders(), 3);
        let removed = outcome.summary.unwrap().removed;
        assert_eq!(removed, if delete { 3 } else { 0 });
        let expected = if delete { &source } else { &target };
        assert_eq!(&read(&pair.path("target")), expected);
    }
}

#[test]
fn folder_with_a_recent_file_is_not_summed_up() {
    let tree = example();
    let pair = Pair::new(&tree, &tree);
    local::write(&pair.path("source").join("b/now"), b"now").unwrap();
    let outcome = pair.copy(&Copy::new(FORCED));
    assert_eq!((outcome.records_of(13), outcome.same_folders()), (3, 3));
    assert_eq!(outcome.files(), ["now", "x", "y", "z"]);
}

#[test]
fn excluded_entries_count_on_neither_side() {
    let (mut source, mut target) = (example(), example());
    source.insert("a/only.o".to_owned(), file("source"));
    target.insert("b/only.o".to_owned(), file("target"));
    for delete_excluded in [false, true] {
        let pair = Pair::new(&source, &target);
        let mut copy = Copy::new(FORCED).deleting();
        copy.patterns = vec!["*.o".to_owned()];
        if let Some(sync) = &mut copy.store.sync {
            sync.delete_excluded = delete_excluded;
        }
        let outcome = pair.copy(&copy);
        assert!(outcome.summary.is_ok(), "{:?}", outcome.summary);
        assert_eq!(outcome.same_folders(), 4);
        let left = read(&pair.path("target"));
        assert_eq!(left.contains_key("b/only.o"), !delete_excluded);
        assert!(!left.contains_key("a/only.o"));
    }
}

#[test]
fn target_that_has_nothing_gets_all_entries_at_once() {
    let tree = example();
    let pair = Pair::new(&tree, &Tree::new());
    let outcome = pair.copy(&Copy::new(FORCED));
    assert_eq!(kinds(&outcome.answers)[0], 10);
    assert_eq!((outcome.same_folders(), outcome.files().len()), (0, 12));
    assert_eq!(outcome.summary.unwrap().entries, 21);
    assert_eq!(read(&pair.path("target")), tree);
}

#[test]
fn copy_that_finds_nothing_to_send_ends_once() {
    let tree = example();
    for summaries in [Summaries::Off, FORCED] {
        let pair = Pair::new(&tree, &tree);
        let outcome = pair.copy(&Copy::new(summaries));
        assert_eq!(outcome.records_of(7), 1);
        let mut changed = tree.clone();
        changed.insert("c/x".to_owned(), file("changed"));
        let pair = Pair::new(&changed, &tree);
        let outcome = pair.copy(&Copy::new(summaries));
        assert!(outcome.summary.is_ok(), "{:?}", outcome.summary);
        assert_eq!(read(&pair.path("target")), changed);
    }
}

#[test]
fn copy_that_was_cut_continues() {
    let (mut source, target) = (example(), example());
    source.insert("b/x".to_owned(), file(&"much ".repeat(1000)));
    source.remove("c/y");
    let pair = Pair::new(&source, &target);
    let whole = pair.copy(&Copy::new(FORCED).deleting()).sent.len();
    for part in 1..10 {
        let pair = Pair::new(&source, &target);
        let mut copy = Copy::new(FORCED).deleting();
        copy.cut = Some(whole * part / 10);
        assert!(pair.copy(&copy).summary.is_err());
        copy.cut = None;
        assert!(pair.copy(&copy).summary.is_ok());
        assert_eq!(read(&pair.path("target")), source);
    }
}
