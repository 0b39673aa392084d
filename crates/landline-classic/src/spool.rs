//! Output that is collected before it is sent.
//!
//! Little output stays in memory. More goes to an anonymous file.

use std::{
    io::{Read, Seek, Write},
    path::PathBuf,
};

use landline_paths::{File, anonymous_file};

use crate::{Error, Wording};

/// The bytes that stay in memory.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// The bytes that one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;

/// Collected bytes. The file disappears when the process ends.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl Spool {
    /// An empty spool, whose file is created in `folder` if it is needed.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            memory: Vec::new(),
            file: None,
            length: 0,
        }
    }

    /// The number of bytes in the spool.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The system's error.
    pub(super) async fn write(mut self, bytes: Vec<u8>) -> Result<Self, Error> {
        self.length += bytes.len() as u64;
        self.memory.extend(bytes);
        if self.memory.len() <= MEMORY_BYTES_MAX {
            return Ok(self);
        }
        let spill = move || {
            let mut file = match self.file.take() {
                Some(file) => file,
                None => anonymous_file(&self.folder)?,
            };
            file.write_all(&self.memory)
                .map_err(|error| self.io_error(error))?;
            self.memory.clear();
            self.file = Some(file);
            Ok(self)
        };
        tokio::task::spawn_blocking(spill).await?
    }

    /// Goes back to the beginning, to read.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn rewind(&mut self) -> Result<(), Error> {
        match &mut self.file {
            Some(file) => file
                .rewind()
                .map_err(|error| Error::io(Wording::of_name(self.folder.display()), error)),
            None => Ok(()),
        }
    }

    /// Reads the next bytes; none at the end.
    ///
    /// # Errors
    /// The system's error.
    pub(super) async fn read(mut self) -> Result<(Self, Vec<u8>), Error> {
        let Some(mut file) = self.file.take() else {
            let rest = std::mem::take(&mut self.memory);
            return Ok((self, rest));
        };
        let read = move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = file
                .read(&mut chunk)
                .map_err(|error| self.io_error(error))?;
            chunk.truncate(count);
            if count > 0 {
                self.file = Some(file);
            } else {
                chunk = std::mem::take(&mut self.memory);
            }
            Ok((self, chunk))
        };
        tokio::task::spawn_blocking(read).await?
    }

    fn io_error(&self, error: std::io::Error) -> Error {
        Error::io(Wording::of_name(self.folder.display()), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spool_returns_what_was_written() {
        for pieces in [0, 1, 3, 9] {
            let mut spool = Spool::new(std::env::temp_dir());
            let piece: Vec<u8> = (0..100_003u32).map(|number| number as u8).collect();
            for _ in 0..pieces {
                spool = spool.write(piece.clone()).await.unwrap();
            }
            assert_eq!(spool.file.is_some(), pieces > 2);
            assert_eq!(spool.length(), (pieces * piece.len()) as u64);
            spool.rewind().unwrap();
            let mut found = Vec::new();
            loop {
                let (rest, chunk) = spool.read().await.unwrap();
                spool = rest;
                if chunk.is_empty() {
                    break;
                }
                found.extend(chunk);
            }
            assert!(found == piece.repeat(pieces), "{pieces}");
        }
    }
}
