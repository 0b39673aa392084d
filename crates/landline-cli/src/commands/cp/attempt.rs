//! One attempt at a copy.

use std::{path::PathBuf, sync::Arc};

use landline::{
    Client, ClientSession, Error,
    files::{
        Copied, Earlier, Input, Output, Place, Progress,
        client::{get, get_request, put, put_request, shown_path},
        messages::SERVICE,
    },
    login::FirstRequest,
    net::{Channel, Location},
    paths::{Source, local},
    proto::Name,
};

use super::Cp;
use crate::{connect, context::Context, failure::Failure};

/// A copy whose server and files have been found.
pub(super) struct PlannedCopy<'a> {
    context: &'a Context,
    client: &'a Client,
    session: ClientSession,
    remote: Name,
    local: LocalEnd,
    replace: bool,
    restart: bool,
}

/// The end on this machine.
enum LocalEnd {
    /// A file to read, and its own name.
    Source(Arc<Source>, Option<Vec<u8>>),
    Stdin,
    /// A path to write, and the name that the file gets if the path is a folder.
    Destination(PathBuf, Vec<u8>),
    Stdout,
}

impl<'a> PlannedCopy<'a> {
    /// Finds the server and the files, and checks what can be checked without a connection.
    ///
    /// # Errors
    /// Not exactly one side is remote; a file cannot be used; the server cannot be found.
    pub(super) async fn new(
        context: &'a Context,
        client: &'a Client,
        options: &Cp,
    ) -> Result<Self, Failure> {
        let (target, path, local) = match (&options.source, &options.destination) {
            (Location::Remote { .. }, Location::Remote { .. }) => {
                return Err(Failure::usage(
                    "both sides are remote; copy to this machine first, and from here on",
                ));
            }
            (source, Location::Remote { target, path }) => {
                (target, path, LocalEnd::open_source(source)?)
            }
            (Location::Remote { target, path }, destination) => {
                let local = LocalEnd::find_destination(destination, path)?;
                (target, path, local)
            }
            _ => {
                return Err(Failure::usage(
                    "neither side is remote; one has to be host:path",
                ));
            }
        };
        let (server, credential) =
            connect::find_server(context, client, target, &options.access).await?;
        Ok(Self {
            context,
            client,
            session: ClientSession::new(server, credential),
            remote: to_remote_name(path),
            local,
            replace: !options.no_clobber,
            restart: options.restart,
        })
    }

    /// Whether the local end can be read or written again.
    pub(super) fn can_be_repeated(&self) -> bool {
        matches!(self.local, LocalEnd::Source(..) | LocalEnd::Destination(..))
    }

    /// Connects and copies. Returns what was copied, and the destination for people.
    ///
    /// # Errors
    /// The connection cannot be made or is lost; the peer or this machine refuses the copy.
    pub(super) async fn attempt(
        &mut self,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        // Only the first attempt discards what an earlier command has kept.
        let restart = std::mem::take(&mut self.restart);
        match &self.local {
            LocalEnd::Source(source, own_name) => {
                let input = Input::File(source.clone());
                self.upload(input, own_name.clone(), restart, progress)
                    .await
            }
            LocalEnd::Stdin => {
                let stdin = self.context.input.open();
                let stdin = stdin.map_err(|error| Error::io("standard input", &error))?;
                let input = Input::Stream(stdin, "standard input");
                self.upload(input, None, restart, progress).await
            }
            LocalEnd::Destination(place, own_name) => {
                let destination = local::destination(place, own_name)?;
                let shown = destination.path.display().to_string();
                let partials = self.client.partials()?;
                let mut earlier = Earlier::find(
                    &partials,
                    &self.session.server().fingerprint,
                    &self.remote,
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
                Ok((self.download(output, progress).await?, shown))
            }
            LocalEnd::Stdout => {
                let output = Output::Stream(Box::new(self.context.out.raw()), "standard output");
                Ok((self.download(output, progress).await?, "-".to_owned()))
            }
        }
    }

    async fn upload(
        &self,
        input: Input,
        own_name: Option<Vec<u8>>,
        restart: bool,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        let request = put_request(
            &input,
            self.remote.clone(),
            own_name.map(Name),
            self.replace,
            restart,
        );
        let first = FirstRequest::new(SERVICE, &request)?;
        let connected = self.session.open_channel(&first).await?;
        let mut channel = connected.login.channel;
        let done = put(&mut channel, input, progress).await;
        let (copied, path) = close(channel, done).await?;
        Ok((
            copied,
            format!(
                "{}:{}",
                self.session.server().host,
                shown_path(&path).display()
            ),
        ))
    }

    async fn download(&self, output: Output, progress: &Arc<Progress>) -> Result<Copied, Error> {
        let request = get_request(self.remote.clone(), &output);
        let first = FirstRequest::new(SERVICE, &request)?;
        let connected = self.session.open_channel(&first).await?;
        let mut channel = connected.login.channel;
        let done = get(&mut channel, output, progress).await;
        close(channel, done).await
    }
}

impl LocalEnd {
    fn open_source(location: &Location) -> Result<Self, Failure> {
        match location {
            Location::Local(path) => Ok(Self::Source(
                Arc::new(local::source(path)?),
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
        local::destination(place, &own_name)?;
        Ok(Self::Destination(place.clone(), own_name))
    }
}

/// Closes the channel, and tells the peer why the copy failed, if it did.
async fn close<T>(channel: Channel, done: Result<T, Error>) -> Result<T, Error> {
    match &done {
        Err(error) => match error.to_peer() {
            Some(reason) => channel.fail(&reason).await,
            None => channel.finish().await,
        },
        Ok(_) => channel.finish().await,
    }
    done
}

/// The path to send to the server; an empty one means the user's home.
fn to_remote_name(path: &[u8]) -> Name {
    Name(if path.is_empty() {
        b".".to_vec()
    } else {
        path.to_vec()
    })
}
