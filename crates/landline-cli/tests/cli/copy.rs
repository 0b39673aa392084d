//! Copying one file each way.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use testkit::wait_for;

use crate::{noise, stage};

#[test]
fn put_and_get_print_the_same_digest() {
    let stage = stage();
    let server = stage.joined();
    for length in [0, 1, 262_140, 262_141, 9 << 20] {
        let content = noise(length, 7);
        let source = stage.write("source", &content);
        let up = stage
            .run(&["cp", source.to_str().unwrap(), &server.at("copy")])
            .ok();
        assert_eq!(stage.read("home/copy"), content, "{length}");
        let event = server.event("transfer");
        assert_eq!(event["length"], length);
        assert!(up.starts_with(event["digest"].as_str().unwrap()), "{up}");

        let down = stage.run(&["cp", &server.at("copy"), "back"]).ok();
        assert_eq!(stage.read("user/back"), content, "{length}");
        assert_eq!(server.event("transfer")["direction"], "get");
        assert_eq!(up.split(' ').next(), down.split(' ').next());
    }
}

#[test]
fn copy_leaves_only_the_file() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/a", b"content");
    stage.run(&["cp", "a", &server.at("")]).ok();
    stage.run(&["cp", &server.at("a"), "b"]).ok();
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(stage.path(folder)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("home"), ["a"]);
    assert_eq!(names("user"), ["a", "b"]);
}

#[test]
fn copy_reads_stdin_and_writes_stdout() {
    let stage = stage();
    let server = stage.joined();
    let content = noise(3_000_000, 9);
    stage
        .run_with_input(&["cp", "-", &server.at("piped")], &content)
        .ok();
    assert_eq!(stage.read("home/piped"), content);
    let outcome = stage.run(&["cp", &server.at("piped"), "-"]);
    assert_eq!(outcome.stdout, content);
    assert!(outcome.stderr.contains("blake3:"), "{}", outcome.stderr);
    stage
        .run_with_input(&["cp", "-", &server.at("empty")], b"")
        .ok();
    assert_eq!(stage.read("home/empty"), b"");
}

#[test]
fn folder_destination_keeps_file_name() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/näme\n1", b"x");
    fs::create_dir(stage.path("home/sub")).unwrap();
    fs::create_dir(stage.path("user/sub")).unwrap();
    for place in [
        "sub",
        "sub/",
        "~/sub",
        "./sub/",
        stage.path("home/sub").to_str().unwrap(),
    ] {
        stage.run(&["cp", "näme\n1", &server.at(place)]).ok();
        assert_eq!(stage.read("home/sub/näme\n1"), b"x", "{place}");
        fs::remove_file(stage.path("home/sub/näme\n1")).unwrap();
    }
    stage.run(&["cp", "näme\n1", &server.at("")]).ok();
    stage.run(&["cp", &server.at("näme\n1"), "sub"]).ok();
    assert_eq!(stage.read("user/sub/näme\n1"), b"x");
    stage
        .run(&["--json", "cp", "näme\n1", &server.at("absent/")])
        .fails(20, "not-found");
    stage
        .run(&["--json", "cp", &server.at("näme\n1"), "absent/"])
        .fails(20, "not-found");
    stage
        .run(&["--json", "cp", "-", &server.at("sub")])
        .fails(21, "not-a-file");
}

/// Proves `special-mode-bits` in docs/faults.md.
#[test]
fn mode_is_kept_or_taken_from_source() {
    let stage = stage();
    let server = stage.joined();
    let mode = |name: &str| fs::metadata(stage.path(name)).unwrap().permissions().mode() & 0o7777;
    let source = stage.write("user/source", b"new");
    for (source_mode, expected) in [
        (0o4755, 0o755),
        (0o2755, 0o755),
        (0o1755, 0o755),
        (0o600, 0o600),
        (0o640, 0o640),
    ] {
        fs::set_permissions(&source, fs::Permissions::from_mode(source_mode)).unwrap();
        let _ = fs::remove_file(stage.path("home/there"));
        stage.run(&["cp", "source", &server.at("there")]).ok();
        assert_eq!(mode("home/there"), expected, "{source_mode:o} up");
        let _ = fs::remove_file(stage.path("user/back"));
        stage.run(&["cp", &server.at("there"), "back"]).ok();
        assert_eq!(mode("user/back"), expected, "{source_mode:o} down");
    }
    fs::set_permissions(
        stage.write("home/there", b"old"),
        fs::Permissions::from_mode(0o604),
    )
    .unwrap();
    stage.run(&["cp", "source", &server.at("there")]).ok();
    assert_eq!(
        (mode("home/there"), stage.read("home/there")),
        (0o604, b"new".to_vec())
    );
}

/// Proves `hard-link` in docs/faults.md.
#[test]
fn replacing_file_leaves_hard_link_unchanged() {
    let stage = stage();
    let server = stage.joined();
    stage.write("outside", b"precious");
    fs::hard_link(stage.path("outside"), stage.path("home/linked")).unwrap();
    stage.write("user/source", b"new");
    stage.run(&["cp", "source", &server.at("linked")]).ok();
    assert_eq!(stage.read("home/linked"), b"new");
    assert_eq!(stage.read("outside"), b"precious");
}

#[test]
fn progress_goes_to_terminal_and_digest_to_stdout() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/source", &noise(1_000_000, 1));
    let outcome = stage.run(&["cp", "source", &server.at("x")]);
    assert!(
        !outcome.stderr.contains('\r') && !outcome.stderr.contains('\u{1b}'),
        "{}",
        outcome.stderr
    );
    let stdout = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(
        stage
            .run(&["cp", "-q", "source", &server.at("x")])
            .stderr
            .is_empty()
    );
}

#[test]
fn known_host_needs_no_port() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/source", b"x");
    stage.run(&["cp", "source", "127.0.0.1:there"]).ok();
    assert_eq!(stage.read("home/there"), b"x");
    stage.run(&["cp", "source", "alice@127.0.0.1:there2"]).ok();
    let pong = stage.run(&["--json", "ping", "127.0.0.1"]).json();
    assert_eq!(pong["fingerprint"], server.fingerprint);
    assert_eq!(pong["user"], "alice");
    assert!(pong["key"].as_str().unwrap().starts_with("SHA256:"));
}

#[test]
fn concurrent_copies_do_not_mix() {
    let stage = stage();
    let server = stage.joined();
    std::thread::scope(|scope| {
        for n in 0..8u64 {
            let (stage, server) = (&stage, &server);
            scope.spawn(move || {
                let content = noise(2_000_000 + n as usize, n + 1);
                stage
                    .run_with_input(&["cp", "-", &server.at(&format!("f{n}"))], &content)
                    .ok();
                assert_eq!(
                    stage.run(&["cp", &server.at(&format!("f{n}")), "-"]).stdout,
                    content
                );
            });
        }
    });
}

#[test]
fn copy_waits_for_slow_stdin() {
    use std::io::Write;
    let stage = stage();
    let server = stage.joined();
    let mut child = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let staged = || {
        let bytes = |entry: fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
        fs::read_dir(stage.home())
            .unwrap()
            .map(|entry| bytes(entry.unwrap()))
            .max()
    };
    stdin.write_all(b"first ").unwrap();
    wait_for("the staging file", || staged().is_some());
    assert!(!stage.path("home/slow").exists());
    stdin.write_all(b"second").unwrap();
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(stage.read("home/slow"), b"first second");
}
