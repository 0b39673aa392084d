//! `landline run --detach`: starts a job that runs by itself.

use landline::{
    exec::{Command, DetachedJob, JobOptions},
    net::Target,
};
use serde_json::json;

use super::{RunCommand, SshSettings};
use crate::{
    connect,
    context::{Context, ExitStatus},
    failure::Failure,
};

impl RunCommand {
    /// Starts the job and prints its id.
    pub(super) async fn detach_at_server(
        mut self,
        context: &Context,
        target: &Target,
        settings: &SshSettings,
        mut command: Command,
    ) -> Result<ExitStatus, Failure> {
        let asking = self.prepare_login(context, settings);
        let client = context.client()?;
        let terminal = self.terminal(context, settings, &mut command);
        let first = command.first_detached_request(&JobOptions {
            terminal,
            timeout: self.timeout_seconds(),
            name: self.id.clone(),
            ..JobOptions::default()
        })?;
        let mut channel =
            connect::open_channel(&asking, &client, target, &self.access, &first).await?;
        let started = DetachedJob::receive(&mut channel).await?;
        channel.finish().await;
        if context.json {
            context.out.print_json(&json!({
                "event": "started", "job": started.job, "name": self.id,
                "existing": started.existing,
            }));
        } else {
            context.out.print(&started.job);
            if started.existing {
                let note =
                    "a job of this name with this command already exists; nothing was started";
                context.err.print(note);
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}
