//! `ls`, `stat`, `cat`, `sum`, `du` and `df`, and what all requests about entries share.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{Census, Outcome, RawClient, Stage};

use crate::{noise, stage};

/// Runs a command with `--json` and returns its lines.
#[track_caller]
pub(crate) fn json_lines(stage: &Stage, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let out = stage.run(&all).ok();
    out.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The paths in lines of JSON.
fn paths(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["path"].as_str().expect("a path"))
        .collect()
}

/// Writes a file, and makes the folders above it.
pub(crate) fn write(stage: &Stage, path: &str, content: &[u8]) {
    fs::create_dir_all(stage.path(path).parent().unwrap()).unwrap();
    stage.write(path, content);
}

/// Makes a FIFO without a writer.
pub(crate) fn make_fifo(stage: &Stage, path: &str) {
    let made = Command::new("/usr/bin/mkfifo")
        .arg(stage.path(path))
        .status();
    assert!(made.unwrap().success());
}

/// Makes empty folders below the home.
pub(crate) fn make_folders(stage: &Stage, folders: &[&str]) {
    for folder in folders {
        fs::create_dir_all(stage.home().join(folder)).unwrap();
    }
}

/// Asserts that a command ends soon, and returns its outcome.
#[track_caller]
fn at_once(stage: &Stage, arguments: &[&str]) -> Outcome {
    let start = Instant::now();
    let outcome = stage.run(arguments);
    // Generous: a loaded machine starts programs slowly.
    assert!(start.elapsed() < Duration::from_secs(10), "{arguments:?}");
    outcome
}

#[test]
fn ls_sorts_by_time_and_size_and_in_reverse() {
    let stage = stage();
    let server = stage.joined();
    for (name, length, age) in [("a", 5, 30), ("b", 7, 10), ("c", 5, 20)] {
        write(&stage, &format!("home/d/{name}"), &vec![0; length]);
        let path = stage.home().join("d").join(name);
        let file = fs::File::options().write(true).open(path);
        let time = std::time::SystemTime::now() - Duration::from_secs(age);
        file.unwrap().set_modified(time).unwrap();
    }
    for (options, order) in [
        (&["-r"][..], "c b a"),
        (&["-t"], "b c a"),
        (&["-tr"], "a c b"),
        (&["-S"], "b a c"),
        (&["-rS"], "c a b"),
        (&["-t", "-S"], "b a c"),
        (&["-S", "-t"], "b c a"),
    ] {
        for path in ["d", "d/*"] {
            let at = server.at(path);
            let arguments = [&["ls"], options, &[&at]].concat();
            let lines = json_lines(&stage, &arguments);
            let expected: Vec<String> = order.split(' ').map(|name| format!("d/{name}")).collect();
            assert_eq!(paths(&lines), expected, "{options:?} {path}");
        }
        let printed = stage.run(&[&["ls"], options, &[&server.at("d")]].concat());
        assert_eq!(printed.ok(), order.replace(' ', "\n") + "\n", "{options:?}");
    }
}

