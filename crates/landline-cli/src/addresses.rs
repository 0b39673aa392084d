//! The addresses at which clients can reach this machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use landline::{admin::LocalServer, net::HostPort};

/// The time between two looks at this machine's addresses.
const INTERVAL: Duration = Duration::from_secs(5);

/// Lists where a client can reach a server that listens at `listening`.
pub(crate) fn list_reachable(public_name: Option<&str>, listening: SocketAddr) -> Vec<HostPort> {
    let port = listening.port();
    let one = |host: String| vec![HostPort { host, port }];
    if let Some(name) = public_name {
        return one(name.to_owned());
    }
    if !listening.ip().is_unspecified() {
        return one(listening.ip().to_string());
    }
    let all = list_all(port);
    if all.is_empty() {
        one("127.0.0.1".into())
    } else {
        all
    }
}

/// Saves this machine's addresses for later invites whenever they change. Never returns.
///
/// A server that starts at boot starts before most addresses exist. `saved` are the addresses that
/// are saved already.
pub(crate) async fn track(state: PathBuf, port: u16, mut saved: Vec<HostPort>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let now = list_all(port);
        // A machine without a network will most likely get its earlier addresses back.
        if now.is_empty() || now == saved {
            continue;
        }
        let (state, addresses) = (state.clone(), now.clone());
        let save = move || LocalServer::note_addresses(&state, &addresses);
        // A failed write is retried at the next tick.
        if let Ok(Ok(())) = tokio::task::spawn_blocking(save).await {
            saved = now;
        }
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
