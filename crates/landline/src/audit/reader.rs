//! Reads the log from the disk, also while a server writes it.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{
    checkpoint::{Checkpoint, KnownHead},
    line::{ChainHead, LINE_BYTES_MAX, LineHash, LogLine},
    verify::{ChainVerifier, Report, Violation},
};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

pub(super) const FOLDER: &str = "audit";
/// Digits in a file's name, which is the number of its first line.
const DIGITS: usize = 16;
const SUFFIX: &str = ".jsonl";

/// A server's audit log.
#[derive(Debug)]
pub struct Reader {
    folder: PrivateFolder,
    checkpoint: KnownHead,
    files: Vec<LogFile>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    /// The number of its first line.
    pub(super) first: u64,
    pub(super) name: String,
}

impl Reader {
    /// Opens the log in a state folder; `None` if there never was one.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads files.
    pub fn open(state: &Path) -> Result<Option<Self>, Error> {
        match PrivateFolder::open_existing(&state.join("server"))? {
            Some(server) => Self::open_in(&server),
            None => Ok(None),
        }
    }

    /// Opens the log in the folder `server` of a state folder; `None` if there never was one.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads files.
    pub(crate) fn open_in(server: &PrivateFolder) -> Result<Option<Self>, Error> {
        // Read before the names: a file that is started meanwhile holds only later lines.
        let checkpoint = Checkpoint::read(server)?;
        let folder = PrivateFolder::open_existing(&server.path_of(FOLDER))?;
        Ok(match folder {
            Some(folder) => Some(Self {
                checkpoint,
                files: files(&folder)?,
                folder,
            }),
            None if checkpoint == KnownHead::Absent => None,
            None => Some(Self {
                checkpoint,
                files: Vec::new(),
                folder: server.clone(),
            }),
        })
    }

    /// Verifies the whole log.
    ///
    /// # Errors
    /// [`Error::State`] if a file cannot be read.
    ///
    /// # Blocking
    /// Reads files.
    pub fn verify(&self) -> Result<Report, Error> {
        self.verify_while(|_| Ok(()))
    }

    /// As [`verify`](Self::verify). `may_continue` gets the length of each line before it is
    /// verified.
    ///
    /// # Errors
    /// [`Error::State`], and those of `may_continue`, which end the work.
    ///
    /// # Blocking
    /// Reads files.
    pub(crate) fn verify_while(
        &self,
        mut may_continue: impl FnMut(usize) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let mut verifier = ChainVerifier::new(self.checkpoint.head());
        self.each(&mut verifier, |verifier, bytes| {
            may_continue(bytes.len())?;
            verifier.add_line(bytes);
            Ok(())
        })?;
        let mut report = verifier.finish();
        let has_begun = report.lines > 0 || self.checkpoint != KnownHead::Absent;
        if let (Some(problem), true) = (self.checkpoint.problem(), has_begun) {
            report.violations.push(Violation {
                file: super::checkpoint::FILE.into(),
                line: 0,
                seq: report.head.seq,
                problem: problem.into(),
            });
        }
        Ok(report)
    }

    /// Passes every line that can be parsed to `take`, with its text. Returns the number of lines
    /// that cannot.
    ///
    /// # Errors
    /// [`Error::State`] if a file cannot be read, and the errors of `take`, which end the work.
    ///
    /// # Blocking
    /// Reads files.
    pub fn lines(
        &self,
        mut take: impl FnMut(&LogLine, &str) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut unreadable = 0;
        let mut verifier = ChainVerifier::new(None);
        self.each(&mut verifier, |_, bytes| {
            match (LogLine::parse(bytes), str::from_utf8(bytes)) {
                (Ok(line), Ok(text)) => take(&line, text)?,
                _ => unreadable += 1,
            }
            Ok(())
        })?;
        Ok(unreadable)
    }

    fn each(
        &self,
        verifier: &mut ChainVerifier,
        mut take: impl FnMut(&mut ChainVerifier, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (index, file) in self.files.iter().enumerate() {
            let path = self.folder.path_of(&file.name);
            let Some(opened) = self.folder.open_to_read(&file.name)? else {
                continue;
            };
            verifier.start_file(&file.name, file.first);
            let end = each_line(opened, &path, |bytes| take(verifier, bytes))?;
            verifier.end_file(end.torn, index + 1 == self.files.len());
        }
        Ok(())
    }
}

impl KnownHead {
    /// What is wrong with the checkpoint itself.
    fn problem(self) -> Option<&'static str> {
        match self {
            Self::Line(_) => None,
            Self::Absent => {
                Some("the checkpoint is missing, so the end of the log may have been cut off")
            }
            Self::Damaged => {
                Some("the checkpoint cannot be read, so the end of the log may have been cut off")
            }
        }
    }
}

