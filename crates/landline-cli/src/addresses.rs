//! Where clients can reach this machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use landline::{admin::LocalServer, net::HostPort};

/// How often the addresses of this machine are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// Where a client can reach a server that listens there.
pub(crate) fn reachable(public_name: Option<&str>, listening: SocketAddr) -> Vec<HostPort> {
    let port = listening.port();
    let one = |host: String| vec![HostPort { host, port }];
    if let Some(name) = public_name {
        return one(name.to_owned());
    }
    if !listening.ip().is_unspecified() {
        return one(listening.ip().to_string());
    }
    let every = every_address(port);
    if every.is_empty() {
        one("127.0.0.1".into())
    } else {
        every
    }
}

/// Notes this machine's addresses for later invites whenever they have changed: a server that
/// starts with the machine comes before most of them. `noted` are those that are noted already.
pub(crate) async fn follow(state: PathBuf, port: u16, mut noted: Vec<HostPort>) {
    let mut turns = tokio::time::interval(INTERVAL);
    loop {
        turns.tick().await;
        let now = every_address(port);
        // Of a machine that is off the network, those that it had are the better guess.
        if now.is_empty() || now == noted {
            continue;
        }
        let (state, addresses) = (state.clone(), now.clone());
        let note = move || LocalServer::note_addresses(&state, &addresses);
        // What cannot be written now is tried again.
        if let Ok(Ok(())) = tokio::task::spawn_blocking(note).await {
            noted = now;
        }
    }
}

/// This machine's addresses, other than those that mean nothing elsewhere.
fn every_address(port: u16) -> Vec<HostPort> {
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
