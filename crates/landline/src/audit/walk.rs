//! The rules of the chain, line by line. No input and output.

use serde::Serialize;

use super::{
    Line,
    line::{Hash, Tip},
};

/// How many flaws are remembered with their places; there is one for every broken link, not for
/// every line behind it.
const FLAWS_MAX: usize = 1000;

/// Something that is wrong with the log, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The file.
    pub file: String,
    /// The line in it, from 1; 0 where it is about the file as a whole.
    pub line: u64,
    /// The sequence number that the line has, or should have.
    pub seq: u64,
    /// What is wrong.
    pub problem: String,
}

/// What was found on a walk along the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many files there are.
    pub files: u64,
    /// How many lines.
    pub lines: u64,
    /// The last line that could be read.
    pub tip: Tip,
    /// When the first and the last line were written.
    pub times: Option<(String, String)>,
    /// What is wrong, in the order of the log; nothing if it is as it was written.
    pub flaws: Vec<Flaw>,
}

/// A walk along the chain, from its first file to its last.
#[derive(Debug)]
pub struct Walk {
    head: Option<Tip>,
    file: String,
    line: u64,
    /// Where the line before this one stands.
    before: (String, u64),
    tip: Tip,
    /// Whether the hash of the line before is known: it could be read, and is where it should be.
    is_linked: bool,
    has_passed_head: bool,
    /// Whether what a server has found and said is a flaw again.
    minds_gaps: bool,
    report: Report,
}

impl Walk {
    /// A walk from the first line of all to one that `head` names, at least.
    pub fn new(head: Option<Tip>) -> Self {
        let report = Report {
            files: 0,
            lines: 0,
            tip: Tip::START,
            times: None,
            flaws: Vec::new(),
        };
        Self {
            head,
            file: String::new(),
            line: 0,
            before: (String::new(), 0),
            tip: Tip::START,
            is_linked: true,
            has_passed_head: head.is_none_or(|head| head.seq == 0),
            minds_gaps: true,
            report,
        }
    }

    /// The same from the file that begins with the line `first` on, believing that what stood
    /// before it was as it should be.
    pub(super) fn from(first: u64, head: Option<Tip>) -> Self {
        let mut walk = Self::new(head);
        walk.minds_gaps = false;
        walk.tip.seq = first.saturating_sub(1);
        walk.is_linked = first == 1;
        if let Some(head) = head.filter(|head| head.seq == walk.tip.seq) {
            (walk.tip, walk.is_linked, walk.has_passed_head) = (head, true, true);
        }
        walk
    }

    /// Begins a file, which by its name begins with the line `first`.
    pub fn file(&mut self, name: &str, first: u64) {
        self.report.files += 1;
        name.clone_into(&mut self.file);
        self.line = 0;
        let due = self.tip.seq.saturating_add(1);
        if first != due {
            let problem = match first.checked_sub(due) {
                Some(_) => format!("{} missing before this file", range(due, first - 1)),
                None => format!("it begins with line {first}, and line {due} is due"),
            };
            self.flaw_here(first, problem);
            self.tip.seq = first.saturating_sub(1);
            self.is_linked = false;
        }
    }

    /// Takes the next line, without its line feed. What it says, if it can be read.
    pub fn line(&mut self, bytes: &[u8]) -> Option<Line> {
        self.line += 1;
        self.report.lines += 1;
        let due = self.tip.seq.saturating_add(1);
        let hash = Hash::of(bytes);
        let line = match Line::parse(bytes) {
            Ok(line) => line,
            Err(problem) => {
                self.flaw_here(due, format!("the line {problem}"));
                self.go_on(Tip { seq: due, hash }, false);
                return None;
            }
        };
        if line.seq != due {
            let problem = match line.seq.checked_sub(due) {
                Some(_) => format!("{} missing before it", range(due, line.seq - 1)),
                None => format!("it has the number {}, and {due} is due", line.seq),
            };
            self.flaw_here(line.seq, problem);
        } else if self.is_linked && line.prev != self.tip.hash {
            if due == 1 {
                self.flaw_here(
                    due,
                    "it is the first line, and names one before it".to_owned(),
                );
            } else {
                let (file, at) = self.before.clone();
                let problem = "the line is not the one that was written: the next one holds another hash of it";
                self.flaw(file, at, self.tip.seq, problem.to_owned());
            }
        }
        if line.event == "gap" && self.minds_gaps {
            let found = line
                .fields
                .get("problem")
                .and_then(|problem| problem.as_str())
                .unwrap_or_default();
            self.flaw_here(
                line.seq,
                format!("when the server started here, it found: {found}"),
            );
        }
        let first = self
            .report
            .times
            .take()
            .map_or_else(|| line.time.clone(), |(first, _)| first);
        self.report.times = Some((first, line.time.clone()));
        self.go_on(
            Tip {
                seq: line.seq,
                hash,
            },
            true,
        );
        Some(line)
    }

    fn go_on(&mut self, tip: Tip, is_linked: bool) {
        if let Some(head) = self.head.filter(|head| head.seq == tip.seq) {
            if head.hash != tip.hash && is_linked {
                self.flaw_here(
                    tip.seq,
                    "the line is not the one that was written: the head holds another hash of it"
                        .to_owned(),
                );
            }
            self.has_passed_head = true;
        }
        self.before = (self.file.clone(), self.line);
        self.tip = tip;
        self.is_linked = is_linked;
    }

    /// Ends the file; `torn` bytes at its end are no whole line. In the last file that is a line
    /// that was being written when the server was killed, or is being written now.
    pub fn file_end(&mut self, torn: u64, is_last: bool) {
        let due = self.tip.seq.saturating_add(1);
        if torn > 0 && !is_last {
            self.line += 1;
            self.flaw_here(due, format!("{torn} bytes at the end are no whole line"));
        }
    }

    /// Ends the walk.
    pub fn end(mut self) -> Report {
        if let (Some(head), false) = (self.head, self.has_passed_head) {
            let problem = format!(
                "the log ends with line {}, and the head names line {}",
                self.tip.seq, head.seq
            );
            self.flaw_here(self.tip.seq.saturating_add(1), problem);
        }
        self.report.tip = self.tip;
        self.report
    }

    fn flaw_here(&mut self, seq: u64, problem: String) {
        self.flaw(self.file.clone(), self.line, seq, problem);
    }

    fn flaw(&mut self, file: String, line: u64, seq: u64, problem: String) {
        if self.report.flaws.len() < FLAWS_MAX {
            self.report.flaws.push(Flaw {
                file,
                line,
                seq,
                problem,
            });
        }
    }
}

/// Lines, in words.
fn range(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} is")
    } else {
        format!("lines {first} to {last} are")
    }
}
