//! The audit log: every action has one line on the disk, and `verify` finds every change.
//! An action that cannot be logged is refused.

use std::{
    collections::BTreeMap, fs, io::Write, net::TcpStream, path::PathBuf, process::Stdio,
    time::Duration,
};

use rustix::io::Errno;
use serde_json::{Value, json};
use testkit::{Fault, Mount, RawClient, ServerProcess, Shim, Stage, wait_for};

use crate::{noise, stage, users::OwnerAndBob};

/// The lines of the log, as `audit show --json` prints them.
fn lines(stage: &Stage, arguments: &[&str]) -> Vec<Value> {
    let shown = stage
        .run_at_server(&[&["audit", "show", "--json"], arguments].concat())
        .ok();
    shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is one JSON object"))
        .collect()
}

fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[track_caller]
fn check_log(stage: &Stage) {
    let said = stage.run_at_server(&["audit", "verify", "--json"]).ok();
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["ok"], true, "{said}");
}

/// The newest file of the log.
fn newest(stage: &Stage) -> PathBuf {
    let entries = fs::read_dir(stage.path("server/server/audit")).unwrap();
    entries.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn audit_show_lists_actions_of_running_server() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/f", b"content");
    let digest = stage.run(&["cp", "f", &server.at("g")]).ok();
    let digest = digest.split(' ').next().unwrap();
    stage.run(&["cp", &server.at("g"), "h"]).ok();
    stage
        .run(&["--json", "cp", &server.at("/etc/passwd"), "i"])
        .fails(23, "denied");
    let mut stranger = TcpStream::connect(&server.address).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(server.event("refused")["code"], "tls");
    wait_for("the line", || {
        !events(&lines(&stage, &[]), "refused").is_empty()
    });

    let all = lines(&stage, &[]);
    assert_eq!(events(&all, "started").len(), 1);
    let changes = events(&all, "admin");
    let [made, redeemed] = [0, 1].map(|place| changes[place]["detail"].as_str().unwrap());
    let (id, terms) = made.split_once(", ").unwrap();
    assert_eq!(
        (terms, &changes[1]["subject"]),
        ("for owner, 86400 s", &"alice".into())
    );
    assert!(
        redeemed.starts_with(&format!("{id}, SHA256:")),
        "the owner's own invite: {made} {redeemed}"
    );
    let logins = events(&all, "login");
    assert_eq!(
        (logins.len(), &logins[0]["method"], &logins[3]["method"]),
        (4, &"invite".into(), &"ssh-key".into())
    );
    assert!(
        logins
            .iter()
            .all(|login| login["key"].as_str().unwrap().starts_with("SHA256:"))
    );
    assert!(
        logins
            .iter()
            .all(|login| login["peer"].as_str().unwrap().starts_with("127.0.0.1:"))
    );
    let transfers = events(&all, "transfer");
    for (transfer, direction) in transfers.iter().zip(["put", "get"]) {
        assert_eq!(
            (&transfer["direction"], &transfer["length"]),
            (&direction.into(), &7.into())
        );
        assert_eq!(
            (&transfer["digest"], &transfer["user"]),
            (&digest.into(), &"alice".into())
        );
    }
    assert_eq!(
        (transfers.len(), events(&all, "transfer-start").len()),
        (2, 2)
    );
    assert_eq!(events(&all, "failed")[0]["code"], "denied");

    assert!(
        lines(&stage, &["--user", "alice"])
            .iter()
            .all(|line| line["event"] != "started")
    );
    assert_eq!(lines(&stage, &["--user", "ghost"]), Vec::<Value>::new());
    assert_eq!(
        lines(&stage, &["--since", "1h"]).len(),
        lines(&stage, &["--since", "2020-01-01"]).len()
    );
    assert_eq!(
        lines(&stage, &["--since", "2999-01-01"]),
        Vec::<Value>::new()
    );
    stage
        .run_at_server(&["--json", "audit", "show", "--since", "yesterday"])
        .fails(2, "usage");
    check_log(&stage);
    stage
        .run(&["--json", "audit", "verify"])
        .fails(31, "no-server");
}

