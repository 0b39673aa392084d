//! The copies of one command, and one attempt at each.

use std::{path::PathBuf, sync::Arc};

use landline::{
    Client, ClientSession, Error,
    files::{
        Copied, EarlierAttempt, Input, Output, Place, Progress,
        client::{get, get_request, put, put_request},
        messages::SERVICE,
    },
    login::{FirstRequest, KnownServer},
    net::{Channel, Location, Target},
    paths::{SourceFile, local},
    proto::{Message, Name},
};

use super::Cp;
use crate::{arguments::TypedLocation, connect, context::Context, failure::Failure};

/// Copies whose server and files have been found: one session for all of them.
pub(super) struct PlannedCopies<'a> {
    context: &'a Context,
    client: Client,
    session: ClientSession,
    /// The channel of the last copy, for the next one.
    channel: Option<Channel>,
    was_connected: bool,
    replace: bool,
    /// The server as the user named it.
    target: Target,
    /// The copies that are left, the next one last.
    items: Vec<CopyItem>,
    has_one: bool,
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
    Source(Arc<SourceFile>, Option<Vec<u8>>),
    Stdin,
    /// A path to write, and the name that the file gets if the path is a folder.
    Destination(PathBuf, Vec<u8>),
    Stdout,
}

impl<'a> PlannedCopies<'a> {
    /// Finds the server and the files, and checks what can be checked without a connection.
    ///
    /// # Errors
    /// Not exactly one side is remote, the sources are at several servers, a file cannot be used,
    /// or the server cannot be found.
    pub(super) async fn new(context: &'a Context, options: &Cp) -> Result<Self, Failure> {
        let client = context.client()?;
        let Some((destination, sources)) = options.paths.split_last() else {
            return Err(Failure::usage("a source and a destination are needed"));
        };
        if options.access.port.is_none() {
            let known = client.pins().all()?;
            for path in &options.paths {
                check_not_port(path, &known)?;
            }
        }
        let has_one = sources.len() == 1;
        let mut items = Vec::new();
        let mut found: Option<Target> = None;
        for source in sources {
            let (target, item) = CopyItem::new(source, destination, has_one)?;
            match &found {
                Some(other) if *other != target => {
                    return Err(Failure::usage(
                        "the files are at several servers; copy from one at a time",
                    ));
                }
                _ => found = Some(target),
            }
            items.push(item);
        }
        items.reverse();
        let Some(target) = found else {
            return Err(Failure::usage("a source and a destination are needed"));
        };
        let (server, credential) =
            connect::find_server(context, &client, &target, &options.access).await?;
        Ok(Self {
            context,
            client,
            session: ClientSession::new(server, credential),
            target: options.access.with_port(&target)?,
            channel: None,
            was_connected: false,
            replace: !options.no_clobber,
            items,
            has_one,
        })
    }

    /// Whether only one file was named.
    pub(super) fn has_one(&self) -> bool {
        self.has_one
    }

    /// Whether both ends of all copies are files, so that received data is kept.
    pub(super) fn can_resume_later(&self) -> bool {
        self.items.iter().all(CopyItem::can_be_repeated)
    }

    /// Whether the server has been reached by this command.
    pub(super) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// The next file to copy.
    pub(super) fn next(&mut self) -> Option<CopyItem> {
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
                let input = Input::File(source.clone());
                self.upload(item, input, own_name.clone(), restart, progress)
                    .await
            }
            LocalEnd::Stdin => {
                let stdin = self.context.input.open();
                let stdin = stdin.map_err(|error| Error::io("standard input", &error))?;
                let input = Input::Stream(stdin, "standard input");
                self.upload(item, input, None, restart, progress).await
            }
            LocalEnd::Destination(place, own_name) => {
                let destination = local::open_destination(place, own_name)?;
                let shown = destination.path.display().to_string();
                let manifests = self.client.manifests()?;
                let mut earlier = EarlierAttempt::find(
                    &manifests,
                    &self.session.server().fingerprint,
                    &item.remote,
                    &destination,
                )?;
                if restart {
                    earlier.forget()?;
                }
                let output = Output::File(Box::new(Place {
                    destination,
                    replace: self.replace,
                    earlier,
                }));
                Ok((self.download(item, output, progress).await?, shown))
            }
            LocalEnd::Stdout => {
                let output = Output::Stream(Box::new(self.context.out.raw()), "standard output");
                Ok((self.download(item, output, progress).await?, "-".to_owned()))
            }
        }
    }

    async fn upload(
        &mut self,
        item: &CopyItem,
        input: Input,
        own_name: Option<Vec<u8>>,
        restart: bool,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        let request = put_request(
            &input,
            item.remote.clone(),
            own_name.map(Name),
            self.replace,
            restart,
        );
        let mut channel = self.request(&request).await?;
        let done = put(&mut channel, input, progress).await;
        let (copied, path) = self.keep_or_close(channel, done).await?;
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
        let mut channel = self.request(&request).await?;
        let done = get(&mut channel, output, progress).await;
        self.keep_or_close(channel, done).await
    }

    /// Sends a request on the channel of the last copy, or on a new one.
    async fn request(&mut self, request: &impl Message) -> Result<Channel, Error> {
        if let Some(mut channel) = self.channel.take()
            && !channel.reader.is_closed()
        {
            channel.send(request)?;
            channel.flush().await?;
            return Ok(channel);
        }
        let first = FirstRequest::new(SERVICE, request)?;
        let channel = self.session.open_channel(&first).await?.login.channel;
        self.was_connected = true;
        Ok(channel)
    }

    /// Keeps the channel for the next copy. After a failure it closes the channel with the reason.
    async fn keep_or_close<T>(
        &mut self,
        channel: Channel,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        match &done {
            Ok(_) => self.channel = Some(channel),
            Err(error) => match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                None => channel.finish().await,
            },
        }
        done
    }

    /// Closes the connection.
    pub(super) async fn finish(self) {
        if let Some(channel) = self.channel {
            channel.finish().await;
        }
    }
}

