//! Sparse files in copies of trees.

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use testkit::Stage;

use crate::{
    noise,
    resume::{RelayedServer, event, events, staging},
    run_many_hosts::servers,
    stage,
};

const MIB: u64 = 1 << 20;

/// Writes a file of this length with islands of data. Its last byte is a zero behind data.
fn write_sparse(path: &Path, length: u64, islands: &[u64]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    file.set_len(length).unwrap();
    for (number, &offset) in islands.iter().enumerate() {
        let data = noise(10_000, number as u64);
        file.write_all_at(&data, offset).unwrap();
    }
    if !islands.is_empty() {
        file.write_all_at(&[7, 0], length - 2).unwrap();
    }
    file.set_modified(SystemTime::now() - Duration::from_secs(1000))
        .unwrap();
}

fn disk_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn is_same(one: &Path, other: &Path) -> bool {
    let mut compare = Command::new("cmp");
    compare.args([one, other]).status().unwrap().success()
}

/// Asserts that the copy has the content of the source, and no more blocks than it needs.
fn assert_sparse_copy(source: &Path, copy: &Path) {
    assert!(is_same(source, copy), "{copy:?}");
    let (needed, used) = (disk_bytes(source), disk_bytes(copy));
    assert!(used <= needed + 128 * 1024, "{used} for {needed}");
}

/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn sparse_files_of_a_tree_stay_sparse() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    let islands = [0, 9 * MIB + 5, 40 * MIB - 3];
    write_sparse(&stage.path("user/tree/disk"), 64 * MIB, &islands);
    // Zeros that take space are no hole.
    write_sparse(&stage.path("user/tree/dense"), MIB, &[]);
    fs::write(stage.path("user/tree/dense"), vec![0; MIB as usize]).unwrap();
    stage.run(&["cp", "-r", "tree", "web1:"]).ok();
    stage.run(&["cp", "-r", "web1:tree", "web2:"]).ok();
    stage.run(&["cp", "-r", "web2:tree", "back"]).ok();
    for copy in ["web1/tree", "web2/tree", "user/back"] {
        let copy = stage.path(copy);
        assert_sparse_copy(&stage.path("user/tree/disk"), &copy.join("disk"));
        assert_eq!(disk_bytes(&copy.join("dense")), MIB);
    }
    // In place of a dense file with other content, whole and by its changed parts.
    for delta in ["off", "on"] {
        let old = stage.path("web1/tree/disk");
        fs::write(&old, noise(64 * MIB as usize, 9)).unwrap();
        assert!(disk_bytes(&old) >= 64 * MIB);
        stage
            .run(&["sync", "--delta", delta, "tree", "web1:tree"])
            .ok();
        assert_sparse_copy(&stage.path("user/tree/disk"), &old);
    }
}

#[test]
fn no_sparse_writes_zeros() {
    let stage = stage();
    let server = stage.joined();
    let source = stage.path("user/tree/disk");
    write_sparse(&source, 8 * MIB, &[3 * MIB]);
    let copy = stage.path("home/tree/disk");
    for delta in ["off", "on"] {
        stage
            .run(&[
                "sync",
                "--no-sparse",
                "--delta",
                delta,
                "tree",
                &server.at("tree"),
            ])
            .ok();
        assert!(is_same(&source, &copy));
        assert!(disk_bytes(&copy) >= 8 * MIB, "{}", disk_bytes(&copy));
        // The next one is compared with a sparse file.
        write_sparse(&copy, 8 * MIB, &[5 * MIB]);
    }
    stage
        .run(&["cp", "-r", "--no-sparse", &server.at("tree"), "back"])
        .ok();
    assert!(disk_bytes(&stage.path("user/back/disk")) >= 8 * MIB);
}

/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn files_of_zeros_are_copied_and_take_no_space() {
    let stage = stage();
    let server = stage.joined();
    let lengths = [MIB, 8 * MIB, 8 * MIB + 1, 16 * MIB, 130 * MIB];
    for length in lengths {
        write_sparse(&stage.path(&format!("user/tree/{length}")), length, &[]);
    }
    stage.run(&["cp", "-r", "tree", &server.at("copy")]).ok();
    stage.run(&["cp", "-r", &server.at("copy"), "back"]).ok();
    for length in lengths {
        for copy in ["home/copy", "user/back"] {
            let copy = stage.path(&format!("{copy}/{length}"));
            assert_eq!(fs::metadata(&copy).unwrap().len(), length);
            assert_sparse_copy(&stage.path(&format!("user/tree/{length}")), &copy);
        }
    }
}

