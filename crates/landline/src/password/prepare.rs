//! The profile `OpaqueString` (RFC 8265 section 4.2): one spelling per password.
//! section 4.2).

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The most that NFC lengthens UTF-8 (Unicode Standard Annex #15, section 12).
const NFC_GROWTH_MAX: usize = 3;

/// The canonical spelling: every space is U+0020, and the rest is in NFC.
///
/// Case and width do not change. `None` for a control character, which the profile forbids.
/// Unassigned code points are allowed.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what was typed is wiped here"
)]
pub(crate) fn prepare(typed: Zeroizing<String>) -> Option<Zeroizing<String>> {
    if typed.chars().any(char::is_control) {
        return None;
    }
    // Room for the longest result: a reallocation would leave a copy of the password behind.
    let mut prepared = Zeroizing::new(String::with_capacity(typed.len() * NFC_GROWTH_MAX));
    prepared.extend(
        typed
            .chars()
            .map(|char| if is_space(char) { ' ' } else { char })
            .nfc(),
    );
    Some(prepared)
}

/// The general category Zs without U+0020.
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

    /// The examples of RFC 8265 section 4.3, and spellings of different systems.
    #[test]
    fn equivalent_spellings_are_equal() {
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
    fn control_characters_are_rejected() {
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
        fn prepare_is_idempotent_and_never_reallocates(typed in "\\PC{0,40}") {
            let once = prepared(&typed).unwrap();
            prop_assert!(once.len() <= typed.len() * NFC_GROWTH_MAX);
            prop_assert_eq!(prepared(&once), Some(once.clone()));
            prop_assert_eq!(prepared(&typed.nfd().collect::<String>()), Some(once));
        }
    }
}
