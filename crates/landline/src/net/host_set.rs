//! Sets of servers in one text: `nas,web[1-20],@db`.

use std::collections::{BTreeMap, HashSet};

use super::Target;
use crate::Error;

/// The most servers in a set.
const HOSTS_MAX: usize = 10_000;
/// How deep groups may be nested.
const GROUP_DEPTH_MAX: usize = 16;
/// The most digits of a number in a range.
const DIGITS_MAX: usize = 9;

/// Groups of servers: a name, and the texts that it stands for.
pub type HostGroups = BTreeMap<String, Vec<String>>;

/// Servers, each once, in the order in which they were added.
#[derive(Debug, Default)]
pub struct HostSet {
    hosts: Vec<(String, Target)>,
    known: HashSet<Target>,
    groups: HashSet<String>,
}

impl HostSet {
    /// Adds the servers of a text: names, sets in brackets and groups, separated by commas.
    ///
    /// `web[1-3,7]` stands for `web1`, `web2`, `web3` and `web7`, and `web[01-10]` keeps the zeros.
    /// A name may have several brackets. `@web` stands for the group `web`. Brackets around an
    /// IPv6 address are part of the address.
    ///
    /// # Errors
    /// [`Error::Address`] if the text is malformed, a group does not exist, there is no server yet,
    /// or there would be more than 10,000 servers.
    pub fn add(&mut self, text: &str, groups: &HostGroups) -> Result<(), Error> {
        self.add_nested(text, groups, 0)?;
        if self.hosts.is_empty() {
            return Err(bad(text, "its groups hold no host"));
        }
        Ok(())
    }

    /// The servers, with their names as written.
    pub fn into_hosts(self) -> Vec<(String, Target)> {
        self.hosts
    }

    fn add_nested(&mut self, text: &str, groups: &HostGroups, depth: usize) -> Result<(), Error> {
        for item in split_items(text)? {
            match item.strip_prefix('@') {
                Some(group) => self.add_group(group, groups, depth)?,
                None => self.add_pattern(item)?,
            }
        }
        Ok(())
    }

    /// Adds a group, unless that was done: its servers would be the same again.
    fn add_group(&mut self, name: &str, groups: &HostGroups, depth: usize) -> Result<(), Error> {
        let texts = groups
            .get(name)
            .ok_or_else(|| bad(&format!("@{name}"), "there is no such group"))?;
        if depth == GROUP_DEPTH_MAX {
            return Err(bad(&format!("@{name}"), "groups are nested too deeply"));
        }
        if self.groups.insert(name.to_owned()) {
            for text in texts {
                self.add_nested(text, groups, depth + 1)?;
            }
        }
        Ok(())
    }

    fn add_pattern(&mut self, item: &str) -> Result<(), Error> {
        let parts = parse(item)?;
        let count = parts.iter().try_fold(1_usize, |count, part| {
            let more = count.checked_mul(part.count())?;
            (more <= HOSTS_MAX).then_some(more)
        });
        let count = count.ok_or_else(|| bad(item, TOO_MANY))?;
        for number in 0..count {
            self.add_host(&name(&parts, number))?;
        }
        Ok(())
    }

    fn add_host(&mut self, name: &str) -> Result<(), Error> {
        // A name is also that of files, and one host is not written in two ways.
        if name.contains('/') {
            return Err(bad(name, "a set of hosts holds names, not URLs"));
        }
        let target: Target = name.parse()?;
        if self.known.insert(target.clone()) {
            if self.hosts.len() == HOSTS_MAX {
                return Err(bad(name, TOO_MANY));
            }
            self.hosts.push((name.to_owned(), target));
        }
        Ok(())
    }
}

const TOO_MANY: &str = "that would be more than 10000 hosts";

/// A part of a name.
#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    Ranges(Vec<NumberRange>),
}

/// The numbers from `first` to `last`, with at least so many digits.
#[derive(Debug)]
struct NumberRange {
    first: usize,
    last: usize,
    width: usize,
}

impl NumberRange {
    fn count(&self) -> usize {
        self.last - self.first + 1
    }
}

impl Part<'_> {
    /// How many texts the part stands for.
    fn count(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Ranges(ranges) => ranges.iter().map(NumberRange::count).sum(),
        }
    }

    /// The text of this number, from 0.
    fn text(&self, mut number: usize) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Ranges(ranges) => {
                for range in ranges {
                    if number < range.count() {
                        let width = range.width;
                        return format!("{:0width$}", range.first + number);
                    }
                    number -= range.count();
                }
                String::new()
            }
        }
    }
}

/// The name of this number, from 0: the last part changes first.
fn name(parts: &[Part<'_>], mut number: usize) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts.iter().rev() {
        texts.push(part.text(number % part.count()));
        number /= part.count();
    }
    texts.reverse();
    texts.concat()
}

/// Splits a text at the commas outside of brackets.
fn split_items(text: &str) -> Result<Vec<&str>, Error> {
    let mut is_inside = false;
    let mut items = text.split(|character| {
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ => {}
        }
        character == ',' && !is_inside
    });
    let items: Vec<&str> = items.by_ref().collect();
    if items.iter().any(|item| item.is_empty()) {
        return Err(bad(text, "a host is missing before or after a comma"));
    }
    Ok(items)
}

