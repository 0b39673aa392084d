//! What is written down.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use landline_proto::Name;
use serde::Serialize;

/// Something that is written down. Its name stands under `event`, and each field under its own
/// name; `docs/audit.md` has the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Entry {
    /// The server began.
    Started {
        /// Name and release.
        release: String,
    },
    /// The server ended in peace.
    Stopped {},
    /// What the server found wrong with the log when it opened it. The chain goes on behind it, and
    /// the log never verifies again.
    Gap {
        /// What was found.
        problem: String,
    },
    /// A login is accepted. Durable before the client hears of it.
    Login {
        /// Who.
        user: String,
        /// By which method.
        method: String,
        /// The fingerprint of the key or secret that was proved.
        key: String,
        /// From where.
        peer: SocketAddr,
        /// The session's id.
        session: String,
    },
    /// A session ended.
    Logout {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
    },
    /// A connection ended before it was logged in.
    Refused {
        /// From where.
        peer: SocketAddr,
        /// Who it said to be, if it came to that. Nothing of it was proved.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// By which method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// A code of the protocol, or `tls` or `lost`.
        code: String,
        /// Why.
        message: String,
    },
    /// A copy is about to begin. Written before it does.
    TransferStart {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
        /// `put` or `get`.
        direction: &'static str,
        /// The path at the server.
        path: Name,
        /// Bytes of content, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
    },
    /// A copy is done and was verified by the receiver. Of a `put` durable before the client hears
    /// of it.
    Transfer {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
        /// `put` or `get`.
        direction: &'static str,
        /// The path at the server.
        path: Name,
        /// Bytes of content.
        length: u64,
        /// The content's digest.
        digest: String,
    },
    /// A request of somebody who is logged in was refused, or failed.
    Failed {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
        /// A code of the protocol, or `lost`.
        code: String,
        /// What happened.
        message: String,
    },
    /// Who may log in or do what is about to be changed: an account, a key, an invite, a right.
    /// Durable before it is.
    Admin {
        /// Who does it; absent where the server does it by itself or is told to on its own
        /// machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The session's id, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// What is done, in a word or two joined by `-`: `key-add`, `invite-make`.
        action: String,
        /// To whom or what: a user's name, a fingerprint.
        subject: String,
        /// What else there is to say, never a secret.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// So many more of one kind from one source since then, which were counted and not written one
    /// by one.
    More {
        /// The address (IPv6: its /64), or the user; `*` for all that there was no room to tell
        /// apart.
        source: String,
        /// The event that was counted.
        of: String,
        /// Its code, empty where it has none.
        code: String,
        /// How many.
        count: u64,
        /// From when on, as in `time`.
        since: String,
    },
}

/// What has to be the case before whoever waits for an entry goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is in the file: it outlives the process.
    Written,
    /// It is on the disk: it outlives a power cut.
    Durable,
}

impl Entry {
    pub(super) fn need(&self) -> Need {
        match self {
            Self::Login { .. } | Self::Transfer { .. } | Self::Admin { .. } | Self::Gap { .. } => {
                Need::Durable
            }
            _ => Need::Written,
        }
    }

    /// The name under `event`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped {} => "stopped",
            Self::Gap { .. } => "gap",
            Self::Login { .. } => "login",
            Self::Logout { .. } => "logout",
            Self::Refused { .. } => "refused",
            Self::TransferStart { .. } => "transfer-start",
            Self::Transfer { .. } => "transfer",
            Self::Failed { .. } => "failed",
            Self::Admin { .. } => "admin",
            Self::More { .. } => "more",
        }
    }

    /// Whether there can be any number of it for nothing, so that only the first of many are
    /// written one by one.
    pub(super) fn is_cheap(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Failed { .. })
    }

    /// Who it comes from and what it is, for counting.
    pub(super) fn kind(&self) -> Kind {
        let (source, code) = match self {
            Self::Refused { peer, code, .. } => (source(peer.ip()), code.clone()),
            Self::Failed { user, code, .. } => (user.clone(), code.clone()),
            Self::Login { user, .. }
            | Self::Logout { user, .. }
            | Self::TransferStart { user, .. }
            | Self::Transfer { user, .. } => (user.clone(), String::new()),
            _ => ("*".to_owned(), String::new()),
        };
        Kind {
            source,
            of: self.name(),
            code,
        }
    }
}

/// What entries have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) source: String,
    pub(super) of: &'static str,
    pub(super) code: String,
}

/// One party's addresses: an IPv4 address, or the /64 that one line of IPv6 has.
fn source(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            format!(
                "{}/64",
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_one_party_has() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }

    #[test]
    fn an_entry_is_written_under_its_name() {
        let entries = [
            Entry::Started {
                release: String::new(),
            },
            Entry::Stopped {},
            Entry::Logout {
                user: String::new(),
                session: String::new(),
            },
            Entry::Gap {
                problem: String::new(),
            },
        ];
        for entry in entries {
            assert_eq!(serde_json::to_value(&entry).unwrap()["event"], entry.name());
        }
    }
}
