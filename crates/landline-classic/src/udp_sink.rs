//! `udp-sink`: the server receives datagrams and answers none.

use std::net::UdpSocket;

use landline_socketserver::{
    Shutdown,
    datagram::{Datagram, DatagramServer, Outbox},
};

use super::{ClassicEvent, ClassicSink, Direction};
use crate::{Error, error::SOCKET};

/// The server: reports datagrams on the calling thread until `shutdown`.
///
/// # Errors
/// [`Error::Io`] if the socket cannot be waited for.
pub fn serve(socket: UdpSocket, shutdown: &Shutdown, events: &ClassicSink) -> Result<(), Error> {
    let events = events.clone();
    let handler = move |datagram: &Datagram<'_>, _: &mut Outbox<'_>| {
        let peer = datagram.peer().to_string();
        events(ClassicEvent::of_wire(
            peer,
            Direction::Recv,
            datagram.bytes(),
        ));
        Ok(())
    };
    let server = DatagramServer::new(socket, handler).on_error(|_, _| {});
    let drained = server.inline(shutdown);
    drained.map_err(|error| Error::io(SOCKET, error))?;
    Ok(())
}
