//! Copying several files with one command.

use std::{fs, process::Command};

use crate::stage;

/// The number of logins that the server has seen since the client joined.
fn count_logins(server: &testkit::ServerProcess) -> usize {
    let mut logins = 0;
    loop {
        let event = server.next_event();
        match event["event"].as_str().unwrap() {
            "login" => logins += 1,
            "attached" => panic!("a further connection: {event}"),
            "logout" => return logins,
            _ => {}
        }
    }
}

#[test]
fn several_files_use_one_login() {
    let stage = stage();
    let server = stage.joined();
    server.event("logout");
    fs::create_dir(stage.path("home/folder")).unwrap();
    for name in ["a", "b", "c"] {
        stage.write(&format!("user/{name}"), name.as_bytes());
    }
    for to in ["folder/", "folder"] {
        let printed = stage.run(&["cp", "a", "b", "c", &server.at(to)]).ok();
        assert_eq!(printed.lines().count(), 3, "{printed}");
        assert_eq!(count_logins(&server), 1, "{to}");
        for name in ["a", "b", "c"] {
            let path = stage.path(&format!("home/folder/{name}"));
            assert_eq!(fs::read(&path).unwrap(), name.as_bytes());
            fs::remove_file(path).unwrap();
        }
    }
    for name in ["a", "b", "c"] {
        stage.write(&format!("home/folder/{name}"), name.as_bytes());
    }
    fs::create_dir(stage.path("user/back")).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| server.at(&format!("folder/{name}")));
    stage.run(&["cp", &a, &b, &c, "back"]).ok();
    assert_eq!(count_logins(&server), 1);
    assert_eq!(stage.read("user/back/c"), b"c");
}

/// A file that fails does not stop the others. The exit status reports the failure.
#[test]
fn one_failed_file_sets_exit_status() {
    let stage = stage();
    let server = stage.joined();
    stage.write("home/a", b"a");
    stage.write("home/c", b"c");
    let [a, b, c] = ["a", "b", "c"].map(|name| server.at(name));
    let outcome = stage.run(&["cp", &a, &b, &c, "."]);
    assert_eq!(outcome.status, Some(20), "{}", outcome.stderr);
    assert_eq!(
        (stage.read("user/a"), stage.read("user/c")),
        (b"a".to_vec(), b"c".to_vec())
    );
    assert!(!stage.path("user/b").exists());
}

/// Several files need a folder as destination.
#[test]
fn several_files_need_a_folder() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/a", b"a");
    stage.write("user/b", b"b");
    stage.write("user/file", b"file");
    let outcome = stage.run(&["cp", "a", "b", &server.at("missing")]);
    assert_eq!(outcome.status, Some(20), "{}", outcome.stderr);
    assert!(!stage.path("home/missing").exists());
    stage.write("home/a", b"a");
    stage.write("home/b", b"b");
    let [a, b] = ["a", "b"].map(|name| server.at(name));
    for (arguments, why) in [
        (vec!["cp", &a, &b, "file"], "a file"),
        (vec!["cp", &a, &b, "missing"], "nothing"),
        (vec!["cp", &a, &b, "-"], "standard output"),
        (vec!["cp", "a", "b", "file"], "no server"),
        (vec!["cp", &a, "b", "."], "one source here, one there"),
    ] {
        let outcome = stage.run(&arguments);
        assert_eq!(outcome.status, Some(2), "{why}: {}", outcome.stderr);
    }
    assert_eq!(stage.read("user/file"), b"file");
}

/// A local file that cannot be read does not stop the others either.
#[test]
fn unreadable_source_stops_no_other() {
    let stage = stage();
    let server = stage.joined();
    fs::create_dir(stage.path("home/folder")).unwrap();
    fs::create_dir(stage.path("user/is-a-folder")).unwrap();
    stage.write("user/a", b"a");
    stage.write("user/c", b"c");
    let to = server.at("folder");
    for (options, bad, status) in [
        (&[][..], "missing", 20),
        (&[], "is-a-folder", 21),
        (&["-p"], "missing", 20),
        (&["-p"], "is-a-folder", 21),
    ] {
        let outcome = stage.run(&[&["cp"], options, &["a", bad, "c", &to]].concat());
        assert_eq!(outcome.status, Some(status), "{}", outcome.stderr);
        for name in ["a", "c"] {
            fs::remove_file(stage.path(&format!("home/folder/{name}"))).unwrap();
        }
        let none = stage.run(&[&["cp"], options, &[bad, bad, &to]].concat());
        assert!(none.status.is_some_and(|status| status != 0));
    }
}

