//! The progress of a file.

/// The progress of a file that is sent or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileProgress {
    /// Bytes of content so far.
    pub done: u64,
    /// Bytes of content in all.
    pub size: u64,
}
