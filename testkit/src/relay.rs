//! A TCP relay that can cut, slow down or damage a connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The bytes that are relayed at once.
const PIECE: usize = 64 * 1024;

/// How often a relay that carries nothing looks whether it may.
const HOLD_STEP: Duration = Duration::from_millis(2);

/// A relay in front of a server.
///
/// A fault counts the bytes of both directions from when it is set. It happens once.
pub struct Relay {
    /// Its address.
    pub address: String,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    passed: AtomicU64,
    /// The count at which all connections are reset; 0 for never.
    cut_at: AtomicU64,
    /// The count at which the client's side is reset and the server's left open; 0 for never.
    half_open_at: AtomicU64,
    /// The count at which one bit is flipped; 0 for never.
    flip_at: AtomicU64,
    /// The count at which all connections stop; 0 for never.
    hold_at: AtomicU64,
    /// How many connections were cut, at one end or both.
    cuts: AtomicU64,
    /// Bytes per second; 0 for no limit.
    rate: AtomicU64,
    /// The number of the next connection.
    next: AtomicU64,
    /// Connections with a lower number carry nothing any more, and stay open.
    silent_before: AtomicU64,
}

impl Relay {
    /// Listens on a free loopback port and passes every connection on to `target`.
    pub fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let faults = Arc::new(Faults::default());
        let (target, shared) = (target.to_owned(), faults.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&target) else {
                    reset(&near);
                    continue;
                };
                let number = shared.next.fetch_add(1, Ordering::SeqCst);
                let _ = near.set_nodelay(true);
                let _ = far.set_nodelay(true);
                for (from, to, is_client) in [(&near, &far, true), (&far, &near, false)] {
                    let (from, to) = (
                        from.try_clone().expect("a handle"),
                        to.try_clone().expect("a handle"),
                    );
                    let faults = shared.clone();
                    std::thread::spawn(move || faults.carry(from, to, is_client, number));
                }
            }
        });
        Self { address, faults }
    }

    /// Resets the connection after this many more bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.faults
            .cut_at
            .store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// Resets the client's side at its first bytes after this many more, and leaves the server's
    /// side open and silent.
    pub fn half_open_after(&self, bytes: u64) {
        self.faults
            .half_open_at
            .store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// Flips one bit after this many more bytes.
    pub fn flip_bit_after(&self, bytes: u64) {
        self.faults
            .flip_at
            .store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// Carries nothing more once this many more bytes have gone in, until it is
    /// [released](Self::release).
    ///
    /// So the work of the two sides stays where it is, however slow a test is.
    pub fn hold_after(&self, bytes: u64) {
        self.faults
            .hold_at
            .store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// Whether it has stopped to carry.
    pub fn is_held(&self) -> bool {
        self.faults.is_held()
    }

    /// Carries what was held back, and everything that comes.
    pub fn release(&self) {
        self.faults.hold_at.store(0, Ordering::SeqCst);
    }

    /// Limits the bytes per second in each direction of each connection.
    pub fn limit(&self, bytes_per_second: u64) {
        self.faults.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// From now on, the connections of now carry nothing, and stay open. Later ones work.
    pub fn silence(&self) {
        let next = self.faults.next.load(Ordering::SeqCst);
        self.faults.silent_before.store(next, Ordering::SeqCst);
    }

    /// How many bytes went in, of both directions and all connections.
    pub fn passed(&self) -> u64 {
        self.faults.passed.load(Ordering::SeqCst)
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Cancels a fault that has not happened yet.
    pub fn mend(&self) {
        self.faults.cut_at.store(0, Ordering::SeqCst);
        self.faults.half_open_at.store(0, Ordering::SeqCst);
        self.faults.flip_at.store(0, Ordering::SeqCst);
    }
}

impl Faults {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_client: bool, number: u64) {
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let piece = &mut buffer[..length];
            let passed = self.passed.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
            if due(&self.flip_at, passed) {
                piece[length / 2] ^= 1;
            }
            // What arrives is acknowledged by this machine, and goes nowhere.
            if number < self.silent_before.load(Ordering::SeqCst) {
                continue;
            }
            if is_client && due(&self.half_open_at, passed) {
                // A handle that is never closed keeps the server's side open.
                std::mem::forget(to.try_clone());
                reset(&from);
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if due(&self.cut_at, passed) {
                return self.cut(&from, &to);
            }
            while self.is_held() {
                if due(&self.cut_at, self.passed.load(Ordering::SeqCst)) {
                    return self.cut(&from, &to);
                }
                std::thread::sleep(HOLD_STEP);
            }
            if to.write_all(piece).is_err() {
                break;
            }
            let rate = self.rate.load(Ordering::SeqCst);
            if rate > 0 {
                // What a connection did not use does not make it faster later.
                std::thread::sleep(Duration::from_secs_f64(length as f64 / rate as f64));
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn cut(&self, from: &TcpStream, to: &TcpStream) {
        reset(from);
        reset(to);
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }

    fn is_held(&self) -> bool {
        let at = self.hold_at.load(Ordering::SeqCst);
        at > 0 && self.passed.load(Ordering::SeqCst) >= at
    }
}

/// Whether a fault is due. True once for each fault.
fn due(at: &AtomicU64, passed: u64) -> bool {
    let when = at.load(Ordering::SeqCst);
    when > 0
        && passed >= when
        && at
            .compare_exchange(when, 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
}

/// Resets both directions.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}
