//! A dump brings a terminal to the same state.

use proptest::prelude::*;

use super::{difference, lines, restored, sequences::output, terminal};
use crate::{protocol::Size, terminal::Terminal};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a program has sent.
    #[test]
    fn dump_brings_back_any_state(rows in 1..8_u16, columns in 1..20_u16, output in output()) {
        let original = terminal(rows, columns, &output.0);
        prop_assert_eq!(difference(&restored(&original), &original), "");
    }

    /// A dump and the output after it show the same as all output.
    #[test]
    fn output_continues_after_dump(before in output(), after in output()) {
        let all = [before.0.as_slice(), &after.0].concat();
        let mut original = terminal(5, 12, &before.0);
        let mut restored = restored(&original);
        let unfinished = usize::try_from(original.dump(Some(9), usize::MAX).unfinished).unwrap();
        // A control within a sequence is done at once, and again with the sequence.
        let rest = &before.0[before.0.len() - unfinished..];
        prop_assume!(rest.iter().all(|byte| *byte >= 0x20 || *byte == 0x1b));
        // No sequence brings these back.
        restored.emulator.last_character = original.emulator.last_character;
        restored.emulator.single_charset = original.emulator.single_charset;
        restored.feed(&all[before.0.len() - unfinished..]);
        original.feed(&after.0);
        prop_assert_eq!(difference(&restored, &original), "");
    }

    /// It does not matter how the output is cut.
    #[test]
    fn pieces_show_the_same(output in output(), step in 1..5_usize) {
        let whole = terminal(5, 12, &output.0);
        let mut pieces = terminal(5, 12, "");
        output.0.chunks(step).for_each(|piece| pieces.feed(piece));
        prop_assert_eq!(difference(&pieces, &whole), "");
        prop_assert_eq!(pieces.take_answers(), { whole }.take_answers());
    }

    #[test]
    fn sizes_change_at_any_time(
        parts in prop::collection::vec((1..8_u16, 1..20_u16, output()), 1..5)
    ) {
        let mut original = terminal(5, 12, "");
        for (rows, columns, output) in parts {
            original.resize(Size { rows, columns });
            original.feed(&output.0);
        }
        prop_assert_eq!(difference(&restored(&original), &original), "");
    }

    /// A dump asks nothing, rings no bell and leaves the clipboard alone.
    #[test]
    fn dump_is_quiet(output in output()) {
        let original = terminal(5, 12, &output.0);
        for history in [None, Some(0), Some(usize::MAX)] {
            let bytes = original.dump(history, usize::MAX).bytes;
            prop_assert!(!bytes.contains(&0x07));
            prop_assert!(!bytes.windows(4).any(|four| four == b"\x1b]52"));
            let mut other = terminal(5, 12, &bytes);
            prop_assert_eq!(other.take_answers(), b"");
            prop_assert_eq!(other.parser.unfinished(), 0);
        }
    }
}

#[test]
fn full_screen_program_is_brought_back() {
    let output = "$ vim\r\n\x1b[22;0;0t\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\
        \x1b[?1004h\x1b[?12h\x1b[?12l\x1b[1;23r\x1b[?1000h\x1b[?1006h\x1b]2;file (~) - VIM\x07\
        \x1b[2J\x1b[H\x1b[38;5;130m  1 \x1b[mfn \x1b[38;2;10;20;30mmain\x1b[m()\x1b[24;1H\x1b[7m--\x1b[m\
        \x1b[?25l\x1b[3;5H\x1b[?25h\x1b[2 q";
    let original = terminal(24, 80, output);
    let restored = restored(&original);
    assert_eq!(difference(&restored, &original), "");
    for mode in [1, 66, 1000, 1004, 1006, 2004, 25] {
        assert!(restored.emulator.modes.is_set(mode), "{mode}");
    }
    let title = restored.emulator.names.titles.window.as_deref();
    assert_eq!(title, Some("file (~) - VIM"));
    // What is beneath comes back when the program ends.
    let mut ended = restored;
    ended.feed(b"\x1b[?1049l");
    assert_eq!(lines(&ended)[0], "$ vim");
    assert_eq!(ended.emulator.cursor.position.row, 1);
}

