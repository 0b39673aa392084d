//! Limits and penalties affect only the source that floods or guesses.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use landline::{keys::UserKey, paths::PrivateFolder};
use testkit::{RawClient, ServerProcess, dial_from, wait_for};

use crate::{login::client_key, noise, stage};

/// The first bytes of a real ClientHello.
const HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// A connection that stays half-open in one of five ways.
enum HalfOpen {
    Plain(TcpStream),
    Tls(Box<RawClient>),
}

impl HalfOpen {
    fn open(server: &ServerProcess, source: Ipv4Addr, kind: u32) -> std::io::Result<Self> {
        let raw = || RawClient::connect_from(source, &server.address, &server.fingerprint);
        Ok(match kind % 5 {
            3 => Self::Tls(Box::new(raw()?)),
            4 => {
                let mut client = raw()?;
                client.greet()?;
                Self::Tls(Box::new(client))
            }
            kind => {
                let mut tcp = dial_from(source, &server.address)?;
                // No byte, one byte, or a ClientHello that never ends.
                tcp.write_all(&HELLO[..[0, 1, HELLO.len()][kind as usize]])?;
                Self::Plain(tcp)
            }
        })
    }

    fn trickle(&mut self) {
        // The server may have closed it. The next turn opens another one.
        let _ = match self {
            Self::Plain(tcp) => tcp.write_all(&HELLO[..1]),
            Self::Tls(client) => client.send(&[1]),
        };
    }
}

