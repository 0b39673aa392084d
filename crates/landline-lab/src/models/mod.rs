//! Measures the four models of a server under the same load.
//!
//! It measures rates, latencies and memory, and how long a blocked handler delays other clients.

mod load;
mod memory;
mod picture;
mod server;

use std::{io, process::Command, time::Duration};

pub use server::serve;

use super::{Language, Report, words::models as words};

/// The models of `landline-socketserver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One connection at a time.
    Inline,
    /// A thread for each connection.
    Threads,
    /// A process for each connection.
    Processes,
    /// An async task for each connection, all on one thread.
    Tasks,
}

/// The number of clients that send requests at the same time.
pub(crate) const CLIENTS: usize = 8;
/// The number of open connections while memory is measured.
pub(crate) const IDLE_CONNECTIONS: usize = 50;
/// The time for which a blocked handler is blocked.
pub(crate) const BLOCK: Duration = Duration::from_millis(300);

impl Model {
    /// All models, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Inline, Self::Threads, Self::Processes, Self::Tasks];

    /// The name of the model on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Tasks => "tasks",
        }
    }

    /// The model with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

/// The measurements of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoadStats {
    /// Answers per second, of all clients together.
    pub per_second: f64,
    /// The median latency, from a request to its answer.
    ///
    /// For short connections it begins before `connect`.
    pub median: Duration,
    /// The 99th percentile of the latency.
    pub percentile_99: Duration,
    /// The number of clients that got an answer, of [`CLIENTS`].
    pub served: usize,
}

/// The measurements of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelStats {
    /// The model.
    pub model: Model,
    /// The load of clients that keep their connections.
    pub long: LoadStats,
    /// The load of clients that connect for each request.
    pub short: LoadStats,
    /// The memory of the server without connections, in bytes.
    ///
    /// `None` if the system does not report it.
    pub memory: Option<u64>,
    /// The memory that a connection adds, in bytes.
    ///
    /// It counts all processes of the server. Shared memory is divided among them.
    pub memory_each: Option<u64>,
    /// The longest wait of other clients while one handler blocks for [`BLOCK`].
    ///
    /// It is the median of several rounds.
    pub blocked: Duration,
    /// The same while the handler waits without blocking its thread.
    ///
    /// `None` for models in which a handler can only block.
    pub awaiting: Option<Duration>,
}

/// All measurements.
#[derive(Debug, Clone)]
pub struct Models {
    /// The measurements of the models that could be measured.
    pub(crate) stats: Vec<ModelStats>,
    /// The models that could not be measured, with the system's error.
    pub(crate) unavailable: Vec<(Model, String)>,
}

impl Models {
    /// Measures on loopback sockets for about fifteen seconds.
    ///
    /// `server` returns a command that calls [`serve`] with this model. It runs in a process of its
    /// own, which must have only one thread. Its standard input and output are redirected.
    ///
    /// # Errors
    /// The error of the last model, if no model could be measured.
    ///
    /// # Blocking
    /// It blocks for the whole measurement.
    pub fn run(server: impl Fn(Model) -> Command) -> io::Result<Self> {
        let mut models = Self {
            stats: Vec::new(),
            unavailable: Vec::new(),
        };
        let mut last = None;
        for model in Model::ALL {
            let measured = server::ServerProcess::start(server(model))
                .and_then(|server| load::measure(model, &server));
            match measured {
                Ok(stats) => models.stats.push(stats),
                Err(error) => {
                    models.unavailable.push((model, error.to_string()));
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if models.stats.is_empty() => Err(error),
            _ => Ok(models),
        }
    }

    /// The measurements in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language),
            tables: words::tables(self, language),
            summary: words::summary(self, language),
            notes: words::notes(self, language),
            picture: picture::draw(self, language),
        }
    }

    /// The measurements of one model.
    pub(crate) fn stats_of(&self, model: Model) -> Option<&ModelStats> {
        self.stats.iter().find(|stats| stats.model == model)
    }
}

#[cfg(test)]
mod tests;
