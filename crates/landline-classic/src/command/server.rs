//! The server's half.

use std::{collections::VecDeque, time::Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    CommandForm, CommandOptions,
    running::{Running, Stream},
};
use crate::{
    ClassicEvent, Connection, Error, Got,
    codec::{Bursts, Charset, CommandHeader},
    service::Reporter,
    spool::Spool,
};

/// Commands that may wait for the one that runs. A client with more is not read from meanwhile.
const WAITING_MAX: usize = 64;

/// Runs one command after the other until the client has finished.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    bursts: Bursts,
    charset: Charset,
    options: &CommandOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut commands = Commands {
        bursts,
        waiting: VecDeque::new(),
        is_open: true,
    };
    loop {
        let Some(command) = commands.next(line).await? else {
            return Ok(());
        };
        if options.form == CommandForm::Raw && command.trim() == options.bye {
            return Ok(());
        }
        let (code, bytes) = match options.form {
            CommandForm::Raw => run_raw(line, &mut commands, &command, charset, options).await?,
            _ => run_gathered(line, &mut commands, &command, charset, options).await?,
        };
        report.event(|peer| ClassicEvent::Command {
            peer,
            command,
            code,
            bytes,
        });
    }
}

/// What the client has sent and nobody has run.
struct Commands {
    bursts: Bursts,
    waiting: VecDeque<String>,
    is_open: bool,
}

impl Commands {
    /// The next command; `None` where there is none any more.
    async fn next<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Connection<S>,
    ) -> Result<Option<String>, Error> {
        loop {
            self.sort(Instant::now())?;
            if let Some(command) = self.waiting.pop_front() {
                return Ok(Some(command));
            }
            if !self.is_open {
                return Ok(None);
            }
            let got = match self.bursts.poll_timeout() {
                Some(deadline) => line.read(Some(deadline)).await?,
                None => line.read_between().await?,
            };
            self.take(got)?;
        }
    }

    /// Listens while a command runs, so that a client that breaks off is noticed. Never completes
    /// otherwise. Cancel-safe.
    async fn listen<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Connection<S>,
    ) -> Error {
        loop {
            if !self.is_open || self.waiting.len() >= WAITING_MAX {
                std::future::pending::<()>().await;
            }
            // Who waits for its command is not idle.
            let result = line.listen(self.bursts.poll_timeout()).await;
            if let Err(error) = result
                .and_then(|got| self.take(got))
                .and_then(|()| self.sort(Instant::now()))
            {
                return error;
            }
        }
    }

    fn take(&mut self, got: Got) -> Result<(), Error> {
        match got {
            Got::Bytes(bytes) => self.bursts.handle_input(Instant::now(), &bytes),
            Got::End => {
                self.is_open = false;
                self.sort(Instant::now())?;
                self.waiting.extend(
                    self.bursts
                        .finish()
                        .filter(|command| !command.trim().is_empty()),
                );
            }
            Got::Timeout => {}
        }
        Ok(())
    }

    fn sort(&mut self, now: Instant) -> Result<(), Error> {
        while let Some(command) = self.bursts.poll_message(now)? {
            if !command.trim().is_empty() {
                self.waiting.push_back(command);
            }
        }
        Ok(())
    }
}

/// The output goes out as it comes: a client that does not read holds up the command.
async fn run_raw<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    commands: &mut Commands,
    command: &str,
    charset: Charset,
    options: &CommandOptions,
) -> Result<(i64, u64), Error> {
    let deadline = Instant::now() + options.time_max;
    let mut running = Running::start(command, options.child_charset, charset)?;
    let mut bytes = 0;
    loop {
        tokio::select! {
            error = commands.listen(line) => return Err(error),
            () = tokio::time::sleep_until(deadline.into()) => {
                running.kill();
                line.send(&charset.encode(&stopped(options))).await?;
                break;
            }
            output = running.next() => match output {
                Some((_, output)) => {
                    bytes += output.len() as u64;
                    line.send(&output).await?;
                }
                None => break,
            },
        }
    }
    Ok((running.wait(deadline).await?, bytes))
}

/// The output goes out when all of it is there, standard output first, as its length goes before
/// it.
async fn run_gathered<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    commands: &mut Commands,
    command: &str,
    charset: Charset,
    options: &CommandOptions,
) -> Result<(i64, u64), Error> {
    let deadline = Instant::now() + options.time_max;
    let mut running = Running::start(command, options.child_charset, charset)?;
    let mut output = Spool::new(options.spool_folder.clone());
    let mut errors = Spool::new(options.spool_folder.clone());
    let mut remark = None;
    loop {
        tokio::select! {
            error = commands.listen(line) => return Err(error),
            () = tokio::time::sleep_until(deadline.into()) => {
                running.kill();
                remark = Some(stopped(options));
                break;
            }
            next = running.next() => match next {
                Some((stream, mut bytes)) => {
                    let room = options.output_bytes_max.saturating_sub(output.length() + errors.length());
                    let is_full = bytes.len() as u64 > room;
                    bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
                    match stream {
                        Stream::Output => output = output.write(bytes).await?,
                        Stream::Errors => errors = errors.write(bytes).await?,
                    }
                    if is_full {
                        running.kill();
                        remark = Some(format!("\n[stopped: more than {} bytes of output]\n", options.output_bytes_max));
                        break;
                    }
                }
                None => break,
            },
        }
    }
    let code = running.wait(deadline).await?;
    if let Some(remark) = remark {
        errors = errors.write(charset.encode(&remark)).await?;
    }
    let size = output.length() + errors.length();
    let header = match options.form {
        CommandForm::Json => CommandHeader { size, code }.encode(charset),
        _ => landline_proto::frame::prefix(usize::try_from(size).unwrap_or(usize::MAX)).to_vec(),
    };
    line.send(&header).await?;
    for spool in [output, errors] {
        send_all(line, spool).await?;
    }
    Ok((code, size))
}

async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    mut spool: Spool,
) -> Result<(), Error> {
    spool.rewind()?;
    loop {
        let (rest, chunk) = spool.read().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        line.send(&chunk).await?;
        spool = rest;
    }
}

fn stopped(options: &CommandOptions) -> String {
    format!("\n[stopped after {} s]\n", options.time_max.as_secs())
}
