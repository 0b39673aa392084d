//! The addresses at which clients can reach this machine.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use landline::{admin::Reachable, net::HostPort};

/// Lists where a client can reach a server that listens at `listening`, each time it is called.
///
/// A server that starts at boot starts before most addresses exist.
pub(crate) fn reachable(public_name: Option<String>, listening: SocketAddr) -> Reachable {
    let port = listening.port();
    let one = |host: String| vec![HostPort { host, port }];
    if let Some(name) = public_name {
        let name = one(name);
        return Box::new(move || name.clone());
    }
    if !listening.ip().is_unspecified() {
        let address = one(listening.ip().to_string());
        return Box::new(move || address.clone());
    }
    let latest = Mutex::new(one("127.0.0.1".into()));
    Box::new(move || {
        let now = list_all(port);
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        // A machine without a network will most likely get its earlier addresses back.
        if !now.is_empty() {
            *latest = now;
        }
        latest.clone()
    })
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
