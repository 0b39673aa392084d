//! Connections under every model that runs in this process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use landline_socketserver::{
    Bind, DrainOutcome, Limits, Server, Shutdown, Stopper, blocking,
    tasks::{TaskConnection, TaskHandler},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::events::Events;

/// Answers lines. `panic`, `fail` and `drain?` do what they say; others are echoed.
#[derive(Clone, Default)]
struct Lines {
    finished: Arc<AtomicUsize>,
}

fn answer(line: &str, drains: bool) -> io::Result<String> {
    match line.trim_end() {
        "panic" => panic!("as asked"),
        "fail" => Err(io::Error::other("as asked")),
        "drain?" => Ok(format!("{drains}\n")),
        _ => Ok(line.to_owned()),
    }
}

impl<S: Read + Write> blocking::Handler<S> for Lines {
    fn handle(&mut self, connection: &mut blocking::Connection<S>) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            if connection.read(&mut byte)? == 0 {
                return Ok(());
            }
            line.push(byte[0]);
            if byte[0] == b'\n' {
                let drains = connection.drain().has_started();
                connection
                    .write_all(answer(&String::from_utf8_lossy(&line), drains)?.as_bytes())?;
                line.clear();
            }
        }
    }

    fn finish(&mut self, _: &mut blocking::Connection<S>) -> io::Result<()> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for Lines {
    async fn handle(&mut self, connection: &mut TaskConnection<S>) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            let byte = match connection.read_u8().await {
                Ok(byte) => byte,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            line.push(byte);
            if byte == b'\n' {
                let drains = connection.drain().has_started();
                let text = answer(&String::from_utf8_lossy(&line), drains)?;
                connection.write_all(text.as_bytes()).await?;
                line.clear();
            }
        }
    }

    async fn finish(&mut self, _: &mut TaskConnection<S>) -> io::Result<()> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Model {
    Inline,
    Threads,
    Tasks,
    Pool,
}

const ALL: [Model; 4] = [Model::Inline, Model::Threads, Model::Tasks, Model::Pool];
const MANY: [Model; 3] = [Model::Threads, Model::Tasks, Model::Pool];

/// A running server and its events.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: thread::JoinHandle<io::Result<DrainOutcome>>,
    events: Events,
    finished: Arc<AtomicUsize>,
}

fn quick() -> Limits {
    Limits {
        drain_time: Duration::from_secs(20),
        ending_time: Duration::from_secs(20),
        ..Limits::default()
    }
}

fn start(model: Model, limits: Limits) -> Running {
    start_verified(model, limits, |_| true)
}

fn start_verified(
    model: Model,
    limits: Limits,
    verify: fn(&landline_socketserver::Peer) -> bool,
) -> Running {
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let events = Events::default();
    let lines = Lines::default();
    let recorded = events.clone();
    let finished = lines.finished.clone();
    let server = Server::new(listener, lines)
        .limits(limits)
        .verify(verify)
        .on_event(move |event| recorded.put(event));
    let thread = thread::spawn(move || serve(model, server, &shutdown));
    Running {
        address,
        stopper,
        thread,
        events,
        finished,
    }
}

fn serve(
    model: Model,
    server: Server<TcpListener, Lines>,
    shutdown: &Shutdown,
) -> io::Result<DrainOutcome> {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    match model {
        Model::Inline => server.inline(shutdown),
        Model::Threads => server.threads(shutdown),
        Model::Tasks => runtime().block_on(server.tasks(shutdown)),
        Model::Pool => runtime().block_on(server.pooled_tasks(8, shutdown)),
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    fn stop(self) -> DrainOutcome {
        self.stopper.stop();
        self.thread.join().unwrap().unwrap()
    }
}

fn ask(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

/// Reads to the end, which may be a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn every_model_serves_connections_in_turn() {
    for model in ALL {
        let server = start(model, quick());
        for round in 0..3 {
            let mut client = server.connect();
            assert_eq!(
                ask(&mut client, &format!("round {round}\n")),
                format!("round {round}\n"),
                "{model:?}"
            );
        }
        server.events.await_count("ended", 3);
        assert_eq!(server.finished.load(Ordering::SeqCst), 3);
        assert_eq!(server.stop(), DrainOutcome { cut_off: 0 });
    }
}

/// Proves `panic` in docs/faults.md.
#[test]
fn panic_or_error_ends_one_connection_after_finish() {
    for model in ALL {
        let server = start(model, quick());
        for (word, event) in [
            ("panic\n", "the handler panicked: as asked"),
            ("fail\n", "failed Other"),
        ] {
            let mut other = (model != Model::Inline).then(|| server.connect());
            let mut client = server.connect();
            client.write_all(word.as_bytes()).unwrap();
            assert!(is_closed(&mut client), "{model:?}");
            server.events.await_count(event, 1);
            if let Some(other) = &mut other {
                assert_eq!(ask(other, "alive\n"), "alive\n", "{model:?}");
            }
        }
        assert_eq!(ask(&mut server.connect(), "still there\n"), "still there\n");
        server
            .events
            .await_count("accepted", if model == Model::Inline { 3 } else { 5 });
        assert!(server.finished.load(Ordering::SeqCst) >= 2);
        server.stop();
    }
}

#[test]
fn connections_above_limit_wait_in_backlog() {
    for model in MANY {
        let server = start(
            model,
            Limits {
                connections_max: 2,
                ..quick()
            },
        );
        let mut first = server.connect();
        let mut second = server.connect();
        assert_eq!(ask(&mut first, "1\n"), "1\n");
        assert_eq!(ask(&mut second, "2\n"), "2\n");
        let mut third = server.connect();
        third.write_all(b"3\n").unwrap();
        third
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        assert!(third.read(&mut [0]).is_err(), "{model:?}");
        assert_eq!(server.events.count("accepted"), 2);
        drop(first);
        third
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut answer = [0; 2];
        third.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"3\n");
        drop((second, third));
        server.stop();
    }
}

