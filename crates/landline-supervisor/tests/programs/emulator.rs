//! An emulator that shares no code with the model of a terminal.

use std::num::NonZero;

/// What an emulator that got these bytes shows, and its modes.
///
/// An empty cell looks like a space. Without `are_spaces_exact`, only the background of spaces
/// counts: where a part of a wide character was covered, emulators differ.
pub(crate) fn emulate(
    rows: u16,
    columns: u16,
    bytes: &[u8],
    are_spaces_exact: bool,
) -> Vec<String> {
    let size = |number| NonZero::new(number).unwrap();
    let mut parser = vt100::Parser::new(size(rows), size(columns), 0);
    parser.process(bytes);
    let screen = parser.screen();
    let cell = |row, column| describe_cell(screen.cell(row, column).unwrap(), are_spaces_exact);
    let line = |row| {
        (0..columns)
            .map(|column| cell(row, column))
            .collect::<String>()
    };
    let mut lines: Vec<String> = (0..rows)
        .map(|row| line(row).trim_end().to_owned())
        .collect();
    lines.push(format!(
        "cursor {:?} {:?} {:?} {:?}",
        screen.cursor_position(),
        screen.fgcolor(),
        screen.bgcolor(),
        [
            screen.bold(),
            screen.dim(),
            screen.italic(),
            screen.underline(),
            screen.inverse(),
        ]
    ));
    lines.push(format!(
        "modes {:?} {:?} {:?}",
        [
            screen.alternate_screen(),
            screen.application_keypad(),
            screen.application_cursor(),
            screen.hide_cursor(),
            screen.bracketed_paste(),
        ],
        screen.mouse_protocol_mode(),
        screen.mouse_protocol_encoding(),
    ));
    lines
}

fn describe_cell(cell: &vt100::Cell, are_spaces_exact: bool) -> String {
    if cell.is_wide_continuation() {
        return String::new();
    }
    let text = match cell.contents() {
        "" => " ",
        text => text,
    };
    let is_space = text == " ";
    let default = vt100::Color::Default;
    let style = [
        (cell.bgcolor() != default).then(|| format!("on {:?}", cell.bgcolor())),
        (cell.fgcolor() != default && !is_space).then(|| format!("{:?}", cell.fgcolor())),
        (cell.bold() && !is_space).then(|| "bold".to_owned()),
        (cell.dim() && !is_space).then(|| "dim".to_owned()),
        (cell.italic() && !is_space).then(|| "italic".to_owned()),
        (cell.underline() && (!is_space || are_spaces_exact)).then(|| "underlined".to_owned()),
        (cell.inverse() && (!is_space || are_spaces_exact)).then(|| "inverse".to_owned()),
    ];
    let style: Vec<String> = style.into_iter().flatten().collect();
    if style.is_empty() {
        text.to_owned()
    } else {
        format!("<{text} {}>", style.join(" "))
    }
}
