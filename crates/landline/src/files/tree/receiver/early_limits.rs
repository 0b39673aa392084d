//! Checks what a sync would remove before it changes anything, where the source has few entries.
//!
//! The records of the source are kept until its end, and a dry run reads them first.

use std::sync::Arc;

use super::{Base, ReceiverParts, StoreOptions, TakenSummaries, TreeReceiver};
use crate::{
    Error,
    files::{
        messages::Compare,
        tree::{
            TreeEvents,
            bodies::bodies,
            records::{FromSender, RecordBuffer},
            sender::invalid,
        },
    },
    paths::{TreeGuard, TreePlace, TreeTarget},
};

/// How many entries are kept. The sender waits for an answer after a few more.
const ENTRIES_MAX: usize = 8000;
/// How many bytes their records may have.
const BYTES_MAX: usize = 4 << 20;

impl TreeReceiver {
    /// Receives the records of a source of few entries, and checks the limits of what is removed.
    /// Returns the records, which are to be taken next. A longer source is checked at its end.
    ///
    /// # Errors
    /// `mass-delete` or `max-delete`; those of the records.
    pub(super) fn receive_few(&mut self, input: &mut RecordBuffer) -> Result<Vec<Vec<u8>>, Error> {
        let mut kept = Vec::new();
        let has_limits = self
            .options
            .sync
            .is_some_and(|sync| sync.delete && (!sync.force || sync.max_delete.is_some()));
        // What does not exist has nothing to remove.
        if !has_limits || !matches!(self.place, Base::Content(_)) {
            return Ok(kept);
        }
        self.ends.send(std::mem::take(&mut self.out))?;
        let (mut entries, mut bytes) = (0, 0);
        loop {
            while let Some(record) = input.next_record().map_err(invalid)? {
                let read = FromSender::read(record).map_err(invalid)?;
                if self.selection_reader.is_some() {
                    self.take(read)?;
                    continue;
                }
                kept.push(record.to_vec());
                entries += usize::from(matches!(read, FromSender::Entry(_)));
                bytes += record.len();
                match read {
                    FromSender::End { .. } => return self.check_limits(&kept).map(|()| kept),
                    // It needs an answer.
                    FromSender::Summary { .. } => return Ok(kept),
                    _ if entries >= ENTRIES_MAX || bytes >= BYTES_MAX => return Ok(kept),
                    _ => {}
                }
            }
            self.leave.spend(0)?;
            self.staging.tick();
            let more = self.next_input()?;
            input.input().extend_from_slice(&more);
        }
    }

    /// Checks what would be removed, by a dry run over all records of the source.
    fn check_limits(&self, records: &[Vec<u8>]) -> Result<(), Error> {
        let Base::Content(folder) = &self.place else {
            return Ok(());
        };
        let folder = folder.try_clone();
        let folder = folder.map_err(|error| Error::io(self.shown.display(), &error))?;
        let (mut connection, ends) = bodies(false);
        let mut dry = Self::new(ReceiverParts {
            target: TreeTarget {
                place: TreePlace::Content(folder),
                shown: self.shown.clone(),
                must_be_folder: self.must_be_folder,
            },
            guard: TreeGuard::clone(&self.guard),
            options: StoreOptions {
                dry_run: true,
                changes: false,
                // No content is read.
                compare: Compare::Nothing,
                ..self.options
            },
            manifest: None,
            quota: None,
            store: None,
            selection: self.selection.clone(),
            reads_selection: false,
            // It is protected.
            backup: None,
            names: self.names.clone(),
            takes_packed: false,
            summaries: TakenSummaries::Refused,
            ends,
            leave: self.leave.clone(),
            progress: Arc::default(),
            events: TreeEvents::default(),
        })?;
        for record in records {
            dry.take(FromSender::read(record).map_err(invalid)?)?;
            dry.out.clear();
            connection.discard_output();
        }
        match dry.refusal("nothing was copied or deleted") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
