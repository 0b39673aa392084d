//! `landline cp FILE web1,web2:`: one copy to several servers.

use std::{fs, net::TcpListener, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::Outcome;

use crate::{
    noise,
    run_many_hosts::{black_hole, dead, servers},
    stage,
};

fn events(outcome: &Outcome) -> Vec<Value> {
    let out = str::from_utf8(&outcome.stdout).unwrap();
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Proves `one-dead-host` in docs/faults.md.
#[test]
fn dead_hosts_hold_up_no_other() {
    let stage = stage();
    let _servers = servers(&stage, 4);
    dead(&stage);
    let _hole = black_hole(&stage);
    let content = noise(20_000_000, 1);
    stage.write("user/big", &content);
    let place = "dead,web[1-2],hole,web[3-4]:copy";
    let copied = stage.run(&["--json", "cp", "--retry", "0", "big", place]);
    for n in 1..=4 {
        assert!(stage.read(&format!("web{n}/copy")) == content, "web{n}");
    }
    let events = events(&copied);
    let hosts = |name: &str| -> Vec<&str> {
        let named = events.iter().filter(|event| event["event"] == name);
        let mut hosts: Vec<_> = named.map(|it| it["host"].as_str().unwrap()).collect();
        hosts.sort_unstable();
        hosts
    };
    assert_eq!(hosts("done"), ["web1", "web2", "web3", "web4"]);
    assert_eq!(hosts("failed"), ["dead", "hole"]);
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["hosts"]),
        (&"summary".into(), &6.into())
    );
    assert_eq!(last["succeeded"], 4);
    let failed = events.iter().filter(|event| event["event"] == "failed");
    let highest = failed.map(|event| event["status"].as_i64().unwrap()).max();
    assert_eq!(copied.status.map(i64::from), highest);
}

/// A host that does not answer is no reason to wait after a signal.
#[test]
fn signal_ends_the_search_for_hosts() {
    let stage = stage();
    stage.write("user/one", b"1");
    let silent = TcpListener::bind("127.0.0.9:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let child = stage
        .command(&[
            "cp",
            "--accept-new",
            "-P",
            &port,
            "one",
            "alice@127.0.0.9,127.0.0.9:x",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _connection = silent.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(
        text.contains("stopped") && !text.contains("status"),
        "{text}"
    );
}

#[test]
fn files_and_trees_go_to_all_hosts() {
    let stage = stage();
    let _servers = servers(&stage, 3);
    fs::create_dir_all(stage.path("user/tree/below")).unwrap();
    for n in 0..20 {
        stage.write(&format!("user/tree/below/{n}"), &noise(1000, n));
    }
    stage.write("user/one", b"1");
    stage.write("user/two", b"2");
    let copied = stage.run(&["cp", "one", "two", "web[1-3]:"]);
    assert_eq!(copied.status, Some(0), "{}", copied.stderr);
    assert!(
        copied.stderr.contains("landline: 3 hosts: 3 ok"),
        "{}",
        copied.stderr
    );
    stage.run(&["cp", "-q", "-r", "tree", "web[1-3]:"]).ok();
    for n in 1..=3 {
        assert_eq!(stage.read(&format!("web{n}/two")), b"2");
        let last = stage.read(&format!("web{n}/tree/below/19"));
        assert_eq!(last, noise(1000, 19));
    }
}

#[test]
fn what_cannot_go_to_many_hosts_is_refused() {
    let stage = stage();
    let _servers = servers(&stage, 1);
    stage.write("user/one", b"1");
    for arguments in [
        &["-", "web[1-2]:x"][..],
        &["--from-command", "web1,web2:x", "--", "true"],
        &["web1,web2:one", "."],
        &["one", "web[1-:x"],
        &["one", "@none:x"],
        &["--password-fd", "3", "one", "web[1-2]:x"],
    ] {
        let arguments = [&["cp"], arguments].concat();
        let refused = stage.run(&arguments);
        assert_eq!(refused.status, Some(2), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn changes_name_the_host_and_a_list_is_read_once() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    fs::create_dir_all(stage.path("user/tree")).unwrap();
    stage.write("user/tree/a", b"a");
    stage.write("user/tree/b", b"b");
    stage.write("user/list", b"a\n");
    let list = fs::File::open(stage.path("user/list")).unwrap();
    let run = stage
        .command(&[
            "cp",
            "-r",
            "--itemize",
            "--files-from",
            "-",
            "tree",
            "web[1-2]:new",
        ])
        .stdin(list)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    for n in 1..=2 {
        assert_eq!(stage.read(&format!("web{n}/new/a")), b"a");
        assert!(!stage.path(&format!("web{n}/new/b")).exists());
    }
    let out = String::from_utf8(run.stdout).unwrap();
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    let expected = [
        "web1: new file - a",
        "web1: new folder - ./",
        "web2: new file - a",
        "web2: new folder - ./",
    ];
    assert_eq!(lines, expected);
}
