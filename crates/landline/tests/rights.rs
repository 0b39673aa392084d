//! The rights file itself, and the folders that it grants.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use landline::{
    Error,
    audit::{Audit, AuditOptions, LineHash},
    paths::{ErrorKind, Grant, PrivateFolder, Root},
    proto::{ErrorCode, login::UserName},
    rights::{GivenRights, Right, RightWords, Rights, RightsFile, Role},
    server::words,
};
use testkit::Stage;

/// The rights file of a running server.
fn served(folder: &Arc<PrivateFolder>, owner: Option<&UserName>) -> Result<RightsFile, Error> {
    let (audit, _) = Audit::open(folder, &AuditOptions::default()).unwrap();
    RightsFile::of_server(folder.clone(), words().unwrap(), audit, owner)
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn is_owner(file: &RightsFile, user: &UserName) -> bool {
    file.role(user) == Role::Owner
}

#[test]
fn owner_gets_initial_rights_once() {
    let stage = Stage::new("unused");
    let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
    let path = stage.path("server/rights.toml");
    let (alice, bob) = (user("alice"), user("bob.b"));

    let file = served(&folder, None).unwrap();
    assert_eq!(file.rules().user_count(), 0);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let comments = fs::read_to_string(&path).unwrap();

    file.grant_owner(&alice).unwrap();
    assert!(is_owner(&file, &alice) && file.rules().has(&alice, Right::Write));
    file.grant(
        &bob,
        &GivenRights {
            role: Some(Role::Helper),
            home: Some("/srv/b".into()),
            files: vec!["r:/srv".into()],
            ..GivenRights::default()
        },
    )
    .unwrap();
    let is_helper = |file: &RightsFile| file.role(&bob) == Role::Helper;
    assert!(is_helper(&file) && !file.rules().has(&bob, Right::Write));
    let located = file.rules().locate(&bob, b"x").unwrap().into_owned();
    assert_eq!(located, b"/srv/b/x");
    file.grant(&bob, &GivenRights::owner_default()).unwrap();
    assert!(!is_owner(&file, &bob), "an existing entry is unchanged");
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .starts_with(comments.trim_end())
    );

    let mut watched = file.watch();
    watched.mark_unchanged();
    file.withdraw(&alice).unwrap();
    assert!(watched.has_changed().unwrap());
    assert!(!is_owner(&file, &alice) && is_helper(&file));
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains("Everything that is not granted here is denied")
    );
    file.grant_owner(&alice).unwrap();
    assert!(
        !is_owner(&file, &alice),
        "withdrawn rights are not granted again"
    );
    let bad = GivenRights {
        files: vec!["everything".into()],
        ..GivenRights::default()
    };
    assert!(file.grant(&user("carol"), &bad).is_err());
    drop(file);

    let file = served(&folder, Some(&alice)).unwrap();
    assert!(
        !is_owner(&file, &alice),
        "withdrawn rights are not granted at the next start"
    );
    drop(file);
    fs::remove_file(&path).unwrap();
    let gone = served(&folder, Some(&alice)).unwrap_err();
    assert!(matches!(gone, Error::State { .. }), "{gone}");
}

