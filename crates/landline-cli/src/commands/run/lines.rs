//! Output of many hosts in whole lines, each with the name of its host.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data_encoding::BASE64;
use landline::paths::anonymous_file;
use serde_json::{Value, json};

use crate::{
    context::Context,
    streams::{OutputStream, RawOutput},
    terminal::{escape_json, shown_line},
};

/// The most bytes of an unfinished line that are kept in memory.
const LINE_BYTES_MAX: usize = 1 << 20;

/// An output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The two standard streams, one of which is written at a time: they may lead to the same place.
pub(super) struct Printer {
    outputs: Mutex<Outputs>,
    has_color: [bool; 2],
    is_json: bool,
    /// Where lines wait that are too long for memory.
    folder: PathBuf,
}

struct Outputs {
    out: RawOutput,
    err: RawOutput,
}

impl Printer {
    pub(super) fn new(context: &Context) -> Self {
        let has_color = |stream: &OutputStream| stream.is_terminal();
        Self {
            outputs: Mutex::new(Outputs {
                out: context.out.raw(),
                err: context.err.raw(),
            }),
            has_color: [has_color(&context.out), has_color(&context.err)],
            is_json: context.json,
            folder: std::env::temp_dir(),
        }
    }

    /// Prints an object as one line on standard output.
    pub(super) fn print_json(&self, value: &Value) -> io::Result<()> {
        self.write(Stream::Out, |out| {
            out.write_all((escape_json(&value.to_string()) + "\n").as_bytes())
        })
    }

    /// Prints a message about a host on standard error.
    pub(super) fn print_message(&self, host: &str, text: &str) -> io::Result<()> {
        let prefix = self.prefix(host, Stream::Err);
        let line = format!("landline: {}\n", shown_line(text));
        self.write(Stream::Err, |err| {
            err.write_all(&[&prefix, line.as_bytes()].concat())
        })
    }

    /// Writes with no other writer in between.
    fn write(
        &self,
        stream: Stream,
        work: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut outputs = lock(&self.outputs);
        let output = match stream {
            Stream::Out => &mut outputs.out,
            Stream::Err => &mut outputs.err,
        };
        work(output)?;
        output.flush()
    }

    /// What stands before each line of a host. It also ends the colors of the line before.
    fn prefix(&self, host: &str, stream: Stream) -> Vec<u8> {
        let [out, err] = self.has_color;
        let has_color = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        let host = shown_line(host);
        if has_color {
            format!("\u{1b}[0;36m{host}:\u{1b}[0m ").into_bytes()
        } else {
            format!("{host}: ").into_bytes()
        }
    }
}

/// The object with one more entry.
pub(super) fn with(mut object: Value, key: &str, value: impl Into<Value>) -> Value {
    if let Some(entries) = object.as_object_mut() {
        entries.insert(key.to_owned(), value.into());
    }
    object
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One output of one host. All clones write to the same output.
#[derive(Clone)]
pub(super) struct HostOutput(Arc<Mutex<LineBuffer>>);

struct LineBuffer {
    printer: Arc<Printer>,
    host: String,
    stream: Stream,
    prefix: Vec<u8>,
    /// The end of the unfinished line.
    pending: Vec<u8>,
    /// Its beginning, if it is long.
    spilled: Option<File>,
}

impl HostOutput {
    pub(super) fn new(printer: Arc<Printer>, host: &str, stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(LineBuffer {
            prefix: printer.prefix(host, stream),
            printer,
            host: host.to_owned(),
            stream,
            pending: Vec::new(),
            spilled: None,
        })))
    }

    /// Prints a last line without a newline.
    ///
    /// # Errors
    /// It cannot be printed.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut state = lock(&self.0);
        if state.pending.is_empty() && state.spilled.is_none() {
            return Ok(());
        }
        state.print(b"\n")
    }
}

