//! After kill -9 of either side at any moment, the final name is absent, or has the whole old or
//! the whole new file.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use testkit::{RawClient, Relay, Stage, frame, wait_for};

use crate::{join_by, noise, stage};

/// The number of kills: few in `cargo xtask test`, 200 in `cargo xtask soak`.
fn kills() -> u64 {
    if testkit::is_soak() { 200 } else { 12 }
}

/// Checks while `work` runs that the name has the whole `old` or the whole `new` content.
fn check_name_during<T>(
    stage: &Stage,
    name: &str,
    old: Option<&[u8]>,
    new: &[u8],
    work: impl FnOnce() -> T,
) -> T {
    let done = AtomicBool::new(false);
    let check = || match fs::read(stage.path(name)) {
        Ok(content) => assert!(
            content == new || old == Some(&content[..]),
            "{} bytes are visible",
            content.len()
        ),
        Err(error) => assert!(old.is_none(), "the old file is gone: {error}"),
    };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                check();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("only whole files are visible");
        check();
        result
    })
}

fn kill(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Proves `half-file` in docs/faults.md.
#[test]
fn kill_at_any_moment_shows_no_half_file() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let stage = stage();
    let mut server = stage.joined();
    let address = server.address.clone();
    let content = noise(48 << 20, seed);
    fs::write(stage.path("user/new"), &content).unwrap();
    let delays = noise(kills() as usize * 2, seed ^ 0xdead);
    for round in 0..kills() {
        let up = round % 2 == 0;
        let old = (round % 3 == 0).then_some(&b"old and whole"[..]);
        let name = if up { "home/final" } else { "user/final" };
        let _ = fs::remove_file(stage.path(name));
        if let Some(old) = old {
            fs::write(stage.path(name), old).unwrap();
        }
        fs::write(stage.path("home/new"), &content).unwrap();
        let arguments = match up {
            true => ["cp".to_owned(), "new".to_owned(), server.at("final")],
            false => ["cp".to_owned(), server.at("new"), "final".to_owned()],
        };
        let delay = Duration::from_millis(u64::from(delays[round as usize]) * 2);
        check_name_during(&stage, name, old, &content, || {
            let child = stage
                .command(&arguments)
                .args(["--retry", "0"])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(delay);
            match round % 4 {
                0 | 1 => server.kill(),
                2 => {}
                _ => server.kill(),
            }
            if round % 4 != 0 {
                kill(child);
            } else {
                let _ = child.wait_with_output();
            }
        });
        if round % 4 != 2 {
            server = stage.serve_at(&address, &[]);
        }
        // The same command again completes the copy.
        stage.run(&arguments).ok();
        assert_eq!(stage.read(name), content);
    }
}

/// A client that vanishes at any byte of a put leaves nothing. The server still serves.
/// Proves `half-file` in docs/faults.md.
#[test]
fn client_lost_at_any_byte_leaves_nothing() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let mut flight = Vec::new();
    for header in [
        r#"{"type":"open","service":"files"}"#,
        r#"{"type":"put","path":"final","length":50000,"mode":420,"replace":true}"#,
        r#"{"type":"data","offset":0,"size":50000}"#,
    ] {
        flight.extend_from_slice(&frame(header));
    }
    flight.extend_from_slice(&frame(noise(50_000, 5)));
    flight.extend_from_slice(&frame(
        r#"{"type":"finish","length":50000,"digest":"blake3:"#,
    ));
    for step in 0..40 {
        let cut = flight.len() * step / 40;
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
        client.send(&flight[..cut]).unwrap();
        if step % 2 == 0 {
            client.finish().unwrap();
        }
        drop(client);
        server.event("logout");
        wait_for("the home to be empty", || {
            fs::read_dir(stage.home()).unwrap().count() == 0
        });
    }
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// One large copy in either direction, during which the client or the server is killed again and
/// again.
/// Soak: 10 GB and ten kills.
/// Proves `half-file` in docs/faults.md.
#[test]
fn repeatedly_killed_copy_completes() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let (length, kills) = if testkit::is_soak() {
        (10_000_000_000, 10)
    } else {
        (200 << 20, 3)
    };
    let stage = stage();
    let mut server = stage.serve(&[]);
    let address = server.address.clone();
    let relay = Relay::start(&address);
    join_by(&stage, &server, &relay.address);
    write_stamped(&stage.path("user/large"), length, seed);
    fs::hard_link(stage.path("user/large"), stage.path("home/large")).unwrap();
    let choices = noise(kills * 4, seed ^ 0xdead);
    for up in [true, false] {
        let folder = stage.path(if up { "home" } else { "user" });
        let remote = |name: &str| format!("landline://{}/{name}", relay.address);
        let (from, to) = if up {
            ("large".to_owned(), remote("copy"))
        } else {
            (remote("large"), "copy".to_owned())
        };
        let arguments = ["cp", "--json", "--retry", "0", &from, &to].map(str::to_owned);
        let arrived = || arrived_bytes(&folder);
        for (round, choice) in choices.chunks_exact(4).enumerate() {
            // The kill waits for a part of the missing content, so that enough is left for the
            // later kills. A little more may pass, since a part goes again or is not yet stored.
            let begun = arrived();
            let share = (length - begun) / (kills - round + 1) as u64;
            let until = begun + share * u64::from(choice[0]) / 255 + u64::from(choice[1]);
            relay.hold_after(until - begun + (12 << 20));
            let mut command = stage.command(&arguments);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_for("the moment of the kill", || arrived() > until);
            if choice[2] % 2 == 0 {
                server.kill();
                relay.release();
                let _ = child.wait();
                server = stage.serve_at(&address, &[]);
            } else {
                kill(child);
                relay.release();
            }
            assert!(
                !folder.join("copy").exists(),
                "the copy completed before the kill"
            );
        }
        let said = stage.run(&arguments).ok();
        assert!(said.contains(r#""resumed-at""#), "{said}");
        let mut compare = std::process::Command::new("cmp");
        assert!(
            compare
                .arg(folder.join("copy"))
                .arg(folder.join("large"))
                .status()
                .unwrap()
                .success()
        );
        fs::remove_file(folder.join("copy")).unwrap();
    }
}

/// How many bytes of a copy have arrived in a folder.
fn arrived_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map_while(Result::ok);
    let part = entries.filter(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "part")
    });
    part.filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .max()
        .unwrap_or(0)
}

/// Writes a file in which all blocks differ.
fn write_stamped(path: &Path, length: u64, seed: u64) {
    let mut file = fs::File::create(path).unwrap();
    let mut piece = noise(4 << 20, seed);
    let mut written = 0;
    while written < length {
        piece[..8].copy_from_slice(&written.to_le_bytes());
        let part = usize::try_from((length - written).min(piece.len() as u64)).unwrap();
        file.write_all(&piece[..part]).unwrap();
        written += part as u64;
    }
}
