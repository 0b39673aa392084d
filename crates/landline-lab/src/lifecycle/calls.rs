//! Measures how long calls block until the peer acts.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{Call, CallTiming, PATIENCE};
use crate::pair;

/// The time after which the peer acts.
const PEER_DELAY: Duration = Duration::from_millis(150);
/// The length of the big send, more than the buffers of a connection hold.
const BIG_BYTES: usize = 16 << 20;

pub(super) fn run() -> io::Result<Vec<CallTiming>> {
    Ok(vec![
        connect()?,
        accept()?,
        receive()?,
        receive_end()?,
        send_small()?,
        send_big()?,
        close()?,
    ])
}

/// Times a call while the peer acts a moment later.
fn timed<Done>(
    call: Call,
    make: impl FnOnce() -> io::Result<Done>,
    act: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<CallTiming> {
    let start = Instant::now();
    thread::scope(|scope| {
        let acting = scope.spawn(move || {
            thread::sleep(PEER_DELAY);
            let acted = start.elapsed();
            act().map(|()| acted)
        });
        let done = make()?;
        let took = start.elapsed();
        let acted = acting
            .join()
            .map_err(|_| io::Error::other("the other side failed"))??;
        drop(done);
        Ok(CallTiming {
            call,
            took,
            peer_acted: Some(acted),
        })
    })
}

/// Times a call that needs no action of the peer.
fn alone<Done>(call: Call, make: impl FnOnce() -> io::Result<Done>) -> io::Result<CallTiming> {
    let start = Instant::now();
    let done = make()?;
    let took = start.elapsed();
    drop(done);
    Ok(CallTiming {
        call,
        took,
        peer_acted: None,
    })
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let (one, other) = pair::connect()?;
    for stream in [&one, &other] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((one, other))
}

fn connect() -> io::Result<CallTiming> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    alone(Call::Connect, || TcpStream::connect(address))
}

fn accept() -> io::Result<CallTiming> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    timed(
        Call::Accept,
        || listener.accept(),
        move || TcpStream::connect(address).map(|_| ()),
    )
}

fn receive() -> io::Result<CallTiming> {
    let (mut one, mut other) = pair()?;
    let mut buffer = [0; 64];
    timed(
        Call::Receive,
        || one.read(&mut buffer),
        move || other.write_all(b"at last"),
    )
}

fn receive_end() -> io::Result<CallTiming> {
    let (mut one, other) = pair()?;
    drop(other);
    let mut buffer = [0; 64];
    alone(Call::ReceiveEnd, || one.read(&mut buffer))
}

fn send_small() -> io::Result<CallTiming> {
    let (mut one, _other) = pair()?;
    alone(Call::SendSmall, || one.write_all(b"twelve bytes"))
}

fn send_big() -> io::Result<CallTiming> {
    let (mut one, mut other) = pair()?;
    let bytes = vec![0; BIG_BYTES];
    timed(
        Call::SendBig,
        || one.write_all(&bytes),
        move || other.read_exact(&mut vec![0; BIG_BYTES]),
    )
}

fn close() -> io::Result<CallTiming> {
    let (mut one, _other) = pair()?;
    one.write_all(&[0; 1 << 15])?;
    alone(Call::Close, move || {
        drop(one);
        Ok(())
    })
}
