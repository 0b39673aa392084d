//! `landline config`: what `serve` would be told, and by whom.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::{
    arguments::Config,
    failure::Failure,
    settings::Settings,
    terminal::{print, print_json, shown_line},
};

pub(crate) fn run(state: Option<PathBuf>, options: &Config) -> Result<(), Failure> {
    let settings = Settings::read(state, &options.settings)?;
    if options.json {
        let each = settings.shown().into_iter();
        let all: Map<_, _> = each
            .map(|(name, value, from)| (name.to_owned(), json!({ "value": value, "from": from })))
            .collect();
        print_json(&Value::Object(all));
        return Ok(());
    }
    for (name, value, from) in settings.shown() {
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text,
            value => value.to_string(),
        };
        print(&shown_line(&format!("{name:<15} {value:<40} {from}")));
    }
    if settings.file.is_none() {
        print(
            "no file: neither --config, nor landline/server.toml in $XDG_CONFIG_HOME or ~/.config, nor in /etc",
        );
    }
    Ok(())
}