fn parse(item: &str) -> Result<Vec<Part<'_>>, Error> {
    let mut parts = Vec::new();
    let mut rest = item;
    while let Some((text, behind)) = rest.split_once('[') {
        let (inside, after) = behind
            .split_once(']')
            .ok_or_else(|| bad(item, "a bracket is not closed"))?;
        if inside.contains(':') {
            let length = text.len() + inside.len() + 2;
            parts.push(Part::Text(rest.get(..length).unwrap_or_default()));
        } else {
            parts.push(Part::Text(text));
            let ranges: Result<_, _> = inside.split(',').map(parse_range).collect();
            let ranges = ranges.map_err(|problem| bad(item, problem))?;
            parts.push(Part::Ranges(ranges));
        }
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn parse_range(text: &str) -> Result<NumberRange, &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| {
        let is_number = (1..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| digits.parse().ok()).flatten();
        number.ok_or("brackets hold numbers and ranges, such as [1-20] or [1-3,7]")
    };
    let range = NumberRange {
        first: number(first)?,
        last: number(last)?,
        width: first.len(),
    };
    if range.first > range.last {
        return Err("a range ends below its beginning");
    }
    let has_zeros = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    if first.len() != last.len() && (has_zeros(first) || has_zeros(last)) {
        return Err("both ends of a range with leading zeros need the same number of digits");
    }
    if range.count() > HOSTS_MAX {
        return Err(TOO_MANY);
    }
    Ok(range)
}

fn bad(text: &str, problem: &'static str) -> Error {
    Error::Address {
        text: text.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn groups() -> HostGroups {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        HostGroups::from([
            ("web".to_owned(), texts(&["web[1-3]"])),
            ("all".to_owned(), texts(&["@web,nas", "@all", "web2"])),
            ("broken".to_owned(), texts(&["@none"])),
            ("empty".to_owned(), texts(&[])),
            ("own".to_owned(), texts(&["@own"])),
        ])
    }

    fn names(text: &str) -> Result<Vec<String>, Error> {
        let mut set = HostSet::default();
        set.add(text, &groups())?;
        let hosts = set.into_hosts().into_iter();
        Ok(hosts.map(|(name, _)| name).collect())
    }

    #[test]
    fn sets_are_expanded_in_order() {
        for (text, expected) in [
            ("nas", "nas"),
            ("nas,web[1-3]", "nas web1 web2 web3"),
            ("web[08-11]", "web08 web09 web10 web11"),
            ("web[8-11]", "web8 web9 web10 web11"),
            ("web[1-3,7]", "web1 web2 web3 web7"),
            (
                "r[1-2]n[01,05].lan",
                "r1n01.lan r1n05.lan r2n01.lan r2n05.lan",
            ),
            ("a@web[1-2]:5999", "a@web1:5999 a@web2:5999"),
            ("[::1]:5999,[fe80::1]", "[::1]:5999 [fe80::1]"),
            ("127.0.0.[2-4]", "127.0.0.2 127.0.0.3 127.0.0.4"),
            ("web2,web[1-3],web2", "web2 web1 web3"),
            ("@all", "web1 web2 web3 nas"),
            ("[0-2]", "0 1 2"),
        ] {
            let found = names(text).unwrap().join(" ");
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn malformed_sets_are_refused() {
        for text in [
            "",
            ",nas",
            "nas,",
            "a,,b",
            "web[",
            "web[]",
            "web[1-]",
            "web[-1]",
            "web[1-2-3]",
            "web[3-1]",
            "web[01-100]",
            "web[1-010]",
            "web[a-b]",
            "web[1,]",
            "web[1 - 2]",
            "web]",
            "web[1[2]]",
            "web[1-9999999999]",
            "web[1-10001]",
            "[1-101]x[1-100]",
            "web[1-5000],nas[1-5001]",
            "@none",
            "@",
            "@broken",
            "@empty",
            "@own",
            "a b",
            "nas/",
            "landline://nas",
            "-oX",
        ] {
            assert!(names(text).is_err(), "{text}");
        }
        assert_eq!(names("web[1-5000],nas[1-5000]").unwrap().len(), 10_000);
    }

    #[test]
    fn deep_groups_are_refused() {
        let group = |n: usize| (format!("g{n}"), vec![format!("@g{}", n + 1)]);
        let mut groups: HostGroups = (0..40).map(group).collect();
        groups.insert("g40".into(), vec!["nas".into()]);
        assert!(HostSet::default().add("@g0", &groups).is_err());
        assert!(HostSet::default().add("@g30", &groups).is_ok());
    }

    proptest! {
        #[test]
        fn range_expands_to_each_number_once(first in 0..2000_usize, more in 0..300_usize, width in 4..8_usize) {
            let last = first + more;
            let found = names(&format!("n[{first:0width$}-{last:0width$}]")).unwrap();
            let expected: Vec<_> = (first..=last).map(|n| format!("n{n:0width$}")).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn every_host_is_accepted_alone(text in "[a-c@,\\[\\]0-3:.-]{0,20}") {
            if let Ok(found) = names(&text) {
                for name in found {
                    prop_assert_eq!(names(&name).unwrap(), vec![name]);
                }
            }
        }
    }
}
