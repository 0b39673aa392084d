//! The last admin, and credentials that are no longer valid.

use super::*;

/// A login by the key of this number.
fn by_key(number: u8) -> CredentialId {
    CredentialId::Key(key(number).fingerprint())
}

#[test]
fn last_admin_cannot_be_removed() {
    let store = fresh();
    let is_admin = |account: &AccountRecord| account.name.as_str().starts_with("admin");
    for (user, keys) in [
        ("admin1", vec![key(1).into()]),
        ("admin2", vec![key(2).into()]),
        ("admin3", vec![]),
        ("bob", vec![]),
    ] {
        store.add_account(&name(user), &keys).unwrap();
    }
    store
        .take_away(&name("admin2"), Removal::Disable, is_admin, false)
        .unwrap();
    for removal in [Removal::Disable, Removal::Remove] {
        assert_eq!(
            code(store.take_away(&name("admin1"), removal, is_admin, false)),
            ErrorCode::LastOwner
        );
    }
    let secret = store.add_secret(
        &name("admin3"),
        BindingType::TlsExporter,
        &SecretKey::from_bytes([7; 32]),
        None,
        "",
    );
    store
        .take_away(&name("admin1"), Removal::Disable, is_admin, false)
        .expect("admin3 has a secret now");
    assert_eq!(
        code(store.take_away(&name("admin3"), Removal::Disable, is_admin, false)),
        ErrorCode::LastOwner
    );
    assert_eq!(
        code(store.remove_secret(&secret.unwrap(), is_admin, false)),
        ErrorCode::LastOwner
    );
    store.enable(&name("admin1")).unwrap();
    for user in ["admin2", "admin3", "bob"] {
        store
            .take_away(&name(user), Removal::Remove, is_admin, false)
            .unwrap();
    }
    store
        .take_away(&name("admin1"), Removal::Remove, is_admin, true)
        .unwrap();
    assert_eq!(code(store.account(&name("admin1"))), ErrorCode::NotFound);
}

/// It may be a secret, and then it is kept as a key is; and a secret is as good as a further key.
#[test]
fn last_admin_keeps_the_last_credential() {
    let (store, is_admin) = (fresh(), |account: &AccountRecord| {
        account.name.as_str() == "admin"
    });
    let admin = name("admin");
    store.add_account(&admin, &[key(1).into()]).unwrap();
    let add = |seed| {
        store
            .add_secret(
                &admin,
                BindingType::TlsExporter,
                &SecretKey::from_bytes([seed; 32]),
                None,
                "",
            )
            .unwrap()
    };
    let (one, two) = (add(1), add(2));
    store
        .remove_key(&admin, &key(1).fingerprint(), false, is_admin)
        .unwrap();
    store.remove_secret(&one, is_admin, false).unwrap();
    assert_eq!(
        code(store.remove_secret(&two, is_admin, false)),
        ErrorCode::LastOwner
    );
    assert_eq!(
        code(store.remove_secret(&one, is_admin, false)),
        ErrorCode::NotFound
    );
    store.add_keys(&admin, &[key(2).into()]).unwrap();
    store.remove_secret(&two, is_admin, false).unwrap();
    assert_eq!(
        code(store.remove_key(&admin, &key(2).fingerprint(), false, is_admin)),
        ErrorCode::LastOwner
    );
    let three = add(3);
    store
        .remove_key(&admin, &key(2).fingerprint(), false, is_admin)
        .unwrap();
    assert!(store.account(&admin).unwrap().can_log_in());
    store
        .remove_secret(&three, is_admin, true)
        .expect("it was said with force");
    assert!(!store.account(&admin).unwrap().can_log_in());
}

#[test]
fn last_admin_keeps_the_last_key() {
    let (store, is_admin) = (fresh(), |account: &AccountRecord| {
        account.name.as_str().starts_with("admin")
    });
    store
        .add_account(&name("admin1"), &[key(1).into(), key(2).into()])
        .unwrap();
    store.add_account(&name("admin2"), &[]).unwrap();
    store.add_account(&name("bob"), &[key(3).into()]).unwrap();
    store
        .remove_key(&name("bob"), &key(3).fingerprint(), false, is_admin)
        .unwrap();
    store
        .remove_key(&name("admin1"), &key(1).fingerprint(), false, is_admin)
        .unwrap();
    assert_eq!(
        code(store.remove_key(&name("admin1"), &key(1).fingerprint(), false, is_admin)),
        ErrorCode::NotFound
    );
    assert_eq!(
        code(store.remove_key(&name("admin1"), &key(2).fingerprint(), false, is_admin)),
        ErrorCode::LastOwner
    );
    store.add_keys(&name("admin2"), &[key(4).into()]).unwrap();
    store
        .remove_key(&name("admin1"), &key(2).fingerprint(), false, is_admin)
        .unwrap();
}

