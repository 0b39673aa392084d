//! What is sent before an entry: its extended attributes and ACLs.

use std::{ffi::OsStr, io, sync::Arc};

use super::{Walk, WalkOptions, WalkStep};
use crate::{
    Error,
    files::tree::{open_folders::FolderPlace, records::AclRecord},
    paths::{Attribute, FileAcls, Folder},
};

/// The extended attributes and ACLs of an entry, as far as they are sent.
#[derive(Debug, Default)]
pub(super) struct FoundAttributes {
    list: Vec<Attribute>,
    acls: FileAcls,
}

impl FoundAttributes {
    /// Those of an entry of a folder.
    pub(super) fn of(folder: &Folder, name: &OsStr, options: &WalkOptions) -> io::Result<Self> {
        let mut found = Self::default();
        if options.attributes {
            found.list = folder.attributes_of(name)?;
        }
        if options.acls {
            found.acls = folder.acls_of(name)?.unwrap_or_default();
        }
        Ok(found)
    }

    /// Those of the folder itself.
    pub(super) fn of_folder(folder: &Folder, options: &WalkOptions) -> io::Result<Self> {
        let mut found = Self::default();
        if options.attributes {
            found.list = folder.own_attributes()?;
        }
        if options.acls {
            found.acls = folder.own_acls()?.unwrap_or_default();
        }
        Ok(found)
    }
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

    /// Finds the attributes of a folder that is a source.
    pub(super) fn find_own_attributes(&mut self, source: usize) -> Result<(), Error> {
        let base = self.base(source)?;
        let found = FoundAttributes::of_folder(&base, &self.options);
        let shown = &self.source(source)?.shown;
        let found = found.map_err(|error| Error::io(shown.display(), &error))?;
        self.found_attributes(found);
        Ok(())
    }

    /// Sends attributes before the next entry. Returns the memory that they take.
    pub(super) fn found_attributes(&mut self, found: FoundAttributes) -> usize {
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
