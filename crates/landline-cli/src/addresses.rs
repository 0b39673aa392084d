//! The addresses at which clients can reach this machine.

use std::{
    ffi::CStr,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use landline::net::HostPort;

/// How long the look-up of this machine's own name may take.
const NAME_TIME_MAX: Duration = Duration::from_secs(2);

/// Lists where a client can reach a server that listens at `listening`, each time it is called.
///
/// A server that starts at boot starts before most addresses exist.
pub(crate) fn reachable(
    public_name: Option<String>,
    listening: SocketAddr,
) -> impl Fn() -> Vec<HostPort> + Send + Sync + 'static {
    let port = listening.port();
    let fixed = public_name
        .or_else(|| (!listening.ip().is_unspecified()).then(|| listening.ip().to_string()));
    let first = fixed.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
    let latest = Mutex::new(vec![HostPort { host: first, port }]);
    move || {
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        if fixed.is_none() {
            let mut now = list_all(port);
            now.extend(own_name(&now, port));
            // A machine without a network will most likely get its earlier addresses back.
            if !now.is_empty() {
                *latest = now;
            }
        }
        latest.clone()
    }
}

/// The name of this machine, if it resolves to one of these addresses: then others may know it,
/// too.
fn own_name(addresses: &[HostPort], port: u16) -> Option<HostPort> {
    let host = host_name()?;
    let (sender, resolved) = mpsc::channel();
    let name = host.clone();
    // A name server that does not answer must not hold up an invite.
    thread::spawn(move || {
        if let Ok(found) = (name.as_str(), port).to_socket_addrs() {
            let _ = sender.send(found.collect::<Vec<_>>());
        }
    });
    let resolved = resolved.recv_timeout(NAME_TIME_MAX).ok()?;
    is_own(&resolved, addresses).then_some(HostPort { host, port })
}

/// The name of this machine, if it can be one in an address.
fn host_name() -> Option<String> {
    let mut name = [0_u8; 256];
    // SAFETY: the pointer leads to as many bytes as the length says. The last one stays zero.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?;
    let is_name = failed == 0
        && name
            .parse::<HostPort>()
            .is_ok_and(|parsed| parsed.host == name);
    is_name.then(|| name.to_owned())
}

fn is_own(resolved: &[SocketAddr], addresses: &[HostPort]) -> bool {
    let own = |found: &SocketAddr| {
        addresses
            .iter()
            .any(|own| own.host == found.ip().to_string())
    };
    resolved.iter().any(own)
}

/// All addresses of this machine, except loopback and link-local ones.
fn list_all(port: u16) -> Vec<HostPort> {
    let others = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| {
            let link_local = matches!(interface.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
            !interface.is_loopback() && !link_local
        });
    others
        .map(|interface| HostPort {
            host: interface.ip().to_string(),
            port,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_own_if_it_resolves_to_an_address_of_this_machine() {
        let addresses = ["192.0.2.7", "2001:db8::7"].map(|host| HostPort {
            host: host.to_owned(),
            port: 5263,
        });
        for (resolved, expected) in [
            (&["192.0.2.7:5263"][..], true),
            (&["127.0.1.1:5263", "[2001:db8::7]:5263"], true),
            (&["127.0.1.1:5263"], false),
            (&["192.0.2.8:5263"], false),
            (&[], false),
        ] {
            let resolved: Vec<SocketAddr> = resolved
                .iter()
                .map(|found| found.parse().unwrap())
                .collect();
            assert_eq!(is_own(&resolved, &addresses), expected, "{resolved:?}");
        }
    }
}
