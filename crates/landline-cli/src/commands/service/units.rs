//! The text of the units.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use landline::proto::DEFAULT_PORT;

use super::{LAUNCHER_SOCKET, SOCKET};
use crate::{
    commands::serve::LAUNCHER_VARIABLE, failure::Failure, hidden::LAUNCHER,
    listen_address::ListenAddress, settings::Settings,
};

/// The service unit, which confines the server to what it needs.
///
/// `run_as` is the user of a system service. `state` is the state folder, unless it is the default.
pub(super) fn service(
    program: &Path,
    state: Option<&Path>,
    run_as: Option<&str>,
) -> Result<String, Failure> {
    let program = quoted(program, "this program")?;
    let state = match state {
        Some(folder) => format!(" --state {}", quoted(folder, "the state folder")?),
        None => String::new(),
    };
    let (own, target) = match run_as {
        Some(user) => (
            format!("User={user}\n{SYSTEM_HARDENING}"),
            "multi-user.target",
        ),
        None => (String::new(), "default.target"),
    };
    Ok(format!(
        "[Unit]
Description=landline: one line to this machine
After=network.target {SOCKET} {LAUNCHER_SOCKET}
Requires={SOCKET}
Wants={LAUNCHER_SOCKET}
# However often it fails: once what is wrong is mended, it serves.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program}{state} serve
Environment={LAUNCHER_VARIABLE}={LAUNCHER_PATH}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
# The server asks for more where drain is set to more.
TimeoutStopSec=90
# The content of transfers takes at most 256 MiB, and each transfer a thread.
MemoryMax=1G
TasksMax=4500
# A core dump would hold keys.
LimitCORE=0
# Files that users copy here are closed to others.
UMask=0027
{own}NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
# Else a call that was not foreseen would end the server.
SystemCallErrorNumber=EPERM

[Install]
WantedBy={target}
"
    ))
}

/// The service that starts commands for the server, without its restrictions. They outlive both.
///
/// `run_as` is the user of a system service.
pub(super) fn launcher(program: &Path, run_as: Option<&str>) -> Result<String, Failure> {
    let program = quoted(program, "this program")?;
    let user = run_as.map(|user| format!("User={user}\n"));
    let user = user.unwrap_or_default();
    Ok(format!(
        "[Unit]
Description=landline: starts commands
After={LAUNCHER_SOCKET}
Requires={LAUNCHER_SOCKET}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} {LAUNCHER}
{user}# Commands run on when this service stops, or one of them takes too much memory.
KillMode=process
OOMPolicy=continue
TasksMax=infinity
Delegate=yes
"
    ))
}

/// The socket on which the launcher listens, for the user of the server alone.
pub(super) fn launcher_socket(run_as: Option<&str>) -> String {
    let user = run_as.map(|user| format!("SocketUser={user}\n"));
    let user = user.unwrap_or_default();
    format!(
        "[Unit]
Description=landline: the socket to start commands

[Socket]
ListenStream={LAUNCHER_PATH}
{user}SocketMode=0600

[Install]
WantedBy=sockets.target
"
    )
}

/// The socket of the launcher: in /run, or the folder of the user in /run/user.
const LAUNCHER_PATH: &str = "%t/landline/launcher";

/// Restrictions that only the system's manager can apply.
const SYSTEM_HARDENING: &str = "\
CapabilityBoundingSet=
PrivateDevices=yes
# /tmp and /var/tmp are its own, and /usr, /boot, /efi and /etc are read-only, whatever the rights say.
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=full
";

/// The socket unit, which also listens while the server is down.
pub(super) fn socket(stream: &str) -> String {
    // FreeBind allows an address that the machine gets later, for example by DHCP.
    let later = match stream.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_unspecified() && !address.ip().is_loopback() => {
            "FreeBind=yes\n"
        }
        _ => "",
    };
    format!(
        "[Unit]
Description=landline's port

[Socket]
ListenStream={stream}
{later}Backlog=1024

[Install]
WantedBy=sockets.target
"
    )
}

/// The address for systemd to listen on: that of the settings, else this port on all addresses.
pub(super) fn stream(settings: &Settings, port: Option<u16>) -> Result<String, Failure> {
    let Some(asked) = &settings.listen else {
        return Ok(port.unwrap_or(DEFAULT_PORT).to_string());
    };
    let origin = settings.origin("listen");
    let is_literal = match asked {
        ListenAddress::All(_) => true,
        ListenAddress::One(address) => address.host.parse::<IpAddr>().is_ok(),
    };
    if port.is_some_and(|port| port != asked.port()) {
        return Err(Failure::settings(format!(
            "--port {} does not agree with listen = {asked} ({origin}); leave one of them out",
            port.unwrap_or_default()
        )));
    }
    if asked.port() == 0 || !is_literal {
        return Err(Failure::settings(format!(
            "listen = {asked} ({origin}): systemd listens on an address and a port, such as 127.0.0.1:{DEFAULT_PORT}; names and \
             port 0 are for landline serve alone"
        )));
    }
    Ok(match asked {
        ListenAddress::All(port) => port.to_string(),
        ListenAddress::One(address) => address.to_string(),
    })
}

/// Quotes a path for a unit.
fn quoted(path: &Path, what: &str) -> Result<String, Failure> {
    let text = path
        .to_str()
        .filter(|path| !path.contains(['"', '\\', '%', '$']) && !path.contains(char::is_control));
    let wrong = || {
        Failure::local(format!(
            "a unit cannot contain the path of {what}: {path:?}"
        ))
    };
    text.map(|path| format!("\"{path}\"")).ok_or_else(wrong)
}
