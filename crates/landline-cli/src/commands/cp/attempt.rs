//! One try at a copy.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use landline::{
    Client, ClientSession, Error,
    files::{
        Copied, Earlier, Input, Output, Place, Progress,
        client::{get, get_request, put, put_request, shown_path},
        messages::SERVICE,
    },
    net::{Channel, Location},
    paths::{Source, local},
    proto::Name,
};

use crate::{arguments::Cp, connect::server_and_credential, failure::Failure};

/// A copy that has been understood: from where, to where, and by which server.
pub(super) struct Copy<'a> {
    client: &'a Client,
    session: ClientSession,
    remote: Name,
    near: Near,
    replace: bool,
    restart: bool,
}

/// The end on this machine.
enum Near {
    Source(Arc<Source>, Option<Vec<u8>>),
    StandardInput,
    /// A place, and the name that a file gets if the place is a folder.
    Place(PathBuf, Vec<u8>),
    StandardOutput,
}

impl<'a> Copy<'a> {
    /// Checks all that can be checked without a connection.
    pub(super) async fn new(client: &'a Client, options: &Cp) -> Result<Self, Failure> {
        let (target, path, near) = match (&options.source, &options.destination) {
            (Location::Remote { .. }, Location::Remote { .. }) => {
                return Err(Failure::usage(
                    "both sides are remote; copy to this machine first, and from here on",
                ));
            }
            (near, Location::Remote { target, path }) => (target, path, Near::source(near)?),
            (Location::Remote { target, path }, near) => {
                (target, path, Near::destination(near, path)?)
            }
            _ => {
                return Err(Failure::usage(
                    "neither side is remote; one has to be host:path",
                ));
            }
        };
        let (server, credential) = server_and_credential(client, target, &options.access).await?;
        Ok(Self {
            client,
            session: ClientSession::new(server, credential),
            remote: remote_path(path),
            near,
            replace: !options.no_clobber,
            restart: options.restart,
        })
    }

    /// Whether the near end can be read or written once more.
    pub(super) fn can_be_repeated(&self) -> bool {
        matches!(self.near, Near::Source(..) | Near::Place(..))
    }

    /// Connects and copies; what was copied, and where to.
    pub(super) async fn once(
        &mut self,
        progress: &Arc<Progress>,
    ) -> Result<(Copied, String), Error> {
        // Only the first try forgets.
        let restart = std::mem::take(&mut self.restart);
        match &self.near {
            Near::Source(source, own_name) => {
                let input = Input::File(source.clone());
                self.upload(input, own_name.clone(), restart, progress)
                    .await
            }
            Near::StandardInput => {
                let input = Input::Stream(Box::new(io::stdin()), "standard input");
                self.upload(input, None, restart, progress).await
            }
            Near::Place(place, own_name) => {
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
            Near::StandardOutput => {
                let output = Output::Stream(Box::new(Stdout(io::stdout())), "standard output");
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
        let connected = self.session.open_channel(SERVICE, &request).await?;
        let mut channel = connected.login.channel;
        let done = put(&mut channel, input, progress).await;
        let (copied, path) = end(channel, done).await?;
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
        let connected = self.session.open_channel(SERVICE, &request).await?;
        let mut channel = connected.login.channel;
        let done = get(&mut channel, output, progress).await;
        end(channel, done).await
    }
}

impl Near {
    fn source(location: &Location) -> Result<Self, Failure> {
        match location {
            Location::Local(path) => Ok(Self::Source(
                Arc::new(local::source(path)?),
                local::own_name(path),
            )),
            _ => Ok(Self::StandardInput),
        }
    }

    /// The file is named by what was asked for, never by what the server says.
    fn destination(location: &Location, remote: &[u8]) -> Result<Self, Failure> {
        let Location::Local(place) = location else {
            return Ok(Self::StandardOutput);
        };
        let own_name = local::own_name_of_bytes(remote).ok_or_else(|| {
            let shown = String::from_utf8_lossy(remote);
            Failure::usage(format!(
                "the remote path {shown:?} does not end in a file's name"
            ))
        })?;
        // What can be said about the place is said before connecting.
        local::destination(place, &own_name)?;
        Ok(Self::Place(place.clone(), own_name))
    }
}

/// Ends the channel as the copy ended: in peace, or with the reason.
async fn end<T>(channel: Channel, done: Result<T, Error>) -> Result<T, Error> {
    match &done {
        Err(error) => match error.to_peer() {
            Some(reason) => channel.fail(&reason).await,
            None => channel.finish().await,
        },
        Ok(_) => channel.finish().await,
    }
    done
}

/// `host:` alone is the account's home.
fn remote_path(path: &[u8]) -> Name {
    Name(if path.is_empty() {
        b".".to_vec()
    } else {
        path.to_vec()
    })
}

/// Standard output, flushed at the end only.
struct Stdout(io::Stdout);

impl Write for Stdout {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
