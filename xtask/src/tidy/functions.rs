//! Finds the functions of a file and how long they are. Closures belong to the function around
//! them.

use super::{
    Finding,
    lexer::{Kind, Source, Token},
};

/// A function with a body.
#[derive(Debug, Eq, PartialEq)]
struct Function<'a> {
    /// Its name.
    name: &'a str,
    /// The line of its `fn`.
    first: usize,
    /// The line of its closing brace.
    last: usize,
}

/// Adds a finding for every function of more than `limit` lines.
pub(crate) fn check(path: &str, source: &Source, limit: usize, findings: &mut Vec<Finding>) {
    for function in functions(&source.tokens) {
        let lines = function.last - function.first + 1;
        if lines > limit {
            let text = format!(
                "fn {} has {lines} lines, the limit is {limit}: split it by step",
                function.name
            );
            findings.push(Finding::error(path, function.first, text));
        }
    }
}

/// Every function with a body, those inside others too.
fn functions(tokens: &[Token]) -> Vec<Function<'_>> {
    let starts = tokens
        .windows(2)
        .enumerate()
        .filter_map(|(at, pair)| match pair {
            [keyword, name] if keyword.word() == Some("fn") => {
                Some((at, keyword.line, name.word()?))
            }
            _ => None,
        });
    let whole = starts.filter_map(|(at, first, name)| {
        let end = tokens.get(at + item_length(tokens.get(at..)?)? - 1)?;
        // An item that ends otherwise is a declaration, in a trait or of a foreign function.
        end.is('}').then_some(Function {
            name,
            first,
            last: end.line,
        })
    });
    whole.collect()
}

/// How many tokens the item that `tokens` starts with has, up to its `;` or the end of its block.
/// Nothing when the text ends first, or when the block around it does.
pub(crate) fn item_length(tokens: &[Token]) -> Option<usize> {
    let mut open: Vec<char> = Vec::new();
    let mut arrow = false;
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Mark(mark) = token.kind else {
            arrow = false;
            continue;
        };
        match mark {
            ';' if open.iter().all(|opened| *opened == '<') => return Some(at + 1),
            '{' if open.is_empty() => return Some(at + block_length(tokens.get(at..)?)?),
            // A brace inside angle or square brackets is an argument such as `Id<{ N + 1 }>`.
            '(' | '[' | '{' | '<' => open.push(mark),
            ')' => close(&mut open, '(')?,
            ']' => close(&mut open, '[')?,
            '}' => close(&mut open, '{')?,
            '>' if !arrow && open.last() == Some(&'<') => {
                open.pop();
            }
            _ => {}
        }
        arrow = mark == '-';
    }
    None
}

/// Drops everything from `opened` on, the innermost one: what was opened inside it (a lone `<`) was
/// no bracket.
fn close(open: &mut Vec<char>, opened: char) -> Option<()> {
    let at = open.iter().rposition(|mark| *mark == opened)?;
    open.truncate(at);
    Some(())
}

/// How many tokens the block that `tokens` starts with has, up to its closing brace.
pub(crate) fn block_length(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is('{') {
            depth += 1;
        } else if token.is('}') {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of `text` as name, first and last line.
    fn scan(text: &str) -> Vec<(String, usize, usize)> {
        let source = Source::read(text);
        functions(&source.tokens)
            .iter()
            .map(|one| (one.name.to_owned(), one.first, one.last))
            .collect()
    }

    /// What `scan` gives for one function.
    fn one(name: &str, first: usize, last: usize) -> (String, usize, usize) {
        (name.to_owned(), first, last)
    }

    #[test]
    fn plain_functions_are_measured() {
        assert_eq!(
            scan("fn a() {}\n\npub async fn b(\n) {\n    if x { y }\n}\n"),
            [one("a", 1, 1), one("b", 3, 6)]
        );
    }

    #[test]
    fn functions_in_impls_traits_and_functions_are_found() {
        let text =
            "impl A {\n fn a() {\n  fn b() {\n  }\n }\n}\ntrait T {\n fn c();\n fn d() {\n }\n}";
        assert_eq!(
            scan(text),
            [one("a", 2, 5), one("b", 3, 4), one("d", 9, 10)]
        );
    }

    #[test]
    fn braces_in_strings_chars_and_comments_do_not_count() {
        let text = "fn a() {\n let x = \"}\"; // }\n /* } */ let y = '}';\n let z = r#\"}\"}\"#;\n}\nfn b() {}";
        assert_eq!(scan(text), [one("a", 1, 5), one("b", 6, 6)]);
    }

    #[test]
    fn closures_and_function_pointers_are_no_functions() {
        assert_eq!(
            scan("fn a() {\n let f = |x| {\n x\n };\n}\ntype F = fn(u8) -> u8;"),
            [one("a", 1, 5)]
        );
        assert_eq!(scan("struct S { f: fn(u8), g: Box<dyn Fn() -> u8> }"), []);
    }

    #[test]
    fn semicolons_and_braces_in_a_signature_do_not_end_it() {
        assert_eq!(scan("fn a(x: [u8; 4]) -> [u8; 2] {\n}"), [one("a", 1, 2)]);
        assert_eq!(scan("fn b() -> Id<{ N + 1 }> {\n}"), [one("b", 1, 2)]);
        assert_eq!(
            scan("fn c<F: Fn(u8) -> Vec<Vec<u8>>>(f: F)\nwhere\n F: A,\n{\n}"),
            [one("c", 1, 5)]
        );
        assert_eq!(
            scan("fn d() -> [u8; { A < B } as usize] {\n}\nfn e() {}"),
            [one("d", 1, 2), one("e", 3, 3)]
        );
        assert_eq!(
            scan("fn f(x: &'a [u8; N << 2]) {\n}\nfn g() {}"),
            [one("f", 1, 2), one("g", 3, 3)]
        );
    }

    #[test]
    fn a_foreign_declaration_has_no_length() {
        assert_eq!(
            scan("extern \"C\" { fn a(x: u8); }\nfn b() {\n}"),
            [one("b", 2, 3)]
        );
    }

    #[test]
    fn text_cut_short_gives_nothing() {
        assert_eq!(scan("fn a() {"), []);
        assert_eq!(scan("fn a("), []);
        assert_eq!(scan("fn"), []);
        assert_eq!(scan("} fn a }"), []);
    }

    #[test]
    fn only_functions_over_the_limit_are_found() {
        let text = format!(
            "fn a() {{{}}}\nfn b() {{{}}}",
            "\n".repeat(69),
            "\n".repeat(70)
        );
        let mut findings = Vec::new();
        check("x.rs", &Source::read(&text), 70, &mut findings);
        let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            shown,
            ["x.rs:71: fn b has 71 lines, the limit is 70: split it by step"]
        );
    }
}
