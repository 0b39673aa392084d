//! The lab: what courses tell about sockets, measured on the reader's own machine.
//!
//! Each experiment opens real sockets on loopback and returns plain data; [`Report`] puts them into
//! words, tables and a picture. Nothing is canned: the sentences are made from what was measured.
//! Experiments block for some seconds.

pub mod language;
pub mod lifecycle;
pub mod models;
pub mod sticky;
mod svg;
pub mod table;
mod words;
mod wrap;

pub use language::Language;
pub use lifecycle::Lifecycle;
pub use models::Models;
pub use sticky::Sticky;
pub use table::Table;

/// What an experiment showed, in one language.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was looked at.
    pub title: String,
    /// What was measured.
    pub tables: Vec<Table>,
    /// What was seen, in two sentences.
    pub seen: [String; 2],
    /// What this system could not tell, and how to read the tables.
    pub notes: Vec<String>,
    /// The same as a picture: an SVG document that needs nothing from elsewhere.
    pub picture: String,
}

/// Where sentences are broken.
const SENTENCE_COLUMNS: f64 = 100.0;

impl Report {
    /// All but the picture, as text for a terminal: lines end in a newline, and sentences are
    /// broken at 100 columns.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.title);
        for table in &self.tables {
            out.push('\n');
            out.push_str(&table.to_string());
        }
        out.push('\n');
        for sentence in self.seen.iter().chain(&self.notes) {
            for line in wrap::wrap(sentence, SENTENCE_COLUMNS, wrap::columns) {
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }
}
