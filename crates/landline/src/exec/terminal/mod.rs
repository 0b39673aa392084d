//! What a program writes to its terminal: control sequences, and what they may not do.
//!
//! The raw bytes matter here, because most of them are passed on. So this reads sequences itself
//! and keeps each one as it came.

mod filter;
mod latch;
mod scanner;

pub use filter::OutputFilter;
pub use latch::ModeLatch;
