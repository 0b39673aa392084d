//! Measures a connection from SYN to TIME_WAIT, held in each state until seen.
//!
//! - A full queue holds the client's end in SYN_SENT.
//! - A listener that waits for the first bytes (`TCP_DEFER_ACCEPT`) holds the server's end in
//!   SYN_RECV.
//! - Bytes that the peer does not read delay the FIN, which holds FIN_WAIT1 and LAST_ACK.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Action, Call, CallTiming, Halt, PATIENCE, Step, recorder::Recorder};

/// The size of the socket buffers, small so that they are soon full.
const BUFFER_BYTES: usize = 4096;
/// The time after which the server makes room for the client.
const ROOM_AFTER: Duration = Duration::from_millis(100);
/// The time limit for the client's call, before its SYN is sent again.
const CALL_TIME_MAX: Duration = Duration::from_millis(500);

/// `patience` is the time limit for a state that is held.
pub(super) fn run(patience: Duration, halt: Halt<'_>) -> io::Result<(Vec<Step>, CallTiming)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.set_recv_buffer_size(BUFFER_BYTES)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(0)?;
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    client.set_recv_buffer_size(BUFFER_BYTES)?;
    client.set_send_buffer_size(BUFFER_BYTES)?;
    client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let mut recorder = Recorder::new(&client, &listener, halt)?;
    // Fills the queue of the listener.
    let _earlier = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.server_port))?;
    recorder.record_listener(Action::Listen)?;
    let connect_full = connect_to_full_queue(&client, &listener, patience, &mut recorder)?;
    recorder.record_settled(Action::MakeRoom)?;
    exchange_and_close(client, &listener, &mut recorder)?;
    Ok((recorder.steps, connect_full))
}

/// Connects while the queue is full, and makes room a moment later.
fn connect_to_full_queue(
    client: &Socket,
    listener: &Socket,
    patience: Duration,
    recorder: &mut Recorder<'_>,
) -> io::Result<CallTiming> {
    let server_address = listener.local_addr()?;
    thread::scope(|scope| {
        let connecting = scope.spawn(|| -> io::Result<Duration> {
            let start = Instant::now();
            client.connect_timeout(&server_address, patience)?;
            Ok(start.elapsed())
        });
        let start = Instant::now();
        thread::sleep(ROOM_AFTER);
        // On a busy machine the client may not have called `connect` yet.
        let mut ends = recorder.ends();
        while ends.client.is_none() && start.elapsed() < CALL_TIME_MAX {
            thread::sleep(Duration::from_millis(5));
            ends = recorder.ends();
        }
        recorder.record(Action::Connect, ends)?;
        defer_accept(listener, patience);
        let made_room = start.elapsed();
        listener.accept()?;
        let took = connecting
            .join()
            .map_err(|_| io::Error::other("the client failed"))??;
        Ok(CallTiming {
            call: Call::ConnectFull,
            took,
            peer_acted: Some(made_room),
        })
    })
}

/// Goes through the rest of the connection's life.
fn exchange_and_close(
    client: Socket,
    listener: &Socket,
    recorder: &mut Recorder<'_>,
) -> io::Result<()> {
    let mut client = TcpStream::from(client);
    client.write_all(b"hello")?;
    let (server, _) = listener.accept()?;
    server.set_send_buffer_size(BUFFER_BYTES)?;
    let mut server = TcpStream::from(server);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    recorder.record_settled(Action::Send)?;
    fill(&mut client)?;
    client.shutdown(Shutdown::Write)?;
    recorder.record_settled(Action::Finish)?;
    read_to_end(&mut server)?;
    recorder.record_settled(Action::Read)?;
    fill(&mut server)?;
    drop(server);
    recorder.record_settled(Action::ServerClose)?;
    read_to_end(&mut client)?;
    recorder.record_settled(Action::ReadRest)?;
    drop(client);
    recorder.record_settled(Action::Close)?;
    Ok(())
}

/// Sends until the buffers are full.
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

/// Makes the server's end ESTABLISHED only with the first bytes of a connection.
///
/// If this fails, SYN_RECV ends too soon to be seen.
#[cfg(target_os = "linux")]
fn defer_accept(listener: &Socket, time: Duration) {
    use std::os::fd::AsRawFd;
    let seconds = libc::c_int::try_from(time.as_secs()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open while `listener` is borrowed, and the pointer leads to an int
    // of the given length.
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
fn defer_accept(_listener: &Socket, _time: Duration) {}
