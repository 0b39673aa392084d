//! The options that forward connections: `-L`, `-R`, `-D`, `-W`, `-N` and `-f`.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    os::unix::net::UnixStream as BlockingStream,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use landline::{
    ClientSession, Error, Forwarder, Side,
    forward::{LocalEnd, socks::SocksRequest},
    login::{Credential, KnownServer},
    net::{HostPort, tcp::raise_descriptor_limit},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::oneshot,
};

use super::background;
use crate::{
    context::{Context, ExitStatus},
    failure::Failure,
    signals,
};

/// The heading of these options in the help.
const HEADING: &str = "Forwarding";
/// How long a program may take to tell the proxy what it wants.
const SOCKS_TIME_MAX: Duration = Duration::from_secs(30);
/// How long to wait before accepting again when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes that are copied at a time between the standard streams and the connection.
const PART_BYTES: usize = 64 * 1024;

/// The options.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct ForwardOptions {
    /// Forward a local port to a host that the server reaches
    ///
    /// The port is open on loopback only, unless BIND is another address, or * for all.
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    local: Vec<Forward>,
    /// Forward a port of the server to a host that you reach
    ///
    /// PORT 0 takes any free port and prints it. BIND is as for -L.
    #[arg(short = 'R', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    remote: Vec<Forward>,
    /// Offer a SOCKS proxy that connects from the server
    ///
    /// It speaks SOCKS 4, 4a and 5. The server resolves names.
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    dynamic: Vec<Bind>,
    /// Connect standard input and output to a host, via the server
    #[arg(short = 'W', value_name = "HOST:PORT", value_parser = parse_target, conflicts_with_all = ["local", "remote", "dynamic", "background"])]
    stdio: Option<HostPort>,
    /// Run no command, only forward
    #[arg(short = 'N')]
    no_command: bool,
    /// Go to the background when all ports are open
    #[arg(short = 'f')]
    pub(super) background: bool,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bind {
    /// `None` for loopback.
    address: Option<BindAddress>,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindAddress {
    All,
    One(IpAddr),
}

/// Where to listen, and where what arrives goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Forward {
    bind: Bind,
    target: HostPort,
}

/// A listener on this machine, and what it is for.
struct Bound {
    listener: TcpListener,
    /// `None` for a proxy.
    target: Option<HostPort>,
}

/// The session with a server, and what is forwarded over it.
pub(super) struct Link {
    session: Arc<ClientSession>,
    /// `None` if nothing is forwarded.
    forwarder: Option<Forwarder>,
}

impl Link {
    /// The session, for the channel of a command.
    pub(super) fn session(&self) -> &ClientSession {
        &self.session
    }

    /// Waits until no connection is open, as ssh does when the command has ended, and ends the
    /// session.
    pub(super) async fn finish(&self) {
        if let Some(forwarder) = &self.forwarder {
            tokio::select! {
                () = forwarder.idle() => {}
                _ = forwarder.failed() => {}
            }
            forwarder.close().await;
        }
    }
}

impl ForwardOptions {
    /// Whether there is no command to run.
    pub(super) fn is_alone(&self) -> bool {
        self.no_command || self.stdio.is_some()
    }

    /// Whether anything is forwarded.
    pub(super) fn is_used(&self) -> bool {
        self.is_alone()
            || !(self.local.is_empty() && self.remote.is_empty() && self.dynamic.is_empty())
    }

    /// Connects, and starts to forward.
    ///
    /// # Errors
    /// A port is in use or may not be forwarded; those of [`ClientSession::open_channel`].
    pub(super) async fn start(
        &self,
        context: &Context,
        (server, credential): (KnownServer, Credential),
    ) -> Result<Link, Failure> {
        let session = Arc::new(ClientSession::new(server, credential));
        if !self.is_used() {
            return Ok(Link {
                session,
                forwarder: None,
            });
        }
        raise_descriptor_limit();
        let bound = self.bind().await?;
        let forwarder = Forwarder::open(session.clone()).await?;
        for Forward { bind, target } in &self.remote {
            let address = match bind.address {
                None => Ipv4Addr::LOCALHOST.into(),
                Some(BindAddress::All) => Ipv4Addr::UNSPECIFIED.into(),
                Some(BindAddress::One(address)) => address,
            };
            let listening = forwarder.listen(address, bind.port, target.clone()).await?;
            if bind.port == 0 {
                announce(context, listening, target);
            }
        }
        for Bound { listener, target } in bound {
            let (context, forwarder) = (context.clone(), forwarder.clone());
            tokio::spawn(async move { accept(&context, &forwarder, listener, target).await });
        }
        Ok(Link {
            session,
            forwarder: Some(forwarder),
        })
    }

