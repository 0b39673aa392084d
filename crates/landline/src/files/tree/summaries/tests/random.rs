//! Random trees: summaries change nothing of a copy but its records.

use proptest::prelude::*;

use super::*;

/// A random entry. Names are few, so that both trees have many of them.
fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        3 => ("[ab]{0,2}", 0..2i64, prop_oneof![3 => Just(0o644u32), 1 => Just(0o600)]).prop_map(
            |(content, seconds, mode)| Node::File {
                content: content.into_bytes(),
                modified: time(seconds),
                mode,
            }
        ),
        1 => "[xy]".prop_map(|target| Node::Link(target.into_bytes())),
    ]
}

/// Files and links in nested folders.
fn tree() -> impl Strategy<Value = Tree> {
    let path = "[pqr](/[pqr])?/[wxyz]";
    proptest::collection::btree_map(path, node(), 0..16).prop_map(|entries| {
        let mut tree = Tree::new();
        for (path, node) in entries {
            for (at, _) in path.match_indices('/') {
                tree.insert(path[..at].to_owned(), Node::Folder);
            }
            tree.insert(path, node);
        }
        tree
    })
}

/// A tree, and another one that differs in some entries.
fn trees() -> impl Strategy<Value = (Tree, Tree)> {
    (tree(), tree(), any::<u64>()).prop_map(|(source, other, choice)| {
        let mut target = Tree::new();
        for (at, (path, node)) in source.iter().enumerate() {
            let is_left_out = choice >> (at % 64) & 7 == 0;
            if *node == Node::Folder || !is_left_out {
                target.insert(path.clone(), node.clone());
            }
        }
        for (at, (path, node)) in other.iter().enumerate() {
            if *node == Node::Folder {
                target.entry(path.clone()).or_insert(Node::Folder);
            } else if choice >> ((at + 32) % 64) & 3 == 0 {
                target.insert(path.clone(), node.clone());
            }
        }
        (source, target)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn summaries_change_nothing_of_a_copy(
        (source, target) in trees(), exact_mode: bool, dry_run: bool, delete: bool,
        delete_excluded: bool, excludes: bool, replace: bool,
    ) {
        let outcomes = [Summaries::Off, FORCED].map(|summaries| {
            let pair = Pair::new(&source, &target);
            let mut copy = Copy::new(summaries);
            copy.store.exact_mode = exact_mode;
            copy.store.dry_run = dry_run;
            copy.store.replace = replace || delete;
            if excludes {
                copy.patterns = vec!["w".to_owned()];
            }
            if delete {
                copy = copy.deleting();
                copy.store.sync.as_mut().unwrap().delete_excluded = delete_excluded;
            }
            let outcome = pair.copy(&copy);
            let summary = outcome.summary.map_err(|error| error.code_str().to_owned());
            let summary = summary.map(|summary| TreeSummary { digest: [0; 32], ..summary });
            (summary, outcome.lines, outcome.counts, read(&pair.path("target")))
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}