fn is_open(tcp: &mut TcpStream) -> bool {
    tcp.set_nonblocking(true).unwrap();
    let open = matches!(tcp.read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    tcp.set_nonblocking(false).unwrap();
    open
}

/// Proves `login-lockout` in docs/faults.md.
#[test]
fn busy_source_loses_its_oldest_connection() {
    let stage = stage();
    let server = stage.joined();
    let attacker = Ipv4Addr::new(127, 2, 0, 1);
    let mut bystander = dial_from(Ipv4Addr::new(127, 2, 0, 2), &server.address).unwrap();
    // The oldest connection is the only one that was greeted.
    let mut oldest =
        RawClient::connect_from(attacker, &server.address, &server.fingerprint).unwrap();
    oldest.greet().unwrap();
    let mut connections: Vec<TcpStream> = (0..15)
        .map(|_| dial_from(attacker, &server.address).unwrap())
        .collect();
    let newest = dial_from(attacker, &server.address).unwrap();
    assert_eq!(server.event("refused")["code"], "evicted");
    connections.push(newest);
    // They have 10 s for their login.
    assert!(
        connections.iter_mut().all(is_open) && is_open(&mut bystander),
        "all other connections stay open"
    );
    assert!(
        oldest.bytes(|bytes| !bytes.is_empty()).is_err(),
        "the oldest connection is closed"
    );
    wait_for("the line in the audit log", || {
        stage
            .run_at_server(&["--json", "audit", "show"])
            .ok()
            .contains(r#""code":"evicted""#)
    });
    // A login from the same source still works.
    let key = client_key(&stage);
    let mut client =
        RawClient::connect_from(attacker, &server.address, &server.fingerprint).unwrap();
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
}

/// Proves `guessing` in docs/faults.md.
#[test]
fn only_guessing_source_is_shut_out() {
    let stage = stage();
    let server = stage.joined();
    let keys = PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let (stranger, _) = UserKey::load_or_create(&keys, "key").unwrap();
    let guesser = Ipv4Addr::new(127, 3, 0, 1);
    // The first lockout is short, and a slow machine may miss it. Each further one is longer.
    let mut guesses = 0;
    let is_shut_out = || {
        let mut client =
            RawClient::connect_from(guesser, &server.address, &server.fingerprint).unwrap();
        let answer = client.login("alice", &stranger, None);
        drop(client);
        let code = server.event("refused")["code"].as_str().unwrap().to_owned();
        match answer {
            Ok(kind) => assert_eq!((kind.as_str(), code.as_str()), ("error", "login-refused")),
            Err(error) => assert_eq!(
                (error.to_string().as_str(), code.as_str()),
                ("\"shut-out\"", "shut-out")
            ),
        }
        code == "shut-out"
    };
    while !is_shut_out() {
        guesses += 1;
        assert!(guesses < 20, "{guesses} guesses");
    }
    assert!(guesses >= 3, "{guesses} guesses");
    wait_for("the line in the audit log", || {
        stage
            .run_at_server(&["--json", "audit", "show"])
            .ok()
            .contains(r#""code":"shut-out""#)
    });
    // A neighbor address and the owner still log in.
    let neighbor = Ipv4Addr::new(127, 3, 0, 2);
    let mut client =
        RawClient::connect_from(neighbor, &server.address, &server.fingerprint).unwrap();
    assert_eq!(
        client.login("alice", &client_key(&stage), None).unwrap(),
        "welcome"
    );
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// Soak: 5,000 half-open connections from 250 sources, and 100 logins.
/// Proves `login-lockout` in docs/faults.md.
#[test]
fn owner_logs_in_during_half_open_flood() {
    let whole = testkit::is_soak();
    let (connections, sources, logins) = if whole {
        (5000, 250, 100)
    } else {
        (600, 60, 10)
    };
    let stage = stage();
    let server = stage.joined();
    let key = client_key(&stage);
    let over = AtomicBool::new(false);
    let opened = AtomicU64::new(0);
    let workers = 8;
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (server, over, opened) = (&server, &over, &opened);
            scope.spawn(move || {
                let mut held: Vec<Option<HalfOpen>> =
                    (0..connections / workers).map(|_| None).collect();
                let choices = noise(4096, u64::from(worker) + 1);
                let mut turn = 0usize;
                while !over.load(Ordering::Relaxed) {
                    let place = turn % held.len();
                    let source =
                        (worker * (sources / workers) + place as u32 % (sources / workers)) as u16;
                    let [high, low] = source.to_be_bytes();
                    let kind = u32::from(choices[turn % choices.len()]);
                    if let Some(held) = &mut held[place] {
                        held.trickle();
                    }
                    // A connection that the server has evicted is opened again.
                    held[place] =
                        HalfOpen::open(server, Ipv4Addr::new(127, 4, high, low + 1), kind).ok();
                    opened.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            });
        }
        wait_for("the flood", || {
            opened.load(Ordering::Relaxed) >= u64::from(connections)
        });
        for _ in 0..logins {
            let start = Instant::now();
            let outcome = stage.run(&["ping", "127.0.0.1"]);
            times.push(start.elapsed());
            // The flood has to stop before the panic, or the test would not end.
            if outcome.status != Some(0) {
                over.store(true, Ordering::Relaxed);
                panic!("the owner is locked out: {}", outcome.stderr);
            }
        }
        let start = Instant::now();
        let tries = attempts_during_flood(&server, &key);
        over.store(true, Ordering::Relaxed);
        eprintln!(
            "from an address of the flood: {} ms, {tries:?} attempts",
            start.elapsed().as_millis()
        );
        assert!(
            tries.is_some(),
            "no login succeeds from an address of the flood"
        );
    });
    times.sort();
    let (kib, _) = server.usage();
    let opened = opened.into_inner();
    eprintln!(
        "{opened} half-open connections in all; {logins} of {logins} logins, median {} ms, the slowest {} ms; server {kib} KiB",
        times[times.len() / 2].as_millis(),
        times[times.len() - 1].as_millis()
    );
    wait_for("all half-open connections to close", || {
        server.usage().1 < 40
    });
}

/// The number of attempts that a login takes from an address of the flood.
fn attempts_during_flood(server: &ServerProcess, key: &UserKey) -> Option<u32> {
    (1..100).find(|_| {
        let client = RawClient::connect_from(
            Ipv4Addr::new(127, 4, 0, 1),
            &server.address,
            &server.fingerprint,
        );
        client.is_ok_and(|mut client| {
            client
                .login("alice", key, None)
                .is_ok_and(|answer| answer == "welcome")
        })
    })
}