    /// Forwards without a command, until a signal or a failure ends it.
    ///
    /// # Errors
    /// As [`start`](Self::start), and why it ended.
    pub(super) async fn run_alone(
        &self,
        context: &Context,
        server: (KnownServer, Credential),
    ) -> Result<ExitStatus, Failure> {
        let stopped = signals::stop()?;
        tokio::pin!(stopped);
        let link = tokio::select! {
            link = self.start(context, server) => link?,
            () = &mut stopped => return Err(Failure::stopped(false)),
        };
        let Some(forwarder) = link.forwarder else {
            return Ok(ExitStatus::SUCCESS);
        };
        let forward = async {
            if let Some(target) = &self.stdio {
                return carry_stdio(context, &forwarder, target).await;
            }
            background::detach()?;
            Err(forwarder.failed().await.into())
        };
        let done = tokio::select! {
            done = forward => done,
            () = stopped => Err(Failure::stopped(false)),
        };
        forwarder.close().await;
        done.map(|()| ExitStatus::SUCCESS)
    }

    /// Opens all ports of this machine, before there is a connection.
    async fn bind(&self) -> Result<Vec<Bound>, Failure> {
        let forwards = self
            .local
            .iter()
            .map(|forward| (&forward.bind, Some(&forward.target)));
        let proxies = self.dynamic.iter().map(|bind| (bind, None));
        let mut bound = Vec::new();
        for (bind, target) in forwards.chain(proxies) {
            if bind.port == 0 {
                return Err(Failure::usage("-L and -D need a port other than 0"));
            }
            for listener in bind.listen()? {
                let target = target.cloned();
                bound.push(Bound { listener, target });
            }
        }
        Ok(bound)
    }
}

impl Bind {
    /// Listens; on loopback with both families, if there are both.
    fn listen(&self) -> Result<Vec<TcpListener>, Failure> {
        let (first, second): (IpAddr, Option<IpAddr>) = match self.address {
            None => (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST.into())),
            // This takes connections by IPv4, too.
            Some(BindAddress::All) => (Ipv6Addr::UNSPECIFIED.into(), None),
            Some(BindAddress::One(address)) => (address, None),
        };
        let bind = |address: IpAddr| {
            let address = SocketAddr::new(address, self.port);
            let bound = landline_socketserver::Bind::new().tcp(address);
            bound
                .and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                })
                .map_err(|error| (address, error))
        };
        let failed = |(address, source): (SocketAddr, io::Error)| {
            let address = address.to_string();
            let advice = match source.kind() {
                io::ErrorKind::AddrNotAvailable => "this machine has no such address",
                io::ErrorKind::PermissionDenied => {
                    "only root can use ports below 1024; choose another port"
                }
                _ => "choose another port, or stop the program that uses this one",
            };
            Failure::from(Error::Listen { address, source }).with_advice(advice)
        };
        let first = match bind(first) {
            Err(_) if self.address == Some(BindAddress::All) => bind(Ipv4Addr::UNSPECIFIED.into()),
            first => first,
        };
        let first = first.map_err(failed)?;
        let mut listeners = vec![first];
        if let Some(second) = second {
            match bind(second) {
                Ok(second) => listeners.push(second),
                // This machine has no IPv6.
                Err((_, error)) if error.kind() != io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(listeners)
    }
}

/// Prints the port that the server has chosen.
fn announce(context: &Context, address: SocketAddr, target: &HostPort) {
    if context.json {
        context.err.print_json(&json!({
            "event": "listening", "address": address.to_string(), "target": target.to_string(),
        }));
    } else {
        context
            .err
            .print(&format!("the server listens on {address} for {target}"));
    }
}

