//! Sends each line to all other clients: a chat, with state that all connections share.
//!
//! ```text
//! cargo run -p landline-socketserver --example chat -- 127.0.0.1:7000
//! ```
//!
//! `chat.py` is the same in Python.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "an example")]

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_socketserver::{
    Bind, Limits, Peer, Server, Shutdown,
    blocking::{Handler, TcpConnection, Timed},
};

/// Each connection has a clone. All clones share the members.
#[derive(Clone, Default)]
struct Chat(Arc<Mutex<HashMap<Peer, Timed<TcpStream>>>>);

impl Chat {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Peer, Timed<TcpStream>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Handler<Timed<TcpStream>> for Chat {
    fn setup(&mut self, connection: &mut TcpConnection) -> io::Result<()> {
        let member = (connection.peer().clone(), connection.stream().clone());
        self.change(|members| members.extend([member]));
        Ok(())
    }

    fn handle(&mut self, connection: &mut TcpConnection) -> io::Result<()> {
        for line in BufReader::new(connection.stream().clone()).lines() {
            let line = format!("{}: {}\n", connection.peer(), line?);
            self.change(|members| {
                for (peer, member) in members {
                    if peer != connection.peer() {
                        // Its own handler notices a member that is gone.
                        let _ = member.write_all(line.as_bytes());
                    }
                }
            });
        }
        Ok(())
    }

    fn finish(&mut self, connection: &mut TcpConnection) -> io::Result<()> {
        self.change(|members| members.remove(connection.peer()));
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let listener = Bind::new().tcp(&words[1])?;
    println!("{}", listener.local_addr()?);
    // A member that does not read must not delay the others for long.
    let limits = Limits {
        write_timeout: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let server = Server::new(listener, Chat::default()).limits(limits);
    server.threads(&Shutdown::never()?)?;
    Ok(())
}
