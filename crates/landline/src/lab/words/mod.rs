//! All that the lab says, in both languages side by side. What is said of a measurement is chosen by the measurement.

pub(super) mod lifecycle;
pub(super) mod sticky;

use std::time::Duration;

use super::Language;

/// A duration for people: three digits, in the unit that fits.
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

/// A count of things, with its English plural.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// An English list.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits_and_lists_one_and() {
        let english = |micros| time(Duration::from_micros(micros), Language::English);
        assert_eq!(
            [english(7), english(999), english(1500), english(40_060), english(150_000), english(1_030_000)],
            ["7 µs", "999 µs", "1.50 ms", "40.1 ms", "150 ms", "1.03 s"]
        );
        assert_eq!(time(Duration::from_millis(40), Language::Chinese), "40.0 毫秒");
        assert_eq!([listed(&["a"]), listed(&["a", "b"]), listed(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }
}
