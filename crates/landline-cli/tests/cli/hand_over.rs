//! Handing the keyboard of a shell to a watcher.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{RawClient, wait_for};

use crate::{
    login::client_key,
    order::into,
    run::HOST,
    shell::{AtTerminal, shell},
    stage,
    users::OwnerAndBob,
};

/// Bob may open a shell, and see those of alice.
const BOB: &[&str] = &[
    "grant", "bob", "--role", "owner", "--watch", "alice", "--exec", "any", "--shell",
];

/// A server where bob may take the keyboard of alice.
fn alice_and_bob() -> OwnerAndBob {
    let two = OwnerAndBob::new();
    two.user(BOB).ok();
    two
}

fn watch_command(two: &OwnerAndBob, user: &str) -> Command {
    let state = two.state(user);
    two.stage
        .command(&["--state", &state, "watch", HOST, "alice/work"])
}

/// Bob, who watches the shell of alice at another size.
fn watcher(two: &OwnerAndBob) -> AtTerminal {
    let mut bob = AtTerminal::start_command(&mut watch_command(two, "bob"), 30, 100);
    bob.wait_for_text("ready>");
    bob
}

/// Alice hands the keyboard to bob.
fn hand_over(alice: &mut AtTerminal, bob: &mut AtTerminal) {
    alice.terminal.type_keys(b"\r~h");
    bob.terminal.wait_for_next("you have the keyboard of alice");
    alice.terminal.wait_for_next("bob has the keyboard");
}

#[test]
fn keyboard_is_lent_and_taken_back() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let mut bob = watcher(&two);
    bob.terminal.type_line("touch early");
    hand_over(&mut alice, &mut bob);
    let offered = two.server.event("job-hand-over");
    assert_eq!(
        (&offered["user"], &offered["to"]),
        (&json!("alice"), &json!("bob"))
    );
    let attached = two.server.event("job-attach");
    assert_eq!(
        (&attached["user"], &attached["owner"]),
        (&json!("bob"), &json!("alice"))
    );
    alice.terminal.type_line("touch meanwhile");
    bob.terminal.type_line("echo by-$((40 + 2)) && stty size");
    bob.terminal.wait_for_next("by-42\r\n30 100");
    alice.terminal.wait_for_next("by-42\r\n30 100");
    alice.terminal.type_keys(b"\r~h");
    alice.terminal.wait_for_next("you have the keyboard");
    bob.terminal.wait_for_next("alice has the keyboard back");
    let back = two.server.event("job-hand-over");
    assert_eq!(
        (&back["user"], &back["to"]),
        (&json!("alice"), &json!("alice"))
    );
    bob.terminal.type_line("touch late");
    alice
        .terminal
        .type_line("echo over-$((40 + 3)) && stty size");
    alice.terminal.wait_for_next("over-43\r\n24 80");
    bob.wait_for_text("over-43\n24 80");
    for name in ["early", "meanwhile", "late"] {
        assert!(!two.stage.home().join(name).exists(), "{name}");
    }
    // Again, and the guest gives it back.
    hand_over(&mut alice, &mut bob);
    bob.terminal.type_keys(b"\r~h");
    alice.terminal.wait_for_next("you have the keyboard");
    alice.terminal.type_line("clear; echo here-$((40 + 4))");
    // The guest watches again.
    bob.wait_for_text("here-44\nready>");
    alice.terminal.type_line("exit 3");
    assert_eq!(alice.terminal.end(), Some(3));
    assert_eq!(bob.terminal.end(), Some(3));
}

/// A guest that leaves, is killed or loses a right gives the keyboard back.
#[test]
fn keyboard_returns_when_guest_is_gone() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let ways: [fn(&OwnerAndBob, &mut AtTerminal); 3] = [
        |_, bob| {
            bob.terminal.type_keys(b"\r~d");
            assert_eq!(bob.terminal.end(), Some(0));
        },
        |_, bob| bob.terminal.signal(Signal::KILL),
        |two, _| {
            two.user(&["revoke", "bob", "--shell"]).ok();
        },
    ];
    for leave in ways {
        two.user(BOB).ok();
        let mut bob = watcher(&two);
        hand_over(&mut alice, &mut bob);
        leave(&two, &mut bob);
        alice.terminal.wait_for_next("you have the keyboard");
        alice.terminal.type_line("clear; echo here-$((40 + 4))");
        alice.wait_for_text("here-44\nready>");
    }
    alice.detach();
}

