//! The standard streams, as a command sees them: a test can put buffers in their place.

use std::{
    io::{self, IsTerminal, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    descriptor::Descriptor,
    interruptible::{Interrupter, Interruptible},
    terminal::{escape_json, shown},
};

/// A color on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Color {
    Green,
    Cyan,
}

/// A stream that commands print to. All clones write to the same stream.
#[derive(Clone)]
pub(crate) struct OutputStream(Arc<Shared>);

struct Shared {
    writer: Mutex<Box<dyn Write + Send>>,
    is_terminal: bool,
    /// The first error of a write, except a broken pipe: a reader may stop early.
    error: Mutex<Option<io::Error>>,
}

impl OutputStream {
    /// Standard output, for results.
    pub(crate) fn stdout() -> Self {
        Self::new(Box::new(Descriptor::new(1)), io::stdout().is_terminal())
    }

    /// Standard error, for messages to people.
    pub(crate) fn stderr() -> Self {
        Self::new(Box::new(Descriptor::new(2)), io::stderr().is_terminal())
    }

    pub(crate) fn new(writer: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        Self(Arc::new(Shared {
            writer: Mutex::new(writer),
            is_terminal,
            error: Mutex::new(None),
        }))
    }

    /// Whether the stream is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal
    }

    /// Prints `text` and a newline, and escapes what a terminal would obey.
    ///
    /// A failed write does not end the command; the caller finds it with
    /// [`take_error`](Self::take_error).
    pub(crate) fn print(&self, text: &str) {
        self.write(shown(text) + "\n");
    }

    /// Prints `text` as [`print`](Self::print) does; on a terminal, in a color if there is one.
    pub(crate) fn print_in_color(&self, color: Option<Color>, text: &str) {
        let code = match color.filter(|_| self.is_terminal()) {
            None => return self.print(text),
            Some(Color::Green) => 32,
            Some(Color::Cyan) => 36,
        };
        self.write(format!("\u{1b}[{code}m{}\u{1b}[0m\n", shown(text)));
    }

    /// Prints `value` as one line of JSON, and escapes what a terminal would obey.
    pub(crate) fn print_json(&self, value: &serde_json::Value) {
        self.write(escape_json(&value.to_string()) + "\n");
    }

    /// Prints `text` without a newline, so that the user types behind it.
    pub(crate) fn prompt(&self, text: &str) {
        self.write(shown(text));
    }

    /// Takes the first error of a write, except a broken pipe.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.0
            .error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A writer of bytes that are not escaped.
    pub(crate) fn raw(&self) -> RawOutput {
        RawOutput(self.clone())
    }

    fn write(&self, text: String) {
        let mut writer = self.lock();
        let written = writer
            .write_all(text.as_bytes())
            .and_then(|()| writer.flush());
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.0
                .error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of an [`OutputStream`], unescaped. Errors go to the caller.
pub(crate) struct RawOutput(OutputStream);

impl Write for RawOutput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

/// The stream that commands read from.
#[derive(Clone)]
pub(crate) struct InputStream(Source);

#[derive(Clone)]
enum Source {
    Stdin,
    #[cfg(test)]
    Bytes(Vec<u8>),
}

impl InputStream {
    /// Standard input.
    pub(crate) fn stdin() -> Self {
        Self(Source::Stdin)
    }

    /// An input that consists of `bytes`.
    #[cfg(test)]
    pub(crate) fn of(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Source::Bytes(bytes.into()))
    }

    /// Whether a person types here.
    pub(crate) fn is_terminal(&self) -> bool {
        match &self.0 {
            Source::Stdin => io::stdin().is_terminal(),
            #[cfg(test)]
            Source::Bytes(_) => false,
        }
    }

    /// Opens the input without a buffer: a buffer would swallow bytes that another reader, such as
    /// a child process, is to get.
    ///
    /// # Errors
    /// Standard input is closed or open for writing only.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match &self.0 {
            Source::Stdin => Ok(Box::new(Descriptor::readable(0)?)),
            #[cfg(test)]
            Source::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
        }
    }

    /// Opens the input as [`open`](Self::open) does. Reads fail once the second part is dropped.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_interruptible(
        &self,
    ) -> io::Result<(Box<dyn Read + Send>, Option<Interrupter>)> {
        match &self.0 {
            Source::Stdin => {
                let (input, interrupter) = Interruptible::new(Descriptor::readable(0)?)?;
                Ok((Box::new(input), Some(interrupter)))
            }
            #[cfg(test)]
            Source::Bytes(_) => Ok((self.open()?, None)),
        }
    }
}

/// Reads a line and not a byte more; `None` at the end of the input.
///
/// # Errors
/// The error of a read, other than an interruption by a signal.
pub(crate) fn read_line(input: &mut dyn Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.strip_suffix('\r').unwrap_or(&text).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every write with `kind`.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failed_write_is_kept_unless_pipe_is_broken() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, Some(io::ErrorKind::StorageFull)),
            (io::ErrorKind::BrokenPipe, None),
        ] {
            let stream = OutputStream::new(Box::new(Broken(kind)), false);
            stream.print("a result");
            assert_eq!(stream.take_error().map(|error| error.kind()), expected);
        }
    }

    #[test]
    fn read_line_leaves_the_rest() {
        let mut input = io::Cursor::new(b"one\r\ntwo\nthree".to_vec());
        assert_eq!(read_line(&mut input).unwrap().as_deref(), Some("one"));
        assert_eq!(input.position(), 5);
        assert_eq!(read_line(&mut input).unwrap().as_deref(), Some("two"));
        assert_eq!(read_line(&mut input).unwrap().as_deref(), Some("three"));
        assert_eq!(read_line(&mut input).unwrap(), None);
    }
}
