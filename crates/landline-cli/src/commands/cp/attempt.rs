//! The copies of one command, and one attempt at each.

use std::{path::PathBuf, sync::Arc};

use landline::{
    Client, ClientSession, Error,
    client::Widening,
    files::{
        Copied, EarlierAttempt, Input, Output, Place, Progress, SharedSource,
        client::{PutFlight, get, get_request, put, put_request},
        messages::{Compare, SERVICE},
    },
    login::FirstRequest,
    net::{Channel, Location, Target},
    paths::{Destination, SourceFile, local},
    proto::Name,
};
use log::debug;

use super::{
    Cp, SharedParts, delta::DeltaOption, habits, parallel::widen_during, producer::Producer,
    tree_paths::check_distinct,
};
use crate::{
    arguments::{CopyPath, TypedLocation},
    connect,
    context::Context,
    failure::Failure,
};

/// Copies whose server and files have been found: one session for all of them.
pub(super) struct PlannedCopies<'a> {
    context: &'a Context,
    client: Client,
    session: ClientSession,
    /// The channel of the last copy, for the next one.
    channel: Option<Channel>,
    /// The connections that the channel may have beside the first one.
    widening: Option<Widening>,
    was_connected: bool,
    replace: bool,
    delta: DeltaOption,
    /// The server as the user named it.
    target: Target,
    /// The copies that are left, the next one last; in place of a file that cannot be read, why.
    items: Vec<Result<CopyItem, Failure>>,
    has_one: bool,
    /// Whether the beginning of a file may be sent before the server is ready.
    sends_early: bool,
}

/// One file to copy.
pub(super) struct CopyItem {
    /// The source as the user typed it.
    pub(super) source: String,
    pub(super) destination: TypedLocation,
    remote: Name,
    local: LocalEnd,
}

/// The end on this machine.
enum LocalEnd {
    /// A file to read, and its own name.
    Source(FileSource, Option<Vec<u8>>),
    Stdin,
    /// A command, whose output is read.
    Producer(Producer),
    /// A path to write, and the name that the file gets if the path is a folder.
    Destination(PathBuf, Vec<u8>),
    Stdout,
}

/// A file to read.
enum FileSource {
    Own(Arc<SourceFile>),
    /// Many hosts get it.
    Shared(Arc<SharedSource>),
}

impl FileSource {
    fn input(&self) -> Input {
        match self {
            Self::Own(source) => Input::File(source.clone()),
            Self::Shared(source) => Input::Shared(source.clone()),
        }
    }
}

impl<'a> PlannedCopies<'a> {
    /// Finds the server and the files, and checks what can be checked without a connection.
    ///
    /// # Errors
    /// Not exactly one side is remote, the sources are on several servers, a file cannot be used,
    /// or the server cannot be found.
    pub(super) async fn new(
        context: &'a Context,
        options: &Cp,
        paths: &[TypedLocation],
        shared: &SharedParts,
    ) -> Result<Self, Failure> {
        options.habits.check()?;
        let client = context.client()?;
        if options.access.port.is_none() {
            let known = client.pins().all()?;
            for path in paths {
                path.check_not_port(&known)?;
            }
        }
        let (target, mut items) = if options.from_command {
            let (target, item) = options.plan_producer(paths)?;
            (target, vec![Ok(item)])
        } else {
            plan_files(options, paths, shared)?
        };
        let has_one = items.len() == 1;
        items.reverse();
        let mut session = connect::find_session(context, &client, &target, &options.access).await?;
        options.parallel.set(&mut session);
        if let Some(limits) = &shared.rate_limits {
            session.set_rate_limiter(limits.content.clone());
        }
        Ok(Self {
            context,
            client,
            session,
            target: options.access.with_port(&target)?,
            channel: None,
            widening: None,
            was_connected: false,
            replace: !options.no_clobber,
            delta: options.delta,
            items,
            has_one,
            // The rate of what is sent with a request is not limited.
            sends_early: shared.rate_limits.is_none(),
        })
    }

    /// Whether only one file was named.
    pub(super) fn has_one(&self) -> bool {
        self.has_one
    }

    /// Whether both ends of all copies are files, so that received data is kept.
    pub(super) fn can_resume_later(&self) -> bool {
        self.items.iter().flatten().all(CopyItem::can_be_resumed)
    }

