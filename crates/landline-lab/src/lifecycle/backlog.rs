//! More callers than the queue of a listener holds.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Backlog, Caller, kernel, states::port_of};

/// What `listen` is asked for.
const ASKED: i32 = 2;
/// How many call.
const CALLERS: u32 = 6;
/// Between two calls, so that their order is known.
const BETWEEN: Duration = Duration::from_millis(10);
/// When one is accepted: before the first SYN goes again, which is after a second.
const ACCEPT_AFTER: Duration = Duration::from_millis(400);
/// When the last look is taken, and when the callers give up.
const LAST_LOOK: Duration = Duration::from_millis(1400);
const GIVE_UP: Duration = Duration::from_millis(1600);

pub(super) fn run() -> io::Result<Backlog> {
    let listener = bound()?;
    listener.listen(ASKED)?;
    let server_port = port_of(&listener)?;
    let address = listener.local_addr()?;
    let sockets = (0..CALLERS)
        .map(|_| bound())
        .collect::<io::Result<Vec<Socket>>>()?;
    let ports = sockets
        .iter()
        .map(port_of)
        .collect::<io::Result<Vec<u16>>>()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..)
            .zip(&sockets)
            .map(|(number, socket)| {
                let address = &address;
                scope.spawn(move || {
                    thread::sleep(BETWEEN * number);
                    let left = GIVE_UP.saturating_sub(start.elapsed());
                    socket
                        .connect_timeout(address, left)
                        .ok()
                        .map(|()| start.elapsed())
                })
            })
            .collect();
        thread::sleep(ACCEPT_AFTER);
        let before = kernel::SocketTable::read();
        let accepted = start.elapsed();
        let _one = listener.accept()?;
        thread::sleep(LAST_LOOK.saturating_sub(start.elapsed()));
        let last = kernel::SocketTable::read();
        let connected = calls.into_iter().map(|call| call.join().ok().flatten());
        let callers = connected
            .zip(ports)
            .map(|(connected, port)| {
                let before_accept = before.ends(port, server_port).client;
                let kernel::Ends { client, server } = last.ends(port, server_port);
                Caller {
                    connected,
                    before_accept,
                    client,
                    server,
                }
            })
            .collect();
        Ok(Backlog {
            asked: ASKED.unsigned_abs() as usize,
            callers,
            accepted,
            waited: start.elapsed(),
        })
    })
}

fn bound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}
