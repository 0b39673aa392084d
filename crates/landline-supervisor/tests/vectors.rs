//! Replays docs/vectors/supervisor.json, which was made from the documents alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::{path::PathBuf, time::Duration};

use landline_supervisor::{
    protocol::{
        Adopted, Exit, FrameBuffer, FrameError, InputState, Order, OutputState, OutputStream,
        Report, Size, Start, Status, Step, Store,
    },
    store::{IndexRecord, JobFolder, Piece},
};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/vectors/supervisor.json"
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .as_str()
        .unwrap()
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    let (pairs, rest) = digits.as_chunks();
    assert!(rest.is_empty());
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// The fields of a message.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn number(&self, name: &str) -> u64 {
        let value = &self.0[name];
        let large = || value.as_str().and_then(|digits| digits.parse().ok());
        value.as_u64().or_else(large).unwrap()
    }

    fn narrow<T: TryFrom<u64>>(&self, name: &str) -> T {
        T::try_from(self.number(name)).ok().unwrap()
    }

    fn flag(&self, name: &str) -> bool {
        self.number(name) == 1
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(&self.0[name])
    }

    fn list(&self, name: &str) -> Vec<Vec<u8>> {
        self.0[name].as_array().unwrap().iter().map(bytes).collect()
    }

    fn stream(&self) -> OutputStream {
        OutputStream::ALL[self.narrow::<usize>("stream") - 1]
    }

    fn size(&self) -> Size {
        Size {
            rows: self.narrow("rows"),
            columns: self.narrow("columns"),
        }
    }

    fn store(&self) -> Store {
        [Store::Memory, Store::Disk][usize::from(self.flag("store"))]
    }

    fn milliseconds(&self, name: &str) -> Duration {
        match self.number(name) {
            u64::MAX => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds),
        }
    }

    fn output_state(&self, stream: &str) -> OutputState {
        OutputState {
            acknowledged: self.number(&format!("{stream}_acknowledged")),
            read: self.number(&format!("{stream}_read")),
            has_ended: self.flag(&format!("{stream}_has_ended")),
        }
    }

    fn modes(&self) -> Vec<(u8, u8)> {
        let bytes = self.bytes("modes");
        bytes.chunks(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn order(&self, name: &str) -> Order {
        match name {
            "start" => Order::Start(Box::new(Start {
                program: self.bytes("program"),
                arguments: self.list("arguments"),
                environment: self.list("environment"),
                folder: self.bytes("folder"),
                terminal: self.flag("has_terminal").then(|| self.size()),
                modes: self.modes(),
                is_attended: self.flag("is_attended"),
                has_input: self.flag("has_input"),
                job_folder: self.bytes("job_folder"),
                store: self.store(),
                window: self.narrow("window"),
                bytes_max: self.number("bytes_max"),
                timeout: Some(self.milliseconds("timeout")).filter(|time| !time.is_zero()),
                on_lost: self.milliseconds("on_lost"),
            })),
            "input" => Order::Input {
                offset: self.number("offset"),
                bytes: self.bytes("bytes"),
            },
            "input-end" => Order::InputEnd {
                offset: self.number("offset"),
            },
            "output-ack" => Order::OutputAck {
                stream: self.stream(),
                offset: self.number("offset"),
                limit: self.number("limit"),
            },
            "output-stop" => Order::OutputStop {
                stream: self.stream(),
            },
            "signal" => Order::Signal {
                signal: self.narrow("signal"),
            },
            "resize" => Order::Resize(self.size()),
            "end" => Order::End {
                grace: self.milliseconds("grace"),
            },
            "adopt" => Order::Adopt,
            "store" => Order::Store,
            "leave" => Order::Leave,
            "screen" => Order::Screen {
                size: self.size(),
                history: self.narrow("history"),
            },
            "attended" => Order::Attended(self.flag("is_attended")),
            "confirm" => Order::Confirm,
            _ => panic!("the order {name}"),
        }
    }

    fn report(&self, name: &str) -> Report {
        match name {
            "started" => Report::Started {
                pid: self.narrow("pid"),
            },
            "failed" => Report::Failed {
                step: [Step::Program, Step::Folder, Step::Resources, Step::Store]
                    [self.narrow::<usize>("step")],
                errno: self.narrow("errno"),
            },
            "output" => Report::Output {
                stream: self.stream(),
                offset: self.number("offset"),
                bytes: self.bytes("bytes"),
            },
            "output-end" => Report::OutputEnd {
                stream: self.stream(),
                offset: self.number("offset"),
            },
            "input-ack" => Report::InputAck {
                offset: self.number("offset"),
            },
            "input-stop" => Report::InputStop,
            "exited" => Report::Exited(Exit {
                status: match self.number("kind") {
                    0 => Status::Code(self.narrow("value")),
                    kind => Status::Signal {
                        signal: self.narrow("value"),
                        has_core: kind == 2,
                    },
                },
                user_time: Duration::from_micros(self.number("user_time")),
                system_time: Duration::from_micros(self.number("system_time")),
                memory_bytes_max: self.number("memory"),
                timed_out: self.flag("timed_out"),
                stdout: self.number("stdout"),
                stderr: self.number("stderr"),
                started: self.number("started"),
                ended: self.number("ended"),
                left_open: self.0.get("left_open").is_some(),
            }),
            "stored" => Report::Stored {
                stream: self.stream(),
                offset: self.number("offset"),
            },
            "adopted" => Report::Adopted(Adopted {
                pid: self.narrow("pid"),
                store: self.store(),
                stdout: self.output_state("stdout"),
                stderr: self.output_state("stderr"),
                input: InputState {
                    has_input: self.flag("has_input"),
                    received: self.number("received"),
                    taken: self.number("taken"),
                    has_end: self.flag("has_end"),
                    has_stopped: self.flag("has_stopped"),
                },
            }),
            "screen" => Report::Screen {
                offset: self.number("offset"),
                is_whole: self.flag("is_whole"),
                bytes: self.bytes("bytes"),
            },
            "confirmed" => Report::Confirmed,
            _ => panic!("the report {name}"),
        }
    }
}

/// The message in a stream that holds one.
fn decode<T>(bytes: &[u8], decode: fn(&[u8]) -> Result<T, FrameError>) -> Result<T, FrameError> {
    let mut frames = FrameBuffer::default();
    frames.extend(bytes);
    decode(frames.next_frame()?.unwrap())
}

fn check<T: PartialEq + std::fmt::Debug>(
    cases: &Value,
    types: u8,
    message: impl Fn(&Fields<'_>, &str) -> T,
    encode: fn(&T, &mut Vec<u8>),
    read: fn(&[u8]) -> Result<T, FrameError>,
) {
    let mut seen = Vec::new();
    for case in cases.as_array().unwrap() {
        let message = message(&Fields(&case["fields"]), case["type"].as_str().unwrap());
        let expected = bytes(&case["bytes"]);
        let mut encoded = Vec::new();
        encode(&message, &mut encoded);
        assert_eq!(encoded, expected, "{case}");
        assert_eq!(decode(&expected, read).unwrap(), message, "{case}");
        seen.push(expected[4]);
    }
    assert!((1..=types).all(|kind| seen.contains(&kind)), "{seen:?}");
}

fn check_bad<T: std::fmt::Debug>(cases: &Value, read: fn(&[u8]) -> Result<T, FrameError>) {
    for case in cases.as_array().unwrap() {
        let error = decode(&bytes(&case["bytes"]), read).unwrap_err();
        let name = match error {
            FrameError::Length(_) => "length",
            FrameError::Type(_) => "type",
            FrameError::Content(_) => "content",
            FrameError::Version(_) => "version",
            _ => panic!("{error}"),
        };
        assert_eq!(name, case["error"], "{case}");
    }
}

#[test]
fn messages_have_the_bytes_of_the_vectors() {
    let vectors = vectors();
    check(
        &vectors["orders"],
        14,
        |fields, name| fields.order(name),
        Order::encode,
        Order::decode,
    );
    check(
        &vectors["reports"],
        11,
        |fields, name| fields.report(name),
        Report::encode,
        Report::decode,
    );
}

#[test]
fn bad_frames_of_the_vectors_are_refused() {
    let vectors = vectors();
    check_bad(&vectors["bad_orders"], Order::decode);
    check_bad(&vectors["bad_reports"], Report::decode);
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn job_folder_of_the_vectors_is_read() {
    let vectors = &vectors()["job_folder"];
    let name = format!("supervisor-vectors-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    std::fs::create_dir(&folder.0).unwrap();
    let mut length = 0;
    for (name, content) in vectors["files"].as_object().unwrap() {
        let content = bytes(content);
        if name == "index" || name.len() == 18 {
            length += content.len() as u64;
        }
        std::fs::write(folder.0.join(name), content).unwrap();
    }
    let job = JobFolder::open(&folder.0).unwrap();
    assert_eq!(job.bytes().unwrap(), length);
    for (name, stream) in [
        ("stdout", OutputStream::Stdout),
        ("stderr", OutputStream::Stderr),
    ] {
        let expected = &vectors["streams"][name];
        let stored = expected["stored"].as_u64().unwrap();
        let (mut at, mut read, mut gaps) = (0, Vec::new(), Vec::new());
        loop {
            match job.read(stream, at, stored, 4).unwrap() {
                Piece::Bytes(bytes) => {
                    at += bytes.len() as u64;
                    read.extend(bytes);
                }
                Piece::Gap { to } => {
                    gaps.push(serde_json::json!([at, to]));
                    at = to;
                }
                Piece::End => break,
            }
        }
        assert_eq!(read, bytes(&expected["bytes"]), "{name}");
        assert_eq!(Value::from(gaps), expected["gaps"], "{name}");
    }
    let index: Vec<_> = vectors["index"]
        .as_array()
        .unwrap()
        .iter()
        .map(Fields)
        .collect();
    let index: Vec<_> = index
        .iter()
        .map(|record| IndexRecord {
            time: record.number("time"),
            stdout: record.number("stdout"),
            stderr: record.number("stderr"),
        })
        .collect();
    assert_eq!(job.index(0, 10).unwrap(), index);
    let exit = job.exit().unwrap().unwrap();
    assert_eq!((exit.stdout, exit.stderr), (23, 5));
}
