//! Servers that need a process of their own: because they fork, or because of what they are short
//! of. This program is the tests, and, with the argument `serve`, the server they start.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use landline_socketserver::{
    Bind, Event, Limits, Processes, Server, Stopper,
    blocking::TcpConnection,
    datagram::{Datagram, DatagramServer, Outbox},
    tasks,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What has to happen happens within this time, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", kind, processes, connections_max] => {
            serve(kind, processes, connections_max.parse().unwrap())
        }
        ["hold", model, descriptors_max] => hold(model, descriptors_max.parse().unwrap()),
        ["threads"] => println!("{}", refused_with_threads()),
        // What cargo passes on is for the harness that is not here.
        _ => run_all(),
    }
}

fn run_all() {
    let tests: [(&str, fn()); 12] = [
        (
            "each connection has a process of its own",
            each_connection_has_a_process_of_its_own,
        ),
        (
            "workers serve one after the other",
            workers_serve_one_after_the_other,
        ),
        ("a crash takes one connection", a_crash_takes_one_connection),
        (
            "a worker that dies is replaced",
            a_worker_that_dies_is_replaced,
        ),
        ("draining waits, then ends", draining_waits_then_ends),
        (
            "the limit holds and nothing is left",
            the_limit_holds_and_nothing_is_left,
        ),
        ("datagrams too", datagrams_too),
        (
            "children of a parent that died drain",
            children_of_a_parent_that_died_drain,
        ),
        (
            "more than one thread is refused",
            more_than_one_thread_is_refused,
        ),
        (
            "without descriptors accepting rests and recovers",
            without_descriptors_accepting_rests_and_recovers,
        ),
        (
            "silent clients hold up nobody and are ended",
            silent_clients_hold_up_nobody_and_are_ended,
        ),
        (
            "clients that vanish leave nothing",
            clients_that_vanish_leave_nothing,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// Serves until its standard input ends, printing its address and then every event, a line each.
fn serve(kind: &str, processes: &str, connections_max: usize) {
    let (stopper, shutdown) = Stopper::new().unwrap();
    let processes = match processes {
        "each" => Processes::Each,
        count => Processes::Workers(count.parse().unwrap()),
    };
    let limits = Limits {
        connections_max,
        drain_time: Duration::from_secs(1),
        ending_time: Duration::from_secs(1),
        ..Limits::default()
    };
    // Who is asked to stop this server has no thread to spare: a handler does it.
    let drained = if kind == "udp" {
        let socket = Bind::new().udp("127.0.0.1:0").unwrap();
        println!("{}", socket.local_addr().unwrap());
        let handler = move |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
            answer_datagram(datagram, outbox, &stopper)
        };
        DatagramServer::new(socket, handler)
            .limits(limits)
            .on_event(print)
            .processes(processes, &shutdown)
    } else {
        let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
        println!("{}", listener.local_addr().unwrap());
        let handler = move |connection: &mut TcpConnection| answer(connection, &stopper);
        Server::new(listener, handler)
            .limits(limits)
            .on_event(print)
            .processes(processes, &shutdown)
    };
    println!("cut off {}", drained.unwrap().cut_off);
}

/// Serves under a model that does not fork, with few descriptors, and ends what is silent for a
/// second.
fn hold(model: &str, descriptors_max: u64) {
    let limit = getrlimit(Resource::Nofile);
    let current = if descriptors_max == 0 {
        limit.maximum
    } else {
        Some(descriptors_max)
    };
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current,
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let limits = Limits {
        connections_max: 20_000,
        connections_per_address_max: 20_000,
        idle_timeout: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let (stopper, shutdown) = Stopper::new().unwrap();
    let listener = Bind::new().backlog(4096).tcp("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let drained = if model == "threads" {
        let handler = move |connection: &mut TcpConnection| answer(connection, &stopper);
        Server::new(listener, handler)
            .limits(limits)
            .on_event(print)
            .threads(&shutdown)
    } else {
        let (stop, mut stopped) = tokio::sync::mpsc::channel::<()>(1);
        let handler =
            async move |connection: &mut tasks::TcpConnection| answer_task(connection, &stop).await;
        let server = Server::new(listener, handler)
            .limits(limits)
            .on_event(print);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.tasks(async { stopped.recv().await.unwrap_or_default() }))
    };
    println!("cut off {}", drained.unwrap().cut_off);
}

async fn answer_task(
    connection: &mut tasks::TcpConnection,
    stop: &tokio::sync::mpsc::Sender<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let byte = connection.read_u8().await?;
        if byte != b'\n' {
            line.push(byte);
        } else if line == b"stop" {
            return stop.send(()).await.map_err(io::Error::other);
        } else {
            connection.write_all(b"here\n").await?;
            line.clear();
        }
    }
}

fn print(event: &Event<'_>) {
    match event {
        Event::AcceptFailed { error } => println!("accept failed: {error}"),
        Event::Ended { failure: None, .. } => println!("ended"),
        Event::Ended {
            failure: Some(failure),
            ..
        } => println!("failed: {failure}"),
        Event::WorkerEnded {
            failure: Some(failure),
        } => println!("worker: {failure}"),
        Event::WorkerEnded { failure: None } => println!("worker ended"),
        _ => {}
    }
}

fn answer(connection: &mut TcpConnection, stopper: &Stopper) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(connection.stream().clone());
    while reader.read_line(&mut line)? > 0 {
        match line.trim_end() {
            "panic" => panic!("as asked"),
            "fail" => return Err(io::Error::other("as asked")),
            "abort" => std::process::abort(),
            "stop" => stopper.stop(),
            "drain?" => writeln!(connection, "{}", connection.drain().has_begun())?,
            "await" => writeln!(connection, "{}", connection.await_input()?)?,
            _ => writeln!(connection, "{}", std::process::id())?,
        }
        line.clear();
    }
    Ok(())
}

