//! `landline service`: runs the server under systemd.

mod systemd;
mod transaction;
mod units;
mod user;

use std::{collections::BTreeMap, path::Path};

use clap::{Args, Subcommand};
use landline::{paths::local, proto::DEFAULT_PORT};
use systemd::{Systemd, lingers};
use transaction::Transaction;
use user::ServiceUser;

use crate::{
    context::{Context, ExitStatus, Run},
    environment::Environment,
    failure::Failure,
    listen_address::ListenAddress,
    settings::{ServeSettings, Settings},
    terminal::shown_line,
};

const SERVICE: &str = "landline.service";
const SOCKET: &str = "landline.socket";
/// What starts commands for the server.
const LAUNCHER: &str = "landline-launcher.service";
const LAUNCHER_SOCKET: &str = "landline-launcher.socket";
/// The file with the owner's invite, in the state folder.
const INVITE_FILE: &str = "server/invite";

/// Run the server as a systemd service
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline service install --user")]
pub(crate) struct Service {
    #[command(subcommand)]
    action: ServiceAction,
}

#[derive(Debug, Subcommand)]
enum ServiceAction {
    /// Install and start the service, or change its settings
    ///
    /// If the service does not start, the earlier one is restored.
    Install(ServiceInstall),
    /// Show the status of the service
    Status {
        /// Your own service instead of the system's
        #[arg(long)]
        user: bool,
    },
    /// Stop and remove the service
    ///
    /// Accounts, keys and the audit log stay.
    Remove {
        /// Your own service instead of the system's
        #[arg(long)]
        user: bool,
    },
}

#[derive(Debug, Args)]
struct ServiceInstall {
    /// Install a service of your own, which does not need root
    #[arg(long)]
    user: bool,
    /// User that the system's service runs as
    #[arg(long, value_name = "NAME")]
    run_as: Option<String>,
    /// Port to listen on [default: as server.toml says, else 5263]
    ///
    /// The service listens on this port on all addresses.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Print the units, and install nothing
    #[arg(long)]
    print: bool,
}

impl Run for Service {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.action {
            ServiceAction::Install(options) => install(context, &options)?,
            ServiceAction::Status { user } => {
                let systemd = Systemd::connect(context, user)?;
                if !systemd.succeeds(&["status", "--no-pager", SERVICE, SOCKET, LAUNCHER_SOCKET])? {
                    return Err(Failure::new("not-running", "the service does not run"));
                }
            }
            ServiceAction::Remove { user } => {
                remove(context, &Systemd::connect_to_change(context, user)?)?;
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

fn install(context: &Context, options: &ServiceInstall) -> Result<(), Failure> {
    let user = ServiceUser::new(options)?;
    let systemd = if options.print {
        Systemd::connect(context, options.user).ok()
    } else {
        Some(Systemd::connect_to_change(context, options.user)?)
    };
    let variables = systemd.as_ref().map_or_else(
        || own_folders(&context.environment),
        |systemd| systemd.variables().clone(),
    );
    let settings = user.read_settings(context, variables)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::local(format!("this program's path: {error}")))?;
    let stream = units::stream(&settings, options.port)?;
    let has_own_state = context.state.is_some();
    let own_state = has_own_state.then_some(settings.state.as_path());
    let texts = unit_texts(&program, own_state, user.name.as_deref(), &stream)?;
    let Some(systemd) = systemd.filter(|_| !options.print) else {
        let texts = texts.map(|(name, text)| format!("# {name}\n{text}"));
        context.out.print(&texts.join("\n"));
        return Ok(());
    };
    user.check(&program, &settings)?;
    let transaction = Transaction::new(context, &systemd, texts)?;
    if let Err(failure) = transaction.prepare() {
        return Err(failure.with_advice(&transaction.roll_back()));
    }
    if transaction.start().is_err() {
        let (why, advice) = diagnose(context, &systemd, &user, &stream);
        let undone = transaction.roll_back();
        let failure = Failure::new(
            "service-failed",
            format!("the service does not start: {why}"),
        );
        return Err(failure.with_advice(&format!("{undone}; {advice}")));
    }
    report(context, &user, &program, &settings, &stream);
    Ok(())
}

/// The units of a package, by name: the system's service, as the user `landline`.
pub(crate) fn package_units() -> Result<UnitTexts, Failure> {
    let program = Path::new("/usr/bin/landline");
    unit_texts(program, None, Some("landline"), &DEFAULT_PORT.to_string())
}

/// The texts of the units, by name.
type UnitTexts = [(&'static str, String); 4];

fn unit_texts(
    program: &Path,
    own_state: Option<&Path>,
    run_as: Option<&str>,
    stream: &str,
) -> Result<UnitTexts, Failure> {
    Ok([
        (SERVICE, units::service(program, own_state, run_as)?),
        (SOCKET, units::socket(stream)),
        (LAUNCHER, units::launcher(program, run_as)?),
        (LAUNCHER_SOCKET, units::launcher_socket(run_as)),
    ])
}

/// The folders of this process, for `--print` on a machine whose systemd does not answer.
fn own_folders(environment: &Environment) -> BTreeMap<String, String> {
    let names = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"];
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), environment.variable(name)?)))
        .collect()
}

