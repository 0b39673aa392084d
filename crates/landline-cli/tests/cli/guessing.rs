//! Password guesses are limited per source and per account. They never lock out the owner.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use testkit::{RawClient, ServerProcess, wait_for};

use crate::{
    login::client_key,
    passwords::{PASSWORD, with_bob},
    passwords_bound::log_in,
    stage,
};

/// Guesses a password. Returns `None` if the server evaluated the guess, else the refusal.
fn guess(server: &ServerProcess, source: Ipv4Addr, user: &str) -> Option<String> {
    let connected = RawClient::connect_from(source, &server.address, &server.fingerprint);
    let Ok(mut client) = connected else {
        return Some("shut-out".into());
    };
    if client.greet().is_err() {
        return Some("shut-out".into());
    }
    match send_first_message(&mut client, user) {
        Ok(code) => code,
        Err(_) => Some("shut-out".into()),
    }
}

/// Sends the first message only. A guesser can compute Argon2 offline.
fn send_first_message(client: &mut RawClient, user: &str) -> std::io::Result<Option<String>> {
    let (begin, _) = client.begin_password(user, "a guess of mine");
    client.send_json(&begin)?;
    let Some(header) = client.header()? else {
        return Ok(Some("closed".into()));
    };
    Ok((header.kind() == "error").then(|| {
        header.read::<serde_json::Value>().unwrap()["code"]
            .as_str()
            .unwrap()
            .into()
    }))
}

/// Proves `guessing` in docs/faults.md.
#[test]
fn guesses_are_limited_but_owner_logs_in() {
    let stage = stage();
    let server = with_bob(&stage);
    // Bob has logged in from this source before, so the server knows it.
    bob_logs_in(&server).unwrap();
    // Two guesses per source, since a third would shut it out. They use up the guesses of all
    // strangers.
    for user in ["bob", "ghost"] {
        let network = if user == "bob" { 20 } else { 21 };
        let sources = (0..300u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(127, network, high, low)
        });
        let answers: Vec<_> = sources
            .flat_map(|source| [guess(&server, source, user), guess(&server, source, user)])
            .collect();
        let looked_at = answers.iter().filter(|answer| answer.is_none()).count();
        // One guess is refilled every 7.2 s in the meantime.
        assert!((500..=540).contains(&looked_at), "{user}: {looked_at}");
        let refused = answers
            .iter()
            .flatten()
            .filter(|code| *code == "too-many-guesses")
            .count();
        assert_eq!(looked_at + refused, answers.len(), "{user}: {answers:?}");
    }
    // The server answers alike for an unknown user. Bob still logs in from his known source, and by
    // key from anywhere.
    bob_logs_in(&server).unwrap();
    let elsewhere = Ipv4Addr::new(127, 22, 0, 1);
    // One guess may be refilled between the last one of the others and this one.
    let is_refused = (0..10).any(|round| {
        use_up(&server, "bob", 50 + round);
        let source = Ipv4Addr::new(127, 22, 1, round);
        let mut client =
            RawClient::connect_from(source, &server.address, &server.fingerprint).unwrap();
        client.greet().unwrap();
        log_in(&mut client, "bob", PASSWORD) == Err(Some("too-many-guesses".into()))
    });
    assert!(is_refused, "bob from an unknown source");
    std::fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    let key = client_key(&stage);
    let mut client =
        RawClient::connect_from(elsewhere, &server.address, &server.fingerprint).unwrap();
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
    // This machine's own address is shared by many users, so it never counts as a known source.
    for (user, network) in [("bob", 60), ("ghost", 70)] {
        let is_refused = (0..10).any(|round| {
            use_up(&server, user, network + round);
            guess(&server, Ipv4Addr::LOCALHOST, user).as_deref() == Some("too-many-guesses")
        });
        assert!(is_refused, "{user}");
    }
    wait_for("the reason in the audit log", || {
        stage
            .run_at_server(&["audit", "show", "--json", "--user", "bob"])
            .ok()
            .contains(r#""code":"login-refused""#)
    });
}

/// Uses up the guesses that were refilled, one per 7.2 s, from new sources of this network.
fn use_up(server: &ServerProcess, user: &str, network: u8) {
    let refused = (1..=250).any(|low| {
        guess(server, Ipv4Addr::new(127, network, 0, low), user).as_deref()
            == Some("too-many-guesses")
    });
    assert!(refused, "strangers have unlimited guesses at {user}");
}

