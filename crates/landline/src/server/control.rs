//! The control socket: commands on this machine administer the server through it.
//!
//! The peer's user is the proof: the user who runs the server, or root. There is no login.

use std::{io, os::unix::net::UnixListener as StdListener, sync::Arc, time::Duration};

use landline_proto::{ErrorCode, Header, ProtocolState, messages::Open, state::SERVER_CHANNEL};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    admin::{
        control::{LIMITS, SOCKET, ServerStatus},
        messages,
        server::{AdminService, Caller},
    },
    net::{Channel, local_stream},
    paths::{PrivateFolder, user_id},
    session::draining_error,
};

/// Connections at a time. Further ones wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may be idle between two messages.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// The time until the next connection is accepted after that has failed.
const ACCEPT_RETRY_TIME: Duration = Duration::from_millis(100);

/// The control socket of a server. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    folder: Arc<PrivateFolder>,
    listener: StdListener,
}

impl ControlSocket {
    /// Listens in the server's folder, whose lock the caller holds. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn bind(folder: Arc<PrivateFolder>) -> Result<Self, Error> {
        let listener = folder.bind_socket(SOCKET)?;
        Ok(Self { folder, listener })
    }

    /// Whether a server listens there, even one that hangs. Blocking, but never for long.
    pub(super) fn is_served(folder: &PrivateFolder) -> bool {
        match Self::connect(folder) {
            Ok(_) => true,
            // More wait already than the socket holds.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// The process id of the server that listens there, where the system tells it. Blocking, but
    /// never for long.
    pub(super) fn server_process(folder: &PrivateFolder) -> Option<u32> {
        let socket = Self::connect(folder).ok()?;
        #[cfg(target_os = "linux")]
        {
            let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
            u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
        }
        #[cfg(not(target_os = "linux"))]
        {
            drop(socket);
            None
        }
    }

    fn connect(folder: &PrivateFolder) -> io::Result<Socket> {
        let path = folder.socket_path(SOCKET).map_err(io::Error::other)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path.path())?)?;
        Ok(socket)
    }

    /// Serves commands until `stop`, and ends once the requests that it has received are answered.
    ///
    /// # Errors
    /// `io` where the socket cannot be waited for.
    pub(super) async fn serve(
        self,
        admin: Arc<AdminService>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("the control socket", &error);
        let listener = self.listener.try_clone().map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(serve(stream, admin.clone(), stop.clone()));
                        }
                        Err(_) => tokio::time::sleep(ACCEPT_RETRY_TIME).await,
                    }
                }
            }
        }
        // Commands that connect from now on wait for the lock.
        drop((self, listener));
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = self.folder.remove(SOCKET);
    }
}

/// One connection, from its first byte to its last.
async fn serve(stream: UnixStream, admin: Arc<AdminService>, stop: CancellationToken) {
    let peer = stream.peer_cred();
    let mut channel = Channel::with_limits(local_stream(stream), LIMITS);
    let served = match peer {
        Ok(peer) if [user_id(), 0].contains(&peer.uid()) => {
            serve_channel(&mut channel, &admin, &stop).await
        }
        _ => Err(Error::here(
            ErrorCode::Denied,
            "only the user who runs the server, and root, may do that",
        )),
    };
    match served {
        Ok(()) => channel.finish().await,
        Err(error) => channel.fail(&error.to_command()).await,
    }
}

async fn serve_channel(
    channel: &mut Channel,
    admin: &AdminService,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let administration = admin.administration.clone();
    let state = admin
        .threads
        .run(move || ServerStatus::of(&administration))
        .await?;
    channel.send(&state)?;
    channel.flush().await?;
    let Some(header) = next(channel, &SERVER_CHANNEL, stop).await? else {
        return Ok(());
    };
    let Open { service } = header.read()?;
    if service != messages::SERVICE {
        let service: String = service.chars().take(64).collect();
        let message = format!("the server has no service {service:?}");
        return Err(Error::here(ErrorCode::UnknownService, message));
    }
    while let Some(header) = next(channel, &messages::REQUESTS, stop).await? {
        match admin.answer(channel, &Caller::Machine, &header).await {
            Ok(()) => {}
            Err(error @ (Error::Failed { .. } | Error::State { .. })) => {
                channel.send(&error.to_command())?;
            }
            Err(error) => return Err(error),
        }
        channel.flush().await?;
    }
    Ok(())
}

/// The next message; `None` where the command has finished.
async fn next(
    channel: &mut Channel,
    state: &'static ProtocolState,
    stop: &CancellationToken,
) -> Result<Option<Header>, Error> {
    tokio::select! {
        biased;
        // A message that was received before the server drains is answered.
        header = channel.receive_or_end(state) => header,
        () = stop.cancelled() => Err(draining_error()),
        () = tokio::time::sleep(IDLE_TIME) => {
            let message = format!("no message came for {} s", IDLE_TIME.as_secs());
            Err(Error::here(ErrorCode::OpenTimeout, message))
        }
    }
}
