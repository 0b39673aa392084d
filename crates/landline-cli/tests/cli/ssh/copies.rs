//! Copies through ssh, and the end of ssh when they end.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Stdio},
};

use serde_json::Value;
use testkit::{Outcome, Relay, ServerProcess, Stage, wait_for};

use super::{
    joined,
    sshd::{Sshd, command, run, wait_for_no_ssh, zombies},
};
use crate::{noise, stage};

/// The length of a block, which a copy verifies and keeps.
const BLOCK: usize = 8 << 20;
/// A server behind a relay behind sshd.
struct Far {
    stage: Stage,
    sshd: Sshd,
    _server: ServerProcess,
    relay: Relay,
    content: Vec<u8>,
}

impl Far {
    fn joined() -> Option<Self> {
        let stage = stage();
        let sshd = Sshd::start(&stage, "bastion", "")?;
        let server = stage.serve(&[]);
        let relay = Relay::start(&server.address);
        let invite = server.invite().replace(&server.address, &relay.address);
        run(
            &stage,
            &["join", &invite, "--as", "alice", "--via-ssh", "bastion"],
        )
        .ok();
        sshd.kill_sessions();
        let content = noise(4 * BLOCK, 7);
        for folder in ["user", "home"] {
            stage.write(&format!("{folder}/f"), &content);
        }
        Some(Self {
            stage,
            sshd,
            _server: server,
            relay,
            content,
        })
    }

    /// Starts a slow copy, and kills ssh's session at the remote end after more than two blocks.
    fn broken(&self, up: bool, more: &[&str]) -> Child {
        self.relay.hold_after(3 * BLOCK as u64);
        let (from, to) = if up {
            ("f", "bastion:copy")
        } else {
            ("bastion:f", "copy")
        };
        let arguments = [&["cp", "--json", from, to], more].concat();
        let child = command(&self.stage, &arguments).spawn().unwrap();
        let arrived = || {
            let part = staging(self.folder(up)).and_then(|part| part.metadata().ok());
            part.is_some_and(|part| part.len() > 2 * BLOCK as u64)
        };
        wait_for("two blocks", arrived);
        self.sshd.kill_sessions();
        child
    }

    fn folder(&self, up: bool) -> PathBuf {
        self.stage.path(if up { "home" } else { "user" })
    }
}

fn staging(folder: PathBuf) -> Option<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    paths.into_iter().find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "part")
    })
}

/// When ssh dies the client starts another one and resumes the copy.
#[test]
fn killed_ssh_is_replaced_and_copy_resumes() {
    let Some(far) = Far::joined() else { return };
    for up in [true, false] {
        let mut child = far.broken(up, &[]);
        wait_for("another ssh", || far.sshd.count() == 1);
        wait_for("the first ssh to end", || zombies(child.id()) == 0);
        far.relay.release();
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
        let events: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            events.iter().any(|event| event["event"] == "reconnecting"),
            "{said}"
        );
        let resumed = events
            .iter()
            .find(|event| event["event"] == "resumed-at")
            .expect("the copy was resumed");
        assert!(
            resumed["offset"].as_u64().unwrap() >= BLOCK as u64,
            "{said}"
        );
        assert!(
            fs::read(far.folder(up).join("copy")).unwrap() == far.content,
            "the content differs"
        );
        wait_for_no_ssh(&far.stage);
        far.sshd.kill_sessions();
    }
}

#[test]
fn copy_without_retry_reports_lost_connection() {
    let Some(far) = Far::joined() else { return };
    let child = far.broken(true, &["--retry", "0"]);
    Outcome::of(child).fails(10, "lost");
    wait_for_no_ssh(&far.stage);
    // The same command resumes the copy.
    far.relay.release();
    let said = run(&far.stage, &["cp", "--json", "f", "bastion:copy"]).ok();
    assert!(said.contains("resumed-at"), "{said}");
}

/// ssh ends with the command, but the last message arrives first: the client has verified the copy.
#[test]
fn last_message_arrives_before_ssh_ends() {
    let Some((stage, _sshd, server)) = joined() else {
        return;
    };
    stage.write("home/f", b"content");
    // The logout belongs to the join.
    server.event("logout");
    for _ in 0..20 {
        run(&stage, &["cp", "bastion:f", "f"]).ok();
        server.event("transfer-start");
        let mut event = server.next_event();
        // Of the copy before.
        while event["event"] == "logout" {
            event = server.next_event();
        }
        assert_eq!(event["event"], "transfer");
    }
}

/// No ssh is left, however the command ends.
/// Proves `leftover-process` in docs/faults.md.
#[test]
fn ssh_ends_with_the_command() {
    use rustix::process::{Pid, Signal, kill_process};
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let mut child = command(&stage, &["cp", "-", "bastion:f"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(b"content").unwrap();
        wait_for("the staging file", || staging(stage.home()).is_some());
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        wait_for_no_ssh(&stage);
        wait_for("nothing half-done", || staging(stage.home()).is_none());
    }
}
