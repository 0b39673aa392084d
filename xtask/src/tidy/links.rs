//! Links in Markdown files to other files of the repository.

use super::{
    Finding,
    tree::{File, Tree},
};

/// Adds a finding for every relative link whose target is not in the repository.
pub(crate) fn check(file: &File, tree: &Tree, findings: &mut Vec<Finding>) {
    for (line, target) in links(&file.text) {
        let path = target.split(['#', '?']).next().unwrap_or_default();
        if path.is_empty() || has_scheme(path) {
            continue;
        }
        let there = resolve(&file.path, path).is_some_and(|place| {
            place.is_empty() || tree.files.contains(&place) || tree.folders.contains(&place)
        });
        if !there {
            let text = format!(
                "the link target `{target}` is not in the repository: correct it or add the file"
            );
            findings.push(Finding::error(&file.path, line, text));
        }
    }
}

/// Whether `target` is an address such as `https://...` or `mailto:...`.
fn has_scheme(target: &str) -> bool {
    target.starts_with("//")
        || target.split_once(':').is_some_and(|(scheme, _)| {
            scheme.len() > 1
                && scheme
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        })
}

/// The path from the repository's top folder of what `target` means inside `document`; nothing when
/// it leads out.
pub(super) fn resolve(document: &str, target: &str) -> Option<String> {
    // A target that begins with a slash starts at the top folder, as it does on GitHub.
    let mut folders: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        document.split('/').collect()
    };
    folders.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                folders.pop()?;
            }
            name => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

/// The links of a Markdown text with their lines, those in code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (at, line) in text.lines().enumerate() {
        match (fence, opened_fence(line)) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), _) if closes(line, open) => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                let line = without_code(line);
                let targets = inline(&line)
                    .into_iter()
                    .chain(definition(&line).map(|(_, target)| target))
                    .chain(tags(&line));
                found.extend(targets.map(|target| (at + 1, target.to_owned())));
            }
        }
    }
    found
}

/// The run of backticks or tildes that opens a block of code on this line.
fn opened_fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line
        .chars()
        .next()
        .filter(|first| matches!(first, '`' | '~'))?;
    let (run, info) = line.split_at_checked(line.len() - line.trim_start_matches(mark).len())?;
    (run.len() >= 3 && !(mark == '`' && info.contains('`'))).then_some(run)
}

/// Whether this line ends the block of code that the run `open` began.
fn closes(line: &str, open: &str) -> bool {
    let line = line.trim();
    line.starts_with(open)
        && open
            .chars()
            .next()
            .is_some_and(|mark| line.trim_start_matches(mark).is_empty())
}

/// The line with what stands between backticks taken out.
fn without_code(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some((before, from)) = rest.find('`').and_then(|at| rest.split_at_checked(at)) {
        let inside = from.trim_start_matches('`');
        let ticks = from.len() - inside.len();
        kept.push_str(before);
        rest = code_end(inside, ticks).unwrap_or(inside);
    }
    kept + rest
}

/// What follows the next run of exactly `ticks` backticks in `text`.
fn code_end(text: &str, ticks: usize) -> Option<&str> {
    let mut rest = text;
    loop {
        let from = rest.get(rest.find('`')?..)?;
        let after = from.trim_start_matches('`');
        if from.len() - after.len() == ticks {
            return Some(after);
        }
        rest = after;
    }
}

/// The targets of `[text](target "title")` and `![text](target)`.
fn inline(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(destination).collect()
}

/// The label and the target of a line `[label]: target`.
pub(super) fn definition(line: &str) -> Option<(&str, &str)> {
    let (label, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    if label.starts_with('^') || label.contains(']') {
        None
    } else {
        Some((label, destination(target.trim_start())?))
    }
}

/// The targets of HTML tags.
fn tags(line: &str) -> Vec<&str> {
    let targets = ["href=\"", "src=\""]
        .into_iter()
        .flat_map(|start| line.split(start).skip(1));
    targets
        .filter_map(|rest| rest.split_once('"'))
        .map(|(target, _)| target)
        .collect()
}

/// The link target `text` starts with: in angle brackets, or up to a blank or a bracket that closes
/// the link.
fn destination(text: &str) -> Option<&str> {
    if let Some(angled) = text.strip_prefix('<') {
        return angled.split_once('>').map(|(target, _)| target);
    }
    let mut depth = 0_usize;
    let end = text.find(|letter: char| match letter {
        '(' => {
            depth += 1;
            false
        }
        ')' if depth > 0 => {
            depth -= 1;
            false
        }
        ')' => true,
        other => other.is_whitespace(),
    });
    text.get(..end.unwrap_or(text.len()))
        .filter(|target| !target.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets in `text` with their lines.
    fn targets(text: &str) -> Vec<(usize, String)> {
        links(text)
    }

    /// One entry of what `targets` gives.
    fn at(line: usize, target: &str) -> (usize, String) {
        (line, target.to_owned())
    }

    #[test]
    fn every_form_of_link_is_found() {
        assert_eq!(
            targets("a [b](c.md) ![d](e(1).png \"t\")\n[f](<g h.md>)"),
            [at(1, "c.md"), at(1, "e(1).png"), at(2, "g h.md")]
        );
        assert_eq!(
            targets("[a]: b.md\n[^1]: note\n<a href=\"c.md\"><img src=\"d.png\">"),
            [at(1, "b.md"), at(3, "c.md"), at(3, "d.png")]
        );
        assert_eq!(
            targets("[![badge](a.svg)](b.md)"),
            [at(1, "a.svg"), at(1, "b.md")]
        );
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(
            targets("```md\n[a](b)\n````\n[c](d)\n~~~\n[e](f)\n```\n~~~\n[g](h)"),
            [at(4, "d"), at(9, "h")]
        );
        assert_eq!(
            targets("`[a](b)` [c](d) ``[e](`f)`` [`g`](h) ` [i](j)"),
            [at(1, "d"), at(1, "h"), at(1, "j")]
        );
    }

    #[test]
    fn only_targets_that_are_missing_are_findings() {
        let text = "[a](../README.md#top) [b](https://x.org/a.md) [c](#here) [d](gone.md) [e](mailto:a@b.c)\n\
                    [f](/docs/) [g](protocol.md) [h](../../out.md) [i](..)";
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let tree = Tree::new([file("README.md", ""), file("docs/protocol.md", "")]);
        let mut findings = Vec::new();
        check(&file("docs/design.md", text), &tree, &mut findings);
        let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            shown,
            [
                "docs/design.md:1: the link target `gone.md` is not in the repository: correct it or add the file",
                "docs/design.md:2: the link target `../../out.md` is not in the repository: correct it or add the file",
            ]
        );
    }
}
