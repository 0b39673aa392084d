//! Tests of ACLs.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::TempDir;

fn entry(subject: AclSubject, permissions: u8) -> AclEntry {
    AclEntry {
        subject,
        permissions,
    }
}

fn number(number: u32) -> AclAccount {
    AclAccount::Number(number)
}

/// An ACL that names a user and a group.
fn extended(user: AclAccount, group: AclAccount) -> Vec<AclEntry> {
    vec![
        entry(AclSubject::Owner, 7),
        entry(AclSubject::User(user), 6),
        entry(AclSubject::Group, 4),
        entry(AclSubject::NamedGroup(group), 5),
        entry(AclSubject::Mask, 6),
        entry(AclSubject::Others, 1),
    ]
}

#[test]
fn value_is_that_of_the_system() {
    let acl = Acl::new(extended(number(1000), number(50))).unwrap();
    let value = acl.value().unwrap();
    let expected = [
        2, 0, 0, 0, //
        1, 0, 7, 0, 255, 255, 255, 255, //
        2, 0, 6, 0, 0xe8, 3, 0, 0, //
        4, 0, 4, 0, 255, 255, 255, 255, //
        8, 0, 5, 0, 50, 0, 0, 0, //
        16, 0, 6, 0, 255, 255, 255, 255, //
        32, 0, 1, 0, 255, 255, 255, 255,
    ];
    assert_eq!(value, expected);
    assert_eq!(Acl::of_value(&value), Some(acl));
    // The system does not sort by the numbers.
    let two = |numbers: [u32; 2]| {
        let mut entries = extended(number(numbers[0]), number(7));
        entries.insert(2, entry(AclSubject::User(number(numbers[1])), 1));
        entries
    };
    assert_eq!(Acl::new(two([9, 8])), None);
    let unsorted = Acl(two([9, 8])).value().unwrap();
    let mut sorted = two([8, 9]);
    (sorted[1].permissions, sorted[2].permissions) = (1, 6);
    assert_eq!(Acl::of_value(&unsorted), Acl::new(sorted));
    for end in 0..value.len() {
        assert_eq!(Acl::of_value(&value[..end]), None, "{end} bytes");
    }
    for (offset, byte) in [(0, 1), (4, 3), (5, 1), (6, 8), (7, 1)] {
        let mut other = value.clone();
        other[offset] = byte;
        assert_eq!(Acl::of_value(&other), None, "{byte} at {offset}");
    }
}

#[test]
fn entries_that_are_no_acl_are_refused() {
    let good = extended(AclAccount::Name(b"user".to_vec()), number(0));
    assert!(Acl::new(good.clone()).is_some());
    // The owner, the group, the mask and others are needed.
    for missing in [0, 2, 4, 5] {
        let mut entries = good.clone();
        entries.remove(missing);
        assert_eq!(Acl::new(entries), None, "without {missing}");
    }
    for twice in 0..good.len() {
        let mut entries = good.clone();
        entries.insert(twice, good[twice].clone());
        assert_eq!(Acl::new(entries), None, "{twice} twice");
    }
    let names = ["", "a\0b", &"n".repeat(256)].map(|name| AclAccount::Name(name.into()));
    for account in names.into_iter().chain([number(u32::MAX)]) {
        assert_eq!(Acl::new(extended(account.clone(), number(1))), None);
        assert_eq!(Acl::new(extended(number(1), account)), None);
    }
    let many = |count: u32| {
        let users = (0..count).map(|id| entry(AclSubject::User(number(id)), 0));
        let mut entries = vec![entry(AclSubject::Owner, 0)];
        entries.extend(users);
        entries.extend(good[2..].iter().cloned());
        entries
    };
    assert!(Acl::new(many(495)).is_some());
    assert_eq!(Acl::new(many(496)), None);
}

#[test]
fn accounts_that_become_one_get_the_lesser_permissions() {
    let mut entries = extended(AclAccount::Name(b"a".to_vec()), number(1));
    entries.insert(
        2,
        entry(AclSubject::User(AclAccount::Name(b"b".to_vec())), 3),
    );
    let acl = Acl::new(entries).unwrap();
    let merged = acl.with_accounts(|subject| match subject {
        AclSubject::User(_) => Some(AclSubject::User(number(5))),
        _ => None,
    });
    let mut expected = extended(number(5), number(1));
    expected.remove(3);
    expected[1].permissions = 2;
    assert_eq!(merged, Acl(expected));
}

