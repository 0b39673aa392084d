//! Reading the audit log over the network: the messages, and both sides.

use landline_proto::{
    BodyEnd, BodySize, ErrorCode, Header, Message, MessageRule, ProtocolError, ProtocolState,
    messages::ErrorMessage,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::server::AdminService;
use crate::{
    Error,
    audit::{LogLine, Reader, Report, Since, Violation},
    net::{Channel, DataFrame, Received},
    rights::Role,
    session::{ServiceContext, WorkUnit, role_to_see},
};

/// The lines that are sent if the request names no number.
const LINES_DEFAULT: u64 = 10_000;
/// The bytes of lines that are sent together.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are read ahead.
const CHUNKS: usize = 2;
/// The longest line that a client accepts. It is longer than any line of the log.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The largest list of violations, in bytes of JSON. It is smaller than a header may be.
const VIOLATIONS_BYTES_MAX: usize = 48 * 1024;

/// Client: asks for the last lines of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowAudit {
    /// Only what this user did, or what was done to this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only lines from this moment on, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The number of lines; 10,000 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

impl Message for ShowAudit {
    const TYPE: &'static str = "show-audit";
}

/// Server: the lines follow as a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuditLines {
    /// The number of lines that cannot be read.
    pub(super) unreadable: u64,
}

impl Message for AuditLines {
    const TYPE: &'static str = "audit-lines";
}

/// Client: asks whether the audit log is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VerifyAudit {}

impl Message for VerifyAudit {
    const TYPE: &'static str = "verify-audit";
}

/// Server: the result of a verification. Commands print it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Whether there are no violations.
    pub ok: bool,
    /// The number of files.
    pub files: u64,
    /// The number of lines.
    pub lines: u64,
    /// When the first line was written; empty if there is none.
    pub first: String,
    /// When the last line was written; empty if there is none.
    pub last: String,
    /// The number of the last line.
    pub seq: u64,
    /// The SHA-256 of the last line.
    pub hash: String,
    /// The last line that the server has removed; 0 for none.
    pub cut_through: u64,
    /// What is wrong with the log.
    pub violations: Vec<Violation>,
    /// The number of violations that are not listed.
    #[serde(default)]
    pub more_violations: u64,
}

impl Message for AuditReport {
    const TYPE: &'static str = "audit-report";
}

impl From<Report> for AuditReport {
    fn from(report: Report) -> Self {
        let (first, last) = report.times.unwrap_or_default();
        Self {
            ok: report.violations.is_empty(),
            files: report.files,
            lines: report.lines,
            first,
            last,
            seq: report.head.seq,
            hash: report.head.hash.to_string(),
            cut_through: report.cut_through,
            violations: report.violations,
            more_violations: 0,
        }
    }
}

impl AuditReport {
    /// Leaves out violations that do not fit into a message.
    fn shorten(mut self) -> Self {
        let mut bytes = 0;
        let fits = |violation: &&Violation| {
            bytes += serde_json::to_string(violation).map_or(0, |json| json.len() + 1);
            bytes <= VIOLATIONS_BYTES_MAX
        };
        let kept = self.violations.iter().take_while(fits).count();
        self.more_violations = self.violations.split_off(kept).len() as u64;
        self
    }
}

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);
/// Client: has sent `show-audit`.
static LINES: ProtocolState = ProtocolState::new(
    "admin-audit-lines",
    &[MessageRule::open(AuditLines::TYPE, u64::MAX), ERROR],
);
/// Client: has sent `verify-audit`.
static REPORT: ProtocolState = ProtocolState::new(
    "admin-audit-report",
    &[MessageRule::new(AuditReport::TYPE), ERROR],
);
/// Server: sends the lines.
static SENDING: ProtocolState = ProtocolState::new("admin-audit-sending", &[ERROR]);

/// Asks for lines of the audit log, and passes each one to `take` without its line feed. Returns
/// the number of lines that cannot be read.
///
/// # Errors
/// What the server says, [`Error::Lost`].
pub async fn show(
    channel: &mut Channel,
    request: &ShowAudit,
    mut take: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    channel.send(request)?;
    channel.flush().await?;
    let AuditLines { unreadable } = channel.receive(&LINES).await?.read()?;
    let mut buffer = Vec::new();
    loop {
        match channel.receive_data(&mut buffer).await? {
            Received::Data(_) => {}
            Received::End(BodyEnd::Complete) => return Ok(unreadable),
            Received::End(BodyEnd::GivenUp) => {
                channel.receive(&LINES).await?;
                return Err(Error::Lost("the server stopped within the log".into()));
            }
        }
        let mut taken = 0;
        while let Some(length) = buffer.iter().skip(taken).position(|byte| *byte == b'\n') {
            take(buffer.get(taken..taken + length).unwrap_or_default());
            taken += length + 1;
        }
        buffer.drain(..taken);
        if buffer.len() > LINE_BYTES_MAX {
            let problem = format!("in {:?}: a line that does not end", AuditLines::TYPE);
            return Err(ProtocolError::BadHeader(problem).into());
        }
    }
}

/// Asks whether the audit log is unchanged.
///
/// # Errors
/// What the server says, [`Error::Lost`].
pub async fn verify(channel: &mut Channel) -> Result<AuditReport, Error> {
    channel.send(&VerifyAudit {})?;
    channel.flush().await?;
    Ok(channel.receive(&REPORT).await?.read()?)
}

/// The lines that a request selects.
#[derive(Clone)]
struct LineSelection {
    user: Option<String>,
    since: Option<Since>,
    role: Role,
}