/// Proves `terminal-escape` and `log-injection` in docs/faults.md.
#[test]
fn hostile_name_is_escaped_on_one_audit_line() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/f", b"x");
    let awkward =
        "new\nline\r\",\"ok\":true,\"x\":\"\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\\\u{2028}end";
    stage.run(&["cp", "f", &server.at(awkward)]).ok();
    stage
        .run(&[
            "--json",
            "cp",
            &server.at(&awkward.replace("end", "absent")),
            "g",
        ])
        .fails(20, "not-found");
    // Of the join and of both copies.
    for _ in 0..3 {
        server.event("logout");
    }
    let all = lines(&stage, &[]);
    let path = stage.home().join(awkward);
    assert_eq!(events(&all, "transfer")[0]["path"], path.to_str().unwrap());
    assert!(all.iter().all(|line| line.get("ok").is_none()));
    let file = fs::read(newest(&stage)).unwrap();
    assert!(file.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let shown = stage.run_at_server(&["audit", "show"]).ok();
    assert_eq!(shown.lines().count(), all.len(), "{shown}");
    assert!(
        shown
            .chars()
            .all(|shown| shown == '\n' || !shown.is_control() && shown != '\u{202e}'),
        "{shown:?}"
    );
    check_log(&stage);
}

/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn verify_reports_changed_byte_and_cut_end() {
    let stage = stage();
    let mut server = stage.joined();
    stage.run(&["ping", "127.0.0.1"]).ok();
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    check_log(&stage);
    let file = newest(&stage);
    let good = fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(101) {
        let mut changed = good.clone();
        changed[at] ^= 1;
        fs::write(&file, &changed).unwrap();
        let outcome = stage.run_at_server(&["--json", "audit", "verify"]);
        let said: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        outcome.fails(37, "audit-changed");
        let line = good[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let violations = said["violations"].as_array().unwrap();
        assert!(
            violations
                .iter()
                .any(|found| found["file"] == "0000000000000001.jsonl" && found["line"] == line),
            "{line} is not in {said}"
        );
    }
    let last = good[..good.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    fs::write(&file, &good[..last]).unwrap();
    stage
        .run_at_server(&["--json", "audit", "verify"])
        .fails(37, "audit-changed");
    // A server that starts reports the damage. Its new file does not hide the damage.
    let mut command = stage.serve_command("127.0.0.1:0");
    let mut server = command.spawn().unwrap();
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(server.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut said).unwrap();
    let _ = server.kill();
    let _ = server.wait();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name), "{said}");
    let outcome = stage.run_at_server(&["audit", "verify", "--json"]);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!((outcome.status, &report["ok"]), (Some(37), &false.into()));
    assert_eq!(
        report["violations"][0]["line"], 0,
        "before a file: {report}"
    );
}

/// Proves `audit-loss` in docs/faults.md.
#[test]
fn login_and_copy_are_refused_without_audit_log() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/f", b"x");
    let mut slow = stage
        .command(&["cp", "-", &server.at("slow")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the staging file", || {
        fs::read_dir(stage.home()).unwrap().count() == 1
    });
    let log = stage.path("server/server/audit");
    let away = stage.path("server/away");
    fs::rename(&log, &away).unwrap();
    // A copy that has begun is not acknowledged either.
    drop(slow.stdin.take());
    assert_eq!(slow.wait_with_output().unwrap().status.code(), Some(36));
    for _ in 0..3 {
        stage
            .run(&["--json", "ping", "127.0.0.1"])
            .fails(36, "audit");
        stage
            .run(&["--json", "cp", "f", &server.at("g"), "--retry", "0"])
            .fails(36, "audit");
    }
    assert!(!stage.path("home/g").exists());
    fs::rename(&away, &log).unwrap();
    stage.run(&["cp", "f", &server.at("g")]).ok();
    check_log(&stage);
    let all = lines(&stage, &[]);
    let refusals = events(&all, "suppressed")
        .iter()
        .filter(|line| line["code"] == "audit")
        .count();
    assert_eq!(
        refusals, 0,
        "refusals are counted at the end of their minute: {all:?}"
    );
}

