//! Words that may stand only in certain places, or nowhere.

use super::{
    Finding,
    lexer::{Kind, Source, Token, is_name},
    test_code::{in_tests_folder, lines},
};

/// Where files may be opened: the one crate with that task, and what is not shipped.
const FILES_ALLOWED: [&str; 4] = ["crates/landline-paths/", "testkit/", "xtask/", "fuzz/"];
/// Where the terminal may be written to.
const PRINT_ALLOWED: [&str; 4] = ["crates/landline-cli/", "xtask/", "testkit/", "fuzz/"];
/// The crate that does no input and output and reads no clock.
const PURE: &str = "crates/landline-proto/src/";
/// Marks of unfinished work, banned in comments and code.
const UNFINISHED: [&str; 2] = ["FIXME", "XXX"];

/// A rule about one piece of code.
struct Rule {
    /// The code that is banned. A path such as `a::b` is found inside `use a::{b, c}` too.
    code: &'static str,
    /// Whether the rule holds for the file at a path.
    holds: fn(&str) -> bool,
    /// Whether it holds in test code.
    in_tests: bool,
    /// What to do instead.
    instead: &'static str,
}

/// What to do about unfinished code.
const FINISH: &str = "finish it or take it out";
/// What to do about an ignored test.
const REASON: &str = "give the reason, as in #[ignore = \"reason\"]";
/// What to do about opened files.
const PATHS: &str = "open files only through crates/landline-paths/";
/// What to do about printing.
const PRINT: &str = "return what there is to say; only crates/landline-cli/ prints";
/// What to do about input, output and clocks.
const SANS_IO: &str = "this crate does no input, output, clock or threads; let the caller do it and pass in the result";

/// The rules about code.
const RULES: [Rule; 15] = [
    Rule {
        code: "todo!",
        holds: everywhere,
        in_tests: false,
        instead: FINISH,
    },
    Rule {
        code: "unimplemented!",
        holds: everywhere,
        in_tests: false,
        instead: FINISH,
    },
    Rule {
        code: "dbg!",
        holds: everywhere,
        in_tests: false,
        instead: "take it out",
    },
    Rule {
        code: "#[ignore]",
        holds: everywhere,
        in_tests: true,
        instead: REASON,
    },
    Rule {
        code: ", ignore)]",
        holds: everywhere,
        in_tests: true,
        instead: REASON,
    },
    Rule {
        code: "std::fs",
        holds: no_files,
        in_tests: true,
        instead: PATHS,
    },
    Rule {
        code: "print!",
        holds: no_printing,
        in_tests: false,
        instead: PRINT,
    },
    Rule {
        code: "println!",
        holds: no_printing,
        in_tests: false,
        instead: PRINT,
    },
    Rule {
        code: "eprint!",
        holds: no_printing,
        in_tests: false,
        instead: PRINT,
    },
    Rule {
        code: "eprintln!",
        holds: no_printing,
        in_tests: false,
        instead: PRINT,
    },
    Rule {
        code: "tokio::",
        holds: pure,
        in_tests: true,
        instead: SANS_IO,
    },
    Rule {
        code: "std::net",
        holds: pure,
        in_tests: true,
        instead: SANS_IO,
    },
    // A test has no other way to get an Instant to start from.
    Rule {
        code: "Instant::now",
        holds: pure,
        in_tests: false,
        instead: SANS_IO,
    },
    Rule {
        code: "SystemTime::now",
        holds: pure,
        in_tests: true,
        instead: SANS_IO,
    },
    Rule {
        code: "thread::",
        holds: pure,
        in_tests: true,
        instead: SANS_IO,
    },
];

/// For rules without exception.
fn everywhere(_: &str) -> bool {
    true
}

/// For rules about opening files.
fn no_files(path: &str) -> bool {
    !FILES_ALLOWED.iter().any(|folder| path.starts_with(folder)) && !in_tests_folder(path)
}

/// For rules about printing.
fn no_printing(path: &str) -> bool {
    let example = path.split('/').any(|folder| folder == "examples");
    !PRINT_ALLOWED.iter().any(|folder| path.starts_with(folder))
        && !in_tests_folder(path)
        && !example
}

/// For rules about the crate without input and output.
fn pure(path: &str) -> bool {
    path.starts_with(PURE)
}

/// Adds a finding for every banned word. `all_tests`: the file as a whole is test code.
pub(crate) fn check(path: &str, source: &Source, all_tests: bool, findings: &mut Vec<Finding>) {
    let test_lines = lines(source);
    let in_tests = |line: usize| all_tests || test_lines.iter().any(|range| range.contains(&line));
    for rule in RULES.iter().filter(|rule| (rule.holds)(path)) {
        for line in places(&source.tokens, rule.code) {
            if rule.in_tests || !in_tests(line) {
                findings.push(Finding::error(
                    path,
                    line,
                    format!("`{}` may not stand here: {}", rule.code, rule.instead),
                ));
            }
        }
    }
    for (line, mark) in unfinished(source).filter(|(line, _)| !in_tests(*line)) {
        findings.push(Finding::error(
            path,
            line,
            format!("`{mark}` marks unfinished work: {FINISH}"),
        ));
    }
}

/// The lines on which `code` stands in `tokens`.
fn places(tokens: &[Token], code: &str) -> Vec<usize> {
    let wanted: Vec<Kind> = Source::read(code)
        .tokens
        .into_iter()
        .map(|token| token.kind)
        .collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = tokens.get(at..).unwrap_or_default();
        if starts_with(rest, &wanted) {
            found.push(token.line);
        } else if let [crate_name, Kind::Mark(':'), Kind::Mark(':'), module] = wanted.as_slice()
            && starts_with(
                rest,
                &[
                    crate_name.clone(),
                    Kind::Mark(':'),
                    Kind::Mark(':'),
                    Kind::Mark('{'),
                ],
            )
        {
            found.extend(in_group(rest.get(3..).unwrap_or_default(), module));
        }
    }
    found
}

