//! ACLs that arrive, and those that entries have.

use std::{ffi::OsStr, io};

use landline_proto::ErrorCode;

use super::{StorePlace, TreeReceiver, attributes::HeldAttributes};
use crate::{
    Error,
    files::tree::{records::AclRecord, sender::unexpected},
    paths::{AclAccount, AclSubject, File, FileAcls, file_acls, set_file_acls},
};

/// How many users and groups are named that do not exist.
const NAMED_MAX: usize = 10;

/// What an entry that exists has in place of the ACLs that it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExistingAcls {
    /// The same ones, or ACLs are not kept.
    Same,
    /// Other ones.
    Other,
    /// None, because the file system has none.
    Impossible,
}

impl TreeReceiver {
    /// Takes an ACL of the next entry.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub(super) fn acl(&mut self, record: AclRecord) -> Result<(), Error> {
        if !self.options.acls {
            return Err(unexpected("an ACL that was not asked for"));
        }
        record.hash(&mut self.hasher);
        self.attributes.add_acl(record)
    }

    /// The attributes that came before the entry that arrives, with the users and groups of this
    /// machine; `None` if they are not kept.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a file with a default ACL.
    pub(super) fn take_attributes_of(
        &mut self,
        is_folder: bool,
    ) -> Result<Option<HeldAttributes>, Error> {
        let Some(mut held) = self.take_attributes() else {
            return Ok(None);
        };
        if held.acls.default.is_some() && !is_folder {
            return Err(unexpected("a default ACL of a file"));
        }
        let mut missing = Vec::new();
        for acl in [&mut held.acls.access, &mut held.acls.default] {
            *acl = acl.take().map(|acl| {
                let (acl, left_out) = self.attributes.accounts.number(&acl);
                missing.extend(left_out);
                acl
            });
        }
        held.acls.access = held.acls.access.take().filter(|acl| !acl.is_minimal());
        missing.sort_unstable();
        missing.dedup();
        held.missing = missing;
        Ok(Some(held))
    }

    /// Reports users and groups that an ACL names and this machine does not have. Of a file that
    /// is wanted, the sender must not hear of it before it has sent the content.
    pub(super) fn report_missing(
        &mut self,
        number: u32,
        (location, name): (&StorePlace, &OsStr),
        held: Option<&HeldAttributes>,
    ) {
        let Some(held) = held.filter(|held| !held.missing.is_empty()) else {
            return;
        };
        let shown = self.shown(location, name);
        let names: Vec<_> = held.missing.iter().take(NAMED_MAX).map(describe).collect();
        let more = match held.missing.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!(
            "{}: its ACL is incomplete, because these do not exist here: {}{more}",
            shown.display(),
            names.join(", ")
        );
        self.fail(number, &Error::here(ErrorCode::NotFound, message));
    }

    /// What an entry that exists has in place of its ACLs. What cannot be read is reported.
    pub(super) fn existing_acls(
        &mut self,
        number: u32,
        (location, name): (&StorePlace, &OsStr),
        wanted: Option<&HeldAttributes>,
    ) -> ExistingAcls {
        let Some(wanted) = wanted.filter(|_| self.options.acls) else {
            return ExistingAcls::Same;
        };
        let found = self.open(location).and_then(|folder| {
            if name.is_empty() {
                folder.own_acls()
            } else {
                folder.acls_of(name)
            }
        });
        match found {
            Ok(Some(found)) if found.is_same(&wanted.acls) => ExistingAcls::Same,
            Ok(None) if wanted.acls.is_empty() => ExistingAcls::Same,
            Ok(Some(_)) => ExistingAcls::Other,
            Ok(None) => {
                let error = io::ErrorKind::Unsupported.into();
                self.report_acl(number, location, name, &error);
                ExistingAcls::Impossible
            }
            Err(error) => {
                self.report_acl(number, location, name, &error);
                ExistingAcls::Impossible
            }
        }
    }

    /// The permission bits of an entry whose ACL cannot be kept: the group gets no more than from
    /// the ACL.
    pub(super) fn mode_with(
        mode: u32,
        existing: ExistingAcls,
        wanted: Option<&HeldAttributes>,
    ) -> u32 {
        match wanted {
            Some(wanted) if existing == ExistingAcls::Impossible => wanted.acls.mode_without(mode),
            _ => mode,
        }
    }

    /// Gives an entry that exists its ACLs. `mode` is what it gets next.
    pub(super) fn set_acls(
        &mut self,
        number: u32,
        (location, name): (&StorePlace, &OsStr),
        wanted: &FileAcls,
        mode: u32,
    ) -> ExistingAcls {
        let set = self.open(location).and_then(|folder| {
            if name.is_empty() {
                folder.set_own_acls(wanted, mode)
            } else {
                folder.set_acls_of(name, wanted, mode)
            }
        });
        match set {
            Ok(()) => ExistingAcls::Same,
            Err(error) => {
                self.report_acl(number, location, name, &error);
                ExistingAcls::Impossible
            }
        }
    }

    /// Leaves the default ACL of a home or granted folder: it would give rights to what other users
    /// store there.
    pub(super) fn keep_default_acl(
        &mut self,
        number: u32,
        location: &StorePlace,
        held: Option<&mut HeldAttributes>,
    ) {
        let Some(held) = held.filter(|_| self.options.acls) else {
            return;
        };
        let existing = self.open(location).and_then(|folder| folder.own_acls());
        let default = existing.ok().flatten().and_then(|acls| acls.default);
        if held.acls.default.is_some() && held.acls.default != default {
            let shown = self.shown(location, OsStr::new(""));
            let message = format!(
                "{} is a home or granted folder, and keeps its default ACL",
                shown.display()
            );
            self.fail(number, &Error::here(ErrorCode::Denied, message));
        }
        held.acls.default = default;
    }

    /// Gives a folder its ACLs, if it has other ones, unless this is a dry run. Returns what it has
    /// then, and whether its ACLs change. `mode` is what it gets at its end.
    pub(super) fn change_own_acls(
        &mut self,
        number: u32,
        location: &StorePlace,
        wanted: Option<&HeldAttributes>,
        mode: u32,
    ) -> (ExistingAcls, bool) {
        let place = (location, OsStr::new(""));
        self.report_missing(number, place, wanted);
        let mut existing = self.existing_acls(number, place, wanted);
        let changes = existing == ExistingAcls::Other;
        if let Some(wanted) = wanted.filter(|_| changes && !self.options.dry_run) {
            existing = self.set_acls(number, place, &wanted.acls, mode);
        }
        (existing, changes)
    }

    /// Gives a new file its ACLs. Returns the permission bits that it gets next.
    pub(super) fn set_new_acls(
        &mut self,
        number: u32,
        created: &File,
        (location, name): (&StorePlace, &OsStr),
        wanted: Option<&HeldAttributes>,
        mode: u32,
    ) -> u32 {
        let Some(wanted) = wanted.filter(|_| self.options.acls) else {
            return mode;
        };
        self.report_missing(number, (location, name), Some(wanted));
        match set_file_acls(created, &wanted.acls, mode) {
            Ok(()) => mode,
            Err(error) => {
                self.report_acl(number, location, name, &error);
                wanted.acls.mode_without(mode)
            }
        }
    }

    /// Gives a copy of a file the ACLs of the first one, if they are kept. `mode` are its
    /// permission bits. Returns those that the copy gets next.
    pub(super) fn copy_acls(
        &mut self,
        number: u32,
        (location, name): (&StorePlace, &OsStr),
        [from, to]: [&File; 2],
        mode: u32,
    ) -> u32 {
        if !self.options.acls {
            return mode;
        }
        let (done, mode) = match file_acls(from) {
            Ok(acls) => {
                let acls = acls.unwrap_or_default();
                match set_file_acls(to, &acls, mode) {
                    Ok(()) => (Ok(()), mode),
                    // Nothing is lost where there can be no ACL.
                    Err(error) if error.kind() == io::ErrorKind::Unsupported && acls.is_empty() => {
                        (Ok(()), mode)
                    }
                    Err(error) => (Err(error), acls.mode_without(mode)),
                }
            }
            Err(error) => (Err(error), mode & 0o707),
        };
        if let Err(error) = done {
            self.report_acl(number, location, name, &error);
        }
        mode
    }

    fn report_acl(&mut self, number: u32, location: &StorePlace, name: &OsStr, error: &io::Error) {
        let shown = self.shown(location, name);
        let message = format!("{}: ACL: {error}", shown.display());
        self.fail(number, &Error::here(ErrorCode::Io, message));
    }
}

fn describe(subject: &AclSubject) -> String {
    let (what, account) = match subject {
        AclSubject::User(account) => ("user", account),
        AclSubject::NamedGroup(account) => ("group", account),
        _ => return String::new(),
    };
    match account {
        AclAccount::Name(name) => format!("{what} {}", String::from_utf8_lossy(name)),
        AclAccount::Number(number) => format!("{what} {number}"),
    }
}
