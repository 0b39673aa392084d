//! Answers that have arrived before the sender needs them.

use super::{Known, compare::unexpected};
use crate::Error;

/// How many bytes may wait: 65,536 values and 131,072 sums fit.
const WAITING_BYTES_MAX: usize = 5 << 20;

/// Answers of the receiver that the sender has read and not used.
#[derive(Debug, Default)]
pub(crate) struct WaitingAnswers {
    answers: Vec<Known>,
    bytes: usize,
}

impl WaitingAnswers {
    /// Adds an answer.
    ///
    /// # Errors
    /// [`Error::Protocol`] if more waits than a receiver may send.
    pub(crate) fn add(&mut self, known: Known) -> Result<(), Error> {
        self.bytes += match &known {
            Known::Values(values) => size_of_val(values.as_slice()),
            Known::Sums(sums) => size_of_val(sums.as_slice()),
            Known::Basis { .. } | Known::Blocks { .. } => size_of::<Known>(),
        };
        if self.bytes > WAITING_BYTES_MAX {
            return Err(unexpected("too many answers at once"));
        }
        // Many short records would take more memory than their content.
        match (self.answers.last_mut(), known) {
            (Some(Known::Values(last)), Known::Values(more)) => last.extend(more),
            (Some(Known::Sums(last)), Known::Sums(more)) => last.extend(more),
            (_, known) => self.answers.push(known),
        }
        Ok(())
    }

    /// Takes all answers, in the order in which they arrived.
    pub(crate) fn take(&mut self) -> Vec<Known> {
        self.bytes = 0;
        std::mem::take(&mut self.answers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}
