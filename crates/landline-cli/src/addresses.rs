//! The addresses at which clients can reach this machine.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use landline::net::HostPort;

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
            let now = list_all(port);
            // A machine without a network will most likely get its earlier addresses back.
            if !now.is_empty() {
                *latest = now;
            }
        }
        latest.clone()
    }
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