/// Accepts connections for as long as this process runs.
async fn accept(
    context: &Context,
    forwarder: &Forwarder,
    listener: TcpListener,
    target: Option<HostPort>,
) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (context, forwarder, target) = (context.clone(), forwarder.clone(), target.clone());
        tokio::spawn(async move {
            let (target, end) = match target {
                Some(target) => (target, LocalEnd::new(socket)),
                None => match receive_request(socket).await {
                    Ok(request) => request,
                    Err(error) => return warn(&context, "proxy", &error),
                },
            };
            let shown = target.to_string();
            if let Err(error) = forwarder.connect(target, end).await {
                warn(&context, &shown, &error);
            }
        });
    }
}

/// Asks a program where it wants to be connected to.
async fn receive_request(mut socket: TcpStream) -> Result<(HostPort, LocalEnd), Error> {
    let request = tokio::time::timeout(SOCKS_TIME_MAX, SocksRequest::receive(&mut socket)).await;
    let request = request.map_err(|_| Error::Lost("the program asked for nothing".into()))??;
    let version = request.version();
    let end = LocalEnd::new(socket)
        .with_pending(request.pending)
        .with_answer(move |connected| SocksRequest::answer(version, connected.err()));
    Ok((request.target, end))
}

/// Reports a connection that was not made. That one was reset is no news to its ends.
fn warn(context: &Context, target: &str, error: &Error) {
    let is_news = matches!(
        error,
        Error::Failed {
            side: Side::There,
            ..
        }
    );
    if !is_news {
        return;
    }
    if context.json {
        context.err.print_json(&json!({
            "event": "not-forwarded", "target": target, "code": error.code_str(),
            "message": error.to_string(),
        }));
    } else {
        context
            .err
            .print(&format!("landline: no connection to {target}: {error}"));
    }
}

