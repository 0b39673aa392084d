//! The audit log.

use std::time::UNIX_EPOCH;

use landline::audit::{Entry, Line, Report, Tip, Walk};

/// As a log: what has no flaw is what was written, so that a changed bit in it is one. As the
/// fields of an event: one line, which says the same.
pub fn audit(input: &[u8]) {
    let report = walk(input, None);
    if report.flaws.is_empty() && report.lines > 0 {
        assert!(
            walk(input, Some(report.tip)).flaws.is_empty(),
            "its own end is not its end"
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
                !walk(&changed, Some(report.tip)).flaws.is_empty(),
                "byte {at} may be changed"
            );
        }
    }

    let text = String::from_utf8_lossy(input).into_owned();
    let (user, session) = (text.clone(), text.clone());
    let entry = Entry::Failed {
        user,
        session,
        code: text.clone(),
        message: text,
    };
    let (line, tip) = Tip::START.line(UNIX_EPOCH, &entry);
    assert!(
        line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "more than one line"
    );
    let Ok(parsed) = Line::parse(line.as_bytes()) else {
        return assert!(line.is_empty(), "not a line");
    };
    assert_eq!((parsed.seq, tip.seq), (1, 1));
    if parsed.fields.get("cut").is_none() {
        let mut fields = serde_json::to_value(&entry).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("event");
        }
        assert_eq!(
            serde_json::Value::Object(parsed.fields),
            fields,
            "another event"
        );
    }
}

fn walk(log: &[u8], head: Option<Tip>) -> Report {
    let mut walk = Walk::new(head);
    walk.file("log", 1);
    let mut torn = 0;
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => drop(walk.line(line)),
            None => torn = line.len() as u64,
        }
    }
    walk.file_end(torn, true);
    walk.end()
}
