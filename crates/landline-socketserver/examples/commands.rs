//! Runs commands that arrive as an int32 length, a JSON header of that length, and a body.
//!
//! ```text
//! cargo run -p landline-socketserver --example commands -- 127.0.0.1:7000
//! ```
//!
//! The header of a request is `{"command": "upper", "size": 5}`. `size` is the length of the body.
//! The answer has the same form, with `ok` in its header. `commands.py` is the same in Python.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "an example")]

use std::{env, io};

use landline_socketserver::{
    Bind, Server, Shutdown,
    blocking::TcpConnection,
    framing::{ByteOrder, Framed, JsonFrames},
};
use serde_json::Value;

fn answer(connection: &mut TcpConnection) -> io::Result<()> {
    let mut frames = Framed::new(connection, JsonFrames::new(ByteOrder::Little, "size"));
    while let Some(mut frame) = frames.receive()? {
        let command = frame.header.remove("command");
        let is_known = match command.as_ref().and_then(Value::as_str) {
            Some("upper") => {
                frame.body.make_ascii_uppercase();
                true
            }
            Some("reverse") => {
                frame.body.reverse();
                true
            }
            _ => false,
        };
        frame.header.insert("ok".to_owned(), is_known.into());
        frames.send(&frame)?;
    }
    frames.flush()
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let listener = Bind::new().tcp(&words[1])?;
    println!("{}", listener.local_addr()?);
    Server::new(listener, answer).threads(&Shutdown::never()?)?;
    Ok(())
}
