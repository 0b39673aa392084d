//! Connects to where a user wants to: resolves, checks, records, connects.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::{Arc, OnceLock},
    time::Duration,
};

use landline_proto::ErrorCode;
use tokio::net::TcpStream;

use super::messages::Connect;
use crate::{
    Error,
    activity::Activity,
    net::HostPort,
    paths::replace_system_texts,
    rights::{ForwardTarget, Rights, is_host},
    session::{CountedUnit, ServiceContext, WorkLimits},
};

/// How long a connection may take to be made, its name resolved included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// How many forwarded connections one user may have at a time, over all sessions.
pub(super) const CONNECTIONS_PER_USER_MAX: usize = 1024;

/// Where the server itself listens, once it does.
pub(crate) type OwnListener = Arc<OnceLock<SocketAddr>>;

/// What a connection was asked for, to be checked again when the rights change.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    host: String,
    pub(super) address: SocketAddr,
    is_own_listener: bool,
}

/// A connection that was made.
pub(super) struct Opened {
    pub(super) socket: TcpStream,
    pub(super) checked: Checked,
    /// The id in the audit log.
    pub(super) id: String,
    pub(super) unit: CountedUnit,
}

impl Checked {
    fn target(&self) -> ForwardTarget<'_> {
        ForwardTarget {
            host: &self.host,
            port: self.address.port(),
            address: Some(self.address.ip()),
            is_own_listener: self.is_own_listener,
        }
    }

    /// Whether the user may still be connected there.
    pub(super) fn is_allowed(&self, context: &ServiceContext, rules: &Rights) -> bool {
        rules.check_forward(context.user(), self.target()).allowed
    }
}

/// Connects to the first address of the host that the user may connect to and that answers.
///
/// The address that was checked is the one that is connected to.
///
/// # Errors
/// `denied`, `name-refused`, `not-found`, `unreachable`, `too-many-sessions`, `audit`.
pub(super) async fn open(
    context: &ServiceContext,
    own: &OwnListener,
    connections_max: usize,
    request: &Connect,
) -> Result<Opened, Error> {
    let unit = count(context, connections_max)?;
    tokio::time::timeout(CONNECT_TIME_MAX, connect(context, own, request, unit))
        .await
        .unwrap_or_else(|_| {
            let message = format!("no answer within {} s", CONNECT_TIME_MAX.as_secs());
            Err(Error::here(ErrorCode::Unreachable, message))
        })
}

/// Counts a connection of the user.
///
/// # Errors
/// `too-many-sessions` where the user, or all users together, have too many.
pub(super) fn count(
    context: &ServiceContext,
    connections_max: usize,
) -> Result<CountedUnit, Error> {
    let limits = WorkLimits {
        user: CONNECTIONS_PER_USER_MAX,
        all: connections_max,
    };
    context.count_work("forward", limits).ok_or_else(|| {
        let message = "there are too many forwarded connections";
        Error::here(ErrorCode::TooManySessions, message)
    })
}

async fn connect(
    context: &ServiceContext,
    own: &OwnListener,
    request: &Connect,
    unit: CountedUnit,
) -> Result<Opened, Error> {
    let (host, port) = (&request.host, request.port.get());
    if !is_host(host) {
        let message = "this is not a valid host name";
        return Err(Error::here(ErrorCode::NameRefused, message));
    }
    // A name that no rule allows is not looked up.
    let asked = ForwardTarget {
        host,
        port,
        address: host.parse().ok(),
        is_own_listener: false,
    };
    check(context, asked)?;
    let mut last = None;
    for address in resolve(context, host, port).await? {
        let checked = Checked {
            host: host.clone(),
            address,
            is_own_listener: is_own(own, address),
        };
        if let Err(denied) = check(context, checked.target()) {
            last.get_or_insert(denied);
            continue;
        }
        let id = super::server::new_id();
        let target = HostPort {
            host: host.clone(),
            port,
        };
        let target = target.to_string();
        context
            .record(|user, session| Activity::ForwardStart {
                user,
                session,
                connection: id.clone(),
                target,
                address,
                incoming: false,
            })
            .await?;
        match TcpStream::connect(address).await {
            Ok(socket) => {
                return Ok(Opened {
                    socket,
                    checked,
                    id,
                    unit,
                });
            }
            Err(error) => {
                context.note(|user, session| Activity::ForwardEnd {
                    user,
                    session,
                    connection: id,
                    sent: 0,
                    received: 0,
                    reset: true,
                });
                last = Some(unreachable(&address.to_string(), &error));
            }
        }
    }
    Err(last.unwrap_or_else(|| no_address(host)))
}

fn check(context: &ServiceContext, target: ForwardTarget<'_>) -> Result<(), Error> {
    let verdict = context
        .rights()
        .rules()
        .check_forward(context.user(), target);
    if verdict.allowed {
        return Ok(());
    }
    let ForwardTarget { host, port, .. } = target;
    let shown = target.address.filter(|address| address.to_string() != host);
    let shown = shown.map_or_else(String::new, |address| format!(" ({address})"));
    let message = format!(
        "you may not connect to {host}:{port}{shown}: {}",
        verdict.reason
    );
    Err(Error::here(ErrorCode::Denied, message))
}

/// The addresses of a host.
async fn resolve(
    context: &ServiceContext,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    context
        .blocking("forward resolve", move |_| {
            let found = (&*name, port).to_socket_addrs();
            Ok(found.map_err(|_| no_address(&name))?.collect())
        })
        .await
}

fn no_address(host: &str) -> Error {
    let message = format!("the name {host} has no address on the server");
    Error::here(ErrorCode::NotFound, message)
}

pub(super) fn unreachable(what: &str, error: &io::Error) -> Error {
    let message = replace_system_texts(&format!("{what}: {error}"));
    Error::here(ErrorCode::Unreachable, message)
}

/// Whether the server itself listens on this address.
fn is_own(own: &OwnListener, address: SocketAddr) -> bool {
    let Some(own) = own.get().filter(|own| own.port() == address.port()) else {
        return false;
    };
    let (own, address) = (own.ip().to_canonical(), address.ip().to_canonical());
    own == address || own.is_unspecified() && is_this_machine(address)
}

/// Whether an address is one of this machine: packets to it have it as their source, too.
fn is_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    // Connecting a UDP socket sends nothing.
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    route.is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_listener_is_recognized() {
        let own = OwnListener::default();
        assert!(!is_own(&own, "127.0.0.1:5263".parse().unwrap()));
        own.set("[::]:5263".parse().unwrap()).unwrap();
        for (address, expected) in [
            ("127.0.0.1:5263", true),
            ("127.0.0.2:5263", true),
            ("[::1]:5263", true),
            ("[::ffff:127.0.0.1]:5263", true),
            ("0.0.0.0:5263", true),
            ("127.0.0.1:5264", false),
            ("192.0.2.1:5263", false),
        ] {
            assert_eq!(
                is_own(&own, address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        let one = OwnListener::default();
        one.set("192.0.2.1:5263".parse().unwrap()).unwrap();
        assert!(is_own(&one, "192.0.2.1:5263".parse().unwrap()));
        assert!(!is_own(&one, "127.0.0.1:5263".parse().unwrap()));
    }
}
