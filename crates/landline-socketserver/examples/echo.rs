//! Sends back what each client sends, by the model that the first argument names.
//!
//! ```text
//! cargo run -p landline-socketserver --example echo -- threads 127.0.0.1:7000
//! ```
//!
//! The models are `inline`, `threads`, `processes` and `tasks`. `echo.py` is the same in Python.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "an example")]

use std::{
    env,
    io::{self, Read, Write},
};

use landline_socketserver::{
    Bind, Processes, Server, Shutdown, blocking::TcpConnection, tasks::TaskTcpConnection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn echo(connection: &mut TcpConnection) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            count => connection.write_all(&buffer[..count])?,
        }
    }
}

async fn echo_task(connection: &mut TaskTcpConnection) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match connection.read(&mut buffer).await? {
            0 => return Ok(()),
            count => connection.write_all(&buffer[..count]).await?,
        }
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let listener = Bind::new().tcp(&words[2])?;
    println!("{}", listener.local_addr()?);
    let never = Shutdown::never()?;
    match words[1].as_str() {
        "inline" => Server::new(listener, echo).inline(&never)?,
        "threads" => Server::new(listener, echo).threads(&never)?,
        "processes" => Server::new(listener, echo).processes(Processes::Each, &never)?,
        _ => tokio::runtime::Runtime::new()?
            .block_on(Server::new(listener, echo_task).tasks(&never))?,
    };
    Ok(())
}
