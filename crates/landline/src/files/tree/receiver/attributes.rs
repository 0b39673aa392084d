//! Extended attributes that arrive, and those that entries have.

use std::{
    ffi::OsStr,
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use landline_proto::ErrorCode;

use super::{Problem, StorePlace, TreeReceiver, parts::WantedFile};
use crate::{
    Error,
    files::tree::{
        records::{AclRecord, EntryContent, FromSender, hash_attribute},
        sender::unexpected,
    },
    paths::{
        ATTRIBUTES_BYTES_MAX, Accounts, AclSubject, Attribute, File, FileAcls, Folder,
        copy_attributes, set_file_attributes,
    },
};

/// How many bytes of attributes are kept for files that have not arrived. A sender sends half of
/// it ahead.
const HELD_BYTES_MAX: usize = 32 << 20;

/// The attributes and ACLs of an entry, and the memory that they take.
#[derive(Debug)]
pub(super) struct HeldAttributes {
    list: Vec<Attribute>,
    pub(super) acls: FileAcls,
    /// Who is left out of the ACLs.
    pub(super) missing: Vec<AclSubject>,
    bytes: usize,
    /// The memory of all that are held.
    total: Arc<AtomicUsize>,
}

impl Drop for HeldAttributes {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The attributes that arrive.
#[derive(Debug)]
pub(super) struct ArrivingAttributes {
    /// Those of the next entry.
    next: HeldAttributes,
    total: Arc<AtomicUsize>,
    /// Finds the users and groups of ACLs.
    pub(super) accounts: Accounts,
}

impl Default for ArrivingAttributes {
    fn default() -> Self {
        let total = Arc::default();
        Self {
            next: HeldAttributes::none(&total),
            total,
            accounts: Accounts::default(),
        }
    }
}

impl ArrivingAttributes {
    /// Whether there are attributes of an entry that has not arrived.
    pub(super) fn are_due(&self) -> bool {
        !self.next.list.is_empty() || !self.next.acls.is_empty()
    }

    /// Adds an attribute of the next entry.
    ///
    /// # Errors
    /// [`Error::Protocol`] for too many, and for a name that came before.
    fn add(&mut self, attribute: Attribute) -> Result<(), Error> {
        let bytes = attribute.bytes();
        if !self.next.acls.is_empty() {
            return Err(unexpected("an attribute behind an ACL"));
        }
        let before = self.next.list.last();
        if before.is_some_and(|before| before.name() >= attribute.name()) {
            return Err(unexpected("attributes in another order than that of names"));
        }
        if self.next.bytes + bytes > ATTRIBUTES_BYTES_MAX {
            return Err(unexpected("too many attributes of an entry"));
        }
        self.hold(bytes)?;
        self.next.list.push(attribute);
        Ok(())
    }

    /// Adds an ACL of the next entry.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a second one, and for too many.
    pub(super) fn add_acl(&mut self, record: AclRecord) -> Result<(), Error> {
        let AclRecord { is_default, acl } = record;
        let acls = &self.next.acls;
        if acls.default.is_some() || (acls.access.is_some() && !is_default) {
            return Err(unexpected("an ACL after another one of its kind"));
        }
        self.hold(acl.bytes())?;
        let place = if is_default {
            &mut self.next.acls.default
        } else {
            &mut self.next.acls.access
        };
        *place = Some(acl);
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        if self.total.fetch_add(bytes, Ordering::Relaxed) + bytes > HELD_BYTES_MAX {
            return Err(unexpected("too many attributes at once"));
        }
        self.next.bytes += bytes;
        Ok(())
    }

    fn take(&mut self) -> HeldAttributes {
        mem::replace(&mut self.next, HeldAttributes::none(&self.total))
    }
}

impl HeldAttributes {
    fn none(total: &Arc<AtomicUsize>) -> Self {
        Self {
            list: Vec::new(),
            acls: FileAcls::default(),
            missing: Vec::new(),
            bytes: 0,
            total: total.clone(),
        }
    }

    fn is_of(&self, folder: &Folder, name: &OsStr) -> io::Result<bool> {
        Ok(folder.attributes_of(name)? == self.list)
    }
}

impl TreeReceiver {
    /// Checks that attributes come before an entry that has some.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub(super) fn check_attributes(&self, next: &FromSender<'_>) -> Result<(), Error> {
        let has_attributes = match next {
            FromSender::Attribute(_) | FromSender::Acl(_) => true,
            FromSender::Entry(entry) => {
                matches!(entry.content, EntryContent::Folder | EntryContent::File(_))
            }
            _ => false,
        };
        if self.attributes.are_due() && !has_attributes {
            return Err(unexpected("attributes without an entry"));
        }
        Ok(())
    }

    /// Takes an attribute of the next entry.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub(super) fn attribute(&mut self, attribute: Attribute) -> Result<(), Error> {
        if !self.options.attributes {
            return Err(unexpected("an attribute that was not asked for"));
        }
        hash_attribute(&mut self.hasher, &attribute);
        self.attributes.add(attribute)
    }

    /// The attributes that came before the entry that arrives; `None` if they are not kept.
    pub(super) fn take_attributes(&mut self) -> Option<HeldAttributes> {
        let are_kept = self.options.attributes || self.options.acls;
        are_kept.then(|| self.attributes.take())
    }

    /// Whether an entry that exists has other attributes than it should have.
    pub(super) fn has_other_attributes(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        wanted: Option<&HeldAttributes>,
    ) -> Result<bool, Problem> {
        let Some(wanted) = wanted.filter(|_| self.options.attributes) else {
            return Ok(false);
        };
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let is_same = wanted.is_of(&folder, name);
        is_same
            .map(|is_same| !is_same)
            .map_err(|error| self.attribute_problem(location, name, &error))
    }

    /// Gives an entry that exists its attributes.
    pub(super) fn set_attributes(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        wanted: Option<&HeldAttributes>,
    ) -> Result<(), Problem> {
        let Some(wanted) = wanted else {
            return Ok(());
        };
        let folder = self.open(location).map_err(self.problem(location, name))?;
        folder
            .set_attributes_of(name, &wanted.list)
            .map_err(|error| self.attribute_problem(location, name, &error))
    }

    /// Whether a folder has other attributes than it should have. If so, it gets them, unless this
    /// is a dry run. What the file system cannot keep is reported.
    pub(super) fn change_own_attributes(
        &mut self,
        number: u32,
        location: &StorePlace,
        wanted: Option<&HeldAttributes>,
    ) -> bool {
        let Some(wanted) = wanted.filter(|_| self.options.attributes) else {
            return false;
        };
        let changed = self.open(location).and_then(|folder| {
            if folder.own_attributes()? == wanted.list {
                return Ok(false);
            }
            if !self.options.dry_run {
                folder.set_own_attributes(&wanted.list)?;
            }
            Ok(true)
        });
        changed.unwrap_or_else(|error| {
            match self.attribute_problem(location, OsStr::new(""), &error) {
                Problem::Entry(error) | Problem::Copy(error) => self.fail(number, &error),
            }
            false
        })
    }

    /// Gives a new file its attributes. What the file system cannot keep is reported, and the file
    /// stays.
    pub(super) fn set_new_attributes(&mut self, entry: u32, created: &File, file: &WantedFile) {
        let Some(wanted) = file
            .attributes
            .as_ref()
            .filter(|held| !held.list.is_empty())
        else {
            return;
        };
        if let Err(error) = set_file_attributes(created, &wanted.list) {
            match self.attribute_problem(&file.location, &file.name, &error) {
                Problem::Entry(error) | Problem::Copy(error) => self.fail(entry, &error),
            }
        }
    }

    /// Gives a copy of a file the attributes of the first one, if they are kept. What the file
    /// system cannot keep is reported.
    pub(super) fn copy_attributes(
        &mut self,
        entry: u32,
        location: &StorePlace,
        name: &OsStr,
        [from, to]: [&File; 2],
    ) {
        if self.options.attributes
            && let Err(error) = copy_attributes(from, to)
        {
            match self.attribute_problem(location, name, &error) {
                Problem::Entry(error) | Problem::Copy(error) => self.fail(entry, &error),
            }
        }
    }

    /// Reports a problem of an entry, which is kept all the same.
    pub(super) fn report_entry<T>(
        &mut self,
        entry: u32,
        done: Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Problem::Entry(error)) => {
                self.fail(entry, &error);
                Ok(None)
            }
            Err(problem) => Err(problem),
        }
    }

    /// A problem with attributes concerns one entry.
    fn attribute_problem(&self, location: &StorePlace, name: &OsStr, error: &io::Error) -> Problem {
        let shown = self.shown(location, name);
        let message = format!("{}: extended attributes: {error}", shown.display());
        Problem::Entry(Error::here(ErrorCode::Io, message))
    }
}