#[test]
fn ls_lists_in_order_with_properties() {
    let stage = stage();
    let server = stage.joined();
    write(&stage, "home/d/b", b"12345");
    write(&stage, "home/d/a", b"1");
    write(&stage, "home/d/.hidden", b"");
    make_folders(&stage, &["d/sub/deep"]);
    symlink("b", stage.home().join("d/link")).unwrap();
    symlink("d", stage.home().join("to-d")).unwrap();
    fs::set_permissions(stage.home().join("d/b"), fs::Permissions::from_mode(0o640)).unwrap();

    let out = stage.run(&["ls", &server.at("d")]).ok();
    assert_eq!(out, "a\nb\nlink\nsub\n");
    let out = stage.run(&["ls", "-a", &server.at("to-d")]).ok();
    assert_eq!(out, ".hidden\na\nb\nlink\nsub\n");

    let lines = json_lines(&stage, &["ls", &server.at("d")]);
    assert_eq!(paths(&lines), ["d/a", "d/b", "d/link", "d/sub"]);
    let b = &lines[1];
    assert_eq!(
        (&b["kind"], &b["length"], &b["mode"], &b["links"]),
        (&json!("file"), &json!(5), &json!(0o640), &json!(1))
    );
    assert_eq!(
        (&lines[2]["kind"], &lines[2]["target"]),
        (&json!("link"), &json!("b"))
    );
    assert_eq!(lines[3]["kind"], "folder");
    let modified = fs::metadata(stage.home().join("d/b")).unwrap();
    assert_eq!(b["modified"], modified.mtime());
    assert_eq!(b["nanoseconds"], modified.mtime_nsec());

    let long = stage
        .run(&["ls", "-l", &server.at("d/b"), &server.at("d/link")])
        .ok();
    let long: Vec<&str> = long.lines().collect();
    assert!(
        long[0].starts_with("-rw-r----- ") && long[0].ends_with("d/b"),
        "{long:?}"
    );
    assert!(
        long[1].starts_with('l') && long[1].ends_with("d/link -> b"),
        "{long:?}"
    );

    let itself = json_lines(
        &stage,
        &[
            "ls",
            "-d",
            &server.at("d"),
            &server.at("to-d"),
            &server.at(""),
        ],
    );
    assert_eq!(paths(&itself), ["d", "to-d", "."]);
    assert_eq!(itself[1]["kind"], "link");
    let all = json_lines(&stage, &["ls", "-R", &server.at("")]);
    assert_eq!(
        paths(&all),
        ["d", "to-d", "d/a", "d/b", "d/link", "d/sub", "d/sub/deep"]
    );
    let stat = json_lines(&stage, &["stat", &server.at("to-d"), &server.at("d/b")]);
    assert_eq!(
        (&stat[0]["kind"], &stat[1]["length"]),
        (&json!("link"), &json!(5))
    );
}

/// Proves `literal-pattern` in docs/faults.md.
#[test]
fn literal_name_wins_over_pattern() {
    let stage = stage();
    let server = stage.joined();
    let names = [
        "a b",
        "[x].txt",
        "x.txt",
        "*",
        "-n",
        "$(id)",
        "it's",
        "new\nline",
    ];
    for name in names {
        write(&stage, &format!("home/{name}"), name.as_bytes());
    }
    for name in names {
        let out = stage.run(&["cat", &server.at(name)]).ok();
        assert_eq!(out, name);
        let out = stage.run(&["sum", &server.at(name)]).ok();
        assert!(
            out.starts_with(if name.contains('\n') { "\\" } else { "" }),
            "{out}"
        );
    }
    let all = json_lines(&stage, &["ls", &server.at("?*")]);
    assert_eq!(all.len(), names.len());
    for name in ["*", "[x].txt", "-n", "$(id)", "new\nline"] {
        let before = fs::read_dir(stage.home()).unwrap().count();
        stage.run(&["rm", &server.at(name)]).ok();
        assert!(!stage.home().join(name).exists(), "{name:?}");
        assert_eq!(fs::read_dir(stage.home()).unwrap().count(), before - 1);
    }
    // Now it is a pattern.
    let out = stage.run(&["cat", &server.at("[x].txt")]).ok();
    assert_eq!(out, "x.txt");
    stage.run(&["rm", &server.at("*")]).ok();
    assert!(Census::of(&stage.home()).paths().is_empty());
    stage
        .run(&["--json", "rm", &server.at("*")])
        .fails(20, "not-found");
    stage
        .run(&["rm", "-f", &server.at("*"), &server.at("x")])
        .ok();
}

