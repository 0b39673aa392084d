//! Known and unknown users get the same answers, in the same time.

use std::{net::Ipv4Addr, time::Instant};

use landline::{
    keys::{SecretKey, UserKey},
    login::Secret,
};
use serde_json::Value;
use testkit::{RawClient, ServerProcess};

use crate::{passwords, shared_secret, stage};

/// The number of pairs: one login as a known user and one as an unknown user.
fn pairs() -> usize {
    if testkit::is_soak() { 10_000 } else { 100 }
}

/// One login. Returns the bytes after the greeting, and the time to the answer in nanoseconds.
fn attempt(server: &ServerProcess, make: impl FnOnce(&RawClient) -> Value) -> (Vec<u8>, f64) {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    let login = make(&client);
    let start = Instant::now();
    client.send_json(&login).unwrap();
    let answer = client.bytes(|bytes| !bytes.is_empty()).unwrap();
    let time = start.elapsed();
    assert_eq!(client.header().unwrap().unwrap().kind(), "error");
    (answer, time.as_nanos() as f64)
}

/// Logs in as alice, whom the server knows, and as a stranger, in random order. All answers must be
/// equal to the byte.
fn compare(server: &ServerProcess, method: &str, make: impl Fn(&RawClient, &str) -> Value) {
    let users = ["alice", "mallory"];
    let mut times = [Vec::new(), Vec::new()];
    let mut answers: Vec<Vec<u8>> = Vec::new();
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    for coin in crate::noise(pairs(), seed) {
        let first = usize::from(coin & 1);
        for index in [first, 1 - first] {
            let (answer, time) = attempt(server, |client| make(client, users[index]));
            times[index].push(time);
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
    }
    assert_eq!(answers.len(), 1, "{method}: answers differ: {answers:?}");
    report_times(method, seed, times);
}

/// Prints how the times of known and unknown users differ. In the soak they must not.
fn report_times(method: &str, seed: u64, times: [Vec<f64>; 2]) {
    let [known, unknown] = times.map(Sample::of);
    let t =
        (known.mean - unknown.mean) / (known.variance_of_mean + unknown.variance_of_mean).sqrt();
    let difference = (known.median - unknown.median) / unknown.median * 100.0;
    eprintln!(
        "{method}: {} pairs (seed {seed}), Welch t {t:.2}, medians differ by {difference:.2} %",
        pairs()
    );
    if testkit::is_soak() {
        assert!(
            t.abs() < 4.5,
            "{method}: a known user can be told from an unknown one by the time: t {t:.2}"
        );
    }
}

struct Sample {
    mean: f64,
    variance_of_mean: f64,
    median: f64,
}

impl Sample {
    /// Drops the slowest hundredth, in which the machine was busy with something else.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        times.truncate(times.len() - times.len() / 100);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self {
            mean,
            variance_of_mean: variance / count,
            median,
        }
    }
}

/// The pairs that one server allows: each user has 500 guesses from strangers.
const PASSWORD_PAIRS_MAX: usize = 450;

/// The same for passwords, whose answers are never equal. Only their length and type are compared.
///
/// Each pair has its own source, since a third guess would shut the source out.
/// Proves `user-enumeration` in docs/faults.md.
#[test]
fn password_login_does_not_reveal_users() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    // Alice has a key only, mallory does not exist, and eve is disabled.
    for other in ["alice", "mallory", "eve"] {
        let mut times = [Vec::new(), Vec::new()];
        let mut coins = crate::noise(pairs(), seed).into_iter();
        let mut left = pairs();
        while left > 0 {
            let stage = stage();
            let server = passwords::with_bob(&stage);
            let file = passwords::file(&stage, "eve.password", passwords::PASSWORD);
            stage
                .run_at_server(&["user", "add", "eve", "--new-password-file", &file])
                .ok();
            stage.run_at_server(&["user", "disable", "eve"]).ok();
            for number in 0..left.min(PASSWORD_PAIRS_MAX) as u16 {
                let [high, low] = number.to_be_bytes();
                let first = usize::from(coins.next().unwrap() & 1);
                for index in [first, 1 - first] {
                    let client = RawClient::connect_from(
                        Ipv4Addr::new(127, 40, high, low),
                        &server.address,
                        &server.fingerprint,
                    );
                    times[index].push(evaluation_time(client.unwrap(), ["bob", other][index]));
                }
            }
            left = left.saturating_sub(PASSWORD_PAIRS_MAX);
        }
        report_times(&format!("password, beside {other}"), seed, times);
    }
}

/// The time in nanoseconds until the server answers the first message of a login by password. The
/// answer has the same length for every user.
fn evaluation_time(mut client: RawClient, user: &str) -> f64 {
    client.greet().unwrap();
    let (begin, begun) = client.begin_password(user, "not the right one");
    let start = Instant::now();
    client.send_json(&begin).unwrap();
    let answer = client.bytes(|bytes| !bytes.is_empty()).unwrap();
    let time = start.elapsed();
    let header = client.header().unwrap().unwrap();
    assert_eq!(
        (header.kind(), answer.len()),
        ("evaluation", EVALUATION_BYTES),
        "{user}"
    );
    drop(begun);
    time.as_nanos() as f64
}

/// The length, the type, and 320 bytes in base64.
const EVALUATION_BYTES: usize = 4 + r#"{"type":"evaluation","ke2":""}"#.len() + 428;

/// Proves `user-enumeration` in docs/faults.md.
#[test]
fn known_and_unknown_users_are_indistinguishable() {
    let stage = stage();
    let server = stage.joined();
    let keys = landline::paths::PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    let (stranger, _) = UserKey::load_or_create(&keys, "key").unwrap();
    compare(&server, "ssh-key", |client, user| {
        client.login_header(user, &stranger, None)
    });

    let (secret, _) = shared_secret::secret(&stage, &server, "ci.secret", "exporter");
    let digits = "0123456789abcdef".repeat(4);
    let line = secret.reveal();
    let wrong: Secret = format!("{}.{digits}", line.rsplit_once('.').unwrap().0)
        .parse()
        .unwrap();
    compare(&server, "secret", |client, user| {
        client.secret_header(user, &wrong)
    });

    let unknown = SecretKey::from_bytes([0; 32]);
    compare(&server, "attach", |client, user| {
        client.attach_header(user, "0123456789abcdef", &unknown)
    });
}
