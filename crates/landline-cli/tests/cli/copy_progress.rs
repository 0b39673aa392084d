//! What a copy tells while it runs, and its rate.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use testkit::Stage;

use crate::{noise, stage};

/// A tree of files that do not count as recent. Returns its bytes.
fn make_tree(root: &Path, files: usize, length: usize) -> u64 {
    let old = SystemTime::now() - Duration::from_secs(1000);
    for number in 0..files {
        let path = root.join(format!("{}/{number}", number % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, noise(length, number as u64)).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
    }
    (files * length) as u64
}

/// Runs a command and returns its `progress` events. Kills it once so many percent are done.
fn follow(stage: &Stage, arguments: &[&str], percent: Option<u64>) -> Vec<Value> {
    let mut command = stage.command(arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut found = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] != "progress" {
            continue;
        }
        let (done, total) = (event["done"].as_u64().unwrap(), event["total"].as_u64());
        found.push(event);
        if let (Some(percent), Some(total)) = (percent, total)
            && done * 100 >= total * percent
        {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    // It may have ended before it was killed.
    assert!(status.success() || percent.is_some());
    found
}

/// Proves `progress-lies` in docs/faults.md.
#[test]
fn progress_of_killed_and_resumed_tree_never_falls() {
    let stage = stage();
    let server = stage.joined();
    let bytes = make_tree(&stage.path("user/tree"), 150, 20_000);
    let place = server.at("new");
    let arguments = ["--json", "cp", "-rT", "--limit-rate", "1M", "tree", &place];
    for percent in [Some(20), Some(50), Some(80), None] {
        let events = follow(&stage, &arguments, percent);
        for key in ["done", "kept", "files", "files_found"] {
            let values: Vec<u64> = events.iter().map(|it| it[key].as_u64().unwrap()).collect();
            assert!(values.is_sorted(), "{key}: {values:?}");
        }
        for event in &events {
            let is_listed = !event["total"].is_null();
            assert!(is_listed || event["seconds_left"].is_null(), "{event}");
            assert!(!is_listed || event["total"] == bytes, "{event}");
        }
        if percent.is_none() {
            let last = events.last().unwrap();
            assert_eq!(
                (&last["done"], &last["files"]),
                (&bytes.into(), &150.into())
            );
        }
    }
    // Now all of it is there.
    let last = follow(&stage, &["--json", "cp", "-rT", "tree", &place], None);
    let last = last.last().unwrap();
    assert_eq!(
        (&last["done"], &last["kept"]),
        (&bytes.into(), &bytes.into())
    );
    // The other way.
    let events = follow(&stage, &["--json", "cp", "-r", &place, "back"], None);
    let last = events.last().unwrap();
    assert_eq!((&last["done"], &last["kept"]), (&bytes.into(), &0.into()));
    assert_eq!(
        (&last["total"], &last["files"]),
        (&bytes.into(), &150.into())
    );
}

/// Proves `rate-limit` in docs/faults.md.
#[test]
fn rate_limit_holds_in_both_directions() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/file", &noise(1 << 20, 1));
    make_tree(&stage.path("user/tree"), 100, 10_000);
    let limited = |arguments: &[&str]| {
        let arguments = [&["--json", "cp", "--limit-rate", "512K"], arguments].concat();
        let out = String::from_utf8(stage.run(&arguments).stdout).unwrap();
        let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "done", "{out}");
        let seconds = last["seconds"].as_f64().unwrap();
        assert!(seconds > 1.7, "{seconds} s for 1 MB at 512 KiB/s");
    };
    limited(&["file", &server.at("there")]);
    limited(&[&server.at("there"), "back"]);
    limited(&["-r", "tree", &server.at("new")]);
    limited(&["-r", &server.at("new"), "back-tree"]);
    let failed = stage.run(&["cp", "--limit-rate", "1K", "file", &server.at("x")]);
    assert_eq!(failed.status, Some(2));
}
