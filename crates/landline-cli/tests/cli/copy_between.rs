//! Copies from one server to another, through the client.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{Census, Outcome, Stage};

use crate::{noise, resume::RelayedServer, run_many_hosts::servers, stage};

fn make_tree(stage: &Stage) {
    for folder in ["0", "1", "2", "empty"] {
        fs::create_dir_all(stage.path("web1/tree").join(folder)).unwrap();
    }
    for n in 0..60u64 {
        stage.write(&format!("web1/tree/{}/{n}", n % 3), &noise(2_000, n));
    }
    stage.write("web1/tree/big", &noise(5_000_000, 7));
    // Files that were changed just now are always sent.
    let made = std::process::Command::new("find")
        .arg(stage.path("web1/tree"))
        .args([
            "-type",
            "f",
            "-exec",
            "touch",
            "-d",
            "2020-01-01",
            "{}",
            "+",
        ])
        .status();
    assert!(made.unwrap().success());
}

fn same(stage: &Stage, one: &str, other: &str) -> bool {
    let run = std::process::Command::new("diff")
        .arg("-r")
        .args([stage.path(one), stage.path(other)])
        .output();
    run.unwrap().status.success()
}

#[test]
fn files_and_trees_go_from_server_to_server() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage);
    let before = Census::of(&stage.path("user")).paths();
    stage.run(&["cp", "web1:tree/big", "web2:copy"]).ok();
    assert!(stage.read("web2/copy") == noise(5_000_000, 7));
    stage.run(&["cp", "-r", "web1:tree", "web2:new"]).ok();
    assert!(same(&stage, "web1/tree", "web2/new"));
    stage.run(&["cp", "-r", "web1:tree", "web2:"]).ok();
    assert!(same(&stage, "web1/tree", "web2/tree"));
    // Nothing was stored on the way.
    assert_eq!(Census::of(&stage.path("user")).paths(), before);
    // Nothing is sent that is there.
    let again = stage.run(&["--json", "cp", "-rT", "web1:tree", "web2:tree"]);
    let again = String::from_utf8(again.stdout).unwrap();
    let last: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["files"]),
        (&"done".into(), &0.into())
    );
    // Both names of the server are in the messages.
    let missing = stage.run(&["cp", "web1:none", "web2:x"]);
    assert!(missing.stderr.contains("web1"), "{}", missing.stderr);
    assert_eq!(missing.status, stage.run(&["cp", "web1:none", "x"]).status);
    let missing = stage.run(&["cp", "web1:tree/big", "web2:no/such/folder"]);
    assert!(missing.stderr.contains("web2"), "{}", missing.stderr);
    let folder = stage.run(&["cp", "web1:tree", "web2:x"]);
    assert!(folder.stderr.contains("-r"), "{}", folder.stderr);
}

/// A path that ends in a slash is that of a folder, on each way that a file can take.
#[test]
fn file_never_gets_the_name_of_a_folder() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    stage.write("web1/file", b"file");
    stage.write("web2/other", b"other");
    stage.write("user/file", b"file");
    stage.write("user/other", b"other");
    for copy in [
        &["cp", "web1:file", "web2:"][..],
        &["cp", "-p", "file", "web2:"],
        &["cp", "-r", "file", "web2:"],
        &["cp", "file", "web2:"],
        &["cp", "-p", "web1:file", "./"],
        &["cp", "web1:file", "./"],
    ] {
        for (name, is_there) in [("new/", false), ("other/", true)] {
            let mut copy: Vec<_> = copy.iter().map(ToString::to_string).collect();
            let destination = copy.last_mut().unwrap();
            destination.push_str(name);
            let outcome = stage.run(&copy);
            // A path below a file is not found, or its beginning is no folder.
            assert!(
                matches!(outcome.status, Some(20 | 21 | 27)),
                "{copy:?}: {outcome:?}"
            );
            for side in ["web2", "user"] {
                let path = stage.path(side).join(name.trim_end_matches('/'));
                assert_eq!(path.exists(), is_there, "{copy:?}");
                assert!(!is_there || fs::read(path).unwrap() == b"other", "{copy:?}");
            }
        }
    }
    // A folder gets it.
    fs::create_dir(stage.path("user/folder")).unwrap();
    stage.run(&["cp", "-r", "folder", "web2:new/"]).ok();
    assert!(stage.path("web2/new").is_dir());
}

/// `-n` says that a file is there already, on each way that a file can take.
#[test]
fn file_that_is_not_replaced_is_an_error() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    for (file, content) in [
        ("web1/file", b"new"),
        ("user/file", b"new"),
        ("web2/file", b"old"),
    ] {
        stage.write(file, content);
    }
    for copy in [
        &["--json", "cp", "-n", "web1:file", "web2:file"][..],
        &["--json", "cp", "-np", "file", "web2:file"],
        &["--json", "cp", "-n", "file", "web2:file"],
    ] {
        stage.run(copy).fails(22, "exists");
        assert_eq!(stage.read("web2/file"), b"old");
    }
}