    /// Whether the server has been reached by this command.
    pub(super) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// The next file to copy, or why it cannot be read.
    pub(super) fn next(&mut self) -> Option<Result<CopyItem, Failure>> {
        self.items.pop()
    }

    /// Connects if there is no connection, and copies. Returns what was copied, and the destination
    /// for people.
    ///
    /// # Errors
    /// The connection cannot be made or is lost; the peer or this machine refuses the copy.
    pub(super) async fn attempt(
        &mut self,
        item: &CopyItem,
        restart: bool,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        match &item.local {
            LocalEnd::Source(source, own_name) => {
                let input = source.input();
                self.upload(item, input, own_name.clone(), restart, progress)
                    .await
            }
            LocalEnd::Stdin => {
                // Dropped on return: the thread that reads must not wait for more input.
                let (stdin, _interrupter) = self
                    .context
                    .input
                    .open_interruptible()
                    .map_err(|error| Error::io("standard input", &error))?;
                let input = Input::Stream(stdin, "standard input");
                self.upload(item, input, None, restart, progress).await
            }
            LocalEnd::Producer(producer) => {
                let (output, _guard) = producer.output();
                let input = Input::Stream(Box::new(output), "the command");
                self.upload(item, input, None, restart, progress).await
            }
            LocalEnd::Destination(place, own_name) => {
                let destination = local::open_destination(place, own_name)?;
                let shown = destination.path.display().to_string();
                let earlier = self.find_earlier_attempt(item, &destination, restart);
                // A read-only or full state folder prevents a resume, and not the copy.
                let earlier = earlier.unwrap_or_else(|error| {
                    debug!("the copy cannot be resumed: {error}");
                    EarlierAttempt::default()
                });
                let compare = if restart {
                    Compare::Nothing
                } else {
                    self.compare(destination.replaced_length())
                };
                let output = Output::File(Box::new(Place {
                    destination,
                    replace: self.replace,
                    earlier,
                    compare,
                }));
                Ok((self.download(item, output, progress).await?, shown))
            }
            LocalEnd::Stdout => {
                let output = Output::Stream(Box::new(self.context.out.raw()), "standard output");
                Ok((self.download(item, output, progress).await?, "-".to_owned()))
            }
        }
    }

    /// With what a file of this length may be compared.
    fn compare(&self, length: u64) -> Compare {
        self.delta.compare(self.session.server(), length)
    }

    fn find_earlier_attempt(
        &self,
        item: &CopyItem,
        destination: &Destination,
        restart: bool,
    ) -> Result<EarlierAttempt, Error> {
        let server = &self.session.server().fingerprint;
        let manifests = self.client.manifests()?;
        let mut earlier = EarlierAttempt::find(&manifests, server, &item.remote, destination)?;
        if restart {
            earlier.forget();
        }
        Ok(earlier)
    }

    async fn upload(
        &mut self,
        item: &CopyItem,
        input: Input,
        own_name: Option<Vec<u8>>,
        restart: bool,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        let compare = self.compare(input.length().unwrap_or(0));
        let request = put_request(
            &input,
            item.remote.clone(),
            own_name.map(Name),
            self.replace,
            restart,
            compare,
        );
        let is_early = self.sends_early;
        let read = move || PutFlight::new(&request, &input, is_early).map(|flight| (input, flight));
        let reading = tokio::task::spawn_blocking(read).await;
        let (input, flight) = reading.map_err(|error| Error::Lost(error.to_string()))??;
        self.request(&flight.first).await?;
        let channel = open_channel(&mut self.channel)?;
        let work = put(channel, input, flight, progress);
        let widening = self.widening.clone();
        let done = widen_during(&self.session, widening, &**progress, work).await;
        let (copied, path) = self.close_if_failed(done).await?;
        let place = Location::Remote {
            target: self.target.clone(),
            path,
        };
        Ok((copied, place.to_string()))
    }

    async fn download(
        &mut self,
        item: &CopyItem,
        output: Output,
        progress: &Arc<Progress>,
    ) -> Result<Copied, Error> {
        let request = get_request(item.remote.clone(), &output);
        self.request(&FirstRequest::new(SERVICE, &request)?).await?;
        let channel = open_channel(&mut self.channel)?;
        let work = get(channel, output, progress);
        let widening = self.widening.clone();
        let done = widen_during(&self.session, widening, &**progress, work).await;
        self.close_if_failed(done).await
    }

