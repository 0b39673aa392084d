//! What the commands about files on a server share: their paths, the session, failures and lines.

use std::io::{self, Write};

use landline::{
    Client, Error, Side,
    files::{
        RecordStream,
        entries::{
            client,
            records::{FailedRecord, FileRecord},
        },
        messages::SERVICE,
    },
    login::FirstRequest,
    net::{Channel, Location, Target},
    proto::{Message, Name},
};
use serde_json::Value;

use crate::{
    arguments::{Access, TypedLocation},
    connect,
    context::{Context, ExitStatus},
    failure::Failure,
    terminal::{escape_json, shown_line},
};

/// A path on a server.
#[derive(Debug, Clone)]
pub(crate) struct RemotePath {
    pub(crate) target: Target,
    typed: TypedLocation,
    /// What the user typed before the path, such as `nas:`.
    prefix: String,
    /// The path in the request; the home is `.`.
    pub(crate) path: Name,
}

impl RemotePath {
    /// Reads a location that must be on a server. `command` is the one for local paths.
    ///
    /// # Errors
    /// A path on this machine.
    pub(crate) fn new(typed: &TypedLocation, command: &str) -> Result<Self, Failure> {
        match &typed.location {
            Location::Remote { target, path } => Ok(Self {
                target: target.clone(),
                typed: typed.clone(),
                prefix: match typed.text.strip_suffix(&*String::from_utf8_lossy(path)) {
                    Some(prefix) => prefix.to_owned(),
                    None => format!("{target}:"),
                },
                path: Name(if path.is_empty() {
                    b".".to_vec()
                } else {
                    path.clone()
                }),
            }),
            Location::Local(_) | Location::Stream => {
                let what = format!("{} names a path on this machine", typed.text);
                let advice = format!("use {command} for it, or write HOST:PATH");
                Err(Failure::usage(what).with_advice(&advice))
            }
        }
    }

    /// Reads locations that must be at servers.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn all(typed: &[TypedLocation], command: &str) -> Result<Vec<Self>, Failure> {
        typed
            .iter()
            .map(|typed| Self::new(typed, command))
            .collect()
    }

    /// A path at the same server, as a user would type it. It can be printed safely.
    pub(crate) fn shown(&self, path: &Name) -> String {
        shown_line(&self.prefix) + &shown_name(path)
    }

    /// The server as the user typed it, for programs.
    pub(crate) fn host(&self) -> &str {
        self.prefix.trim_end_matches(':')
    }
}

/// A name that can be printed safely. Bytes that are not UTF-8 are escaped.
pub(crate) fn shown_name(name: &Name) -> String {
    let mut text = String::new();
    for chunk in name.0.utf8_chunks() {
        text.push_str(&shown_line(chunk.valid()));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The channels with the servers of a command: one at a time.
pub(crate) struct FileSession<'a> {
    context: &'a Context,
    client: Client,
    access: &'a Access,
    open: Option<(Target, Channel)>,
    /// The servers that could not be reached.
    unreachable: Vec<Target>,
}

impl<'a> FileSession<'a> {
    /// A session that connects for its first request.
    fn new(context: &'a Context, access: &'a Access) -> Result<Self, Failure> {
        Ok(Self {
            context,
            client: context.client()?,
            access,
            open: None,
            unreachable: Vec::new(),
        })
    }

    /// Sends a request on the channel with its server, which is opened if needed.
    ///
    /// # Errors
    /// The server cannot be reached. It is tried once.
    pub(crate) async fn send(
        &mut self,
        target: &Target,
        request: &impl Message,
    ) -> Result<&mut Channel, Ended> {
        if self.unreachable.contains(target) {
            return Err(Ended::Skipped);
        }
        match self.connect(target, request).await {
            Ok(channel) => {
                let (_, channel) = self.open.insert((target.clone(), channel));
                Ok(channel)
            }
            Err(failure) => {
                self.unreachable.push(target.clone());
                Err(Ended::Unreachable(failure))
            }
        }
    }

    async fn connect(
        &mut self,
        target: &Target,
        request: &impl Message,
    ) -> Result<Channel, Failure> {
        let open = self
            .open
            .take_if(|(open, channel)| open == target && !channel.reader.is_closed());
        if let Some((_, mut channel)) = open {
            client::send(&mut channel, request).await?;
            return Ok(channel);
        }
        if let Some((_, other)) = self.open.take() {
            other.finish().await;
        }
        let first = FirstRequest::new(SERVICE, request)?;
        connect::open_channel(self.context, &self.client, target, self.access, &first).await
    }

    /// Sends a request about entries, and passes on all records of the answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the request; `print` fails.
    pub(crate) async fn ask(
        &mut self,
        target: &Target,
        request: &impl Message,
        mut print: impl FnMut(Vec<FileRecord>) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        let channel = self.send(target, request).await?;
        let mut records = RecordStream::new(channel);
        let ended = loop {
            match records.next_batch().await {
                Ok(Some(batch)) => {
                    if let Err(ended) = print(batch) {
                        break ended;
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    if !matches!(
                        error,
                        Error::Failed {
                            side: Side::There,
                            ..
                        }
                    ) {
                        self.open = None;
                    }
                    return Err(Failure::from(error).into());
                }
            }
        };
        // The rest of the answer is not wanted.
        self.open = None;
        Err(ended)
    }

    /// Closes the last channel.
    async fn finish(self) {
        if let Some((_, channel)) = self.open {
            channel.finish().await;
        }
    }

    /// Closes the channel after a failure on this side, and tells the server why.
    pub(crate) async fn fail(&mut self, error: &Error) {
        if let Some((_, channel)) = self.open.take() {
            match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                None => channel.finish().await,
            }
        }
    }
}

/// Why a command ends before all is done.
pub(crate) enum Ended {
    /// What reads standard output has enough.
    ReaderGone,
    /// Something failed.
    Failed(Failure),
    /// The server cannot be reached.
    Unreachable(Failure),
    /// The server could not be reached before.
    Skipped,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Does something with each path, also after a failure. Returns the exit status.
///
/// # Errors
/// The failure of the only path, or of the only server.
pub(crate) async fn for_each_path<'a>(
    context: &'a Context,
    access: &'a Access,
    paths: &[RemotePath],
    mut work: impl AsyncFnMut(&mut FileSession<'a>, &RemotePath, &mut Failures<'a>) -> Result<(), Ended>,
) -> Result<ExitStatus, Failure> {
    let mut session = FileSession::new(context, access)?;
    if access.port.is_none() {
        let known = session.client.pins().all()?;
        for path in paths {
            path.typed.check_not_port(&known)?;
        }
    }
    let mut failures = Failures::new(context, paths);
    let mut ended = Ok(true);
    for path in paths {
        let done = work(&mut session, path, &mut failures).await;
        ended = failures.continues_after(done);
        if !matches!(ended, Ok(true)) {
            break;
        }
    }
    session.finish().await;
    ended.and_then(|_| failures.end())
}

/// The failures of a command that continues after one.
pub(crate) struct Failures<'a> {
    context: &'a Context,
    /// Whether the command names one path, whose failure is that of the command.
    has_one_path: bool,
    /// Whether all paths are at one server.
    has_one_server: bool,
    count: u64,
}

