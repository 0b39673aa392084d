//! `landline serve`: runs the server on this machine.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Args;
use landline::{
    Error, Server, ServerOptions,
    activity::{Activity, Record},
    exec::{ExecOptions, Launcher, LocalLauncher, SocketLauncher},
    login::Invite,
    net::tcp::raise_descriptor_limit,
    paths::{local, login_shell, user_name},
    rights::read_rules,
    server::check_unused,
};
use landline_socketserver::Bind;
use tokio::{
    net::{TcpListener, lookup_host},
    sync::broadcast::{self, error::RecvError},
};

use crate::{
    activity_text::describe,
    addresses,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    hidden,
    listen_address::ListenAddress,
    service_manager,
    settings::{ServeSettings, Settings},
    signals,
    terminal::{moment, shown_line},
};

/// The default limit of connections, if the system allows enough descriptors.
const CONNECTIONS_MAX: u64 = 1024;
/// The most descriptors that a connection takes: itself, a staging file, its folder, a manifest,
/// and a half-open connection.
const DESCRIPTORS_EACH: u64 = 5;
/// Descriptors for everything else.
const DESCRIPTORS_RESERVED: u64 = 64;
/// The size of the smallest blocks of memory that are returned to the system when they are freed:
/// content is kept in larger ones.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK_BYTES: i32 = 128 << 10;
/// The time that systemd waits for the server to end after the drain.
const END_TIME: Duration = Duration::from_secs(30);

/// The variable with the socket of the process that starts supervisors, which the unit of the
/// service sets. Without it, the server starts them itself.
pub(super) const LAUNCHER_VARIABLE: &str = "LANDLINE_LAUNCHER";

/// Run the server on this machine
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline serve --listen 127.0.0.1:5263")]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: ServeSettings,
    /// Write events to the end of FILE instead of printing them
    ///
    /// Each line begins with the time.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Check whether all settings can be used, and exit
    #[arg(long)]
    check_config: bool,
    /// The socket that systemd passed, or the reason why it cannot be used.
    #[arg(skip)]
    handed_over: Option<Result<std::net::TcpListener, Failure>>,
}

impl Run for Serve {
    fn prepare(self, context: &Context) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
        // The runtime opens descriptors, which could be taken for systemd's.
        let handed_over = service_manager::take_socket(&context.environment).transpose();
        ControlFlow::Continue(Self {
            handed_over,
            ..self
        })
    }

    async fn run(mut self, context: &Context) -> Result<ExitStatus, Failure> {
        return_large_memory();
        let log = self.log.clone().map(ActivityLog::new).transpose()?;
        let done = match self.handed_over.take().transpose() {
            Ok(handed_over) => serve(context, self, handed_over, log.clone()).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &done {
            if let Some(log) = &log {
                log.append_now(&format!("stopped: {}", failure.to_line()));
            }
            // `systemctl status` shows it even to a user who may not read the journal.
            service_manager::notify(
                &context.environment,
                &format!("STATUS={}", failure.to_line()),
            );
        }
        done.map(|()| ExitStatus::SUCCESS)
    }
}

async fn serve(
    context: &Context,
    options: Serve,
    handed_over: Option<std::net::TcpListener>,
    log: Option<ActivityLog>,
) -> Result<(), Failure> {
    let settings = context.server_settings(&options.settings)?;
    if options.check_config {
        return check(context, &settings).await;
    }
    if is_root() && !settings.allow_root {
        return Err(Failure::settings(
            "as root, the server would give its users access to root's home; run it as an ordinary user, or add \
             --allow-root",
        ));
    }
    let handed_over = match handed_over {
        Some(listener) => Some(take_over(listener, &settings).await?),
        None => None,
    };
    // Nothing is created for a server that cannot listen.
    check_unused(&settings.state)?;
    let (listener, address) = match handed_over {
        Some(taken_over) => taken_over,
        None => listen(&settings.listen.clone().unwrap_or_default()).await?,
    };
    let server = Server::open(&ServerOptions {
        state: settings.state.clone(),
        home: settings.home.clone(),
        connections_max: connections_max().min(settings.connections.unwrap_or(usize::MAX)),
        drain_time: settings.drain,
        session_linger: settings.session_linger,
        audit: settings.audit,
        exec: Some(exec_options(context, &settings)?),
    })?;
    if let Some(problem) = server.audit_problem() {
        context.err.print(&shown_line(&format!(
            "warning: audit log verification failed: {problem}\nthe log continues in a new file; run `landline audit verify` for details"
        )));
    }
    // A program that reads the announcement may stop the server at once.
    let (shutdown, reload) = signals::stop_and_reload()?;
    let invite = server.owner_invite(addresses::reachable(settings.public_name, address))?;
    if let Some(log) = &log {
        log.append_now(&format!("listening on {address}"));
    }
    announce(context, &server, address, invite.as_ref())?;
    if let Some(error) = context.out.take_error() {
        let problem = landline::Error::io("standard output", &error);
        context
            .err
            .print(&shown_line(&format!("warning: {problem}; the server runs")));
    }
    let end = (settings.drain + END_TIME).as_micros();
    let environment = context.environment.clone();
    let shutdown = async move {
        shutdown.await;
        let stopping = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={end}");
        service_manager::notify(&environment, &stopping);
    };
    let printer = tokio::task::spawn_blocking({
        let (context, records) = (context.clone(), server.subscribe());
        move || print_records(&context, records, log.as_ref())
    });
    service_manager::notify(&context.environment, "READY=1");
    let served = server.run(listener, shutdown, reload).await;
    // Print the last activities before the process ends. An earlier failure to print does not fail
    // the server.
    let _ = printer.await;
    drop(context.out.take_error());
    Ok(served?)
}

