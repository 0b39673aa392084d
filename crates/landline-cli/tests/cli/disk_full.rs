//! A small disk that fills up.
//! No file is cut short, the server still works, and copies resume once there is space.

use std::fs;

use serde_json::{Value, json};
use testkit::{Census, Mount, RawClient, Stage};

use crate::{noise, stage};

/// The BLAKE3 digest of an empty file.
const EMPTY: &str = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// A stage whose home has 32 MiB and 1,000 inodes.
fn small() -> Option<(Mount, Stage)> {
    let stage = stage();
    Some((
        Mount::disk(&stage.home(), "size=32m,nr_inodes=1000")?,
        stage,
    ))
}

/// Proves `disk-full` in docs/faults.md.
#[test]
fn copies_beyond_disk_space_fail_and_resume_later() {
    let Some((_disk, stage)) = small() else {
        return;
    };
    let server = stage.joined();
    let contents: Vec<Vec<u8>> = (0..5).map(|seed| noise(10 << 20, seed + 1)).collect();
    for (number, content) in contents.iter().enumerate() {
        stage.write(&format!("user/{number}"), content);
    }
    let copy = |number: usize| {
        [
            "--json".to_owned(),
            "cp".to_owned(),
            number.to_string(),
            server.at(&format!("copy{number}")),
        ]
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let stage = &stage;
        let copies: Vec<_> = (0..5)
            .map(|number| scope.spawn(move || stage.run(&copy(number))))
            .collect();
        copies
            .into_iter()
            .map(|copy| copy.join().unwrap())
            .collect()
    });
    let is_whole = |number: usize| {
        fs::read(stage.home().join(format!("copy{number}")))
            .ok()
            .as_ref()
            == Some(&contents[number])
    };
    for (number, outcome) in outcomes.iter().enumerate() {
        let there = stage.home().join(format!("copy{number}")).exists();
        match outcome.status {
            Some(0) => assert!(is_whole(number), "copy {number} was acknowledged"),
            Some(24) => assert!(!there, "{}", outcome.stderr),
            other => panic!("copy {number}: {other:?} {}", outcome.stderr),
        }
        assert!(
            !String::from_utf8_lossy(&outcome.stdout).contains(r#""event":"reconnecting""#),
            "the error arrived without a reconnect: {outcome:?}"
        );
    }
    assert!(
        outcomes.iter().any(|outcome| outcome.status == Some(24)),
        "the disk cannot hold all five copies"
    );
    // Logins and reads still work.
    stage.run(&["ping", "127.0.0.1"]).ok();
    if let Some(done) = (0..5).find(|&number| is_whole(number)) {
        stage
            .run(&["cp", &server.at(&format!("copy{done}")), "back"])
            .ok();
        assert!(stage.read("user/back") == contents[done]);
    }
    // With space again, the same commands succeed. The copies that already hold a block go first,
    // and the others fit afterwards.
    let mut left: Vec<usize> = (0..5).filter(|&number| !is_whole(number)).collect();
    let take_away =
        |number: usize| fs::remove_file(stage.home().join(format!("copy{number}"))).unwrap();
    (0..5)
        .filter(|&number| is_whole(number))
        .for_each(take_away);
    for _ in 0..5 {
        left.retain(|&number| {
            let outcome = stage.run(&copy(number));
            let done = outcome.status == Some(0);
            assert!(
                done && is_whole(number) || outcome.status == Some(24),
                "{}",
                outcome.stderr
            );
            if done {
                take_away(number);
            }
            !done
        });
    }
    assert_eq!(left, Vec::<usize>::new());
    assert_eq!(
        Census::of(&stage.home()).paths(),
        Vec::<String>::new(),
        "no staging file is left"
    );
}

/// Proves `disk-full` in docs/faults.md.
#[test]
fn copy_without_inodes_fails_and_succeeds_later() {
    let Some((_disk, stage)) = small() else {
        return;
    };
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(client.login("alice", &key, None).unwrap(), "welcome");
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    let mut put = |name: &str| {
        client
            .send_json(
                &json!({"type": "put", "path": name, "length": 0, "mode": 0o600, "replace": true}),
            )
            .unwrap();
        let answer = client.header().unwrap().expect("an answer");
        if answer.kind() == "error" {
            let error: Value = answer.read().unwrap();
            return Some(error["code"].as_str().unwrap().to_owned());
        }
        client
            .send_json(&json!({"type": "data", "offset": 0, "size": 0}))
            .unwrap();
        client
            .send_json(&json!({"type": "finish", "length": 0, "digest": EMPTY}))
            .unwrap();
        assert_eq!(client.header().unwrap().expect("an answer").kind(), "done");
        None
    };
    let refused: Vec<String> = (0..5_000)
        .filter_map(|number| put(&format!("tiny{number}")))
        .collect();
    assert!(
        refused.len() >= 4_000 && refused.iter().all(|code| code == "no-space"),
        "{:?}",
        refused.first()
    );
    let taken = Census::of(&stage.home()).paths();
    assert_eq!(
        taken.len() + refused.len(),
        5_000,
        "every file was stored or refused, and no staging file is left"
    );
    assert!(taken.iter().all(|path| path.starts_with("tiny")));
    for path in taken.iter().take(3) {
        fs::remove_file(stage.home().join(path)).unwrap();
    }
    assert_eq!(put("later"), None, "the same channel accepts another put");
}