impl<'a> Failures<'a> {
    fn new(context: &'a Context, paths: &[RemotePath]) -> Self {
        Self {
            context,
            has_one_path: paths.len() == 1,
            has_one_server: paths.windows(2).all(|pair| match pair {
                [one, other] => one.target == other.target,
                _ => true,
            }),
            count: 0,
        }
    }

    /// Prints a failure of something among others.
    pub(crate) fn print(&mut self, failure: &Failure) {
        self.count += 1;
        failure.print(self.context);
    }

    /// Prints what a record says has failed.
    pub(crate) fn print_record(&mut self, failed: FailedRecord) {
        self.print(&Error::from(failed).into());
    }

    /// Whether the command continues after this. Prints the failure of a path if it does.
    fn continues_after(&mut self, done: Result<(), Ended>) -> Result<bool, Failure> {
        match done {
            Ok(()) => Ok(true),
            Err(Ended::ReaderGone) => Ok(false),
            Err(Ended::Skipped) => Ok(true),
            Err(Ended::Failed(failure)) if self.has_one_path && self.count == 0 => Err(failure),
            Err(Ended::Unreachable(failure)) if self.has_one_server && self.count == 0 => {
                Err(failure)
            }
            Err(Ended::Failed(failure) | Ended::Unreachable(failure)) => {
                self.print(&failure);
                Ok(true)
            }
        }
    }

    /// The exit status: 1 if anything failed. With `--json` the last object says so.
    fn end(&self) -> Result<ExitStatus, Failure> {
        match self.count {
            0 => Ok(ExitStatus::SUCCESS),
            1 if self.context.json => Err(Failure::new("incomplete", "there was 1 failure")),
            count if self.context.json => {
                let what = format!("there were {count} failures");
                Err(Failure::new("incomplete", what))
            }
            _ => Ok(ExitStatus(1)),
        }
    }
}

/// Lines for standard output, which are written together.
pub(crate) struct OutputLines<'a> {
    context: &'a Context,
    text: String,
}

impl<'a> OutputLines<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self {
            context,
            text: String::new(),
        }
    }

    /// Adds a line, which must be safe to print.
    pub(crate) fn add(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds a line of JSON.
    pub(crate) fn add_json(&mut self, value: &Value) {
        self.add(&escape_json(&value.to_string()));
    }

    /// Writes all lines.
    ///
    /// # Errors
    /// Standard output cannot be written, or nothing reads it.
    pub(crate) fn write(&mut self) -> Result<(), Ended> {
        let text = std::mem::take(&mut self.text);
        let mut out = self.context.out.raw();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Ended::ReaderGone),
            Err(error) => Err(Failure::from(Error::io("standard output", &error)).into()),
        }
    }
}

/// Formats bytes: as a number, or with a unit if `human`.
pub(crate) fn size(bytes: u64, human: bool) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    if !human {
        return bytes.to_string();
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit_name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || value >= 10.0 {
        format!("{}{unit_name}", value.ceil())
    } else {
        format!("{:.1}{unit_name}", (value * 10.0).ceil() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_with_a_unit() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10 * 1024, "10K"),
            (10 * 1024 + 1, "11K"),
            (5 << 30, "5.0G"),
        ] {
            assert_eq!(size(bytes, true), shown);
        }
        assert_eq!(size(1 << 20, false), "1048576");
    }

    /// Proves `terminal-escape` in docs/faults.md.
    #[test]
    fn names_are_printed_without_controls_and_without_loss() {
        let name = Name(b"a\x1b[2J\n\xff\xfe\xed\xa0\x80".to_vec());
        assert_eq!(shown_name(&name), "a\\u{1b}[2J\\n\\xff\\xfe\\xed\\xa0\\x80");
    }
}
