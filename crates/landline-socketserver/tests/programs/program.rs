//! The servers that the tests start as processes.

use std::{
    io::{self, BufRead, BufReader, Write},
    thread,
    time::Duration,
};

use landline_socketserver::{
    Bind, Event, Limits, Processes, Server, Stopper,
    blocking::TcpConnection,
    datagram::{Datagram, DatagramServer, Outbox},
    tasks::TaskTcpConnection,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves until a handler stops it. Prints its address, then a line for each event.
///
/// `limits` are the connections at a time, and those of one address.
pub(super) fn serve(kind: &str, processes: &str, limits: &[usize]) {
    let (stopper, shutdown) = Stopper::new().unwrap();
    let processes = match processes {
        "each" => Processes::Each,
        count => Processes::Workers(count.parse().unwrap()),
    };
    let default = Limits::default();
    let per_address = limits.get(1).copied();
    let limits = Limits {
        connections_max: limits[0],
        connections_per_address_max: per_address.unwrap_or(default.connections_per_address_max),
        // The tests wait it out where a connection stays.
        drain_time: Duration::from_secs(10),
        ending_time: Duration::from_secs(1),
        ..default
    };
    // The process must have only one thread, so a handler stops the server.
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

/// Serves without hooks, until a handler stops it. Prints its address.
pub(super) fn serve_plainly(kind: &str, processes: &str) {
    let (stopper, shutdown) = Stopper::new().unwrap();
    let handler = {
        let stopper = stopper.clone();
        move |connection: &mut TcpConnection| answer(connection, &stopper)
    };
    if kind == "udp" {
        let socket = Bind::new().udp("127.0.0.1:0").unwrap();
        println!("{}", socket.local_addr().unwrap());
        let handler = move |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
            answer_datagram(datagram, outbox, &stopper)
        };
        DatagramServer::new(socket, handler)
            .inline(&shutdown)
            .unwrap();
        return;
    }
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let server = Server::new(listener, handler);
    match processes {
        "none" => server.threads(&shutdown),
        "each" => server.processes(Processes::Each, &shutdown),
        count => server.processes(Processes::Workers(count.parse().unwrap()), &shutdown),
    }
    .unwrap();
}

/// Serves with few descriptors and a model that does not fork. Idle clients time out after 1 s.
pub(super) fn hold(model: &str, descriptors_max: u64) {
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
        let handler =
            async move |connection: &mut TaskTcpConnection| answer_task(connection, &stopper).await;
        let server = Server::new(listener, handler)
            .limits(limits)
            .on_event(print);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.tasks(&shutdown))
    };
    println!("cut off {}", drained.unwrap().cut_off);
}

async fn answer_task(connection: &mut TaskTcpConnection, stopper: &Stopper) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let byte = connection.read_u8().await?;
        if byte != b'\n' {
            line.push(byte);
        } else if line == b"stop" {
            stopper.stop();
            return Ok(());
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
        Event::Refused { reason, .. } => println!("refused: {reason:?}"),
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
            "drain?" => writeln!(connection, "{}", connection.drain().has_started())?,
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
        b"fail" => return Err(io::Error::other("as asked")),
        b"stop" => stopper.stop(),
        _ => outbox.send(datagram.peer(), std::process::id().to_string().as_bytes())?,
    }
    Ok(())
}

/// The error of a server that may not fork because of a second thread.
pub(super) fn fork_with_threads() -> String {
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
