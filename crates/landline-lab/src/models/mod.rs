//! The four models under the same load: how many requests, how soon, how much memory, and what a
//! blocked handler does to the others.

mod load;
mod memory;
mod picture;
mod served;

use std::{io, process::Command, time::Duration};

pub use served::serve;

use super::{Language, Report, words::models as words};

/// How connections are handed to handlers, as in `landline-socketserver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One connection after the other.
    Inline,
    /// A thread for each connection.
    Threads,
    /// A process for each connection.
    Processes,
    /// An async task for each connection, on [`TASK_THREADS`] threads.
    Tasks,
}

/// The threads that tasks run on.
pub const TASK_THREADS: usize = 2;
/// How many clients ask at the same time.
pub const CLIENTS: usize = 8;
/// How many connections are open while memory is looked at.
pub const IDLE_CONNECTIONS: usize = 50;
/// How long a blocked handler is blocked.
pub const BLOCK: Duration = Duration::from_millis(300);

impl Model {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Inline, Self::Threads, Self::Processes, Self::Tasks];

    /// Its name, as on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Tasks => "tasks",
        }
    }

    /// The model of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

/// What clients saw of a server for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Answers a second, of all clients together.
    pub per_second: f64,
    /// From a request to its answer (for short connections from before `connect`): one half took
    /// less.
    pub median: Duration,
    /// Ninety-nine of a hundred took less.
    pub worst_hundredth: Duration,
    /// How many clients got an answer at all, of [`CLIENTS`].
    pub served: usize,
}

/// What one model did.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The model.
    pub model: Model,
    /// Each client keeps its connection.
    pub long: Service,
    /// Each client connects anew for each request.
    pub short: Service,
    /// The memory of the server without connections, in bytes; `None` where the system does not
    /// tell.
    pub memory: Option<u64>,
    /// What a connection adds, in bytes: all its processes counted, what they share in equal
    /// parts.
    pub memory_each: Option<u64>,
    /// The longest wait of others while one handler blocks for [`BLOCK`].
    pub one_blocked: Duration,
    /// The same while as many handlers block as there are [`TASK_THREADS`].
    pub some_blocked: Duration,
    /// The same where they wait without blocking their thread; `None` where a handler always has
    /// its thread for itself.
    pub some_waiting: Option<Duration>,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Models {
    /// One for each model that could be measured.
    pub figures: Vec<Figures>,
    /// The models that this system does not let be measured, and what it said.
    pub missing: Vec<(Model, String)>,
}

impl Models {
    /// Measures, on loopback sockets; takes about ten seconds. Blocking.
    ///
    /// `server` is the command that ends up in [`serve`] with this model, in a process that has no
    /// thread but its first: each model is measured in a process of its own. Its standard input
    /// and output are taken.
    ///
    /// # Errors
    /// What the system says about a socket or process where no model could be measured.
    pub fn run(server: impl Fn(Model) -> Command) -> io::Result<Self> {
        let mut models = Self {
            figures: Vec::new(),
            missing: Vec::new(),
        };
        let mut last = None;
        for model in Model::ALL {
            let measured = served::Running::start(server(model))
                .and_then(|server| load::measure(model, &server));
            match measured {
                Ok(figures) => models.figures.push(figures),
                Err(error) => {
                    models.missing.push((model, error.to_string()));
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if models.figures.is_empty() => Err(error),
            _ => Ok(models),
        }
    }

    /// What was measured in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language),
            tables: words::tables(self, language),
            seen: words::seen(self, language),
            notes: words::notes(self, language),
            picture: picture::draw(self, language),
        }
    }

    /// What one model did.
    pub fn of(&self, model: Model) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.model == model)
    }
}

#[cfg(test)]
mod tests;
