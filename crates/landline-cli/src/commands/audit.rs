//! `landline audit`: the audit log of the server on this machine.

use std::path::Path;

use landline::{
    Error,
    audit::{Line, Reader, Report},
};
use serde_json::{Value, json};

use crate::{
    arguments::Audit,
    failure::Failure,
    terminal::{print, print_json, say, shown_line},
};

/// What comes first of a line that is shown; the rest follows by name.
const FIRST: [&str; 4] = ["user", "session", "peer", "source"];

pub(crate) fn run(state: &Path, what: Audit) -> Result<(), Failure> {
    let Some(reader) = Reader::open(state)? else {
        return Err(Error::state(
            state.display(),
            "there is no audit log: no server has run with this state folder",
        )
        .into());
    };
    match what {
        Audit::Verify { json } => verify(&reader.verify()?, json),
        Audit::Show { user, since, json } => {
            let mut count = 0_u64;
            let unreadable = reader.lines(|line, text| {
                count += 1;
                let is_wanted = user.as_ref().is_none_or(|user| line.is_of(user))
                    && since.as_ref().is_none_or(|since| since.includes(line));
                match is_wanted {
                    true if json => print(text),
                    true => print(&shown(line)),
                    false => {}
                }
            })?;
            if unreadable > 0 {
                say(&format!(
                    "{unreadable} lines cannot be read; landline audit verify says where"
                ));
            } else if count == 0 {
                say("there are no lines; landline audit verify says whether there were");
            }
            Ok(())
        }
    }
}

fn verify(report: &Report, json: bool) -> Result<(), Failure> {
    let Report {
        files,
        lines,
        tip,
        times,
        flaws,
    } = report;
    let (first, last) = times.clone().unwrap_or_default();
    if json {
        print_json(&json!({
            "ok": flaws.is_empty(), "files": files, "lines": lines, "first": first, "last": last,
            "seq": tip.seq, "hash": tip.hash.to_string(), "flaws": flaws,
        }));
    } else {
        for flaw in flaws {
            let place = format!("{} line {} (number {})", flaw.file, flaw.line, flaw.seq);
            print(&shown_line(&format!("{place}: {}", flaw.problem)));
        }
    }
    if !flaws.is_empty() {
        let count = if flaws.len() == 1 {
            "1 flaw".to_owned()
        } else {
            format!("{} flaws", flaws.len())
        };
        return Err(Failure::of_audit(format!(
            "the audit log is not as it was written: {count}"
        )));
    }
    if !json {
        print(&format!(
            "whole: {lines} lines in {files} files, {first} to {last}\nlast line {} {}",
            tip.seq, tip.hash
        ));
    }
    Ok(())
}

/// A line for people.
fn shown(line: &Line) -> String {
    let mut out = format!("{} {}", line.time, line.event);
    let first = FIRST
        .iter()
        .filter_map(|name| line.fields.get_key_value(*name));
    let others = line
        .fields
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()));
    for (name, value) in first.chain(others) {
        let value = match value {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => {
                text.clone()
            }
            value => value.to_string(),
        };
        out.push_str(&format!(" {name}={value}"));
    }
    shown_line(&out)
}