#[test]
fn names_and_numbers_are_those_of_the_system() {
    let mut accounts = Accounts::default();
    let acl = Acl::new(extended(number(0), number(0))).unwrap();
    let named = accounts.name(&acl);
    let root = AclAccount::Name(b"root".to_vec());
    assert_eq!(named, Acl(extended(root.clone(), root.clone())));
    assert_eq!(accounts.number(&named), (acl.clone(), vec![]));
    // No name at the source, but one here: it is that of another user.
    let (numbered, left_out) = accounts.number(&acl);
    let others = [
        AclSubject::User(number(0)),
        AclSubject::NamedGroup(number(0)),
    ];
    assert_eq!(left_out, others);
    assert_eq!(numbered.entries().len(), 4);
    assert!(!numbered.is_minimal());
    let missing = AclAccount::Name(b"landline-no-such-name".to_vec());
    let unknown = Acl::new(extended(missing.clone(), number(3_999_999_999))).unwrap();
    let (numbered, left_out) = accounts.number(&unknown);
    assert_eq!(left_out, [AclSubject::User(missing)]);
    let kept = AclSubject::NamedGroup(number(3_999_999_999));
    assert!(numbered.entries().contains(&entry(kept, 5)));
}

#[test]
fn group_gets_no_rights_of_the_mask() {
    let acls = |entries: Vec<AclEntry>| FileAcls {
        access: Acl::new(entries),
        default: None,
    };
    let acls = acls(extended(number(1), number(2)));
    assert_eq!(acls.mode_without(0o771), 0o741);
    assert_eq!(acls.mode_without(0o700), 0o700);
    assert_eq!(FileAcls::default().mode_without(0o771), 0o771);
}

#[test]
fn acls_become_exactly_those_that_are_given() {
    let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
    std::fs::write(scratch.path().join("file"), b"x").unwrap();
    std::fs::create_dir(scratch.path().join("folder")).unwrap();
    let folder = Folder::open(scratch.path()).unwrap();
    if folder.own_acls().unwrap().is_none() {
        eprintln!("SKIPPED: the file system has no ACLs");
        return;
    }
    let access = Acl::new(extended(number(1234), number(5678)));
    let default = Acl::new(extended(number(1), number(2)));
    let none = FileAcls::default();
    for name in ["file", "folder"].map(OsStr::new) {
        let path = scratch.path().join(name);
        let set_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(0o640);
        let acls = FileAcls {
            access: access.clone(),
            default: default.clone().filter(|_| name == "folder"),
        };
        folder.set_acls_of(name, &acls, 0o664).unwrap();
        let found = folder.acls_of(name).unwrap().unwrap();
        assert!(found.is_same(&acls), "{found:?}");
        // The permission bits stay, until they are set.
        assert_eq!(folder.stat(name).unwrap().unwrap().mode, 0o640);
        set_mode(0o660);
        let found = folder.acls_of(name).unwrap().unwrap();
        assert!(found.is_same(&acls), "{found:?}");
        assert!(!found.is_same(&none));
        // Bits that the entry will not have go at once.
        let other = FileAcls {
            access: Acl::new(extended(number(4321), number(5678))),
            default: None,
        };
        folder.set_acls_of(name, &other, 0o604).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        folder.set_acls_of(name, &none, 0o600).unwrap();
        assert_eq!(folder.acls_of(name).unwrap().unwrap(), none);
        // What the mask allows is not the group's without the ACL.
        let mut closed = extended(number(1234), number(5678));
        closed[2].permissions = 0;
        let closed = FileAcls {
            access: Acl::new(closed),
            default: None,
        };
        set_mode(0o770);
        folder.set_acls_of(name, &closed, 0o770).unwrap();
        folder.set_acls_of(name, &none, 0o777).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        assert_eq!(folder.acls_of(name).unwrap().unwrap(), none);
    }
}
