//! Servers with few descriptors or with many clients.

use std::{
    env,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::client::{Client, PATIENCE, ServerProcess};

pub(super) const TESTS: [(&str, fn()); 3] = [
    (
        "accept_pauses_without_descriptors_and_recovers",
        accept_pauses_without_descriptors_and_recovers,
    ),
    (
        "idle_clients_time_out_and_delay_no_other",
        idle_clients_time_out_and_delay_no_other,
    ),
    (
        "vanished_clients_leave_no_descriptors",
        vanished_clients_leave_no_descriptors,
    ),
];

const MODELS: [&str; 2] = ["threads", "tasks"];

/// Proves `descriptor-exhaustion` in docs/faults.md.
fn accept_pauses_without_descriptors_and_recovers() {
    for model in MODELS {
        let mut server = ServerProcess::start_with(&["hold", model, "64"]);
        let since = Instant::now();
        let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        server.wait_for_line("accept failed: Too many open files");
        // All of them are idle, so they time out and the waiting clients are accepted.
        server.ask_until_answered();
        drop(clients);
        let lines: Vec<String> = server.lines.try_iter().collect();
        let failures = lines
            .iter()
            .filter(|line| line.starts_with("accept failed"))
            .count();
        let ended = lines.len() - failures;
        // The server accepts again after a pause, or when a connection has ended and freed its
        // descriptor.
        let turns = since.elapsed().as_millis() as usize / 100 + 1 + ended;
        assert!(
            failures <= turns,
            "{model}: {failures} failed attempts, but reason for {turns} only: it spins"
        );
        server.stop();
        server.end();
    }
}

/// The number of clients: `few`, or 10,000 with `LANDLINE_SOAK`.
fn client_count(few: usize) -> usize {
    if env::var_os("LANDLINE_SOAK").is_some() {
        10_000
    } else {
        few
    }
}

fn idle_clients_time_out_and_delay_no_other() {
    let count = client_count(300);
    let mut server = ServerProcess::start_with(&["hold", "tasks", "0"]);
    let mut own = getrlimit(Resource::Nofile);
    own.current = own.maximum;
    setrlimit(Resource::Nofile, own).unwrap();
    server.connect().ask("who");
    server.wait_for_line("failed");
    let before = server.descriptors();
    let clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    assert_eq!(server.ask_until_answered(), "here");
    for _ in 0..count {
        server.wait_for_line("failed: the peer was silent for too long");
    }
    assert_eq!(server.ask_until_answered(), "here");
    assert!(
        server.descriptors() <= before + 2,
        "{} descriptors, {before} before",
        server.descriptors()
    );
    drop(clients);
    server.stop();
    server.end();
}

fn vanished_clients_leave_no_descriptors() {
    let count = client_count(500);
    for model in MODELS {
        let mut server = ServerProcess::start_with(&["hold", model, "0"]);
        server.connect().ask("who");
        server.wait_for_line(if model == "tasks" { "failed" } else { "ended" });
        let before = server.descriptors();
        for number in 0..count {
            let mut client = server.connect();
            if number % 3 == 0 {
                client.send("who");
            }
            if number % 2 == 0 {
                // Closing the connection then sends a reset.
                socket2::SockRef::from(client.0.get_ref())
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
        let mut ended = 0;
        while ended < count {
            let line = server.lines.recv_timeout(PATIENCE).unwrap();
            ended += usize::from(line.starts_with("ended") || line.starts_with("failed"));
        }
        server.ask_until_answered();
        assert!(
            server.descriptors() <= before + 2,
            "{model}: {} descriptors, {before} before",
            server.descriptors()
        );
        server.stop();
        server.end();
    }
}
