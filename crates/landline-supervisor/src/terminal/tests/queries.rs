//! Queries, and their answers.

use super::terminal;

fn answers(output: &str) -> String {
    String::from_utf8(terminal(24, 80, output).take_answers()).unwrap()
}

#[test]
fn queries_have_one_answer_each() {
    let version = format!("\x1bP>|landline {}\x1b\\", env!("CARGO_PKG_VERSION"));
    for (query, answer) in [
        ("\x1b[c", "\x1b[?62;22c"),
        ("\x1b[0c", "\x1b[?62;22c"),
        ("\x1bZ", "\x1b[?62;22c"),
        ("\x1b[>c", "\x1b[>1;10;0c"),
        ("\x1b[5n", "\x1b[0n"),
        ("ab\r\nc\x1b[6n", "\x1b[2;2R"),
        ("\x1b[?6n", "\x1b[?1;1R"),
        ("\x1b[5;9r\x1b[?6h\x1b[2;3H\x1b[6n", "\x1b[2;3R"),
        ("\x1b[?7$p", "\x1b[?7;1$y"),
        ("\x1b[?1000$p", "\x1b[?1000;2$y"),
        ("\x1b[?1000h\x1b[?1000$p", "\x1b[?1000;1$y"),
        ("\x1b[?1049h\x1b[?1049$p", "\x1b[?1049;1$y"),
        ("\x1b[?2026$p", "\x1b[?2026;2$y"),
        ("\x1b[?2027$p", "\x1b[?2027;0$y"),
        ("\x1b[?12345$p", "\x1b[?12345;0$y"),
        ("\x1b[4$p", "\x1b[4;2$y"),
        ("\x1b[3$p", "\x1b[3;0$y"),
        ("\x1b[>q", &version),
        ("\x1b[>0q", &version),
        ("\x1b[5n\x1b[6n", "\x1b[0n\x1b[1;1R"),
    ] {
        assert_eq!(answers(query), answer, "{query:?}");
    }
}

#[test]
fn other_queries_have_no_answer() {
    for query in [
        "\x1b]10;?\x07",
        "\x1b]11;?\x1b\\",
        "\x1b]4;1;?\x07",
        "\x1b]52;c;?\x07",
        "\x1b[?u",
        "\x1bP+q544e\x1b\\",
        "\x1bP$qm\x1b\\",
        "\x1b[=c",
        "\x1b[1c",
        "\x1b[18t",
        "\x1b[?996n",
        // An answer is no query.
        "\x1b[?62;22c",
        "\x1b[>1;10;0c",
        "\x1b[0n",
        "\x1b[1;1R",
        "\x1b[?7;1$y",
    ] {
        assert_eq!(answers(query), "", "{query:?}");
    }
}

#[test]
fn answers_are_taken_once_and_bounded() {
    let mut flooded = terminal(24, 80, "\x1b[5n".repeat(100_000));
    let taken = flooded.take_answers();
    assert!(taken.len() <= 4096 && taken.len() > 4000, "{}", taken.len());
    assert_eq!(flooded.take_answers(), b"");
    flooded.feed(b"\x1b[5n");
    assert_eq!(flooded.take_answers(), b"\x1b[0n");
}
