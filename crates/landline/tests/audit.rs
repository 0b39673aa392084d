//! The audit log stays intact across kills, files and restarts. Every damage to it is found.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test, which harms the log"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use landline::{
    Error,
    activity::{Activity, Direction},
    audit::{
        Audit, AuditOptions, ChainHead, ChainVerifier, LineHash, LogLine, Priority, Reader, Report,
        encode_line,
    },
    paths::PrivateFolder,
    proto::{ErrorCode, Name, login::UserName},
};
use proptest::prelude::*;
use testkit::Stage;

struct Place {
    stage: Stage,
    server: PrivateFolder,
}

impl Place {
    fn new() -> Self {
        let stage = Stage::new("unused");
        let server = PrivateFolder::open_or_create(&stage.path("server/server")).unwrap();
        Self { stage, server }
    }

    fn open(&self, file_bytes_max: u64) -> (Audit, Option<String>) {
        let options = AuditOptions {
            file_bytes_max,
            ..AuditOptions::default()
        };
        Audit::open(&self.server, &options).unwrap()
    }

    /// A log of `lines` lines in several files.
    fn filled(lines: u32) -> Self {
        let place = Self::new();
        let (audit, problem) = place.open(1000);
        assert_eq!(problem, None);
        (0..lines).for_each(|n| {
            audit
                .record_blocking(activity(n), Priority::Exempt)
                .unwrap()
        });
        audit.flush().unwrap();
        place
    }

    fn report(&self) -> Report {
        Reader::open(&self.stage.path("server"))
            .unwrap()
            .unwrap()
            .verify()
            .unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.stage.path("server/server/audit")
    }

    /// The files of the log, by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap());
        entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder().join(name), bytes).unwrap();
    }
}

fn activity(n: u32) -> Activity {
    Activity::Admin {
        user: None,
        session: None,
        action: "test".into(),
        subject: format!("{n}"),
        detail: None,
    }
}

#[test]
fn log_verifies_across_files_and_restarts() {
    let place = Place::filled(20);
    let (audit, problem) = place.open(1000);
    assert_eq!(problem, None);
    audit
        .record_blocking(activity(20), Priority::Exempt)
        .unwrap();
    audit.flush().unwrap();
    let report = place.report();
    assert_eq!(report.violations, []);
    assert_eq!((report.lines, report.head.seq), (21, 21));
    assert!(report.files > 3, "{report:?}");
}

/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn changed_byte_is_found() {
    let place = Place::filled(8);
    for (name, bytes) in place.files() {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            place.write(&name, &changed);
            let report = place.report();
            assert!(!report.violations.is_empty(), "{name} byte {at}");
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let found = report
                .violations
                .iter()
                .any(|violation| violation.file == name && violation.line.abs_diff(line) <= 1);
            // A missing line feed at the end of a file makes the next file fail.
            assert!(
                found || changed.last() != Some(&b'\n'),
                "{name} byte {at} in line {line}: {:?}",
                report.violations
            );
        }
        place.write(&name, &bytes);
    }
    assert_eq!(place.report().violations, []);
}

/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn truncation_is_found() {
    let place = Place::filled(8);
    let files = place.files();
    for (name, bytes) in &files {
        for length in 0..bytes.len() {
            place.write(name, &bytes[..length]);
            assert!(
                !place.report().violations.is_empty(),
                "{name} cut to {length}"
            );
        }
        fs::remove_file(place.folder().join(name)).unwrap();
        assert!(!place.report().violations.is_empty(), "{name} removed");
        place.write(name, bytes);
    }
    let names: Vec<_> = files.keys().cloned().collect();
    for gone in 1..=names.len() {
        names[names.len() - gone..]
            .iter()
            .for_each(|name| fs::remove_file(place.folder().join(name)).unwrap());
        assert!(
            !place.report().violations.is_empty(),
            "the last {gone} files removed"
        );
        files
            .iter()
            .for_each(|(name, bytes)| place.write(name, bytes));
    }
}