/// Edited rules wait until the log can be written, even if they only withdraw rights. A command
/// does not apply them either.
/// Proves `audit-loss` in docs/faults.md.
#[test]
fn edited_rules_wait_for_audit_log() {
    let stage = stage();
    let server = stage.joined();
    let session = |kind: &str| {
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        assert_eq!(
            client
                .login("alice", &crate::login::client_key(&stage), None)
                .unwrap(),
            "welcome"
        );
        client
            .send_json(&json!({"type": "open", "service": kind}))
            .unwrap();
        client
    };
    let (mut files, mut admin) = (session("files"), session("admin"));
    let log = stage.path("server/server/audit");
    let away = stage.path("server/away");
    fs::rename(&log, &away).unwrap();
    stage.write_rights("[users.alice]\nrole = \"owner\"\n");
    let refused = server.event("rights-refused");
    assert!(refused["message"].is_string(), "{refused}");
    admin
        .send_json(&json!({"type": "add-user", "user": "bob", "files": ["rw:~"]}))
        .unwrap();
    assert_eq!(admin.error_code().unwrap().as_deref(), Some("audit"));
    files
        .send_json(&json!({"type": "get", "path": "absent"}))
        .unwrap();
    assert_eq!(
        files.error_code().unwrap().as_deref(),
        Some("not-found"),
        "the earlier rules are in force"
    );

    fs::rename(&away, &log).unwrap();
    server.rights_loaded(&stage);
    assert_eq!(
        files.error_code().unwrap().as_deref(),
        Some("ended"),
        "alice has lost the right to files"
    );
    let all = lines(&stage, &[]);
    let load = events(&all, "rights-change").pop().unwrap();
    let hash = landline::audit::LineHash::of(&stage.read("server/server/rights.toml"));
    assert_eq!(
        (&load["users"], &load["hash"]),
        (&1.into(), &hash.to_string().into())
    );
    check_log(&stage);
}

/// Every write and every sync of the log fails once.
/// Proves `audit-loss` in docs/faults.md.
#[test]
fn failed_audit_write_refuses_login() {
    let stage = stage();
    let Some(shim) = Shim::build(&stage) else {
        return;
    };
    let mut server = stage.joined();
    for call in ["write", "fsync"] {
        for error in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
            let mut refused = 0;
            for nth in 2..8 {
                let mut command = stage.serve_command(&server.address);
                shim.load(
                    &mut command,
                    &Fault {
                        call,
                        path: "/server/audit/",
                        nth,
                        error,
                    },
                );
                server.kill();
                server = stage.serve_with(command);
                let before = events(&lines(&stage, &[]), "login").len();
                let outcomes: Vec<_> = (0..4)
                    .map(|_| stage.run(&["ping", "127.0.0.1"]).status)
                    .collect();
                let accepted = outcomes.iter().filter(|status| **status == Some(0)).count();
                refused += outcomes
                    .iter()
                    .filter(|status| **status == Some(36))
                    .count();
                assert!(
                    accepted >= 3,
                    "one failure refuses at most one login: {outcomes:?}"
                );
                let logins = events(&lines(&stage, &[]), "login").len() - before;
                assert!(
                    logins >= accepted,
                    "{call} {nth}: {accepted} accepted and {logins} written"
                );
                check_log(&stage);
            }
            assert!(refused > 0, "{call} {error:?}: a login was refused");
        }
    }
}