#[test]
fn copy_between_servers_resumes() {
    let stage = stage();
    let servers = servers(&stage, 2);
    make_tree(&stage);
    let arguments = [
        "--json",
        "cp",
        "-r",
        "--limit-rate",
        "256K",
        "web1:tree",
        "web2:new",
    ];
    let mut child = stage
        .command(&arguments)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    for line in std::io::BufRead::lines(out) {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["done"].as_u64().is_some_and(|done| done > 500_000) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(!stage.path("web2/new").exists());
    let done = stage.run(&["--json", "cp", "-r", "web1:tree", "web2:new"]);
    let done = String::from_utf8(done.stdout).unwrap();
    let last: Value = serde_json::from_str(done.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "done", "{done}");
    assert!(same(&stage, "web1/tree", "web2/new"));
    drop(servers);
}

#[test]
fn folder_becomes_equal_to_one_of_another_server() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage);
    stage.run(&["sync", "web1:tree", "web2:copy"]).ok();
    assert!(same(&stage, "web1/tree", "web2/copy"));
    stage.write("web2/copy/extra", b"old");
    stage.write("web2/copy/0/kept.log", b"log");
    stage.write("web1/tree/0/new.log", b"log");
    stage.write("web1/tree/1/1", b"changed");
    let arguments = [
        "sync",
        "--delete",
        "--exclude",
        "*.log",
        "--itemize",
        "web1:tree",
        "web2:copy",
    ];
    let dry = stage.run(&[&arguments[..], &["--dry-run"]].concat());
    assert!(stage.path("web2/copy/extra").exists());
    let run = stage.run(&arguments);
    let lines = |run: &Outcome| {
        let out = String::from_utf8(run.stdout.clone()).unwrap();
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(lines(&dry), lines(&run));
    let changed = ["change file ct 1/1", "delete file - extra"];
    assert!(
        changed
            .iter()
            .all(|line| lines(&run).contains(&(*line).to_owned())),
        "{:?}",
        lines(&run)
    );
    assert!(!stage.path("web2/copy/extra").exists());
    assert!(stage.path("web2/copy/0/kept.log").exists());
    assert!(!stage.path("web2/copy/0/new.log").exists());
    assert_eq!(stage.read("web2/copy/1/1"), b"changed");
}

#[test]
fn checksum_between_servers_sends_only_what_differs() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage);
    stage.run(&["cp", "-r", "web1:tree", "web2:copy"]).ok();
    let same_length = noise(2_000, 1_000);
    stage.write("web2/copy/1/1", &same_length);
    let touched = std::process::Command::new("touch")
        .args(["-d", "2020-01-01"])
        .arg(stage.path("web2/copy/1/1"))
        .status();
    assert!(touched.unwrap().success());
    let run = stage.run(&["sync", "--checksum", "--itemize", "web1:tree", "web2:copy"]);
    let out = String::from_utf8(run.stdout).unwrap();
    assert_eq!(out, "change file c 1/1\n", "{}", run.stderr);
    assert!(same(&stage, "web1/tree", "web2/copy"));
}

/// A server that is asked to compare would send changes, which cannot be passed on.
#[test]
fn older_file_at_the_destination_is_replaced() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    make_tree(&stage);
    fs::create_dir(stage.path("web2/tree")).unwrap();
    let mut older = noise(5_000_000, 7);
    older[2_000_000] ^= 1;
    stage.write("web2/tree/big", &older);
    let arguments = ["cp", "-r", "--delta", "on", "web1:tree", "web2:"];
    stage.run(&arguments).ok();
    assert!(same(&stage, "web1/tree", "web2/tree"));
}

#[test]
fn compressed_copy_between_servers_is_compressed_on_both_ways() {
    let relayed = RelayedServer::new(6);
    let (stage, relay) = (&relayed.stage, &relayed.relay);
    let _servers = servers(stage, 1);
    let text = b"the same words again, and again\n".repeat(100_000);
    stage.write("home/text", &text);
    stage.write("web1/text", &text);
    for [source, destination] in [
        [relayed.via_relay("text"), "web1:copy".to_owned()],
        ["web1:text".to_owned(), relayed.via_relay("copy")],
    ] {
        // The connection is cut after less than a third of the text.
        relay.cut_after(1_000_000);
        stage
            .run(&["cp", "--retry", "0", "-z", &source, &destination])
            .ok();
    }
    assert!(stage.read("home/copy") == text && stage.read("web1/copy") == text);
}

/// Proves `rate-limit` in docs/faults.md.
#[test]
fn rate_limit_between_servers_holds_for_the_source() {
    let relayed = RelayedServer::new(5);
    let (stage, relay) = (&relayed.stage, &relayed.relay);
    let _servers = servers(stage, 1);
    stage.write("home/big", &noise(12_000_000, 5));
    // Up to half of this waits in the buffers of the systems. All of it would fit in those of the
    // client.
    relay.cut_after(6_000_000);
    let source = relayed.via_relay("big");
    let start = Instant::now();
    let arguments = [
        "cp",
        "--retry",
        "0",
        "--limit-rate",
        "1M",
        &source,
        "web1:copy",
    ];
    let cut = stage.run(&arguments);
    assert_ne!(cut.status, Some(0));
    assert_eq!(relay.cuts(), 1);
    assert!(start.elapsed() > Duration::from_secs(2));
}
