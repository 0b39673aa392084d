//! The clients that put load on a server, and their measurements.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{
    BLOCK, CLIENTS, IDLE_CONNECTIONS, LoadStats, Model, ModelStats, memory,
    server::{AT_ONCE, BLOCKING, REQUEST_BYTES, ServerProcess, WAITING},
};

/// The duration of each load.
const LOAD_TIME: Duration = Duration::from_millis(400);
/// The time limit for an answer that must arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for which connections rest before memory is measured.
const REST: Duration = Duration::from_millis(250);
/// The time for which a handler is blocked before other clients send requests.
const HEAD_START: Duration = Duration::from_millis(40);
/// The number of other clients.
const OTHERS: usize = 4;
/// The rounds of which the median is taken, so that a busy machine does not change the picture.
const ROUNDS: usize = 5;

pub(super) fn measure(model: Model, server: &ServerProcess) -> io::Result<ModelStats> {
    let address = server.address;
    // The first connection warms up caches and is not measured.
    request(&mut connect(address)?, AT_ONCE)?;
    let memory_alone = memory::family_memory(server.id());
    let memory_each = memory_of_connections(server, memory_alone)?;
    let long = run_load(|until| long_client(address, until))?;
    let short = run_load(|until| short_client(address, until))?;
    let blocked = median_wait(address, BLOCKING)?;
    let awaiting = match model {
        Model::Tasks => Some(median_wait(address, WAITING)?),
        _ => None,
    };
    Ok(ModelStats {
        model,
        long,
        short,
        memory: memory_alone,
        memory_each,
        blocked,
        awaiting,
    })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request and waits for the answer.
fn request(stream: &mut TcpStream, kind: u8) -> io::Result<()> {
    let mut bytes = [kind; REQUEST_BYTES];
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes)
}

fn memory_of_connections(server: &ServerProcess, alone: Option<u64>) -> io::Result<Option<u64>> {
    let mut open = Vec::new();
    for _ in 0..IDLE_CONNECTIONS {
        let mut stream = connect(server.address)?;
        // A server of one connection at a time does not answer the others yet, so no answer is
        // awaited.
        stream.write_all(&[AT_ONCE; REQUEST_BYTES])?;
        open.push(stream);
    }
    thread::sleep(REST);
    let with_all = memory::family_memory(server.id());
    drop(open);
    thread::sleep(REST);
    let connections = IDLE_CONNECTIONS as u64;
    Ok(alone
        .zip(with_all)
        .map(|(alone, with_all)| with_all.saturating_sub(alone) / connections))
}

/// Runs all clients at the same time and summarizes their latencies.
fn run_load(client: impl Fn(Instant) -> io::Result<Vec<Duration>> + Sync) -> io::Result<LoadStats> {
    let start = Instant::now();
    let until = start + LOAD_TIME;
    let client_times: Vec<Vec<Duration>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(until)))
            .collect();
        clients.into_iter().map(join).collect::<io::Result<_>>()
    })?;
    let served = client_times
        .iter()
        .filter(|times| !times.is_empty())
        .count();
    let mut times: Vec<Duration> = client_times.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .or(times.last())
            .copied()
            .unwrap_or_default()
    };
    Ok(LoadStats {
        per_second: times.len() as f64 / LOAD_TIME.as_secs_f64(),
        median: at(0.5),
        percentile_99: at(0.99),
        served,
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread
        .join()
        .map_err(|_| io::Error::other("a client failed"))?
}

/// Sends requests over one connection until the time is over.
///
/// Returns the latencies.
fn long_client(address: SocketAddr, until: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut stream = connect(address)?;
    loop {
        let start = Instant::now();
        let left = until.saturating_duration_since(start);
        if left.is_zero() {
            return Ok(times);
        }
        stream.set_read_timeout(Some(left))?;
        match request(&mut stream, AT_ONCE) {
            // An answer after the end does not count: other clients had finished by then.
            Ok(()) if Instant::now() < until => times.push(start.elapsed()),
            Ok(()) => return Ok(times),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(times);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends each request over its own connection until the time is over.
///
/// Returns the latencies.
fn short_client(address: SocketAddr, until: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        request(&mut connect(address)?, AT_ONCE)?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The median of the longest waits in several rounds.
fn median_wait(address: SocketAddr, kind: u8) -> io::Result<Duration> {
    let mut waits = (0..ROUNDS)
        .map(|_| longest_wait(address, kind))
        .collect::<io::Result<Vec<Duration>>>()?;
    waits.sort_unstable();
    Ok(waits.get(ROUNDS / 2).copied().unwrap_or_default())
}

/// The longest wait of other clients while one handler serves such a request.
fn longest_wait(address: SocketAddr, kind: u8) -> io::Result<Duration> {
    thread::scope(|scope| {
        let busy = scope.spawn(move || request(&mut connect(address)?, kind));
        thread::sleep(HEAD_START);
        let until = Instant::now() + BLOCK - HEAD_START;
        let other = move || -> io::Result<Duration> {
            let mut longest = Duration::ZERO;
            while Instant::now() < until {
                let start = Instant::now();
                request(&mut connect(address)?, AT_ONCE)?;
                longest = longest.max(start.elapsed());
            }
            Ok(longest)
        };
        let others: Vec<_> = (0..OTHERS).map(|_| scope.spawn(other)).collect();
        let longest = others
            .into_iter()
            .map(join)
            .try_fold(Duration::ZERO, |longest, wait| Ok(longest.max(wait?)));
        join(busy)?;
        longest
    })
}
