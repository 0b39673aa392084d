//! `landline bootstrap`: installs landline on a machine over ssh, starts its server and joins it.

mod arguments;
mod remote_host;
mod ssh_shell;

use std::{path::Path, sync::Arc};

pub(crate) use arguments::Bootstrap;
use data_encoding::HEXLOWER;
use landline::{
    Client, Error, Side,
    client::{JoinOptions, Routes},
    keys::UserKey,
    login::Invite,
    net::{HostPort, Target},
    paths::local,
    proto::{ErrorCode, login::UserName},
    ssh_config::ProxyJump,
};
use remote_host::{Manager, RemoteHost};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use ssh_shell::{Answers, Remote};
use zeroize::Zeroizing;

use crate::{
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    registration,
    terminal::{bytes, shown_line},
};

const COPY: &str = include_str!("copy.sh");
const START: &str = include_str!("start.sh");
/// The longest program that is copied, in bytes.
const PROGRAM_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The advice for a machine that this program was not built for.
const BINARY: &str = "build landline for that machine, and name it with --binary FILE";

/// What to do about an address there that cannot be listened on.
const LISTEN: &str =
    "another program may listen there; run this again with --port N to take another port";

impl Run for Bootstrap {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        run(context, self).await.map(|()| ExitStatus::SUCCESS)
    }
}

async fn run(context: &Context, options: Bootstrap) -> Result<(), Failure> {
    let way = &options.host;
    let remote =
        Remote::new(way, &context.err).ok_or_else(|| Failure::usage("a host is needed"))?;
    // Report what is wrong on this machine before connecting to the other one.
    let user = match &options.user {
        Some(user) => user.clone(),
        None => context.environment.user("--as NAME")?,
    };
    let client = context.client()?;
    let key =
        registration::choose_key(context, &client, options.identity.as_deref(), &remote.name)?;
    let program = Program::read(options.binary.as_deref())?;

    step(&remote, "checking the machine");
    let host = RemoteHost::probe(&remote, options.run_as.as_deref()).await?;
    step(&remote, &host.to_string());
    let manager = host.manager(options.run_as.as_deref())?;
    let is_new = install(&remote, &host, &program, options.binary.is_some()).await?;
    let started = start(&remote, &options, manager, is_new, &user).await?;
    let (invite, is_fresh) = read_invite(&started)?;
    if context.json {
        context.out.print_json(&json!({
            "copied": is_new, "server": started.one("server"), "new_account": is_fresh,
        }));
    }
    drop(started);

    step(&remote, &format!("joining as {user}"));
    join(context, &client, &options, &invite, &user, key).await?;
    if is_fresh {
        step(
            &remote,
            &format!(
                "{user} has no rights yet; grant some in server/rights.toml in the state folder of that machine"
            ),
        );
    }
    Ok(())
}

/// The first bytes of programs: ELF, and Mach-O for one or several platforms.
///
/// A shell would execute any other file itself.
const MAGIC: [&[u8]; 3] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];

/// The program to install.
struct Program {
    bytes: Vec<u8>,
    digest: String,
}

impl Program {
    /// Reads the program from `file`, else this program itself.
    fn read(file: Option<&Path>) -> Result<Self, Failure> {
        let own = || {
            std::env::current_exe()
                .map_err(|error| Failure::local(format!("this program's path: {error}")))
        };
        let path = match file {
            Some(path) => path.to_owned(),
            None => own()?,
        };
        let bytes = local::read(&path, PROGRAM_BYTES_MAX)
            .map_err(|error| Error::io(path.display(), &error))?;
        if !MAGIC.iter().any(|magic| bytes.starts_with(magic)) {
            return Err(Failure::usage(format!(
                "{} is not a program",
                path.display()
            )));
        }
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(Self { bytes, digest })
    }
}

/// Installs the program unless the same one is installed. Returns whether it did.
async fn install(
    remote: &Remote,
    host: &RemoteHost,
    program: &Program,
    is_meant_for_it: bool,
) -> Result<bool, Failure> {
    if host.digest.as_ref() == Some(&program.digest) {
        step(remote, &format!("{} is up to date", host.place));
        return Ok(false);
    }
    if !is_meant_for_it && !host.is_like_this_machine() {
        let what = format!(
            "{} is {}, but this program was built for {}",
            remote.name,
            host.platform(),
            remote_host::own_platform()
        );
        return Err(Failure::new("platform", what).with_advice(BINARY));
    }
    step(
        remote,
        &format!(
            "copying {} to {}",
            bytes(program.bytes.len() as u64),
            host.place
        ),
    );
    let size = program.bytes.len().to_string();
    let copied = remote
        .run(COPY, &[&size, &program.digest], &program.bytes)
        .await?;
    step(remote, &format!("installed {}", copied.shown("version")));
    Ok(true)
}

