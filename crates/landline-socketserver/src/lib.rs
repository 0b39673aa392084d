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
//! What cannot work together does not compile: a blocking handler under `tasks`, an async one under `threads`, or one under `threads`
//! that cannot be shared between threads.
//!
//! # What a server bears
//!
//! [`Limits`] are on unless changed: connections in all (further ones wait in the backlog) and per address, a time for the handshake,
//! a time for silence, a deadline for draining. A panic in a handler ends its connection. When the system has no descriptors left,
//! accepting rests and goes on. The peer is who the system says it is, never who it claims to be.
//!
//! # What it does not do
//!
//! It traps no signals, prints nothing, and reads no environment: the listener and the shutdown are arguments.

#![deny(unsafe_code)]

mod acceptor;
mod bind;
pub mod blocking;
pub mod datagram;
mod failure;
mod gate;
mod hooks;
mod limits;
mod listener;
pub mod memory;
mod peer;
#[allow(unsafe_code, reason = "the one room for what the safe interfaces of the system lack")]
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
