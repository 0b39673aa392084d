//! Row 13: kill -9 of either side at any moment leaves the final name absent, old and whole, or new and whole.

use std::{
    fs,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use testkit::{RawClient, Stage, frame, wait_for};

use crate::{noise, stage};

/// Shortened in `cargo xtask test`, whole in `cargo xtask soak`.
fn kills() -> u64 {
    if std::env::var_os("LANDLINE_SOAK").is_some() { 200 } else { 12 }
}

/// Watches a final name while `work` runs: whatever is there must be `old` or `new`, whole.
fn watching<T>(stage: &Stage, name: &str, old: Option<&[u8]>, new: &[u8], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let check = || match fs::read(stage.path(name)) {
        Ok(content) => assert!(content == new || old == Some(&content[..]), "{} bytes are visible", content.len()),
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

#[test]
fn a_kill_at_any_moment_shows_no_half_file() {
    let seed = std::env::var("LANDLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
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
        watching(&stage, name, old, &content, || {
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
        // The same command again does it.
        stage.run(&arguments).ok();
        assert_eq!(stage.read(name), content);
    }
}

/// A client that vanishes at any byte of a put: nothing is left of it, and the server goes on.
#[test]
fn a_client_that_vanishes_at_any_byte_leaves_nothing() {
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
    flight.extend_from_slice(&frame(r#"{"type":"finish","length":50000,"digest":"blake3:"#));
    for step in 0..40 {
        let cut = flight.len() * step / 40;
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
        client.send(&flight[..cut]).unwrap();
        if step % 2 == 0 {
            client.finish().unwrap();
        }
        drop(client);
        server.event("closed");
        wait_for("an empty home", || fs::read_dir(stage.home()).unwrap().count() == 0);
    }
    stage.run(&["ping", "127.0.0.1"]).ok();
}