/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn moved_repeated_and_missing_lines_are_found() {
    let place = Place::filled(12);
    for (name, bytes) in place.files() {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let mut without = lines.clone();
            let line = without.remove(at);
            place.write(&name, &without.concat());
            assert!(
                !place.report().violations.is_empty(),
                "{name} without line {at}"
            );
            for to in (0..=without.len()).filter(|to| *to != at) {
                let mut moved = without.clone();
                moved.insert(to, line);
                place.write(&name, &moved.concat());
                assert!(
                    !place.report().violations.is_empty(),
                    "{name} with line {at} at {to}"
                );
            }
            let mut doubled = lines.clone();
            doubled.insert(at, line);
            place.write(&name, &doubled.concat());
            assert!(
                !place.report().violations.is_empty(),
                "{name} with line {at} twice"
            );
        }
        place.write(&name, &bytes);
    }
    assert_eq!(place.report().violations, []);
}

/// A server that continues a changed log does not repair it.
/// Proves `audit-tampering` in docs/faults.md.
#[test]
fn violation_remains_after_further_lines() {
    type Harm<'a> = &'a dyn Fn(&Place);
    let newest = |place: &Place| place.files().into_iter().next_back().unwrap();
    let harms: [(&str, Harm<'_>); 5] = [
        ("the last file is gone", &|place| {
            fs::remove_file(place.folder().join(newest(place).0)).unwrap()
        }),
        ("the last line is gone", &|place| {
            let (name, bytes) = newest(place);
            let cut = bytes[..bytes.len() - 1]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            place.write(&name, &bytes[..cut]);
        }),
        ("the last line is half", &|place| {
            let (name, bytes) = newest(place);
            place.write(&name, &bytes[..bytes.len() - 9]);
        }),
        ("the head is gone", &|place| {
            fs::remove_file(place.stage.path("server/server/audit-checkpoint")).unwrap()
        }),
        ("all is gone but the head", &|place| {
            fs::remove_dir_all(place.folder()).unwrap()
        }),
    ];
    for (what, harm) in harms {
        let place = Place::filled(9);
        harm(&place);
        assert!(!place.report().violations.is_empty(), "{what}");
        let (audit, problem) = place.open(1000);
        assert!(problem.is_some(), "{what}");
        audit
            .record_blocking(activity(1), Priority::Exempt)
            .unwrap();
        audit.flush().unwrap();
        assert!(
            !place.report().violations.is_empty(),
            "{what}, after further lines"
        );
        let (audit, problem) = place.open(1000);
        assert_eq!(problem, None, "{what}: the violation is reported once");
        drop(audit);
    }
}

/// After kill -9 the log may end in complete lines or half a line after the checkpoint. That is no
/// violation.
#[test]
fn partial_line_is_removed() {
    let place = Place::filled(3);
    let (name, bytes) = place.files().into_iter().next_back().unwrap();
    let last = place.report().head;
    let checkpoint = place.stage.read("server/server/audit-checkpoint");
    let (line, _) = encode_line(&last, std::time::SystemTime::now(), &activity(3));
    let whole = [&bytes[..], line.as_bytes(), b"\n"].concat();
    for length in bytes.len()..=whole.len() {
        place.write(&name, &whole[..length]);
        assert_eq!(place.report().violations, [], "{length}");
        let (audit, problem) = place.open(1 << 20);
        assert_eq!(problem, None, "{length}");
        drop(audit);
        let left = fs::read(place.folder().join(&name)).unwrap();
        assert!(left == bytes || left == whole, "{length}");
        place.write(&name, &bytes);
        fs::write(
            place.stage.path("server/server/audit-checkpoint"),
            &checkpoint,
        )
        .unwrap();
    }
}

/// Proves `audit-growth` in docs/faults.md.
#[test]
fn removal_of_old_files_is_recorded() {
    let place = Place::new();
    let options = AuditOptions {
        file_bytes_max: 2000,
        total_bytes_max: 10_000,
        ..AuditOptions::default()
    };
    let (audit, _) = Audit::open(&place.server, &options).unwrap();
    for n in 0..200 {
        audit
            .record_blocking(activity(n), Priority::Exempt)
            .unwrap();
        let bytes: usize = place.files().values().map(Vec::len).sum();
        assert!(bytes <= 10_000 + 1000, "{bytes}");
    }
    audit.flush().unwrap();
    let report = place.report();
    assert_eq!(report.violations, []);
    assert!(report.cut_through > 100, "{report:?}");
    drop(audit);
    // A file is missing that the server has not removed.
    let files = place.files();
    let (oldest, bytes) = files.iter().next().unwrap();
    fs::remove_file(place.folder().join(oldest)).unwrap();
    assert!(!place.report().violations.is_empty());
    place.write(oldest, bytes);
    assert_eq!(place.report().violations, []);
    let (audit, problem) = Audit::open(&place.server, &options).unwrap();
    assert_eq!(problem, None);
    audit
        .record_blocking(activity(1), Priority::Exempt)
        .unwrap();
    assert_eq!(place.report().violations, []);
}

/// Proves `audit-growth` in docs/faults.md.
#[test]
fn user_beyond_daily_budget_is_refused() {
    let place = Place::new();
    let options = AuditOptions {
        user_day_bytes_max: 5000,
        ..AuditOptions::default()
    };
    let (audit, _) = Audit::open(&place.server, &options).unwrap();
    let logout = |user: &str| Activity::Logout {
        user: user.parse().unwrap(),
        session: "1".into(),
    };
    let record = |user, priority| audit.record_blocking(logout(user), priority);
    let written = (0..100)
        .take_while(|_| record("alice", Priority::Limited).is_ok())
        .count();
    assert!((10..50).contains(&written), "{written}");
    assert!(matches!(
        record("alice", Priority::Admin),
        Err(Error::Failed {
            code: ErrorCode::AuditQuota,
            ..
        })
    ));
    record("bob", Priority::Limited).unwrap();
    record("alice", Priority::Exempt).unwrap();
    // A message of something that has already happened still counts.
    audit.note(logout("alice"), Priority::Limited);
    audit.flush().unwrap();
    let lines = lines(&place);
    let (last, _) = lines.last().unwrap();
    assert_eq!(
        (&last.event[..], &last.fields["count"]),
        ("suppressed", &1.into())
    );
}

#[test]
fn activity_is_published_after_it_is_logged() {
    let place = Place::new();
    let (audit, _) = place.open(2000);
    let mut records = audit.subscribe();
    for n in 0..100 {
        audit
            .record_blocking(activity(n), Priority::Exempt)
            .unwrap();
        let record = records.try_recv().unwrap();
        assert_eq!(record.seq, Some(u64::from(n) + 1));
        assert_eq!(record.activity, activity(n));
    }
    let lines = lines(&place);
    assert_eq!(lines.len(), 100);
    drop(audit);
    let (audit, _) = place.open(2000);
    let mut records = audit.subscribe();
    audit
        .record_blocking(activity(0), Priority::Exempt)
        .unwrap();
    assert_eq!(
        records.try_recv().unwrap().seq,
        Some(101),
        "numbers continue after a restart"
    );
}

#[test]
fn damaged_files_stop_recording() {
    let place = Place::new();
    let (audit, _) = place.open(1 << 20);
    audit
        .record_blocking(activity(0), Priority::Exempt)
        .unwrap();
    let (name, bytes) = place.files().into_iter().next_back().unwrap();
    let harms: [(&str, &dyn Fn()); 3] = [
        ("removed", &|| {
            fs::remove_file(place.folder().join(&name)).unwrap()
        }),
        ("cut", &|| place.write(&name, &bytes[..bytes.len() / 2])),
        ("added to", &|| {
            place.write(&name, &[&bytes[..], b"{}\n"].concat())
        }),
    ];
    for (what, harm) in harms {
        harm();
        let refused = audit
            .record_blocking(activity(1), Priority::Exempt)
            .unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Failed {
                    code: ErrorCode::Audit,
                    ..
                }
            ),
            "{what}: {refused}"
        );
        place.write(&name, &bytes);
        let head = place.report().head;
        assert_eq!(head.seq, 1, "{what}: a line was added");
    }
    audit
        .record_blocking(activity(1), Priority::Exempt)
        .unwrap();
    audit.flush().unwrap();
    assert_eq!(place.report().violations, []);
    assert_eq!(place.report().lines, 2);
}