/// Proves `terminal-escape` in docs/faults.md.
#[test]
fn names_are_escaped_and_json_keeps_their_bytes() {
    let stage = stage();
    let server = stage.joined();
    let names: [&[u8]; 3] = [b"a\x1b[2J", b"b\xff\xfe", b"c\xed\xa0\x80"];
    for name in names {
        fs::write(stage.home().join(std::ffi::OsStr::from_bytes(name)), b"x").unwrap();
    }
    let out = stage.run(&["ls", &server.at("")]).ok();
    assert_eq!(out, "a\\u{1b}[2J\nb\\xff\\xfe\nc\\xed\\xa0\\x80\n");
    for command in ["ls", "du", "stat", "sum"] {
        let outcome = stage.run(&[command, &server.at("*")]);
        let text = [outcome.stdout, outcome.stderr.into_bytes()].concat();
        assert!(
            !text
                .iter()
                .any(|byte| byte.is_ascii_control() && *byte != b'\n' && *byte != b'\t')
        );
        assert!(String::from_utf8(text).is_ok(), "{command}");
    }
    let lines = json_lines(&stage, &["ls", &server.at("")]);
    let decode = |value: &Value| -> Vec<u8> {
        serde_json::from_value::<landline::proto::Name>(value.clone())
            .unwrap()
            .0
    };
    let found: Vec<Vec<u8>> = lines.iter().map(|line| decode(&line["path"])).collect();
    assert_eq!(found, names);
}

/// Proves `special-file` in docs/faults.md.
#[test]
fn fifo_and_device_are_refused_at_once() {
    let stage = stage();
    let server = stage.joined();
    make_fifo(&stage, "home/fifo");
    symlink("fifo", stage.home().join("link")).unwrap();
    write(&stage, "home/file", b"x");
    for path in ["fifo", "link"] {
        for command in ["cat", "sum"] {
            at_once(&stage, &["--json", command, &server.at(path)]).fails(21, "not-a-file");
        }
    }
    let outcome = at_once(&stage, &["sum", &server.at("*")]);
    assert_eq!(outcome.status, Some(1));
    assert_eq!(String::from_utf8_lossy(&outcome.stdout).lines().count(), 1);
    assert_eq!(
        json_lines(&stage, &["ls", &server.at("fifo")])[0]["kind"],
        "special"
    );
    stage.run(&["rm", &server.at("fifo")]).ok();
}

#[test]
fn several_paths_report_each_failure_and_do_the_rest() {
    let stage = stage();
    let server = stage.joined();
    write(&stage, "home/a", b"a");
    write(&stage, "home/b", b"b");
    let (a, no, b) = (server.at("a"), server.at("no"), server.at("b"));
    for command in ["ls", "stat", "cat", "sum", "du", "df"] {
        let outcome = stage.run(&["--json", command, &a, &no, &b]);
        assert_eq!(outcome.status, Some(1), "{command}");
        let failures: Vec<Value> = outcome
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let codes: Vec<_> = failures.iter().map(|it| &it["code"]).collect();
        assert_eq!(codes, ["not-found", "incomplete"], "{command}");
        assert_eq!(failures[1]["status"], 1, "{command}");
        if command != "cat" {
            let out = String::from_utf8(outcome.stdout).unwrap();
            assert_eq!(out.lines().count(), 2, "{command}");
        }
        stage.run(&["--json", command, &no]).fails(20, "not-found");
    }
    let outcome = stage.run(&["rm", &a, &no, &b]);
    assert_eq!(outcome.status, Some(1));
    assert!(Census::of(&stage.home()).paths().is_empty());
    stage.run(&["--json", "ls", "/etc"]).fails(2, "usage");
    stage.run(&["--json", "rm", "-"]).fails(2, "usage");
    let port = server.address.rsplit(':').next().unwrap();
    let host_and_port = format!("127.0.0.1:{port}");
    stage
        .run(&["--json", "ls", &host_and_port])
        .fails(2, "usage");
}

