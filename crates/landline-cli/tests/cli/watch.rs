//! Watching the terminals of jobs.

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{frame, wait_for};

use crate::{
    order::into,
    run::HOST,
    shell::{AtTerminal, shell},
    stage,
    users::OwnerAndBob,
};

#[test]
fn watcher_sees_and_does_not_type() {
    let stage = stage();
    let server = stage.joined();
    let mut owner = shell(&stage, "work");
    let mut watcher = AtTerminal::start(&stage, &["watch", HOST, "work"], 24, 80);
    watcher.wait_for_text("ready>");
    assert_eq!(server.event("job-watch")["owner"], "alice");
    let row: Value = serde_json::from_str(&stage.run(&["--json", "jobs", HOST]).ok()).unwrap();
    assert_eq!(row["watchers"], json!(["alice"]));
    let doing = stage.run(&["who", HOST]).ok();
    assert!(doing.contains("watching work of alice"), "{doing}");
    watcher.terminal.type_line("echo typed > no");
    owner.terminal.type_line("clear; echo seen");
    watcher.wait_for_text("seen\nready>");
    // What is only for the terminal of the owner does not come.
    owner.terminal.type_line("clear; printf 'a\\033[6n\\007\\033]2;t\\007\\033]52;c;aGk=\\007\\033[?1000hb\\n'; echo over");
    watcher.wait_for_text("ab\nover\n");
    for kept_back in ["\x1b[6n", "\x07", "\x1b]2;", "\x1b]52", "\x1b[?1000h"] {
        assert!(!watcher.terminal.shown.contains(kept_back), "{kept_back:?}");
    }
    watcher.terminal.type_keys(b"\x03");
    assert_eq!(watcher.terminal.end(), Some(0));
    wait_for("no watchers", || {
        let row: Value = serde_json::from_str(&stage.run(&["--json", "jobs", HOST]).ok()).unwrap();
        row["watchers"].is_null()
    });
    assert!(!stage.home().join("no").exists());
    owner.terminal.type_line("exit 3");
    assert_eq!(owner.terminal.end(), Some(3));
}

/// The output of the program is for a larger terminal, and would wrap in a smaller one. The
/// emulator of the tests does not know that lines need not wrap, so this looks at the bytes.
#[test]
fn smaller_watcher_sees_upper_left_part() {
    let stage = stage();
    let _server = stage.joined();
    let mut owner = shell(&stage, "work");
    let mut watcher = AtTerminal::start(&stage, &["watch", HOST, "work"], 10, 30);
    watcher.wait_for_text("ready>");
    let wide = "for line in 1 2 3; do printf \"$line%070d\\n\" 7; done";
    owner
        .terminal
        .type_line(&format!("clear; {wide}; printf '\\033[2;4Hx\\033[20;1H'"));
    // It gets screens, whose lines do not wrap: each has its place.
    watcher.terminal.wait_for("\u{1b}[2;1H\u{1b}[2K200x000");
    let shown = &watcher.terminal.shown;
    assert!(shown.contains("\u{1b}[?7l"), "{shown}");
    assert!(!shown.contains("7\r\n2000"), "{shown}");
    // It does not change the terminal of the owner.
    watcher.terminal.resize(9, 20);
    owner.terminal.type_line("clear; stty size");
    owner.wait_for_text("24 80");
    owner.detach();
}

/// What a program writes just before its end is cropped, too.
#[test]
fn smaller_watcher_sees_upper_left_part_of_the_end() {
    let stage = stage();
    let server = stage.joined();
    let script = "stty rows 24 cols 80; echo ready; until [ -e go ]; do sleep 0.1; done
        for line in 1 2 3; do printf \"$line%070d\\n\" 7; done";
    let run = ["run", "--detach", "--pty", "--id", "work", HOST, "--"];
    stage.run(&[&run[..], &["sh", "-c", script]].concat()).ok();
    let mut watcher = AtTerminal::start(&stage, &["watch", HOST, "work"], 10, 30);
    watcher.wait_for_text("ready");
    server.event("job-watch");
    stage.write("home/go", b"");
    assert_eq!(watcher.terminal.end(), Some(0));
    let shown = &watcher.terminal.shown;
    assert!(shown.contains("\u{1b}[3;1H\u{1b}[2K2000"), "{shown}");
    assert!(!shown.contains("7\r\n2000"), "{shown}");
}

