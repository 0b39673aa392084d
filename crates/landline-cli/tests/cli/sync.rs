//! `sync`: a folder becomes equal to another one, and nothing is deleted by accident.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use testkit::{Census, Outcome, ServerProcess, Stage};

use crate::{
    resume::{RelayedServer, event, events, staging},
    stage,
    trees::write,
};

/// A source at the client, and the server with its target.
pub(crate) struct Synced {
    pub(crate) stage: Stage,
    pub(crate) server: ServerProcess,
}

impl Synced {
    pub(crate) fn new() -> Self {
        let stage = stage();
        let server = stage.joined();
        fs::create_dir_all(stage.path("user/src")).unwrap();
        Self { stage, server }
    }

    /// Writes files of the source.
    pub(crate) fn source(&self, names: &[&str]) {
        for name in names {
            write(&self.stage.path("user/src").join(name), name.as_bytes());
        }
    }

    /// Writes files of the target.
    pub(crate) fn target(&self, names: &[&str]) {
        for name in names {
            write(&self.stage.path("home/dst").join(name), b"in the target");
        }
    }

    pub(crate) fn run(&self, options: &[&str]) -> Outcome {
        let source = self.stage.path("user/src");
        let target = self.server.at("dst");
        let mut arguments = vec!["sync", "--json"];
        arguments.extend(options);
        arguments.extend([source.to_str().unwrap(), &target]);
        self.stage.run(&arguments)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.stage.path("home/dst").join(name)).is_ok()
    }

    pub(crate) fn census(&self) -> Census {
        Census::of(&self.stage.home())
    }
}

pub(crate) fn done(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    event(&events(outcome), "done").unwrap().clone()
}

/// The changes that were printed, each as its action, kind, details and path.
pub(crate) fn changes(outcome: &Outcome) -> Vec<String> {
    let events = events(outcome);
    let changes = events.iter().filter(|event| event["event"] == "change");
    changes
        .map(|change| {
            let text = |key: &str| change[key].as_str().unwrap().to_owned();
            let details: Vec<&str> = change["details"]
                .as_array()
                .unwrap()
                .iter()
                .map(|detail| detail.as_str().unwrap())
                .collect();
            let details = details.join("+");
            format!(
                "{} {} {details} {}",
                text("action"),
                text("kind"),
                text("path")
            )
        })
        .collect()
}

pub(crate) fn set_modified(path: &Path, before_now: Duration) {
    let file = fs::File::options().read(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - before_now).unwrap();
}

#[test]
fn target_becomes_equal_in_both_directions() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["a/one", "a/two", "b/three"]);
    symlink("one", stage.path("user/src/a/link")).unwrap();
    fs::create_dir(stage.path("user/src/empty")).unwrap();
    // The whole path, with and without slashes, means the content.
    for slashes in [("", ""), ("/", ""), ("", "/"), ("/", "/")] {
        let source = format!("{}{}", stage.path("user/src").display(), slashes.0);
        let target = format!("{}{}", synced.server.at("dst"), slashes.1);
        done(&stage.run(&["sync", "--json", &source, &target]));
        assert!(synced.has("a/link") && synced.has("empty"));
        assert!(!synced.has("src"));
    }
    synced.target(&["extra/file"]);
    done(&synced.run(&[]));
    assert!(synced.has("extra/file"), "without --delete it stays");
    let second = done(&synced.run(&["--delete"]));
    assert_eq!(second["removed"], 2);
    assert!(!synced.has("extra"));
    // Back, over a folder with other things in it.
    let back = stage.path("user/back");
    write(&back.join("old/file"), b"old");
    write(&back.join("a/one"), b"an older one");
    let back = back.to_str().unwrap();
    let arguments = ["sync", "--json", "--delete", &synced.server.at("dst"), back];
    done(&stage.run(&arguments));
    assert_eq!(stage.read("user/back/a/one"), b"a/one");
    assert!(!stage.path("user/back/old").exists());
    let third = done(&stage.run(&arguments));
    for key in ["files", "others", "removed", "failures"] {
        assert_eq!(third[key], json!(0), "{key}");
    }
    assert_eq!(staging(&stage.home()).len(), 0);
}

#[test]
fn times_differ_by_less_than_a_second() {
    let synced = Synced::new();
    synced.source(&["file"]);
    done(&synced.run(&[]));
    let source = synced.stage.path("user/src/file");
    let time = fs::metadata(&source).unwrap().modified().unwrap();
    for shift in [1, 400_000_000] {
        let file = fs::File::options().write(true).open(&source).unwrap();
        file.set_modified(time + Duration::from_nanos(shift))
            .unwrap();
        assert_eq!(done(&synced.run(&[]))["files"], 1, "{shift} ns");
        assert_eq!(done(&synced.run(&[]))["files"], 0, "{shift} ns");
    }
}

