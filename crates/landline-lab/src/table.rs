//! Tables for a terminal, in which a Chinese character is two columns wide.

use std::fmt;

use unicode_width::UnicodeWidthStr;

/// A table with a caption, a header row and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The caption; none if it is empty.
    pub caption: String,
    /// The headers of the columns.
    pub headers: Vec<String>,
    /// The rows. A missing cell is empty.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new<const COLUMNS: usize>(caption: &str, headers: [&str; COLUMNS]) -> Self {
        Self {
            caption: caption.to_owned(),
            headers: headers.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn add_row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.to_vec());
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        self.headers
            .iter()
            .enumerate()
            .map(|(column, head)| {
                cells(column)
                    .map(|cell| cell.width())
                    .max()
                    .unwrap_or(0)
                    .max(head.width())
            })
            .collect()
    }
}

/// Prints the table with underlined headers and two spaces between columns.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (index, width) in widths.iter().enumerate() {
                let cell = cells.get(index).map(String::as_str).unwrap_or_default();
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
            line.trim_end().to_owned()
        };
        if !self.caption.is_empty() {
            writeln!(f, "{}", self.caption)?;
        }
        writeln!(f, "{}", line(&self.headers))?;
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        writeln!(f, "{}", line(&rules))?;
        self.rows
            .iter()
            .try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_in_both_scripts() {
        let mut table = Table::new("caption", ["way", "receives"]);
        table.add_row(["TCP 默认".into(), "2".into()]);
        table.add_row(["UDP".into(), "6".into()]);
        let expected =
            "caption\nway       receives\n────────  ────────\nTCP 默认  2\nUDP       6\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn short_rows_and_no_rows_are_printed() {
        let mut table = Table::new("", ["a", "b"]);
        assert_eq!(table.to_string(), "a  b\n─  ─\n");
        table.rows.push(vec!["long".into()]);
        assert_eq!(table.to_string(), "a     b\n────  ─\nlong\n");
    }
}
