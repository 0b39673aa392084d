//! Our server against an independent client, and against published vectors.
//!
//! The client was written from `docs/protocol.md` and the RFCs alone (`docs/vectors/opaque.py`,
//! which needs python3). `tests/opaque.rs` has our client against such a server.

use data_encoding::HEXLOWER;
use serde_json::Value;
use testkit::{Opaque, Said};

use super::{
    opaque::stretch,
    tests::{Side, alice, logs_in, password, record, server, setup, user},
    *,
};

const PASSWORD: &str = "Pferd, Stäbe 馬 🐎";

/// The expected value is from argon2-cffi 25.1.0, the reference implementation in C.
///
/// `hash_secret_raw(bytes(range(64)), bytes(16), time_cost=3, memory_cost=65536, parallelism=1,
/// hash_len=64, type=Type.ID, version=0x13)`.
#[test]
fn stretching_matches_reference_argon2id() {
    let input = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let expected = "97076ac1d2e29b8f16f2af338d9f0e63a0d078c2b3cce12024bc7ecdd3cbc2d4\
                    b4dcb53de561c257004dc2d756cd8abcac4efc7b764b385fd8f624d7aa447a22";
    assert_eq!(HEXLOWER.encode(&stretch(input)), expected);
}

/// Compares the deterministic parts; masking, nonces and the key share are random.
#[test]
fn server_matches_rfc_9807_vectors() {
    let published = published();
    let cases = published["rfc9807"]["real"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let bytes = |name: &str| unhex(&case[name]);
        // The stored form: the seed, the private key, and a public key for fake records.
        let stored = [
            bytes("oprf_seed"),
            bytes("server_private_key"),
            bytes("server_public_key"),
        ]
        .concat();
        let setup = PasswordSetup::parse(&stored).unwrap();
        let credential = user(std::str::from_utf8(&bytes("credential_identifier")).unwrap());
        let response = setup
            .evaluate(&credential, &bytes("registration_request"))
            .unwrap();
        assert_eq!(response, bytes("registration_response"));
        assert!(is_record(&bytes("registration_upload")));
        let parties = PasswordParties {
            user: &credential,
            server: server(1),
        };
        for record in [Some(&bytes("registration_upload")[..]), None] {
            let (ke2, _) = setup
                .answer(parties, record, &bytes("KE1"), &[9; 64])
                .unwrap();
            assert_eq!(ke2[..32], bytes("KE2")[..32]);
        }
    }
}

/// RFC 9807 section 10.7: rejects invalid elements and the identity in every field.
#[test]
fn server_rejects_invalid_elements() {
    let published = published();
    let invalid = published["rfc9496"]["invalid"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&published["rfc9496"]["multiples"][0]]);
    let setup = setup();
    let alice = user("alice");
    let record = record(&setup, PASSWORD);
    let parties = PasswordParties {
        user: &alice,
        server: server(1),
    };
    let (ke1, _) = PasswordLogin::begin(&password(PASSWORD)).unwrap();
    let with = |message: &[u8], at: usize, element: &[u8]| {
        let mut changed = message.to_vec();
        changed[at..at + 32].copy_from_slice(element);
        changed
    };
    for element in invalid.map(unhex) {
        let name = HEXLOWER.encode(&element);
        assert!(
            setup.evaluate(&alice, &element).is_none(),
            "a request: {name}"
        );
        assert!(!is_record(&with(&record, 0, &element)), "a record: {name}");
        for (at, record) in [
            (0, None),
            (0, Some(&record[..])),
            (64, None),
            (64, Some(&record[..])),
        ] {
            let answer = setup.answer(parties, record, &with(&ke1, at, &element), &[9; 64]);
            assert!(answer.is_none(), "KE1 at {at}: {name}");
        }
    }
}

