//! Amounts as people write them: `10 GiB`, `50 MiB/s`.

/// Units and their bytes.
const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// The largest amount: what the store can count.
pub(super) const AMOUNT_MAX: u64 = i64::MAX.unsigned_abs();
/// The slowest rate, in bytes per second: one with which a line is still alive.
pub(super) const RATE_MIN: u64 = 16 << 10;

pub(super) const BYTES_ACCEPTED: &str = "write a whole number of bytes, or text such as \"10 GiB\" (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)";
pub(super) const RATE_ACCEPTED: &str =
    "write text such as \"50 MiB/s\" (B, KiB, MiB, GiB, kB, MB, GB), 16 KiB/s or more";

/// Bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, each) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(each)
        .filter(|bytes| *bytes <= AMOUNT_MAX)
}

/// Bytes as [`bytes`] would take them, in the largest unit that divides them.
pub(super) fn format_amount(amount: u64) -> String {
    let fits = |(_, each): &&(&str, u64)| amount >= *each && amount.is_multiple_of(*each);
    let (unit, each) = UNITS
        .iter()
        .filter(fits)
        .max_by_key(|(_, each)| *each)
        .unwrap_or(&("B", 1));
    format!("{} {unit}", amount / each)
}

/// Bytes per second.
pub(super) fn rate(text: &str) -> Option<u64> {
    bytes(text.strip_suffix("/s")?).filter(|bytes| *bytes >= RATE_MIN)
}