#[test]
fn history_comes_before_screen() {
    let mut output = String::new();
    for number in 0..30 {
        output += &format!("{number}\r\n");
    }
    let original = terminal(5, 12, output + &"x".repeat(30));
    let shown = |history| {
        let dump = original.dump(Some(history), usize::MAX);
        let mut large = Terminal::new(Size {
            rows: 60,
            columns: 12,
        });
        let text = String::from_utf8(dump.bytes).unwrap();
        // A terminal that is taller shows what would be history.
        let (_, text) = text.split_once("\x1b7").unwrap();
        large.feed(text.as_bytes());
        lines(&large).join(" ").trim_end().to_owned()
    };
    let screen = "28 29 xxxxxxxxxxxx xxxxxxxxxxxx xxxxxx";
    assert_eq!(shown(0), screen);
    assert_eq!(shown(2), format!("26 27 {screen}"));
    assert!(shown(usize::MAX).starts_with("0 1 2 3 "));
}

#[test]
fn history_is_cut_to_room() {
    let original = terminal(5, 12, "line\r\n".repeat(1000));
    let least = original.dump(Some(0), usize::MAX).bytes.len();
    let some = original.dump(Some(usize::MAX), least + 100);
    assert!(some.is_whole && some.bytes.len() <= least + 100 && some.bytes.len() > least + 80);
    let none = original.dump(Some(usize::MAX), least - 1);
    assert!(!none.is_whole && none.bytes.len() < least);
}

#[test]
fn terminal_of_another_size_shows_a_part() {
    let original = terminal(5, 12, "one\r\ntwo 世界世!\r\nthree\r\nfour\r\nfive");
    let dump = original.dump(None, usize::MAX).bytes;
    let small = terminal(3, 6, [OTHER, &dump].concat());
    assert_eq!(lines(&small), ["one", "two  !", "three"]);
    let large = terminal(7, 20, [OTHER, &dump].concat());
    assert_eq!(
        lines(&large)[..5],
        ["one", "two 世界世!", "three", "four", "five"]
    );
}

const OTHER: &[u8] = b"\x1b[31mother\r\n\nother\x1b[?7l\x1b[2;3r";

#[test]
fn screen_that_is_too_large_is_not_whole() {
    let huge = Terminal::new(Size {
        rows: 10_000,
        columns: 10_000,
    });
    assert!(!huge.dump(Some(0), usize::MAX).is_whole);
    let mut sane = terminal(24, 80, "");
    assert!(sane.dump(Some(0), usize::MAX).is_whole);
    sane.resize(Size {
        rows: 65535,
        columns: 65535,
    });
    assert!(!sane.dump(Some(0), usize::MAX).is_whole);
    sane.resize(Size {
        rows: 24,
        columns: 80,
    });
    assert!(sane.dump(Some(0), usize::MAX).is_whole);
}

#[test]
fn unfinished_string_continues() {
    let original = terminal(5, 20, "a\x1b]2;ti");
    let dump = original.dump(Some(0), usize::MAX);
    assert_eq!(dump.unfinished, 6);
    for cut in [
        "\x1b",
        "\x1b[",
        "\x1b[3",
        "\x1b(",
        "\x1bP1$",
        "\x1b_x",
        "\u{4e16}".get(0..0).unwrap(),
    ] {
        let dump = terminal(5, 20, cut).dump(Some(0), usize::MAX);
        assert_eq!(dump.unfinished, cut.len() as u64, "{cut:?}");
    }
    let partial = terminal(5, 20, &"世".as_bytes()[..2]).dump(Some(0), usize::MAX);
    assert_eq!(partial.unfinished, 2);
    // The rest of a very long one is not shown.
    for begin in ["\x1b]52;c;", "\x1bPq"] {
        let long = [begin.as_bytes(), &vec![b'A'; 2 << 20]].concat();
        let dump = terminal(5, 20, long).dump(Some(0), usize::MAX);
        assert_eq!(dump.unfinished, 0);
        let mut other = terminal(5, 20, dump.bytes);
        other.feed(b"AAAA\x1b\\text");
        assert_eq!(lines(&other)[0], "text", "{begin:?}");
    }
}

#[test]
fn memory_of_an_unfinished_command_is_bounded() {
    let mut original = terminal(5, 20, "\x1b]2;");
    for _ in 0..100 {
        original.feed(&[b'A'; 65536]);
    }
    assert!(original.parser.memory() < 64 * 1024);
    original.feed(b"\x07");
    assert_eq!(original.emulator.names.titles.window, None);
}
