//! `landline config`: prints the settings that `serve` would have, and their sources.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    settings::ServeSettings,
    terminal::shown_line,
};

/// Print the server's settings and where each comes from
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline config --listen 127.0.0.1:5263")]
pub(crate) struct Config {
    #[command(flatten)]
    settings: ServeSettings,
}

impl Run for Config {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let settings = context.server_settings(&self.settings)?;
        if context.json {
            let each = settings.rows().into_iter();
            let all: Map<_, _> = each
                .map(|(name, value, from)| {
                    (name.to_owned(), json!({ "value": value, "from": from }))
                })
                .collect();
            context.out.print_json(&Value::Object(all));
            return Ok(ExitStatus::SUCCESS);
        }
        for (name, value, from) in settings.rows() {
            let value = match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text,
                value => value.to_string(),
            };
            context
                .out
                .print(&shown_line(&format!("{name:<18} {value:<40} {from}")));
        }
        if settings.file.is_none() {
            context.out.print(
                "no file: neither --config, nor landline/server.toml in $XDG_CONFIG_HOME or ~/.config, nor in /etc",
            );
        }
        Ok(ExitStatus::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::TestContext;

    #[tokio::test]
    async fn config_prints_values_and_sources() {
        let mut test = TestContext::new()
            .with_variable("HOME", "/home/alice")
            .with_variable("LANDLINE_DRAIN", "7");
        let config = Config {
            settings: ServeSettings {
                listen: Some("127.0.0.1:1".to_owned()),
                ..ServeSettings::default()
            },
        };
        test.context.json = true;
        let status = config.run(&test.context).await.unwrap();
        assert_eq!(status, ExitStatus::SUCCESS);
        let printed: Value = serde_json::from_str(&test.out()).unwrap();
        for (name, value, from) in [
            ("listen", json!("127.0.0.1:1"), "--listen"),
            ("drain", json!(7), "LANDLINE_DRAIN"),
            ("home", json!("/home/alice"), "default"),
            (
                "state",
                json!("/home/alice/.local/state/landline"),
                "default",
            ),
        ] {
            assert_eq!(
                printed[name],
                json!({"value": value, "from": from}),
                "{name}"
            );
        }
        assert_eq!(test.err(), "");
    }

    #[tokio::test]
    async fn config_without_home_fails_and_prints_nothing() {
        let test = TestContext::new();
        let config = Config {
            settings: ServeSettings::default(),
        };
        assert_eq!(config.run(&test.context).await.unwrap_err().status, 1);
        assert_eq!(test.out(), "");
    }
}
