//! Pointers from documents into code: a link whose text is a name in backticks and whose target is
//! a Rust file, given inline or by a label. The name stays true where a line number would not.

use std::collections::BTreeMap;

use super::{
    Finding,
    links::{definition, resolve},
    source::Source,
    tree::File,
};

/// Adds a finding for every pointer to a name that its file does not define. A target that is not
/// there is another check's.
pub(crate) fn check(file: &File, sources: &[Source], findings: &mut Vec<Finding>) {
    let labels = labels(&file.text);
    for (at, line) in file.text.lines().enumerate() {
        for (name, target) in pointers(line, &labels) {
            let source = resolve(&file.path, target).and_then(|place| source(sources, &place));
            if source.is_some_and(|source| !source.defines(name)) {
                let text =
                    format!("`{name}` is not defined in `{target}`: point to where it is now");
                findings.push(Finding::error(&file.path, at + 1, text));
            }
        }
    }
}

/// The targets that a document defines by lines `[label]: target`.
pub(super) fn labels(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(definition).collect()
}

/// The names and targets of a line's pointers. Of `a::b` the last part is the name.
pub(super) fn pointers<'a>(
    line: &'a str,
    labels: &BTreeMap<&'a str, &'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    line.split("[`").skip(1).filter_map(|rest| {
        let (code, after) = rest.split_once("`]")?;
        let target = if let Some(inline) = after.strip_prefix('(') {
            inline.split_once(')')?.0
        } else {
            let (label, _) = after.strip_prefix('[')?.split_once(']')?;
            labels.get(label)?
        };
        let name = code.rsplit("::").next().unwrap_or(code);
        (target.ends_with(".rs") && !name.is_empty() && name.chars().all(is_name))
            .then_some((name, target))
    })
}

/// The Rust file at `place`.
pub(super) fn source<'a>(sources: &'a [Source], place: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == place)
}

/// Whether `letter` can be part of a name.
fn is_name(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_name_is_found() {
        let code = "pub struct Frame;\nimpl Frame { pub async fn decode() { used(); } }\n// fn gone() {}\nconst LIMIT: u8 = 1;";
        let code = File {
            path: "crates/a/src/frame.rs".to_owned(),
            text: code.to_owned(),
        };
        let sources = [Source::read(&code).unwrap()];
        let text = "[`Frame`](../crates/a/src/frame.rs) [`Frame::decode`](/crates/a/src/frame.rs) [`LIMIT`](../crates/a/src/frame.rs)\n\
                    [`gone`](../crates/a/src/frame.rs), [`used`](../crates/a/src/frame.rs) and [`x`](../crates/a/src/no.rs)\n\
                    [`frame.rs`](../crates/a/src/frame.rs) [gone](../crates/a/src/frame.rs) [`gone`](x.md) `gone`(frame.rs)\n\
                    [`Frame`][frame] and [`lost`][frame] [`lost`][other] [`lost`][]\n\n[frame]: ../crates/a/src/frame.rs";
        let file = File {
            path: "docs/lessons.md".to_owned(),
            text: text.to_owned(),
        };
        let mut findings = Vec::new();
        check(&file, &sources, &mut findings);
        let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            shown,
            [
                "docs/lessons.md:2: `gone` is not defined in `../crates/a/src/frame.rs`: point to where it is now",
                "docs/lessons.md:2: `used` is not defined in `../crates/a/src/frame.rs`: point to where it is now",
                "docs/lessons.md:4: `lost` is not defined in `../crates/a/src/frame.rs`: point to where it is now",
            ]
        );
    }
}