/// A guess counts against its source however the client leaves.
/// Three within 5 s shut the source out.
/// Proves `guessing` in docs/faults.md.
#[test]
fn abandoned_guess_counts_against_source() {
    let stage = stage();
    let server = with_bob(&stage);
    for (kind, leave) in [
        (0, b"".as_slice()),
        (1, b"\xff\xff\xff\xff"),
        (2, b"\x02\0\0\0{}"),
    ] {
        let source = Ipv4Addr::new(127, 23, 0, kind);
        let is_shut_out = ["bob", "alice", "ghost"]
            .iter()
            .cycle()
            .take(30)
            .any(|name| {
                let client = RawClient::connect_from(source, &server.address, &server.fingerprint);
                let Ok(mut client) = client else { return true };
                if client.greet().is_err() {
                    return true;
                }
                assert_eq!(send_first_message(&mut client, name).unwrap(), None);
                let _ = client.send(leave);
                drop(client);
                server.event("refused");
                false
            });
        assert!(is_shut_out, "{kind}");
    }
}

/// A flood of 2,000 guesses, 300,000 in the soak. Meanwhile the owner logs in by key and by
/// password.
/// Proves `guessing` in docs/faults.md.
#[test]
fn owner_logs_in_during_guess_flood() {
    let whole = testkit::is_soak();
    let (tries, sources, logins) = if whole {
        (300_000, 2_000, 300)
    } else {
        (2_000, 500, 10)
    };
    let stage = stage();
    let server = with_bob(&stage);
    std::fs::rename(stage.path("alice"), stage.path("client")).unwrap();
    bob_logs_in(&server).unwrap();
    let base = (server.usage().0, processor_time(&server));
    let (tried, looked_at, over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    let start = Instant::now();
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let turn = tried.fetch_add(1, Ordering::Relaxed);
                    let [_, _, high, low] = u32::try_from(turn % sources).unwrap().to_be_bytes();
                    let answer = guess(&server, Ipv4Addr::new(127, 30, high, low), "bob");
                    looked_at.fetch_add(usize::from(answer.is_none()), Ordering::Relaxed);
                    over.fetch_or(turn >= tries, Ordering::Relaxed);
                }
            });
        }
        for round in 0..logins {
            let begun = Instant::now();
            let mut outcome = bob_logs_in(&server).map_err(|code| format!("{code:?}"));
            times[0].push(begun.elapsed());
            let begun = Instant::now();
            let by_key = stage.run(&["ping", "127.0.0.1"]);
            times[1].push(begun.elapsed());
            if by_key.status != Some(0) {
                outcome = Err(by_key.stderr);
            }
            // The flood has to stop before the panic, or the test would not end.
            if let Err(problem) = outcome {
                over.store(true, Ordering::Relaxed);
                panic!("round {round}: the owner is locked out: {problem}");
            }
            testkit::wait_for("the flood", || {
                tried.load(Ordering::Relaxed) * logins >= tries * round
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let [tried, looked_at] = [tried, looked_at].map(AtomicUsize::into_inner);
    let processor = processor_time(&server) - base.1;
    let grown = server.usage().0.saturating_sub(base.0);
    let [by_password, by_key] = times.map(|mut times| {
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_millis();
        format!("median {} ms, p99 {} ms", at(0.5), at(0.99))
    });
    eprintln!(
        "{tried} tries in {seconds:.0} s ({:.0}/s), {looked_at} looked at; {logins} of {logins} logins each: by password {by_password}, \
         by key {by_key}; server {processor:.1} processor seconds ({:.2} of a core), {grown} KiB more",
        tried as f64 / seconds,
        processor / seconds
    );
    // The limit of one hour. The test takes minutes.
    assert!(looked_at <= 1000, "{looked_at} guesses were evaluated");
}

/// Bob logs in by password from his known source.
fn bob_logs_in(server: &ServerProcess) -> Result<(), Option<String>> {
    let mut client = RawClient::connect_from(
        Ipv4Addr::new(127, 29, 0, 1),
        &server.address,
        &server.fingerprint,
    )
    .unwrap();
    client.greet().unwrap();
    log_in(&mut client, "bob", PASSWORD)
}

/// The processor time of the server in seconds.
pub(crate) fn processor_time(server: &ServerProcess) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("a process");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