/// Whether `tokens` starts with the tokens `wanted`.
fn starts_with(tokens: &[Token], wanted: &[Kind]) -> bool {
    tokens.len() >= wanted.len()
        && tokens
            .iter()
            .zip(wanted)
            .all(|(token, kind)| token.kind == *kind)
}

/// The line on which `module` is an entry of the group `{a, b::c}` that `tokens` starts with.
fn in_group(tokens: &[Token], module: &Kind) -> Option<usize> {
    let mut depth = 0_usize;
    for pair in tokens.windows(2) {
        let [before, token] = pair else { continue };
        if before.is('{') {
            depth += 1;
        }
        if depth == 1 && (before.is('{') || before.is(',')) && token.kind == *module {
            return Some(token.line);
        }
        if before.is('}') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return None;
            }
        }
    }
    None
}

/// The marks of unfinished work, with their lines.
fn unfinished(source: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    let code = source
        .tokens
        .iter()
        .filter_map(|token| Some((token.line, token.word()?)));
    let comments = source
        .comments
        .iter()
        .map(|comment| (comment.line, comment.text.as_str()));
    code.chain(comments).flat_map(|(line, text)| {
        let marks = UNFINISHED.iter().filter(move |mark| {
            text.split(|letter| !is_name(letter))
                .any(|word| word == **mark)
        });
        marks.map(move |mark| (line, *mark))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in `text`, as line and banned code.
    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut findings = Vec::new();
        check(
            path,
            &Source::read(text),
            in_tests_folder(path),
            &mut findings,
        );
        let code = |finding: &Finding| {
            finding
                .text
                .split('`')
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        findings
            .iter()
            .map(|finding| (finding.line, code(finding)))
            .collect()
    }

    /// One entry of what `found` gives.
    fn at(line: usize, code: &str) -> (usize, String) {
        (line, code.to_owned())
    }

    const ENGINE: &str = "crates/landline/src/engine.rs";
    const PROTO: &str = "crates/landline-proto/src/frame.rs";

    #[test]
    fn unfinished_work_is_found_outside_tests_and_strings() {
        let text = "fn a() { todo!(\"x\") }\n// FIXME: later\nlet s = \"FIXME todo!() dbg!()\";\nlet x = XXXX;";
        assert_eq!(found(ENGINE, text), [at(1, "todo!"), at(2, "FIXME")]);
        assert_eq!(
            found(
                ENGINE,
                "#[cfg(test)]\nmod tests {\n // XXX\n fn a() { dbg!(1); }\n}"
            ),
            []
        );
    }

    #[test]
    fn a_test_is_not_ignored_without_a_reason() {
        assert_eq!(
            found("a/tests/b.rs", "#[test]\n#[ignore]\nfn a() {}"),
            [at(2, "#[ignore]")]
        );
        assert_eq!(
            found("a/tests/b.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"),
            []
        );
        assert_eq!(
            found("a/tests/b.rs", "#[cfg_attr(windows, ignore)]\nfn a() {}"),
            [at(1, ", ignore)]")]
        );
    }

    #[test]
    fn files_are_opened_in_the_allowed_places_only() {
        assert_eq!(
            found(ENGINE, "use std::fs::File;\nstd::fs::read(x);"),
            [at(1, "std::fs"), at(2, "std::fs")]
        );
        assert_eq!(found(ENGINE, "use std::{io, fs};"), [at(1, "std::fs")]);
        assert_eq!(
            found(ENGINE, "use std::{\n io::{Read, Write},\n fs::File,\n};"),
            [at(3, "std::fs")]
        );
        assert_eq!(
            found(
                ENGINE,
                "use std::{os::{fs, unix}, io};\nuse cap_std::fs::Dir;\n// std::fs"
            ),
            []
        );
        assert_eq!(
            found("crates/landline-paths/src/open.rs", "use std::fs;"),
            []
        );
        assert_eq!(found("crates/landline/tests/copy.rs", "use std::fs;"), []);
    }

    #[test]
    fn printing_is_for_the_command_line() {
        assert_eq!(
            found(ENGINE, "println!();\neprint!(\"x\");"),
            [at(1, "println!"), at(2, "eprint!")]
        );
        assert_eq!(found("crates/landline-cli/src/main.rs", "println!();"), []);
        assert_eq!(found("crates/landline/examples/a.rs", "println!();"), []);
        assert_eq!(
            found(ENGINE, "#[test]\nfn a() { eprintln!(\"skipped\"); }"),
            []
        );
    }

    #[test]
    fn the_protocol_does_no_input_and_output() {
        let text = "use tokio::io;\nuse std::{net::IpAddr, time};\nInstant::now();\nstd::thread::spawn(f);\nmy_thread::x();";
        let expected = [
            at(1, "tokio::"),
            at(2, "std::net"),
            at(3, "Instant::now"),
            at(4, "thread::"),
        ];
        assert_eq!(found(PROTO, text), expected);
        let test = "#[cfg(test)]\nmod tests {\n fn start() -> Instant { Instant::now() }\n use std::net;\n}";
        assert_eq!(found(PROTO, test), [at(4, "std::net")]);
        assert_eq!(found(ENGINE, text), []);
    }
}
