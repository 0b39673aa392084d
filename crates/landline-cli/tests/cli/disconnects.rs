//! Commands whose connection is lost many times, at random bytes.
//!
//! `cargo xtask soak disconnects 1000` runs the long form.

use std::{
    io::{Read, Write},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Relay, ServerProcess, Stage, wait_for};

use crate::{join_by, noise, order::into, run::HOST, stage};

/// Content is compared in parts of so many bytes.
const PART: usize = 64 * 1024;
/// The most connections that are lost in one command.
const CUTS_PER_COMMAND_MAX: u64 = 25;
/// How much content there is for each of them, in bytes.
const CONTENT_PER_CUT: usize = 1 << 20;

/// How many connections are lost in all.
fn disconnects() -> u64 {
    match std::env::var("LANDLINE_DISCONNECTS") {
        Ok(count) => count.parse().expect("a number"),
        Err(_) if testkit::is_soak() => 1000,
        Err(_) => 12,
    }
}

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A part of the content.
fn part(number: usize) -> Vec<u8> {
    noise(PART, number as u64 + 1)
}

/// A command that echoes what it gets, while connections are lost. Returns how many were.
fn echo_with_cuts(
    stage: &Stage,
    relay: &Relay,
    options: &[&str],
    cuts: u64,
    random: &mut Random,
) -> u64 {
    let parts = usize::try_from(cuts).unwrap() * CONTENT_PER_CUT / PART;
    let script = format!(
        "if test -t 0; then stty raw -echo; fi; echo ready; exec head -c {}",
        parts * PART
    );
    let words = [&["run"], options, &[HOST, "--", "sh", "-c", &script]].concat();
    let mut command = stage.command(&words);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 6];
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ready\n");
    let writing = std::thread::spawn(move || {
        for number in 0..parts {
            stdin.write_all(&part(number)).unwrap();
        }
        // The end of the input is not what ends the command.
        stdin
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = {
        let is_over = is_over.clone();
        std::thread::spawn(move || {
            let mut arrived = vec![0; PART];
            for number in 0..parts {
                stdout.read_exact(&mut arrived).unwrap();
                let expected = part(number);
                let at = arrived
                    .iter()
                    .zip(&expected)
                    .position(|(is, was)| is != was);
                let rest = at.map(|at| arrived[at..].escape_ascii().take(200).collect::<Vec<u8>>());
                let rest = rest.map(|rest| String::from_utf8_lossy(&rest).into_owned());
                assert!(
                    rest.is_none(),
                    "part {number} is another one at {at:?}: {rest:?}"
                );
            }
            is_over.store(true, Ordering::SeqCst);
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "{} bytes too many", rest.len());
        })
    };
    let before = relay.cuts();
    while relay.cuts() < before + cuts && !is_over.load(Ordering::SeqCst) {
        let (cut, bytes) = (relay.cuts(), 1 + random.below(512 * 1024));
        if random.below(2) == 0 {
            relay.cut_after(bytes);
        } else {
            relay.half_open_after(bytes);
        }
        wait_for("a lost connection, or the end", || {
            relay.cuts() > cut || is_over.load(Ordering::SeqCst) || reading.is_finished()
        });
        if reading.is_finished() {
            break;
        }
    }
    relay.mend();
    let outcome = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(0), "{options:?}: {errors}");
    reading.join().unwrap();
    drop(writing.join().unwrap());
    relay.cuts() - before
}

/// The server, and the supervisor that it keeps for the next command.
const PROCESSES: usize = 2;

/// Waits until the server has as many descriptors as before, and there are no other processes.
fn wait_for_nothing_left(stage: &Stage, server: &ServerProcess, descriptors: usize) {
    wait_for("no processes", || stage.processes().len() <= PROCESSES);
    wait_for("no descriptors", || server.usage().1 <= descriptors);
}

/// No byte is lost or doubled, in both directions, and nothing is left: no process, terminal or
/// descriptor.
/// Proves `lost-connection` and `leftover-process` in docs/faults.md.
#[test]
fn disconnects_lose_nothing_and_leave_nothing() {
    let stage = stage();
    let server = stage.serve(&[]);
    let relay = Relay::start(&server.address);
    join_by(&stage, &server, &relay.address);
    stage.run(&["run", HOST, "--", "true"]).ok();
    let mut descriptors = server.usage().1;
    wait_for("a settled server", || {
        let now = server.usage().1;
        let is_settled = now >= descriptors && stage.processes().len() == PROCESSES;
        descriptors = descriptors.min(now);
        std::thread::sleep(Duration::from_millis(50));
        is_settled
    });
    let (mut random, mut left) = (Random(0x9e37_79b9_7f4a_7c15), disconnects());
    let options: [&[&str]; 3] = [
        &["--on-lost", "end:60s"],
        &["--on-lost", "keep"],
        &["--pty", "--on-lost", "keep"],
    ];
    let each = (left / 3).clamp(1, CUTS_PER_COMMAND_MAX);
    for options in options.iter().cycle() {
        let cuts = echo_with_cuts(&stage, &relay, options, each, &mut random);
        left = left.saturating_sub(cuts);
        if left == 0 {
            break;
        }
    }
    wait_for_nothing_left(&stage, &server, descriptors);
    assert_eq!(stage.run(&["--json", "jobs", HOST]).ok(), "");
}

/// A connection that stays open and carries nothing is noticed, and replaced by another one.
/// Proves `silent-connection` in docs/faults.md.
#[test]
fn command_continues_after_a_silent_connection() {
    let stage = stage();
    let server = stage.serve(&[]);
    let relay = Relay::start(&server.address);
    join_by(&stage, &server, &relay.address);
    for on_lost in ["end:60s", "keep"] {
        let run = ["run", "--on-lost", on_lost, HOST, "--", "cat"];
        let mut child = stage.command(&run).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut echo = |text: &[u8]| {
            stdin.write_all(text).unwrap();
            let mut echoed = vec![0; text.len()];
            stdout.read_exact(&mut echoed).unwrap();
            assert_eq!(echoed, text);
        };
        echo(b"before\n");
        relay.silence();
        // The bytes that went nowhere arrive on another connection.
        echo(b"after\n");
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{on_lost}");
    }
}

/// The connection is lost again before the answer to `attach` has arrived. The client then sends
/// the number that it had before, and no other client has attached.
/// Proves `lost-connection` in docs/faults.md.
#[test]
fn client_attaches_again_after_a_lost_answer() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let job = [
        "run", "--detach", "--pty", "--id", "job", HOST, "--", "sleep", "600",
    ];
    stage.run(&job).ok();
    let attach = |owner: Option<u64>| {
        let mut client = into("exec-requests", &server, &key);
        let mut request = json!({"type": "attach", "job": "job", "stdout": 0});
        if let Some(owner) = owner {
            request["owner"] = json!(owner);
        }
        client.send_json(&request).unwrap();
        loop {
            let answer: Value = client.header().unwrap().unwrap().read().unwrap();
            if answer["type"] != "welcome" {
                return answer;
            }
        }
    };
    let number = |answer: &Value| answer["owner"].as_u64();
    let first = number(&attach(None)).unwrap();
    let lost = number(&attach(Some(first))).unwrap();
    let again = number(&attach(Some(first))).unwrap();
    assert!(first < lost && lost < again);
    // The one whose answer was lost is the same client, and one in between is not.
    let other = number(&attach(None)).unwrap();
    for owner in [first, lost, again] {
        assert_eq!(attach(Some(owner))["code"], "superseded", "{owner}");
    }
    assert!(number(&attach(Some(other))).is_some());
}