/// What an earlier attempt left where a hole is must be zeros.
/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn hole_of_an_earlier_attempt_is_compared() {
    let relayed = RelayedServer::new(21);
    let source = relayed.stage.path("user/tree/disk");
    write_sparse(&source, 24 * MIB, &[]);
    let file = fs::File::options().write(true).open(&source).unwrap();
    file.write_all_at(&noise(2 << 20, 1), 0).unwrap();
    file.write_all_at(&noise(6 << 20, 2), 18 * MIB).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000))
        .unwrap();
    relayed.relay.cut_after(5 * MIB);
    let to = relayed.via_relay("copy");
    relayed
        .stage
        .run(&["--json", "cp", "-r", "--retry", "0", "tree", &to])
        .fails(10, "lost");
    relayed.relay.mend();
    relayed.server.event("disconnected");
    let part = left_of_file(&relayed.stage);
    assert!(disk_bytes(&part) < 8 * MIB, "{}", disk_bytes(&part));
    let left = fs::File::options().write(true).open(&part).unwrap();
    left.write_all_at(b"damage", 10 * MIB).unwrap();
    relayed.stage.run(&["cp", "-r", "tree", &to]).ok();
    assert_sparse_copy(&source, &relayed.stage.path("home/copy/disk"));
}

/// Finds what a copy that was cut has left of the file.
fn left_of_file(stage: &Stage) -> PathBuf {
    let staged = staging(&stage.home()).remove(0);
    let mut roots = fs::read_dir(staged).unwrap().map(Result::unwrap);
    let root = roots.find(|root| root.file_type().unwrap().is_dir());
    root.unwrap().path().join("disk")
}

/// A single file is sent with its holes, too, and a lost connection resumes it.
/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn single_sparse_file_stays_sparse() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    let islands = [0, 9 * MIB + 5, 40 * MIB - 3];
    let source = stage.path("user/disk");
    write_sparse(&source, 64 * MIB, &islands);
    for options in [&[][..], &["--delta", "off"], &["--parallel", "4"]] {
        let run = |paths: [&str; 2]| {
            let arguments = [&["--json", "cp"], options, &paths].concat();
            let outcome = stage.run(&arguments);
            let done = event(&events(&outcome), "done").unwrap().clone();
            outcome.ok();
            // The zeros between the islands are not sent.
            assert!(done["sent"].as_u64().unwrap() < 2 * MIB, "{done}");
            assert_eq!(done["length"], 64 * MIB);
        };
        for copy in ["web1/disk", "user/back"] {
            let _ = fs::remove_file(stage.path(copy));
        }
        run(["disk", "web1:"]);
        run(["web1:disk", "back"]);
        for copy in ["web1/disk", "user/back"] {
            assert_sparse_copy(&source, &stage.path(copy));
        }
    }
    // To several hosts, and between two.
    stage.run(&["cp", "disk", "web1,web2:several"]).ok();
    stage.run(&["cp", "web1:disk", "web2:between"]).ok();
    for copy in ["web1/several", "web2/several", "web2/between"] {
        assert_sparse_copy(&source, &stage.path(copy));
    }
    stage.run(&["cp", "--no-sparse", "disk", "web1:dense"]).ok();
    assert!(disk_bytes(&stage.path("web1/dense")) >= 64 * MIB);
    stage.run(&["cp", "--restart", "disk", "web1:again"]).ok();
    assert_sparse_copy(&source, &stage.path("web1/again"));
}

/// Proves `sparse-copy` in docs/faults.md.
#[test]
fn single_sparse_file_is_resumed() {
    for up in [true, false] {
        let relayed = RelayedServer::new(41);
        let (from, to) = (relayed.folder(!up), relayed.folder(up));
        write_sparse(&from.join("source"), 40 * MIB, &[]);
        let file = fs::File::options()
            .write(true)
            .open(from.join("source"))
            .unwrap();
        file.write_all_at(&noise(6 << 20, 1), MIB).unwrap();
        file.write_all_at(&noise(6 << 20, 2), 30 * MIB).unwrap();
        relayed.break_copy(up, 9 * MIB);
        let [source, copy] = relayed.arguments(up);
        let finished = relayed.stage.run(&["--json", "cp", &source, &copy]);
        let done = event(&events(&finished), "done").unwrap().clone();
        finished.ok();
        let sent = done["sent"].as_u64().unwrap();
        assert!(sent < 8 * MIB, "{up}: {done}");
        assert_sparse_copy(&from.join("source"), &to.join("copy"));
    }
}