/// Checks whether a server could run with these settings. Changes nothing.
async fn check(context: &Context, settings: &Settings) -> Result<(), Failure> {
    if !local::is_folder(&settings.home) {
        return Err(Failure::settings(format!(
            "home = {:?}: there is no such folder",
            settings.home
        )));
    }
    for address in settings.listen.clone().unwrap_or_default().candidates() {
        if let Err(source) = lookup_host(&address).await.map(drop) {
            return Err(Error::Listen {
                address: address.clone(),
                source,
            }
            .into());
        }
    }
    // The server does not start with broken rights.
    if local::exists(&settings.state.join("server/rights.toml")) {
        read_rules(&settings.state, &landline::server::words()?)?;
    }
    context
        .out
        .print("the settings can be used; landline config prints them");
    Ok(())
}

/// The most connections for which there are enough descriptors.
fn connections_max() -> usize {
    let places = raise_descriptor_limit().saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_EACH;
    usize::try_from(places.clamp(1, CONNECTIONS_MAX)).unwrap_or(1)
}

async fn listen(asked: &ListenAddress) -> Result<(TcpListener, SocketAddr), Failure> {
    let mut last = None;
    for address in asked.candidates() {
        let listener = async {
            let addresses: Vec<SocketAddr> = lookup_host(&address).await?.collect();
            // tokio would leave it to the system whether [::] takes IPv4 too.
            let listener = Bind::new().tcp(addresses.as_slice())?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        match listener
            .await
            .and_then(|listener| listener.local_addr().map(|local| (listener, local)))
        {
            Ok(listening) => return Ok(listening),
            Err(source) => last = Some(Error::Listen { address, source }),
        }
    }
    Err(last.map_or_else(|| Failure::local("no address to listen on"), Failure::from))
}

/// Takes over the socket that systemd listens on; connections may be waiting there.
///
/// A socket that contradicts the settings is refused: a server that is confined to one address must
/// not listen on all of them.
async fn take_over(
    listener: std::net::TcpListener,
    settings: &Settings,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Error::Listen {
        address: "the socket from the service manager".into(),
        source,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if let Some(asked) = &settings.listen
        && !resolves_to(asked, address).await?
    {
        let origin = settings.origin("listen");
        let what = format!(
            "the service manager listens on {address}, but the setting listen is {asked} ({origin})"
        );
        let advice = "run landline service install again to apply the setting, or remove it";
        return Err(Failure::settings(what).with_advice(advice));
    }
    Ok((TcpListener::from_std(listener).map_err(failed)?, address))
}

/// Whether the address of the settings is `address`.
async fn resolves_to(asked: &ListenAddress, address: SocketAddr) -> Result<bool, Failure> {
    for candidate in asked.candidates() {
        let is_it =
            |it: SocketAddr| it.ip() == address.ip() && [0, address.port()].contains(&it.port());
        match lookup_host(&candidate)
            .await
            .map(|mut found| found.any(is_it))
        {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(source) => {
                return Err(Error::Listen {
                    address: candidate,
                    source,
                }
                .into());
            }
        }
    }
    Ok(false)
}

/// How the server runs commands.
///
/// # Errors
/// The path of this program is not known.
fn exec_options(context: &Context, settings: &Settings) -> Result<ExecOptions, Failure> {
    let environment = &context.environment;
    let launcher: Arc<dyn Launcher> = match environment.absolute_path(LAUNCHER_VARIABLE) {
        Some(socket) => Arc::new(SocketLauncher::new(socket)),
        // On Linux this name leads to the program that runs, even after an upgrade.
        None if cfg!(target_os = "linux") => {
            let program = PathBuf::from("/proc/self/exe");
            Arc::new(LocalLauncher::new(program, hidden::SUPERVISOR))
        }
        None => {
            let program = std::env::current_exe()
                .map_err(|error| Failure::local(format!("the path of this program: {error}")))?;
            Arc::new(LocalLauncher::new(program, hidden::SUPERVISOR))
        }
    };
    let entry = |name: &str| Some(format!("{name}={}", environment.variable(name)?).into_bytes());
    Ok(ExecOptions {
        launcher,
        path: settings.exec_path.clone(),
        share_uid: settings.share_uid,
        sftp_server: settings.sftp_server.clone(),
        // What a service finds in its environment may be that of another user.
        user: user_name().unwrap_or_else(|| environment.local_user()),
        shell: login_shell().unwrap_or_else(|| "/bin/sh".into()),
        environment: ["LANG", "TZ", "XDG_RUNTIME_DIR"]
            .into_iter()
            .filter_map(entry)
            .collect(),
    })
}

/// Prints where the server listens.
///
/// The owner's invite is a secret: it goes to the terminal, else to a file that only the owner can
/// read.
fn announce(
    context: &Context,
    server: &Server,
    address: SocketAddr,
    invite: Option<&Invite>,
) -> Result<(), Failure> {
    let on_terminal = !context.json && context.out.is_terminal();
    let file = match invite {
        Some(invite) if !on_terminal => Some(server.write_invite(invite)?.display().to_string()),
        _ => None,
    };
    let fingerprint = server.fingerprint().to_string();
    if context.json {
        let line = serde_json::json!({
            "listening": address.to_string(), "fingerprint": fingerprint, "invite_file": file,
        });
        context.out.print_json(&line);
        return Ok(());
    }
    context.out.print(&format!(
        "listening on {address}\nfingerprint  {fingerprint}"
    ));
    match (invite, file) {
        (Some(_), Some(file)) => context.out.print(&format!(
            "invite for the owner, valid once within 24 hours, in {file}"
        )),
        (Some(invite), None) => context.out.print(&format!(
            "\nThere is no account yet. Run this on the owner's machine within 24 hours:\n\n  landline join '{invite}'\n"
        )),
        _ => {}
    }
    Ok(())
}

/// Prints activities until the server has stopped. Blocking: a slow reader loses activities, and
/// does not stop the server.
fn print_records(
    context: &Context,
    mut records: broadcast::Receiver<Arc<Record>>,
    log: Option<&ActivityLog>,
) {
    loop {
        match records.blocking_recv() {
            Ok(record) => {
                if let Some(log) = log {
                    log.append(&record.time, &describe(&record.activity));
                } else if context.json {
                    if let Ok(record) = serde_json::to_value(&*record) {
                        context.out.print_json(&record);
                    }
                } else {
                    let line = format!("{} {}", record.time, describe(&record.activity));
                    context.err.print(&shown_line(&line));
                }
                if matches!(record.activity, Activity::Stopped {}) {
                    return;
                }
            }
            Err(RecvError::Lagged(lost)) => {
                let line = format!("{lost} activities were not printed; see landline audit show");
                context.err.print(&line);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// The file of `--log`: what happens, for people, with times.
#[derive(Debug, Clone)]
struct ActivityLog(PathBuf);

impl ActivityLog {
    fn new(file: PathBuf) -> Result<Self, Failure> {
        let path = std::path::absolute(&file);
        path.map(Self)
            .map_err(|error| Failure::local(format!("{}: {error}", file.display())))
    }

    /// A log that cannot be written does not stop the server: the audit log has everything.
    fn append(&self, time: &str, what: &str) {
        let line = format!("{}\n", shown_line(&format!("{time} {what}")));
        let _ = local::append(&self.0, line.as_bytes());
    }

    fn append_now(&self, what: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs());
        self.append(&moment(i64::try_from(seconds).unwrap_or_default()), what);
    }
}

/// Makes the C library return large blocks to the system when they are freed.
///
/// Otherwise it keeps those of transfers that have ended or stalled.
fn return_large_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call changes one number, which any thread may do at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    }
}

fn is_root() -> bool {
    landline::paths::is_root()
}
