//! The user at the other end of a connection over loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use landline_paths::{read_proc, user_id};

/// Checks that a client on loopback belongs to the user of this process or to root.
///
/// `false` also if its user is unknown. A client that has closed its socket has no user any more.
/// `port` is that of the server.
///
/// # Blocking
/// It reads `/proc`.
pub(super) fn is_same_user(client: SocketAddr, port: u16) -> bool {
    let mut users = ["net/tcp", "net/tcp6"]
        .into_iter()
        .filter_map(read_proc)
        .flat_map(|table| find_users(&table, client, port))
        .peekable();
    users.peek().is_some() && users.all(|user| user == Some(0) || user == Some(user_id()))
}

/// The user of each socket that is bound to `client` and connected to `port`.
///
/// `None` for a socket without an owner: the table shows it as one of root.
fn find_users(table: &str, client: SocketAddr, port: u16) -> Vec<Option<u32>> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let user = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, _, _, _, _, user, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        let is_meant = parse_address(local)? == client && parse_address(remote)?.port() == port;
        is_meant.then(|| user.parse().ok().filter(|_| *inode != "0"))
    };
    table.lines().filter_map(user).collect()
}

/// Parses an address as the tables write it: words in the byte order of the machine.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn users(line: &str, client: &str) -> Vec<Option<u32>> {
        find_users(&format!("{HEAD}{line}\n"), client.parse().unwrap(), 5264)
    }

    /// Proves `classic-web-page` in docs/faults.md.
    #[test]
    fn user_of_client_is_read_from_table() {
        let line = |user: &str, inode: &str| {
            format!(
                "   1: 0100007F:A1B2 0100007F:1490 01 00000000:00000000 00:00000000 00000000  {user}        0 {inode} 1 0 20 4 30 10 -1"
            )
        };
        assert_eq!(
            users(&line("1000", "4711"), "127.0.0.1:41394"),
            [Some(1000)]
        );
        assert_eq!(
            users(&line("1000", "4711"), "[::ffff:127.0.0.1]:41394"),
            [Some(1000)]
        );
        // A socket that its program has closed.
        assert_eq!(users(&line("0", "0"), "127.0.0.1:41394"), [None]);
        assert_eq!(users(&line("1000", "4711"), "127.0.0.1:41395"), []);
        let mapped = "   1: 0000000000000000FFFF00000100007F:A1B2 0000000000000000FFFF00000100007F:1490 01 0:0 0:0 0  1000        0 4711 1";
        assert_eq!(users(mapped, "127.0.0.1:41394"), [Some(1000)]);
        let six = "   1: 00000000000000000000000001000000:A1B2 00000000000000000000000001000000:1490 01 0:0 0:0 0  7        0 4711 1";
        assert_eq!(users(six, "[::1]:41394"), [Some(7)]);
    }
}
