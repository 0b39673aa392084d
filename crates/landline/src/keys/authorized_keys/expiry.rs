//! The option `expiry-time="..."`, after which a key is invalid.

use std::fmt;

use super::KeyLineError;

/// A time as `YYYYMMDD` or `YYYYMMDDHHMM[SS]`.
///
/// With a final `Z` it is in UTC, else in the time zone of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expiry {
    text: String,
    unix: i64,
}

impl Expiry {
    pub(super) fn parse(text: &str) -> Result<Self, KeyLineError> {
        let unix = parse_time(text).ok_or_else(|| {
            KeyLineError::new(format!(
                "expiry-time={text:?} is not a time: YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC"
            ))
        })?;
        Ok(Self {
            text: text.to_owned(),
            unix,
        })
    }

    /// The time in seconds since 1970; the key is valid before it.
    pub(super) fn unix_seconds(&self) -> i64 {
        self.unix
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_time(text: &str) -> Option<i64> {
    let (digits, is_utc) = match text.strip_suffix('Z') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, length: usize| {
        digits
            .get(from..from + length)
            .map_or(Some(0), |part| part.parse::<i32>().ok())
    };
    let year = part(0, 4)?;
    let month = part(4, 2)?;
    let day = part(6, 2)?;
    let hour = part(8, 2)?;
    let minute = part(10, 2)?;
    let second = part(12, 2)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..).contains(&year)
        || !(1..=days).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    // SAFETY: zero is a valid value of every field: each is a number or a nullable pointer.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = day;
    parts.tm_hour = hour;
    parts.tm_min = minute;
    parts.tm_sec = second;
    parts.tm_isdst = -1;
    // SAFETY: the argument is our own initialized `tm`, which lives for the call.
    let unix = unsafe {
        if is_utc {
            libc::timegm(&raw mut parts)
        } else {
            libc::mktime(&raw mut parts)
        }
    };
    (unix >= 0).then_some(unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_times_are_parsed() {
        assert_eq!(parse_time("20300101Z"), Some(1_893_456_000));
        assert_eq!(parse_time("203001010130Z"), Some(1_893_456_000 + 90 * 60));
        assert_eq!(
            parse_time("20300101013007Z"),
            Some(1_893_456_000 + 90 * 60 + 7)
        );
        assert_eq!(parse_time("20240229Z"), Some(1_709_164_800));
        let local = parse_time("20300101").unwrap();
        assert!(
            (local - 1_893_456_000).abs() <= 14 * 60 * 60,
            "within any time zone: {local}"
        );
    }

    #[test]
    fn malformed_times_are_rejected() {
        for bad in [
            "",
            "Z",
            "2030",
            "20300101z",
            "2030010",
            "20301301Z",
            "20300132Z",
            "20230229Z",
            "19000101Z",
            "203001012460Z",
            "2030010124Z",
            "20300101000060Z",
            "+2030101Z",
            "20300101ZZ",
            "２０３００１０１",
        ] {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }
}