fn answer_datagram(
    datagram: &Datagram<'_>,
    outbox: &mut Outbox<'_>,
    stopper: &Stopper,
) -> io::Result<()> {
    match datagram.bytes() {
        b"panic" => panic!("as asked"),
        b"stop" => stopper.stop(),
        _ => outbox.send(datagram.peer(), std::process::id().to_string().as_bytes())?,
    }
    Ok(())
}

/// Fork is refused as soon as there is a second thread.
fn refused_with_threads() -> String {
    let (_stopper, shutdown) = Stopper::new().unwrap();
    let (_hold, held) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || held.recv());
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let server = Server::new(listener, |_: &mut TcpConnection| Ok(()));
    server
        .processes(Processes::Each, &shutdown)
        .unwrap_err()
        .to_string()
}

struct Running {
    process: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Running {
    fn start(kind: &str, processes: &str, connections_max: usize) -> Self {
        Self::start_with(&["serve", kind, processes, &connections_max.to_string()])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let address = lines.recv_timeout(PATIENCE).unwrap().parse().unwrap();
        Self {
            process,
            lines,
            address,
        }
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    fn connect(&self) -> Conversation {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Conversation(BufReader::new(stream))
    }

    /// Reads what it reports until this comes.
    fn await_line(&mut self, wanted: &str) {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(wanted) => return,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the server did not say {wanted:?} but {seen:?}"),
            }
        }
    }

