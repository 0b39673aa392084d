//! When a copy sends only the changed parts of files.

use clap::{Args, ValueEnum};
use landline::{files::messages::Compare, login::KnownServer};

/// The shortest file of which only the changed parts are sent, unless the user asks for it.
const LENGTH_MIN: u64 = 1 << 20;

/// The option that says when only changed parts are sent.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::commands) struct DeltaOption {
    /// When to send only the changed parts of a file
    ///
    /// With auto, landline compares files of at least 1 MiB with those that they replace. It sends
    /// whole files to a server on this machine. It also does so as soon as it measures that the
    /// connection is faster than about 2 Gbit/s and much has changed.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    delta: DeltaMode,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeltaMode {
    /// If it is worth it
    Auto,
    /// For all files but very short ones
    On,
    /// Never
    Off,
}

impl DeltaOption {
    /// With what a file of this length may be compared.
    pub(in crate::commands) fn compare(self, server: &KnownServer, length: u64) -> Compare {
        match self.delta {
            DeltaMode::Auto if server.is_on_loopback() || length < LENGTH_MIN => Compare::Earlier,
            DeltaMode::Auto => Compare::Replaced,
            DeltaMode::On => Compare::Always,
            DeltaMode::Off => Compare::Earlier,
        }
    }
}

#[cfg(test)]
mod tests {
    use landline::net::HostPort;

    use super::*;

    #[test]
    fn auto_compares_long_files_of_other_machines() {
        let server = |host: &str| {
            let address = HostPort {
                host: host.to_owned(),
                port: 1,
            };
            KnownServer::new(
                address,
                "0".repeat(64).parse().unwrap(),
                "a".parse().unwrap(),
            )
        };
        let compare = |delta, host, length| DeltaOption { delta }.compare(&server(host), length);
        for (host, length, expected) in [
            ("nas", LENGTH_MIN, Compare::Replaced),
            ("nas", LENGTH_MIN - 1, Compare::Earlier),
            ("127.0.0.1", LENGTH_MIN, Compare::Earlier),
            ("::1", LENGTH_MIN, Compare::Earlier),
            ("localhost", LENGTH_MIN, Compare::Earlier),
            ("10.0.0.1", LENGTH_MIN, Compare::Replaced),
        ] {
            assert_eq!(compare(DeltaMode::Auto, host, length), expected, "{host}");
            assert_eq!(compare(DeltaMode::On, host, length), Compare::Always);
            assert_eq!(compare(DeltaMode::Off, host, length), Compare::Earlier);
        }
    }
}
