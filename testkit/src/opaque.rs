//! The independent OPAQUE of `docs/vectors/opaque.py`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/opaque.py");

/// OPAQUE as a process that was written from the RFCs alone and shares no code with landline.
///
/// The head of the program lists its requests.
pub struct Opaque {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Opaque {
    /// Starts the process. Prints SKIPPED and returns `None` without python3.
    pub fn start() -> Option<Self> {
        let mut process = command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let (questions, answers) = (
            process.stdin.take().expect("piped"),
            process.stdout.take().expect("piped"),
        );
        Some(Self {
            process,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Lets the program check itself against the vectors of the RFCs. Skipped without python3.
    pub fn self_test() {
        let Some(mut command) = command() else { return };
        let output = command.arg("--self-test").output().expect("python3");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Sends a request with these arguments. Returns the answer, or the reason of a refusal.
    pub fn ask(&mut self, what: &str, arguments: &[(&str, &[u8])]) -> Result<Said, String> {
        let mut request: BTreeMap<&str, Value> = arguments
            .iter()
            .map(|(key, bytes)| (*key, hex(bytes).into()))
            .collect();
        request.insert("do", what.into());
        writeln!(
            self.questions,
            "{}",
            serde_json::to_string(&request).expect("JSON")
        )
        .expect("it reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let said: BTreeMap<String, String> = serde_json::from_str(&line)
            .expect("the answer is JSON, or its standard error has the reason");
        match said.get("refused") {
            Some(reason) => Err(reason.clone()),
            None => Ok(Said(
                said.into_iter()
                    .map(|(key, text)| (key, bytes(&text)))
                    .collect(),
            )),
        }
    }
}

impl Drop for Opaque {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer: named byte strings.
pub struct Said(BTreeMap<String, Vec<u8>>);

impl std::ops::Index<&str> for Said {
    type Output = [u8];

    fn index(&self, name: &str) -> &[u8] {
        &self.0[name]
    }
}

/// The command of the program, which leaves no compiled files. Prints SKIPPED and returns `None`
/// without python3.
fn command() -> Option<Command> {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: an independent OPAQUE needs python3");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-B", PROGRAM]);
    Some(command)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}
