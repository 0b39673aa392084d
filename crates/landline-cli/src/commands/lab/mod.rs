//! `landline lab`: experiments with real sockets, shown as tables and as a picture. They need no runtime: what they want, they
//! start themselves.

use std::io;

use landline::{
    lab::{Lifecycle, Report, Sticky},
    paths::Document,
};

use crate::{
    arguments::{Experiment, Lab, LabOptions},
    environment,
    failure::Failure,
    terminal,
};

pub(crate) fn run(lab: Lab) -> Result<(), Failure> {
    match lab.experiment {
        Experiment::Sticky(options) => show("landline-sticky.svg", &options, Sticky::run, Sticky::report),
        Experiment::Lifecycle(options) => show("landline-lifecycle.svg", &options, Lifecycle::run, Lifecycle::report),
    }
}

/// Measures, prints, and draws where it is asked to. Whether it can draw there is known before it measures.
fn show<Measured>(
    name: &str,
    options: &LabOptions,
    measure: impl FnOnce() -> io::Result<Measured>,
    report: impl FnOnce(&Measured, landline::lab::Language) -> Report,
) -> Result<(), Failure> {
    let language = options.lang.map_or_else(environment::language, Into::into);
    let picture = options.svg.as_deref().map(|path| Document::begin(path, name)).transpose()?;
    let measured = measure().map_err(|error| Failure::local(format!("the experiment failed: {error}")))?;
    let report = report(&measured, language);
    terminal::print(report.text().trim_end());
    if let Some(picture) = picture {
        let path = picture.path().display().to_string();
        picture.finish(report.picture.as_bytes())?;
        terminal::say(&path);
    }
    Ok(())
}
