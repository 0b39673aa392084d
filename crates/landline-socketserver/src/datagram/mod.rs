//! Datagrams over UDP and Unix sockets.
//!
//! Each is handled separately, without a connection.
//!
//! ```
//! use landline_socketserver::{Bind, Stopper, datagram::{Datagram, DatagramServer, Outbox}};
//! use std::{io, net::UdpSocket, thread};
//!
//! fn echo(datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()> {
//!     outbox.send(datagram.peer(), datagram.bytes())
//! }
//!
//! # fn main() -> io::Result<()> {
//! let socket = Bind::new().udp("127.0.0.1:0")?;
//! let address = socket.local_addr()?;
//! let (stopper, shutdown) = Stopper::new()?;
//! let serving = thread::spawn(move || DatagramServer::new(socket, echo).inline(&shutdown));
//!
//! let client = UdpSocket::bind("127.0.0.1:0")?;
//! client.send_to(b"ping", address)?;
//! let mut answer = [0; 16];
//! let (length, _) = client.recv_from(&mut answer)?;
//! assert_eq!(&answer[..length], b"ping");
//! stopper.stop();
//! serving.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Forged sources
//! The source of a datagram is easily forged. An answer that is longer than its question can be
//! used to flood the alleged source. Keep answers short until the sender has proved that it
//! receives them.
//!
//! The server drops datagrams whose source cannot be real (port 0, a multicast address). It also
//! drops datagrams from the address of its own socket, with which an echo would talk to itself.

mod batch;
mod handler;
mod inline;
mod outbox;
mod processes;
mod server;
mod socket;
mod tasks;
mod threads;

pub use handler::{Datagram, DatagramHandler, TaskDatagramHandler};
pub use outbox::{Outbox, Outlet};
pub use server::DatagramServer;
pub use socket::DatagramSocket;