/// Starts the server, or restarts it for a new program. The answers contain an invite.
async fn start(
    remote: &Remote,
    options: &Bootstrap,
    manager: Manager,
    is_new: bool,
    user: &UserName,
) -> Result<Answers, Failure> {
    step(remote, &format!("starting the server {manager}"));
    let is_new = if is_new { "yes" } else { "no" };
    let port = options
        .port
        .map(|port| port.to_string())
        .unwrap_or_default();
    let run_as = options.run_as.as_deref().unwrap_or_default();
    let started = remote
        .run(
            START,
            &[manager.word(), is_new, &port, user.as_str(), run_as],
            &[],
        )
        .await?;
    let log = started.shown("log");
    let how = match started.one("server").unwrap_or_default() {
        "service" if started.one("linger").is_some() => {
            "the server runs only while you are logged in there, because loginctl enable-linger was refused".into()
        }
        "service" => "the server runs, and starts with the machine".to_owned(),
        "running" => format!("the server already runs; it does not survive a reboot (log: {log})"),
        "other" => "another server already runs there and was left alone; restart it yourself to run the new program"
            .to_owned(),
        _ => format!("the server runs in the background; it will NOT survive a reboot. Run the same command again to start it (log: {log})"),
    };
    step(remote, &how);
    Ok(started)
}

/// Reads the invite from the answers: the owner's, or one that `landline user invite` has made.
///
/// Also returns whether it is for a new account, which has no rights yet.
fn read_invite(started: &Answers) -> Result<(Invite, bool), Failure> {
    #[derive(Deserialize)]
    struct Made {
        invite: String,
        purpose: String,
    }
    let Some(made) = started.one("made") else {
        let owners = started.one("invite").unwrap_or_default();
        return Ok((owners.parse()?, false));
    };
    let made: Made = serde_json::from_str(made).map_err(|error| {
        Failure::new("no-invite", format!("the invite cannot be read: {error}"))
    })?;
    let invite = Zeroizing::new(made.invite).parse()?;
    Ok((invite, made.purpose == "account"))
}

/// Redeems the invite directly, or through ssh if the server cannot be reached.
///
/// The jump host is then saved.
async fn join(
    context: &Context,
    client: &Client,
    options: &Bootstrap,
    invite: &Invite,
    user: &UserName,
    key: Arc<UserKey>,
) -> Result<(), Failure> {
    let way = &options.host;
    let ([.., last], Some(port)) = (
        &way.hops[..],
        invite.addresses.first().map(|address| address.port),
    ) else {
        return Err(Failure::usage("a host is needed"));
    };
    let at = |host: &str| {
        let addresses = vec![HostPort {
            host: host.to_owned(),
            port,
        }];
        Invite {
            addresses,
            ..invite.clone()
        }
    };
    let redeem = async |invite: &Invite, routes: Routes| {
        let join_options = JoinOptions {
            name: options.name.clone(),
            replace: options.replace,
            routes,
        };
        let (server, connected) = client
            .join(invite, user.clone(), key.clone(), &join_options)
            .await?;
        connected.login.channel.finish().await;
        Ok::<_, Error>(server)
    };
    let joined = match direct(context, last.host.as_str(), way)? {
        Some((host, ways)) => match redeem(&at(&host), ways).await {
            Err(error) if is_connection_failure(&error) => {
                context.err.print(&shown_line(&format!(
                    "{}: {error}; connecting through ssh",
                    last.host
                )));
                None
            }
            other => Some(other),
        },
        None => None,
    };
    let joined = match joined {
        Some(joined) => joined,
        None => {
            redeem(
                &at(&last.host),
                Routes {
                    explicit: Some(way.clone()),
                    from_ssh_config: Vec::new(),
                },
            )
            .await
        }
    };
    let server =
        joined.map_err(|error| registration::explain(error, &invite.fingerprint, "invite"))?;
    registration::report_key(context, &server, &key);
    Ok(())
}

/// The name and routes for a connection without the given jump hosts. `None` if only they can
/// reach the host.
fn direct(
    context: &Context,
    host: &str,
    way: &ProxyJump,
) -> Result<Option<(String, Routes)>, Failure> {
    if way.hops.len() > 1 {
        return Ok(None);
    }
    let config = connect::read_ssh_config(
        context,
        &Target {
            user: None,
            host: host.to_owned(),
            port: None,
        },
    )?;
    // ssh runs the ProxyCommand of a jump host.
    if config.proxy_command.is_some() {
        return Ok(None);
    }
    let name = config.host_name.unwrap_or_else(|| host.to_owned());
    let configured = config
        .proxy_jump
        .map(|jump| (name.clone(), jump))
        .into_iter()
        .collect();
    Ok(Some((
        name,
        Routes {
            explicit: None,
            from_ssh_config: configured,
        },
    )))
}

/// Whether the connection failed, so that another route may work.
fn is_connection_failure(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Ssh { .. } | Error::Lost(_) | Error::Tls(_) => true,
        Error::Failed { code, side, .. } => *code == ErrorCode::LoginTimeout && *side == Side::Here,
        _ => false,
    }
}

/// Prints the current step on standard error.
fn step(remote: &Remote, what: &str) {
    remote
        .err
        .print(&shown_line(&format!("{}: {what}", remote.name)));
}