impl LineSelection {
    fn includes(&self, line: &LogLine) -> bool {
        self.user.as_deref().is_none_or(|user| line.is_of(user))
            && self.since.is_none_or(|since| since.includes(line))
            && role_to_see(&line.event) <= self.role
    }

    /// The number of selected lines, and of those that cannot be read.
    fn count(&self, reader: &Reader, unit: &WorkUnit) -> Result<(u64, u64), Error> {
        let mut count = 0;
        let unreadable = reader.lines(|line, text| {
            unit.spend(text.len() as u64)?;
            count += u64::from(self.includes(line));
            Ok(())
        })?;
        Ok((count, unreadable))
    }

    /// Sends the selected lines without the first `skipped` ones.
    fn send(
        &self,
        reader: &Reader,
        skipped: u64,
        chunks: &mpsc::Sender<Vec<u8>>,
        unit: &WorkUnit,
    ) -> Result<(), Error> {
        let (mut index, mut chunk) = (0, Vec::new());
        // The receiver is gone once the connection has failed, which is reported there.
        let send = |chunk: &mut Vec<u8>| {
            let sent = chunks.blocking_send(std::mem::take(chunk));
            sent.map_err(|_| Error::Lost("the client has gone".into()))
        };
        reader.lines(|line, text| {
            unit.spend(text.len() as u64)?;
            if !self.includes(line) {
                return Ok(());
            }
            index += 1;
            if index <= skipped {
                return Ok(());
            }
            chunk.extend_from_slice(text.as_bytes());
            chunk.push(b'\n');
            match chunk.len() >= CHUNK_BYTES {
                true => send(&mut chunk),
                false => Ok(()),
            }
        })?;
        if chunk.is_empty() {
            Ok(())
        } else {
            send(&mut chunk)
        }
    }
}

impl AdminService {
    /// Sends the selected lines of the log. If that fails within the body, the channel has to end.
    pub(super) async fn show_audit(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        header: &Header,
    ) -> Result<(), Error> {
        let ShowAudit { user, since, last } = header.read()?;
        let since = since.map(|since| since.parse()).transpose();
        let selection = LineSelection {
            user,
            since: since.map_err(|error: &str| Error::here(ErrorCode::BadHeader, error))?,
            role: context.rights().role(context.user()),
        };
        // Watched before the log is read, so that no change of the role is missed.
        let mut rules = context.rights().watch();
        let (administration, counted) = (self.administration.clone(), selection.clone());
        let count = move |unit: &WorkUnit| {
            let reader = administration.open_log()?;
            counted.count(&reader, unit).map(|counts| (counts, reader))
        };
        let ((count, unreadable), reader) = context.blocking("admin show-audit", count).await?;
        let skipped = count.saturating_sub(last.unwrap_or(LINES_DEFAULT));
        channel.send_with_body(&AuditLines { unreadable }, BodySize::Unknown)?;
        let (chunks, mut filled) = mpsc::channel(CHUNKS);
        let read = move |unit: &WorkUnit| selection.send(&reader, skipped, &chunks, unit);
        let reading = context.blocking("admin show-audit", read);
        let sending = async {
            let mut frame = DataFrame::in_buffer(channel.buffers().take(DataFrame::BYTES).await);
            while let Some(chunk) = filled.recv().await {
                for part in chunk.chunks(DataFrame::CONTENT_BYTES) {
                    fill(&mut frame, part);
                    channel.send_data(&frame, &SENDING).await?;
                }
            }
            drop(filled);
            Ok::<_, Error>(())
        };
        let (user, minimum) = (context.user().clone(), Role::Admin);
        let still = move |rights: &crate::rights::Rights| rights.role(&user) >= minimum;
        tokio::select! {
            biased;
            done = async { tokio::try_join!(sending, reading) } => done.map(drop)?,
            never = context.terminate_on_revocation(&mut rules, "read the audit log", still) => {
                match never {}
            }
        }
        channel.end_body();
        channel.flush().await
    }

    /// Verifies the log and sends the result.
    pub(super) async fn verify_audit(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
    ) -> Result<(), Error> {
        let administration = self.administration.clone();
        let verify = move |unit: &WorkUnit| {
            let reader = administration.open_log()?;
            reader.verify_while(|bytes| unit.spend(bytes as u64))
        };
        let report = context.blocking("admin verify-audit", verify).await?;
        channel.send(&AuditReport::from(report).shorten())?;
        channel.flush().await
    }
}

fn fill(frame: &mut DataFrame, part: &[u8]) {
    let copy = |content: &mut [u8]| {
        if let Some(content) = content.get_mut(..part.len()) {
            content.copy_from_slice(part);
        }
        Ok::<_, std::convert::Infallible>(part.len())
    };
    let Ok(_) = frame.fill(copy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_with_many_violations_fits_into_a_message() {
        let violation = Violation {
            file: "audit/0000000000000001.jsonl".into(),
            line: 1,
            seq: 1,
            problem: "x".repeat(1000),
        };
        let report = AuditReport {
            ok: false,
            files: 1,
            lines: 1,
            first: String::new(),
            last: String::new(),
            seq: 1,
            hash: String::new(),
            cut_through: 0,
            violations: vec![violation; 1000],
            more_violations: 0,
        };
        let shortened = report.clone().shorten();
        let listed = shortened.violations.len() as u64;
        assert!(listed > 40 && listed + shortened.more_violations == 1000);
        let json = serde_json::to_string(&shortened).unwrap();
        assert!(json.len() < 64 * 1024, "{}", json.len());
        let few = AuditReport {
            violations: report.violations[..3].to_vec(),
            ..report
        };
        assert_eq!(few.clone().shorten(), few);
    }
}