/// Two files of one name would be one file in the folder.
#[test]
fn sources_of_one_name_are_refused() {
    let stage = stage();
    let server = stage.joined();
    for place in ["home", "user"] {
        for folder in ["x", "y", "to"] {
            fs::create_dir_all(stage.path(&format!("{place}/{folder}"))).unwrap();
        }
        for folder in ["x", "y"] {
            stage.write(&format!("{place}/{folder}/same"), folder.as_bytes());
        }
    }
    let [x, y, to] = ["x/same", "y/same", "to"].map(|name| server.at(name));
    for paths in [["x/same", "y/same", &to], [&x, &y, "to"]] {
        for options in [&["--json", "cp"][..], &["--json", "cp", "-p"]] {
            stage.run(&[options, &paths].concat()).fails(2, "usage");
        }
    }
    for folder in ["home/to", "user/to"] {
        assert_eq!(fs::read_dir(stage.path(folder)).unwrap().count(), 0);
    }
}

/// A source on the server that cannot be read stops no other either, and takes no other's name.
#[test]
fn unreadable_tree_on_the_server_stops_no_other() {
    let stage = stage();
    let server = stage.joined();
    for name in ["a", "c"] {
        fs::create_dir(stage.path(&format!("home/{name}"))).unwrap();
        stage.write(&format!("home/{name}/file"), name.as_bytes());
    }
    let fifo = Command::new("mkfifo").arg(stage.path("home/pipe")).status();
    assert!(fifo.unwrap().success());
    for bad in ["missing", "pipe"] {
        fs::create_dir(stage.path("user/into")).unwrap();
        let [a, wrong, c] = ["a", bad, "c"].map(|name| server.at(name));
        let outcome = stage.run(&["cp", "-r", &a, &wrong, &c, "into"]);
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(bad), "{}", outcome.stderr);
        assert_eq!(stage.read("user/into/a/file"), b"a");
        assert_eq!(stage.read("user/into/c/file"), b"c");
        assert!(!stage.path(&format!("user/into/{bad}")).exists());
        fs::remove_dir_all(stage.path("user/into")).unwrap();
    }
}

/// Where no source can be read, each has a line, and the status is that of the first one.
#[test]
fn each_unreadable_source_is_reported() {
    let stage = stage();
    let server = stage.joined();
    let [one, two, to] = ["one", "two", ""].map(|name| server.at(name));
    for options in [&["cp"][..], &["cp", "-r"]] {
        for sources in [[one.as_str(), &two, "."], ["one", "two", &to]] {
            let outcome = stage.run(&[options, &sources].concat());
            assert_eq!(outcome.status, Some(20), "{}", outcome.stderr);
            for name in ["one: no such file", "two: no such file"] {
                let found = outcome.stderr.matches(name).count();
                assert_eq!(found, 1, "{sources:?}: {}", outcome.stderr);
            }
            // There is no result, and the user learns where the path was looked for.
            assert_eq!(outcome.stdout, b"");
            let is_there = outcome.stderr.contains("(on the server)");
            assert_eq!(is_there, sources[2] == ".", "{}", outcome.stderr);
        }
    }
    for name in ["one", "two"] {
        std::fs::create_dir(stage.path("home").join(name)).unwrap();
    }
    let outcome = stage.run(&["cp", "-p", &one, &two, "."]);
    assert_eq!(outcome.status, Some(21), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("add -r"), "{}", outcome.stderr);
    // A file has the name of a folder in the path, so -r is no help.
    stage.write("home/file", b"");
    let below = server.at("file/x");
    let outcome = stage.run(&["cp", "-p", &below, "."]);
    assert!(!outcome.stderr.contains("add -r"), "{}", outcome.stderr);
}
