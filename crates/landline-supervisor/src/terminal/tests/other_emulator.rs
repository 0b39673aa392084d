//! Another emulator shows the same after a dump as after the output itself.

use proptest::prelude::*;

use super::{emulator::emulate, terminal};

const ROWS: u16 = 8;
const COLUMNS: u16 = 24;

/// Output that both understand in the same way.
fn output() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        4 => "[ -~]{1,30}",
        1 => "[a世界é한]{1,8}",
        1 => "(e\u{301}|世\u{300}){1,4}",
    ];
    // The other one brings in lines without color.
    let place = (1..=ROWS, 1..=COLUMNS).prop_map(|(row, column)| format!("\x1b[{row};{column}H"));
    // Only one of them leaves the last column at once.
    let moved = (
        1..4_u16,
        prop::sample::select(vec!['A', 'B', 'C', 'D', 'G', 'd']),
    )
        .prop_map(|(count, last)| format!("\x1b[5;9H\x1b[{count}{last}"));
    let edit = (
        0..4_u16,
        prop::sample::select(vec!['J', 'K', 'L', 'M', 'P', '@', 'X', 'S', 'T']),
    )
        .prop_map(|(count, last)| match last {
            'J' | 'K' => format!("\x1b[4;7H\x1b[m\x1b[{}{last}", count.min(2)),
            // Only one of them goes to the first column itself, and they cut wide characters
            // in different ways.
            'L' | 'M' | '@' | 'P' | 'X' => format!("\r\x1b[m\x1b[{count}{last}"),
            _ => format!("\x1b[4;7H\x1b[m\x1b[{count}{last}"),
        });
    let style = prop_oneof![
        Just("\x1b[m".to_owned()),
        prop::sample::select(vec![
            "\x1b[22;1m",
            "\x1b[22;2m",
            "\x1b[3m",
            "\x1b[4m",
            "\x1b[7m",
            "\x1b[22;24m"
        ])
        .prop_map(str::to_owned),
        (30..38_u16).prop_map(|color| format!("\x1b[{color}m")),
        any::<u8>().prop_map(|color| format!("\x1b[38;5;{color}m")),
        any::<[u8; 3]>().prop_map(|[r, g, b]| format!("\x1b[38;2;{r};{g};{b}m")),
    ];
    let mode = prop::sample::select(vec![
        "\x1b[?1h",
        "\x1b[?1l",
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[?2004h",
        "\x1b[?1000h\x1b[?1006h",
        "\x1b[?1002h",
        "\x1b=",
        "\x1b>",
        "\x1b[r\x1b[?1049l\x1b[?1049h\x1b[m\x1b[H",
        "\x1b[r\x1b[?1049l\x1b[m\x1b[9;9H",
        "\x1b[2;6r\x1b[H",
        "\x1b[r\x1b[H",
    ])
    .prop_map(str::to_owned);
    let line = prop::sample::select(vec!["\r\n", "\x1b[m\r\n\n", "\r", "\x1b[3;3H\x1b[m\x1bM"]);
    let piece = prop_oneof![
        5 => text,
        3 => place,
        2 => moved,
        2 => edit,
        3 => style,
        1 => mode,
        3 => line.prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn dump_shows_the_same(output in output()) {
        let dump = terminal(ROWS, COLUMNS, &output).dump(Some(100), usize::MAX).bytes;
        let is_exact = !output.contains(['世', '界', '한']);
        let directly = emulate(ROWS, COLUMNS, output.as_bytes(), is_exact);
        prop_assert_eq!(emulate(ROWS, COLUMNS, &dump, is_exact), directly);
    }
}
