//! How much of the crate `landline` other crates can name.

use super::{Finding, source::Source};

/// The crate.
const CRATE: &str = "crates/landline/src/";
/// More public items are an error.
const LIMIT: usize = 826;

/// The number of items and methods that are `pub`.
pub(crate) fn count(sources: &[Source]) -> usize {
    sources
        .iter()
        .filter(|source| source.path.starts_with(CRATE))
        .flat_map(|source| &source.definitions)
        .filter(|definition| definition.is_public && !definition.in_test)
        .count()
}

/// Adds a finding where there are too many.
pub(crate) fn check(sources: &[Source], findings: &mut Vec<Finding>) {
    let count = count(sources);
    if count > LIMIT {
        let text = format!(
            "the crate has {count} public items, the limit is {LIMIT}: \
             make those that no other crate uses `pub(crate)`"
        );
        findings.push(Finding::error(&format!("{CRATE}lib.rs"), 1, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    /// A file of the crate.
    fn read(text: &str) -> Source {
        Source::read(&File {
            path: format!("{CRATE}one.rs"),
            text: text.to_owned(),
        })
        .unwrap()
    }

    #[test]
    fn items_and_methods_that_are_public_count() {
        let text = "pub mod a { pub(crate) struct B; pub(super) fn c() {} }\npub use d::{E, F};\n\
                    pub struct G { pub h: u8 }\nimpl G { pub const I: u8 = 1; pub async fn j() {} fn k() {} }\n\
                    pub trait L { fn m(); }\npub static N: u8 = 1;\n#[cfg(test)]\npub fn o() {}";
        assert_eq!(count(&[read(text)]), 7);
    }

    #[test]
    fn more_than_the_limit_is_found() {
        for (items, expected) in [(LIMIT, 0), (LIMIT + 1, 1)] {
            let mut findings = Vec::new();
            check(&[read(&"pub type A = u8;\n".repeat(items))], &mut findings);
            assert_eq!(findings.len(), expected, "{items} items");
        }
    }
}