#[test]
fn folders_get_their_times_and_a_second_run_changes_nothing() {
    let synced = Synced::new();
    for folder in 0..5 {
        for number in 0..600 {
            synced.source(&[&format!("f{folder}/{number}")]);
        }
    }
    let source = synced.stage.path("user/src");
    for (folder, age) in [("f0", 5000), ("f1", 6000), ("f2", 7000), ("", 8000)] {
        set_modified(&source.join(folder), Duration::from_secs(age));
    }
    done(&synced.run(&[]));
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    for folder in ["f0", "f1", "f2", ""] {
        let target = synced.stage.path("home/dst").join(folder);
        assert_eq!(
            modified(&source.join(folder)),
            modified(&target),
            "{folder}"
        );
    }
    let again = synced.run(&["--delete", "--itemize"]);
    assert_eq!(changes(&again), Vec::<String>::new());
    // Also after entries were removed from a folder.
    synced.target(&["f1/extra"]);
    done(&synced.run(&["--delete"]));
    assert_eq!(
        modified(&source.join("f1")),
        modified(&synced.stage.path("home/dst/f1"))
    );
}

/// Each accident is refused with a code of its own, and changes nothing.
/// Proves `sync-accident` in docs/faults.md.
#[test]
fn classic_accidents_are_refused() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.target(&["kept", "below/kept"]);
    write(&stage.path("user/file"), b"a file");
    let before = synced.census();
    let sync = |source: &str, target: &str, options: &[&str]| {
        let source = stage.path(source);
        let mut arguments = vec!["sync", "--json", "--delete"];
        arguments.extend(options);
        arguments.extend([source.to_str().unwrap(), target]);
        stage.run(&arguments)
    };
    let dst = synced.server.at("dst");
    sync("user/absent", &dst, &[]).fails(20, "not-found");
    sync("user/file", &dst, &[]).fails(21, "not-a-folder");
    sync("user/src", &dst, &[]).fails(28, "source-empty");
    // What is left out does not count.
    synced.source(&["cache/file"]);
    sync("user/src", &dst, &["--exclude", "cache/"]).fails(28, "source-empty");
    for home in ["~", "", "."] {
        sync("user/src", &synced.server.at(home), &[]).fails(28, "target-home");
    }
    let root = format!("landline://{}//", synced.server.address);
    let refused = stage.run(&[
        "sync",
        "--json",
        "--delete",
        stage.path("user/src").to_str().unwrap(),
        &root,
    ]);
    assert!(
        refused.status == Some(28) || refused.status == Some(23),
        "{refused:?}"
    );
    assert_eq!(synced.census(), before);
    // Without --delete, an empty source harms nothing.
    fs::remove_dir_all(stage.path("user/src/cache")).unwrap();
    done(&synced.run(&[]));
    assert_eq!(done(&synced.run(&["--delete", "--force"]))["removed"], 3);
    assert!(!synced.has("kept"));
}

/// Proves `sync-accident` in docs/faults.md.
#[test]
fn accidents_are_refused_for_downloads_too() {
    let synced = Synced::new();
    let stage = &synced.stage;
    write(&stage.path("user/dst/kept"), b"kept");
    write(&stage.path("home/file"), b"a file");
    fs::create_dir(stage.path("home/empty")).unwrap();
    write(&stage.path("home/full/file"), b"x");
    let before = Census::of(&stage.path("user"));
    let target = stage.path("user/dst");
    let sync = |source: &str, target: &Path| {
        let source = synced.server.at(source);
        stage.run(&[
            "sync",
            "--json",
            "--delete",
            &source,
            target.to_str().unwrap(),
        ])
    };
    sync("absent", &target).fails(20, "not-found");
    sync("file", &target).fails(21, "not-a-folder");
    sync("empty", &target).fails(28, "source-empty");
    let home = stage.command(&["ping"]);
    let home = home.get_envs().find(|(name, _)| *name == "HOME");
    if let Some((_, Some(home))) = home {
        sync("full", Path::new(home)).fails(28, "target-home");
    }
    sync("full", Path::new("/")).fails(28, "target-home");
    assert_eq!(Census::of(&stage.path("user")), before);
}

/// Proves `sync-accident` in docs/faults.md.
#[test]
fn most_entries_are_not_deleted_without_force() {
    let synced = Synced::new();
    synced.source(&["kept"]);
    for number in 0..10 {
        synced.source(&[&format!("both/{number}")]);
    }
    done(&synced.run(&[]));
    for number in 0..20 {
        synced.target(&[&format!("extra/{number}")]);
    }
    let before = synced.census();
    for options in [&["--delete"][..], &["--delete", "--dry-run"]] {
        synced.run(options).fails(28, "mass-delete");
        assert_eq!(synced.census(), before);
    }
    assert_eq!(done(&synced.run(&["--delete", "--force"]))["removed"], 21);
    // Twenty are few.
    for number in 0..19 {
        synced.target(&[&format!("extra/{number}")]);
    }
    assert_eq!(done(&synced.run(&["--delete"]))["removed"], 20);
}

