//! Opening lines to servers of the dialects.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{Challenge, Line};
use crate::{
    Error,
    net::{HostPort, tcp},
};

/// Connects, and answers the server's challenge if there is to be one. The line is given up when
/// nothing moves for `idle_time_max`.
///
/// # Errors
/// [`Error::Connect`], [`Error::Lost`], [`Error::Dialect`].
pub async fn connect(
    address: &HostPort,
    challenge: Option<&Challenge>,
    idle_time_max: Duration,
) -> Result<Line<TcpStream>, Error> {
    let mut line = Line::new(tcp::dial(address).await?.stream, idle_time_max);
    if let Some(challenge) = challenge {
        challenge.answer(&mut line).await?;
    }
    Ok(line)
}

/// A socket whose datagrams go to `address`, and that takes those of nobody else.
///
/// # Errors
/// [`Error::Connect`].
pub async fn datagrams(address: &HostPort) -> Result<UdpSocket, Error> {
    let failed = |source| Error::Connect {
        address: address.to_string(),
        source,
    };
    let found: Vec<SocketAddr> = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(failed)?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for server in found {
        let own = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let open = async {
            let socket = UdpSocket::bind(own).await?;
            socket.connect(server).await.map(|()| socket)
        };
        match open.await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}