/// A watcher that stands still costs the owner nothing, and sees the right screen later.
/// Proves `watcher-acts` in docs/faults.md.
#[test]
fn stopped_watcher_does_not_block_job() {
    let stage = stage();
    let server = stage.joined();
    let mut owner = shell(&stage, "work");
    let mut watchers: Vec<AtTerminal> = (0..3)
        .map(|_| AtTerminal::start(&stage, &["watch", HOST, "work"], 24, 80))
        .collect();
    for watcher in &mut watchers {
        watcher.wait_for_text("ready>");
    }
    watchers[0].terminal.signal(Signal::STOP);
    let (memory_before, _) = server.usage();
    owner
        .terminal
        .type_line("yes | head -c 5000000; clear; echo over");
    owner.wait_for_screen("the end", |screen| {
        screen.contents().starts_with("over\nready>")
    });
    // Nothing is gathered for the one that stands still.
    let (memory, _) = server.usage();
    assert!(
        memory < memory_before + 16 * 1024,
        "{memory_before} to {memory} KiB"
    );
    watchers[0].terminal.signal(Signal::CONT);
    for mut watcher in watchers {
        watcher.wait_for_screen("the last screen", |screen| {
            screen.contents().starts_with("over\nready>")
        });
    }
    owner.detach();
}

/// A watcher sees the status of the program, too.
#[test]
fn watcher_ends_with_the_program() {
    let stage = stage();
    let _server = stage.joined();
    let mut owner = shell(&stage, "work");
    let mut watcher = AtTerminal::start(&stage, &["watch", HOST, "alice/work"], 24, 80);
    watcher.wait_for_text("ready>");
    owner.terminal.type_line("echo last; exit 3");
    assert_eq!(owner.terminal.end(), Some(3));
    assert_eq!(watcher.terminal.end(), Some(3));
    assert!(watcher.terminal.shown.contains("last"));
    let late = stage.run(&["--json", "watch", HOST, "work"]);
    late.fails(255, "not-found");
}

#[test]
fn others_are_watched_by_right_only() {
    let two = OwnerAndBob::new();
    let (stage, server) = (&two.stage, &two.server);
    let mut owner = shell(stage, "work");
    two.bob(&["--json", "watch", HOST, "alice/work"])
        .fails(126, "denied");
    two.bob(&["--json", "watch", HOST, "alice/none"])
        .fails(126, "denied");
    two.bob(&["--json", "watch", HOST, "work"])
        .fails(255, "not-found");
    two.user(&["grant", "bob", "--watch", "alice"]).ok();
    two.bob(&["--json", "watch", HOST, "alice/none"])
        .fails(255, "not-found");
    let mut command = stage.command(&["--state", &two.state("bob"), "watch", HOST, "alice/work"]);
    let mut bob = AtTerminal::start_command(&mut command, 24, 80);
    bob.wait_for_text("ready>");
    let watch = server.event("job-watch");
    assert_eq!(
        (&watch["user"], &watch["owner"]),
        (&json!("bob"), &json!("alice"))
    );
    two.user(&["revoke", "bob", "--watch", "alice"]).ok();
    assert_eq!(bob.terminal.end(), Some(255));
    owner.detach();
}

/// Proves `watcher-acts` in docs/faults.md.
#[test]
fn watcher_cannot_act() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    for header in [
        json!({"type": "bytes", "stream": 0, "offset": 0, "size": 1}),
        json!({"type": "signal", "signal": "KILL"}),
    ] {
        let mut client = into("exec-server-watched", &server, &key);
        client.send_json(&header).unwrap();
        let _ = client.send(&frame("x"));
        let code = client.error_code().unwrap();
        assert_eq!(code.as_deref(), Some("unexpected-message"), "{header}");
    }
}
