//! The settings of commands that use a server: the file `client.toml`.

use landline::{net::HostGroups, paths::local};
use toml_edit::{Document, Item};

use crate::{environment::Environment, failure::Failure, settings};

/// The file.
const FILE: &str = "client.toml";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// Groups of hosts, in the table `[groups]`.
    pub(crate) groups: HostGroups,
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

    fn parse(text: &str) -> Result<Self, String> {
        let document =
            Document::parse(text).map_err(|error| settings::describe_toml(text, &error))?;
        let mut settings = Self::default();
        for (name, item) in document.iter() {
            match name {
                "groups" => settings.groups = parse_groups(item)?,
                _ => return Err(format!("there is no setting {name:?}; there are: groups")),
            }
        }
        Ok(settings)
    }
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
    fn groups_are_lists_of_texts() {
        let settings = ClientSettings::parse("[groups]\nweb = [\"web[1-3]\", \"@db\"]\ndb = []\n");
        let groups = settings.unwrap().groups;
        assert_eq!(groups["web"], ["web[1-3]", "@db"]);
        assert!(groups["db"].is_empty());
        for text in ["group = 1", "groups = 1", "[groups]\nweb = \"nas\"", "x ="] {
            assert!(ClientSettings::parse(text).is_err(), "{text}");
        }
    }
}