impl CopyItem {
    /// One file to copy, and the server that it goes to or comes from. With several, the
    /// destination has to be a folder.
    fn new(
        source: &TypedLocation,
        destination: &TypedLocation,
        is_only_one: bool,
    ) -> Result<(Target, Self), Failure> {
        let locations = (&source.location, &destination.location);
        let is_stream = matches!(locations, (Location::Stream, _) | (_, Location::Stream));
        if !is_only_one && is_stream {
            return Err(Failure::usage("- is a single file; copy it on its own"));
        }
        let (target, remote, local) = match locations {
            (Location::Remote { .. }, Location::Remote { .. }) => {
                return Err(Failure::usage(
                    "both sides are remote; copy to this machine first",
                ));
            }
            (source, Location::Remote { target, path }) => {
                let mut remote = to_remote_name(path);
                if !is_only_one && !remote.0.ends_with(b"/") {
                    // Several files need a folder.
                    remote.0.push(b'/');
                }
                (target, remote, LocalEnd::open_source(source)?)
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
                let local = LocalEnd::find_destination(destination, path)?;
                (target, to_remote_name(path), local)
            }
            _ => {
                return Err(Failure::usage(
                    "neither side is remote; one must be host:path",
                ));
            }
        };
        let item = Self {
            source: source.text.clone(),
            destination: destination.clone(),
            remote,
            local,
        };
        Ok((target.clone(), item))
    }

    /// Whether the local end can be read or written again.
    pub(super) fn can_be_repeated(&self) -> bool {
        matches!(self.local, LocalEnd::Source(..) | LocalEnd::Destination(..))
    }
}

impl LocalEnd {
    fn open_source(location: &Location) -> Result<Self, Failure> {
        match location {
            Location::Local(path) => Ok(Self::Source(
                Arc::new(local::open_source(path)?),
                local::own_name(path),
            )),
            _ => Ok(Self::Stdin),
        }
    }

    /// The requested path names the file; a name from the server is never used.
    fn find_destination(location: &Location, remote: &[u8]) -> Result<Self, Failure> {
        let Location::Local(place) = location else {
            return Ok(Self::Stdout);
        };
        let own_name = local::own_name_of_bytes(remote).ok_or_else(|| {
            let shown = String::from_utf8_lossy(remote);
            Failure::usage(format!(
                "the remote path {shown:?} does not end in a file's name"
            ))
        })?;
        // Fail before connecting if nothing can be written there.
        local::open_destination(place, &own_name)?;
        Ok(Self::Destination(place.clone(), own_name))
    }
}

/// Checks that `host:REST` is not meant as `host:port`.
///
/// # Errors
/// REST is the port of a known server.
fn check_not_port(path: &TypedLocation, known: &[KnownServer]) -> Result<(), Failure> {
    let TypedLocation { text, location } = path;
    let Location::Remote { path: rest, .. } = location else {
        return Ok(());
    };
    let rest = String::from_utf8_lossy(rest);
    let server = known.iter().find(|server| server.port.to_string() == rest);
    match (server, text.strip_suffix(&*rest)) {
        (Some(server), Some(host)) if !text.starts_with("landline://") => {
            let what = format!(
                "{text} names the file {rest}, but {rest} is the port of the known server {server}"
            );
            let advice =
                format!("write -P {rest} {host} for the port, or {host}./{rest} for the file");
            Err(Failure::usage(what).with_advice(&advice))
        }
        _ => Ok(()),
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
