//! One connection from SYN to TIME_WAIT, held in each state for long enough to be seen.
//!
//! A full queue holds it in SYN_SENT; a listener that waits for the first bytes
//! (`TCP_DEFER_ACCEPT`) holds the server's end in SYN_RECV; bytes that nobody reads hold the FIN
//! back, and so FIN_WAIT1 and LAST_ACK.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Action, Blocked, Call, PATIENCE, Step, kernel};

/// Small, so that they are soon full.
const BUFFER_BYTES: usize = 4096;
/// How long the server leaves the client before it makes room.
const ROOM_AFTER: Duration = Duration::from_millis(100);

/// When it has surely called: well before its SYN goes again, which is after a second.
const CALL_TIME_MAX: Duration = Duration::from_millis(500);

pub(super) fn run() -> io::Result<(Vec<Step>, Blocked)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.set_recv_buffer_size(BUFFER_BYTES)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(0)?;
    let server_address = listener.local_addr()?;
    let server_port = port_of(&listener)?;
    // Fills the queue of the listener.
    let _earlier = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port))?;
    let mut steps = vec![Step {
        action: Action::Listen,
        client: None,
        server: kernel::SocketTable::read().listener(server_port),
    }];

    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    client.set_recv_buffer_size(BUFFER_BYTES)?;
    client.set_send_buffer_size(BUFFER_BYTES)?;
    client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let client_port = port_of(&client)?;

    let connect_full = thread::scope(|scope| {
        let connecting = scope.spawn(|| -> io::Result<Duration> {
            let start = Instant::now();
            client.connect_timeout(&server_address, PATIENCE)?;
            Ok(start.elapsed())
        });
        let start = Instant::now();
        thread::sleep(ROOM_AFTER);
        // On a busy machine the client may not have called yet.
        let mut ends = kernel::SocketTable::read().ends(client_port, server_port);
        while ends.client.is_none() && start.elapsed() < CALL_TIME_MAX {
            thread::sleep(Duration::from_millis(5));
            ends = kernel::SocketTable::read().ends(client_port, server_port);
        }
        steps.push(Step {
            action: Action::Connect,
            client: ends.client,
            server: ends.server,
        });
        defer_accept(&listener);
        let room = start.elapsed();
        listener.accept()?;
        let took = connecting
            .join()
            .map_err(|_| io::Error::other("the client failed"))??;
        Ok::<_, io::Error>(Blocked {
            call: Call::ConnectFull,
            took,
            other_side: Some(room),
        })
    })?;
    let mut look = |action| {
        let ends = kernel::settled(client_port, server_port);
        steps.push(Step {
            action,
            client: ends.client,
            server: ends.server,
        });
    };
    look(Action::MakeRoom);

    let mut client = TcpStream::from(client);
    client.write_all(b"hello")?;
    let (server, _) = listener.accept()?;
    server.set_send_buffer_size(BUFFER_BYTES)?;
    let mut server = TcpStream::from(server);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    look(Action::Send);

    fill(&mut client)?;
    client.shutdown(Shutdown::Write)?;
    look(Action::Finish);
    read_to_end(&mut server)?;
    look(Action::Read);
    fill(&mut server)?;
    drop(server);
    look(Action::ServerClose);
    read_to_end(&mut client)?;
    look(Action::ReadRest);
    drop(client);
    look(Action::Close);
    Ok((steps, connect_full))
}

pub(super) fn port_of(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address
        .map(|address| address.port())
        .ok_or_else(|| io::Error::other("a socket without a port"))
}

/// Sends until nothing more fits.
fn fill(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let block = [b'x'; BUFFER_BYTES];
    loop {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return stream.set_nonblocking(false);
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1 << 14];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// From now on a connection becomes ESTABLISHED at the server with its first bytes. A wish:
/// elsewhere SYN_RECV is over too soon to be seen.
#[cfg(target_os = "linux")]
fn defer_accept(listener: &Socket) {
    use std::os::fd::AsRawFd;
    let seconds: libc::c_int = 5;
    // SAFETY: the descriptor is open for as long as `listener` is borrowed, and the value is an int
    // of the length given.
    unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn defer_accept(_listener: &Socket) {}
