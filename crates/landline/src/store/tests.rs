use super::*;

fn key(seed: u8) -> PublicKey {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
    PublicKey::parse(&ssh_key::PrivateKey::from(pair).public_key().to_openssh().unwrap()).unwrap()
}

fn code(result: Result<(), Error>) -> ErrorCode {
    match result {
        Err(Error::Failed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invite_is_good_once_however_many_race_for_it() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    store.put_owner_invite(&Token([1; 16])).unwrap();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..100u8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || store.redeem(&Token([1; 16]), &format!("user{n}").parse().unwrap(), &key(n)))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(code(outcome), ErrorCode::InviteUsed);
    }
}

#[test]
fn a_refused_invite_changes_nothing() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    let alice: UserName = "alice".parse().unwrap();
    store.put_owner_invite(&Token([1; 16])).unwrap();
    assert_eq!(code(store.redeem(&Token([2; 16]), &alice, &key(1))), ErrorCode::InviteUnknown);
    assert!(!store.has_accounts().unwrap());
    assert_eq!(store.key(&alice, &key(1)).unwrap(), None);

    store.with(|transaction| transaction.execute("UPDATE invites SET expires = created", [])).unwrap();
    assert_eq!(code(store.redeem(&Token([1; 16]), &alice, &key(1))), ErrorCode::InviteExpired);
    assert!(!store.has_accounts().unwrap());

    store.put_owner_invite(&Token([3; 16])).unwrap();
    assert_eq!(
        code(store.redeem(&Token([1; 16]), &alice, &key(1))),
        ErrorCode::InviteUnknown,
        "the earlier one is gone"
    );
    store.redeem(&Token([3; 16]), &alice, &key(1)).unwrap();
    assert_eq!(store.key(&alice, &key(1)).unwrap(), Some(key(1)));
    assert_eq!(store.key(&alice, &key(2)).unwrap(), None);
    assert_eq!(store.key(&"bob".parse().unwrap(), &key(1)).unwrap(), None);

    store.redeem(&Token([3; 16]), &alice, &key(1)).expect("an answer that was lost can be asked for again");
    assert_eq!(code(store.redeem(&Token([3; 16]), &alice, &key(2))), ErrorCode::InviteUsed);
    assert_eq!(code(store.redeem(&Token([3; 16]), &"bob".parse().unwrap(), &key(1))), ErrorCode::InviteUsed);

    store.put_owner_invite(&Token([4; 16])).unwrap();
    assert_eq!(code(store.redeem(&Token([4; 16]), &alice, &key(2))), ErrorCode::InviteUser);
    assert_eq!(store.key(&alice, &key(2)).unwrap(), None);
}

#[test]
fn the_token_itself_is_not_stored() {
    let store = Store::open(Path::new(":memory:")).unwrap();
    store.put_owner_invite(&Token(*b"0123456789abcdef")).unwrap();
    let hash: Vec<u8> = store
        .with(|transaction| transaction.query_row("SELECT token_hash FROM invites", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(hash, sha256(b"0123456789abcdef"));
}
