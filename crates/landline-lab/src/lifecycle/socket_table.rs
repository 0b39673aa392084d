//! The states of connections in the kernel's socket table.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use landline_paths::read_proc;

/// A state of RFC 9293, with the names of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 9293 section 3.3.2 explains the states")]
pub(crate) enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    /// The states in the order of their numbers in Linux (`net/tcp_states.h`), from 1.
    const NUMBERED: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Closed,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            // This is the name in Linux's own headers.
            Self::SynReceived => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        })
    }
}

/// The pause between two reads of the table.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// The time limit for states that change without an action.
const SETTLE_TIME_MAX: Duration = Duration::from_millis(300);

/// The states of both ends of a connection, once they have stopped changing.
pub(super) fn settled_ends(client_port: u16, server_port: u16) -> Ends {
    let look = || SocketTable::read().ends(client_port, server_port);
    let start = Instant::now();
    let mut last = look();
    while start.elapsed() < SETTLE_TIME_MAX {
        thread::sleep(LOOK);
        let now = look();
        if now == last {
            break;
        }
        last = now;
    }
    last
}

/// The states of a connection's ends.
///
/// `None` if the kernel does not have the end, or does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) client: Option<TcpState>,
    pub(super) server: Option<TcpState>,
}

impl Ends {
    /// Whether one of the ends is in this state.
    pub(super) fn contains(self, state: TcpState) -> bool {
        [self.client, self.server].contains(&Some(state))
    }
}

/// All sockets at one moment. Reading many takes a tenth of a second.
pub(super) struct SocketTable(String);

impl SocketTable {
    pub(super) fn read() -> Self {
        Self(read_proc("net/tcp").unwrap_or_default())
    }

    /// The states of the connection between these ports.
    pub(super) fn ends(&self, client_port: u16, server_port: u16) -> Ends {
        Ends {
            client: state_in(&self.0, client_port, server_port),
            server: state_in(&self.0, server_port, client_port),
        }
    }

    /// The state of the listener on this port.
    pub(super) fn listener(&self, port: u16) -> Option<TcpState> {
        state_in(&self.0, port, 0)
    }

    /// The time until the timer of this socket expires.
    pub(super) fn timer(&self, local: u16, remote: u16) -> Option<Duration> {
        let ticks = timer_in(&self.0, local, remote)?;
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Duration::from_millis(ticks * 1000 / per_second.max(1)))
    }
}

/// The fields of a socket after its ports, in a table in the format of `/proc/net/tcp`.
fn fields_of(table: &str, local: u16, remote: u16) -> Option<impl Iterator<Item = &str>> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut port = || u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok();
        (port()? == local && port()? == remote).then_some(fields)
    })
}

fn state_in(table: &str, local: u16, remote: u16) -> Option<TcpState> {
    let number = fields_of(table, local, remote)?.next()?;
    let number = usize::from_str_radix(number, 16).ok()?;
    TcpState::NUMBERED.get(number.checked_sub(1)?).copied()
}

/// The clock ticks until the timer of a socket expires.
fn timer_in(table: &str, local: u16, remote: u16) -> Option<u64> {
    let timer = fields_of(table, local, remote)?.nth(2)?;
    u64::from_str_radix(timer.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 03 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
 rubbish
   2: 0100007F:C001 0100007F:1F90 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0
   3: 0100007F:C002 0100007F:1F90 FF";

    #[test]
    fn socket_is_found_by_its_ports() {
        assert_eq!(state_in(TABLE, 8080, 0), Some(TcpState::Listen));
        assert_eq!(state_in(TABLE, 8080, 0xc001), Some(TcpState::SynReceived));
        assert_eq!(state_in(TABLE, 0xc001, 8080), Some(TcpState::TimeWait));
        assert_eq!(state_in(TABLE, 0xc002, 8080), None, "an unknown number");
        assert_eq!(state_in(TABLE, 1, 2), None);
        assert_eq!(state_in("", 1, 2), None);
        assert_eq!(timer_in(TABLE, 0xc001, 8080), Some(0x176));
        assert_eq!(timer_in(TABLE, 0xc002, 8080), None, "a line that was cut");
    }
}
