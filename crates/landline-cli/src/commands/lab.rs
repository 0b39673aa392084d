//! `landline lab`: experiments with real sockets, printed as tables and drawn as a picture.
//!
//! They do not use the runtime: each starts the threads and processes that it measures.

use std::{
    env,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{self, Command},
};

use clap::{Args, Subcommand};
use landline::paths::AtomicFile;
use landline_lab::{
    Language, Lifecycle, Models, Report, Sticky,
    models::{self, Model},
};

use crate::{
    arguments::LanguageOption,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    hidden,
    streams::read_line,
};

/// Measure how sockets behave on this machine
///
/// Each experiment prints tables and two sentences, and can draw a picture for a lecture.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline lab sticky --svg sticky.svg")]
pub(crate) struct Lab {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Compare what was sent with what each receive returned
    ///
    /// Over TCP with and without Nagle's algorithm, framed TCP, and UDP.
    Sticky(StickyOptions),
    /// Compare inline, threads, processes and tasks under load
    ///
    /// Measures latency, throughput, memory, and how blocked handlers delay others.
    Models(LabOptions),
    /// Follow a connection's states from SYN to TIME_WAIT
    ///
    /// Shows the handshake and the close first, with sequence numbers. Then come the short states,
    /// what each call waits for, SO_REUSEADDR, and a full backlog.
    Lifecycle(LifecycleOptions),
}

#[derive(Debug, Args)]
struct StickyOptions {
    /// Messages to send instead of the lab's own
    ///
    /// At most 12, of 1 to 1,000 bytes each.
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,
    #[command(flatten)]
    lab: LabOptions,
}

#[derive(Debug, Args)]
struct LifecycleOptions {
    /// Stop in each state until Enter is pressed
    ///
    /// So a class can look at the sockets with `ss`. The kernel ends some states after 2 minutes.
    #[arg(long)]
    step: bool,
    #[command(flatten)]
    lab: LabOptions,
}

#[derive(Debug, Args)]
struct LabOptions {
    /// Draw a picture into this file or folder
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    language: LanguageOption,
}

impl Run for Lab {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.experiment {
            Experiment::Sticky(StickyOptions { messages, lab }) => measure(
                context,
                "landline-sticky.svg",
                &lab,
                |_| Sticky::run(&messages),
                Sticky::report,
            ),
            Experiment::Models(options) => measure(
                context,
                "landline-models.svg",
                &options,
                |_| measure_models(),
                Models::report,
            ),
            Experiment::Lifecycle(LifecycleOptions { step, lab }) => measure(
                context,
                "landline-lifecycle.svg",
                &lab,
                |language| {
                    if step {
                        run_stepwise(context, language)
                    } else {
                        Lifecycle::run()
                    }
                },
                Lifecycle::report,
            ),
        }
    }
}

/// Measures, prints, and draws the picture if one is asked for. A picture that cannot be written
/// fails before the measurement.
fn measure<Measured>(
    context: &Context,
    name: &str,
    options: &LabOptions,
    run: impl FnOnce(Language) -> io::Result<Measured>,
    report: impl FnOnce(&Measured, Language) -> Report,
) -> Result<ExitStatus, Failure> {
    let language = options.language.choose(&context.environment);
    let picture = options
        .svg
        .as_deref()
        .map(|path| AtomicFile::create(path, name))
        .transpose()?;
    let measured = run(language).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Failure::usage(error.to_string()),
        _ => Failure::local(format!("the experiment failed: {error}")),
    })?;
    let report = report(&measured, language);
    context.out.print(report.text().trim_end());
    if let Some(picture) = picture {
        let path = picture.path().display().to_string();
        picture.commit(report.picture.as_bytes())?;
        context.err.print(&path);
    }
    Ok(ExitStatus::SUCCESS)
}

/// Prints each state, and waits until the user presses Enter. At the end of the input it does not
/// wait any more.
fn run_stepwise(context: &Context, language: Language) -> io::Result<Lifecycle> {
    let mut input = context.input.open()?;
    Lifecycle::run_stepwise(language, |text| {
        context.err.print(text);
        read_line(&mut input).map(drop)
    })
}

/// Starts a server process for each model, and measures it.
fn measure_models() -> io::Result<Models> {
    let program = env::current_exe()?;
    Models::run(|model| {
        let mut command = Command::new(&program);
        command.args([
            hidden::MODEL_SERVER,
            model.name(),
            &process::id().to_string(),
        ]);
        command
    })
}

/// Serves by the model that the words name, until the parent process that they name ends. One model
/// forks, so this needs a process with a single thread.
pub(crate) fn serve_model(
    context: &Context,
    words: &[OsString],
) -> Option<Result<ExitStatus, Failure>> {
    let [model, parent, ..] = words else {
        return None;
    };
    let model = Model::from_name(model.to_str()?)?;
    let parent = parent.to_str()?.parse().ok()?;
    let served = models::serve(model, parent, |address| {
        context.out.print(&address.to_string());
    });
    Some(
        served
            .map(|()| ExitStatus::SUCCESS)
            .map_err(|error| Failure::local(format!("the {} server: {error}", model.name()))),
    )
}
