//! Streams other than TCP, and wrapped connections.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::Duration,
};

use landline_socketserver::{
    Bind, Limits, Server, Stopper,
    blocking::{self, RequestOutcome, TcpConnection, Timed, UnixConnection},
    memory,
    tasks::{TaskTimed, TaskUnixConnection},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::events::Events;

fn greet(connection: &mut UnixConnection) -> io::Result<()> {
    let peer = connection.peer().clone();
    write!(connection, "hello {peer}")
}

async fn greet_task(connection: &mut TaskUnixConnection) -> io::Result<()> {
    let text = format!("hello {}", connection.peer());
    connection.write_all(text.as_bytes()).await
}

fn read_all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn unix_listener_replaces_stale_socket() {
    let path = std::env::temp_dir().join(format!("socketserver-{}-stale", std::process::id()));
    drop(UnixListener::bind(&path).unwrap());
    assert!(Bind::new().address_reuse(false).unix(&path).is_err());
    let listener = Bind::new().unix(&path).unwrap();
    let in_use = Bind::new().unix(&path).unwrap_err();
    assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
    let (stopper, shutdown) = Stopper::new().unwrap();
    let thread = thread::spawn(move || Server::new(listener, greet).threads(&shutdown));
    assert_eq!(read_all(UnixStream::connect(&path).unwrap()), "hello unix");
    stopper.stop();
    thread.join().unwrap().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn unix_listener_keeps_regular_file() {
    let path = std::env::temp_dir().join(format!("socketserver-{}-file", std::process::id()));
    std::fs::write(&path, "precious").unwrap();
    assert!(Bind::new().unix(&path).is_err());
    assert!(Bind::new().unix_datagram(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn memory_listener_needs_no_network() {
    let (listener, dialer) = memory::listener().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let thread = thread::spawn(move || {
        runtime().block_on(Server::new(listener, greet_task).tasks(&shutdown))
    });
    for _ in 0..3 {
        assert_eq!(read_all(dialer.connect().unwrap()), "hello memory");
    }
    stopper.stop();
    thread.join().unwrap().unwrap();
    assert_eq!(
        dialer.connect().unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

/// A stand-in for TLS: a handshake of one line, then every byte is inverted.
struct Turned<S>(S);

impl<S: Read> Read for Turned<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte ^= 0xff);
        Ok(count)
    }
}

impl<S: Write> Write for Turned<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .write(&bytes.iter().map(|byte| byte ^ 0xff).collect::<Vec<_>>())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn turn<S: Read>(mut stream: S) -> io::Result<Turned<S>> {
    let mut hello = [0; 5];
    stream.read_exact(&mut hello)?;
    if &hello == b"turn\n" {
        Ok(Turned(stream))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[test]
fn wrapper_replaces_stream_or_refuses() {
    let events = Events::default();
    let seen = events.clone();
    let (listener, dialer) = memory::listener().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let say = |connection: &mut blocking::Connection<Turned<Timed<UnixStream>>>| {
        connection.write_all(b"turned")
    };
    let server = Server::new(listener, say)
        .wrap(turn)
        .on_event(move |event| seen.put(event));
    let thread = thread::spawn(move || server.threads(&shutdown));
    let mut client = dialer.connect().unwrap();
    client.write_all(b"turn\n").unwrap();
    assert_eq!(read_all(Turned(client)), "turned");
    let mut client = dialer.connect().unwrap();
    client.write_all(b"help\n").unwrap();
    assert_eq!(read_all(client), "");
    events.await_count("handshake InvalidData", 1);
    stopper.stop();
    thread.join().unwrap().unwrap();
}

/// A byte from time to time avoids the idle timeout, but not that of the handshake.
#[test]
fn slow_handshake_times_out_despite_traffic() {
    for is_async in [false, true] {
        let events = Events::default();
        let seen = events.clone();
        let (listener, dialer) = memory::listener().unwrap();
        let limits = Limits {
            handshake_timeout: Duration::from_millis(300),
            ..Limits::default()
        };
        let (stopper, shutdown) = Stopper::new().unwrap();
        let thread = thread::spawn(move || {
            let report = move |event: &landline_socketserver::Event<'_>| seen.put(event);
            if is_async {
                let wrap = async |mut stream: TaskTimed<tokio::net::UnixStream>| {
                    stream.read_exact(&mut [0; 1000]).await.map(|_| stream)
                };
                let server = Server::new(listener, greet_task)
                    .wrap(wrap)
                    .limits(limits)
                    .on_event(report);
                runtime().block_on(server.tasks(&shutdown))
            } else {
                let wrap = |mut stream: Timed<UnixStream>| {
                    stream.read_exact(&mut [0; 1000]).map(|()| stream)
                };
                Server::new(listener, greet)
                    .wrap(wrap)
                    .limits(limits)
                    .on_event(report)
                    .threads(&shutdown)
            }
        });
        let mut client = dialer.connect().unwrap();
        while client.write_all(b".").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
        events.await_count("handshake TimedOut", 1);
        stopper.stop();
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn idle_connection_ends_when_server_drains() {
    let (listener, dialer) = memory::listener().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let handler = |connection: &mut UnixConnection| {
        connection.write_all(b"?")?;
        while connection.await_input()? {
            connection.read_exact(&mut [0])?;
            connection.write_all(b"!")?;
        }
        connection.write_all(b"bye")
    };
    let thread = thread::spawn(move || Server::new(listener, handler).threads(&shutdown));
    let mut client = dialer.connect().unwrap();
    client.write_all(b"1").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    stopper.stop();
    assert_eq!(read_all(client), "bye");
    assert_eq!(thread.join().unwrap().unwrap().cut_off, 0);
}

#[test]
fn handle_request_serves_one_connection_per_call() {
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(listener, |connection: &mut TcpConnection| {
        connection.write_all(b"done")
    });
    assert_eq!(
        server
            .handle_request(Some(Duration::from_millis(20)))
            .unwrap(),
        RequestOutcome::TimedOut
    );
    for _ in 0..2 {
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(
            server.handle_request(None).unwrap(),
            RequestOutcome::Handled
        );
        assert_eq!(read_all(client), "done");
    }
}
