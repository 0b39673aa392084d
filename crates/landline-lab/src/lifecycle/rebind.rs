//! Measures attempts to listen again on a port.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{PATIENCE, Rebind, recorder::port_of, socket_table};

pub(super) fn run(rebind: Rebind) -> io::Result<Result<(), io::ErrorKind>> {
    let reuse = rebind != Rebind::WithoutReuse;
    let listener = listen(0, reuse)?;
    let port = port_of(&listener)?;
    let living = match rebind {
        Rebind::OpenListener => Some(listener),
        Rebind::WithoutReuse | Rebind::WithReuse => {
            leave_in_time_wait(listener, port)?;
            None
        }
    };
    let result = listen(port, reuse)
        .map(|_| ())
        .map_err(|error| error.kind());
    drop(living);
    Ok(result)
}

fn listen(port: u16, reuse: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(reuse)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(1)?;
    Ok(socket)
}

/// Leaves a connection in TIME_WAIT on the server's port, which closes first.
fn leave_in_time_wait(listener: Socket, port: u16) -> io::Result<()> {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_read_timeout(Some(PATIENCE))?;
    let client_port = client.local_addr()?.port();
    let (server, _) = listener.accept()?;
    drop((server, listener));
    let mut byte = [0];
    let _ = client.read(&mut byte)?;
    drop(client);
    // If the kernel does not report states, this still gives the last ACK time to arrive.
    let _ = socket_table::settled_ends(client_port, port);
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}
