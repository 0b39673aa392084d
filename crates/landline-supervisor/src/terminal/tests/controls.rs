//! What controls do to the screen.

use super::{lines, state, terminal};
use crate::{protocol::Size, terminal::Terminal};

fn shown(rows: u16, columns: u16, output: &str) -> Vec<String> {
    lines(&terminal(rows, columns, output))
}

fn cursor(terminal: &Terminal) -> (usize, usize) {
    let position = terminal.emulator.cursor.position;
    (position.row + 1, position.column + 1)
}

#[test]
fn text_wraps_only_when_more_follows() {
    let full = terminal(3, 5, "abcde");
    assert_eq!(cursor(&full), (1, 5));
    assert_eq!(shown(3, 5, "abcdef"), ["abcde", "f", ""]);
    assert_eq!(shown(3, 5, "abcde\r\nf"), ["abcde", "f", ""]);
    assert_eq!(shown(3, 5, "abcde\rX"), ["Xbcde", "", ""]);
    assert_eq!(shown(3, 5, "abcde\x1b[KX"), ["abcdX", "", ""]);
    assert_eq!(shown(3, 5, "\x1b[?7labcdefg"), ["abcdg", "", ""]);
    assert_eq!(shown(3, 5, "abcd世"), ["abcd", "世", ""]);
    assert_eq!(shown(3, 5, "\x1b[?7labcd世"), ["abc世", "", ""]);
    assert_eq!(shown(2, 1, "世a"), ["a", ""]);
}

#[test]
fn combining_characters_join() {
    assert_eq!(shown(2, 5, "e\u{301}x"), ["e\u{301}x", ""]);
    assert_eq!(shown(2, 5, "世\u{301}x"), ["世\u{301}x", ""]);
    assert_eq!(shown(2, 5, "abcde\u{301}"), ["abcde\u{301}", ""]);
    assert_eq!(shown(2, 5, "\u{301}x"), ["x", ""]);
    let many = shown(2, 5, &format!("e{}", "\u{301}".repeat(1000)));
    assert_eq!(many[0].chars().count(), 9);
}

#[test]
fn invalid_utf_8_is_replaced() {
    let output = b"a\xffb\xe4\xb8c\xc3\xa9\xf0\x9f\x1b[1md\xed\xa0\x80";
    assert_eq!(
        lines(&terminal(2, 20, output))[0],
        "a\u{fffd}b\u{fffd}cé\u{fffd}d\u{fffd}\u{fffd}\u{fffd}"
    );
}

