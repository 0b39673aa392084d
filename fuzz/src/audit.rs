//! The audit log.

use std::time::UNIX_EPOCH;

use landline::{
    activity::Activity,
    audit::{ChainHead, ChainVerifier, LogLine, Report, encode_line},
};

/// Verifies the input as a log. If that succeeds, any changed bit must be found.
///
/// Also encodes the input as the fields of an activity. The result must be one line with the same
/// fields.
pub fn audit(input: &[u8]) {
    let report = verify(input, None);
    if report.violations.is_empty() && report.lines > 0 {
        assert!(
            verify(input, Some(report.head)).violations.is_empty(),
            "the log fails against its own head"
        );
        let whole = input
            .iter()
            .rposition(|&byte| byte == b'\n')
            .unwrap_or_default();
        for at in [0, whole / 3, whole / 2, whole.saturating_sub(1)] {
            let mut changed = input.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            assert!(
                !verify(&changed, Some(report.head)).violations.is_empty(),
                "a change of byte {at} is not found"
            );
        }
    }

    let text = String::from_utf8_lossy(input).into_owned();
    let Ok(user) = "alice".parse() else {
        return assert!(input.is_empty(), "alice is a name");
    };
    let activity = Activity::Failed {
        user,
        session: text.clone(),
        code: text.clone(),
        message: text,
    };
    let (line, head) = encode_line(&ChainHead::START, UNIX_EPOCH, &activity);
    assert!(
        line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "more than one line"
    );
    let Ok(parsed) = LogLine::parse(line.as_bytes()) else {
        return assert!(line.is_empty(), "not a line");
    };
    assert_eq!((parsed.seq, head.seq), (1, 1));
    // A long text is replaced by its digest.
    let is_cut = parsed.fields.values().any(serde_json::Value::is_object);
    if !is_cut {
        let mut fields = serde_json::to_value(&activity).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("event");
        }
        assert_eq!(
            serde_json::Value::Object(parsed.fields),
            fields,
            "another activity"
        );
    }
}

fn verify(log: &[u8], checkpoint: Option<ChainHead>) -> Report {
    let mut verifier = ChainVerifier::new(checkpoint);
    verifier.start_file("log", 1);
    let mut torn = 0;
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => drop(verifier.add_line(line)),
            None => torn = line.len() as u64,
        }
    }
    verifier.end_file(torn, true);
    verifier.finish()
}
