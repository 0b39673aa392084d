//! Shells whose connection or server is lost, and connections that are slow.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use serde_json::json;
use testkit::{Relay, frame, wait_for};

use crate::{
    join_by,
    order::into,
    run::HOST,
    shell::{AtTerminal, restart, shell},
    stage,
};

#[test]
fn shell_continues_at_the_next_server() {
    let stage = stage();
    let mut server = stage.joined();
    let mut client = shell(&stage, "work");
    client
        .terminal
        .type_line("for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.5; done");
    client.wait_for_text("tick 2\n");
    let _next = restart(&stage, &mut server);
    client.wait_for_text("tick 7\ntick 8\nready>");
    client.terminal.type_line("clear; echo typed");
    client.wait_for_text("typed\nready>");
    client.detach();
}

/// `~.` and a signal end the client, whatever the connection does.
/// Proves `screen-left` in docs/faults.md.
#[test]
fn client_leaves_on_a_dead_connection() {
    let stage = stage();
    let server = stage.joined();
    let mut client = shell(&stage, "work");
    server.stop();
    client.terminal.type_keys(b"\r~.");
    assert_eq!(client.terminal.end(), Some(130));
    client.terminal.wait_for_showing();
    server.resume();
    AtTerminal::start(&stage, &["shell", HOST, "work"], 24, 80).wait_for_text("ready>");
}

/// A client that comes back does not take the shell from another one.
#[test]
fn lost_client_does_not_take_a_shell_back() {
    let stage = stage();
    let mut server = stage.joined();
    let mut first = shell(&stage, "work");
    first.terminal.signal(Signal::STOP);
    let _next = restart(&stage, &mut server);
    let mut second = AtTerminal::start(&stage, &["shell", HOST, "work"], 24, 80);
    second.wait_for_text("ready>");
    first.terminal.signal(Signal::CONT);
    assert_eq!(first.terminal.end(), Some(255));
    assert!(first.terminal.shown.contains("another client"));
    second.terminal.type_line("echo still");
    second.wait_for_text("\nstill\n");
    second.detach();
}

/// Output that was never shown is not sent once it is far behind.
#[test]
fn client_far_behind_gets_the_screen() {
    let stage = stage();
    let mut server = stage.joined();
    let mut client = shell(&stage, "work");
    client.terminal.type_line(
        "clear; touch begun; until test -e go; do sleep 0.1; done; seq 500000; echo over; touch done",
    );
    wait_for("the command", || stage.home().join("begun").exists());
    server.kill();
    stage.write("home/go", b"");
    wait_for("the end of the output", || {
        stage.home().join("done").exists()
    });
    let _next = stage.serve_at(&server.address, &[]);
    client.wait_for_text("500000\nover\nready>");
    assert!(client.terminal.bytes.len() < 1 << 20);
    client.detach();
}

/// A program does not wait for a client that was lost before it had attached.
#[test]
fn client_that_vanishes_stops_nothing() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let command = b"sh\0-c\0yes | head -c 3000000; echo > done\0";
    for _ in 0..5 {
        let mut client = into("exec-requests", &server, &key);
        let run = json!({
            "type": "run", "arguments": 3, "size": command.len(), "detach": true, "attach": true,
            "terminal": {"rows": 24, "columns": 80},
        });
        client.send_json(&run).unwrap();
        client.send(&frame(command)).unwrap();
        drop(client);
        wait_for("the end of the program", || {
            stage.home().join("done").exists()
        });
        fs::remove_file(stage.home().join("done")).unwrap();
    }
}

/// A program writes at most a moment ahead of the terminal.
/// Proves `flood` in docs/faults.md.
#[test]
fn ctrl_c_is_seen_soon_on_a_slow_connection() {
    let stage = stage();
    let server = stage.serve(&[]);
    let relay = Relay::start(&server.address);
    join_by(&stage, &server, &relay.address);
    let mut client = shell(&stage, "work");
    let rate = 1_250_000;
    relay.limit(rate);
    let script = "(trap 'date +%s%N > stopped' INT; base64 /dev/zero)";
    client.terminal.type_line(script);
    // The output of the program, which is zeros.
    client.terminal.wait_for("AAAAAAAA");
    client.terminal.look_for(Duration::from_secs(3));
    let typed = SystemTime::now();
    client.terminal.look_for(Duration::ZERO);
    let before = client.terminal.bytes.len();
    client.terminal.type_keys(b"\x03");
    client.terminal.wait_for_next("ready>");
    let stopped = String::from_utf8(stage.read("home/stopped")).unwrap();
    let stopped = UNIX_EPOCH + Duration::from_nanos(stopped.trim().parse().unwrap());
    // What came until the program stopped, and what was on its way then: it was not far ahead.
    let waited = stopped.duration_since(typed).unwrap_or_default();
    let meanwhile = (waited.as_secs_f64() * rate as f64) as usize;
    let after = client.terminal.bytes.len() - before;
    assert!(after < meanwhile + (2 << 20), "{after} in {waited:?}");
    client
        .terminal
        .type_line("stty raw -echo; touch raw; head -c 1000000 > pasted; stty sane");
    wait_for("the raw terminal", || stage.home().join("raw").exists());
    let pasted = vec![b'x'; 1_000_000];
    client.terminal.type_keys(&pasted);
    client.terminal.wait_for_next("ready>");
    assert_eq!(fs::read(stage.home().join("pasted")).unwrap(), pasted);
    client.detach();
}
