#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]
//! The ends of a tree's copy: where they lead, and which folders they enter.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use landline_paths::{
    Error, ErrorKind, Grant, RemotePath, Root, TempDir, TreeOrigin, TreePlace, local,
};

struct Fixture {
    scratch: TempDir,
    root: Root,
}

impl Fixture {
    fn new() -> Self {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let home = scratch.path().join("home");
        for folder in ["open/below", "read/below", "other"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        fs::create_dir_all(scratch.path().join("outside")).unwrap();
        fs::create_dir_all(home.join("open/state")).unwrap();
        fs::write(home.join("open/file"), b"content").unwrap();
        symlink("below", home.join("open/to-below")).unwrap();
        symlink(scratch.path().join("outside"), home.join("open/to-outside")).unwrap();
        let root = Root::open(&home, &home.join("open/state")).unwrap();
        Self { scratch, root }
    }

    fn home(&self) -> PathBuf {
        self.scratch.path().canonicalize().unwrap().join("home")
    }
}

fn grant(folder: &str, is_writable: bool) -> Grant {
    Grant {
        folder: RemotePath::parse(folder.as_bytes()).unwrap(),
        is_writable,
        text: folder.to_owned(),
        line: 1,
    }
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    match result {
        Ok(_) => None,
        Err(Error::Path { kind, .. }) => Some(kind),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn source_is_a_folder_or_an_entry_below_a_grant() {
    let fixture = Fixture::new();
    let grants = [grant("open", true)];
    let (source, _) = fixture
        .root
        .open_tree_source(&grants, b"open/below")
        .unwrap();
    assert_eq!(source.name, "below");
    assert!(matches!(source.origin, TreeOrigin::Folder(..)));
    let (source, _) = fixture
        .root
        .open_tree_source(&grants, b"open/file")
        .unwrap();
    assert!(matches!(source.origin, TreeOrigin::Entry(_, name, _) if name == "file"));
    let (source, _) = fixture
        .root
        .open_tree_source(&grants, b"open/to-below")
        .unwrap();
    assert!(matches!(source.origin, TreeOrigin::Folder(..)));
    let refused = |path: &[u8]| kind(fixture.root.open_tree_source(&grants, path));
    assert_eq!(refused(b"open/none"), Some(ErrorKind::NotFound));
    assert_eq!(refused(b"open/file/"), Some(ErrorKind::NotAFile));
    assert_eq!(refused(b"other"), Some(ErrorKind::Denied));
    assert_eq!(refused(b"open/../other"), Some(ErrorKind::NameRefused));
    assert_eq!(refused(b"open/to-outside"), Some(ErrorKind::NameRefused));
    assert_eq!(refused(b"open/state"), Some(ErrorKind::Denied));
}

#[test]
fn target_is_the_folder_or_the_free_name() {
    let fixture = Fixture::new();
    let grants = [grant("open", true), grant("read", false)];
    let place = |path: &[u8], exact| {
        let found = fixture.root.open_tree_target(&grants, path, exact);
        found.map(|(target, _)| target.place)
    };
    assert!(matches!(
        place(b"open/below", false),
        Ok(TreePlace::Into(_))
    ));
    assert!(matches!(
        place(b"open/below", true),
        Ok(TreePlace::Content(_))
    ));
    for exact in [false, true] {
        assert!(matches!(place(b"open/new", exact), Ok(TreePlace::As(_, name)) if name == "new"));
        assert_eq!(
            kind(place(b"open/new/deeper", exact)),
            Some(ErrorKind::NotFound)
        );
        assert_eq!(kind(place(b"read/below", exact)), Some(ErrorKind::Denied));
        assert_eq!(kind(place(b"read/new", exact)), Some(ErrorKind::Denied));
        assert_eq!(kind(place(b"other/new", exact)), Some(ErrorKind::Denied));
    }
}

#[test]
fn planned_target_is_not_created() {
    let fixture = Fixture::new();
    let grants = [grant("absent/home", true), grant("open", true)];
    let place = |path: &[u8], exact| {
        let found = fixture.root.plan_tree_target(&grants, path, exact);
        found.map(|(target, _)| (target.place, target.shown))
    };
    let absent = fixture.home().join("absent/home");
    let (into, shown) = place(b"absent/home", false).unwrap();
    let TreePlace::Into(folder) = into else {
        panic!("{into:?}");
    };
    assert_eq!(shown, absent);
    assert!(folder.reader().unwrap().next().is_none());
    assert_eq!(folder.stat(OsStr::new("x")).unwrap(), None);
    assert!(folder.file_system().is_ok());
    let exact = place(b"absent/home", true).unwrap().0;
    assert!(matches!(exact, TreePlace::Content(_)));
    let (named, shown) = place(b"absent/home/new", true).unwrap();
    assert!(matches!(named, TreePlace::As(_, name) if name == "new"));
    assert_eq!(shown, absent.join("new"));
    let deeper = kind(place(b"absent/home/new/deeper", true));
    assert_eq!(deeper, Some(ErrorKind::NotFound));
    assert!(matches!(
        place(b"open/below", true).unwrap().0,
        TreePlace::Content(_)
    ));
    assert!(!fixture.home().join("absent").exists());
}

#[test]
fn guard_follows_grants_within_grants_and_hides_the_state() {
    let fixture = Fixture::new();
    let grants = [grant("open", true), grant("open/below", false)];
    let (target, guard) = fixture
        .root
        .open_tree_target(&grants, b"open", true)
        .unwrap();
    let TreePlace::Content(folder) = target.place else {
        panic!("{target:?}");
    };
    assert_eq!(target.shown, fixture.home().join("open"));
    let start = guard.start();
    assert!(start.is_writable);
    let below = folder.open_folder(OsStr::new("below")).unwrap();
    assert!(!guard.enter(start, &below).unwrap().is_writable);
    let state = folder.open_folder(OsStr::new("state")).unwrap();
    assert_eq!(kind(guard.enter(start, &state)), Some(ErrorKind::Denied));
}

#[test]
fn local_ends_are_found_as_cp_finds_them() {
    let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
    let path = scratch.path().canonicalize().unwrap();
    fs::create_dir_all(path.join("folder/below")).unwrap();
    fs::write(path.join("file"), b"").unwrap();
    symlink("folder", path.join("link")).unwrap();
    let at = |name: &str| path.join(name);
    let source = local::open_tree_source(&at("folder/below/..")).unwrap();
    assert_eq!(source.name, "folder");
    let source = local::open_tree_source(&at("link")).unwrap();
    assert!(matches!(source.origin, TreeOrigin::Folder(..)));
    assert_eq!(
        kind(local::open_tree_source(&at("none"))),
        Some(ErrorKind::NotFound)
    );
    let place = |path: &Path, exact| local::open_tree_target(path, exact).map(|it| it.place);
    assert!(matches!(
        place(&at("folder"), false),
        Ok(TreePlace::Into(_))
    ));
    assert!(matches!(
        place(&at("folder/"), true),
        Ok(TreePlace::Content(_))
    ));
    assert!(matches!(place(&at("new"), false), Ok(TreePlace::As(_, name)) if name == "new"));
    assert_eq!(
        kind(place(&at("none/new"), false)),
        Some(ErrorKind::NotFound)
    );
}
