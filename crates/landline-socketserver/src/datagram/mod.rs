//! Datagrams: UDP, and Unix sockets of that kind. Each is handled by itself; there are no
//! connections.
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
//! The source of a datagram is easily forged. A server that answers with more than it was asked can
//! be turned against whoever is named there; keep answers small until the sender has shown that it
//! gets them. What cannot be a source (port 0, a multicast address) is dropped, and so is what
//! claims to come from the server's own socket, which would make an echo talk to itself for ever.

mod batch;
mod handler;
mod inline;
mod outbox;
mod processes;
mod server;
mod socket;
mod tasks;
mod threads;

pub use handler::{Datagram, Handler, TaskHandler};
pub use outbox::{Outbox, Outlet};
pub use server::DatagramServer;
pub use socket::DatagramSocket;
