//! `landline service`: the server under systemd.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline::paths::{is_root, local};

use crate::{
    arguments::{Service, ServiceInstall},
    environment,
    failure::Failure,
    terminal::print,
};

const SERVICE: &str = "landline.service";
const SOCKET: &str = "landline.socket";
const SYSTEM_FOLDER: &str = "/etc/systemd/system";

pub(crate) fn run(what: Service) -> Result<(), Failure> {
    match what {
        Service::Install(options) => install(&options),
        Service::Status { user } => {
            let manager = Manager::of(user)?;
            match manager.succeeds(&["status", "--no-pager", SERVICE, SOCKET], Stdio::inherit())? {
                true => Ok(()),
                false => Err(Failure::local("the service does not run")),
            }
        }
        Service::Remove { user } => remove(&Manager::of(user)?),
    }
}

fn install(options: &ServiceInstall) -> Result<(), Failure> {
    let run_as = match (options.user, &options.run_as) {
        (true, None) => None,
        (false, Some(name)) if name.chars().all(|it| it.is_ascii_alphanumeric() || "._-".contains(it)) => Some(name),
        (false, Some(_)) => return Err(Failure::usage("that cannot be the name of a user")),
        (true, Some(_)) => return Err(Failure::usage("a service of your own runs as you; leave out --run-as")),
        (false, None) => {
            return Err(Failure::usage(
                "say as which user the server is to run with --run-as NAME, or --user for a service of your own",
            ));
        }
    };
    let program = std::env::current_exe().map_err(|error| Failure::local(format!("this program's path: {error}")))?;
    let (service, socket) = (service_unit(&program, run_as.map(String::as_str))?, socket_unit(options.port));
    if options.print {
        print(&format!("# {SERVICE}\n{service}\n# {SOCKET}\n{socket}"));
        return Ok(());
    }
    let manager = Manager::of(options.user)?;
    for (name, unit) in [(SERVICE, service), (SOCKET, socket)] {
        let path = manager.folder.join(name);
        local::write(&path, unit.as_bytes()).map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
        print(&format!("wrote {}", path.display()));
    }
    manager.run(&["daemon-reload"])?;
    manager.run(&["enable", "--now", SOCKET, SERVICE])?;
    if options.user {
        print("it runs while you are logged in; loginctl enable-linger lets it run always");
    }
    print("the invite for the owner, if there is none yet, is in server/invite in the state folder (landline config)");
    Ok(())
}

fn remove(manager: &Manager) -> Result<(), Failure> {
    let files: Vec<PathBuf> = [SERVICE, SOCKET].iter().map(|name| manager.folder.join(name)).collect();
    if !files.iter().any(|path| local::is_there(path)) {
        return Err(Failure::local(format!("there is no {SERVICE} in {}", manager.folder.display())));
    }
    manager.run(&["disable", "--now", SOCKET, SERVICE])?;
    for path in files {
        local::remove(&path).map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
        print(&format!("removed {}", path.display()));
    }
    manager.run(&["daemon-reload"])?;
    print("accounts, keys and the audit log are left as they are");
    Ok(())
}

/// A systemd that answers: the system's or the user's own.
struct Manager {
    is_user: bool,
    folder: PathBuf,
}

impl Manager {
    fn of(is_user: bool) -> Result<Self, Failure> {
        let own = || environment::Environment::Own.config().map(|folder| folder.join("systemd/user"));
        let folder = match is_user {
            true => own().ok_or_else(|| Failure::local("HOME is not set"))?,
            false if is_root() => SYSTEM_FOLDER.into(),
            false => return Err(Failure::usage("a service of the system takes root; --user makes one of your own")),
        };
        let manager = Self { is_user, folder };
        if manager.succeeds(&["show-environment"], Stdio::null())? {
            return Ok(manager);
        }
        Err(Failure::local(
            "systemd does not run here, or does not answer; landline service install --print shows the units, and \
             landline serve needs none",
        ))
    }

    /// Runs systemctl, and says so.
    fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let scope = if self.is_user { " --user" } else { "" };
        let shown = format!("systemctl{scope} {}", arguments.join(" "));
        print(&shown);
        match self.succeeds(arguments, Stdio::inherit())? {
            true => Ok(()),
            false => Err(Failure::local(format!("{shown} failed; what it said stands above"))),
        }
    }

    fn succeeds(&self, arguments: &[&str], output: Stdio) -> Result<bool, Failure> {
        let mut command = Command::new("systemctl");
        command.args(self.is_user.then_some("--user")).args(arguments).stdin(Stdio::null());
        if arguments == ["show-environment"] {
            command.stderr(Stdio::null());
        }
        let status = command.stdout(output).status();
        Ok(status.map_err(|_| Failure::local("there is no systemctl here: this machine has no systemd"))?.success())
    }
}

/// The unit of the server, shut off from everything that it does not need. `run_as` is the user of a service of the system.
fn service_unit(program: &Path, run_as: Option<&str>) -> Result<String, Failure> {
    let program =
        program.to_str().filter(|path| !path.contains(['"', '\\', '%', '$']) && !path.contains(char::is_control));
    let program = program.ok_or_else(|| Failure::local("the path of this program cannot stand in a unit; move it"))?;
    let (own, target) = match run_as {
        Some(user) => (format!("User={user}\n{SYSTEM_HARDENING}"), "multi-user.target"),
        None => (String::new(), "default.target"),
    };
    Ok(format!(
        "[Unit]
Description=landline: one line to this machine
After=network.target {SOCKET}
Requires={SOCKET}

[Service]
Type=notify
ExecStart=\"{program}\" serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
# What the server has started outlives it.
KillMode=process
TimeoutStopSec=90
{own}NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy={target}
"
    ))
}

/// What only the system's manager can do.
const SYSTEM_HARDENING: &str = "\
CapabilityBoundingSet=
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=full
RestrictNamespaces=yes
SystemCallFilter=@system-service
";

fn socket_unit(port: u16) -> String {
    format!(
        "[Unit]
Description=landline's port

[Socket]
ListenStream={port}
Backlog=1024

[Install]
WantedBy=sockets.target
"
    )
}