/// A rights file that has become too long to read would keep all earlier rights.
/// Proves `rights-fail-open` and `slow-rights` in docs/faults.md.
#[test]
fn rights_file_stays_below_read_limit() {
    let stage = Stage::new("unused");
    let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
    let file = served(&folder, Some(&user("alice"))).unwrap();
    let path = stage.path("server/rights.toml");
    let with_folders = |count: usize| GivenRights {
        files: (0..count)
            .map(|number| format!("r:/srv/{number:06}"))
            .collect(),
        ..GivenRights::default()
    };
    file.grant(&user("bob"), &with_folders(50_000)).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = file.grant(&user("carol"), &with_folders(20_000));
    assert!(
        matches!(
            refused,
            Err(Error::Failed {
                code: ErrorCode::RightsFull,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(file.reload().unwrap().user_count(), 2);
    file.withdraw(&user("BOB")).unwrap();
    assert!(file.rules().of(&user("bob")).is_none());
}

#[test]
fn owner_of_earlier_release_keeps_home() {
    let stage = Stage::new("unused");
    let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
    let file = served(&folder, Some(&user("alice"))).unwrap();
    assert!(is_owner(&file, &user("alice")) && file.rules().has(&user("alice"), Right::Write));
}

/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn broken_file_keeps_earlier_rules() {
    let stage = Stage::new("unused");
    let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
    let path = stage.path("server/rights.toml");
    let file = served(&folder, Some(&user("alice"))).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    assert!(!file.has_changed());
    for (bad, place) in [
        (
            format!("{good}chat = maybe\n").into_bytes(),
            "rights.toml: line 27, column 8",
        ),
        (b"[users.alice]\n\xff".to_vec(), "rights.toml: line 2 "),
        (vec![b'#'; 2 << 20], "rights.toml: "),
    ] {
        fs::write(&path, bad).unwrap();
        assert!(file.has_changed());
        let error = file.reload().unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
        assert!(error.to_string().contains(place), "{error}");
        assert!(!file.has_changed(), "the file was read");
        assert!(
            is_owner(&file, &user("alice")),
            "the earlier rules are in force"
        );
        // A command then has no rules, and reports why.
        let looking = RightsFile::of_command(folder.clone(), words().unwrap());
        assert!(
            looking
                .problem()
                .is_some_and(|problem| problem.contains(place)),
            "{:?}",
            looking.problem()
        );
        assert!(
            !is_owner(&looking, &user("alice"))
                && looking
                    .grant(&user("bob"), &GivenRights::default())
                    .is_err()
        );
    }
    fs::write(&path, "").unwrap();
    assert_eq!(file.reload().unwrap().user_count(), 0);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o620)).unwrap();
    assert!(matches!(file.reload(), Err(Error::State { .. })));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(file.reload().is_err());
}

/// The hashes of the rights files that were applied, according to the audit log.
fn loaded(stage: &Stage) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(stage.path("server/audit"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let text: String = files
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let loads = text
        .lines()
        .filter(|line| line.contains("\"rights-change\""));
    loads
        .map(|line| line.split("\"hash\":\"").nth(1).unwrap()[..64].to_owned())
        .collect()
}

/// A change of the rights is logged before it applies.
/// Proves `audit-loss` in docs/faults.md.
#[test]
fn rules_apply_only_after_they_are_logged() {
    let stage = Stage::new("unused");
    let folder = Arc::new(PrivateFolder::open_or_create(&stage.path("server")).unwrap());
    let (audit, _) = Audit::open(&folder, &AuditOptions::default()).unwrap();
    let (alice, bob, path) = (user("alice"), user("bob"), stage.path("server/rights.toml"));
    let file = RightsFile::of_server(
        folder.clone(),
        words().unwrap(),
        audit.clone(),
        Some(&alice),
    )
    .unwrap();
    assert!(is_owner(&file, &alice));
    let written = || vec![LineHash::of(&fs::read(&path).unwrap()).to_string()];
    assert_eq!(loaded(&stage), written());

    let refused = |result: Result<(), Error>| {
        assert!(
            matches!(
                result,
                Err(Error::Failed {
                    code: ErrorCode::Audit,
                    ..
                })
            ),
            "{result:?}"
        );
        assert!(
            is_owner(&file, &alice) && !is_owner(&file, &bob),
            "the earlier rules are in force"
        );
    };
    let (log, away) = (stage.path("server/audit"), stage.path("server/away"));
    fs::rename(&log, &away).unwrap();
    let first = GivenRights::owner_default();
    let before = fs::read(&path).unwrap();
    refused(file.grant(&bob, &first));
    refused(file.withdraw(&alice));
    assert_eq!(
        fs::read(&path).unwrap(),
        before,
        "a refused change is not applied later"
    );
    fs::write(&path, "[users.bob]\nrole = \"owner\"\n").unwrap();
    for _ in 0..2 {
        refused(file.reload().map(drop));
        assert!(file.has_changed(), "the change is tried again");
    }
    let another = RightsFile::of_server(folder, words().unwrap(), audit, Some(&alice)).unwrap();
    assert!(
        another.rules().user_count() == 0 && another.has_changed(),
        "a start does not apply the change either"
    );
    // A grant also applies the edit of the file.
    refused(file.grant(&user("carol"), &GivenRights::default()));

    fs::rename(&away, &log).unwrap();
    file.grant(&user("carol"), &GivenRights::default()).unwrap();
    assert!(is_owner(&file, &bob) && !is_owner(&file, &alice) && !file.has_changed());
    assert_eq!(
        loaded(&stage)[1..],
        written(),
        "the current file is logged once"
    );
    file.reload().unwrap();
    assert_eq!(
        loaded(&stage).len(),
        2,
        "rules that apply are not logged again"
    );
    another.reload().unwrap();
    assert!(is_owner(&another, &bob));
}

/// The file's paths are compared by the folders on the disk, not by name.
/// Proves `link-in-path` in docs/faults.md.
#[test]
fn nearest_grant_decides_behind_links() {
    let stage = Stage::new("unused");
    let outside = stage.path("outside");
    for folder in [
        stage.home().join("archive/2020"),
        outside.join("in"),
        outside.join("other"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    std::os::unix::fs::symlink("archive", stage.home().join("link")).unwrap();
    std::os::unix::fs::symlink(&outside, stage.home().join("out")).unwrap();
    std::os::unix::fs::symlink(&outside, stage.path("alias")).unwrap();
    stage.write("home/archive/old", b"old");
    stage.write("outside/f", b"f");
    let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
    let text = format!(
        "[users.a]\nfiles = [\"rw:~\", \"r:~/archive\", \"rw:~/archive/2020\", \"r:{0}\", \"rw:{0}/in\", \"rw:{0}/gone\"]",
        stage.path("alias").display()
    );
    let rights = Rights::parse(&text, &RightWords::default()).unwrap();
    let grants = rights.files(&user("a"));
    let alias = |below: &str| stage.path(&format!("alias{below}")).display().to_string();
    let real = |below: &str| stage.path(&format!("outside{below}")).display().to_string();
    let home = |below: &str| stage.path(&format!("home{below}")).display().to_string();
    for (path, may_read, may_write) in [
        ("new".to_owned(), true, true),
        (home("/new"), true, true),
        ("archive/new".into(), true, false),
        ("link/new".into(), true, false),
        (home("/link/old"), true, false),
        ("link/2020/new".into(), true, true),
        ("archive/2020/a".into(), true, true),
        ("out/f".into(), false, false),
        (alias("/f"), true, false),
        (real("/f"), true, false),
        (alias("/in/f"), true, true),
        (real("/in/f"), true, true),
        (real("/other/f"), true, false),
        (alias("/gone/f"), false, false),
        (stage.path("server/x").display().to_string(), false, false),
        ("/etc/passwd".into(), false, false),
        ("../outside/f".into(), false, false),
    ] {
        let holder = root.effective_grant(grants, path.as_bytes());
        let found = (
            holder.is_ok(),
            holder.as_ref().is_ok_and(|grant| grant.is_writable),
        );
        assert_eq!(found, (may_read, may_write), "{path}: {holder:?}");
        let put = root.open_destination(grants, path.as_bytes(), None);
        assert_eq!(put.is_ok(), may_write, "{path}: {put:?}");
        let get = root.open_source(grants, path.as_bytes());
        let denied = matches!(
            &get,
            Err(landline::paths::Error::Path {
                kind: ErrorKind::Denied | ErrorKind::NameRefused,
                ..
            })
        );
        assert_eq!(denied, !may_read, "{path}: {get:?}");
    }
    assert_eq!(
        root.open_source(grants, alias("/f").as_bytes())
            .unwrap()
            .length,
        1
    );
    let gone = root
        .open_source(grants, alias("/gone/f").as_bytes())
        .unwrap_err()
        .to_string();
    assert!(gone.contains("line 2"), "{gone}");
    assert!(
        root.open_source(&[], b"archive/old").is_err(),
        "nothing is granted"
    );
}

/// Ends the swaps when dropped, also if the test fails.
#[cfg(target_os = "linux")]
struct Over<'a>(&'a std::sync::atomic::AtomicBool);

#[cfg(target_os = "linux")]
impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Swaps `home/d` for each of two links and back, until `is_over`.
#[cfg(target_os = "linux")]
fn swap(stage: &Stage, is_over: &std::sync::atomic::AtomicBool) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
        for name in ["out", "out", "to_closed", "to_closed"] {
            let other = stage.path(&format!("home/{name}"));
            renameat_with(CWD, stage.path("home/d"), CWD, other, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

/// Reads, creates, renames and removes files through `d`, as a copy does.
///
/// Returns the number of files that were read and created.
#[cfg(target_os = "linux")]
fn use_folder(root: &Root, grants: &[Grant], is_soak: bool) -> (u32, u32) {
    use std::{
        ffi::OsStr,
        io::Read,
        time::{Duration, Instant},
    };
    let (rounds, time) = if is_soak {
        (100_000, Duration::from_secs(60))
    } else {
        (2_000, Duration::ZERO)
    };
    let (start, mut read, mut made, mut round) = (Instant::now(), 0, 0, 0);
    // The thread that swaps may not run while this one does.
    let is_early = |done: u32| done == 0 && start.elapsed() < Duration::from_secs(60);
    while round < rounds || start.elapsed() < time || is_early(read.min(made)) {
        if let Ok(mut source) = root.open_source(grants, b"d/f") {
            let mut text = String::new();
            source.file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "round {round}");
            read += 1;
        }
        let name = format!("new{round}");
        if let Ok(place) = root.open_destination(grants, format!("d/{name}").as_bytes(), None) {
            // All operations use the handle of the folder.
            place.folder.create(&place.name).unwrap();
            place
                .folder
                .rename(&place.name, OsStr::new("last"), true)
                .unwrap();
            if round % 2 == 0 {
                place.folder.remove(OsStr::new("last")).unwrap();
            }
            made += 1;
        }
        round += 1;
    }
    (read, made)
}

/// Swaps a folder for a link and back as fast as possible, while files are used through it.
///
/// Each runs 2,000 times, or 100,000 times and a minute with `LANDLINE_SOAK=1`.
/// Proves `link-swap-race` in docs/faults.md.
#[cfg(target_os = "linux")]
#[test]
fn folder_swapped_for_link_is_not_followed() {
    use std::sync::atomic::AtomicBool;

    use testkit::Census;

    let stage = Stage::new("unused");
    for folder in ["home/d", "home/closed", "outside"] {
        fs::create_dir(stage.path(folder)).unwrap();
    }
    stage.write("home/d/f", b"inside");
    stage.write("home/closed/f", b"inside");
    stage.write("outside/f", b"outside");
    std::os::unix::fs::symlink("../outside", stage.path("home/out")).unwrap();
    std::os::unix::fs::symlink("closed", stage.path("home/to_closed")).unwrap();
    let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
    let rights = Rights::parse(
        "[users.a]\nfiles = [\"rw:~\", \"r:~/closed\"]",
        &RightWords::default(),
    )
    .unwrap();
    let grants = rights.files(&user("a"));
    let census = || ["outside", "home/closed"].map(|folder| Census::of(&stage.path(folder)));
    let before = census();
    let is_over = AtomicBool::new(false);
    let (read, made) = std::thread::scope(|scope| {
        scope.spawn(|| swap(&stage, &is_over));
        let _over = Over(&is_over);
        use_folder(&root, grants, testkit::is_soak())
    });
    assert_eq!(census(), before);
    assert!(
        read > 0 && made > 0,
        "{read} files were read and {made} made while it was a folder"
    );
}
