//! A change of the installed units that can be rolled back.

use std::{io, path::PathBuf};

use landline::paths::local;

use super::{LAUNCHER, LAUNCHER_SOCKET, SERVICE, SOCKET, UnitTexts, systemd::Systemd};
use crate::{context::Context, failure::Failure};

/// The longest unit that is read, in bytes.
const UNIT_BYTES_MAX: u64 = 64 * 1024;

/// The new units, and the units that they replace.
pub(super) struct Transaction<'a> {
    context: &'a Context,
    systemd: &'a Systemd<'a>,
    units: Vec<Unit>,
}

struct Unit {
    name: &'static str,
    path: PathBuf,
    text: String,
    earlier: Option<Earlier>,
}

/// A unit that was installed before.
struct Earlier {
    text: Vec<u8>,
    is_enabled: bool,
    is_active: bool,
}

impl<'a> Transaction<'a> {
    /// Reads the installed units.
    ///
    /// # Errors
    /// A unit cannot be read, so it could not be restored.
    pub(super) fn new(
        context: &'a Context,
        systemd: &'a Systemd<'a>,
        texts: UnitTexts,
    ) -> Result<Self, Failure> {
        let folder = systemd.unit_folder()?;
        let units = texts.into_iter().map(|(name, text)| {
            let path = folder.join(name);
            let earlier = match local::read(&path, UNIT_BYTES_MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Failure::local(format!("{}: {error}", path.display()))),
                Ok(text) => Some(Earlier {
                    text,
                    // The launcher is started by its socket alone.
                    is_enabled: name != LAUNCHER && systemd.query(&["is-enabled", name])?.is_some(),
                    is_active: systemd.query(&["is-active", name])?.is_some(),
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
            context,
            systemd,
            units: units.collect::<Result<_, Failure>>()?,
        })
    }

    /// Writes and enables the units.
    ///
    /// # Errors
    /// A unit cannot be written, or systemctl fails.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        for unit in &self.units {
            write(unit, unit.text.as_bytes())?;
            self.context
                .out
                .print(&format!("wrote {}", unit.path.display()));
        }
        self.systemd.run(&["daemon-reload"])?;
        self.systemd
            .run(&["enable", SOCKET, SERVICE, LAUNCHER_SOCKET])
    }

    /// Starts the service, or restarts an earlier one after its transfers have ended.
    ///
    /// A socket is restarted only if its unit changed, so that no connection is lost.
    ///
    /// # Errors
    /// The service does not start.
    pub(super) fn start(&self) -> Result<(), Failure> {
        let mut names = vec!["restart"];
        if !self.is_unchanged(SOCKET) {
            names.push(SOCKET);
        }
        if !self.is_unchanged(LAUNCHER_SOCKET) || !self.is_unchanged(LAUNCHER) {
            names.extend([LAUNCHER_SOCKET, LAUNCHER]);
        }
        names.push(SERVICE);
        self.systemd.run(&names)
    }

    /// Whether a unit has the same text as before, and nothing has to be started.
    fn is_unchanged(&self, name: &str) -> bool {
        let unit = self.units.iter().find(|unit| unit.name == name);
        unit.is_some_and(|unit| {
            let earlier = unit.earlier.as_ref();
            // The launcher starts when it is needed.
            earlier.is_some_and(|it| {
                (it.is_active || name == LAUNCHER) && it.text == unit.text.as_bytes()
            })
        })
    }

    /// Restores the earlier units, and describes the result.
    pub(super) fn roll_back(&self) -> String {
        match self.restore() {
            Ok(true) => "the earlier service was restored".to_owned(),
            Ok(false) => "the new service was removed".to_owned(),
            Err(failure) => {
                format!("it could not be rolled back ({failure}); run landline service remove")
            }
        }
    }

    /// Whether there was an earlier service.
    fn restore(&self) -> Result<bool, Failure> {
        // This fails for a unit that was never enabled, which is fine.
        let names: Vec<&str> = self.units.iter().map(|unit| unit.name).collect();
        for verb in [&["disable", "--now"][..], &["reset-failed"]] {
            self.systemd.query(&[verb, names.as_slice()].concat())?;
        }
        for unit in &self.units {
            match &unit.earlier {
                Some(earlier) => write(unit, &earlier.text)?,
                None => local::remove(&unit.path)
                    .map_err(|error| Failure::local(format!("{}: {error}", unit.path.display())))?,
            }
        }
        self.systemd.query(&["daemon-reload"])?;
        let names_where = |is: fn(&Earlier) -> bool| {
            // The socket comes first: it cannot start while the service runs.
            let names = self
                .units
                .iter()
                .rev()
                .filter(move |unit| unit.earlier.as_ref().is_some_and(is));
            names.map(|unit| unit.name).collect::<Vec<_>>()
        };
        for (verb, names) in [
            ("enable", names_where(|it| it.is_enabled)),
            ("start", names_where(|it| it.is_active)),
        ] {
            if !names.is_empty()
                && self
                    .systemd
                    .query(&[&[verb], names.as_slice()].concat())?
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
