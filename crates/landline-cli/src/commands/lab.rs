//! `landline lab`: experiments with real sockets, shown as tables and as a picture. They need no
//! runtime: what they want, they start themselves.

use std::{
    env, io,
    process::{Command, ExitCode},
};

use landline::paths::Document;
use landline_lab::{
    Language, Lifecycle, Models, Report, Sticky,
    models::{self, Model},
};

use crate::{
    arguments::{Experiment, Lab, LabOptions},
    environment,
    failure::Failure,
    terminal,
};

pub(crate) fn run(lab: Lab) -> Result<(), Failure> {
    match lab.experiment {
        Experiment::Sticky(options) => {
            show("landline-sticky.svg", &options, Sticky::run, Sticky::report)
        }
        Experiment::Models(options) => show(
            "landline-models.svg",
            &options,
            measure_models,
            Models::report,
        ),
        Experiment::Lifecycle(options) => show(
            "landline-lifecycle.svg",
            &options,
            Lifecycle::run,
            Lifecycle::report,
        ),
    }
}

/// What a process that is a server to be measured is called with, before the model's name.
const MODEL_SERVER: &str = "lab-model-server";

fn measure_models() -> io::Result<Models> {
    let program = env::current_exe()?;
    Models::run(|model| {
        let mut command = Command::new(&program);
        command.args([MODEL_SERVER, model.name(), &std::process::id().to_string()]);
        command
    })
}

/// Serves by a model if this process was started for that by `lab models`. To be called before
/// anything starts a thread: one of the models forks.
pub(crate) fn serve_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != MODEL_SERVER {
        return None;
    }
    let model = Model::of_name(arguments.next()?.to_str()?)?;
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    let served = models::serve(model, parent, |address| {
        terminal::print(&address.to_string())
    });
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::say(&format!("landline: the {} server: {error}", model.name()));
            ExitCode::FAILURE
        }
    })
}

/// Measures, prints, and draws where it is asked to. Whether it can draw there is known before it
/// measures.
fn show<Measured>(
    name: &str,
    options: &LabOptions,
    measure: impl FnOnce() -> io::Result<Measured>,
    report: impl FnOnce(&Measured, Language) -> Report,
) -> Result<(), Failure> {
    let language = options.lang.map_or_else(environment::language, Into::into);
    let picture = options
        .svg
        .as_deref()
        .map(|path| Document::begin(path, name))
        .transpose()?;
    let measured =
        measure().map_err(|error| Failure::local(format!("the experiment failed: {error}")))?;
    let report = report(&measured, language);
    terminal::print(report.text().trim_end());
    if let Some(picture) = picture {
        let path = picture.path().display().to_string();
        picture.finish(report.picture.as_bytes())?;
        terminal::say(&path);
    }
    Ok(())
}
