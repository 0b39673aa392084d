//! A server for sockets: write a handler, choose a listener and a model, serve.
//!
//! ```
//! use landline_socketserver::{Bind, Server, Stopper, blocking::TcpConnection};
//! use std::{io::{self, Read, Write}, net::TcpStream, thread};
//!
//! // A handler: a function that gets one connection.
//! fn shout(connection: &mut TcpConnection) -> io::Result<()> {
//!     let mut said = String::new();
//!     connection.read_to_string(&mut said)?;
//!     connection.write_all(said.to_uppercase().as_bytes())
//! }
//!
//! # fn main() -> io::Result<()> {
//! // A listener, and a way to stop.
//! let listener = Bind::new().tcp("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let (stopper, shutdown) = Stopper::new()?;
//!
//! // A model: here a thread for each connection.
//! let server = thread::spawn(move || Server::new(listener, shout).threads(&shutdown));
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! client.shutdown(std::net::Shutdown::Write)?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "HELLO");
//!
//! // No more connections; those that are open may end.
//! stopper.stop();
//! server.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The models
//!
//! | model | method | handler | for |
//! | --- | --- | --- | --- |
//! | inline | [`Server::inline`] | blocking | one peer at a time |
//! | threads | [`Server::threads`] | blocking | some hundreds of connections that block |
//! | tasks | [`Server::tasks`] | async | thousands of connections that mostly wait |
//! | tasks | [`Server::pooled_tasks`] | blocking | blocking work in an async program |
//! | processes | [`Server::processes`] | blocking | handlers that may crash, or hold global state |
//!
//! Datagrams have the same four: [`datagram::DatagramServer`].
//!
//! # What a server bears
//!
//! [`Limits`] are on unless changed: connections in all (further ones wait in the backlog) and per
//! address, a time for the handshake, a time for silence, a deadline for draining. A panic in a
//! handler ends its connection. When the system has no descriptors left, accepting rests and goes
//! on. The peer is who the system says it is, never who it claims to be.
//!
//! Between two requests a handler asks whether the server drains:
//! [`blocking::Connection::await_input`], [`tasks::Drain::begun`].
//!
//! # More than TCP
//!
//! [`Bind`] opens TCP and Unix listeners, UDP and Unix datagram sockets; [`activation`] takes over
//! those that the service manager opened; [`memory`] needs no network, for tests. [`Server::wrap`]
//! puts TLS in between, by whatever library; with `tokio-rustls` it is
//!
//! ```text
//! let acceptor = tokio_rustls::TlsAcceptor::from(config);
//! Server::new(listener, handler).wrap(move |stream| acceptor.accept(stream)).tasks(shutdown).await
//! ```
//!
//! and a handler written for any stream (`impl<S: AsyncRead + AsyncWrite + Unpin + Send> Handler<S>
//! for ...`) does not notice. [`framing`] turns a stream into messages by a codec that you bring.
//!
//! # What cannot work together
//!
//! An async handler does not run under `threads`:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Bind, Server, Shutdown, tasks::TcpConnection};
//! async fn greet(connection: &mut TcpConnection) -> std::io::Result<()> { Ok(()) }
//! # fn main() -> std::io::Result<()> {
//! Server::new(Bind::new().tcp("127.0.0.1:0")?, greet).threads(&Shutdown::never()?)?;
//! # Ok(()) }
//! ```
//!
//! nor a blocking one under `tasks`, save through [`Server::pooled_tasks`]:
//!
//! ```compile_fail,E0277
//! # use landline_socketserver::{Bind, Server, blocking::TcpConnection};
//! fn greet(connection: &mut TcpConnection) -> std::io::Result<()> { Ok(()) }
//! # async fn serve() -> std::io::Result<()> {
//! Server::new(Bind::new().tcp("127.0.0.1:0")?, greet).tasks(std::future::pending()).await?;
//! # Ok(()) }
//! ```
//!
//! nor does a handler that cannot be sent to a thread run under `threads`, though it may under
//! `inline` and `processes`:
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
//! nor the in-memory listener under `processes`:
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
//! # For those who know Python's `socketserver`
//!
//! | there | here | the difference |
//! | --- | --- | --- |
//! | `TCPServer`, `UnixStreamServer` | [`Server::inline`] on a TCP or Unix listener | limits are on |
//! | `UDPServer`, `UnixDatagramServer` | [`DatagramServer::inline`](datagram::DatagramServer::inline) | in batches |
//! | `ThreadingMixIn` and what is made with it | [`Server::threads`], [`DatagramServer::threads`](datagram::DatagramServer::threads) | bounded; so many threads for datagrams, not one each |
//! | `ForkingMixIn` and what is made with it | [`Server::processes`], [`DatagramServer::processes`](datagram::DatagramServer::processes) with [`Processes::Each`] | refused where threads run; a crash is reported |
//! | – | [`Processes::Workers`], [`Server::tasks`], [`Server::pooled_tasks`] | |
//! | `BaseRequestHandler.setup/handle/finish` | [`blocking::Handler`], [`tasks::Handler`] | a clone of a value, not an instance of a class; closures will do |
//! | `request` | the [`Connection`](blocking::Connection) or [`Datagram`](datagram::Datagram) | |
//! | `client_address` | [`Connection::peer`](blocking::Connection::peer), [`Datagram::peer`](datagram::Datagram::peer) | |
//! | `server` (what handlers share) | what the handler holds, behind an `Arc` | under `processes` each has its own copy |
//! | `StreamRequestHandler.rfile`, `wfile` | the connection reads and writes; [`std::io::BufReader`] around it | two handles: [`Timed::clone`](blocking::Timed) |
//! | `StreamRequestHandler.rbufsize`, `wbufsize` | [`std::io::BufReader::with_capacity`], [`std::io::BufWriter`] | |
//! | `StreamRequestHandler.timeout` | [`Limits::idle_timeout`] | on, and [`Limits::handshake_timeout`] beside it |
//! | `disable_nagle_algorithm` | [`Bind::nagle`] | off unless asked for |
//! | `DatagramRequestHandler.rfile`, `wfile` | [`Datagram::bytes`](datagram::Datagram::bytes), [`Outbox::send`](datagram::Outbox::send) | any number of answers, to anybody |
//! | `max_packet_size` (8,192) | [`Limits::datagram_bytes_max`] | 65,507; a longer one is dropped, not cut |
//! | `request_queue_size` (5) | [`Bind::backlog`] | 1,024 |
//! | `allow_reuse_address`, `allow_reuse_port` | [`Bind::address_reuse`], [`Bind::port_reuse`] | the first is on, and replaces a stale Unix socket |
//! | `address_family`, `socket_type`, `server_bind`, `server_activate` | the method of [`Bind`] | a listener is an argument, so there is nothing to override |
//! | `bind_and_activate=False` | [`activation`], or any listener made otherwise | |
//! | `server_address`, `socket`, `fileno` | [`Server::listener`], [`DatagramServer::socket`](datagram::DatagramServer::socket) | |
//! | `get_request` | [`Listener::accept`] | implement it for what else there may be |
//! | `verify_request` | [`Server::verify`] | asked with the address alone; a panic refuses |
//! | `process_request`, `finish_request`, `RequestHandlerClass` | the model | |
//! | `handle_error` (prints) | [`Server::on_error`] | silent unless set |
//! | `close_request`, `shutdown_request` | the connection is closed when the handler has returned | |
//! | `serve_forever(poll_interval)` | the model's method, with [`Shutdown::never`] for ever | waits without polling |
//! | `shutdown` | [`Stopper::stop`], or the future given to `tasks` | does not wait, and may be called by a handler, or a signal handler |
//! | `server_close`, `block_on_close`, `daemon_threads` | [`Limits::drain_time`], [`Limits::ending_time`] | a deadline in place of for ever or not at all |
//! | `max_children` (40) | [`Limits::connections_max`] | for every model; further ones wait in the backlog |
//! | `collect_children` | – | a child is taken leave of when it ends, by its number |
//! | `timeout`, `handle_timeout`, `handle_request` | [`Server::handle_request`], which says [`Handled::TimedOut`](blocking::Handled::TimedOut) | |
//! | `service_actions` | – | do it elsewhere, or between two calls of `handle_request` |
//! | `with TCPServer(...) as server` | – | what serves owns the listener and closes it |
//!
//! # What it does not do
//!
//! It traps no signals, prints nothing, and reads no environment: the listener and the shutdown are
//! arguments.

#![deny(unsafe_code)]

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
    reason = "the one room for what the safe interfaces of the system lack"
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
pub use server::{Drained, Plain, Server};
pub use shutdown::{Shutdown, Stopper};
