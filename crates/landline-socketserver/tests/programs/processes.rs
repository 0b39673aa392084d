//! The model `processes`.

use std::{
    env,
    io::{self, BufRead, BufReader, Read},
    net::{TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::client::{Client, PATIENCE, ServerProcess};

pub(super) const TESTS: [(&str, fn()); 12] = [
    (
        "each_connection_has_its_own_process",
        each_connection_has_its_own_process,
    ),
    (
        "workers_serve_connections_in_turn",
        workers_serve_connections_in_turn,
    ),
    ("crash_ends_one_connection", crash_ends_one_connection),
    ("dead_worker_is_replaced", dead_worker_is_replaced),
    (
        "drain_waits_then_kills_children",
        drain_waits_then_kills_children,
    ),
    (
        "processes_are_limited_and_reaped",
        processes_are_limited_and_reaped,
    ),
    (
        "short_connections_are_not_refused",
        short_connections_are_not_refused,
    ),
    (
        "slot_is_free_when_client_sees_end",
        slot_is_free_when_client_sees_end,
    ),
    (
        "failures_are_printed_without_hooks",
        failures_are_printed_without_hooks,
    ),
    (
        "datagrams_are_handled_in_processes",
        datagrams_are_handled_in_processes,
    ),
    (
        "children_of_dead_parent_drain",
        children_of_dead_parent_drain,
    ),
    (
        "fork_with_several_threads_is_refused",
        fork_with_several_threads_is_refused,
    ),
];

fn each_connection_has_its_own_process() {
    let mut server = ServerProcess::start("tcp", "each", 10);
    let mut one = server.connect();
    let mut two = server.connect();
    let first = one.ask("who");
    let second = two.ask("who");
    assert_ne!(first, second);
    assert_ne!(first, server.pid());
    assert_eq!(one.ask("who"), first);
    drop(one);
    server.wait_for_line("ended");
    two.send("stop");
    drop(two);
    server.wait_for_line("cut off 0");
    server.end();
}

fn workers_serve_connections_in_turn() {
    let mut server = ServerProcess::start("tcp", "2", 10);
    let mut one = server.connect();
    let mut two = server.connect();
    assert_ne!(one.ask("who"), two.ask("who"));
    // Both workers are busy, so the third client waits.
    let mut three = server.connect();
    three.send("who");
    let first = one.ask("who");
    drop(one);
    assert_eq!(three.receive(), first);
    two.send("stop");
    drop((two, three));
    server.wait_for_line("cut off 0");
    server.end();
}

/// Proves `panic` in docs/faults.md.
fn crash_ends_one_connection() {
    let mut server = ServerProcess::start("tcp", "each", 10);
    let mut other = server.connect();
    let who = other.ask("who");
    let ends = [
        ("panic", "failed: the handler panicked: as asked"),
        ("fail", "failed: as asked"),
        (
            "abort",
            "failed: the handler's process ended with signal: 6",
        ),
    ];
    for (word, failure) in ends {
        let mut client = server.connect();
        client.send(word);
        assert!(client.is_closed(), "{word}");
        server.wait_for_line(failure);
        assert_eq!(other.ask("who"), who);
    }
    other.send("stop");
    drop(other);
    server.wait_for_line("cut off 0");
    server.end();
}

fn dead_worker_is_replaced() {
    let mut server = ServerProcess::start("tcp", "1", 10);
    let mut client = server.connect();
    let first = client.ask("who");
    client.send("panic");
    assert!(client.is_closed());
    let mut client = server.connect();
    assert_eq!(
        client.ask("who"),
        first,
        "a panic is no reason to replace it"
    );
    client.send("abort");
    assert!(client.is_closed());
    server.wait_for_line("worker: the handler's process ended with signal: 6");
    let mut client = server.connect();
    assert_ne!(client.ask("who"), first);
    client.send("stop");
    drop(client);
    server.wait_for_line("cut off 0");
    server.end();
}

fn drain_waits_then_kills_children() {
    let mut server = ServerProcess::start("tcp", "each", 10);
    let mut polite = server.connect();
    let mut stubborn = server.connect();
    let mut stopping = server.connect();
    assert_eq!(polite.ask("drain?"), "false");
    stubborn.ask("who");
    polite.send("await");
    stopping.send("stop");
    assert_eq!(
        polite.receive(),
        "false",
        "the wait ends because the server drains"
    );
    assert_eq!(polite.ask("drain?"), "true");
    assert!(
        TcpStream::connect(server.address).is_err(),
        "the listener is closed"
    );
    drop((polite, stopping));
    assert!(stubborn.is_closed());
    server.wait_for_line("cut off 1");
    server.end();
}

fn processes_are_limited_and_reaped() {
    let mut server = ServerProcess::start("tcp", "each", 2);
    let mut one = server.connect();
    let mut two = server.connect();
    one.ask("who");
    two.ask("who");
    let mut three = server.connect();
    three.send("who");
    three
        .0
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(three.0.read(&mut [0]).is_err());
    assert_eq!(server.children(), 2);
    drop((one, two));
    three.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    three.receive();
    drop(three);
    for _ in 0..3 {
        server.wait_for_line("ended");
    }
    assert_eq!(server.children(), 0, "no zombie is left");
    let mut last = server.connect();
    last.send("stop");
    drop(last);
    server.wait_for_line("cut off 0");
    server.end();
}

/// The number of short connections: 1,000, or 20,000 with `LANDLINE_SOAK`.
fn short_connections() -> usize {
    if env::var_os("LANDLINE_SOAK").is_some() {
        20_000
    } else {
        1000
    }
}

/// Children that have ended, but are not reaped, are no connections.
fn short_connections_are_not_refused() {
    let server = ServerProcess::start("tcp", "each", 1024);
    let count = short_connections();
    let address = server.address;
    // Each client ends the connection, and connects again at once.
    let client = move || {
        for _ in 0..count / 8 {
            Client::connect(address).ask("who");
        }
    };
    let clients: Vec<_> = (0..8).map(|_| thread::spawn(client)).collect();
    for client in clients {
        client.join().unwrap();
    }
    server.connect().send("stop");
    let mut ended = 0;
    loop {
        match server.lines.recv_timeout(PATIENCE).unwrap().as_str() {
            "ended" => ended += 1,
            "cut off 0" => break,
            line => panic!("after {ended} connections: {line}"),
        }
    }
    assert_eq!(ended, count + 1);
    server.end();
}

fn slot_is_free_when_client_sees_end() {
    let mut server = ServerProcess::start_with(&["serve", "tcp", "each", "1024", "1"]);
    for _ in 0..100 {
        let mut client = server.connect();
        client.send("fail");
        assert!(client.is_closed());
        server.wait_for_line("failed: as asked");
    }
    server.connect().send("stop");
    server.wait_for_line("cut off 0");
    server.end();
}

fn failures_are_printed_without_hooks() {
    for (kind, processes) in [
        ("tcp", "none"),
        ("tcp", "each"),
        ("tcp", "1"),
        ("udp", "none"),
    ] {
        let (errors, writer) = io::pipe().unwrap();
        let mut server =
            ServerProcess::start_with_errors_to(Stdio::from(writer), &["plain", kind, processes]);
        if kind == "udp" {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"fail", server.address).unwrap();
        } else {
            server.connect().send("fail");
        }
        let mut line = String::new();
        BufReader::new(errors).read_line(&mut line).unwrap();
        assert!(line.contains("127.0.0.1:"), "{kind} {processes}: {line}");
        assert!(line.contains("as asked"), "{kind} {processes}: {line}");
        if kind == "udp" {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"stop", server.address).unwrap();
        } else {
            server.connect().send("stop");
        }
        assert!(server.process.wait().unwrap().success());
    }
}

fn datagrams_are_handled_in_processes() {
    for processes in ["each", "2"] {
        let mut server = ServerProcess::start("udp", processes, 10);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let ask = |word: &[u8]| {
            client.send_to(word, server.address).unwrap();
            let mut answer = [0; 100];
            let length = client.recv(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        assert_ne!(ask(b""), server.pid());
        client.send_to(b"panic", server.address).unwrap();
        assert_ne!(ask(b"who"), server.pid());
        client.send_to(b"stop", server.address).unwrap();
        server.wait_for_line("cut off 0");
        server.end();
    }
}

fn children_of_dead_parent_drain() {
    let mut server = ServerProcess::start("tcp", "each", 10);
    let mut client = server.connect();
    client.ask("who");
    client.send("await");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    assert_eq!(client.receive(), "false");
    assert_eq!(client.ask("drain?"), "true");
}

fn fork_with_several_threads_is_refused() {
    let output = Command::new(env::current_exe().unwrap())
        .arg("threads")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("only a process with one thread may fork, and 2 run here"),
        "{text}"
    );
}