    /// Sends a request on the channel of the last copy, or on a new one.
    async fn request(&mut self, first: &FirstRequest) -> Result<(), Error> {
        let open = self.channel.take_if(|channel| !channel.reader.is_closed());
        let channel = if let Some(mut channel) = open {
            first.send_further(&mut channel).await?;
            channel
        } else {
            let (channel, widening) = self.session.open_wide_channel(first).await?;
            self.was_connected = true;
            self.widening = widening;
            channel
        };
        self.channel = Some(channel);
        Ok(())
    }

    /// Closes the channel if a copy failed on it, and tells the peer why.
    async fn close_if_failed<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if let (Err(error), Some(channel)) = (&done, self.channel.take_if(|_| done.is_err())) {
            match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                // The session waits for the next attempt: it is not closed.
                None if matches!(error, Error::Lost(_)) => drop(channel),
                None => channel.finish().await,
            }
        }
        done
    }

    /// Closes the connection, and with it a session of its own, also in the middle of a copy.
    pub(super) async fn finish(self) {
        if let Some(channel) = self.channel {
            channel.finish().await;
        }
    }
}

/// The channel on which a request was sent.
fn open_channel(channel: &mut Option<Channel>) -> Result<&mut Channel, Error> {
    let missing = || Error::Lost("the channel is closed".into());
    channel.as_mut().ok_or_else(missing)
}

/// Plans the copies from or to files, and finds the server. Where one of several files cannot be
/// read, there is the reason in its place.
fn plan_files(
    options: &Cp,
    paths: &[TypedLocation],
    shared: &SharedParts,
) -> Result<(Target, Vec<Result<CopyItem, Failure>>), Failure> {
    let Some((destination, sources)) = paths.split_last().filter(|(_, rest)| !rest.is_empty())
    else {
        return Err(Failure::usage("give a source and a destination")
            .with_advice("for example: landline cp FILE HOST: (see landline cp --help)"));
    };
    let mut items = Vec::new();
    let mut found: Option<Target> = None;
    let is_only_one = sources.len() == 1;
    if !is_only_one {
        check_distinct(sources)?;
    }
    for source in sources {
        let (target, item) = CopyItem::new(source, destination, is_only_one, options, shared)?;
        match &found {
            Some(other) if *other != target => {
                return Err(Failure::usage(
                    "the files are on several servers; copy from one at a time",
                ));
            }
            _ => found = Some(target),
        }
        items.push(match item {
            Err(failure) if is_only_one => return Err(failure),
            item => item,
        });
    }
    match found {
        Some(target) => Ok((target, items)),
        None => Err(Failure::usage("give a source and a destination")),
    }
}

impl Cp {
    /// All paths, also those behind `--`.
    pub(super) fn all_paths(&self) -> Result<Vec<CopyPath>, Failure> {
        let mut paths = self.paths.clone();
        if !self.from_command {
            for word in &self.words {
                paths.push(CopyPath::parse(word)?);
            }
        }
        if paths.iter().any(|path| path.text().is_empty()) {
            let failure = Failure::usage("one of the paths is empty");
            return Err(failure.with_advice("is a variable of your script not set?"));
        }
        Ok(paths)
    }

    /// Plans the copy of a command's output.
    fn plan_producer(&self, paths: &[TypedLocation]) -> Result<(Target, CopyItem), Failure> {
        let advice = "write: landline cp --from-command HOST:FILE -- COMMAND ARGUMENTS";
        let ([destination], Some(producer)) = (paths, Producer::new(&self.words)) else {
            let failure = Failure::usage("--from-command needs one destination and a command");
            return Err(failure.with_advice(advice));
        };
        let Location::Remote { target, path } = &destination.location else {
            let failure = Failure::usage(format!("{} is not on a server", destination.text));
            return Err(failure.with_advice(advice));
        };
        let item = CopyItem {
            source: self
                .words
                .first()
                .map_or_else(String::new, |word| word.to_string_lossy().into_owned()),
            destination: destination.clone(),
            remote: to_remote_name(path),
            local: LocalEnd::Producer(producer),
        };
        Ok((target.clone(), item))
    }
}