fn published() -> Value {
    serde_json::from_str(include_str!("../../../../docs/vectors/opaque.json")).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The independent client, as alice.
struct IndependentClient {
    opaque: Opaque,
    /// Whether the client stretches with our Argon2. A server cannot tell.
    stretches: bool,
}

impl IndependentClient {
    fn stretch_output(&mut self, begun: &Said, typed: &str, message: &[u8]) -> Vec<u8> {
        let arguments = [
            ("password", typed.as_bytes()),
            ("state", &begun["state"]),
            ("message", message),
        ];
        let plain = self
            .opaque
            .ask("output", &arguments)
            .expect("our message holds an element")["output"]
            .to_vec();
        if self.stretches {
            stretch(plain.try_into().unwrap()).to_vec()
        } else {
            plain
        }
    }

    /// The record that our server stores for a password that this client sets.
    fn record(&mut self, setup: &PasswordSetup) -> Vec<u8> {
        let begun = self
            .opaque
            .ask("begin", &[("password", PASSWORD.as_bytes())])
            .unwrap();
        let response = setup
            .evaluate(&user("alice"), &begun["ke1"][..32])
            .expect("its request is one");
        let server = server(1);
        let stretched = self.stretch_output(&begun, PASSWORD, &response);
        let arguments = [
            ("password", PASSWORD.as_bytes()),
            ("state", &begun["state"]),
            ("user", b"alice"),
            ("server", server.bytes()),
            ("response", &response),
            ("stretched", &stretched),
        ];
        let record = self
            .opaque
            .ask("seal", &arguments)
            .expect("our response is one")["record"]
            .to_vec();
        assert!(is_record(&record));
        record
    }

    /// As `logs_in` for our own client, with a change to KE3.
    fn logs_in(
        &mut self,
        (setup, record): (&PasswordSetup, Option<&[u8]>),
        (typed, change): (&str, u8),
        client: &Side<'_>,
        server: &Side<'_>,
    ) -> Result<bool, String> {
        let begun = self
            .opaque
            .ask("begin", &[("password", typed.as_bytes())])?;
        let name = user(server.user);
        let parties = PasswordParties {
            user: &name,
            server: server.server,
        };
        let (ke2, pending) = setup
            .answer(parties, record, &begun["ke1"], &server.transcript)
            .expect("its KE1 is one");
        let stretched = self.stretch_output(&begun, typed, &ke2);
        let arguments = [
            ("password", typed.as_bytes()),
            ("state", &begun["state"]),
            ("user", client.user.as_bytes()),
            ("server", client.server.bytes()),
            ("context", &client.transcript),
            ("ke1", &begun["ke1"]),
            ("ke2", &ke2),
            ("stretched", &stretched),
        ];
        let mut ke3 = self.opaque.ask("prove", &arguments)?["ke3"].to_vec();
        ke3[17] ^= change;
        Ok(pending.accepts(&ke3, parties, &server.transcript))
    }
}

#[test]
fn independent_client_registers_and_logs_in() {
    let Some(opaque) = Opaque::start() else {
        return;
    };
    let setup = setup();
    let mut independent = IndependentClient {
        opaque,
        stretches: false,
    };
    let record = independent.record(&setup);
    let at = (&setup, Some(&record[..]));
    assert_eq!(
        independent.logs_in(at, (PASSWORD, 0), &alice(), &alice()),
        Ok(true)
    );
    assert_eq!(
        independent.logs_in(at, (PASSWORD, 1), &alice(), &alice()),
        Ok(false),
        "another KE3"
    );
    let unopened = "the envelope does not open";
    let unproved = "the server does not prove itself";
    let mut refused = |at, typed, client: &Side<'_>, server: &Side<'_>, expected: &str| {
        assert_eq!(
            independent.logs_in(at, (typed, 0), client, server),
            Err(expected.to_owned())
        );
    };
    refused(at, "Pferd", &alice(), &alice(), unopened);
    let bob = Side {
        user: "bob",
        ..alice()
    };
    refused(at, PASSWORD, &bob, &bob, unopened);
    refused(
        at,
        PASSWORD,
        &alice(),
        &Side {
            server: server(2),
            ..alice()
        },
        unproved,
    );
    refused(
        at,
        PASSWORD,
        &alice(),
        &Side {
            transcript: [8; 64],
            ..alice()
        },
        unproved,
    );
    refused((&setup, None), PASSWORD, &alice(), &alice(), unopened);
}

/// Each client logs in with the record of the other, so both derive the same keys.
#[test]
fn clients_share_records() {
    let Some(opaque) = Opaque::start() else {
        return;
    };
    let setup = setup();
    let mut independent = IndependentClient {
        opaque,
        stretches: true,
    };
    let ours = record(&setup, PASSWORD);
    assert_eq!(
        independent.logs_in((&setup, Some(&ours)), (PASSWORD, 0), &alice(), &alice()),
        Ok(true)
    );
    let theirs = independent.record(&setup);
    assert_eq!(
        logs_in(&setup, Some(&theirs), PASSWORD, &alice(), &alice()),
        Some(true)
    );
    independent.stretches = false;
    let unopened = Err("the envelope does not open".to_owned());
    assert_eq!(
        independent.logs_in((&setup, Some(&ours)), (PASSWORD, 0), &alice(), &alice()),
        unopened,
        "without Argon2"
    );
}

/// Blocks of Unicode with composed characters, spaces and controls.
///
/// All of them are older than any Python that runs this.
const BLOCKS: [(u32, u32); 8] = [
    (0x0, 0x24f),
    (0x300, 0x345),
    (0x370, 0x3ff),
    (0x1e00, 0x1eff),
    (0x2000, 0x212b),
    (0x3000, 0x30ff),
    (0x1100, 0x11ff),
    (0xac00, 0xad00),
];

#[test]
fn clients_prepare_passwords_identically() {
    let Some(mut opaque) = Opaque::start() else {
        return;
    };
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut refused = 0;
    for _ in 0..2_000 {
        let typed: String = (0..12)
            .filter_map(|_| {
                let (from, to) = BLOCKS[random(8) as usize];
                char::from_u32(from + random(to - from + 1))
            })
            .collect();
        let theirs = opaque
            .ask("prepare", &[("typed", typed.as_bytes())])
            .map(|said| said["password"].to_vec());
        let ours =
            Password::new(Zeroizing::new(typed.clone())).map(|password| password.bytes().to_vec());
        assert_eq!(ours.is_err(), theirs.is_err(), "{typed:?}");
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{typed:?}"),
            _ => refused += 1,
        }
    }
    assert!(
        (100..1_900).contains(&refused),
        "{refused} of them have control characters"
    );
}
