//! Datagrams under every model that runs in this process.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::unix::net::UnixDatagram,
    sync::mpsc,
    thread,
    time::Duration,
};

use landline_socketserver::{
    Bind, DrainOutcome, Limits, Stopper,
    datagram::{Datagram, DatagramServer, DatagramSocket, Outbox, Outlet},
};

use crate::events::Events;

fn echo(datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()> {
    assert_ne!(datagram.bytes(), b"panic", "as asked");
    outbox.send(datagram.peer(), datagram.bytes())
}

async fn echo_task(datagram: Datagram<'static>, outlet: Outlet) -> io::Result<()> {
    assert_ne!(datagram.bytes(), b"panic", "as asked");
    outlet.send(datagram.peer(), datagram.bytes()).await
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Model {
    Inline,
    Threads,
    Tasks,
}

const ALL: [Model; 3] = [Model::Inline, Model::Threads, Model::Tasks];

struct Running {
    stopper: Stopper,
    thread: thread::JoinHandle<io::Result<DrainOutcome>>,
    events: Events,
}

impl Running {
    fn start(model: Model, socket: impl DatagramSocket, limits: Limits) -> Self {
        let (stopper, shutdown) = Stopper::new().unwrap();
        let events = Events::default();
        let seen = events.clone();
        let thread = thread::spawn(move || match model {
            Model::Inline => DatagramServer::new(socket, echo)
                .limits(limits)
                .on_event(move |event| seen.put(event))
                .inline(&shutdown),
            Model::Threads => {
                let server = DatagramServer::new(socket, echo)
                    .limits(limits)
                    .on_event(move |event| seen.put(event));
                server.threads(3, &shutdown)
            }
            Model::Tasks => {
                let server = DatagramServer::new(socket, echo_task)
                    .limits(limits)
                    .on_event(move |event| seen.put(event));
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(server.tasks(&shutdown))
            }
        });
        Self {
            stopper,
            thread,
            events,
        }
    }

    fn stop(self) {
        self.stopper.stop();
        assert_eq!(
            self.thread.join().unwrap().unwrap(),
            DrainOutcome { cut_off: 0 }
        );
    }
}

fn udp() -> (UdpSocket, SocketAddr) {
    let socket = Bind::new().udp("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    client
}

fn ask(client: &UdpSocket, server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    client.send_to(bytes, server).unwrap();
    receive(client)
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 65_536];
    let length = client.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

#[test]
fn datagrams_of_all_lengths_keep_their_bounds() {
    for model in ALL {
        let (socket, address) = udp();
        let server = Running::start(model, socket, Limits::default());
        let client = client();
        for length in [0, 1, 1472, 1473, 65_507] {
            let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
            assert_eq!(ask(&client, address, &bytes), bytes, "{model:?} {length}");
        }
        server.stop();
    }
}

#[test]
fn dropped_stopper_is_an_error() {
    for model in ALL {
        let (socket, _) = udp();
        let Running {
            stopper, thread, ..
        } = Running::start(model, socket, Limits::default());
        drop(stopper);
        let error = thread.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{model:?}");
    }
}

#[test]
fn many_datagrams_are_answered_separately() {
    for model in ALL {
        let (socket, address) = udp();
        // All are in the socket's buffer before the server starts, so it receives them in batches.
        let client = client();
        for number in 0..150_u32 {
            client.send_to(&number.to_le_bytes(), address).unwrap();
        }
        let server = Running::start(model, socket, Limits::default());
        let mut answers: Vec<u32> = (0..150)
            .map(|_| u32::from_le_bytes(receive(&client).try_into().unwrap()))
            .collect();
        answers.sort_unstable();
        assert_eq!(answers, (0..150).collect::<Vec<_>>(), "{model:?}");
        server.stop();
    }
}

#[test]
fn panic_costs_one_datagram() {
    for model in ALL {
        let (socket, address) = udp();
        let server = Running::start(model, socket, Limits::default());
        let client = client();
        client.send_to(b"panic", address).unwrap();
        assert_eq!(ask(&client, address, b"alive"), b"alive", "{model:?}");
        server
            .events
            .await_that(|events| events.iter().any(|event| event.contains("panicked")));
        server.stop();
    }
}

#[test]
fn datagram_above_limit_is_dropped() {
    for model in ALL {
        let (socket, address) = udp();
        let server = Running::start(
            model,
            socket,
            Limits {
                datagram_bytes_max: 100,
                ..Limits::default()
            },
        );
        let client = client();
        client.send_to(&[7; 101], address).unwrap();
        assert_eq!(ask(&client, address, &[8; 100]), [8; 100], "{model:?}");
        server.events.await_count("refused TooLong", 1);
        server.stop();
    }
}

/// Here only the server's own socket can send from its address.
///
/// With forged sources everybody can. Proves `amplification` in docs/faults.md.
#[test]
fn datagram_from_own_address_is_not_echoed() {
    for model in ALL {
        let (socket, address) = udp();
        let twin = socket.try_clone().unwrap();
        let server = Running::start(model, socket, Limits::default());
        twin.send_to(b"to myself", address).unwrap();
        assert_eq!(ask(&client(), address, b"after"), b"after", "{model:?}");
        assert_eq!(server.events.count("refused ForgedSource"), 1, "{model:?}");
        server.stop();
    }
}

#[test]
fn vanished_client_disturbs_no_other() {
    for model in ALL {
        let (socket, address) = udp();
        let server = Running::start(model, socket, Limits::default());
        // It is bound first, so that it does not get the port of a client that is gone, and an
        // answer for that client.
        let stays = client();
        for _ in 0..20 {
            // Its port is closed when the answer arrives. The network reports that to the server.
            client().send_to(b"gone", address).unwrap();
        }
        assert_eq!(ask(&stays, address, b"here"), b"here", "{model:?}");
        server.stop();
    }
}

#[test]
fn unix_datagram_is_answered_if_source_has_name() {
    for model in ALL {
        let folder = scratch();
        let socket = Bind::new().unix_datagram(folder.join("server")).unwrap();
        let server = Running::start(model, socket, Limits::default());
        let unnamed = UnixDatagram::unbound().unwrap();
        unnamed.send_to(b"unnamed", folder.join("server")).unwrap();
        let named = UnixDatagram::bind(folder.join("client")).unwrap();
        named
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        named.send_to(b"named", folder.join("server")).unwrap();
        let mut answer = [0; 100];
        let length = named.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"named", "{model:?}");
        server.events.await_count("failed AddrNotAvailable", 1);
        server.stop();
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// Its queue is soon full. The others are still answered.
#[test]
fn unix_client_that_reads_nothing_delays_no_other() {
    for model in ALL {
        let folder = scratch();
        let socket = Bind::new().unix_datagram(folder.join("server")).unwrap();
        let server = Running::start(model, socket, Limits::default());
        let deaf = UnixDatagram::bind(folder.join("deaf")).unwrap();
        for _ in 0..600 {
            deaf.send_to(&[1; 100], folder.join("server")).unwrap();
        }
        let named = UnixDatagram::bind(folder.join("client")).unwrap();
        named
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        named.send_to(b"me", folder.join("server")).unwrap();
        assert_eq!(named.recv(&mut [0; 10]).unwrap(), 2, "{model:?}");
        server.stop();
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// A folder for this test.
fn scratch() -> std::path::PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("socketserver-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn handle_request_handles_one_datagram_per_call() {
    let (socket, address) = udp();
    let server = DatagramServer::new(socket, echo);
    let nothing = server
        .handle_request(Some(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(
        nothing,
        landline_socketserver::blocking::RequestOutcome::TimedOut
    );
    let client = client();
    for word in [b"one", b"two"] {
        client.send_to(word, address).unwrap();
        server.handle_request(None).unwrap();
        assert_eq!(receive(&client), word);
    }
}

#[test]
fn slow_handler_thread_delays_no_other() {
    let (socket, address) = udp();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let handler = move |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
        if datagram.bytes() == b"wait" {
            let _ = held.lock().unwrap().recv();
        }
        outbox.send(datagram.peer(), datagram.bytes())
    };
    let thread = thread::spawn(move || DatagramServer::new(socket, handler).threads(2, &shutdown));
    let slow = client();
    let quick = client();
    slow.send_to(b"wait", address).unwrap();
    assert_eq!(ask(&quick, address, b"quick"), b"quick");
    release.send(()).unwrap();
    assert_eq!(receive(&slow), b"wait");
    stopper.stop();
    thread.join().unwrap().unwrap();
}
