//! The entries of an ACL, and the bytes that the system has for them.

/// The most entries of an ACL. ext4 keeps as many.
pub const ACL_ENTRIES_MAX: usize = 500;
/// The most bytes of the name of a user or group.
pub const ACL_NAME_BYTES_MAX: usize = 255;
/// Whether this system has POSIX ACLs.
pub const HAS_ACLS: bool = cfg!(target_os = "linux");

/// What a value begins with.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// The memory that an entry takes beside its name.
const ENTRY_MEMORY_BYTES: usize = 48;
/// The number in an entry that names no user or group.
const NO_NUMBER: u32 = u32::MAX;

/// A user or group that an ACL names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclAccount {
    /// By name: 1 to [`ACL_NAME_BYTES_MAX`] bytes without NUL.
    Name(Vec<u8>),
    /// By number.
    Number(u32),
}

/// Whose permissions an entry has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclSubject {
    /// The owner.
    Owner,
    /// Another user.
    User(AclAccount),
    /// The group of the file.
    Group,
    /// Another group.
    NamedGroup(AclAccount),
    /// The most that the group and named users and groups get.
    Mask,
    /// All others.
    Others,
}

impl AclSubject {
    /// The user or group that it names.
    pub fn account(&self) -> Option<&AclAccount> {
        match self {
            Self::User(account) | Self::NamedGroup(account) => Some(account),
            _ => None,
        }
    }
}

/// An entry of an ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// Whose permissions.
    pub subject: AclSubject,
    /// 4 to read, 2 to write, 1 to execute or enter.
    pub permissions: u8,
}

/// An ACL: the owner, the group and others, once each; a mask if it names users or groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(pub(super) Vec<AclEntry>);

impl Acl {
    /// The most bytes that the system has for an ACL.
    pub(super) const VALUE_BYTES_MAX: usize = HEADER_BYTES + ACL_ENTRIES_MAX * ENTRY_BYTES;

    /// An ACL of these entries, which are in the order of their subjects; `None` if they are not,
    /// or not what an ACL has.
    pub fn new(entries: Vec<AclEntry>) -> Option<Self> {
        let is_sorted = entries.is_sorted_by(|one, next| one.subject < next.subject);
        let has = |subject: AclSubject| entries.iter().any(|entry| entry.subject == subject);
        let has_base = [AclSubject::Owner, AclSubject::Group, AclSubject::Others]
            .into_iter()
            .all(has);
        let mut accounts = entries.iter().filter_map(|entry| entry.subject.account());
        let names_any = accounts.clone().next().is_some();
        let has_names = accounts.all(|account| match account {
            AclAccount::Name(name) => {
                (1..=ACL_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(&0)
            }
            AclAccount::Number(number) => *number != NO_NUMBER,
        });
        let is_valid = is_sorted
            && entries.len() <= ACL_ENTRIES_MAX
            && has_base
            && has_names
            && (!names_any
                || entries
                    .iter()
                    .any(|entry| entry.subject == AclSubject::Mask))
            && entries.iter().all(|entry| entry.permissions <= 7);
        is_valid.then_some(Self(entries))
    }

    /// The ACL that says what permission bits say.
    pub(super) fn minimal(mode: u32) -> Self {
        let subjects = [AclSubject::Owner, AclSubject::Group, AclSubject::Others];
        let entries = subjects.into_iter().map(|subject| AclEntry {
            subject,
            permissions: 0,
        });
        Self(entries.collect()).with_mode(mode)
    }

    /// The entries, in the order of their subjects.
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let names = self.0.iter().map(|entry| match entry.subject.account() {
            Some(AclAccount::Name(name)) => name.len(),
            _ => 0,
        });
        self.0.len() * ENTRY_MEMORY_BYTES + names.sum::<usize>()
    }

