//! What clients do to a server, and what they see of it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{
    BLOCK, CLIENTS, Figures, IDLE_CONNECTIONS, Model, Service, TASK_THREADS, memory,
    served::{AT_ONCE, BLOCKING, REQUEST_BYTES, Running, WAITING},
};

/// How long each kind of load lasts.
const LOAD_TIME: Duration = Duration::from_millis(400);
/// How long an answer may take that has to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections are left before memory is looked at.
const REST: Duration = Duration::from_millis(250);
/// How long a handler has been blocked when the others ask.
const HEAD_START: Duration = Duration::from_millis(40);
/// How many others ask.
const OTHERS: usize = 4;

pub(super) fn measure(model: Model, server: &Running) -> io::Result<Figures> {
    let address = server.address;
    // The first connection finds caches cold; it is not measured.
    ask(&mut connect(address)?, AT_ONCE)?;
    let memory_alone = memory::of_family(server.id());
    let memory_each = memory_of_connections(server, memory_alone)?;
    let long = service(|until| long_client(address, until))?;
    let short = service(|until| short_client(address, until))?;
    let one_blocked = others_wait(address, BLOCKING, 1)?;
    let some_blocked = others_wait(address, BLOCKING, TASK_THREADS)?;
    let some_waiting = match model {
        Model::Tasks => Some(others_wait(address, WAITING, TASK_THREADS)?),
        _ => None,
    };
    Ok(Figures {
        model,
        long,
        short,
        memory: memory_alone,
        memory_each,
        one_blocked,
        some_blocked,
        some_waiting,
    })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request and its answer.
fn ask(stream: &mut TcpStream, kind: u8) -> io::Result<()> {
    let mut bytes = [kind; REQUEST_BYTES];
    stream.write_all(&bytes)?;
    stream.read_exact(&mut bytes)
}

fn memory_of_connections(server: &Running, alone: Option<u64>) -> io::Result<Option<u64>> {
    let mut open = Vec::new();
    for _ in 0..IDLE_CONNECTIONS {
        let mut stream = connect(server.address)?;
        // Where one connection is served at a time the others get no answer yet, so none is waited
        // for.
        stream.write_all(&[AT_ONCE; REQUEST_BYTES])?;
        open.push(stream);
    }
    thread::sleep(REST);
    let with_all = memory::of_family(server.id());
    drop(open);
    thread::sleep(REST);
    let connections = IDLE_CONNECTIONS as u64;
    Ok(alone
        .zip(with_all)
        .map(|(alone, with_all)| with_all.saturating_sub(alone) / connections))
}

/// Lets all clients ask at the same time, and sums up what they saw.
fn service(client: impl Fn(Instant) -> io::Result<Vec<Duration>> + Sync) -> io::Result<Service> {
    let start = Instant::now();
    let until = start + LOAD_TIME;
    let seen: Vec<Vec<Duration>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(until)))
            .collect();
        clients.into_iter().map(joined).collect::<io::Result<_>>()
    })?;
    let served = seen.iter().filter(|times| !times.is_empty()).count();
    let mut times: Vec<Duration> = seen.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .or(times.last())
            .copied()
            .unwrap_or_default()
    };
    Ok(Service {
        per_second: times.len() as f64 / LOAD_TIME.as_secs_f64(),
        median: at(0.5),
        worst_hundredth: at(0.99),
        served,
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread
        .join()
        .map_err(|_| io::Error::other("a client failed"))?
}

/// Asks over one connection until the time is over. Who is not answered by then has seen nothing.
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
        match ask(&mut stream, AT_ONCE) {
            // Whose turn came only when the others had gone was not served at the same time.
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

/// Asks once over each of many connections until the time is over.
fn short_client(address: SocketAddr, until: Instant) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        ask(&mut connect(address)?, AT_ONCE)?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The longest wait of others for an answer while `count` handlers are busy with requests of this
/// kind.
fn others_wait(address: SocketAddr, kind: u8, count: usize) -> io::Result<Duration> {
    thread::scope(|scope| {
        let busy: Vec<_> = (0..count)
            .map(|_| scope.spawn(move || ask(&mut connect(address)?, kind)))
            .collect();
        thread::sleep(HEAD_START);
        let until = Instant::now() + BLOCK - HEAD_START;
        let other = move || -> io::Result<Duration> {
            let mut longest = Duration::ZERO;
            while Instant::now() < until {
                let start = Instant::now();
                ask(&mut connect(address)?, AT_ONCE)?;
                longest = longest.max(start.elapsed());
            }
            Ok(longest)
        };
        let others: Vec<_> = (0..OTHERS).map(|_| scope.spawn(other)).collect();
        let longest = others
            .into_iter()
            .map(joined)
            .try_fold(Duration::ZERO, |longest, wait| Ok(longest.max(wait?)));
        busy.into_iter().try_for_each(joined)?;
        longest
    })
}