    /// The processes it has forked.
    fn children(&self) -> usize {
        let tasks =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.id()))
                .unwrap();
        tasks.split_whitespace().count()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    fn end(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Running {
    /// A test that fails leaves no server behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Conversation(BufReader<TcpStream>);

impl Conversation {
    fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    fn hear(&mut self) -> String {
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

fn each_connection_has_a_process_of_its_own() {
    let mut server = Running::start("tcp", "each", 10);
    let (mut one, mut two) = (server.connect(), server.connect());
    let (first, second) = (one.ask("who"), two.ask("who"));
    assert_ne!(first, second);
    assert_ne!(first, server.pid());
    assert_eq!(one.ask("who"), first);
    drop(one);
    server.await_line("ended");
    two.say("stop");
    drop(two);
    server.await_line("cut off 0");
    server.end();
}

fn workers_serve_one_after_the_other() {
    let mut server = Running::start("tcp", "2", 10);
    let (mut one, mut two) = (server.connect(), server.connect());
    assert_ne!(one.ask("who"), two.ask("who"));
    // Both workers are busy, so the third waits until one is free.
    let mut three = server.connect();
    three.say("who");
    let first = one.ask("who");
    drop(one);
    assert_eq!(three.hear(), first);
    two.say("stop");
    drop((two, three));
    server.await_line("cut off 0");
    server.end();
}

/// Proves `panic` in docs/faults.md.
fn a_crash_takes_one_connection() {
    let mut server = Running::start("tcp", "each", 10);
    let mut other = server.connect();
    let who = other.ask("who");
    let ends = [
        ("panic", "failed: the handler panicked: as asked"),
        ("fail", "failed: as asked"),
        (
            "abort",
            "failed: the handler's process ended with signal: 6",
        ),
    ];
    for (word, failure) in ends {
        let mut client = server.connect();
        client.say(word);
        assert!(client.is_closed(), "{word}");
        server.await_line(failure);
        assert_eq!(other.ask("who"), who);
    }
    other.say("stop");
    drop(other);
    server.await_line("cut off 0");
    server.end();
}

fn a_worker_that_dies_is_replaced() {
    let mut server = Running::start("tcp", "1", 10);
    let mut client = server.connect();
    let first = client.ask("who");
    client.say("panic");
    assert!(client.is_closed());
    let mut client = server.connect();
    assert_eq!(
        client.ask("who"),
        first,
        "a panic is no reason to replace it"
    );
    client.say("abort");
    assert!(client.is_closed());
    server.await_line("worker: the handler's process ended with signal: 6");
    let mut client = server.connect();
    assert_ne!(client.ask("who"), first);
    client.say("stop");
    drop(client);
    server.await_line("cut off 0");
    server.end();
}

fn draining_waits_then_ends() {
    let mut server = Running::start("tcp", "each", 10);
    let (mut polite, mut stubborn, mut stopping) =
        (server.connect(), server.connect(), server.connect());
    assert_eq!(polite.ask("drain?"), "false");
    stubborn.ask("who");
    polite.say("await");
    stopping.say("stop");
    assert_eq!(
        polite.hear(),
        "false",
        "the wait ends because the server drains"
    );
    assert_eq!(polite.ask("drain?"), "true");
    assert!(
        TcpStream::connect(server.address).is_err(),
        "nobody listens any more"
    );
    drop((polite, stopping));
    assert!(stubborn.is_closed());
    server.await_line("cut off 1");
    server.end();
}

fn the_limit_holds_and_nothing_is_left() {
    let mut server = Running::start("tcp", "each", 2);
    let (mut one, mut two) = (server.connect(), server.connect());
    one.ask("who");
    two.ask("who");
    let mut three = server.connect();
    three.say("who");
    three
        .0
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(three.0.read(&mut [0]).is_err());
    assert_eq!(server.children(), 2);
    drop((one, two));
    three.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    three.hear();
    drop(three);
    for _ in 0..3 {
        server.await_line("ended");
    }
    assert_eq!(server.children(), 0, "no zombie is left");
    let mut last = server.connect();
    last.say("stop");
    drop(last);
    server.await_line("cut off 0");
    server.end();
}

fn datagrams_too() {
    for processes in ["each", "2"] {
        let mut server = Running::start("udp", processes, 10);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let ask = |word: &[u8]| {
            client.send_to(word, server.address).unwrap();
            let mut answer = [0; 100];
            let length = client.recv(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        assert_ne!(ask(b""), server.pid());
        client.send_to(b"panic", server.address).unwrap();
        assert_ne!(ask(b"who"), server.pid());
        client.send_to(b"stop", server.address).unwrap();
        server.await_line("cut off 0");
        server.end();
    }
}

fn children_of_a_parent_that_died_drain() {
    let mut server = Running::start("tcp", "each", 10);
    let mut client = server.connect();
    client.ask("who");
    client.say("await");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    assert_eq!(client.hear(), "false");
    assert_eq!(client.ask("drain?"), "true");
}

fn more_than_one_thread_is_refused() {
    let output = Command::new(env::current_exe().unwrap())
        .arg("threads")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("only a process with one thread may fork, and 2 run here"),
        "{text}"
    );
}

const HOLDING: [&str; 2] = ["threads", "tasks"];

/// Proves `descriptor-exhaustion` in docs/faults.md.
fn without_descriptors_accepting_rests_and_recovers() {
    for model in HOLDING {
        let mut server = Running::start_with(&["hold", model, "64"]);
        let since = Instant::now();
        let clients: Vec<Conversation> = (0..200).map(|_| server.connect()).collect();
        server.await_line("accept failed: Too many open files");
        // All of them are silent, so they are ended and make room for those that wait.
        let mut last = server.connect();
        assert!(!last.ask("who").is_empty(), "{model}");
        drop(clients);
        let lines: Vec<String> = server.lines.try_iter().collect();
        let failures = lines
            .iter()
            .filter(|line| line.starts_with("accept failed"))
            .count();
        let ended = lines.len() - failures;
        // It is tried again when a time has passed, or when a connection has ended and so left its
        // descriptor.
        let turns = since.elapsed().as_millis() as usize / 100 + 1 + ended;
        assert!(
            failures <= turns,
            "{model}: {failures} tries where there was reason for {turns}: it spins"
        );
        last.say("stop");
        drop(last);
        server.await_line("cut off 0");
        server.end();
    }
}

/// How many there are, unless the long loops are to be whole.
fn many(few: usize) -> usize {
    if env::var_os("LANDLINE_SOAK").is_some() {
        10_000
    } else {
        few
    }
}

fn silent_clients_hold_up_nobody_and_are_ended() {
    let count = many(300);
    let mut server = Running::start_with(&["hold", "tasks", "0"]);
    let mut own = getrlimit(Resource::Nofile);
    own.current = own.maximum;
    setrlimit(Resource::Nofile, own).unwrap();
    server.connect().ask("who");
    server.await_line("failed");
    let before = server.descriptors();
    let clients: Vec<Conversation> = (0..count).map(|_| server.connect()).collect();
    assert_eq!(server.connect().ask("who"), "here");
    for _ in 0..count {
        server.await_line("failed: the peer was silent for too long");
    }
    let mut last = server.connect();
    assert_eq!(last.ask("who"), "here");
    assert!(
        server.descriptors() <= before + 2,
        "{} descriptors, {before} before",
        server.descriptors()
    );
    drop(clients);
    last.say("stop");
    server.await_line("cut off 0");
    server.end();
}

fn clients_that_vanish_leave_nothing() {
    let count = many(500);
    for model in HOLDING {
        let mut server = Running::start_with(&["hold", model, "0"]);
        server.connect().ask("who");
        server.await_line(if model == "tasks" { "failed" } else { "ended" });
        let before = server.descriptors();
        for number in 0..count {
            let mut client = server.connect();
            if number % 3 == 0 {
                client.say("who");
            }
            if number % 2 == 0 {
                // Closing sends a reset in place of an end.
                socket2::SockRef::from(client.0.get_ref())
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
        let mut seen = 0;
        while seen < count {
            let line = server.lines.recv_timeout(PATIENCE).unwrap();
            seen += usize::from(line.starts_with("ended") || line.starts_with("failed"));
        }
        let mut last = server.connect();
        assert!(!last.ask("who").is_empty());
        assert!(
            server.descriptors() <= before + 2,
            "{model}: {} descriptors, {before} before",
            server.descriptors()
        );
        last.say("stop");
        drop(last);
        server.await_line("cut off 0");
        server.end();
    }
}