impl Write for HostOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
        if !lines.is_empty() {
            state.print(lines)?;
        }
        state.keep(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LineBuffer {
    /// Prints the unfinished line, which ends in `lines`, and all further lines there.
    fn print(&mut self, lines: &[u8]) -> io::Result<()> {
        let beginning = std::mem::take(&mut self.pending);
        let spilled = self.spilled.take();
        if self.printer.is_json {
            let mut text = Vec::new();
            let mut beginning = Some(beginning);
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let mut whole = beginning.take().unwrap_or_default();
                whole.extend(line.strip_suffix(b"\n").unwrap_or(line));
                text.extend(self.to_json(&whole, false).into_bytes());
            }
            return self.printer.write(Stream::Out, |out| out.write_all(&text));
        }
        let mut text = beginning;
        for (number, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                text.extend(&self.prefix);
            }
            text.extend(line);
        }
        self.printer.write(self.stream, |output| {
            if let Some(mut file) = spilled {
                file.rewind()?;
                output.write_all(&self.prefix)?;
                io::copy(&mut file, output)?;
                return output.write_all(&text);
            }
            // One call, so that programs that share a terminal do not tear the line.
            output.write_all(&[self.prefix.as_slice(), &text].concat())
        })
    }

    /// Keeps the beginning of a line until its end arrives.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend(bytes);
        if self.pending.len() <= LINE_BYTES_MAX {
            return Ok(());
        }
        if self.printer.is_json {
            let end = self.end_of_characters();
            let rest = self.pending.split_off(end);
            let part = std::mem::replace(&mut self.pending, rest);
            let text = self.to_json(&part, true);
            return self
                .printer
                .write(Stream::Out, |out| out.write_all(text.as_bytes()));
        }
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(anonymous_file(&self.printer.folder).map_err(io::Error::other)?),
        };
        file.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Where a part can end without cutting a character.
    fn end_of_characters(&self) -> usize {
        let length = self.pending.len();
        let is_inside = |at: &usize| {
            self.pending
                .get(*at)
                .is_some_and(|byte| byte & 0xc0 == 0x80)
        };
        let last = (length.saturating_sub(4)..length)
            .rev()
            .find(|at| !is_inside(at));
        last.unwrap_or(length)
    }

    /// A line as an object; `is_part` if more of it follows.
    fn to_json(&self, line: &[u8], is_part: bool) -> String {
        let stream = match self.stream {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        let text = String::from_utf8_lossy(line);
        let mut value = json!({
            "event": "output", "host": self.host, "stream": stream, "text": text,
        });
        if std::str::from_utf8(line).is_err() {
            value = with(value, "base64", BASE64.encode(line));
        }
        if is_part {
            value = with(value, "part", true);
        }
        escape_json(&value.to_string()) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::TestContext;

    /// What is printed of these writes by two hosts in turn, `b` being silent.
    fn printed(is_json: bool, writes: &[&[u8]]) -> (String, String) {
        let mut test = TestContext::new();
        test.context.json = is_json;
        let printer = Arc::new(Printer::new(&test.context));
        let mut out = HostOutput::new(printer.clone(), "a", Stream::Out);
        let mut err = HostOutput::new(printer, "b", Stream::Err);
        for bytes in writes {
            out.write_all(bytes).unwrap();
            err.write_all(b"x").unwrap();
        }
        out.finish().unwrap();
        err.finish().unwrap();
        (test.out(), test.err())
    }

    #[test]
    fn lines_are_whole_and_have_one_prefix() {
        let (out, err) = printed(false, &[b"one\ntw", b"o", b"\n\nthree\n", b"four"]);
        assert_eq!(out, "a: one\na: two\na: \na: three\na: four\n");
        assert_eq!(err, "b: xxxx\n");
        assert_eq!(printed(false, &[b"", b"one\n"]).0, "a: one\n");
    }

    #[test]
    fn long_line_is_whole() {
        let part = vec![b'y'; LINE_BYTES_MAX / 2 + 1];
        let (out, _) = printed(false, &[b"first\n", &part, &part, &part, b"z\nlast\n"]);
        let expected = format!("a: first\na: {}z\na: last\n", "y".repeat(3 * part.len()));
        assert!(out == expected);
        let (out, _) = printed(false, &[&part, &part]);
        assert!(out == format!("a: {}\n", "y".repeat(2 * part.len())));
    }

    #[test]
    fn json_has_an_object_for_each_line() {
        let (out, err) = printed(true, &[b"one\n\xff", b"\nlast"]);
        let events: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let event = |host: &str, stream: &str, text: &str| json!({"event": "output", "host": host, "stream": stream, "text": text});
        let mut bytes = event("a", "stdout", "\u{fffd}");
        bytes["base64"] = "/w==".into();
        assert_eq!(
            events,
            [
                event("a", "stdout", "one"),
                bytes,
                event("a", "stdout", "last"),
                event("b", "stderr", "xx"),
            ]
        );
        assert_eq!(err, "");
    }

    #[test]
    fn long_line_in_json_has_parts() {
        let long = "é".repeat(LINE_BYTES_MAX / 2 + 10);
        let (out, _) = printed(true, &[&long.as_bytes()[..7], &long.as_bytes()[7..], b"\n"]);
        let events = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut text = String::new();
        let mut parts = Vec::new();
        for event in events.filter(|event| event["host"] == "a") {
            text += event["text"].as_str().unwrap();
            assert!(event["base64"].is_null());
            parts.push(event["part"] == true);
        }
        assert!(text == long);
        assert_eq!(parts, [true, false]);
    }
}
