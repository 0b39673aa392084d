//! `landline bootstrap`: puts landline on a machine where only ssh is, starts its server, and joins
//! it.

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
/// RemoteHost beyond any program.
const PROGRAM_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What to do about a machine on which this program does not run.
const BINARY: &str = "build landline for that machine, and name it with --binary FILE";

impl Run for Bootstrap {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        run(context, self).await.map(|()| ExitStatus::SUCCESS)
    }
}

async fn run(context: &Context, options: Bootstrap) -> Result<(), Failure> {
    let way = &options.host;
    let remote =
        Remote::new(way, &context.err).ok_or_else(|| Failure::usage("a host is needed"))?;
    // What can be said without the other machine is said first.
    let user = match &options.user {
        Some(user) => user.clone(),
        None => context.environment.user("--as NAME")?,
    };
    let client = context.client()?;
    let key =
        registration::choose_key(context, &client, options.identity.as_deref(), &remote.name)?;
    let program = Program::read(options.binary.as_deref())?;

    step(&remote, "looking at what is there");
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
                "{user} may do nothing there yet: server/rights.toml in the state folder there says who may"
            ),
        );
    }
    Ok(())
}

/// What programs begin with: ELF, and Mach-O for one machine and for several. A shell would take
/// anything else for its own.
const MAGIC: [&[u8]; 3] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];

/// The program that is to be there.
struct Program {
    bytes: Vec<u8>,
    digest: String,
}

impl Program {
    /// The one in a file, or this very one.
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
                "{} is no program for any machine",
                path.display()
            )));
        }
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(Self { bytes, digest })
    }
}

/// Copies the program if another one is there, or none; whether it did.
async fn install(
    remote: &Remote,
    host: &RemoteHost,
    program: &Program,
    is_meant_for_it: bool,
) -> Result<bool, Failure> {
    if host.digest.as_ref() == Some(&program.digest) {
        step(remote, &format!("{} is this program already", host.place));
        return Ok(false);
    }
    if !is_meant_for_it && !host.is_like_this_machine() {
        let what = format!(
            "{} is {}, and this program was built for {}",
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
    step(
        remote,
        &format!("{} is there, and runs", copied.shown("version")),
    );
    Ok(true)
}

/// Has the server run, and learns the invite.
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
            "it runs while you are logged in there; loginctl enable-linger, which was refused, would let it run always".into()
        }
        "service" => "it runs, and starts with the machine".to_owned(),
        "running" => format!("it runs already; it does not survive a reboot. It writes to {log}"),
        "other" => "a server runs there already that something else has started; it was left alone, and has to be started anew for \
                    another program"
            .to_owned(),
        _ => format!("it runs in the background; it will NOT survive a reboot. The same command starts it again. It writes to {log}"),
    };
    step(remote, &how);
    Ok(started)
}

/// The invite, and whether it is for a new account that has no rights yet: the owner's invite, or
/// else what `landline user invite` has made.
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

/// Redeems the invite: directly, and where that cannot be, through ssh, which is remembered then.
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
            Err(error) if is_of_the_line(&error) => {
                context.err.print(&shown_line(&format!(
                    "{}: {error}; going through ssh",
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

/// The name under which a host is reached without this ssh, and how; `None` for one that is behind
/// others.
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

/// Whether the same can be tried another way.
fn is_of_the_line(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Ssh { .. } | Error::Lost(_) | Error::Tls(_) => true,
        Error::Failed { code, side, .. } => *code == ErrorCode::LoginTimeout && *side == Side::Here,
        _ => false,
    }
}

/// Says what is being done, on standard error.
fn step(remote: &Remote, what: &str) {
    remote
        .err
        .print(&shown_line(&format!("{}: {what}", remote.name)));
}
