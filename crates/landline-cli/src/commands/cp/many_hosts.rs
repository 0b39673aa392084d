//! `landline cp FILE nas,web[1-20]:`: one copy to many hosts at the same time.

use std::sync::Arc;

use landline::net::{Location, Target};
use serde_json::json;
use tokio::{sync::oneshot, task::LocalSet};

use super::{Cp, SharedParts, SharedSources, progress::ProgressView};
use crate::{
    arguments::{HostsPath, TypedLocation},
    context::{Context, ExitStatus},
    failure::Failure,
    many_hosts::{JOBS, Outcome, Stopped, read_hosts, run_all},
    prompter::NoPrompter,
};

/// What all hosts have in common.
struct CopyToMany {
    options: Cp,
    context: Context,
    view: ProgressView,
    shared: SharedParts,
    sources: Vec<TypedLocation>,
    path: Vec<u8>,
}

/// Copies to all hosts. The status is the highest one.
///
/// # Errors
/// The command line is wrong. A host that fails is no error here.
pub(super) async fn copy(
    options: Cp,
    context: &Context,
    sources: Vec<TypedLocation>,
    destination: HostsPath,
) -> Result<ExitStatus, Failure> {
    check(&options, &sources)?;
    let hosts = read_hosts(context, &[destination.hosts], None)?;
    let context = Context {
        prompter: Arc::new(NoPrompter),
        ..context.clone()
    };
    let view = ProgressView::new(&context, options.quiet, &context.out);
    let work = Arc::new(CopyToMany {
        shared: options.shared_parts(&context, Some(SharedSources::default()))?,
        options,
        context,
        view: view.clone(),
        sources,
        path: destination.path,
    });
    let running = run_all(hosts, JOBS, |name, target, stopped| {
        let work = work.clone();
        async move { work.copy_to(&name, target, stopped).await }
    });
    let summary = LocalSet::new().run_until(running).await?;
    view.print_event(&json!({
        "event": "summary", "hosts": summary.hosts, "succeeded": summary.succeeded,
    }));
    view.remark(&format!("landline: {}", summary.text()));
    Ok(summary.status(Failure::interrupted().status))
}

/// Refuses what only one host can have.
fn check(options: &Cp, sources: &[TypedLocation]) -> Result<(), Failure> {
    let is_stream = |path: &TypedLocation| path.location == Location::Stream;
    if options.from_command || sources.iter().any(is_stream) {
        let failure = Failure::usage("a pipe cannot be read for many hosts");
        return Err(failure.with_advice("store it in a file and copy that"));
    }
    if options.access.password.password_fd.is_some() {
        return Err(Failure::usage(
            "--password-fd can be read for one host only; use --password-file",
        ));
    }
    Ok(())
}

impl CopyToMany {
    /// Copies to one host, and prints all about it.
    async fn copy_to(&self, name: &str, target: Target, mut stopped: Stopped) -> Outcome {
        let view = self.view.of_host(name);
        let path = String::from_utf8_lossy(&self.path);
        let destination = TypedLocation {
            text: format!("{name}:{path}"),
            location: Location::Remote {
                target,
                path: self.path.clone(),
            },
        };
        let mut paths = self.sources.clone();
        paths.push(destination);
        let mut stopped_early = stopped.clone();
        let (begin, begun) = oneshot::channel();
        let stop = || {
            let _ = begin.send(());
            Ok(async move {
                let _ = stopped.wait_for(Option::is_some).await;
            })
        };
        let copying = self
            .options
            .copy_with(&self.context, paths, &view, &self.shared, stop);
        // Until the host is found, nothing has to be told to it.
        let stopped_before_copy = async {
            tokio::select! {
                biased;
                Ok(()) = begun => std::future::pending().await,
                _ = stopped_early.wait_for(Option::is_some) => {}
            }
        };
        tokio::select! {
            biased;
            done = copying => match done {
                Ok(()) => Outcome::Ended(0),
                Err(failure) if failure.code == "interrupted" => Outcome::Stopped,
                Err(failure) => {
                    view.print_failure(&self.context, &failure);
                    Outcome::Ended(failure.status)
                }
            },
            () = stopped_before_copy => Outcome::Stopped,
        }
    }
}
