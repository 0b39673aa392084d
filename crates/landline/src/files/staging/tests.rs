//! Attempts at one copy, one after the other.

use std::path::Path;

use landline_proto::ErrorCode;

use super::*;
use crate::{
    files::{ManifestStore, delta::Change},
    paths::{PrivateFolder, local},
};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 20 * MIB;

/// Attempts at one copy to the file `copy`.
struct Attempts {
    stage: testkit::Stage,
    manifests: ManifestStore,
}

impl Attempts {
    fn new() -> Self {
        let stage = testkit::Stage::new("unused");
        let state = PrivateFolder::open_or_create(&stage.path("state")).unwrap();
        let manifests = ManifestStore::open(&state).unwrap();
        Self { stage, manifests }
    }

    /// Stores the file that the copy will replace.
    fn store_old(&self) {
        self.stage.write("copy", &vec![2; LENGTH as usize]);
    }

    fn begin(&self, resume: Resume, may_read_replaced: bool) -> Staging {
        let place = self.stage.path("copy");
        let plan = Plan {
            length: Some(LENGTH),
            mode: 0o600,
            replace: true,
            manifest: self.manifests.lock(&[b"copy"], |_| false).unwrap(),
            source: Some("ab".parse().unwrap()),
            resume,
            may_read_replaced,
            uses_replaced: true,
        };
        Staging::open(local::open_destination(&place, b"").unwrap(), plan).unwrap()
    }

    /// Compares all that there is, and is interrupted.
    fn compare(&self) {
        let mut staging = self.begin(Resume::Compare, true);
        let mut patcher = staging.patcher(LENGTH).unwrap();
        while patcher.can_compare() {
            patcher.compare_some().unwrap();
        }
    }
}

#[test]
fn replaced_content_is_told_only_to_its_readers() {
    let attempts = Attempts::new();
    let mut first = attempts.begin(Resume::Compare, true);
    first.write(&vec![1; 9 * MIB as usize]).unwrap();
    drop(first);
    attempts.store_old();
    attempts.compare();
    // This sender may not read the old file, and nothing of it may be compared.
    let third = attempts.begin(Resume::Compare, false);
    assert_eq!(third.earlier, 9 * MIB);
    drop(third);
    let other = Attempts::new();
    other.store_old();
    other.compare();
    let second = other.begin(Resume::Compare, false);
    assert!(!second.can_compare());
}

#[test]
fn replaced_content_does_not_count_as_sent() {
    let attempts = Attempts::new();
    attempts.store_old();
    attempts.compare();
    let second = attempts.begin(Resume::Compare, true);
    assert!(second.earlier > 0, "there is content to compare");
    assert_eq!(second.arrived(), 0);
    drop(second);
    // Behind the part that arrived comes old content, which must not be taken for new.
    let third = attempts.begin(Resume::At(u64::MAX), true);
    assert_eq!(third.position(), 0);
}

/// The old content is compared no further than the search that ends the comparison.
#[test]
fn arrived_content_is_kept_however_little_was_compared() {
    for (arrived, is_kept) in [(KEPT_BYTES_MIN - MIB, false), (KEPT_BYTES_MIN, true)] {
        let attempts = Attempts::new();
        attempts.store_old();
        let mut first = attempts.begin(Resume::Compare, true);
        let mut patcher = first.patcher(LENGTH).unwrap();
        patcher.compare_some().unwrap();
        patcher.apply(&Change::Search).unwrap();
        for _ in 0..arrived / SUBTREE_BYTES {
            patcher.apply(&Change::Piece(&[1; 65_536])).unwrap();
        }
        drop(patcher);
        drop(first);
        let second = attempts.begin(Resume::Compare, true);
        assert_eq!(second.earlier, if is_kept { arrived } else { 0 });
    }
}

fn staging(path: &Path) -> Staging {
    let plan = Plan {
        length: Some(3),
        mode: 0o600,
        replace: true,
        manifest: None,
        source: None,
        resume: Resume::Never,
        may_read_replaced: false,
        uses_replaced: false,
    };
    Staging::open(local::open_destination(path, b"").unwrap(), plan).unwrap()
}

/// Proves `after-the-fact` in docs/faults.md.
#[test]
fn commit_that_cannot_be_recorded_changes_nothing() {
    let stage = testkit::Stage::new("unused");
    let path = stage.write("file", b"old");
    let mut refused = staging(&path);
    refused.write(b"new").unwrap();
    let done = refused.commit(|| {
        assert_eq!(stage.read("file"), b"old", "the record comes first");
        Err(Error::here(ErrorCode::Audit, "the log cannot be written"))
    });
    assert!(done.is_err());
    assert_eq!(stage.read("file"), b"old");

    let mut stored = staging(&path);
    stored.write(b"new").unwrap();
    stored.commit(|| Ok(())).unwrap();
    assert_eq!(stage.read("file"), b"new");
    let names = local::names(path.parent().unwrap());
    assert!(
        !names
            .iter()
            .any(|name| name.as_encoded_bytes().ends_with(b".part")),
        "{names:?}"
    );
}