/// Prints the journal, and returns why the service failed and what to do about it.
fn diagnose(
    context: &Context,
    systemd: &Systemd,
    user: &ServiceUser,
    stream: &str,
) -> (String, String) {
    let print_journal = |unit| {
        for line in systemd.read_journal(unit) {
            context.err.print(&format!("  {}", shown_line(&line)));
        }
    };
    let result = systemd.read_property(SOCKET, "Result");
    if result != "success" {
        print_journal(SOCKET);
        let why = format!("systemd cannot listen on {stream} ({result})");
        return (
            why,
            "stop the program that listens there (ss -ltnp), or choose another port with --port"
                .to_owned(),
        );
    }
    let result = systemd.read_property(LAUNCHER_SOCKET, "Result");
    if result != "success" {
        print_journal(LAUNCHER_SOCKET);
        let why = format!("{LAUNCHER_SOCKET} does not start ({result})");
        return (why, format!("look at systemctl status {LAUNCHER_SOCKET}"));
    }
    // The server reports its failure to systemd.
    let said = systemd.read_property(SERVICE, "StatusText");
    let status = systemd.read_property(SERVICE, "ExecMainStatus");
    print_journal(SERVICE);
    let why = if said.is_empty() {
        format!(
            "{}, status {status}",
            systemd.read_property(SERVICE, "Result")
        )
    } else {
        said
    };
    let name = user.name.as_deref().unwrap_or("you");
    let advice = match status.as_str() {
        "203" => {
            format!("move this program to a folder where {name} can run it, such as /usr/local/bin")
        }
        "31" => format!(
            "check that {name} can create the state folder or owns it with mode 700, and that no other server uses it"
        ),
        _ => "correct that, and install the service again".to_owned(),
    };
    (why, advice)
}

/// Prints what runs now, and what to do next.
fn report(
    context: &Context,
    user: &ServiceUser,
    program: &Path,
    settings: &Settings,
    stream: &str,
) {
    let print = |text: &str| context.out.print(text);
    match &settings.listen {
        Some(ListenAddress::One(_)) => print(&format!(
            "listening on {stream} ({})",
            settings.origin("listen")
        )),
        _ => print(&format!("listening on port {stream} on all addresses")),
    }
    print(&format!("state folder {}", settings.state.display()));
    let invite = settings.state.join(INVITE_FILE);
    if local::exists(&invite) {
        print(&format!(
            "invite for the owner, valid once within 24 hours, in {}",
            invite.display()
        ));
    }
    // The user's shell may have other variables than the user's systemd.
    let is_elsewhere = || {
        Settings::read(&context.environment, None, &ServeSettings::default())
            .is_ok_and(|own| own.state != settings.state)
    };
    let needs_state = context.state.is_some() || user.name.is_none() && is_elsewhere();
    let command = user.list_command(program, settings, needs_state);
    print(&format!("to list the users: {command}"));
    match (&user.name, lingers()) {
        (None, false) => print(
            "the service runs only while you are logged in; loginctl enable-linger keeps it running",
        ),
        _ => print("the service starts with this machine"),
    }
}

fn remove(context: &Context, systemd: &Systemd) -> Result<(), Failure> {
    let folder = systemd.unit_folder()?;
    let names = [SOCKET, SERVICE, LAUNCHER_SOCKET, LAUNCHER];
    let installed: Vec<&str> = names
        .into_iter()
        .filter(|name| local::exists(&folder.join(name)))
        .collect();
    if installed.is_empty() {
        let what = format!("there is no {SERVICE} in {}", folder.display());
        return Err(Failure::new("not-installed", what));
    }
    systemd.run(&[&["disable", "--now"], installed.as_slice()].concat())?;
    for path in installed.iter().map(|name| folder.join(name)) {
        local::remove(&path)
            .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
        context.out.print(&format!("removed {}", path.display()));
    }
    // systemd remembers a failed unit even without its file. If there is none, that is fine.
    systemd.query(&[&["reset-failed"], names.as_slice()].concat())?;
    systemd.run(&["daemon-reload"])?;
    context
        .out
        .print("accounts, keys and the audit log were kept, and commands run on");
    Ok(())
}
