//! The server of the command dialects.

use std::{collections::VecDeque, time::Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    CommandForm, CommandOptions,
    running::{OutputStream, RunningCommand},
};
use crate::{
    ClassicEvent, Connection, Error, Received,
    codec::{Bursts, CommandHeader, Encodings},
    service::Reporter,
    spool::Spool,
};

/// The commands that may wait. The server stops reading from a client with more.
const WAITING_MAX: usize = 64;

/// Runs one command after another until the client has finished.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    bursts: Bursts,
    encodings: Encodings,
    options: &CommandOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut commands = Commands {
        bursts,
        waiting: VecDeque::new(),
        is_open: true,
    };
    loop {
        let Some(command) = commands.next(connection).await? else {
            return Ok(());
        };
        if options.form == CommandForm::Raw && command.trim() == options.bye {
            return Ok(());
        }
        let (code, bytes) = match options.form {
            CommandForm::Raw => {
                run_raw(connection, &mut commands, &command, encodings, options).await?
            }
            _ => run_collected(connection, &mut commands, &command, encodings, options).await?,
        };
        report.event(|peer| ClassicEvent::Command {
            peer,
            command,
            code,
            bytes,
        });
    }
}

/// The commands of a client that have not run yet.
struct Commands {
    bursts: Bursts,
    waiting: VecDeque<String>,
    is_open: bool,
}

impl Commands {
    /// The next command; `None` after the last.
    async fn next<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> Result<Option<String>, Error> {
        loop {
            self.queue_messages(Instant::now())?;
            if let Some(command) = self.waiting.pop_front() {
                return Ok(Some(command));
            }
            if !self.is_open {
                return Ok(None);
            }
            let received = match self.bursts.poll_timeout() {
                Some(deadline) => connection.read(Some(deadline)).await?,
                None => connection.read_at_boundary().await?,
            };
            self.handle_received(received)?;
        }
    }

    /// Reads while a command runs, so that a disconnect is noticed.
    ///
    /// It completes only on failure.
    ///
    /// # Cancel safety
    /// It loses no bytes when it is dropped.
    async fn watch<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> Error {
        loop {
            if !self.is_open || self.waiting.len() >= WAITING_MAX {
                std::future::pending::<()>().await;
            }
            // A client that waits for its command is not idle.
            let result = connection
                .read_without_idle_limit(self.bursts.poll_timeout())
                .await;
            if let Err(error) = result
                .and_then(|received| self.handle_received(received))
                .and_then(|()| self.queue_messages(Instant::now()))
            {
                return error;
            }
        }
    }

    fn handle_received(&mut self, received: Received) -> Result<(), Error> {
        match received {
            Received::Bytes(bytes) => self.bursts.handle_input(Instant::now(), &bytes),
            Received::End => {
                self.is_open = false;
                self.queue_messages(Instant::now())?;
                let rest = self.bursts.finish()?;
                self.waiting
                    .extend(rest.filter(|command| !command.trim().is_empty()));
            }
            Received::Timeout => {}
        }
        Ok(())
    }

    fn queue_messages(&mut self, now: Instant) -> Result<(), Error> {
        while let Some(command) = self.bursts.poll_message(now)? {
            if !command.trim().is_empty() {
                self.waiting.push_back(command);
            }
        }
        Ok(())
    }
}

/// Sends the output as it is written.
///
/// A client that does not read delays its command.
async fn run_raw<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    commands: &mut Commands,
    command: &str,
    encodings: Encodings,
    options: &CommandOptions,
) -> Result<(i64, u64), Error> {
    let deadline = Instant::now() + options.time_max;
    let child = options.child_charset.unwrap_or(encodings.received);
    let mut running = RunningCommand::start(command, child, encodings.sent)?;
    let mut bytes = 0;
    loop {
        tokio::select! {
            error = commands.watch(connection) => return Err(error),
            () = tokio::time::sleep_until(deadline.into()) => {
                running.kill();
                connection.send(&encodings.sent.encode(&timeout_notice(options))).await?;
                break;
            }
            output = running.next() => match output {
                Some((_, output)) => {
                    bytes += output.len() as u64;
                    connection.send(&output).await?;
                }
                None => break,
            },
        }
    }
    Ok((running.wait(deadline).await?, bytes))
}

/// Sends the output when the command has ended, since its length comes first.
///
/// Standard output comes before standard error.
async fn run_collected<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    commands: &mut Commands,
    command: &str,
    encodings: Encodings,
    options: &CommandOptions,
) -> Result<(i64, u64), Error> {
    let deadline = Instant::now() + options.time_max;
    let child = options.child_charset.unwrap_or(encodings.received);
    let mut running = RunningCommand::start(command, child, encodings.sent)?;
    let mut output = Spool::new(options.spool_folder.clone());
    let mut errors = Spool::new(options.spool_folder.clone());
    let mut notice = None;
    loop {
        tokio::select! {
            error = commands.watch(connection) => return Err(error),
            () = tokio::time::sleep_until(deadline.into()) => {
                running.kill();
                notice = Some(timeout_notice(options));
                break;
            }
            next = running.next() => match next {
                Some((stream, mut bytes)) => {
                    let room = options.output_bytes_max.saturating_sub(output.length() + errors.length());
                    let is_full = bytes.len() as u64 > room;
                    bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
                    match stream {
                        OutputStream::Output => output = output.write(bytes).await?,
                        OutputStream::Errors => errors = errors.write(bytes).await?,
                    }
                    if is_full {
                        running.kill();
                        notice = Some(format!("\n[stopped: more than {} bytes of output]\n", options.output_bytes_max));
                        break;
                    }
                }
                None => break,
            },
        }
    }
    let code = running.wait(deadline).await?;
    if let Some(notice) = notice {
        errors = errors.write(encodings.sent.encode(&notice)).await?;
    }
    let size = output.length() + errors.length();
    let header = match options.form {
        CommandForm::Json => CommandHeader { size, code }.encode(&options.keys, encodings.sent),
        _ => landline_proto::frame::prefix(usize::try_from(size).unwrap_or(usize::MAX)).to_vec(),
    };
    connection.send(&header).await?;
    for spool in [output, errors] {
        send_all(connection, spool).await?;
    }
    Ok((code, size))
}

async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    mut spool: Spool,
) -> Result<(), Error> {
    spool.rewind()?;
    loop {
        let (rest, chunk) = spool.read().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        connection.send(&chunk).await?;
        spool = rest;
    }
}

fn timeout_notice(options: &CommandOptions) -> String {
    format!("\n[stopped after {} s]\n", options.time_max.as_secs())
}
