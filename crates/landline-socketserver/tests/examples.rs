//! The examples, compared with their twins in Python.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A running example.
struct Example {
    process: Child,
    address: String,
}

impl Example {
    /// Starts the program that `cargo test` has built.
    fn rust(name: &str, arguments: &[&str]) -> Self {
        let test = env::current_exe().unwrap();
        let programs = test.parent().unwrap().parent().unwrap().join("examples");
        Self::start(Command::new(programs.join(name)), arguments)
    }

    fn python(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.arg(path(name, "py"));
        Self::start(command, arguments)
    }

    fn start(mut command: Command, arguments: &[&str]) -> Self {
        let mut process = command
            .args(arguments)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut address).unwrap();
        Self {
            process,
            address: address.trim().to_owned(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn path(name: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.{extension}"))
}

/// Checks the example and its twin.
fn with_both(name: &str, arguments: &[&str], check: impl Fn(&Example)) {
    check(&Example::rust(name, arguments));
    check(&Example::python(name, arguments));
}

/// Sends `bytes`, ends the sending, and reads to the end.
fn ask(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn echo_serves_by_each_model() {
    for model in ["inline", "threads", "processes", "tasks"] {
        with_both("echo", &[model], |example| {
            let quiet = (model != "inline").then(|| example.connect());
            for text in ["hello", "and again"] {
                assert_eq!(ask(example.connect(), text.as_bytes()), text.as_bytes());
            }
            drop(quiet);
        });
    }
}

#[test]
fn udp_answers_datagrams() {
    with_both("udp", &[], |example| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        client.send_to(b"hello", &example.address).unwrap();
        let mut answer = [0; 100];
        let length = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"HELLO");
    });
}

#[test]
fn commands_are_answered() {
    with_both("commands", &[], |example| {
        let mut requests = Vec::new();
        for (header, body) in [
            (r#"{"command": "upper", "size": 5}"#, "hello"),
            (r#"{"command": "reverse", "size": 3}"#, "abc"),
            (r#"{"command": "dance", "size": 0}"#, ""),
        ] {
            requests.extend((header.len() as i32).to_le_bytes());
            requests.extend([header, body].concat().into_bytes());
        }
        let mut answer = &ask(example.connect(), &requests)[..];
        for (ok, body) in [(true, "HELLO"), (true, "cba"), (false, "")] {
            let (prefix, rest) = answer.split_first_chunk().unwrap();
            let (header, rest) = rest.split_at(i32::from_le_bytes(*prefix) as usize);
            let header: serde_json::Value = serde_json::from_slice(header).unwrap();
            let expected = serde_json::json!({"ok": ok, "size": body.len()});
            assert_eq!(header, expected);
            assert_eq!(&rest[..body.len()], body.as_bytes());
            answer = &rest[body.len()..];
        }
        assert!(answer.is_empty());
    });
}

#[test]
fn chat_reaches_all_others() {
    with_both("chat", &[], |example| {
        let mut first = BufReader::new(example.connect());
        let mut second = BufReader::new(example.connect());
        let mut line = String::new();
        // The first speaks until the second has joined and hears it.
        second
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        while line.is_empty() {
            writeln!(first.get_mut(), "hello").unwrap();
            let _ = second.read_line(&mut line);
        }
        let speaker = first.get_ref().local_addr().unwrap();
        assert_eq!(line, format!("{speaker}: hello\n"));
        writeln!(second.get_mut(), "hello yourself").unwrap();
        line.clear();
        first.read_line(&mut line).unwrap();
        let speaker = second.get_ref().local_addr().unwrap();
        assert_eq!(line, format!("{speaker}: hello yourself\n"));
    });
}

#[test]
fn examples_are_at_most_twice_as_long_as_python() {
    for name in ["chat", "commands", "echo", "udp"] {
        let rust = lines(name, "rs");
        let python = lines(name, "py");
        assert!(rust <= 2 * python, "{name}: {rust} lines, Python {python}");
    }
}

/// The number of lines of code: neither blank, nor a comment, a lint or the text that explains it.
fn lines(name: &str, extension: &str) -> usize {
    let text = std::fs::read_to_string(path(name, extension)).unwrap();
    let text = match extension {
        "py" => text.splitn(3, "\"\"\"").last().unwrap().to_owned(),
        _ => text,
    };
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with('#'))
        .count()
}
