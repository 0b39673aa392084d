//! Verifies the hash chain, line by line. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::{ChainHead, LineHash, LogLine};

/// The most violations that are listed. A broken link is one, however many lines follow it.
const VIOLATIONS_MAX: usize = 1000;

/// Something that is wrong with the log, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The file.
    pub file: String,
    /// The line in the file, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The sequence number that the line has or should have.
    pub seq: u64,
    /// What is wrong.
    pub problem: String,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number of files.
    pub files: u64,
    /// The number of lines.
    pub lines: u64,
    /// The last line that could be read.
    pub head: ChainHead,
    /// When the first and the last line were written.
    pub times: Option<(String, String)>,
    /// The last line that the server has removed to limit the size of the log; 0 for none.
    pub cut_through: u64,
    /// Everything that is wrong, in the order of the log.
    pub violations: Vec<Violation>,
}

/// Verifies a chain from its first file to its last.
#[derive(Debug)]
pub struct ChainVerifier {
    checkpoint: Option<ChainHead>,
    file: String,
    line: u64,
    /// The file and line of the previous line.
    previous: (String, u64),
    head: ChainHead,
    /// Whether the hash of the previous line is known: it could be read and is in its place.
    is_linked: bool,
    has_passed_checkpoint: bool,
    /// Whether recorded gaps are violations.
    reports_gaps: bool,
    /// What came before the first line, if that is not line 1.
    cut: Option<MissingStart>,
    report: Report,
}

/// Lines that are missing at the start of the log. They must have been removed by the server,
/// which records that.
#[derive(Debug)]
struct MissingStart {
    file: String,
    through: u64,
    /// The hash of line `through`, as the first line that is there names it.
    hash: Option<LineHash>,
    is_recorded: bool,
}

impl ChainVerifier {
    /// Verifies the whole log, which has to include the line of the checkpoint.
    pub fn new(checkpoint: Option<ChainHead>) -> Self {
        let report = Report {
            files: 0,
            lines: 0,
            head: ChainHead::START,
            times: None,
            cut_through: 0,
            violations: Vec::new(),
        };
        Self {
            checkpoint,
            file: String::new(),
            line: 0,
            previous: (String::new(), 0),
            head: ChainHead::START,
            is_linked: true,
            has_passed_checkpoint: checkpoint.is_none_or(|line| line.seq == 0),
            reports_gaps: true,
            cut: None,
            report,
        }
    }

    /// Verifies the log from the file that starts with line `first`, and trusts what came before.
    pub(super) fn starting_at(first: u64, checkpoint: Option<ChainHead>) -> Self {
        let mut verifier = Self::new(checkpoint);
        verifier.reports_gaps = false;
        verifier.head.seq = first.saturating_sub(1);
        verifier.is_linked = first == 1;
        if let Some(line) = checkpoint.filter(|line| line.seq == verifier.head.seq) {
            (verifier.head, verifier.is_linked) = (line, true);
            verifier.has_passed_checkpoint = true;
        }
        verifier
    }

    /// Starts a file, whose name says that it starts with line `first`.
    pub fn start_file(&mut self, name: &str, first: u64) {
        self.report.files += 1;
        name.clone_into(&mut self.file);
        self.line = 0;
        let expected = self.head.seq.saturating_add(1);
        if first == expected {
            return;
        }
        if self.report.files == 1 && self.reports_gaps && first > 1 {
            self.cut = Some(MissingStart {
                file: name.to_owned(),
                through: first - 1,
                hash: None,
                is_recorded: false,
            });
        } else {
            let problem = match first.checked_sub(expected) {
                Some(_) => format!("{} missing before this file", range(expected, first - 1)),
                None => format!("the file starts with line {first}, expected line {expected}"),
            };
            self.add_here(first, problem);
        }
        self.head.seq = first.saturating_sub(1);
        self.is_linked = false;
    }

    /// Takes the next line, without its line feed. Returns it if it can be read.
    pub fn add_line(&mut self, bytes: &[u8]) -> Option<LogLine> {
        self.line += 1;
        self.report.lines += 1;
        let expected = self.head.seq.saturating_add(1);
        let hash = LineHash::of(bytes);
        let line = match LogLine::parse(bytes) {
            Ok(line) => line,
            Err(problem) => {
                self.add_here(expected, format!("the line {problem}"));
                let head = ChainHead {
                    seq: expected,
                    hash,
                };
                self.advance(head, false);
                return None;
            }
        };
        self.check_link(&line, expected);
        self.check_event(&line);
        let first = self
            .report
            .times
            .take()
            .map_or_else(|| line.time.clone(), |(first, _)| first);
        self.report.times = Some((first, line.time.clone()));
        let head = ChainHead {
            seq: line.seq,
            hash,
        };
        self.advance(head, true);
        Some(line)
    }

