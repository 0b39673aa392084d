//! From places in a text to lines and columns.

use std::ops::Range;

use super::RightsError;

/// Where the lines of a text begin. Finding a line takes logarithmic time.
#[derive(Debug)]
pub(super) struct LineIndex<'t> {
    text: &'t str,
    /// The first byte of each line.
    starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The line where a part of the text begins, counted from 1.
    pub(super) fn line(&self, part: Option<Range<usize>>) -> usize {
        let start = part.map_or(0, |part| part.start);
        self.starts.partition_point(|line| *line <= start)
    }

    /// What the text says there.
    pub(super) fn part(&self, part: Option<Range<usize>>) -> &'t str {
        part.and_then(|part| self.text.get(part))
            .unwrap_or_default()
    }

    /// A mistake in a part of the text, or at its beginning.
    pub(super) fn error(&self, part: Option<Range<usize>>, problem: &str) -> RightsError {
        let start = part.as_ref().map_or(0, |part| part.start);
        let line = self.line(part);
        let first = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(first..start).unwrap_or_default();
        RightsError {
            line,
            column: before.chars().count() + 1,
            problem: problem.replace('\n', "; "),
        }
    }
}
