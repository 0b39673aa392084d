//! Measures a plain connection: handshake, data, and the four segments of the close.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{
    Action, GREETING, Halt, PATIENCE, Step, TcpState, recorder::Recorder, socket_table::SocketTable,
};

/// The states after each action, and the time that TIME_WAIT lasts, if the kernel reports it.
pub(super) fn run(halt: Halt<'_>) -> io::Result<(Vec<Step>, Option<Duration>)> {
    let listener = bound()?;
    listener.listen(1)?;
    let client = bound()?;
    let mut recorder = Recorder::new(&client, &listener, halt)?;
    recorder.record_listener(Action::Serve)?;

    client.connect(&listener.local_addr()?)?;
    recorder.record_settled(Action::Handshake)?;

    let mut server = TcpStream::from(listener.accept()?.0);
    recorder.record_settled(Action::Accept)?;

    let mut client = TcpStream::from(client);
    client.write_all(GREETING)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.read_exact(&mut [0; GREETING.len()])?;
    recorder.record_settled(Action::Exchange)?;

    drop(client);
    // This returns 0, the end of the stream.
    let _ = server.read(&mut [0])?;
    recorder.record_after(Action::ClientClose, TcpState::FinWait1)?;

    let closed = Instant::now();
    drop(server);
    recorder.record_after(Action::LastClose, TcpState::LastAck)?;
    let elapsed = closed.elapsed();
    let left = SocketTable::read().timer(recorder.client_port, recorder.server_port);
    let time_wait = left.map(|left| left + elapsed);
    Ok((recorder.steps, time_wait))
}

fn bound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}
