//! The lab, as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use landline_lab::Language;

#[derive(Debug, Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) experiment: Experiment,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Experiment {
    /// What was sent and what each receive returned: TCP with and without Nagle's algorithm, framed
    /// TCP, UDP
    Sticky(LabOptions),
    /// Inline, threads, processes and tasks under the same load: latency, throughput, memory, and
    /// what blocked handlers do to others
    Models(LabOptions),
    /// A connection's states from SYN to TIME_WAIT, which call blocks until what, SO_REUSEADDR, a
    /// full backlog
    Lifecycle(LabOptions),
}

#[derive(Debug, Args)]
pub(crate) struct LabOptions {
    /// Draw a picture too, into this file or folder
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// In which language [default: Chinese where the locale is, else English]
    #[arg(long, value_name = "LANG")]
    pub(crate) lang: Option<ReportLanguage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReportLanguage {
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