/// Connects the standard streams.
async fn carry_stdio(
    context: &Context,
    forwarder: &Forwarder,
    target: &HostPort,
) -> Result<(), Failure> {
    let failed = |what: &str, error: &io::Error| Failure::from(Error::io(what, error));
    let input = context
        .input
        .open()
        .map_err(|error| failed("standard input", &error))?;
    let (near, far) = BlockingStream::pair().map_err(|error| failed("a socket", &error))?;
    let prepared = near.set_nonblocking(true).and_then(|()| far.try_clone());
    let far_input = prepared.map_err(|error| failed("a socket", &error))?;
    let near = UnixStream::from_std(near).map_err(|error| failed("a socket", &error))?;
    let input_failed = on_thread(move || copy_input(input, &far_input));
    let output = context.out.raw();
    let mut written = on_thread(move || copy_output(far, output));
    let carried = async {
        let carried = forwarder.connect(target.clone(), LocalEnd::new(near));
        tokio::select! {
            carried = carried => Ok(carried?),
            // An error is not the end: the host must not take half of the input for all of it.
            Ok(Err(error)) = input_failed => Err(failed("standard input", &error)),
        }
    };
    tokio::pin!(carried);
    let written = tokio::select! {
        biased;
        written = &mut written => {
            let written = written.unwrap_or(Ok(()));
            if written.is_ok() {
                carried.await?;
            }
            written
        }
        carried = &mut carried => {
            carried?;
            written.await.unwrap_or(Ok(()))
        }
    };
    match written {
        // What reads the output wants no more.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Runs blocking work on a thread that ends with the process.
fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    result
}

/// Fails only where the input cannot be read.
fn copy_input(mut input: Box<dyn Read + Send>, mut socket: &BlockingStream) -> io::Result<()> {
    let mut part = vec![0; PART_BYTES];
    loop {
        match input.read(&mut part) {
            Ok(0) => break,
            Ok(count) => {
                let written = socket.write_all(part.get(..count).unwrap_or_default());
                if written.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
    Ok(())
}

fn copy_output(mut socket: BlockingStream, mut output: impl Write) -> io::Result<()> {
    let mut part = vec![0; PART_BYTES];
    loop {
        let count = socket.read(&mut part)?;
        if count == 0 {
            return Ok(());
        }
        output.write_all(part.get(..count).unwrap_or_default())?;
        output.flush()?;
    }
}

/// Splits at colons, but not within brackets, which are removed.
fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => {
                let end = rest.find(':').unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        parts.push(part.to_owned());
        if after.is_empty() {
            return Some(parts);
        }
        rest = after.strip_prefix(':')?;
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_number);
    port.ok_or_else(|| format!("{text:?} is not a port"))
}

fn parse_host_port(host: &str, port: &str) -> Result<HostPort, String> {
    let port = parse_port(port)?;
    if host.is_empty() || port == 0 {
        return Err("a host and a port from 1 to 65535 are needed".to_owned());
    }
    let host = host.to_owned();
    Ok(HostPort { host, port })
}

/// Reads `HOST:PORT`.
fn parse_target(text: &str) -> Result<HostPort, String> {
    match split(text).as_deref() {
        Some([host, port]) => parse_host_port(host, port),
        _ => Err("write HOST:PORT; an IPv6 address needs brackets".to_owned()),
    }
}

impl Bind {
    fn parse(address: Option<&str>, port: &str) -> Result<Self, String> {
        let address = match address {
            None | Some("localhost") => None,
            Some("" | "*") => Some(BindAddress::All),
            Some(address) => {
                let parsed = address.parse().map(BindAddress::One);
                Some(parsed.map_err(|_| format!("{address:?} is not an address or localhost"))?)
            }
        };
        let port = parse_port(port)?;
        Ok(Self { address, port })
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split(text).as_deref() {
            Some([port]) => Self::parse(None, port),
            Some([address, port]) => Self::parse(Some(address), port),
            _ => Err("write [BIND:]PORT; an IPv6 address needs brackets".to_owned()),
        }
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bind, host, port) = match split(text).as_deref() {
            Some([bind, host, port]) => (Bind::parse(None, bind)?, host.clone(), port.clone()),
            Some([address, bind, host, port]) => {
                let bind = Bind::parse(Some(address), bind)?;
                (bind, host.clone(), port.clone())
            }
            _ => {
                let accepted = "write [BIND:]PORT:HOST:HOSTPORT; an IPv6 address needs brackets";
                return Err(accepted.to_owned());
            }
        };
        let target = parse_host_port(&host, &port)?;
        Ok(Self { bind, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_ssh_reads_them() {
        let one = |address: &str| Some(BindAddress::One(address.parse().unwrap()));
        for (text, address, port, host, host_port) in [
            ("8080:db:5432", None, 8080, "db", 5432),
            ("localhost:8080:db:5432", None, 8080, "db", 5432),
            ("*:8080:db:5432", Some(BindAddress::All), 8080, "db", 5432),
            (":8080:db:5432", Some(BindAddress::All), 8080, "db", 5432),
            ("192.0.2.1:0:[::1]:80", one("192.0.2.1"), 0, "::1", 80),
            (
                "[::1]:80:[2001:db8::1]:81",
                one("::1"),
                80,
                "2001:db8::1",
                81,
            ),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.bind, Bind { address, port }, "{text}");
            let target = (forward.target.host.as_str(), forward.target.port);
            assert_eq!(target, (host, host_port), "{text}");
        }
    }

    #[test]
    fn malformed_forwards_are_refused() {
        for text in [
            "",
            "80",
            "80:db",
            "80:db:",
            "80::80",
            "80:db:0",
            "x:db:80",
            "80:db:65536",
            "80:db:+1",
            "80:::1:80",
            "[::1:80:db:80",
            "name:80:db:80",
            "1:2:3:4:5",
            "80:[db]x:80",
        ] {
            assert!(text.parse::<Forward>().is_err(), "{text:?}");
        }
        for text in ["", "x", "65536", "name:80", "1:2:3", "::1:80"] {
            assert!(text.parse::<Bind>().is_err(), "{text:?}");
        }
        for text in ["db", "db:0", "db:80:90", ":80", "::1:80"] {
            assert!(parse_target(text).is_err(), "{text:?}");
        }
    }
}