#[test]
fn excluded_entries_stay_and_limits_hold() {
    let synced = Synced::new();
    synced.source(&["a", "b", "cache/of the source"]);
    synced.target(&["cache/of the target", "one", "two", "three"]);
    let exclude = ["--delete", "--exclude", "cache/"];
    let limited = |max: &str| {
        let mut options = exclude.to_vec();
        options.extend(["--max-delete", max]);
        synced.run(&options)
    };
    limited("2").fails(28, "max-delete");
    for name in ["one", "two", "three", "cache/of the target", "a"] {
        assert!(synced.has(name), "{name}");
    }
    done(&limited("3"));
    assert!(!synced.has("one") && synced.has("cache/of the target"));
    assert!(!synced.has("cache/of the source"));
    let mut options = exclude.to_vec();
    options.push("--delete-excluded");
    done(&synced.run(&options));
    assert!(!synced.has("cache"));
}

/// What is excluded keeps the folder that has it, wherever it is.
#[test]
fn extra_folder_with_excluded_entries_keeps_only_these() {
    let synced = Synced::new();
    synced.source(&["a"]);
    synced.target(&["old/deep/x.keep", "old/deep/y", "old/z", "gone/y"]);
    let outcome = done(&synced.run(&["--delete", "--exclude", "*.keep"]));
    assert_eq!(outcome["removed"], 4);
    assert!(synced.has("old/deep/x.keep"));
    assert!(!synced.has("old/deep/y") && !synced.has("old/z") && !synced.has("gone"));
}

#[test]
fn file_and_folder_replace_each_other_only_with_delete() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["x", "y/file", "z"]);
    symlink("z", stage.path("user/src/l")).unwrap();
    synced.target(&["x/below/kept", "y", "l/below"]);
    let refused = synced.run(&[]);
    assert_eq!(refused.status, Some(1));
    assert_eq!(event(&events(&refused), "done").unwrap()["failures"], 3);
    assert!(synced.has("x/below/kept") && synced.has("z"));
    let kept = synced.run(&["--delete", "--exclude", "kept"]);
    assert_eq!(kept.status, Some(1), "{}", kept.stderr);
    let events = events(&kept);
    let failed = event(&events, "failed").unwrap();
    assert_eq!(failed["code"], "not-empty");
    assert!(synced.has("x/below/kept"));
    // The others were replaced.
    assert!(synced.has("y/file"));
    assert_eq!(
        fs::read_link(stage.path("home/dst/l")).unwrap(),
        Path::new("z")
    );
    let all = done(&synced.run(&["--delete"]));
    assert_eq!((&all["files"], &all["removed"]), (&json!(1), &json!(3)));
    assert_eq!(stage.read("home/dst/x"), b"x");
    assert_eq!(staging(&stage.home()).len(), 0);
    let last = synced.run(&["--delete", "-n"]);
    assert_eq!(changes(&last), Vec::<String>::new());
}

