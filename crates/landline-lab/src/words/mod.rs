//! All texts of the lab, in both languages side by side.
//!
//! The measurements decide which text is used.

pub(super) mod lifecycle;
pub(super) mod models;
pub(super) mod steps;
pub(super) mod sticky;

use std::time::Duration;

use super::Language;

/// A duration with three digits, in the unit that fits.
pub(super) fn time(duration: Duration, language: Language) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        _ if micros < 1e3 => (micros, language.pick("µs", "微秒")),
        _ if micros < 1e6 => (micros / 1e3, language.pick("ms", "毫秒")),
        _ => (micros / 1e6, language.pick("s", "秒")),
    };
    let digits = match value {
        _ if unit == "µs" || unit == "微秒" || value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// A number of bytes, in the unit that fits.
fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.0} KiB", value / 1024.0),
        _ => format!("{:.1} MiB", value / 1_048_576.0),
    }
}

/// A count with the singular or plural of an English noun.
fn pluralize(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// An English list: commas, and "and" before the last.
fn join_list(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sticky::{Scenario, Transport};

    #[test]
    fn lessons_quote_texts_of_the_lab() {
        let lessons = include_str!("../../../../docs/lessons.md");
        for language in [Language::English, Language::Chinese] {
            let headers = models::headers(language);
            let named = [headers.long, headers.short].map(|head| {
                head.split([':', '：'])
                    .next()
                    .map(str::to_owned)
                    .unwrap_or_default()
            });
            let quoted = [
                lifecycle::calls_heading(language).to_owned(),
                sticky::overrun_heading(language).to_owned(),
                sticky::transport(Transport::Framed, language).to_owned(),
                sticky::scenario(Scenario::BigSend, language)
                    .split([',', '，'])
                    .next()
                    .map(str::to_owned)
                    .unwrap_or_default(),
            ];
            for quote in quoted.iter().chain(&named) {
                assert!(
                    lessons.contains(quote.as_str()),
                    "docs/lessons.md does not name {quote:?}"
                );
            }
        }
    }

    #[test]
    fn times_sizes_and_lists_are_formatted() {
        let english = |micros| time(Duration::from_micros(micros), Language::English);
        assert_eq!(
            [
                english(7),
                english(999),
                english(1500),
                english(40_060),
                english(150_000),
                english(1_030_000)
            ],
            ["7 µs", "999 µs", "1.50 ms", "40.1 ms", "150 ms", "1.03 s"]
        );
        assert_eq!(
            time(Duration::from_millis(40), Language::Chinese),
            "40.0 毫秒"
        );
        assert_eq!(
            [bytes(12), bytes(3000), bytes(3 << 20)],
            ["12 B", "3 KiB", "3.0 MiB"]
        );
        assert_eq!(
            [
                join_list(&["a"]),
                join_list(&["a", "b"]),
                join_list(&["a", "b", "c"])
            ],
            ["a", "a and b", "a, b and c"]
        );
    }
}