/// Proves `disk-full` in docs/faults.md.
#[test]
fn audit_log_uses_reserve_on_full_disk() {
    let stage = stage();
    let Some(_disk) = Mount::disk(&stage.path("server"), "size=2m") else {
        return;
    };
    let _server = stage.joined();
    let filler = stage.path("server/filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let ping = || stage.run(&["--json", "ping", "127.0.0.1"]);
    for _ in 0..10 {
        ping().ok();
    }
    // The reserve is 32 KiB, and a login takes about 600 bytes.
    let served = (0..200)
        .find(|_| ping().status != Some(0))
        .expect("the reserve runs out");
    ping().fails(36, "audit");
    check_log(&stage);
    drop(file);
    fs::remove_file(&filler).unwrap();
    ping().ok();
    check_log(&stage);
    eprintln!("{} logins on a full disk", served + 10);
}

/// On a full disk users are refused. Admins log in and can disable users.
/// Proves `disk-full` in docs/faults.md.
#[test]
fn admins_use_reserve_on_full_disk() {
    let stage = stage();
    let Some(_disk) = Mount::disk(&stage.path("server"), "size=64m") else {
        return;
    };
    let two = OwnerAndBob::on(stage);
    let filler = two.stage.path("server/filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    // Users soon exhaust the space beyond the reserve.
    let refused = (0..200).find(|_| two.bob(&["ping", "127.0.0.1"]).status == Some(36));
    assert!(refused.is_some(), "users exhaust their space");
    for _ in 0..3 {
        // Other programs cannot take what a change leaves of the reserve.
        while file.write_all(&[1; 512]).is_ok() {}
        two.stage.run(&["ping", "127.0.0.1"]).ok();
        two.remote_user(&["disable", "bob"]).ok();
        two.bob(&["--json", "ping", "127.0.0.1"])
            .fails(12, "login-refused");
        two.user(&["enable", "bob"]).ok();
    }
    drop(file);
    fs::remove_file(&filler).unwrap();
    two.bob(&["ping", "127.0.0.1"]).ok();
    check_log(&two.stage);
}

#[test]
fn flood_of_refusals_is_summarized_with_count() {
    let stage = stage();
    let mut server = stage.joined();
    let floods = 60;
    for _ in 0..floods {
        let mut stranger = TcpStream::connect(&server.address).unwrap();
        stranger.write_all(b"no").unwrap();
        stranger.shutdown(std::net::Shutdown::Write).unwrap();
        // The server closes the connection once it has refused it.
        let _ = std::io::Read::read_to_end(&mut stranger, &mut Vec::new());
    }
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let all = lines(&stage, &[]);
    let single = events(&all, "refused").len() as u64;
    let counted: u64 = events(&all, "suppressed")
        .iter()
        .filter_map(|line| line["count"].as_u64())
        .sum();
    assert_eq!(single + counted, floods);
    assert!(single <= 10, "{single} lines");
    check_log(&stage);
}

/// Copies one small file after the other until the server ends. Returns the digest of each
/// acknowledged copy.
fn copy_until_killed(
    stage: &Stage,
    server: &ServerProcess,
    round: u64,
) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for number in 0.. {
        let name = format!("{round}-{number}");
        let outcome = stage.run(&["cp", "--retry", "0", "f", &server.at(&name)]);
        if outcome.status != Some(0) {
            break;
        }
        let digest = String::from_utf8(outcome.stdout)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        known.insert(stage.home().join(name).display().to_string(), digest);
    }
    known
}

/// Proves `audit-loss` in docs/faults.md.
#[test]
fn killed_server_has_logged_its_actions() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let kills = if testkit::is_soak() { 200 } else { 6 };
    let stage = stage();
    let mut server = stage.joined();
    let choices = noise(kills * 2, seed ^ 0xa0d17);
    // One copy is acknowledged, however slow the machine is.
    stage.write("user/f", b"first");
    let said = stage.run(&["cp", "f", &server.at("first")]).ok();
    let digest = said.split(' ').next().unwrap().to_owned();
    let path = stage.home().join("first").display().to_string();
    let mut known = BTreeMap::from([(path, digest)]);
    for (round, choice) in choices.chunks(2).enumerate() {
        stage.write("user/f", &noise(200, round as u64));
        let moment =
            Duration::from_millis(u64::from(u16::from_le_bytes([choice[0], choice[1]])) % 250);
        let mut dying = server;
        let address = dying.address.clone();
        let id = dying.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        });
        known.extend(copy_until_killed(&stage, &dying, round as u64));
        killer.join().unwrap();
        dying.wait();
        check_log(&stage);
        server = stage.serve_at(&address, &[]);
        check_log(&stage);
        let all = lines(&stage, &[]);
        let written: BTreeMap<_, _> = events(&all, "transfer")
            .iter()
            .map(|line| {
                (
                    line["path"].as_str().unwrap().to_owned(),
                    line["digest"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        for (path, digest) in &known {
            assert_eq!(written.get(path), Some(digest), "{path} in round {round}");
        }
    }
}
