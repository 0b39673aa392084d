//! What a copy of trees says about what it did, and did not do.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use testkit::wait_for;

use crate::{
    noise,
    resume::{RelayedServer, event, events, staging},
    stage,
    trees::write,
};

/// A file that is named gets its content, also where its length and time are those of the old one.
#[test]
fn named_file_is_compared_by_content() {
    let stage = stage();
    let server = stage.joined();
    let (here, there) = (stage.path("user/f"), stage.path("home/f"));
    let set = |path, content: &[u8]| {
        fs::write(path, content).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    };
    for options in [&["-p"][..], &["-z"], &["--no-sparse"]] {
        set(&here, b"one");
        set(&there, b"two");
        let to = server.at("f");
        let upload = [&["cp"], options, &["f", &to]].concat();
        stage.run(&upload).ok();
        assert_eq!(fs::read(&there).unwrap(), b"one", "{options:?}");
        set(&there, b"two");
        let download = [&["cp"], options, &[&to, "f"]].concat();
        stage.run(&download).ok();
        assert_eq!(fs::read(&here).unwrap(), b"two", "{options:?}");
    }
    // Two slashes are one.
    write(&stage.path("home/folder/f"), b"below");
    stage.run(&["cp", &server.at("folder//f"), "g"]).ok();
    assert_eq!(stage.read("user/g"), b"below");
    // A file is no folder, and not missing either.
    let below = server.at("f/");
    for paths in [[below.as_str(), "."], ["g", &below]] {
        for options in [&["--json", "cp"][..], &["--json", "cp", "-p"]] {
            let arguments = [options, &paths].concat();
            let message = stage.run(&arguments).fails(21, "not-a-file");
            assert!(!message.contains("is a folder"), "{message}");
        }
    }
}

#[test]
fn every_failure_is_listed() {
    let stage = stage();
    let server = stage.joined();
    write(&stage.path("user/tree/file"), b"content");
    for number in 0..250 {
        symlink("/etc", stage.path("user/tree").join(format!("l{number}"))).unwrap();
    }
    let outcome = stage.run(&["--json", "cp", "-r", "tree", &server.at("copy")]);
    assert_eq!(outcome.status, Some(1));
    let events = events(&outcome);
    let failed = events.iter().filter(|event| event["event"] == "failed");
    assert_eq!(failed.count(), 250);
    assert_eq!(event(&events, "done").unwrap()["failures"], 250);
}

/// A destination that another program makes during a first copy has nothing of the copy, and the
/// same command then fills it.
#[test]
fn destination_made_meanwhile_is_not_taken_for_the_copy() {
    for up in [true, false] {
        let relayed = RelayedServer::new(90);
        let RelayedServer { stage, relay, .. } = &relayed;
        let [source, target] = [!up, up].map(|up| relayed.folder(up));
        write(&source.join("tree/big"), &noise(4 << 20, 91));
        let (from, to) = if up {
            ("tree".to_owned(), relayed.via_relay("copy"))
        } else {
            (relayed.via_relay("tree"), "copy".to_owned())
        };
        let arguments = ["--json", "cp", "-rT", &from, &to];
        relay.hold_after(1 << 20);
        let child = stage.command(&arguments).spawn().unwrap();
        wait_for("the staging folder", || !staging(&target).is_empty());
        wait_for("a part of the copy", || relay.is_held());
        fs::create_dir(target.join("copy")).unwrap();
        relay.release();
        testkit::Outcome::of(child).fails(22, "exists");
        assert_eq!(fs::read_dir(target.join("copy")).unwrap().count(), 0);
        let outcome = stage.run(&arguments);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert_eq!(
            fs::read(target.join("copy/big")).unwrap(),
            noise(4 << 20, 91)
        );
        wait_for("nothing half-done", || staging(&target).is_empty());
    }
}
