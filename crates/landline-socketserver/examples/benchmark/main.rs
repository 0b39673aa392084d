//! The echo servers that `bench/echo_bench.py` measures.
//!
//! They run until their standard input ends.
//!
//! ```text
//! cargo run --release -p landline-socketserver --example benchmark -- tcp
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

mod frames;

use std::{
    io::{self, Read},
    thread,
    time::Duration,
};

use frames::Frames;
use landline_socketserver::{
    Bind, Limits, Server, Shutdown, Stopper,
    datagram::{Datagram, DatagramServer, Outbox},
    framing::TaskFramed,
    tasks::{TaskHandler, TaskTcpConnection, TaskTimed},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Builder,
};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["tcp"] => tasks(Server::new(
            Bind::new().backlog(4096).tcp("127.0.0.1:0")?,
            echo,
        )),
        ["framed"] => tasks(Server::new(
            Bind::new().backlog(4096).tcp("127.0.0.1:0")?,
            echo_frames,
        )),
        ["udp"] => datagrams(),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "say tcp, framed or udp",
        )),
    }
}

async fn echo(connection: &mut TaskTcpConnection) -> io::Result<()> {
    // More than the 32 messages of 64 bytes under way, so that a read that is not filled is known
    // to be the last.
    let mut buffer = vec![0; 2112];
    loop {
        let count = connection.read(&mut buffer).await?;
        match buffer.get(..count) {
            None | Some([]) => return Ok(()),
            Some(bytes) => connection.write_all(bytes).await?,
        }
    }
}

async fn echo_frames(connection: &mut TaskTcpConnection) -> io::Result<()> {
    let mut frames = TaskFramed::new(connection, Frames::default());
    while let Some(frame) = frames.receive().await? {
        frames.send(&frame).await?;
    }
    frames.flush().await
}

fn limits() -> Limits {
    Limits {
        connections_max: 50_000,
        connections_per_address_max: 50_000,
        drain_time: Duration::from_millis(100),
        ..Limits::default()
    }
}

fn tasks<H>(server: Server<std::net::TcpListener, H>) -> io::Result<()>
where
    H: TaskHandler<TaskTimed<tokio::net::TcpStream>> + Send + Sync + 'static,
{
    println!("{}", server.listener().local_addr()?);
    let shutdown = stop_at_end()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(server.limits(limits()).tasks(&shutdown))?;
    Ok(())
}

fn datagrams() -> io::Result<()> {
    let echo = |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
        outbox.send(datagram.peer(), datagram.bytes())
    };
    let server = DatagramServer::new(Bind::new().udp("127.0.0.1:0")?, echo);
    println!("{}", server.socket().local_addr()?);
    server.inline(&stop_at_end()?)?;
    Ok(())
}

/// The signal that standard input has ended.
fn stop_at_end() -> io::Result<Shutdown> {
    let (stopper, shutdown) = Stopper::new()?;
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        stopper.stop();
    });
    Ok(shutdown)
}