/// The name of the file that starts with this line.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// The files of the log, in order.
pub(super) fn files(folder: &PrivateFolder) -> Result<Vec<LogFile>, Error> {
    let mut files: Vec<LogFile> = folder
        .names()?
        .into_iter()
        .filter_map(|name| {
            let first: u64 = name.strip_suffix(SUFFIX)?.parse().ok()?;
            (file_name(first) == name).then_some(LogFile { first, name })
        })
        .collect();
    files.sort_by_key(|file| file.first);
    Ok(files)
}

/// The hash that the first line of a file names: that of the line before the file.
pub(super) fn first_link(folder: &PrivateFolder, name: &str) -> Option<LineHash> {
    let file = folder.open_to_read(name).ok().flatten()?;
    let mut line = Vec::new();
    BufReader::new(file)
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_until(b'\n', &mut line)
        .ok()?;
    Some(LogLine::parse(line.strip_suffix(b"\n")?).ok()?.prev)
}

/// How a file of the log ends.
struct End {
    /// Bytes of whole lines.
    whole: u64,
    /// Bytes behind them.
    torn: u64,
}

/// Passes every whole line of the file at `path` to `take`, without its line feed. A line that is
/// too long is passed in pieces, each of which is too long as well.
fn each_line(
    file: File,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<End, Error> {
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    let mut end = End { whole: 0, torn: 0 };
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX as u64 + 2)
            .read_until(b'\n', &mut line)
            .map_err(|error| Error::state(path.display(), error))?;
        match line.strip_suffix(b"\n") {
            Some(whole) => take(whole)?,
            None if read > LINE_BYTES_MAX => take(&line)?,
            None => {
                end.torn = read as u64;
                return Ok(end);
            }
        }
        end.whole += read as u64;
    }
}

/// The end of the log as a server finds it.
pub(super) struct Found {
    /// The last line.
    pub(super) head: ChainHead,
    /// The file that the log continues in, unless it is a new one.
    pub(super) continues: Option<LogFile>,
    /// The bytes of whole lines in that file.
    pub(super) length: u64,
    /// What is wrong with the log.
    pub(super) problem: Option<String>,
}

/// Checks the end of the log: the last lines must be whole, linked, and include the checkpoint.
pub(super) fn survey(folder: &PrivateFolder, checkpoint: KnownHead) -> Result<Found, Error> {
    let files = files(folder)?;
    let mut last: Option<(LogFile, End)> = None;
    let mut report = ChainVerifier::new(checkpoint.head()).finish();
    let mut starts_at = 1;
    // The last file may have no line yet. Then the file before it has the last line.
    for (index, file) in files.iter().enumerate().rev().take(2) {
        starts_at = file.first;
        let mut verifier = ChainVerifier::starting_at(starts_at, checkpoint.head());
        for (after, file) in files.iter().enumerate().skip(index) {
            let Some(opened) = folder.open_to_read(&file.name)? else {
                continue;
            };
            verifier.start_file(&file.name, file.first);
            let end = each_line(opened, &folder.path_of(&file.name), |bytes| {
                verifier.add_line(bytes);
                Ok(())
            })?;
            verifier.end_file(end.torn, after + 1 == files.len());
            last = Some((file.clone(), end));
        }
        report = verifier.finish();
        if report.lines > 0 {
            break;
        }
    }
    let has_begun =
        report.lines > 0 || starts_at > 1 || checkpoint.head().is_some_and(|head| head.seq > 0);
    let problem = match (report.violations.first(), checkpoint.problem()) {
        (_, Some(problem)) if has_begun || checkpoint == KnownHead::Damaged => {
            Some(problem.to_owned())
        }
        (Some(violation), _) => Some(format!(
            "{} line {}: {}",
            violation.file, violation.line, violation.problem
        )),
        _ => None,
    };
    let Some(problem) = problem else {
        let length = last.as_ref().map_or(0, |(_, end)| end.whole);
        return Ok(Found {
            head: report.head,
            continues: last.map(|(file, _)| file),
            length,
            problem: None,
        });
    };
    // The files stay as they are. The log continues behind all of them, in a new file.
    let newest = files.last().map_or(0, |file| file.first);
    // The next line is linked to the last one, or to the one that the checkpoint names.
    let known = checkpoint
        .head()
        .filter(|head| head.seq >= report.head.seq)
        .unwrap_or(report.head);
    let seq = known.seq.max(report.head.seq).max(newest);
    Ok(Found {
        head: ChainHead {
            seq,
            hash: known.hash,
        },
        continues: None,
        length: 0,
        problem: Some(problem),
    })
}
