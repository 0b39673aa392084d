//! What is sent before an entry: its extended attributes and ACLs.

use std::{ffi::OsStr, io, path::Path, sync::Arc};

use landline_proto::ErrorCode;

use super::{Walk, WalkOptions, WalkStep, steps::failed};
use crate::{
    Error,
    files::tree::{open_folders::FolderPlace, records::AclRecord},
    paths::{Attribute, EntryStat, FileAcls, Folder},
};

/// The permission bits of an entry whose ACL is not sent: those of its owner.
///
/// Those of the group may be the mask. Those of others may give more than the ACL left a user or
/// group that it names.
const MODE_WITHOUT_ACL: u32 = 0o700;

/// What people read about such an entry.
const WITHOUT_ACL: &str = "ACL, and only the rights of its owner";

/// The extended attributes and ACLs of an entry, as far as they are sent.
#[derive(Debug, Default)]
pub(super) struct FoundAttributes {
    list: Vec<Attribute>,
    acls: FileAcls,
    /// Why the ACLs are not sent.
    acl_problem: Option<io::Error>,
    /// Why the attributes are not sent.
    problem: Option<io::Error>,
}

impl FoundAttributes {
    /// Those of an entry of a folder.
    pub(super) fn of(folder: &Folder, name: &OsStr, options: &WalkOptions) -> io::Result<Self> {
        let mut found = Self::default();
        if options.attributes {
            found.take_attributes(folder.attributes_of(name))?;
        }
        if options.acls {
            found.take_acls(folder.acls_of(name))?;
        }
        Ok(found)
    }

    /// Those of the folder itself.
    pub(super) fn of_folder(folder: &Folder, options: &WalkOptions) -> io::Result<Self> {
        let mut found = Self::default();
        if options.attributes {
            found.take_attributes(folder.own_attributes())?;
        }
        if options.acls {
            found.take_acls(folder.own_acls())?;
        }
        Ok(found)
    }

    fn take_attributes(&mut self, read: io::Result<Vec<Attribute>>) -> io::Result<()> {
        match read {
            Err(error) if is_beyond_limits(&error) => self.problem = Some(error),
            read => self.list = read?,
        }
        Ok(())
    }

    fn take_acls(&mut self, read: io::Result<Option<FileAcls>>) -> io::Result<()> {
        match read {
            Err(error) if is_beyond_limits(&error) => self.acl_problem = Some(error),
            read => self.acls = read?.unwrap_or_default(),
        }
        Ok(())
    }

    /// What the entry is sent as: without its ACL, it has only the rights of its owner.
    pub(super) fn limit(&self, stat: &EntryStat) -> EntryStat {
        let mut stat = *stat;
        if self.acl_problem.is_some() {
            stat.mode &= MODE_WITHOUT_ACL;
        }
        stat
    }

    /// Why something is not sent. `shown` is the path of the entry.
    fn problems(&self, shown: &Path) -> impl Iterator<Item = Error> {
        let explain = |what: &'static str, because: Option<&io::Error>| {
            let because = because?;
            let message = format!("{}: the copy has no {what}: {because}", shown.display());
            Some(Error::here(ErrorCode::Io, message))
        };
        [
            explain("extended attributes", self.problem.as_ref()),
            explain(WITHOUT_ACL, self.acl_problem.as_ref()),
        ]
        .into_iter()
        .flatten()
    }
}

/// Whether something cannot be sent, because it means nothing or is too long. The entry is sent all
/// the same.
fn is_beyond_limits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge
    )
}

impl Walk {
    /// The attributes of a file, if they are sent.
    pub(super) fn find_attributes(
        &mut self,
        source: usize,
        folder: &Arc<FolderPlace>,
        name: &OsStr,
    ) -> io::Result<FoundAttributes> {
        if !self.options.attributes && !self.options.acls {
            return Ok(FoundAttributes::default());
        }
        let base = self.base(source).map_err(io::Error::other)?;
        let folder = self.open.get(&base, folder)?;
        FoundAttributes::of(&folder, name, &self.options)
    }

    /// Finds the attributes of a folder that is a source, and sends them. Returns what the folder is
    /// sent as.
    pub(super) fn find_own_attributes(
        &mut self,
        source: usize,
        stat: &EntryStat,
    ) -> Result<EntryStat, Error> {
        let base = self.base(source)?;
        let found = FoundAttributes::of_folder(&base, &self.options);
        let shown = self.source(source)?.shown.clone();
        let found = found.map_err(|error| Error::io(shown.display(), &error))?;
        let stat = found.limit(stat);
        self.found_attributes(found, None, &shown);
        Ok(stat)
    }

    /// Sends attributes before the next entry, which is in the folder of this number. Returns the
    /// memory that they take. `shown` is the path of the entry.
    pub(super) fn found_attributes(
        &mut self,
        found: FoundAttributes,
        parent: Option<u32>,
        shown: &Path,
    ) -> usize {
        for error in found.problems(shown) {
            let step = failed(parent.unwrap_or(u32::MAX), &error);
            self.found.push_back(step);
        }
        let bytes: usize = found.list.iter().map(Attribute::bytes).sum();
        let steps = found.list.into_iter().map(WalkStep::Attribute);
        self.found.extend(steps);
        let mut acl_bytes = 0;
        for (is_default, acl) in [(false, found.acls.access), (true, found.acls.default)] {
            let Some(acl) = acl else { continue };
            let acl = self.accounts.name(&acl);
            acl_bytes += acl.bytes();
            let record = AclRecord { is_default, acl };
            self.found.push_back(WalkStep::Acl(record));
        }
        bytes + acl_bytes
    }
}