    /// Checks that a line follows the previous one.
    fn check_link(&mut self, line: &LogLine, expected: u64) {
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.through + 1 == line.seq) {
            cut.hash = Some(line.prev);
        }
        if line.seq != expected {
            let problem = match line.seq.checked_sub(expected) {
                Some(_) => format!("{} missing before it", range(expected, line.seq - 1)),
                None => format!("the line has number {}, expected {expected}", line.seq),
            };
            self.add_here(line.seq, problem);
        } else if self.is_linked && line.prev != self.head.hash {
            if expected == 1 {
                let problem = "the first line names a line before it";
                self.add_here(expected, problem.to_owned());
            } else {
                let (file, at) = self.previous.clone();
                let problem = "the line was changed: the next line holds another hash of it";
                self.add(file, at, self.head.seq, problem.to_owned());
            }
        }
    }

    /// Takes notice of lines about the log itself.
    fn check_event(&mut self, line: &LogLine) {
        let text = |key: &str| line.fields.get(key).and_then(Value::as_str);
        if line.event == "gap" && self.reports_gaps {
            let found = text("problem").unwrap_or_default();
            let problem = format!("the server found this when it started: {found}");
            self.add_here(line.seq, problem);
        }
        if line.event == "cut"
            && let Some(through) = line.fields.get("through").and_then(Value::as_u64)
            && let Some(cut) = &mut self.cut
        {
            let hash = text("hash").and_then(LineHash::parse);
            cut.is_recorded |= through == cut.through && hash.is_some() && hash == cut.hash;
        }
    }

    fn advance(&mut self, head: ChainHead, is_linked: bool) {
        if let Some(known) = self.checkpoint.filter(|known| known.seq == head.seq) {
            if known.hash != head.hash && is_linked {
                let problem = "the line was changed: the checkpoint holds another hash of it";
                self.add_here(head.seq, problem.to_owned());
            }
            self.has_passed_checkpoint = true;
        }
        self.previous = (self.file.clone(), self.line);
        self.head = head;
        self.is_linked = is_linked;
    }

    /// Ends the file; `torn` bytes at its end are not a complete line. In the last file that is
    /// normal: the server was killed while it wrote the line, or is writing it.
    pub fn end_file(&mut self, torn: u64, is_last: bool) {
        let expected = self.head.seq.saturating_add(1);
        if torn > 0 && !is_last {
            self.line += 1;
            self.add_here(
                expected,
                format!("the last {torn} bytes are not a complete line"),
            );
        }
    }

    /// Ends the verification.
    pub fn finish(mut self) -> Report {
        if let Some(known) = self.checkpoint.filter(|_| !self.has_passed_checkpoint) {
            let problem = format!(
                "the log ends with line {}, but the checkpoint names line {}",
                self.head.seq, known.seq
            );
            self.add_here(self.head.seq.saturating_add(1), problem);
        }
        if let Some(cut) = self.cut.take() {
            if cut.is_recorded {
                self.report.cut_through = cut.through;
            } else {
                let problem = format!(
                    "{} missing before this file, and the log does not record that the server removed them",
                    range(1, cut.through)
                );
                let violation = Violation {
                    file: cut.file,
                    line: 0,
                    seq: cut.through.saturating_add(1),
                    problem,
                };
                self.report.violations.insert(0, violation);
            }
        }
        self.report.head = self.head;
        self.report
    }

    fn add_here(&mut self, seq: u64, problem: String) {
        self.add(self.file.clone(), self.line, seq, problem);
    }

    fn add(&mut self, file: String, line: u64, seq: u64, problem: String) {
        if self.report.violations.len() < VIOLATIONS_MAX {
            self.report.violations.push(Violation {
                file,
                line,
                seq,
                problem,
            });
        }
    }
}

/// Line numbers as the subject of a sentence.
fn range(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} is")
    } else {
        format!("lines {first} to {last} are")
    }
}
