//! The start of a range of lines.

use std::{fmt, str::FromStr};

use time::{
    Date, Duration, OffsetDateTime, Time,
    format_description::well_known::{Iso8601, Rfc3339},
};

use super::{LogLine, line::time_text};

/// The length of a date: `2026-11-20`.
const DATE_CHARS: usize = 10;

/// A time as people write it: `90s`, `30m`, `1h`, `2d` ago, a date in UTC (`2026-11-20`), or RFC
/// 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(OffsetDateTime);

impl Since {
    /// Parses it; `None` if it is none of these.
    pub(crate) fn parse(text: &str, now: OffsetDateTime) -> Option<Self> {
        let ago = || {
            let (unit, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
                .into_iter()
                .find(|(unit, _)| text.ends_with(unit))?;
            let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
            now.checked_sub(Duration::seconds(i64::from(count).checked_mul(seconds)?))
        };
        // A date with a time behind it is not taken for the whole day.
        let date = || {
            Some(text)
                .filter(|text| text.len() == DATE_CHARS)
                .and_then(date_of)
        };
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .or_else(date)
            .or_else(ago)
            .map(Self)
    }

    /// That time in milliseconds since 1970; 0 for an earlier one.
    pub fn unix_milliseconds(&self) -> u64 {
        u64::try_from(self.0.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
    }

    /// Whether a line was written at that time or later.
    pub fn includes(&self, line: &LogLine) -> bool {
        line.written().is_some_and(|time| time >= self.0)
    }
}

/// Midnight of a date.
fn date_of(text: &str) -> Option<OffsetDateTime> {
    Some(
        Date::parse(text, &Iso8601::DATE)
            .ok()?
            .with_time(Time::MIDNIGHT)
            .assume_utc(),
    )
}

/// RFC 3339 in UTC.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&time_text(self.0))
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, OffsetDateTime::now_utc())
            .ok_or("a time is needed: 1h, 2d, 2026-11-20, or 2026-11-20T08:00:00Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let parse =
            |text: &str| Since::parse(text, OffsetDateTime::UNIX_EPOCH + Duration::days(10));
        let at = |seconds: i64| Some(Since(OffsetDateTime::from_unix_timestamp(seconds).unwrap()));
        assert_eq!(parse("1h"), at(10 * 86_400 - 3600));
        assert_eq!(parse("2d"), at(8 * 86_400));
        assert_eq!(parse("1970-01-02"), at(86_400));
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), at(0));
        let day = parse("1970-01-02").unwrap();
        assert_eq!(day.to_string().parse(), Ok(day));
        for text in [
            "",
            "1",
            "h",
            "-1h",
            "1w",
            "2026-13-01",
            "yesterday",
            "1hh",
            "1970-01-02T23:00:00",
            "1970-01-02T23:00",
            "1970-01-02 23:00",
            "99999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