/// A guest loses the keyboard when its owner is gone. The owner who comes back has it.
#[test]
fn guest_watches_again_when_owner_is_gone() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let mut bob = watcher(&two);
    hand_over(&mut alice, &mut bob);
    alice.terminal.signal(Signal::KILL);
    bob.terminal.wait_for_next("alice has the keyboard back");
    bob.terminal.type_line("touch late");
    let mut again = AtTerminal::start(&two.stage, &["shell", HOST, "work"], 24, 80);
    again.wait_for_text("ready>");
    wait_for("bob watches again", || {
        let jobs = two.stage.run(&["--json", "jobs", HOST]);
        jobs.ok().contains("\"bob\"")
    });
    hand_over(&mut again, &mut bob);
    // Another client of the owner takes it, too.
    let mut third = AtTerminal::start(&two.stage, &["shell", HOST, "work"], 24, 80);
    third.wait_for_text("ready>");
    bob.terminal.wait_for_next("alice has the keyboard back");
    assert_eq!(again.terminal.end(), Some(255));
    third.terminal.type_line("clear; echo here-$((40 + 4))");
    third.wait_for_text("here-44\nready>");
    assert!(!two.stage.home().join("late").exists());
    third.detach();
}

#[test]
fn keyboard_stays_without_one_watcher_who_may_type() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    alice.terminal.type_keys(b"\r~h");
    alice.terminal.wait_for_next("no other user watches");
    // The owner who watches is no other user.
    let mut own = AtTerminal::start_command(&mut watch_command(&two, "client"), 24, 80);
    own.wait_for_text("ready>");
    alice.terminal.type_keys(b"\r~h");
    alice.terminal.wait_for_next("no other user watches");
    let (first, second) = (watcher(&two), watcher(&two));
    alice.terminal.type_keys(b"\r~h");
    alice.terminal.wait_for_next("2 others watch");
    drop((first, second));
    wait_for("no watchers of another user", || {
        !two.stage
            .run(&["--json", "jobs", HOST])
            .ok()
            .contains("bob")
    });
    let _bob = watcher(&two);
    // Commands run as the user of the server, so only owners may run them.
    for take in [
        &["revoke", "bob", "--shell"][..],
        &["revoke", "bob", "--role"],
    ] {
        two.user(take).ok();
        alice.terminal.type_keys(b"\r~h");
        alice.terminal.wait_for_next("may not open a shell");
        two.user(BOB).ok();
    }
    alice.terminal.type_line("clear; echo here-$((40 + 4))");
    alice.wait_for_text("here-44\nready>");
    alice.detach();
}

/// Exactly one terminal is asked, and only that of the owner gets the clipboard.
/// Proves `query-twice` in docs/faults.md.
#[test]
fn only_the_terminal_with_the_keyboard_is_asked() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let mut bob = watcher(&two);
    let ask = "printf '\\033[6n\\033]52;c;aGk=\\007as'; echo ked";
    let asked = |terminal: &testkit::Terminal, from: usize| {
        terminal.shown[from..].matches("\x1b[6n").count()
    };
    for is_lent in [true, false] {
        if is_lent {
            hand_over(&mut alice, &mut bob);
        } else {
            alice.terminal.type_keys(b"\r~h");
            alice.terminal.wait_for_next("you have the keyboard");
            bob.terminal.wait_for_next("alice has the keyboard back");
        }
        let from = [alice.terminal.shown.len(), bob.terminal.shown.len()];
        let typist = if is_lent { &mut bob } else { &mut alice };
        typist.terminal.type_line(ask);
        for terminal in [&mut alice.terminal, &mut bob.terminal] {
            terminal.wait_for_next("asked");
        }
        let counts = [
            asked(&alice.terminal, from[0]),
            asked(&bob.terminal, from[1]),
        ];
        assert_eq!(counts, if is_lent { [0, 1] } else { [1, 0] }, "{is_lent}");
        assert!(alice.terminal.shown[from[0]..].contains("\x1b]52;c;aGk="));
    }
    assert!(!bob.terminal.shown.contains("\x1b]52"));
    alice.detach();
}