    /// Whether permission bits say the same.
    pub fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// What the group of the file may do, whatever others may.
    pub(super) fn group_permissions(&self) -> u32 {
        let group = self.0.iter().find(|it| it.subject == AclSubject::Group);
        group.map_or(0, |entry| entry.permissions.into())
    }

    /// The same ACL with the permissions of the owner, of the mask and of others from these bits.
    pub(super) fn with_mode(&self, mode: u32) -> Self {
        let has_mask = self.0.iter().any(|it| it.subject == AclSubject::Mask);
        let bits = |shift: u32| u8::try_from(mode >> shift & 7).unwrap_or(0);
        let entries = self.0.iter().map(|entry| {
            let permissions = match entry.subject {
                AclSubject::Owner => bits(6),
                AclSubject::Mask => bits(3),
                AclSubject::Group if !has_mask => bits(3),
                AclSubject::Others => bits(0),
                _ => entry.permissions,
            };
            let subject = entry.subject.clone();
            AclEntry {
                subject,
                permissions,
            }
        });
        Self(entries.collect())
    }

    /// The same ACL with other users and groups; an entry without one is left out. Of two entries
    /// that become one, it has the permissions that both have.
    pub(super) fn with_accounts(
        &self,
        mut account_of: impl FnMut(&AclSubject) -> Option<AclSubject>,
    ) -> Self {
        let mut entries: Vec<AclEntry> = self
            .0
            .iter()
            .filter_map(|entry| {
                let subject = match entry.subject.account() {
                    Some(_) => account_of(&entry.subject)?,
                    None => entry.subject.clone(),
                };
                let permissions = entry.permissions;
                Some(AclEntry {
                    subject,
                    permissions,
                })
            })
            .collect();
        entries.sort_by(|one, other| one.subject.cmp(&other.subject));
        entries.dedup_by(|next, kept| {
            let is_same = next.subject == kept.subject;
            if is_same {
                kept.permissions &= next.permissions;
            }
            is_same
        });
        Self(entries)
    }

    /// Reads what the system has for an ACL, with numbers of users and groups; `None` if it is not
    /// valid.
    pub fn of_value(value: &[u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk::<HEADER_BYTES>()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let mut read: Vec<AclEntry> = entries.iter().map(read_entry).collect::<Option<_>>()?;
        // The system sorts by what an entry is, and not by the numbers.
        read.sort_by(|one, other| one.subject.cmp(&other.subject));
        Self::new(read)
    }

    /// What the system has for the ACL; `None` if it names a user or group by name.
    pub fn value(&self) -> Option<Vec<u8>> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            let tag: u16 = match entry.subject {
                AclSubject::Owner => 0x01,
                AclSubject::User(_) => 0x02,
                AclSubject::Group => 0x04,
                AclSubject::NamedGroup(_) => 0x08,
                AclSubject::Mask => 0x10,
                AclSubject::Others => 0x20,
            };
            let number = match entry.subject.account() {
                None => NO_NUMBER,
                Some(AclAccount::Number(number)) => *number,
                Some(AclAccount::Name(_)) => return None,
            };
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&u16::from(entry.permissions).to_le_bytes());
            value.extend_from_slice(&number.to_le_bytes());
        }
        Some(value)
    }
}

fn read_entry(bytes: &[u8; ENTRY_BYTES]) -> Option<AclEntry> {
    let [tag, tag_high, permissions, permissions_high, number @ ..] = *bytes;
    let number = u32::from_le_bytes(number);
    let account = || AclAccount::Number(number);
    let subject = match u16::from_le_bytes([tag, tag_high]) {
        0x01 => AclSubject::Owner,
        0x02 => AclSubject::User(account()),
        0x04 => AclSubject::Group,
        0x08 => AclSubject::NamedGroup(account()),
        0x10 => AclSubject::Mask,
        0x20 => AclSubject::Others,
        _ => return None,
    };
    (permissions_high == 0).then_some(AclEntry {
        subject,
        permissions,
    })
}
