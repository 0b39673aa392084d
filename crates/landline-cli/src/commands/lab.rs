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

use clap::{Args, Subcommand, ValueEnum};
use landline::paths::AtomicFile;
use landline_lab::{
    Language, Lifecycle, Models, Report, Sticky,
    models::{self, Model},
};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    hidden,
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
    Sticky(LabOptions),
    /// Compare inline, threads, processes and tasks under load
    ///
    /// Measures latency, throughput, memory, and how blocked handlers delay others.
    Models(LabOptions),
    /// Follow a connection's states from SYN to TIME_WAIT
    ///
    /// Shows which call blocks until what, SO_REUSEADDR, and a full backlog.
    Lifecycle(LabOptions),
}

#[derive(Debug, Args)]
struct LabOptions {
    /// Draw a picture into this file or folder
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Language [default: zh in a Chinese locale, else en]
    #[arg(long, value_name = "LANG")]
    lang: Option<ReportLanguage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReportLanguage {
    /// English
    En,
    /// Chinese
    Zh,
}

impl From<ReportLanguage> for Language {
    fn from(language: ReportLanguage) -> Self {
        match language {
            ReportLanguage::En => Self::English,
            ReportLanguage::Zh => Self::Chinese,
        }
    }
}

impl Run for Lab {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.experiment {
            Experiment::Sticky(options) => measure(
                context,
                "landline-sticky.svg",
                &options,
                Sticky::run,
                Sticky::report,
            ),
            Experiment::Models(options) => measure(
                context,
                "landline-models.svg",
                &options,
                measure_models,
                Models::report,
            ),
            Experiment::Lifecycle(options) => measure(
                context,
                "landline-lifecycle.svg",
                &options,
                Lifecycle::run,
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
    run: impl FnOnce() -> io::Result<Measured>,
    report: impl FnOnce(&Measured, Language) -> Report,
) -> Result<ExitStatus, Failure> {
    let language = options
        .lang
        .map_or_else(|| context.environment.language(), Into::into);
    let picture = options
        .svg
        .as_deref()
        .map(|path| AtomicFile::create(path, name))
        .transpose()?;
    let measured =
        run().map_err(|error| Failure::local(format!("the experiment failed: {error}")))?;
    let report = report(&measured, language);
    context.out.print(report.text().trim_end());
    if let Some(picture) = picture {
        let path = picture.path().display().to_string();
        picture.commit(report.picture.as_bytes())?;
        context.err.print(&path);
    }
    Ok(ExitStatus::SUCCESS)
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
