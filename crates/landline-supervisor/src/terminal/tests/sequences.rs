//! Output of any kind, for property tests.

use std::fmt;

use proptest::prelude::*;

/// Output that is shown as Rust writes it.
#[derive(Clone)]
pub(super) struct Output(pub(super) Vec<u8>);

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Text, controls and sequences.
pub(super) fn output() -> impl Strategy<Value = Output> {
    let piece = prop_oneof![
        8 => text(),
        4 => control(),
        4 => movement(),
        3 => editing(),
        3 => style(),
        3 => mode(),
        2 => escape(),
        2 => command(),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| Output(pieces.concat()))
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let character = prop_oneof![
        10 => prop::char::range(' ', '~'),
        2 => prop::sample::select(vec!['世', '界', '😀', '한', 'é', '│', '\u{301}', '\u{fe0f}', '\u{200d}']),
        1 => any::<char>(),
    ];
    prop::collection::vec(character, 1..15).prop_map(|text| String::from_iter(text).into_bytes())
}

fn select(sequences: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(sequences).prop_map(|sequence| sequence.as_bytes().to_vec())
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    select(&[
        "\r\n", "\n", "\r", "\t", "\x08", "\x0e", "\x0f", "\x07", "\n\n\n\n",
    ])
}

/// A control sequence with up to two small parameters, and a last byte that is one of these.
fn sequence(lasts: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let parameter = prop_oneof![
        Just(String::new()),
        (0..12_u16).prop_map(|it| it.to_string())
    ];
    let parameters = prop::collection::vec(parameter, 0..3);
    (
        parameters,
        prop::sample::select(lasts.chars().collect::<Vec<_>>()),
    )
        .prop_map(|(parameters, last)| format!("\x1b[{}{last}", parameters.join(";")).into_bytes())
}

fn movement() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![sequence("ABCDEFGHIZad`ef"), sequence("Hr"), sequence("us")]
}

fn editing() -> impl Strategy<Value = Vec<u8>> {
    sequence("JKLMPSTX@bg")
}

fn style() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        select(&[
            "\x1b[m",
            "\x1b[1m",
            "\x1b[2;3m",
            "\x1b[4:3;58:2::1:2:3m",
            "\x1b[7;9;53m",
            "\x1b[21;5m"
        ]),
        (0..110_u16).prop_map(|number| format!("\x1b[{number}m").into_bytes()),
        any::<u8>().prop_map(|index| format!("\x1b[38;5;{index}m").into_bytes()),
        any::<[u8; 3]>().prop_map(|[r, g, b]| format!("\x1b[48;2;{r};{g};{b}m").into_bytes()),
    ]
}

fn mode() -> impl Strategy<Value = Vec<u8>> {
    let numbers = vec![
        1, 5, 6, 7, 9, 12, 25, 45, 47, 66, 69, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015,
        1016, 1036, 1047, 1048, 1049, 2004, 2026, 2027, 2031, 2048,
    ];
    let private = (prop::sample::select(numbers), any::<bool>()).prop_map(|(number, is_set)| {
        let last = if is_set { 'h' } else { 'l' };
        format!("\x1b[?{number}{last}").into_bytes()
    });
    prop_oneof![
        4 => private,
        1 => select(&["\x1b[4h", "\x1b[4l", "\x1b[20h", "\x1b[20l", "\x1b[!p", "\x1b=", "\x1b>"]),
        1 => select(&["\x1b[>1u", "\x1b[>7u", "\x1b[<u", "\x1b[=5;1u", "\x1b[=2;2u", "\x1b[>4;2m", "\x1b[>4m"]),
        1 => select(&["\x1b[3 q", "\x1b[0 q", "\x1b[3;8s", "\x1b[?69h\x1b[2;5s"]),
    ]
}

fn escape() -> impl Strategy<Value = Vec<u8>> {
    select(&[
        "\x1b7", "\x1b8", "\x1bD", "\x1bE", "\x1bH", "\x1bM", "\x1b(0", "\x1b(B", "\x1b)0",
        "\x1b*A", "\x1b+0", "\x1bn", "\x1bo", "\x1bN", "\x1b#8", "\x1bc",
    ])
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    select(&[
        "\x1b]2;title\x07",
        "\x1b]0;both\x1b\\",
        "\x1b]1;icon\x07",
        "\x1b[22;0t",
        "\x1b[23;2t",
        "\x1b]7;file:///srv\x07",
        "\x1b]8;;http://a\x07",
        "\x1b]8;id=1;http://b\x1b\\",
        "\x1b]8;;\x07",
        "\x1b]4;1;rgb:1/2/3;300;red\x07",
        "\x1b]104;1\x07",
        "\x1b]10;white;black\x07",
        "\x1b]111\x07",
        "\x1b]52;c;aGk=\x07",
        "\x1b]10;?\x07",
        "\x1bPq#0\x1b\\",
        "\x1b_Ga=d\x1b\\",
    ])
}
