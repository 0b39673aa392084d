//! Copies of trees by users who may not do everything.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use serde_json::Value;
use testkit::{OTHER_USER, Outcome, ServerProcess, Stage};

use crate::{
    noise,
    resume::{event, events},
    stage,
    trees::write,
};

/// A server and a client that run as a user who is not root.
struct Unprivileged {
    stage: Stage,
    server: ServerProcess,
}

impl Unprivileged {
    /// Makes both, with what `make` writes. Prints SKIPPED and returns `None` without root.
    fn new(make: impl FnOnce(&Stage)) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: another user needs root");
            return None;
        }
        let stage = stage();
        make(&stage);
        own(&stage.path(""));
        let mut serve = stage.serve_command("127.0.0.1:0");
        serve.uid(OTHER_USER).gid(OTHER_USER);
        let server = stage.serve_with(serve);
        let this = Self { stage, server };
        let invite = this.stage.write("invite", this.server.invite().as_bytes());
        let mut join = this.command(&["join", "-", "--as", "alice"]);
        join.stdin(fs::File::open(invite).unwrap());
        this.stage.run_command(join).ok();
        Some(this)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(arguments);
        command.uid(OTHER_USER).gid(OTHER_USER);
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.stage.run_command(self.command(arguments))
    }
}

/// Gives all of a tree to the other user.
fn own(path: &Path) {
    let owner = OTHER_USER.to_string();
    let status = Command::new("chown")
        .args(["-R", &owner])
        .arg(path)
        .status();
    assert!(status.unwrap().success());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn done(outcome: Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    event(&events(&outcome), "done").unwrap().clone()
}

#[test]
fn closed_folders_of_the_source_are_copied_and_resumed() {
    let made = Unprivileged::new(|stage| {
        let folder = stage.path("user/tree/closed");
        write(&folder.join("file"), b"first");
        write(&folder.join("sub/deep"), b"deep");
        write(&folder.join("sub/long"), &noise(6 << 20, 3));
        set_mode(&folder.join("sub"), 0o500);
        set_mode(&folder, 0o555);
    });
    let Some(this) = made else { return };
    let to = this.server.at("copy");
    let arguments = ["--json", "cp", "-rp", "-T", "tree", &to];
    // Killed when a part has arrived.
    let limited = [&arguments[..], &["--limit-rate", "256K"]].concat();
    let mut child = this.command(&limited).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let has_part = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"] == "progress" && event["done"].as_u64() > Some(1 << 20)
    };
    let mut parts = lines.map(Result::unwrap).filter(has_part);
    assert!(parts.next().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    this.server.event("disconnected");
    let (source, copy) = (this.stage.path("user/tree"), this.stage.path("home/copy"));
    let assert_modes = || {
        assert_eq!(mode_of(&copy.join("closed")), 0o555);
        assert_eq!(mode_of(&copy.join("closed/sub")), 0o500);
    };
    done(this.run(&arguments));
    assert_modes();
    assert_eq!(
        fs::read(copy.join("closed/sub/long")).unwrap(),
        noise(6 << 20, 3)
    );
    assert_eq!(done(this.run(&arguments))["files"], 0);
    assert_modes();
    for name in ["closed/file", "closed/sub/deep"] {
        fs::write(source.join(name), b"second").unwrap();
    }
    assert_eq!(done(this.run(&arguments))["files"], 2);
    assert_modes();
    assert_eq!(fs::read(copy.join("closed/sub/deep")).unwrap(), b"second");
    // And back, twice.
    for files in [3, 0] {
        let back = this.run(&["--json", "sync", "-p", &to, "back"]);
        assert_eq!(done(back)["files"], files);
        let back = this.stage.path("user/back");
        assert_eq!(mode_of(&back.join("closed")), 0o555);
        assert_eq!(mode_of(&back.join("closed/sub")), 0o500);
    }
}

#[test]
fn folder_that_cannot_be_read_keeps_its_copy() {
    let made = Unprivileged::new(|stage| {
        write(&stage.path("user/tree/file"), b"file");
        write(&stage.path("user/tree/closed/file"), b"file");
        for name in ["file", "closed/file", "closed/extra", "open/extra", "extra"] {
            write(&stage.path("home/copy").join(name), b"target");
        }
        set_mode(&stage.path("user/tree/closed"), 0o000);
    });
    let Some(this) = made else { return };
    let (to, copy) = (this.server.at("copy"), this.stage.path("home/copy"));
    for removed in [3, 0] {
        let outcome = this.run(&["--json", "sync", "--delete", "tree", &to]);
        assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
        let all = events(&outcome);
        let failed = event(&all, "failed").unwrap();
        assert_eq!(failed["code"], "denied");
        assert_eq!(event(&all, "done").unwrap()["removed"], removed);
        assert!(!copy.join("extra").exists() && !copy.join("open").exists());
        assert_eq!(fs::read(copy.join("closed/file")).unwrap(), b"target");
        assert_eq!(fs::read(copy.join("closed/extra")).unwrap(), b"target");
    }
    set_mode(&this.stage.path("user/tree/closed"), 0o700);
}
