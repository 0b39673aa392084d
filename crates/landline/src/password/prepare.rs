//! One password, however a keyboard or a file spells it: the profile `OpaqueString` (RFC 8265
//! section 4.2).

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// By how much NFC can lengthen UTF-8 at most (Unicode Standard Annex #15, section 12).
const NFC_GROWTH_MAX: usize = 3;

/// The same password as anybody else would spell it: every space is U+0020, the rest is in NFC;
/// neither case nor width is touched. `None` where there is a control character in it, which the
/// profile forbids. Code points that are not assigned yet are let through.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what was typed is wiped here"
)]
pub(crate) fn prepare(typed: Zeroizing<String>) -> Option<Zeroizing<String>> {
    if typed.chars().any(char::is_control) {
        return None;
    }
    // Room for all of it, so that no half of a password is left behind where it grew out of its
    // memory.
    let mut prepared = Zeroizing::new(String::with_capacity(typed.len() * NFC_GROWTH_MAX));
    prepared.extend(
        typed
            .chars()
            .map(|char| if is_space(char) { ' ' } else { char })
            .nfc(),
    );
    Some(prepared)
}

/// The general category Zs, but for U+0020.
fn is_space(char: char) -> bool {
    matches!(
        char,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prepared(typed: &str) -> Option<String> {
        prepare(Zeroizing::new(typed.to_owned())).map(|prepared| prepared.to_string())
    }

    /// The examples of RFC 8265 section 4.3, and spellings that differ by keyboard or system.
    #[test]
    fn spellings_of_one_password_are_one() {
        for (typed, expected) in [
            (
                "correct horse battery staple",
                "correct horse battery staple",
            ),
            (
                "Correct Horse Battery Staple",
                "Correct Horse Battery Staple",
            ),
            ("\u{3c0}\u{df}\u{e5}", "\u{3c0}\u{df}\u{e5}"),
            ("Jack of \u{2666}s", "Jack of \u{2666}s"),
            ("foo\u{1680}bar", "foo bar"),
            ("Zu\u{308}rich\u{3000}e\u{301}", "Z\u{fc}rich \u{e9}"),
            ("\u{1100}\u{1161}\u{11a8}", "\u{ac01}"),
            ("\u{212b}", "\u{c5}"),
            ("\u{ff41}\u{fb01}", "\u{ff41}\u{fb01}"),
        ] {
            assert_eq!(prepared(typed).as_deref(), Some(expected), "{typed:?}");
        }
    }

    #[test]
    fn control_characters_are_refused() {
        for typed in [
            "my cat is a \u{9}by",
            "\u{1b}[A",
            "a\u{7f}",
            "a\u{85}b",
            "\u{0}",
        ] {
            assert_eq!(prepared(typed), None, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn preparing_twice_is_preparing_once_and_never_needs_more_room(typed in "\\PC{0,40}") {
            let once = prepared(&typed).unwrap();
            prop_assert!(once.len() <= typed.len() * NFC_GROWTH_MAX);
            prop_assert_eq!(prepared(&once), Some(once.clone()));
            prop_assert_eq!(prepared(&typed.nfd().collect::<String>()), Some(once));
        }
    }
}