/// A command in the foreground has no watchers.
#[test]
fn foreground_command_keeps_its_keyboard() {
    let stage = stage();
    let _server = stage.joined();
    let run = [
        "run",
        "--pty",
        "--on-lost",
        "end:5s",
        HOST,
        "--",
        "sh",
        "-c",
        "read -r line; exit 3",
    ];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    client.terminal.type_line("~hx");
    assert_eq!(client.terminal.end(), Some(3));
}

/// A session of this user that speaks the protocol itself.
fn raw(two: &OwnerAndBob, user: &str) -> RawClient {
    if user == "bob" {
        return two.bob_in("exec");
    }
    into("exec-requests", &two.server, &client_key(&two.stage))
}

/// The next message of one of these types.
#[track_caller]
fn receive(client: &mut RawClient, kinds: &[&str]) -> Value {
    loop {
        let header = client.header().unwrap().expect("a message");
        if kinds.contains(&header.kind()) {
            return header.read().unwrap();
        }
    }
}

/// What attaches to the shell of alice with an offer.
fn take(client: &mut RawClient, offer: u64) -> Value {
    let attach = json!({"type": "attach", "job": "work", "user": "alice", "offer": offer});
    client.send_json(&attach).unwrap();
    receive(client, &["attached", "error"])
}

/// An offer that was never made, is used or is over gives nothing.
/// Proves `watcher-acts` in docs/faults.md.
#[test]
fn offer_is_taken_once_and_by_its_user() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let mut watching = raw(&two, "bob");
    watching
        .send_json(&json!({"type": "watch", "job": "work", "user": "alice"}))
        .unwrap();
    receive(&mut watching, &["attached"]);
    for number in [0, 1] {
        assert_eq!(take(&mut raw(&two, "bob"), number)["code"], "denied");
    }
    alice.terminal.type_keys(b"\r~h");
    let keyboard = receive(&mut watching, &["keyboard"]);
    assert_eq!(
        (&keyboard["has"], &keyboard["user"]),
        (&json!(false), &json!("alice"))
    );
    let offer = keyboard["offer"].as_u64().unwrap();
    assert_eq!(take(&mut raw(&two, "bob"), offer + 1)["code"], "denied");
    let mut guest = raw(&two, "bob");
    assert_eq!(take(&mut guest, offer)["screen"], true);
    alice.terminal.wait_for_next("bob has the keyboard");
    assert_eq!(take(&mut raw(&two, "bob"), offer)["code"], "denied");
    drop(guest);
    alice.terminal.wait_for_next("you have the keyboard");
    assert_eq!(take(&mut raw(&two, "bob"), offer)["code"], "denied");
    alice.detach();
}

/// Both see the end of a shell that the guest ends.
#[test]
fn guest_may_end_the_shell() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    let mut bob = watcher(&two);
    hand_over(&mut alice, &mut bob);
    bob.terminal.type_line("seq 20000; exit 3");
    assert_eq!(alice.terminal.end(), Some(3));
    assert_eq!(bob.terminal.end(), Some(3));
    assert!(bob.terminal.shown.contains("20000"));
}

/// A client that asks for ever and reads nothing costs the server no memory.
/// Proves `watcher-acts` in docs/faults.md.
#[test]
fn hand_over_without_end_takes_no_memory() {
    let two = alice_and_bob();
    let mut alice = shell(&two.stage, "work");
    alice.detach();
    let attach = || {
        let mut client = raw(&two, "alice");
        client
            .send_json(&json!({"type": "attach", "job": "work"}))
            .unwrap();
        receive(&mut client, &["attached"]);
        client
    };
    let mut client = attach();
    let (before, _) = two.server.usage();
    let request = json!({"type": "hand-over", "give": true});
    for _ in 0..50_000 {
        // The server ends the connection of a client that takes nothing for four seconds.
        if client.send_json(&request).is_err() {
            client = attach();
        }
    }
    let (after, _) = two.server.usage();
    assert!(after < before + 6 * 1024, "{before} to {after} KiB");
}
