//! The list on a terminal, renewed each second.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Monitor, Order, Sample};
use crate::{
    connect::is_transient,
    context::Context,
    failure::Failure,
    signals,
    terminal_mode::{RemoteTerminal, terminal_size},
};

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Enters the alternate screen and hides the cursor. [`RemoteTerminal`] undoes that.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The keys, below the list.
const KEYS: &str = "q quit   c by CPU   m by memory   t by time";

/// The terminal while it shows the list. Dropping it restores the terminal.
struct Screen {
    out: Box<dyn Write + Send>,
    _terminal: RemoteTerminal,
}

/// Shows samples until the user quits.
///
/// # Errors
/// The server cannot be asked, other than for a lost connection; standard input or output fails.
pub(super) async fn run(context: &Context, monitor: &mut Monitor) -> Result<(), Failure> {
    let mut keys = read_keys(context)?;
    let stopped = signals::stop()?;
    tokio::pin!(stopped);
    // What fails at once is printed on the usual screen.
    let mut sample = Some(monitor.sample().await?);
    let mut screen = Screen::enter(context)?;
    let (mut order, mut problem) = (Order::Processor, None);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.tick().await;
    loop {
        let next = async {
            ticks.tick().await;
            monitor.sample().await
        };
        tokio::pin!(next);
        // Keys are read while a server does not answer.
        let next = loop {
            screen.draw(sample.as_ref(), order, problem.as_deref())?;
            tokio::select! {
                () = &mut stopped => return Ok(()),
                key = keys.recv() => match key {
                    // Ctrl-C, and Ctrl-D or the end.
                    Some(b'q' | b'Q' | 3 | 4) | None => return Ok(()),
                    Some(b'c') => order = Order::Processor,
                    Some(b'm') => order = Order::Memory,
                    Some(b't') => order = Order::Time,
                    Some(_) => {}
                },
                next = &mut next => break next,
            }
        };
        match next {
            Ok(next) => (sample, problem) = (Some(next), None),
            Err(error) if is_transient(&error) => problem = Some(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads single keys in a thread, which ends with this process.
fn read_keys(context: &Context) -> Result<mpsc::Receiver<u8>, Failure> {
    let mut input = context
        .input
        .open()
        .map_err(|error| landline::Error::io("standard input", &error))?;
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut key = [0];
        while input.read(&mut key).is_ok_and(|count| count > 0) {
            let [byte] = key;
            if sender.blocking_send(byte).is_err() {
                return;
            }
        }
    });
    Ok(keys)
}

impl Screen {
    fn enter(context: &Context) -> Result<Self, Failure> {
        let terminal = RemoteTerminal::enter(context, true)?;
        let mut screen = Self {
            out: terminal.output(context),
            _terminal: terminal,
        };
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// Draws what fits. Lines that do not are cut.
    fn draw(
        &mut self,
        sample: Option<&Sample>,
        order: Order,
        problem: Option<&str>,
    ) -> Result<(), Failure> {
        let (rows, columns) = terminal_size().map_or((24, 80), |size| (size.rows, size.columns));
        let lines = sample.map(|sample| sample.lines(order)).unwrap_or_default();
        let last = problem.unwrap_or(KEYS);
        let rows = usize::from(rows).saturating_sub(1);
        let mut text = "\x1b[H".to_owned();
        for line in lines.iter().take(rows) {
            text.extend(line.chars().take(columns.into()));
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J\x1b[7m");
        text.extend(last.chars().take(columns.into()));
        text.push_str("\x1b[m");
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
        written.map_err(|error: io::Error| landline::Error::io("standard output", &error).into())
    }
}
