//! Answers each datagram with its text in upper case.
//!
//! ```text
//! cargo run -p landline-socketserver --example udp -- 127.0.0.1:7000
//! ```
//!
//! `udp.py` is the same in Python.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "an example")]

use std::{env, io};

use landline_socketserver::{
    Bind, Shutdown,
    datagram::{Datagram, DatagramServer, Outbox},
};

fn upper(datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()> {
    outbox.send(datagram.peer(), &datagram.bytes().to_ascii_uppercase())
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let socket = Bind::new().udp(&words[1])?;
    println!("{}", socket.local_addr()?);
    DatagramServer::new(socket, upper).inline(&Shutdown::never()?)?;
    Ok(())
}