fn lines(place: &Place) -> Vec<(LogLine, String)> {
    let mut lines = Vec::new();
    let reader = Reader::open(&place.stage.path("server")).unwrap().unwrap();
    let unreadable = reader
        .lines(|line, text| {
            lines.push((line.clone(), text.to_owned()));
            Ok(())
        })
        .unwrap();
    assert_eq!(unreadable, 0);
    lines
}

#[test]
fn flood_is_counted() {
    let place = Place::new();
    let (audit, _) = place.open(1 << 20);
    for port in 0..5000 {
        let peer = (std::net::Ipv4Addr::LOCALHOST, port).into();
        let (code, message) = ("tls".to_owned(), "no".to_owned());
        let refused = Activity::Refused {
            peer,
            code,
            user: None,
            method: None,
            message,
        };
        audit.note(refused, Priority::Limited);
    }
    audit.flush().unwrap();
    let lines = lines(&place);
    let counted: u64 = lines
        .iter()
        .filter_map(|(line, _)| line.fields.get("count")?.as_u64())
        .sum();
    let single = lines
        .iter()
        .filter(|(line, _)| line.event == "refused")
        .count();
    assert!(lines.len() < 20, "{}", lines.len());
    assert_eq!(counted + single as u64, 5000);
}

/// Values that are hard to write on one line.
fn awkward() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<String>(),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\",\"ok\":true".to_owned()),
        Just("\u{1b}[2J\u{9b}\u{202e}\u{2028}\0\\".to_owned()),
        Just("x".repeat(30_000)),
    ];
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Proves `log-injection` in docs/faults.md.
    #[test]
    fn activity_round_trips_as_one_line(text in awkward(), code in awkward(), path in any::<Vec<u8>>()) {
        let peer = "[2001:db8::1]:7".parse().unwrap();
        let user: UserName = "alice".parse().unwrap();
        let failed = Activity::Failed { user: user.clone(), session: code.clone(), code: code.clone(), message: text.clone() };
        let refused = Activity::Refused { peer, code: code.clone(), user: Some(user.clone()), method: Some(text.clone()), message: text };
        let path = Name(path);
        let transfer = Activity::TransferStart { user, session: code, direction: Direction::Put, path, length: None };
        let mut head = ChainHead::START;
        for activity in [failed, refused, transfer] {
            let line;
            let before = head;
            (line, head) = encode_line(&before, std::time::SystemTime::now(), &activity);
            prop_assert!(line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
            let parsed = LogLine::parse(line.as_bytes()).unwrap();
            let mut fields = serde_json::to_value(&activity).unwrap();
            let event = fields.as_object_mut().unwrap().remove("event").unwrap();
            prop_assert_eq!((parsed.seq, parsed.prev), (before.seq + 1, before.hash));
            prop_assert_eq!(Some(&parsed.event[..]), event.as_str());
            for (key, value) in parsed.fields {
                // A text that makes the line too long is replaced by its digest.
                let is_same = match value.get("sha256") {
                    Some(hash) => *hash == LineHash::of(fields[&key].as_str().unwrap().as_bytes()).to_string(),
                    None => value == fields[&key],
                };
                prop_assert!(is_same, "{}", key);
            }
        }
    }

    #[test]
    fn malformed_line_is_rejected(bytes in any::<Vec<u8>>()) {
        prop_assert!(LogLine::parse(&bytes).is_err());
        let mut verifier = ChainVerifier::new(None);
        verifier.start_file("f", 1);
        prop_assert_eq!(verifier.add_line(&bytes), None);
        prop_assert_eq!(verifier.finish().violations.len(), 1);
    }
}
