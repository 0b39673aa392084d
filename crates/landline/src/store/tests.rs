mod last_admin;

use landline_proto::{
    ErrorCode,
    login::{BindingType, PasswordId, UserName},
    messages::Token,
};

use super::*;
use crate::{
    crypto::sha256,
    keys::{CredentialId, KeyLine, PublicKey, SecretKey},
    login::INVITE_TIME,
};

fn key(seed: u8) -> PublicKey {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
    PublicKey::parse(
        &ssh_key::PrivateKey::from(pair)
            .public_key()
            .to_openssh()
            .unwrap(),
    )
    .unwrap()
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    match result {
        Err(Error::Failed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

/// 100 racers by two handles to one store, one success; once, or a hundred times with
/// `LANDLINE_SOAK=1`.
/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn invite_is_redeemed_once_in_a_race() {
    let rounds = if testkit::is_soak() { 100 } else { 1 };
    for _ in 0..rounds {
        let folder = testkit::Stage::new("unused");
        let here = Store::open(&folder.path("store")).unwrap();
        let elsewhere = Store::open(&folder.path("store")).unwrap();
        here.put_owner_invite(&Token([1; 16]), INVITE_TIME).unwrap();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..100u8)
                .map(|n| {
                    let store = if n % 2 == 0 { &here } else { &elsewhere };
                    scope.spawn(move || {
                        store.redeem(
                            &Token([1; 16]),
                            &format!("user{n}").parse().unwrap(),
                            &key(n),
                            |_| Ok(()),
                        )
                    })
                })
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().unwrap())
                .collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_eq!(code(outcome), ErrorCode::InviteUsed);
        }
        assert_eq!(here.accounts().unwrap().len(), 1);
    }
}

/// An attacker with a credential may have made invites, so they go with the credential.
#[test]
fn removed_credential_invalidates_invites_of_its_user() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    let (eve, bob) = (name("eve"), name("bob"));
    let lines: Vec<_> = [key(1), key(2)].into_iter().map(KeyLine::from).collect();
    store.add_account(&eve, &lines).unwrap();
    store.add_account(&bob, &[]).unwrap();
    let secret = SecretKey::from_bytes([7; 32]);
    let binding = BindingType::TlsExporter;
    let id = store.add_secret(&eve, binding, &secret, None, "").unwrap();
    let password = |id| StoredPassword {
        id: PasswordId([id; 8]),
        record: vec![id; 192],
    };
    let made = |by: &UserName| {
        let new = InviteDraft {
            user: None,
            made_by: Some(by.clone()),
            good_for: INVITE_TIME,
        };
        let token = Token(crate::crypto::random());
        store.put_invite(&token, &new, |_, _| Ok(())).unwrap();
    };
    let left = || {
        store
            .invites()
            .unwrap()
            .into_iter()
            .filter_map(|invite| invite.made_by)
            .collect::<Vec<_>>()
    };
    let takes: [(&str, &dyn Fn()); 4] = [
        ("a key", &|| {
            store
                .remove_key(&eve, &key(1).fingerprint(), false, |_| false)
                .unwrap()
        }),
        ("a secret", &|| {
            drop(store.remove_secret(&id, |_| false, false).unwrap())
        }),
        ("another password", &|| {
            store.set_password(&eve, &password(2)).unwrap()
        }),
        ("the password", &|| {
            store.remove_password(&eve, |_| false).unwrap()
        }),
    ];
    store.set_password(&eve, &password(1)).unwrap();
    for (what, take) in takes {
        made(&eve);
        made(&bob);
        take();
        assert_eq!(left(), ["bob"], "{what}");
        store
            .invites()
            .unwrap()
            .iter()
            .for_each(|invite| store.revoke_invite(&invite.id).unwrap());
    }
    made(&eve);
    assert!(
        store
            .remove_key(&eve, &key(9).fingerprint(), false, |_| false)
            .is_err()
    );
    assert_eq!(left(), ["eve"], "nothing was taken");
}

#[test]
fn owner_invite_is_invalid_once_an_account_exists() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    store
        .put_owner_invite(&Token([1; 16]), INVITE_TIME)
        .unwrap();
    store.add_account(&name("alice"), &[]).unwrap();
    let late = store.redeem(&Token([1; 16]), &name("mallory"), &key(1), |_| Ok(()));
    assert_eq!(code(late), ErrorCode::InviteUnknown);
}

