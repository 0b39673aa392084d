//! The settings of commands that use a server: the file `client.toml`.

use std::{collections::BTreeMap, time::Duration};

use landline::{
    login::KnownServer,
    net::{HostGroups, Target},
    paths::local,
};
use toml_edit::{Document, Item};

use crate::{arguments::parse_span, environment::Environment, failure::Failure, settings};

/// The file.
const FILE: &str = "client.toml";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// Groups of hosts, in the table `[groups]`.
    pub(crate) groups: HostGroups,
    /// For how long sessions are held while no command uses them.
    hold: Option<Duration>,
    /// The same for a host, in the table `[hosts.NAME]`.
    hosts: BTreeMap<String, Option<Duration>>,
}

impl ClientSettings {
    /// Reads the user's own file, else that of the machine. Without a file there are no settings.
    ///
    /// # Errors
    /// The file cannot be read, others may write to it, or it has something unknown.
    pub(crate) fn read(environment: &Environment) -> Result<Self, Failure> {
        let Some(path) = settings::find_config_file(environment, FILE) else {
            return Ok(Self::default());
        };
        let failed = |problem: String| Failure::settings(format!("{}: {problem}", path.display()));
        let bytes = local::read_trusted(&path, FILE_BYTES_MAX);
        let bytes = bytes.map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("is not UTF-8".to_owned()))?;
        Self::parse(&text).map_err(failed)
    }

    /// Whether any session is held on demand.
    pub(crate) fn may_hold(&self) -> bool {
        self.hold.is_some() || self.hosts.values().any(Option::is_some)
    }

    /// For how long a session with this server is held on demand.
    pub(crate) fn hold_time(&self, target: &Target, server: &KnownServer) -> Option<Duration> {
        let name = server.name.as_ref().map(ToString::to_string);
        let mut names = name.iter().chain([&target.host, &server.host]);
        let own = names.find_map(|name| self.hosts.get(&name.to_ascii_lowercase()));
        own.copied().unwrap_or(self.hold)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document =
            Document::parse(text).map_err(|error| settings::describe_toml(text, &error))?;
        let mut settings = Self::default();
        for (name, item) in document.iter() {
            match name {
                "groups" => settings.groups = parse_groups(item)?,
                "hold" => settings.hold = parse_hold(item)?,
                "hosts" => settings.hosts = parse_hosts(item)?,
                _ => {
                    let known = "groups, hold and hosts";
                    return Err(format!("there is no setting {name:?}; there are: {known}"));
                }
            }
        }
        Ok(settings)
    }
}

/// A time, or `off`.
fn parse_hold(item: &Item) -> Result<Option<Duration>, String> {
    let wanted = || "hold is a time such as \"10m\", or \"off\"".to_owned();
    match item.as_str().ok_or_else(wanted)? {
        "off" => Ok(None),
        time => parse_span(time).map(Some).map_err(|_| wanted()),
    }
}

fn parse_hosts(item: &Item) -> Result<BTreeMap<String, Option<Duration>>, String> {
    let hosts = item.as_table_like().ok_or("[hosts.NAME] is a table")?;
    let parse_host = |(name, item): (&str, &Item)| {
        let wanted = || format!("[hosts.{name}] has the one setting hold");
        let settings = item.as_table_like().ok_or_else(wanted)?;
        match settings.iter().collect::<Vec<_>>()[..] {
            [("hold", time)] => Ok((name.to_ascii_lowercase(), parse_hold(time)?)),
            _ => Err(wanted()),
        }
    };
    hosts.iter().map(parse_host).collect()
}

fn parse_groups(item: &Item) -> Result<HostGroups, String> {
    let groups = item.as_table_like().ok_or("[groups] is a table")?;
    let parse_group = |(name, item): (&str, &Item)| {
        let hosts = item.as_array().and_then(|hosts| {
            let hosts = hosts.iter().map(|host| host.as_str().map(str::to_owned));
            hosts.collect::<Option<Vec<_>>>()
        });
        let hosts =
            hosts.ok_or_else(|| format!("the group {name} is a list: {name} = [\"web[1-20]\"]"))?;
        Ok((name.to_owned(), hosts))
    };
    groups.iter().map(parse_group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_of_host_comes_first() {
        let text = "hold = \"10m\"\n[hosts.NAS]\nhold = \"1h\"\n[hosts.web]\nhold = \"off\"\n";
        let settings = ClientSettings::parse(text).unwrap();
        let time = |host: &str| {
            let target: Target = host.parse().unwrap();
            let address = "192.0.2.7:5263".parse().unwrap();
            let fingerprint = "00".repeat(32).parse().unwrap();
            let server = KnownServer::new(address, fingerprint, "alice".parse().unwrap());
            settings
                .hold_time(&target, &server)
                .map(|time| time.as_secs())
        };
        assert_eq!(time("nas"), Some(3600));
        assert_eq!(time("web"), None);
        assert_eq!(time("other"), Some(600));
        assert!(settings.may_hold() && !ClientSettings::default().may_hold());
    }

    #[test]
    fn groups_are_lists_of_texts() {
        let settings = ClientSettings::parse("[groups]\nweb = [\"web[1-3]\", \"@db\"]\ndb = []\n");
        let groups = settings.unwrap().groups;
        assert_eq!(groups["web"], ["web[1-3]", "@db"]);
        assert!(groups["db"].is_empty());
        for text in [
            "group = 1",
            "hold = 5",
            "hold = \"soon\"",
            "[hosts.nas]\nhelp = \"5m\"",
            "groups = 1",
            "[groups]\nweb = \"nas\"",
            "x =",
        ] {
            assert!(ClientSettings::parse(text).is_err(), "{text}");
        }
    }
}
