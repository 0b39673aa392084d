//! The lab: experiments with sockets, measured on the user's own machine.
//!
//! Each experiment opens real sockets on loopback and returns plain data. [`Report`] presents the
//! data as sentences, tables and a picture, in one of two languages. All sentences are made from
//! the measurements.
//!
//! # Blocking
//! An experiment blocks for some seconds.

mod language;
mod lifecycle;
pub mod models;
mod pair;
mod sticky;
mod svg;
mod table;
mod words;
mod wrap;

pub use language::Language;
pub use lifecycle::Lifecycle;
pub use models::Models;
pub use sticky::Sticky;
pub use table::Table;

/// The results of an experiment, in one language.
#[derive(Debug, Clone)]
pub struct Report {
    /// The subject of the experiment.
    pub title: String,
    /// The measurements.
    pub tables: Vec<Table>,
    /// A summary in short sentences.
    pub summary: Vec<String>,
    /// What this system could not measure, and how to read the tables.
    pub notes: Vec<String>,
    /// The same as an SVG document without references to other files.
    pub picture: String,
}

/// The width at which sentences are broken.
const SENTENCE_COLUMNS: f64 = 100.0;

impl Report {
    /// All but the picture, as text for a terminal.
    ///
    /// Lines end in a newline. Sentences are broken at 100 columns.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.title);
        for table in &self.tables {
            out.push('\n');
            out.push_str(&table.to_string());
        }
        out.push('\n');
        for sentence in self.summary.iter().chain(&self.notes) {
            for line in wrap::wrap(sentence, SENTENCE_COLUMNS, wrap::columns) {
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }
}
