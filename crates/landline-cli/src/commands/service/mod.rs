//! `landline service`: the server under systemd.

mod systemd;
mod transaction;
mod units;
mod user;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use landline::paths::local;

use crate::{
    arguments::{Service, ServiceInstall},
    environment,
    failure::Failure,
    settings::{self, Settings},
    terminal::{print, say, shown_line},
};
use systemd::{Systemd, lingers};
use transaction::Transaction;
use user::ServiceUser;

const SERVICE: &str = "landline.service";
const SOCKET: &str = "landline.socket";
/// Where the owner's invite is, within the state folder.
const INVITE_FILE: &str = "server/invite";

pub(crate) fn run(state: Option<PathBuf>, what: Service) -> Result<(), Failure> {
    match what {
        Service::Install(options) => install(state, &options),
        Service::Status { user } => {
            match Systemd::of(user)?.shows(&["status", "--no-pager", SERVICE, SOCKET])? {
                true => Ok(()),
                false => Err(Failure::local("the service does not run")),
            }
        }
        Service::Remove { user } => remove(&Systemd::to_change(user)?),
    }
}

fn install(state: Option<PathBuf>, options: &ServiceInstall) -> Result<(), Failure> {
    let runner = ServiceUser::of(options)?;
    let systemd = match options.print {
        true => Systemd::of(options.user).ok(),
        false => Some(Systemd::to_change(options.user)?),
    };
    let variables = systemd
        .as_ref()
        .map_or_else(own_folders, |systemd| systemd.variables().clone());
    let settings = runner.settings(variables, state.clone())?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::local(format!("this program's path: {error}")))?;
    let stream = units::stream(&settings, options.port)?;
    let own_state = state.is_some().then_some(settings.state.as_path());
    let service = units::service(&program, own_state, runner.name.as_deref())?;
    let texts = [(SERVICE, service), (SOCKET, units::socket(&stream))];
    let Some(systemd) = systemd.filter(|_| !options.print) else {
        let [service, socket] = texts.map(|(name, text)| format!("# {name}\n{text}"));
        print(&format!("{service}\n{socket}"));
        return Ok(());
    };
    runner.check(&program, &settings)?;
    let change = Transaction::of(&systemd, texts)?;
    if let Err(failure) = change.prepare() {
        return Err(failure.with_advice(&change.undo()));
    }
    if change.start().is_err() {
        let (why, advice) = why(&systemd, &runner, &stream);
        let undone = change.undo();
        let failure = Failure::local(format!("the service does not come up: {why}"));
        return Err(failure.with_advice(&format!("{undone}; {advice}")));
    }
    report(&runner, &program, &settings, &stream, state.is_some());
    Ok(())
}

/// The folders that are known here, for whoever only looks where no systemd answers.
fn own_folders() -> BTreeMap<String, String> {
    let names = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"];
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), environment::variable(name)?)))
        .collect()
}

/// Shows the journal, and says why the service has failed and what to do about it. What a server
/// has to say it tells systemd.
fn why(systemd: &Systemd, runner: &ServiceUser, stream: &str) -> (String, String) {
    let show_journal = |unit| {
        systemd
            .journal(unit)
            .iter()
            .for_each(|line| say(&format!("  {}", shown_line(line))))
    };
    let result = systemd.property(SOCKET, "Result");
    if result != "success" {
        show_journal(SOCKET);
        let why = format!("systemd cannot listen on {stream} ({result})");
        return (
            why,
            "does another program listen there (ss -ltnp)? --port takes another one".to_owned(),
        );
    }
    let said = systemd.property(SERVICE, "StatusText");
    let status = systemd.property(SERVICE, "ExecMainStatus");
    show_journal(SERVICE);
    let why = match said.strip_prefix("landline: ") {
        Some(said) => said.to_owned(),
        None => format!("{}, status {status}", systemd.property(SERVICE, "Result")),
    };
    let name = runner.name.as_deref().unwrap_or("you");
    let advice = match status.as_str() {
        "203" => format!(
            "can {name} run this program? Put it where everybody can, such as in /usr/local/bin"
        ),
        "31" => format!(
            "the state folder has to be one that {name} can make, or has alone (mode 700), and no other server may use it"
        ),
        _ => "mend that, and install it again".to_owned(),
    };
    (why, advice)
}

/// Says what runs now, and how to go on.
fn report(
    runner: &ServiceUser,
    program: &Path,
    settings: &Settings,
    stream: &str,
    has_own_state: bool,
) {
    match settings.listen {
        Some(_) => print(&format!(
            "listening on {stream} ({})",
            settings.origin("listen")
        )),
        None => print(&format!("listening on port {stream} of all addresses")),
    }
    print(&format!("state folder {}", settings.state.display()));
    let invite = settings.state.join(INVITE_FILE);
    if local::is_there(&invite) {
        print(&format!(
            "invite for the owner, good once and for 24 hours, in {}",
            invite.display()
        ));
    }
    // A shell may know another folder than the user's systemd does.
    let is_elsewhere = || settings::server_state(None).is_ok_and(|state| state != settings.state);
    let command = runner.command(
        program,
        settings,
        has_own_state || runner.name.is_none() && is_elsewhere(),
    );
    print(&format!("who may log in: {command}"));
    match (&runner.name, lingers()) {
        (None, false) => {
            print("it runs while you are logged in; loginctl enable-linger lets it run always")
        }
        _ => print("it starts with this machine"),
    }
}

fn remove(systemd: &Systemd) -> Result<(), Failure> {
    let folder = systemd.folder()?;
    let files = [SERVICE, SOCKET].map(|name| folder.join(name));
    if !files.iter().any(|path| local::is_there(path)) {
        return Err(Failure::local(format!(
            "there is no {SERVICE} in {}",
            folder.display()
        )));
    }
    systemd.run(&["disable", "--now", SOCKET, SERVICE])?;
    for path in files {
        local::remove(&path)
            .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
        print(&format!("removed {}", path.display()));
    }
    // One that has failed would be remembered, without its file. It is no matter if there is none.
    systemd.answer(&["reset-failed", SOCKET, SERVICE])?;
    systemd.run(&["daemon-reload"])?;
    print("accounts, keys and the audit log are left as they are");
    Ok(())
}