#[test]
fn margins_scroll_a_part() {
    let text = "1\r\n2\r\n3\r\n4\r\n5";
    let after = |sequence: &str| shown(5, 4, &format!("{text}{sequence}"));
    assert_eq!(after("\x1b[2;4r\x1b[4;1H\n"), ["1", "3", "4", "", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[2;1H\x1bM"), ["1", "", "2", "3", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[3;1H\x1b[L"), ["1", "2", "", "3", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[3;1H\x1b[M"), ["1", "2", "4", "", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[5;1H\x1b[M"), ["1", "2", "3", "4", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[S"), ["1", "3", "4", "", "5"]);
    assert_eq!(after("\x1b[2;4r\x1b[2T"), ["1", "", "", "2", "5"]);
    assert_eq!(after("\x1b[4;2r\x1b[1;1H\x1b[M"), ["2", "3", "4", "5", ""]);
    let wide = "abcd\r\nefgh\r\nijkl\x1b[?69h\x1b[2;3s";
    let after = |sequence: &str| shown(3, 4, &format!("{wide}{sequence}"));
    assert_eq!(after("\x1b[S"), ["afgd", "ejkh", "i  l"]);
    assert_eq!(after("\x1b[1;2H\x1b[P"), ["ac d", "efgh", "ijkl"]);
    assert_eq!(after("\x1b[1;2H\x1b[@"), ["a bd", "efgh", "ijkl"]);
    assert_eq!(after("\x1b[2;2Hxyz"), ["abcd", "exyh", "izkl"]);
}

#[test]
fn lines_that_scroll_away_are_history() {
    let history = |output: &str| {
        let mut out = Vec::new();
        let emulator = terminal(2, 5, output).emulator;
        emulator.history.write(usize::MAX, 5, usize::MAX, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(history("a\r\nb\r\nc"), "a\r\n");
    assert_eq!(history("abcdefghijk"), "abcde \r");
    assert_eq!(history("\x1b[31ma\r\nb\r\nc"), "\x1b[0;31ma\x1b[0m\r\n");
    assert_eq!(history("a\r\nb\x1b[S"), "a\r\n");
    assert_eq!(history("a\r\nb\x1b[H\x1b[M"), "");
    assert_eq!(history("\x1b[?1049ha\r\nb\r\nc"), "");
    assert_eq!(history("a\r\nb\r\nc\x1b[3J"), "");
}

#[test]
fn alternate_screen_keeps_the_main_one() {
    let output = "main\x1b[31m\x1b[?1049h\x1b[H\x1b[mother";
    assert_eq!(shown(2, 9, output)[0], "other");
    let mut back = terminal(2, 9, output);
    back.feed(b"\x1b[?1049lX");
    assert_eq!(lines(&back)[0], "mainX");
    let again = shown(2, 9, &format!("{output}\x1b[?1049h"));
    assert_eq!(again[0], "other", "it is not emptied again");
    let main = terminal(2, 9, "main\x1b[?1049l");
    assert_eq!(cursor(&main), (1, 5), "the cursor stays where it is");
    let mut style = Vec::new();
    back.emulator.cursor.style.write(&mut style);
    assert_eq!(style, b"\x1b[0;31m");
}

#[test]
fn erased_cells_have_the_background() {
    let painted = state(&terminal(2, 5, "\x1b[44m\x1b[2J"));
    assert_eq!(painted.matches("[0;44m     ").count(), 4, "{painted}");
}

#[test]
fn tabs_are_set_and_cleared() {
    let line = shown(1, 30, "\tx\x1b[2Iy\x1b[Zz");
    assert_eq!(line, [format!("{}x{}z", " ".repeat(8), " ".repeat(15))]);
    assert_eq!(
        shown(1, 30, "abc\x1bH\r\t|\x1b[3g\r\t|"),
        ["abc|".to_owned() + &" ".repeat(25) + "|"]
    );
    assert_eq!(shown(1, 30, "\x1b[3g\x1b[?5W\r\t|"), ["        |"]);
}

#[test]
fn repeated_character_is_bounded() {
    assert_eq!(shown(2, 10, "ab\x1b[3b"), ["abbbb", ""]);
    assert_eq!(shown(2, 10, "\x1b(0q\x1b[2b\x1b(B"), ["───", ""]);
    let flood = "x\x1b[65535b".repeat(1000);
    assert_eq!(shown(2, 10, &flood), ["xxxxxxxxxx"; 2].map(str::to_owned));
}

#[test]
fn cursor_stays_on_screen() {
    let place = |output: &str| cursor(&terminal(4, 9, output));
    assert_eq!(place("\x1b[99;99H"), (4, 9));
    assert_eq!(place("\x1b[65535B\x1b[65535C"), (4, 9));
    assert_eq!(place("\x1b[3;3H\x1b[A\x1b[D"), (2, 2));
    assert_eq!(place("\x1b[3;3H\x1b[E"), (4, 1));
    assert_eq!(place("\x1b[3;3H\x1b[F"), (2, 1));
    assert_eq!(place("\x1b[3d\x1b[5G"), (3, 5));
    assert_eq!(place("\x1b[2;3r\x1b[?6h\x1b[9;9H"), (3, 9));
    assert_eq!(place("\x1b[2;3r\x1b[3;1H\x1b[9A"), (2, 1));
    assert_eq!(place("\x1b[3;4H\x1b7\x1b[H\x1b8"), (3, 4));
    assert_eq!(place("\x1b[3;4H\x1b[s\x1b[H\x1b[u"), (3, 4));
}

#[test]
fn resize_keeps_the_prompt_on_screen() {
    let mut shell = terminal(4, 10, "one\r\ntwo\r\nlong line of text\r\n$ ");
    shell.resize(Size {
        rows: 3,
        columns: 20,
    });
    assert_eq!(lines(&shell), ["two", "long line of text", "$"]);
    assert_eq!(cursor(&shell), (3, 3));
    shell.resize(Size {
        rows: 3,
        columns: 9,
    });
    assert_eq!(lines(&shell), ["long line", " of text", "$"]);
    assert_eq!(cursor(&shell), (3, 3));
    shell.resize(Size {
        rows: 0,
        columns: 0,
    });
    assert_eq!(lines(&shell).len(), 3);
}

#[test]
fn names_have_no_controls_and_are_bounded() {
    let named = |output: String| terminal(2, 9, output).emulator.names;
    assert_eq!(
        named("\x1b]2;a\u{9b}b\u{85}\x07".into())
            .titles
            .window
            .unwrap(),
        "ab"
    );
    assert_eq!(
        named(format!("\x1b]2;{}\x07", "x".repeat(4096)))
            .titles
            .window
            .unwrap()
            .len(),
        4096
    );
    assert_eq!(
        named(format!("\x1b]2;{}\x07", "x".repeat(4097)))
            .titles
            .window,
        None
    );
    assert_eq!(
        named(format!("\x1b]7;{}\x07", "x".repeat(4097))).folder,
        None
    );
    assert_eq!(named("\x1b[22t".repeat(1000)).pushed.len(), 10);
    let links = terminal(2, 9, format!("\x1b]8;;{}\x07x", "y".repeat(9000)));
    assert_eq!(links.emulator.link, None);
    let keyboard = terminal(2, 9, "\x1b[>1u".repeat(1000));
    assert_eq!(keyboard.emulator.main.keyboard.pushed.len(), 32);
}
