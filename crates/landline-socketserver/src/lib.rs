//! A server for sockets: write a handler, choose a listener and a model, serve.
//!
//! ```
//! use landline_socketserver::{Bind, Server, Stopper, blocking::TcpConnection};
//! use std::{io::{self, Read, Write}, net::TcpStream, thread};
//!
//! // A handler: a function that gets one connection.
//! fn shout(connection: &mut TcpConnection) -> io::Result<()> {
//!     let mut buffer = [0; 1024];
//!     // Waits for input, or until the server drains.
//!     while connection.await_input()? {
//!         let count = connection.read(&mut buffer)?;
//!         if count == 0 {
//!             break; // The client has ended the connection.
//!         }
//!         connection.write_all(&buffer[..count].to_ascii_uppercase())?;
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> io::Result<()> {
//! // A listener, and a way to stop.
//! let listener = Bind::new().tcp("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let (stopper, shutdown) = Stopper::new()?;
//!
//! // A model: a thread for each connection.
//! let server = thread::spawn(move || Server::new(listener, shout).threads(&shutdown));
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"HELLO");
//!
//! // Accept no more connections, and let the open ones end. The client is still connected.
//! stopper.stop();
//! server.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Models
//!
//! | model | method | handler | for |
//! | --- | --- | --- | --- |
//! | inline | [`Server::inline`] | blocking | one peer at a time |
//! | threads | [`Server::threads`] | blocking | some hundreds of connections that block |
//! | tasks | [`Server::tasks`] | async | thousands of connections that mostly wait |
//! | tasks | [`Server::pooled_tasks`] | blocking | blocking work in an async program |
//! | processes | [`Server::processes`] | blocking | handlers that may crash, or hold global state |
//!
//! [`datagram::DatagramServer`] has the same four models for datagrams.
//!
//! # Limits
//!
//! All [`Limits`] have defaults:
//!
//! - the connections at a time, in all and from one address; further ones wait in the backlog,
//! - the time for the handshake, and for a write that the peer does not accept,
//! - the time for draining.
//!
//! A peer may be silent for any time, unless [`Limits::idle_timeout`] is set.
//!
//! # Stopping
//!
//! [`Stopper::stop`] stops a server of any model: it accepts no more connections and drains. A
//! server whose `Stopper` was dropped instead drains too, and returns an error.
//!
//! A panic in a handler ends its connection only. When the system has no more descriptors, the
//! server pauses and then accepts again. A peer is known by the address that the system reports,
//! never by what it sends.
//!
//! Between two requests a handler can check whether the server drains:
//! [`blocking::Connection::await_input`], [`tasks::TaskDrain::wait_for_start`].
//!
//! # More than TCP
//!
//! - [`Bind`] opens TCP and Unix listeners, and UDP and Unix datagram sockets.
//! - [`activation`] takes over sockets that the service manager opened.
//! - [`memory`] has a listener for tests that needs no network.
//! - [`Server::wrap`] puts another stream around each connection, such as TLS. With `tokio-rustls`:
//!
//! ```text
//! let acceptor = tokio_rustls::TlsAcceptor::from(config);
//! Server::new(listener, handler).wrap(move |stream| acceptor.accept(stream)).tasks(&shutdown).await
//! ```
//!
//! A handler for any stream (`impl<S: AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for
//! ...`) needs no change. [`framing`] turns a stream into messages: a length and bytes, a JSON
//! header and bytes, or a codec of yours.
//!
//! # Combinations that do not compile
//!
//! An async handler with `threads`:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Bind, Server, Shutdown, tasks::TaskTcpConnection};
//! async fn greet(connection: &mut TaskTcpConnection) -> std::io::Result<()> { Ok(()) }
//! # fn main() -> std::io::Result<()> {
//! Server::new(Bind::new().tcp("127.0.0.1:0")?, greet).threads(&Shutdown::never()?)?;
//! # Ok(()) }
//! ```
//!
//! A blocking handler with `tasks`; use [`Server::pooled_tasks`] instead:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Bind, Server, Shutdown, blocking::TcpConnection};
//! fn greet(connection: &mut TcpConnection) -> std::io::Result<()> { Ok(()) }
//! # async fn serve() -> std::io::Result<()> {
//! Server::new(Bind::new().tcp("127.0.0.1:0")?, greet).tasks(&Shutdown::never()?).await?;
//! # Ok(()) }
//! ```
//!
//! A handler that is not `Send` with `threads`; `inline` and `processes` accept it:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Bind, Server, Shutdown, blocking::TcpConnection};
//! # use std::{cell::Cell, rc::Rc};
//! # fn main() -> std::io::Result<()> {
//! let count = Rc::new(Cell::new(0));
//! let greet = move |_: &mut TcpConnection| Ok(count.set(count.get() + 1));
//! Server::new(Bind::new().tcp("127.0.0.1:0")?, greet).threads(&Shutdown::never()?)?;
//! # Ok(()) }
//! ```
//!
//! The in-memory listener with `processes`:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Processes, Server, Shutdown, blocking::UnixConnection, memory};
//! # fn main() -> std::io::Result<()> {
//! let (listener, dialer) = memory::listener()?;
//! let server = Server::new(listener, |_: &mut UnixConnection| Ok(()));
//! server.processes(Processes::Each, &Shutdown::never()?)?;
//! # Ok(()) }
//! ```
//!
//! # Coming from Python's `socketserver`
//!
//! | Python | this crate | difference |
//! | --- | --- | --- |
//! | `TCPServer`, `UnixStreamServer` | [`Server::inline`] on a TCP or Unix listener | limits are on |
//! | `UDPServer`, `UnixDatagramServer` | [`DatagramServer::inline`](datagram::DatagramServer::inline) | in batches |
//! | `ThreadingMixIn` and its classes | [`Server::threads`], [`DatagramServer::threads`](datagram::DatagramServer::threads) | limited; a fixed number of threads for datagrams |
//! | `ForkingMixIn` and its classes | [`Server::processes`], [`DatagramServer::processes`](datagram::DatagramServer::processes) with [`Processes::Each`] | an error if the process has several threads; a crash is reported |
//! | – | [`Processes::Workers`], [`Server::tasks`], [`Server::pooled_tasks`] | |
//! | `BaseRequestHandler.setup/handle/finish` | [`blocking::Handler`], [`tasks::TaskHandler`] | a clone of a value instead of an instance; closures work too |
//! | `request` | the [`Connection`](blocking::Connection) or [`Datagram`](datagram::Datagram) | |
//! | `client_address` | [`Connection::peer`](blocking::Connection::peer), [`Datagram::peer`](datagram::Datagram::peer) | |
//! | `server` (shared by handlers) | a field of the handler, behind an `Arc` | each process has its own copy |
//! | `StreamRequestHandler.rfile`, `wfile` | the connection reads and writes; [`std::io::BufReader`] around it | two handles: [`Timed::clone`](blocking::Timed) |
//! | `StreamRequestHandler.rbufsize`, `wbufsize` | [`std::io::BufReader::with_capacity`], [`std::io::BufWriter`] | |
//! | `StreamRequestHandler.timeout` | [`Limits::idle_timeout`], [`Limits::write_timeout`] | the first is off by default, the second on |
//! | `disable_nagle_algorithm` | [`Bind::nagle`] | disabled by default |
//! | `DatagramRequestHandler.rfile`, `wfile` | [`Datagram::bytes`](datagram::Datagram::bytes), [`Outbox::send`](datagram::Outbox::send) | any number of answers, to any peer |
//! | `max_packet_size` (8,192) | [`Limits::datagram_bytes_max`] | 65,507; a longer one is dropped, not cut |
//! | `request_queue_size` (5) | [`Bind::backlog`] | 1,024 |
//! | `allow_reuse_address`, `allow_reuse_port` | [`Bind::address_reuse`], [`Bind::port_reuse`] | the first is on by default, and replaces a stale Unix socket |
//! | `address_family`, `socket_type`, `server_bind`, `server_activate` | the method of [`Bind`] | the listener is an argument, so nothing is overridden |
//! | `bind_and_activate=False` | [`activation`], or a listener from elsewhere | |
//! | `server_address`, `socket`, `fileno` | [`Server::listener`], [`DatagramServer::socket`](datagram::DatagramServer::socket) | |
//! | `get_request` | [`Listener::accept`] | implement it for other listeners |
//! | `verify_request` | [`Server::verify`] | gets only the address; a panic rejects |
//! | `process_request`, `finish_request`, `RequestHandlerClass` | the model | |
//! | `handle_error` (prints) | [`Server::on_error`] | prints on standard error if there is no hook |
//! | `close_request`, `shutdown_request` | the connection is closed when the handler has returned | |
//! | `serve_forever(poll_interval)` | the model's method with [`Shutdown::never`] | no polling |
//! | `shutdown` | [`Stopper::stop`] | does not wait; handlers and signal handlers may call it |
//! | `server_close`, `block_on_close`, `daemon_threads` | [`Limits::drain_time`], [`Limits::ending_time`] | a time limit |
//! | `max_children` (40) | [`Limits::connections_max`] | for every model; further connections wait in the backlog |
//! | `collect_children` | – | the server waits for each child by its process id |
//! | `timeout`, `handle_timeout`, `handle_request` | [`Server::handle_request`], which returns [`RequestOutcome::TimedOut`](blocking::RequestOutcome::TimedOut) | |
//! | `service_actions` | – | run them elsewhere, or between two calls of `handle_request` |
//! | `with TCPServer(...) as server` | – | the call that serves owns the listener and closes it |
//!
//! # Restrictions
//!
//! This crate traps no signals. It reads the environment only in [`activation`], and prints only
//! the failures for which there is no hook. The listener and the shutdown signal are arguments.

#![deny(unsafe_code)]

/// The examples of the README are tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod acceptor;
pub mod activation;
mod bind;
pub mod blocking;
pub mod datagram;
mod failure;
pub mod framing;
mod gate;
mod hooks;
mod limits;
mod listener;
pub mod memory;
mod peer;
#[allow(
    unsafe_code,
    reason = "the only module with system calls that have no safe interface"
)]
mod platform;
mod processes;
mod server;
mod shutdown;
pub mod tasks;
mod wait;
mod waker;

pub use bind::Bind;
pub use failure::Failure;
pub use hooks::{Event, Refusal};
pub use limits::Limits;
pub use listener::{Inheritable, Listener, Socket};
pub use peer::Peer;
pub use processes::Processes;
pub use server::{DrainOutcome, Plain, Server};
pub use shutdown::{Shutdown, Stopper};
