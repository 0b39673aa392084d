//! A context for tests: buffers for streams, and answers for the prompter.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write},
    sync::{Arc, Mutex},
};

use landline_lab::Language;
use zeroize::Zeroizing;

use crate::{
    context::Context,
    environment::Environment,
    prompter::Prompter,
    streams::{InputStream, OutputStream},
};

/// A context and what a command printed.
pub(crate) struct TestContext {
    pub(crate) context: Context,
    out: Buffer,
    err: Buffer,
}

impl TestContext {
    /// No variables, no input, and no user to ask.
    pub(crate) fn new() -> Self {
        let (out, err) = (Buffer::default(), Buffer::default());
        Self {
            context: Context {
                environment: Environment::Fixed(BTreeMap::new()),
                state: None,
                json: false,
                language: Language::English,
                out: OutputStream::new(Box::new(out.clone()), false),
                err: OutputStream::new(Box::new(err.clone()), false),
                input: InputStream::of(""),
                prompter: Arc::new(Script::new(&[])),
            },
            out,
            err,
        }
    }

    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        if let Environment::Fixed(variables) = &mut self.context.environment {
            variables.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    pub(crate) fn with_prompter(mut self, prompter: Arc<dyn Prompter>) -> Self {
        self.context.prompter = prompter;
        self
    }

    /// What was printed to standard output.
    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    /// What was printed to standard error.
    pub(crate) fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A user who gives these answers one after the other, and then ends the input.
pub(crate) struct Script {
    answers: Mutex<VecDeque<String>>,
    questions: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn new(answers: &[&str]) -> Self {
        let answers = answers.iter().map(|answer| (*answer).to_owned());
        Self {
            answers: Mutex::new(answers.collect()),
            questions: Mutex::default(),
        }
    }

    /// The number of answers that were not used.
    pub(crate) fn answers_left(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// The questions so far.
    pub(crate) fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

impl Prompter for Script {
    fn can_ask(&self) -> bool {
        true
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        self.questions.lock().unwrap().push(question.to_owned());
        let answer = self.answers.lock().unwrap().pop_front();
        answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn ask_hidden(&self, question: &str) -> io::Result<Zeroizing<String>> {
        self.ask(question).map(Zeroizing::new)
    }
}