/// Proves `sync-all-or-nothing` in docs/faults.md.
#[test]
fn folder_that_cannot_be_read_protects_itself() {
    let synced = Synced::new();
    let stage = &synced.stage;
    synced.source(&["p/gone", "q/file", "s/file"]);
    done(&synced.run(&[]));
    synced.target(&["q/extra", "s/extra"]);
    // A link to nowhere that is left out makes its folder incomplete, as a closed folder does; root
    // could read that.
    let fifo = Command::new("mkfifo")
        .arg(stage.path("user/src/s/fifo"))
        .status();
    assert!(fifo.unwrap().success());
    let outcome = synced.run(&["--delete"]);
    assert_eq!(outcome.status, Some(1));
    assert!(synced.has("s/extra") && !synced.has("q/extra"));
    // The user learns that nothing is deleted there.
    let events = events(&outcome);
    let failed = events.iter().filter(|event| event["event"] == "failed");
    let codes: Vec<_> = failed
        .map(|event| event["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["not-a-file", "not-whole"]);
    fs::remove_file(stage.path("user/src/s/fifo")).unwrap();
    assert_eq!(done(&synced.run(&["--delete"]))["removed"], 1);
    assert!(!synced.has("s/extra"));
}

/// A tree in which every kind of change is due.
fn make_mixed(synced: &Synced) {
    let stage = &synced.stage;
    synced.source(&[
        "same",
        "content",
        "mode",
        "time",
        "d/same",
        "d/new",
        "kind",
        "to-folder/file",
    ]);
    symlink("same", stage.path("user/src/link")).unwrap();
    symlink("same", stage.path("user/src/new-link")).unwrap();
    done(&synced.run(&["-p"]));
    for name in ["d/new", "new-link", "kind", "to-folder/file"] {
        fs::remove_file(stage.path("home/dst").join(name)).unwrap();
    }
    fs::remove_dir(stage.path("home/dst/to-folder")).unwrap();
    synced.target(&[
        "content",
        "extra",
        "e/one",
        "e/f/two",
        "kind/below",
        "to-folder",
    ]);
    let mode = stage.path("home/dst/mode");
    fs::set_permissions(mode, PermissionsExt::from_mode(0o600)).unwrap();
    set_modified(&stage.path("home/dst/time"), Duration::from_secs(99));
    fs::remove_file(stage.path("home/dst/link")).unwrap();
    symlink("other", stage.path("home/dst/link")).unwrap();
}

/// A dry run changes nothing, and says what the run then does.
/// Proves `dry-run-differs` in docs/faults.md.
#[test]
fn dry_run_says_what_the_run_does() {
    let synced = Synced::new();
    make_mixed(&synced);
    let before = synced.census();
    let options = ["--delete", "-p", "--force"];
    let plan = synced.run(&[&options[..], &["-n"]].concat());
    let planned = done(&plan);
    assert_eq!(synced.census(), before);
    assert_eq!(staging(&synced.stage.home()).len(), 0);
    let run = synced.run(&[&options[..], &["--itemize"]].concat());
    let made = done(&run);
    assert_eq!(changes(&plan), changes(&run));
    for key in ["files", "removed", "bytes", "failures"] {
        assert_eq!(planned[key], made[key], "{key}");
    }
    for line in [
        "change file content+time content",
        "change file mode mode",
        "change file content+time time",
        "change link content link",
        "new link  new-link",
        "new file  d/new",
        "change file kind kind",
        "change folder kind to-folder",
        "new file  to-folder/file",
        "delete file  extra",
        "delete folder  e/f",
        "delete file  kind/below",
    ] {
        assert!(
            changes(&run).iter().any(|found| found == line),
            "{line}: {:#?}",
            changes(&run)
        );
    }
    let last = synced.run(&[&options[..], &["-n"]].concat());
    assert_eq!(changes(&last), Vec::<String>::new());
    assert_eq!(done(&last)["removed"], 0);
}

/// The same for a copy to this machine, and for a target that does not exist.
/// Proves `dry-run-differs` in docs/faults.md.
#[test]
fn dry_run_of_a_download_says_what_the_run_does() {
    let synced = Synced::new();
    let stage = &synced.stage;
    for name in ["a", "b/c", "b/d/e"] {
        write(&stage.path("home/from").join(name), name.as_bytes());
    }
    let target = stage.path("user/new");
    let target = target.to_str().unwrap();
    let from = synced.server.at("from");
    let run = |option: &str| stage.run(&["sync", "--json", "--delete", option, &from, target]);
    let plan = changes(&run("-n"));
    assert!(!Path::new(target).exists());
    assert_eq!(changes(&run("--itemize")), plan);
    assert_eq!(plan.len(), 6, "{plan:?}");
    write(&Path::new(target).join("extra/x"), b"x");
    let plan = changes(&run("-n"));
    assert_eq!(changes(&run("--itemize")), plan);
    assert!(
        plan.contains(&"delete file  extra/x".to_owned()),
        "{plan:?}"
    );
    assert_eq!(changes(&run("-n")), Vec::<String>::new());
}

#[test]
fn lines_for_people_have_four_fields() {
    let synced = Synced::new();
    synced.source(&["a b/new"]);
    let source = synced.stage.path("user/src");
    let target = synced.server.at("dst");
    let out = synced
        .stage
        .run(&["sync", "-n", source.to_str().unwrap(), &target])
        .ok();
    assert_eq!(
        out,
        "new folder - ./\nnew folder - a b/\nnew file - a b/new\n"
    );
    let single = synced
        .stage
        .run(&["cp", "--dry-run", "-r", source.to_str().unwrap(), &target]);
    assert_eq!(single.ok(), out);
    assert!(!synced.has(""));
}

/// A connection that is lost before any content was sent is made again.
#[test]
fn connection_that_is_lost_while_comparing_is_made_again() {
    let relayed = RelayedServer::new(8);
    let stage = &relayed.stage;
    let tree = stage.path("user/tree");
    for number in 0..1000 {
        write(&tree.join(format!("{number:0200}")), b"");
    }
    let copy = relayed.via_relay("copy");
    stage.run(&["sync", tree.to_str().unwrap(), &copy]).ok();
    relayed.relay.cut_after(50_000);
    let sync = stage.run(&["sync", "--json", tree.to_str().unwrap(), &copy]);
    assert!(event(&events(&sync), "reconnecting").is_some());
    assert_eq!(event(&events(&sync), "done").unwrap()["files"], 0);
}