#[test]
fn rejected_invite_changes_nothing() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    let alice: UserName = "alice".parse().unwrap();
    store
        .put_owner_invite(&Token([1; 16]), INVITE_TIME)
        .unwrap();
    assert_eq!(
        code(store.redeem(&Token([2; 16]), &alice, &key(1), |_| Ok(()))),
        ErrorCode::InviteUnknown
    );
    assert!(!store.has_accounts().unwrap());
    assert_eq!(store.key(&alice, &key(1)).unwrap(), None);

    store
        .write(|transaction| transaction.execute("UPDATE invites SET expires = created", []))
        .unwrap();
    assert_eq!(
        code(store.redeem(&Token([1; 16]), &alice, &key(1), |_| Ok(()))),
        ErrorCode::InviteExpired
    );
    assert!(!store.has_accounts().unwrap());

    store
        .put_owner_invite(&Token([3; 16]), INVITE_TIME)
        .unwrap();
    assert_eq!(
        code(store.redeem(&Token([1; 16]), &alice, &key(1), |_| Ok(()))),
        ErrorCode::InviteUnknown,
        "the earlier one is gone"
    );
    store
        .redeem(&Token([3; 16]), &alice, &key(1), |_| Ok(()))
        .unwrap();
    assert_eq!(
        store.key(&alice, &key(1)).unwrap().unwrap().line,
        key(1).line()
    );
    assert_eq!(store.key(&alice, &key(2)).unwrap(), None);
    assert_eq!(store.key(&"bob".parse().unwrap(), &key(1)).unwrap(), None);

    store
        .redeem(&Token([3; 16]), &alice, &key(1), |_| Ok(()))
        .expect("an answer that was lost can be asked for again");
    assert_eq!(
        code(store.redeem(&Token([3; 16]), &alice, &key(2), |_| Ok(()))),
        ErrorCode::InviteUsed
    );
    assert_eq!(
        code(store.redeem(
            &Token([3; 16]),
            &"bob".parse().unwrap(),
            &key(1),
            |_| Ok(())
        )),
        ErrorCode::InviteUsed
    );

    invite(&store, 4, None, None).unwrap();
    assert_eq!(
        code(store.redeem(&Token([4; 16]), &alice, &key(2), |_| Ok(()))),
        ErrorCode::InviteUser
    );
    assert_eq!(store.key(&alice, &key(2)).unwrap(), None);
}

/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn invite_token_is_not_stored() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    store
        .put_owner_invite(&Token(*b"0123456789abcdef"), INVITE_TIME)
        .unwrap();
    let hash: Vec<u8> = store
        .write(|transaction| {
            transaction.query_row("SELECT token_hash FROM invites", [], |row| row.get(0))
        })
        .unwrap();
    assert_eq!(hash, sha256(b"0123456789abcdef"));
}

fn fresh() -> Store {
    Store::open(Path::new(":memory:")).unwrap()
}

fn invite(
    store: &Store,
    token: u8,
    user: Option<&str>,
    made_by: Option<&str>,
) -> Result<Purpose, Error> {
    let invite = InviteDraft {
        user: user.map(name),
        made_by: made_by.map(name),
        good_for: INVITE_TIME,
    };
    store.put_invite(&Token([token; 16]), &invite, |_, _| Ok(()))
}

#[test]
fn invite_is_valid_only_for_its_user() {
    let store = fresh();
    assert_eq!(
        invite(&store, 1, Some("bob"), None).unwrap(),
        Purpose::Account
    );
    assert_eq!(
        code(store.redeem(&Token([1; 16]), &name("carol"), &key(1), |_| Ok(()))),
        ErrorCode::InviteUser
    );
    store
        .redeem(&Token([1; 16]), &name("bob"), &key(1), |_| Ok(()))
        .unwrap();
    assert!(
        !store.account(&name("bob")).unwrap().owner,
        "only the owner's invite makes an owner"
    );

    assert_eq!(invite(&store, 2, Some("bob"), None).unwrap(), Purpose::Key);
    store
        .redeem(&Token([2; 16]), &name("bob"), &key(2), |_| Ok(()))
        .unwrap();
    assert_eq!(
        store.keys(&name("bob")).unwrap().len(),
        2,
        "a further device"
    );

    assert_eq!(invite(&store, 3, None, None).unwrap(), Purpose::Account);
    assert_eq!(
        code(store.redeem(&Token([3; 16]), &name("bob"), &key(3), |_| Ok(()))),
        ErrorCode::InviteUser,
        "the name is taken"
    );
    store
        .redeem(&Token([3; 16]), &name("dora"), &key(3), |_| Ok(()))
        .unwrap();
}

