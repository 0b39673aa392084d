//! The server's part of requests about entries.

use std::{sync::Arc, time::Duration};

use landline_proto::{BodySize, Header, Message, Name, frame};
use tokio::sync::mpsc;

use super::{
    messages::{ListEntries, MakeFolder, Move, Records, Remove, Space, Sum, Usage, WORKING},
    task::{RecordWriter, Task},
};
use crate::{
    Error,
    activity::FileChange,
    net::{Channel, DataFrame},
    rights::Rights,
    session::{ServiceContext, WorkUnit},
};

/// How many parts of an answer may wait for the client.
const PARTS_MAX: usize = 2;

/// How long the server works on a request whose client has finished.
const FINISHED_TIME: Duration = Duration::from_secs(1);

/// A request about entries.
enum EntryRequest {
    List(ListEntries),
    Sum(Sum),
    Usage(Usage),
    Space(Space),
    MakeFolder(MakeFolder),
    Move(Move),
    Remove(Remove),
}

impl EntryRequest {
    fn read(header: &Header) -> Result<Self, Error> {
        Ok(match header.kind() {
            ListEntries::TYPE => Self::List(header.read()?),
            Sum::TYPE => Self::Sum(header.read()?),
            Usage::TYPE => Self::Usage(header.read()?),
            Space::TYPE => Self::Space(header.read()?),
            MakeFolder::TYPE => Self::MakeFolder(header.read()?),
            Move::TYPE => Self::Move(header.read()?),
            _ => Self::Remove(header.read()?),
        })
    }

    /// The kind of work, for the table of work.
    fn kind(&self) -> &'static str {
        match self {
            Self::List(_) => "files list",
            Self::Sum(_) => "files sum",
            Self::Usage(_) => "files usage",
            Self::Space(_) => "files space",
            Self::MakeFolder(_) => "files make-folder",
            Self::Move(_) => "files move",
            Self::Remove(_) => "files remove",
        }
    }

    fn path(&self) -> &Name {
        match self {
            Self::List(ListEntries { path, .. })
            | Self::Sum(Sum { path, .. })
            | Self::Usage(Usage { path, .. })
            | Self::Space(Space { path })
            | Self::MakeFolder(MakeFolder { path, .. })
            | Self::Move(Move { path, .. })
            | Self::Remove(Remove { path, .. }) => path,
        }
    }

    fn change(&self) -> Option<FileChange> {
        match self {
            Self::MakeFolder(_) => Some(FileChange::MakeFolder),
            Self::Move(_) => Some(FileChange::Move),
            Self::Remove(_) => Some(FileChange::Remove),
            Self::List(_) | Self::Sum(_) | Self::Usage(_) | Self::Space(_) => None,
        }
    }

    /// The paths that the request needs rights for.
    fn paths(&self) -> impl Iterator<Item = &Name> {
        let to = match self {
            Self::Move(Move { to, .. }) => Some(to),
            _ => None,
        };
        std::iter::once(self.path()).chain(to)
    }

    /// Does the work and writes the records.
    ///
    /// # Blocking
    /// Reads and changes the disk, and waits for the client.
    fn work(
        &self,
        context: &ServiceContext,
        rules: &Arc<Rights>,
        unit: &WorkUnit,
        out: RecordWriter,
    ) -> Result<(), Error> {
        let mut task = Task::new(context, rules, unit, out, self.change());
        let done = match self {
            Self::List(list) => task.list(list),
            Self::Sum(sum) => task.sum(sum),
            Self::Usage(usage) => task.usage(usage),
            Self::Space(space) => task.space(space),
            Self::MakeFolder(make) => task.make_folder(make),
            Self::Move(request) => task.move_entries(request),
            Self::Remove(remove) => task.remove(remove),
        };
        task.note_change();
        done.and_then(|()| task.out.finish())
    }
}

/// Answers a request about entries.
///
/// # Errors
/// Those that end the channel.
pub(in crate::files) async fn serve(
    channel: &mut Channel,
    context: &ServiceContext,
    header: &Header,
) -> Result<(), Error> {
    let request = EntryRequest::read(header)?;
    let kind = request.kind();
    context.set_activity(&format!(
        "{kind} {}",
        String::from_utf8_lossy(&request.path().0)
    ));
    // Watched before the request is checked, so that no change of the rules is missed.
    let mut changes = context.rights().watch();
    let rules = changes.borrow_and_update().clone();
    let what = match request.change() {
        Some(_) => "change files here",
        None => "read here",
    };
    // Other rules can give the user another home. What is checked again is this place.
    let located = request.paths().map(|path| {
        let located = rules.locate(context.user(), &path.0)?;
        Ok(located.into_owned())
    });
    let places = match located.collect::<Result<Vec<_>, Error>>() {
        Ok(places) => places,
        Err(error) => return context.answer_failure(channel, error).await,
    };
    let still = still_may(context, places, request.change().is_some());
    let (parts, answer) = mpsc::channel(PARTS_MAX);
    let working = context.clone();
    let work = context.blocking(kind, move |unit| {
        request.work(&working, &rules, unit, RecordWriter::new(parts))
    });
    tokio::select! {
        biased;
        never = context.terminate_on_revocation(&mut changes, what, still) => match never {},
        answered = send_answer(channel, context, work, answer) => answered,
    }
}

/// Sends the records that blocking work writes. An error before the first one is the answer itself.
async fn send_answer(
    channel: &mut Channel,
    context: &ServiceContext,
    work: impl Future<Output = Result<(), Error>>,
    mut parts: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Error> {
    tokio::pin!(work);
    let mut has_begun = false;
    let mut done = None;
    loop {
        let part = tokio::select! {
            biased;
            part = parts.recv() => part,
            result = &mut work, if done.is_none() => {
                done = Some(result);
                continue;
            }
            error = interruption(channel) => return Err(error),
        };
        let Some(part) = part else { break };
        if !has_begun {
            channel.send_with_body(&Records {}, BodySize::Unknown)?;
            has_begun = true;
        }
        for content in part.chunks(DataFrame::CONTENT_BYTES) {
            channel.begin_frame(&WORKING).await?;
            for bytes in [&frame::prefix(content.len())[..], content] {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let sent = channel.send_some(rest, &WORKING).await?;
                    rest = rest.get(sent..).unwrap_or_default();
                }
            }
            channel.end_frame(content.len());
        }
    }
    let result = match done {
        Some(result) => result,
        None => work.await,
    };
    match result {
        Ok(()) => {
            channel.end_body();
            channel.flush().await
        }
        Err(error) if has_begun => Err(error),
        Err(error) => context.answer_failure(channel, error).await,
    }
}

/// Waits for an event that ends the work: the client is lost, or sends something. A client that has
/// finished after its request gets an answer that comes soon.
async fn interruption(channel: &mut Channel) -> Error {
    let error = channel.reader.interruption(&WORKING).await;
    if channel.reader.has_ended() {
        tokio::time::sleep(FINISHED_TIME).await;
    }
    error
}

/// Makes a check whether given rules still let the user read or change at these places.
fn still_may(
    context: &ServiceContext,
    places: Vec<Vec<u8>>,
    is_change: bool,
) -> impl Fn(&Rights) -> bool + Clone + Send + use<> {
    let context = context.clone();
    move |rules| {
        let (user, root) = (context.user(), context.root());
        let may = |place: &Vec<u8>| rules.check_place(user, place, is_change, root).allowed;
        places.iter().all(may)
    }
}