#[test]
fn revoked_actor_changes_nothing() {
    let (store, eve) = (fresh(), name("eve"));
    store
        .add_account(&eve, &[key(1).into(), key(2).into()])
        .unwrap();
    let acting = store.on_behalf_of(&eve, &by_key(1));
    acting.add_account(&name("bob"), &[]).unwrap();
    store
        .remove_key(&eve, &key(1).fingerprint(), false, |_| false)
        .unwrap();
    assert_eq!(
        code(acting.add_keys(&eve, &[key(1).into()])),
        ErrorCode::Denied,
        "the key"
    );
    let acting = store.on_behalf_of(&eve, &by_key(2));
    store
        .take_away(&eve, Removal::Disable, |_| false, false)
        .unwrap();
    assert_eq!(code(acting.enable(&eve)), ErrorCode::Denied, "the account");
    assert_eq!(code(invite(&acting, 1, None, None)), ErrorCode::Denied);
    assert!(store.account(&eve).unwrap().disabled.is_some());
    assert_eq!(store.keys(&eve).unwrap().len(), 1);
}

#[test]
fn redeem_reports_whether_the_name_is_free_to_choose() {
    let store = fresh();
    let refused = |invite: &invites::Open| match invite.is_for_anybody {
        true => Err(Error::here(ErrorCode::InviteUser, "it has rights")),
        false => Ok(()),
    };
    invite(&store, 1, None, None).unwrap();
    invite(&store, 2, Some("bob"), None).unwrap();
    assert_eq!(
        code(store.redeem(&Token([1; 16]), &name("bob"), &key(1), refused)),
        ErrorCode::InviteUser
    );
    assert!(!store.has_accounts().unwrap());
    store
        .redeem(&Token([2; 16]), &name("bob"), &key(1), refused)
        .unwrap();
    store
        .remove_key(&name("bob"), &key(1).fingerprint(), false, |_| false)
        .unwrap();
    assert!(
        store.has_accounts().unwrap(),
        "an account without a key is one"
    );
}

#[test]
fn revocation_reason_names_what_was_revoked() {
    let store = fresh();
    let bob = name("bob");
    store
        .add_account(&bob, &[key(1).into(), key(2).into()])
        .unwrap();
    assert_eq!(store.revocation_reason(&bob, &by_key(1)).unwrap(), None);
    store
        .remove_key(&bob, &key(1).fingerprint(), false, |_| false)
        .unwrap();
    assert_eq!(
        store.revocation_reason(&bob, &by_key(1)).unwrap(),
        Some("the key, secret or password was removed")
    );
    assert_eq!(store.revocation_reason(&bob, &by_key(2)).unwrap(), None);
    store
        .take_away(&bob, Removal::Disable, |_| false, false)
        .unwrap();
    assert_eq!(
        store.revocation_reason(&bob, &by_key(2)).unwrap(),
        Some("the account was disabled")
    );
    store.enable(&bob).unwrap();
    let secret = store
        .add_secret(
            &bob,
            BindingType::TlsExporter,
            &SecretKey::from_bytes([7; 32]),
            None,
            "",
        )
        .unwrap();
    assert_eq!(
        store
            .revocation_reason(&bob, &CredentialId::Secret(secret))
            .unwrap(),
        None
    );
    store.remove_secret(&secret, |_| false, false).unwrap();
    let reason = store
        .revocation_reason(&bob, &CredentialId::Secret(secret))
        .unwrap();
    assert_eq!(reason, Some("the key, secret or password was removed"));
    assert_eq!(store.revocation_reason(&bob, &by_key(2)).unwrap(), None);
    store
        .take_away(&bob, Removal::Remove, |_| false, false)
        .unwrap();
    assert_eq!(
        store.revocation_reason(&bob, &by_key(2)).unwrap(),
        Some("the account was removed")
    );
}

/// What only counts usage is no reason to examine sessions.
#[test]
fn subscribers_are_notified_only_of_account_changes() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    let mut changes = store.subscribe();
    let mut has_changed = || {
        let has_changed = changes.has_changed().unwrap();
        changes.mark_unchanged();
        has_changed
    };
    let bob = name("bob");
    store.add_account(&bob, &[key(1).into()]).unwrap();
    assert!(has_changed());
    store.note_source(&bob, "192.0.2.1").unwrap();
    assert!(!has_changed());
    store
        .on_behalf_of(&bob, &by_key(1))
        .remove_key(&bob, &key(1).fingerprint(), false, |_| false)
        .unwrap();
    assert!(has_changed(), "by another handle");
}
