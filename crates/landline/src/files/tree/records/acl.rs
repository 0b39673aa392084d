//! The record of an ACL.

use super::{
    RecordError,
    codec::{ContentReader, put},
};
use crate::paths::{Acl, AclAccount, AclEntry, AclSubject};

/// The kind of the record.
pub(super) const ACL: u8 = 12;

/// An ACL of the next entry, and whether it is the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRecord {
    /// Whether it is what new entries of a folder get.
    pub is_default: bool,
    /// The ACL.
    pub acl: Acl,
}

impl AclRecord {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, ACL, |out| {
            out.push(if self.is_default { 2 } else { 1 });
            for AclEntry {
                subject,
                permissions,
            } in self.acl.entries()
            {
                let what = match subject {
                    AclSubject::Owner => 1,
                    AclSubject::User(AclAccount::Name(_)) => 2,
                    AclSubject::User(AclAccount::Number(_)) => 3,
                    AclSubject::Group => 4,
                    AclSubject::NamedGroup(AclAccount::Name(_)) => 5,
                    AclSubject::NamedGroup(AclAccount::Number(_)) => 6,
                    AclSubject::Mask => 7,
                    AclSubject::Others => 8,
                };
                out.extend_from_slice(&[what, *permissions]);
                match subject.account() {
                    Some(AclAccount::Name(name)) => {
                        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                        out.extend_from_slice(name);
                    }
                    Some(AclAccount::Number(number)) => {
                        out.extend_from_slice(&number.to_le_bytes())
                    }
                    None => {}
                }
            }
        });
    }

    /// Adds the ACL to the digest of its tree.
    pub(crate) fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        hasher.update(&bytes);
    }

    pub(super) fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let is_default = match reader.u8()? {
            1 => false,
            2 => true,
            _ => return reader.invalid(),
        };
        let mut entries = Vec::new();
        while !reader.is_at_end() {
            let (what, permissions) = (reader.u8()?, reader.u8()?);
            let account = match what {
                2 | 5 => {
                    let length = reader.u8()?;
                    AclAccount::Name(reader.take(length.into())?.to_vec())
                }
                3 | 6 => AclAccount::Number(reader.u32()?),
                _ => AclAccount::Number(0),
            };
            let subject = match what {
                1 => AclSubject::Owner,
                2 | 3 => AclSubject::User(account),
                4 => AclSubject::Group,
                5 | 6 => AclSubject::NamedGroup(account),
                7 => AclSubject::Mask,
                8 => AclSubject::Others,
                _ => return reader.invalid(),
            };
            entries.push(AclEntry {
                subject,
                permissions,
            });
        }
        match Acl::new(entries) {
            Some(acl) => Ok(Self { is_default, acl }),
            None => reader.invalid(),
        }
    }
}
