//! Text for people, without anything that a terminal would obey.

/// Escapes what could move the cursor, or hide or reorder text.
///
/// Newlines and tabs stay.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            _ if is_dangerous(character) => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

/// As [`shown`], and escapes newlines and tabs: text of a peer must not pass for lines of ours.
pub(crate) fn shown_line(text: &str) -> String {
    shown(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Whether a terminal would obey a character, or show nothing or something unknown in its place.
///
/// Those are Unicode's categories Cc, Cf, Cn, Co, Zl and Zp, and what has the property
/// Default_Ignorable_Code_Point.
fn is_dangerous(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    let is_ignorable = matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    let is_space = character.is_whitespace() && !matches!(character, '\u{2028}' | '\u{2029}');
    is_ignorable || character.is_control() || !(is_space || is_printable(character))
}

/// Whether the standard library shows a character as it is, which depends on its category.
fn is_printable(character: char) -> bool {
    // The first character of a text is treated differently: it has nothing to combine with.
    let mut text = [b'x'; 5];
    let length = text
        .get_mut(1..)
        .map_or(0, |rest| character.encode_utf8(rest).len());
    let text = text
        .get(..=length)
        .and_then(|text| str::from_utf8(text).ok());
    text.is_some_and(|text| text.escape_debug().nth(1) == Some(character))
}

/// Escapes in `json` what a terminal would obey, as JSON does it.
pub(crate) fn escape_json(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        if is_dangerous(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(character);
        }
    }
    line
}

/// Formats seconds since 1970: `2026-11-21 02:18:44Z`.
pub(crate) fn moment(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days: eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Aligns rows in columns, and escapes every cell.
pub(crate) fn table<const N: usize>(
    head: [String; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows)
        .map(|row| row.iter().map(|cell| shown_line(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A word as a POSIX shell takes it, in quotes if it needs them.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |character: char| {
        character.is_ascii_alphanumeric()
            || "_@%+=:,./-".contains(character)
            || !character.is_ascii()
    };
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Formats a number of bytes: `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_columns_are_formatted() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_795_227_524), "2026-11-21 02:18:44Z");
        let rows = [["alice", "1"], ["b\n", "22"]].map(|row| row.map(str::to_owned));
        let shown = table(["USER", "N"].map(str::to_owned), rows.into_iter());
        assert_eq!(shown, "USER   N\nalice  1\nb\\n    22");
    }

    #[test]
    fn shell_word_is_quoted_where_needed() {
        assert_eq!(shell_word("nas:a/b-1.tar"), "nas:a/b-1.tar");
        assert_eq!(shell_word("näme"), "näme");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word("~"), "'~'");
        assert_eq!(shell_word(""), "''");
    }

    /// Proves `terminal-escape` in docs/faults.md.
    #[test]
    fn invisible_unassigned_and_private_characters_are_escaped() {
        for code in [
            0x80, 0x85, 0x9f, 0xad, 0x34f, 0x378, 0x61c, 0x115f, 0x1160, 0x17b4, 0x180b, 0x180e,
            0x180f, 0x200b, 0x200f, 0x2028, 0x2029, 0x202e, 0x2060, 0x2065, 0x206a, 0x206f, 0x3164,
            0xe000, 0xfe00, 0xfe0f, 0xfeff, 0xffa0, 0xfff0, 0xfff9, 0xfffb, 0xffff, 0x110bd,
            0x13430, 0x1bca0, 0x1d173, 0x1ffff, 0xe0001, 0xe0041, 0xe0100, 0xe01ef, 0xe1000,
            0xf0000, 0x10fffd,
        ] {
            let character = char::from_u32(code).unwrap();
            assert_eq!(
                shown(&character.to_string()),
                format!("\\u{{{code:x}}}"),
                "U+{code:04X}"
            );
        }
        let text = "naïve e\u{301} 文件\u{3000}名 שלום 日本語 \u{a0}🦀 \"quoted\" \\ '";
        assert_eq!(shown(text), text);
    }

    /// Proves `terminal-escape` in docs/faults.md.
    #[test]
    fn terminal_controls_are_escaped() {
        let text: String = (0..=0x2fffu32)
            .chain([0xfeff, 0xe0041])
            .filter_map(char::from_u32)
            .collect();
        for character in shown(&text).chars() {
            let plain = !character.is_control() || "\n\t".contains(character);
            assert!(
                plain && !is_dangerous(character) || "\n\t".contains(character),
                "{character:?}"
            );
        }
        assert_eq!(
            shown("a\u{1b}[2Jb\u{9b}c\u{202e}d\r"),
            "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\u{d}"
        );
        assert_eq!(shown_line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(shown("naïve 文件\tx\ny"), "naïve 文件\tx\ny");
        assert_eq!(
            escape_json("\"\u{9b}\u{e0041}é\""),
            "\"\\u009b\\udb40\\udc41é\""
        );
    }
}
