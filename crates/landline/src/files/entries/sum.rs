//! `sum`: the digests of files, computed where they are.

use std::os::unix::fs::FileExt;

use landline_proto::{ErrorCode, Name};

use super::{
    messages::Sum,
    records::{FileRecord, SumRecord},
    task::Task,
};
use crate::{
    Error,
    activity::FileRead,
    files::{Algorithm, ContentHasher, page_buffer::PageBuffer},
    paths::SourceFile,
};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 512 * 1024;

impl Task<'_> {
    /// Computes the digests of what a request names.
    ///
    /// # Errors
    /// `not-found`, `not-a-file`, `name-refused`, `denied`, `limit`, `source-changed`, `io`;
    /// `ended`.
    pub(super) fn sum(&mut self, sum: &Sum) -> Result<(), Error> {
        let record = |task: &mut Self, path| task.record_read(FileRead::Sum, path);
        let mut buffer = None;
        self.for_each(&sum.path.0, sum.pattern, record, |task, path, _| {
            let located = task.locate(path)?;
            let source = task.context.root().open_source(task.grants(), &located)?;
            task.record_read(FileRead::Sum, Name(source.name.clone().into_bytes()))?;
            let buffer = buffer.get_or_insert_with(|| PageBuffer::new(BUFFER_BYTES));
            let record = task.hash(&source, path, sum.algorithm, buffer)?;
            task.out.write(&FileRecord::Sum(record))
        })
    }

    /// Hashes a file, which must not change meanwhile.
    fn hash(
        &mut self,
        source: &SourceFile,
        path: &[u8],
        algorithm: Algorithm,
        buffer: &mut [u8],
    ) -> Result<SumRecord, Error> {
        let mut hasher = ContentHasher::new(algorithm);
        loop {
            let read = match source.file.read_at(buffer, hasher.length()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| Error::io(&source.name, &error))?,
            };
            if read == 0 {
                break;
            }
            self.unit.spend(read as u64)?;
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        if source.identity_now()? != source.identity() {
            let message = format!("{} changed while it was read", source.name);
            return Err(Error::here(ErrorCode::SourceChanged, message));
        }
        Ok(SumRecord {
            path: Name(path.to_vec()),
            length: hasher.length(),
            digest: hasher.finish(),
        })
    }
}
