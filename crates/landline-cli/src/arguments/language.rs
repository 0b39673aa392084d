//! The language of the commands for courses.

use clap::{Args, ValueEnum};
use landline_lab::Language;

use crate::environment::Environment;

#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct LanguageOption {
    /// Language [default: zh in a Chinese locale, else en]
    #[arg(long, value_name = "LANG", global = true, display_order = 890)]
    lang: Option<LanguageName>,
}

/// The name of a language.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LanguageName {
    /// English
    En,
    /// Chinese
    Zh,
}

impl LanguageOption {
    /// The language of the option, else of the locale.
    pub(crate) fn choose(self, environment: &Environment) -> Language {
        match self.lang {
            Some(LanguageName::En) => Language::English,
            Some(LanguageName::Zh) => Language::Chinese,
            None => environment.language(),
        }
    }
}
