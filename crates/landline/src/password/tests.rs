use proptest::prelude::*;

use super::*;

pub(super) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(super) fn server(seed: u8) -> Fingerprint {
    Fingerprint::of_certificate(&[seed])
}

pub(super) fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned())).unwrap()
}

pub(super) fn setup() -> PasswordSetup {
    PasswordSetup::parse(&PasswordSetup::generate()).unwrap()
}

/// The record that the server stores for a password of alice.
pub(super) fn record(setup: &PasswordSetup, text: &str) -> Vec<u8> {
    let alice = user("alice");
    let (request, begun) = PasswordRegistration::begin(&password(text)).unwrap();
    let response = setup.evaluate(&alice, &request).unwrap();
    assert_eq!((request.len(), response.len()), (32, 64));
    begun
        .finish(
            &response,
            PasswordParties {
                user: &alice,
                server: server(1),
            },
        )
        .unwrap()
}

/// What one side of a login assumes.
pub(super) struct Side<'a> {
    pub(super) user: &'a str,
    pub(super) server: Fingerprint,
    pub(super) transcript: [u8; 64],
}

pub(super) fn alice() -> Side<'static> {
    Side {
        user: "alice",
        server: server(1),
        transcript: [9; 64],
    }
}

/// Whether a login succeeds between these two views, with a typed password.
///
/// `None` if the client aborts.
pub(super) fn logs_in(
    setup: &PasswordSetup,
    record: Option<&[u8]>,
    typed: &str,
    client: &Side<'_>,
    server: &Side<'_>,
) -> Option<bool> {
    let (ke1, begun) = PasswordLogin::begin(&password(typed)).unwrap();
    let name = user(server.user);
    let parties = |name| PasswordParties {
        user: name,
        server: server.server,
    };
    let (ke2, pending) = setup
        .answer(parties(&name), record, &ke1, &server.transcript)
        .unwrap();
    assert_eq!((ke1.len(), ke2.len()), (96, 320));
    let own_name = user(client.user);
    let ours = PasswordParties {
        user: &own_name,
        server: client.server,
    };
    let ke3 = begun.finish(&ke2, ours, &client.transcript)?;
    assert_eq!(ke3.len(), 64);
    Some(pending.accepts(&ke3, parties(&name), &server.transcript))
}

#[test]
fn login_needs_password_user_server_and_connection() {
    let setup = setup();
    let record = record(&setup, "correct horse");
    assert!(is_record(&record) && record.len() == 192);
    let tried = |typed: &str, client: &Side<'_>, server: &Side<'_>| {
        logs_in(&setup, Some(&record), typed, client, server)
    };
    assert_eq!(tried("correct horse", &alice(), &alice()), Some(true));
    assert_eq!(
        tried("correct horsf", &alice(), &alice()),
        None,
        "another password"
    );
    let elsewhere = Side {
        server: server(2),
        ..alice()
    };
    assert_eq!(
        tried("correct horse", &elsewhere, &elsewhere),
        None,
        "another server with the same store"
    );
    assert_eq!(
        tried("correct horse", &elsewhere, &alice()),
        None,
        "a server in between"
    );
    let other = Side {
        transcript: [8; 64],
        ..alice()
    };
    assert_eq!(
        tried("correct horse", &other, &alice()),
        None,
        "another connection"
    );
    let bob = Side {
        user: "bob",
        ..alice()
    };
    assert_eq!(
        tried("correct horse", &bob, &bob),
        None,
        "the record under another name"
    );
    let another = self::setup();
    assert_eq!(
        logs_in(&another, Some(&record), "correct horse", &alice(), &alice()),
        None,
        "a stolen record"
    );
}

#[test]
fn user_without_password_gets_fake_answer() {
    let setup = setup();
    assert_eq!(
        logs_in(&setup, None, "correct horse", &alice(), &alice()),
        None
    );
    // No last message is accepted either.
    let (ke1, _) = PasswordLogin::begin(&password("correct horse")).unwrap();
    let alice = user("alice");
    let parties = PasswordParties {
        user: &alice,
        server: server(1),
    };
    for ke3 in [&[0; 64][..], &[7; 64], &[], &[1; 63], &[1; 65]] {
        let (_, pending) = setup.answer(parties, None, &ke1, &[9; 64]).unwrap();
        assert!(!pending.accepts(ke3, parties, &[9; 64]));
    }
}

#[test]
fn malformed_messages_are_rejected() {
    let setup = setup();
    let alice = user("alice");
    let parties = PasswordParties {
        user: &alice,
        server: server(1),
    };
    let (ke1, _) = PasswordLogin::begin(&password("correct horse")).unwrap();
    for length in (0..200).filter(|length| *length != ke1.len()) {
        let mut bytes = ke1.clone();
        bytes.resize(length, 0);
        assert!(
            setup.answer(parties, None, &bytes, &[9; 64]).is_none(),
            "{length}"
        );
    }
    // The identity, and an invalid point.
    for first in [0, 0xff] {
        let mut bytes = ke1.clone();
        bytes[..32].fill(first);
        assert!(setup.answer(parties, None, &bytes, &[9; 64]).is_none());
        assert!(setup.evaluate(&alice, &bytes[..32]).is_none());
    }
    let record = record(&setup, "correct horse");
    assert!(!is_record(&record[..191]) && !is_record(&[0xff; 192]) && !is_record(&[]));
    let (_, begun) = PasswordLogin::begin(&password("correct horse")).unwrap();
    assert!(begun.finish(&[7; 320], parties, &[9; 64]).is_none());
    for bytes in [&[][..], &[0; 127], &[0; 128]] {
        assert!(PasswordSetup::parse(bytes).is_none(), "{}", bytes.len());
    }
}

proptest! {
    /// Random bytes of the right length cause no panic and prove nothing.
    #[test]
    fn garbage_proves_nothing(bytes in proptest::collection::vec(any::<u8>(), 320)) {
        let setup = setup();
        let alice = user("alice");
        let parties = PasswordParties { user: &alice, server: server(1) };
        let (ke1, _) = PasswordLogin::begin(&password("correct horse")).unwrap();
        let _ = setup.answer(parties, Some(&bytes[..192]), &bytes[..96], &[9; 64]);
        let _ = setup.evaluate(&alice, &bytes[..32]);
        let (_, pending) = setup.answer(parties, None, &ke1, &[9; 64]).unwrap();
        prop_assert!(!pending.accepts(&bytes[..64], parties, &[9; 64]));
        let _ = PasswordSetup::parse(&bytes[..128]);
    }
}

#[test]
fn password_is_first_line_within_limits_and_hidden() {
    let read = |bytes: &[u8]| Password::from_bytes(bytes).map(|password| password.0.to_string());
    assert_eq!(read(b" h\xc3\xa4ngt \r\nmore").unwrap(), " hängt ");
    assert_eq!(read(b"x").unwrap(), "x");
    for bad in [&b""[..], b"\nx", b"\xff", &[b'x'; PASSWORD_BYTES_MAX + 1]] {
        assert!(matches!(read(bad), Err(Error::Password(_))), "{bad:?}");
    }
    let short = password("1234567");
    assert!(short.check_choice().is_err() && PasswordRegistration::begin(&short).is_err());
    assert!(password("1234567ä").check_choice().is_ok());
    assert_eq!(format!("{short:?}"), "Password(..)");
}
