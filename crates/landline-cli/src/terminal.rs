//! Words to people, free of what a terminal could take for a command.

use std::io::{self, Write};

use landline::Error;
use zeroize::Zeroizing;

/// `text` with everything made visible that could move a cursor, hide, or reorder: control characters other than newline and
/// tab, and the invisible and bidirectional characters of Unicode.
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

/// As [`shown`], on one line: for what others have said or named, so that it cannot pass for lines of ours.
pub(crate) fn shown_line(text: &str) -> String {
    shown(text).replace('\n', "\\n").replace('\t', "\\t")
}

fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Says something on standard error. Nobody listening is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", shown(text));
}

/// Writes a result to standard output. Nobody listening is no reason to fail.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", shown(text)).and_then(|()| out.flush());
}

/// Asks a person to type, on the line that the cursor is on.
pub(crate) fn prompt(text: &str) {
    let mut out = io::stderr().lock();
    let _ = write!(out, "{}", shown(text)).and_then(|()| out.flush());
}

/// Writes a line of JSON to standard output, with what a terminal could obey escaped as JSON does it.
pub(crate) fn print_json(value: &serde_json::Value) {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if is_dangerous(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(character);
        }
    }
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Asks for a key's passphrase on the terminal, wherever the standard streams lead.
pub(crate) fn passphrase(path: &std::path::Path) -> Result<Zeroizing<String>, Error> {
    rpassword::prompt_password(format!("Passphrase of {}: ", shown(&path.display().to_string())))
        .map(Zeroizing::new)
        .map_err(|_| Error::Key {
            path: path.display().to_string(),
            problem: "is encrypted, and there is no terminal to ask for its passphrase".into(),
        })
}

/// Bytes for people: 1.5 MiB.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let text: String = (0..=0x2fffu32).chain([0xfeff, 0xe0041]).filter_map(char::from_u32).collect();
        for character in shown(&text).chars() {
            let plain = !character.is_control() || "\n\t".contains(character);
            assert!(plain && !is_dangerous(character) || "\n\t".contains(character), "{character:?}");
        }
        assert_eq!(shown("a\u{1b}[2Jb\u{9b}c\u{202e}d\r"), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\u{d}");
        assert_eq!(shown_line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(shown("naïve 文件\tx\ny"), "naïve 文件\tx\ny");
    }
}