#[test]
fn sum_prints_what_sha256sum_checks() {
    let stage = stage();
    let server = stage.joined();
    let content = noise(3 << 20, 7);
    write(&stage, "home/big", &content);
    write(&stage, "home/with\\slash", b"x");
    let out = stage.run(&["sum", &server.at("big")]).ok();
    let digest = json_lines(&stage, &["sum", &server.at("big")]);
    assert_eq!(digest[0]["digest"], format!("blake3:{}", &out[..64]));
    assert_eq!(digest[0]["length"], content.len());
    let mut hasher = landline::files::ContentHasher::default();
    hasher.update(&content);
    assert_eq!(digest[0]["digest"], hasher.finish().to_string());
    let lines = stage.run(&["sum", "--sha256", &server.at("*")]).ok();
    let mut check = Command::new("/usr/bin/sha256sum")
        .arg("-c")
        .current_dir(stage.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    assert!(check.wait().unwrap().success());
}

#[test]
fn usage_counts_each_file_once() {
    let stage = stage();
    let server = stage.joined();
    write(&stage, "home/d/one", &noise(100_000, 1));
    fs::hard_link(stage.home().join("d/one"), stage.home().join("d/two")).unwrap();
    make_folders(&stage, &["d/sub"]);
    symlink("/", stage.home().join("d/out")).unwrap();
    let lines = json_lines(&stage, &["du", &server.at("d")]);
    assert_eq!(paths(&lines), ["d/sub", "d"]);
    assert_eq!(lines[1]["entries"], 4);
    assert_eq!(lines[1]["length"], 100_001);
    let du = Command::new("/usr/bin/du")
        .args(["-s", "--block-size=1"])
        .arg(stage.home().join("d"))
        .output()
        .unwrap();
    let du = String::from_utf8(du.stdout).unwrap();
    let expected: u64 = du.split('\t').next().unwrap().parse().unwrap();
    assert_eq!(lines[1]["disk"], expected);
    let summary = stage.run(&["du", "-s", &server.at("d")]).ok();
    assert!(summary.starts_with(&format!("{expected}\t100001\t")) && summary.lines().count() == 1);
    let space = &json_lines(&stage, &["df", &server.at("d/one")])[0];
    assert!(space["total"].as_u64() >= space["free"].as_u64());
    assert!(
        stage
            .run(&["df", "-h", &server.at("")])
            .ok()
            .contains("USE%")
    );
}

/// A long request ends when the right to it is revoked, and when its client leaves.
#[test]
fn long_request_ends_with_its_right_and_its_client() {
    let stage = stage();
    let server = stage.joined();
    crate::order::write_endless(&stage);
    let mut child = stage
        .command(&["--json", "sum", &server.at("endless")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(server.event("files-read")["action"], "sum");
    stage.write_rights("[users.alice]\nfiles = [\"rw:~/elsewhere\"]\n");
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(35), "{stderr}");

    stage.write_rights("[users.alice]\nfiles = [\"rw:~\"]\n");
    server.rights_loaded(&stage);
    let mut child = stage
        .command(&["sum", &server.at("endless")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(server.event("files-read")["action"], "sum");
    child.kill().unwrap();
    child.wait().unwrap();
    server.event("logout");
}

/// A reader that has enough ends the command with success.
#[test]
fn reader_that_leaves_ends_the_command() {
    let stage = stage();
    let server = stage.joined();
    for number in 0..3_000 {
        write(&stage, &format!("home/d/file-{number:04}"), b"");
    }
    write(&stage, "home/big", &noise(4 << 20, 3));
    for arguments in [["ls", "d"], ["cat", "big"]] {
        let [command, path] = arguments;
        let mut child = stage
            .command(&[command, &server.at(path)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = Vec::new();
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        out.read_until(b'\n', &mut first).unwrap();
        drop(out);
        let outcome = Outcome::of(child);
        assert_eq!(
            (outcome.status, &*outcome.stderr),
            (Some(0), ""),
            "{command}"
        );
    }
    let all = stage.run(&["ls", &server.at("d")]).ok();
    let all: Vec<&str> = all.lines().collect();
    assert!(all.len() == 3_000 && all.is_sorted());
}

/// The server stops an answer in the middle with an error, and the client reports it.
#[test]
fn raw_client_gets_records_and_errors() {
    let stage = stage();
    let server = stage.joined();
    write(&stage, "home/kept", b"kept");
    let key = crate::login::client_key(&stage);
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    let login = client.login_header("alice", &key, None);
    client.send_json(&login).unwrap();
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    for (request, expected) in [
        (json!({"type": "list", "path": "../x"}), "name-refused"),
        (json!({"type": "list", "path": "no"}), "not-found"),
        (json!({"type": "list", "path": "[k]ept"}), "not-found"),
        (json!({"type": "list", "path": ["x"]}), "bad-header"),
    ] {
        client.send_json(&request).unwrap();
        assert_eq!(client.error_code().unwrap().as_deref(), Some(expected));
    }
}