/// Proves `spoofed-source` in docs/faults.md.
#[test]
fn connections_of_one_address_are_limited() {
    for model in MANY {
        let server = start(
            model,
            Limits {
                connections_per_address_max: 2,
                ..quick()
            },
        );
        let mut first = server.connect();
        let mut second = server.connect();
        assert_eq!(ask(&mut first, "1\n") + &ask(&mut second, "2\n"), "1\n2\n");
        assert!(is_closed(&mut server.connect()), "{model:?}");
        assert_eq!(server.events.count("refused TooManyFromAddress"), 1);
        // A PROXY header has no effect.
        let mut liar = server.connect();
        let _ = liar.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n");
        assert!(is_closed(&mut liar), "{model:?}");
        drop(first);
        server.events.await_count("ended", 1);
        assert_eq!(ask(&mut server.connect(), "3\n"), "3\n");
        drop(second);
        server.stop();
    }
}

#[test]
fn address_slot_is_free_when_client_sees_end() {
    for model in MANY {
        let server = start(
            model,
            Limits {
                connections_per_address_max: 1,
                ..quick()
            },
        );
        for _ in 0..200 {
            let mut client = server.connect();
            client.write_all(b"fail\n").unwrap();
            assert!(is_closed(&mut client));
        }
        server.events.await_count("failed Other", 200);
        assert_eq!(server.events.count("refused TooManyFromAddress"), 0);
        server.stop();
    }
}

#[test]
fn dropped_stopper_is_an_error() {
    for model in ALL {
        let Running {
            address,
            stopper,
            thread,
            ..
        } = start(model, quick());
        let mut client = TcpStream::connect(address).unwrap();
        assert_eq!(ask(&mut client, "here\n"), "here\n");
        drop((client, stopper));
        let error = thread.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{model:?}");
    }
}

#[test]
fn system_probes_silent_peers() {
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(socket2::SockRef::from(&accepted).keepalive().unwrap());
}

#[test]
fn verify_refuses_before_handler_starts() {
    for model in ALL {
        let server = start_verified(model, quick(), |peer| {
            !peer.socket_addr().unwrap().ip().is_loopback()
        });
        assert!(is_closed(&mut server.connect()));
        assert_eq!(server.events.count("refused Verify"), 1);
        assert_eq!(server.events.count("accepted"), 0);
        server.stop();
    }
}

#[test]
fn idle_connection_times_out() {
    for model in ALL {
        let server = start(
            model,
            Limits {
                idle_timeout: Some(Duration::from_millis(150)),
                ..quick()
            },
        );
        let mut client = server.connect();
        assert!(is_closed(&mut client), "{model:?}");
        server.events.await_count("failed TimedOut", 1);
        server.stop();
    }
}

/// Proves `slow-reader` in docs/faults.md.
#[test]
fn client_that_reads_nothing_times_out() {
    for model in ALL {
        let server = start(
            model,
            Limits {
                write_timeout: Some(Duration::from_millis(300)),
                ..quick()
            },
        );
        let mut client = server.connect();
        let line = [[b'x'; 65_535].as_slice(), b"\n"].concat();
        // It sends until both directions are full. The handler stops reading because the client
        // does not take its answers.
        while client.write_all(&line).is_ok() {}
        server.events.await_count("accepted", 1);
        server
            .events
            .await_that(|events| events.iter().any(|event| event.starts_with("failed")));
        assert_eq!(server.events.count("failed TimedOut"), 1, "{model:?}");
        server.stop();
    }
}

#[test]
fn drain_waits_for_conversations_and_signals_handlers() {
    for model in MANY {
        let server = start(model, quick());
        let mut client = server.connect();
        assert_eq!(ask(&mut client, "drain?\n"), "false\n");
        server.stopper.stop();
        server.events.await_count("draining", 1);
        assert_eq!(ask(&mut client, "drain?\n"), "true\n", "{model:?}");
        assert!(TcpStream::connect(server.address).is_err(), "{model:?}");
        drop(client);
        assert_eq!(server.stop(), DrainOutcome { cut_off: 0 });
    }
}

#[test]
fn drain_deadline_ends_running_handlers() {
    for model in MANY {
        let limits = Limits {
            drain_time: Duration::from_millis(100),
            ending_time: Duration::from_secs(20),
            ..quick()
        };
        let limits = match model {
            // An async handler that ignores the signal ends only when its task is dropped.
            Model::Tasks => Limits {
                ending_time: Duration::from_millis(100),
                ..limits
            },
            _ => limits,
        };
        let server = start(model, limits);
        let mut client = server.connect();
        assert_eq!(ask(&mut client, "here\n"), "here\n");
        let drained = {
            server.stopper.stop();
            server.events.await_count("draining", 1);
            assert!(is_closed(&mut client), "{model:?}");
            server.stop()
        };
        assert_eq!(
            drained.cut_off,
            usize::from(model == Model::Tasks),
            "{model:?}"
        );
    }
}