impl CopyItem {
    /// One file to copy, or why it cannot be read, and the server that it goes to or comes from.
    /// With several, the destination has to be a folder.
    fn new(
        source: &TypedLocation,
        destination: &TypedLocation,
        is_only_one: bool,
        options: &Cp,
        shared: &SharedParts,
    ) -> Result<(Target, Result<Self, Failure>), Failure> {
        let locations = (&source.location, &destination.location);
        let is_stream = matches!(locations, (Location::Stream, _) | (_, Location::Stream));
        if !is_only_one && is_stream {
            return Err(Failure::usage("- is a single file; copy it on its own"));
        }
        let (target, remote, local) = match locations {
            (Location::Remote { .. }, Location::Remote { .. }) => {
                return Err(Failure::usage(
                    "some of the files are on a server; copy them on their own",
                ));
            }
            (local, Location::Remote { target, path }) => {
                let mut remote = to_remote_name(path);
                if !is_only_one && !remote.0.ends_with(b"/") {
                    // Several files need a folder.
                    remote.0.push(b'/');
                }
                (target, remote, LocalEnd::open_source(local, shared))
            }
            (Location::Remote { target, path }, destination) => {
                if let (false, Location::Local(folder)) = (is_only_one, destination)
                    && !local::is_folder(folder)
                {
                    let shown = folder.display();
                    return Err(Failure::usage(format!(
                        "{shown} is not a folder; several files need one"
                    )));
                }
                let replace = !options.no_clobber;
                let local = LocalEnd::find_destination(destination, source, path, replace)?;
                (target, to_remote_name(path), Ok(local))
            }
            _ => {
                return Err(Failure::usage(
                    "neither side is remote; one must be host:path",
                ));
            }
        };
        let item = local.map(|local| Self {
            source: source.text.clone(),
            destination: destination.clone(),
            remote,
            local,
        });
        Ok((target.clone(), item))
    }

    /// Whether the local end can be read or written again.
    pub(super) fn can_be_repeated(&self) -> bool {
        match &self.local {
            LocalEnd::Source(..) | LocalEnd::Destination(..) => true,
            LocalEnd::Producer(producer) => !producer.has_started(),
            LocalEnd::Stdin | LocalEnd::Stdout => false,
        }
    }

    /// Whether what was copied is kept, so that the same command resumes.
    pub(super) fn can_be_resumed(&self) -> bool {
        matches!(self.local, LocalEnd::Source(..) | LocalEnd::Destination(..))
    }

    /// Whether the source is on the server.
    pub(super) fn is_download(&self) -> bool {
        matches!(self.local, LocalEnd::Destination(..) | LocalEnd::Stdout)
    }

    /// The path on the server.
    pub(super) fn remote_path(&self) -> &[u8] {
        &self.remote.0
    }

    /// Why the command failed whose output is copied, if it did.
    pub(super) fn producer_failure(&self) -> Option<Failure> {
        match &self.local {
            LocalEnd::Producer(producer) => producer.take_failure(),
            _ => None,
        }
    }
}

impl LocalEnd {
    fn open_source(location: &Location, shared: &SharedParts) -> Result<Self, Failure> {
        let Location::Local(path) = location else {
            return Ok(Self::Stdin);
        };
        if local::is_folder(path) {
            return Err(habits::folder_failure(path.display()));
        }
        let opened = match &shared.sources {
            Some(sources) => sources.open(path).map(FileSource::Shared),
            None => local::open_source(path)
                .map(|source| FileSource::Own(Arc::new(source)))
                .map_err(Error::from),
        };
        let source = opened.map_err(|error| habits::source_advice(path, error.into()))?;
        Ok(Self::Source(source, local::own_name(path)))
    }

    /// The requested path names the file; a name from the server is never used.
    fn find_destination(
        location: &Location,
        source: &TypedLocation,
        remote: &[u8],
        replace: bool,
    ) -> Result<Self, Failure> {
        let Location::Local(place) = location else {
            return Ok(Self::Stdout);
        };
        let own_name =
            local::own_name_of_bytes(remote).ok_or_else(|| habits::folder_failure(&source.text))?;
        // Fail before connecting if nothing can be written there.
        local::open_destination(place, &own_name)
            .and_then(|destination| destination.check_replace(replace))
            .map_err(|error| {
                habits::destination_advice(place, super::explain_exists(error.into()))
            })?;
        Ok(Self::Destination(place.clone(), own_name))
    }
}

/// The path to send to the server; an empty one means the user's home.
fn to_remote_name(path: &[u8]) -> Name {
    Name(if path.is_empty() {
        b".".to_vec()
    } else {
        path.to_vec()
    })
}
