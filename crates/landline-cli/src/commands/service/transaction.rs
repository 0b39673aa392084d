//! A change of the installed units, which can be undone.

use std::{io, path::PathBuf};

use landline::paths::local;

use super::{SERVICE, SOCKET, systemd::Systemd};
use crate::{failure::Failure, terminal::print};

/// Far beyond any unit.
const UNIT_BYTES_MAX: u64 = 64 * 1024;

pub(super) struct Transaction<'a> {
    systemd: &'a Systemd,
    units: [Unit; 2],
}

struct Unit {
    name: &'static str,
    path: PathBuf,
    text: String,
    /// What was there before.
    earlier: Option<Earlier>,
}

struct Earlier {
    text: Vec<u8>,
    is_enabled: bool,
    is_active: bool,
}

impl<'a> Transaction<'a> {
    /// Looks at what is there.
    ///
    /// # Errors
    /// Where it cannot be read, so that it could not be put back.
    pub(super) fn of(
        systemd: &'a Systemd,
        texts: [(&'static str, String); 2],
    ) -> Result<Self, Failure> {
        let folder = systemd.folder()?;
        let [service, socket] = texts.map(|(name, text)| {
            let path = folder.join(name);
            let earlier = match local::read(&path, UNIT_BYTES_MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Failure::local(format!("{}: {error}", path.display()))),
                Ok(text) => Some(Earlier {
                    text,
                    is_enabled: systemd.answer(&["is-enabled", name])?.is_some(),
                    is_active: systemd.answer(&["is-active", name])?.is_some(),
                }),
            };
            Ok(Unit {
                name,
                path,
                text,
                earlier,
            })
        });
        Ok(Self {
            systemd,
            units: [service?, socket?],
        })
    }

    /// Writes the units and lets them start by themselves from now on.
    ///
    /// # Errors
    /// What fails.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        for unit in &self.units {
            write(unit, unit.text.as_bytes())?;
            print(&format!("wrote {}", unit.path.display()));
        }
        self.systemd.run(&["daemon-reload"])?;
        self.systemd.run(&["enable", SOCKET, SERVICE])
    }

    /// Starts the service, or starts it again: what runs already is an earlier one. Its copies may
    /// end first, and its socket listens on where nothing is changed about that.
    ///
    /// # Errors
    /// Where it does not come up.
    pub(super) fn start(&self) -> Result<(), Failure> {
        let [_, socket] = &self.units;
        let stays = socket
            .earlier
            .as_ref()
            .is_some_and(|it| it.is_active && it.text == socket.text.as_bytes());
        self.systemd.run(if stays {
            &["restart", SERVICE]
        } else {
            &["restart", SOCKET, SERVICE]
        })
    }

    /// Puts back what was there before, and says what that is now.
    pub(super) fn undo(&self) -> String {
        match self.put_back() {
            Ok(true) => "the earlier service is in its place again".to_owned(),
            Ok(false) => "nothing of it is left".to_owned(),
            Err(failure) => format!(
                "it could not be taken back ({failure}); landline service remove takes it away"
            ),
        }
    }

    fn put_back(&self) -> Result<bool, Failure> {
        // What was never enabled cannot be disabled; that is no matter.
        self.systemd
            .answer(&["disable", "--now", SOCKET, SERVICE])?;
        self.systemd.answer(&["reset-failed", SOCKET, SERVICE])?;
        for unit in &self.units {
            match &unit.earlier {
                Some(earlier) => write(unit, &earlier.text)?,
                None => local::remove(&unit.path)
                    .map_err(|error| Failure::local(format!("{}: {error}", unit.path.display())))?,
            }
        }
        self.systemd.answer(&["daemon-reload"])?;
        let those = |is: fn(&Earlier) -> bool| {
            // The socket first: it cannot start where the service runs.
            let names = self
                .units
                .iter()
                .rev()
                .filter(move |unit| unit.earlier.as_ref().is_some_and(is));
            names.map(|unit| unit.name).collect::<Vec<_>>()
        };
        for (verb, names) in [
            ("enable", those(|it| it.is_enabled)),
            ("start", those(|it| it.is_active)),
        ] {
            if !names.is_empty()
                && self
                    .systemd
                    .answer(&[&[verb], names.as_slice()].concat())?
                    .is_none()
            {
                return Err(Failure::local(format!(
                    "systemctl {verb} {} failed",
                    names.join(" ")
                )));
            }
        }
        Ok(self.units.iter().any(|unit| unit.earlier.is_some()))
    }
}

fn write(unit: &Unit, text: &[u8]) -> Result<(), Failure> {
    local::write(&unit.path, text)
        .map_err(|error| Failure::local(format!("{}: {error}", unit.path.display())))
}
