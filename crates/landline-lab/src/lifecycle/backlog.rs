//! Measures a listener with more callers than its queue holds.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Backlog, Caller, recorder::port_of, socket_table};

/// The length of the queue.
const QUEUE_LENGTH: i32 = 2;
/// The number of callers.
const CALLERS: u32 = 6;
/// The pause between two calls, so that their order is known.
const CALL_PAUSE: Duration = Duration::from_millis(10);
/// The time of the `accept`: before a SYN is sent again, which is after a second.
const ACCEPT_AFTER: Duration = Duration::from_millis(400);
/// The time of the last look at the states.
const LAST_LOOK: Duration = Duration::from_millis(1400);
/// The time after which the callers give up.
const GIVE_UP: Duration = Duration::from_millis(1600);

pub(super) fn run() -> io::Result<Backlog> {
    let listener = bound()?;
    listener.listen(QUEUE_LENGTH)?;
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
                    thread::sleep(CALL_PAUSE * number);
                    let left = GIVE_UP.saturating_sub(start.elapsed());
                    socket
                        .connect_timeout(address, left)
                        .ok()
                        .map(|()| start.elapsed())
                })
            })
            .collect();
        thread::sleep(ACCEPT_AFTER);
        let before = socket_table::SocketTable::read();
        let accepted_at = start.elapsed();
        let _one = listener.accept()?;
        thread::sleep(LAST_LOOK.saturating_sub(start.elapsed()));
        let last = socket_table::SocketTable::read();
        let connected = calls.into_iter().map(|call| call.join().ok().flatten());
        let callers = connected
            .zip(ports)
            .map(|(connected, port)| {
                let before_accept = before.ends(port, server_port).client;
                let socket_table::Ends { client, server } = last.ends(port, server_port);
                Caller {
                    connected,
                    before_accept,
                    client,
                    server,
                }
            })
            .collect();
        Ok(Backlog {
            requested: QUEUE_LENGTH.unsigned_abs() as usize,
            callers,
            accepted_at,
            observed_for: start.elapsed(),
        })
    })
}

fn bound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}