/// 2^128 tokens are not to be guessed, and guessing changes nothing.
/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn unknown_token_is_rejected() {
    let guesses = if testkit::is_soak() {
        1_000_000
    } else {
        10_000
    };
    let store = fresh();
    let good = *b"0123456789abcdef";
    let new = InviteDraft {
        user: None,
        made_by: None,
        good_for: INVITE_TIME,
    };
    store.put_invite(&Token(good), &new, |_, _| Ok(())).unwrap();
    let guess = |token: [u8; 16]| store.redeem(&Token(token), &name("eve"), &key(1), |_| Ok(()));
    for bit in 0..128 {
        let mut near = good;
        near[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(code(guess(near)), ErrorCode::InviteUnknown, "bit {bit}");
    }
    for number in 0u128..guesses {
        assert_eq!(code(guess(number.to_le_bytes())), ErrorCode::InviteUnknown);
    }
    assert!(store.accounts().unwrap().is_empty());
    store
        .redeem(&Token(good), &name("bob"), &key(1), |_| Ok(()))
        .unwrap();
}

/// While another process holds the write lock, a guess is answered.
#[test]
fn unknown_token_takes_no_write_lock() {
    let folder = testkit::Stage::new("unused");
    let store = Store::open(&folder.path("store")).unwrap();
    invite(&store, 1, None, None).unwrap();
    let changes = store.subscribe();
    let other = rusqlite::Connection::open(folder.path("store")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        code(store.redeem(&Token([2; 16]), &name("eve"), &key(1), |_| Ok(()))),
        ErrorCode::InviteUnknown
    );
    assert!(
        !changes.has_changed().unwrap(),
        "no session is examined again"
    );
    other.execute_batch("COMMIT").unwrap();
    store
        .redeem(&Token([1; 16]), &name("bob"), &key(1), |_| Ok(()))
        .unwrap();
}

/// An invite is invalid after it was revoked, or after its maker or user is gone.
/// Proves `invite-reuse` in docs/faults.md.
#[test]
fn revoked_invite_is_invalid() {
    let store = fresh();
    let is_admin = |_: &AccountRecord| false;
    store.add_account(&name("eve"), &[key(9).into()]).unwrap();
    store.add_account(&name("bob"), &[]).unwrap();
    invite(&store, 1, Some("new"), None).unwrap();
    invite(&store, 2, Some("other"), Some("eve")).unwrap();
    invite(&store, 3, Some("bob"), None).unwrap();
    let open = store.invites().unwrap();
    assert_eq!(open.len(), 3);
    let id = &open
        .iter()
        .find(|invite| invite.user.as_deref() == Some("new"))
        .unwrap()
        .id;
    store.revoke_invite(id).unwrap();
    assert_eq!(code(store.revoke_invite(id)), ErrorCode::NotFound);
    store
        .take_away(&name("eve"), Removal::Disable, is_admin, false)
        .unwrap();
    store
        .take_away(&name("bob"), Removal::Remove, is_admin, false)
        .unwrap();
    for (token, user) in [(1, "new"), (2, "other"), (3, "bob")] {
        assert_eq!(
            code(store.redeem(&Token([token; 16]), &name(user), &key(token), |_| Ok(()))),
            ErrorCode::InviteUnknown,
            "{user}"
        );
    }
    assert!(store.invites().unwrap().is_empty());
    assert_eq!(
        code(invite(&store, 4, Some("eve"), None)),
        ErrorCode::Denied,
        "disabled"
    );
}

#[test]
fn redeeming_an_invite_keeps_the_options_of_a_key() {
    let store = fresh();
    let line = KeyLine::parse(&format!("from=\"192.0.2.1\" {}", key(1).line())).unwrap();
    store.add_account(&name("bob"), &[line]).unwrap();
    invite(&store, 1, Some("bob"), None).unwrap();
    store
        .redeem(&Token([1; 16]), &name("bob"), &key(1), |_| Ok(()))
        .unwrap();
    assert_eq!(
        store.keys(&name("bob")).unwrap()[0].options,
        "from=\"192.0.2.1\""
    );
}

#[test]
fn disabled_account_cannot_redeem_invites() {
    let store = fresh();
    store.add_account(&name("bob"), &[]).unwrap();
    invite(&store, 1, Some("bob"), None).unwrap();
    store
        .redeem(&Token([1; 16]), &name("bob"), &key(1), |_| Ok(()))
        .unwrap();
    store
        .take_away(&name("bob"), Removal::Disable, |_| false, false)
        .unwrap();
    let again = store.redeem(&Token([1; 16]), &name("bob"), &key(1), |_| Ok(()));
    assert!(matches!(again, Err(Error::LoginRefused(_))), "{again:?}");
}
