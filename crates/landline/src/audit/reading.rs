//! The log as it is on the disk, to be read: also while a server writes it.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::{
    head::{Head, Known},
    line::{LINE_BYTES_MAX, Line, Tip},
    walk::{Report, Walk},
};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

pub(super) const FOLDER: &str = "audit";
/// Digits in a file's name: the number of its first line.
const DIGITS: usize = 16;
const SUFFIX: &str = ".jsonl";

/// A server's audit log.
#[derive(Debug)]
pub struct Reader {
    folder: PrivateFolder,
    head: Known,
    files: Vec<Numbered>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    /// The number of its first line.
    pub(super) first: u64,
    pub(super) name: String,
}

impl Reader {
    /// Opens the log in a state folder; `None` where there never was one. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open(state: &Path) -> Result<Option<Self>, Error> {
        let Some(server) = PrivateFolder::open_existing(&state.join("server"))? else {
            return Ok(None);
        };
        // Before the names: a file that is begun in between is not needed for the lines up to this
        // head.
        let head = Head::read(&server)?;
        let folder = PrivateFolder::open_existing(&server.path_of(FOLDER))?;
        Ok(match folder {
            Some(folder) => Some(Self {
                head,
                files: files(&folder)?,
                folder,
            }),
            None if head == Known::Absent => None,
            None => Some(Self {
                head,
                files: Vec::new(),
                folder: server,
            }),
        })
    }

    /// Walks all of it and says what is wrong with it. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where a file cannot be read.
    pub fn verify(&self) -> Result<Report, Error> {
        let mut walk = Walk::new(self.head.tip());
        self.each(&mut walk, |walk, bytes| {
            walk.line(bytes);
        })?;
        let mut report = walk.end();
        let begun = report.lines > 0 || self.head != Known::Absent;
        if let (Some(problem), true) = (self.head.problem(), begun) {
            report.flaws.push(super::Flaw {
                file: "audit-head".into(),
                line: 0,
                seq: report.tip.seq,
                problem: problem.into(),
            });
        }
        Ok(report)
    }

    /// Hands every line that can be read to `take`, with its text. How many could not be read.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where a file cannot be read.
    pub fn lines(&self, mut take: impl FnMut(&Line, &str)) -> Result<u64, Error> {
        let mut unreadable = 0;
        let mut walk = Walk::new(None);
        self.each(&mut walk, |_, bytes| {
            match (Line::parse(bytes), str::from_utf8(bytes)) {
                (Ok(line), Ok(text)) => take(&line, text),
                _ => unreadable += 1,
            }
        })?;
        Ok(unreadable)
    }

    fn each(&self, walk: &mut Walk, mut take: impl FnMut(&mut Walk, &[u8])) -> Result<(), Error> {
        for (index, file) in self.files.iter().enumerate() {
            let bad =
                |error: io::Error| Error::state(self.folder.path_of(&file.name).display(), error);
            let Some(opened) = self.folder.open_to_read(&file.name)? else {
                continue;
            };
            walk.file(&file.name, file.first);
            let torn = each_line(opened, |bytes| take(walk, bytes))
                .map_err(bad)?
                .torn;
            walk.file_end(torn, index + 1 == self.files.len());
        }
        Ok(())
    }
}

impl Known {
    /// What is wrong with the head itself.
    fn problem(self) -> Option<&'static str> {
        match self {
            Self::Line(_) => None,
            Self::Absent => {
                Some("there is no head: nobody knows whether the end of the log was cut off")
            }
            Self::Damaged => {
                Some("the head cannot be read: nobody knows whether the end of the log was cut off")
            }
        }
    }
}

/// The name of the file that begins with this line.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// The files of the log, in order.
fn files(folder: &PrivateFolder) -> Result<Vec<Numbered>, Error> {
    let mut files: Vec<Numbered> = folder
        .names()?
        .into_iter()
        .filter_map(|name| {
            let first: u64 = name.strip_suffix(SUFFIX)?.parse().ok()?;
            (file_name(first) == name).then_some(Numbered { first, name })
        })
        .collect();
    files.sort_by_key(|file| file.first);
    Ok(files)
}

/// How a file of the log ends.
struct End {
    /// Bytes of whole lines.
    whole: u64,
    /// Bytes behind them.
    torn: u64,
}

/// Hands every whole line of a file, without its line feed, to `take`. A line that is too long is
/// handed over in pieces that are too long as well.
fn each_line(file: File, mut take: impl FnMut(&[u8])) -> io::Result<End> {
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    let mut end = End { whole: 0, torn: 0 };
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX as u64 + 2)
            .read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            Some(whole) => take(whole),
            None if read > LINE_BYTES_MAX => take(&line),
            None => {
                end.torn = read as u64;
                return Ok(end);
            }
        }
        end.whole += read as u64;
    }
}

/// What a server finds when it opens the log.
pub(super) struct Found {
    /// The line behind which it goes on.
    pub(super) tip: Tip,
    /// The file in which it does, if not in one of its own.
    pub(super) go_on: Option<Numbered>,
    /// The bytes of whole lines in that file.
    pub(super) length: u64,
    /// What is wrong with the log.
    pub(super) problem: Option<String>,
}

/// Looks at the end of the log: whether the last lines are whole, linked, and reach up to the head.
pub(super) fn survey(folder: &PrivateFolder, head: Known) -> Result<Found, Error> {
    let files = files(folder)?;
    let mut last: Option<(Numbered, End)> = None;
    let mut report = Walk::new(head.tip()).end();
    let mut begins_at = 1;
    // The last file may have no line yet; then the one before it has the last line.
    for (index, file) in files.iter().enumerate().rev().take(2) {
        begins_at = file.first;
        let mut walk = Walk::from(begins_at, head.tip());
        for (after, file) in files.iter().enumerate().skip(index) {
            let bad = |error: io::Error| Error::state(folder.path_of(&file.name).display(), error);
            let Some(opened) = folder.open_to_read(&file.name)? else {
                continue;
            };
            walk.file(&file.name, file.first);
            let end = each_line(opened, |bytes| drop(walk.line(bytes))).map_err(bad)?;
            walk.file_end(end.torn, after + 1 == files.len());
            last = Some((file.clone(), end));
        }
        report = walk.end();
        if report.lines > 0 {
            break;
        }
    }
    let has_begun = report.lines > 0 || begins_at > 1 || head.tip().is_some_and(|tip| tip.seq > 0);
    let problem = match (report.flaws.first(), head.problem()) {
        (_, Some(problem)) if has_begun || head == Known::Damaged => Some(problem.to_owned()),
        (Some(flaw), _) => Some(format!(
            "{} line {}: {}",
            flaw.file, flaw.line, flaw.problem
        )),
        _ => None,
    };
    let Some(problem) = problem else {
        let length = last.as_ref().map_or(0, |(_, end)| end.whole);
        return Ok(Found {
            tip: report.tip,
            go_on: last.map(|(file, _)| file),
            length,
            problem: None,
        });
    };
    // Nothing of what is there is touched: the log goes on behind everything that ever was, in a
    // file of its own.
    let newest = files.last().map_or(0, |file| file.first);
    // The next line is linked to the last one, or to what the head says that it was.
    let known = head
        .tip()
        .filter(|head| head.seq >= report.tip.seq)
        .unwrap_or(report.tip);
    let seq = known.seq.max(report.tip.seq).max(newest);
    Ok(Found {
        tip: Tip {
            seq,
            hash: known.hash,
        },
        go_on: None,
        length: 0,
        problem: Some(problem),
    })
}
