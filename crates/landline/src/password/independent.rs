//! Our server with a client that was written from `docs/protocol.md` and the RFCs alone
//! (`docs/vectors/opaque.py`, which needs python3), and what is published. Our client with a server
//! of that kind is in `tests/opaque.rs`.

use data_encoding::HEXLOWER;
use serde_json::Value;
use testkit::{Opaque, Said};

use super::{
    opaque::stretched,
    tests::{Side, alice, logs_in, password, record, server, setup, user},
    *,
};

const PASSWORD: &str = "Pferd, Stäbe 馬 🐎";

/// By argon2-cffi 25.1.0, so by the reference implementation in C:
/// `hash_secret_raw(bytes(range(64)), bytes(16), time_cost=3, memory_cost=65536, parallelism=1,
/// hash_len=64, type=Type.ID, version=0x13)`.
#[test]
fn stretching_is_argon2id_with_what_the_document_says() {
    let input = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let expected = "97076ac1d2e29b8f16f2af338d9f0e63a0d078c2b3cce12024bc7ecdd3cbc2d4\
                    b4dcb53de561c257004dc2d756cd8abcac4efc7b764b385fd8f624d7aa447a22";
    assert_eq!(HEXLOWER.encode(&stretched(input)), expected);
}

/// As far as the lottery of a login lets one foresee it: it is by chance what the masking, the
/// nonces and the key share come to.
#[test]
fn our_server_answers_as_the_vectors_of_rfc_9807_have_it() {
    let published = published();
    let cases = published["rfc9807"]["real"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let bytes = |name: &str| unhex(&case[name]);
        // As it is stored: the seed, the private key, and a public key of nobody.
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

/// RFC 9807 section 10.7: whatever is no element, and the identity, wherever a client may put one.
#[test]
fn our_server_takes_no_element_that_is_none() {
    let published = published();
    let invalid = published["rfc9496"]["invalid"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&published["rfc9496"]["multiples"][0]]);
    let (setup, alice) = (setup(), user("alice"));
    let (record, parties) = (
        record(&setup, PASSWORD),
        PasswordParties {
            user: &alice,
            server: server(1),
        },
    );
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

/// The other client, as alice.
struct There {
    opaque: Opaque,
    /// Whether it stretches, with our Argon2; a server cannot tell.
    stretches: bool,
}

impl There {
    fn stretched(&mut self, begun: &Said, typed: &str, message: &[u8]) -> Vec<u8> {
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
            stretched(plain.try_into().unwrap()).to_vec()
        } else {
            plain
        }
    }

    /// What our server stores for a password that it sets.
    fn record(&mut self, setup: &PasswordSetup) -> Vec<u8> {
        let begun = self
            .opaque
            .ask("begin", &[("password", PASSWORD.as_bytes())])
            .unwrap();
        let response = setup
            .evaluate(&user("alice"), &begun["ke1"][..32])
            .expect("its request is one");
        let (server, stretched) = (server(1), self.stretched(&begun, PASSWORD, &response));
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

    /// As the function of this name for our own client, with a change to KE3.
    fn logs_in(
        &mut self,
        (setup, record): (&PasswordSetup, Option<&[u8]>),
        (typed, change): (&str, u8),
        client: &Side<'_>,
        there: &Side<'_>,
    ) -> Result<bool, String> {
        let begun = self
            .opaque
            .ask("begin", &[("password", typed.as_bytes())])?;
        let name = user(there.user);
        let parties = PasswordParties {
            user: &name,
            server: there.server,
        };
        let (ke2, pending) = setup
            .answer(parties, record, &begun["ke1"], &there.transcript)
            .expect("its KE1 is one");
        let stretched = self.stretched(&begun, typed, &ke2);
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
        Ok(pending.accepts(&ke3, parties, &there.transcript))
    }
}

#[test]
fn an_independent_client_sets_a_password_at_our_server_and_logs_in_by_it_alone() {
    let Some(opaque) = Opaque::start() else {
        return;
    };
    let (setup, mut there) = (
        setup(),
        There {
            opaque,
            stretches: false,
        },
    );
    let record = there.record(&setup);
    let at = (&setup, Some(&record[..]));
    assert_eq!(
        there.logs_in(at, (PASSWORD, 0), &alice(), &alice()),
        Ok(true)
    );
    assert_eq!(
        there.logs_in(at, (PASSWORD, 1), &alice(), &alice()),
        Ok(false),
        "another KE3"
    );
    let (unopened, unproved) = (
        "the envelope does not open",
        "the server does not prove itself",
    );
    let mut refused = |at, typed, client: &Side<'_>, there_: &Side<'_>, expected: &str| {
        assert_eq!(
            there.logs_in(at, (typed, 0), client, there_),
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

/// So both derive the same from the same password: one from the other's record.
#[test]
fn what_either_client_has_set_the_other_logs_in_by() {
    let Some(opaque) = Opaque::start() else {
        return;
    };
    let (setup, mut there) = (
        setup(),
        There {
            opaque,
            stretches: true,
        },
    );
    let ours = record(&setup, PASSWORD);
    assert_eq!(
        there.logs_in((&setup, Some(&ours)), (PASSWORD, 0), &alice(), &alice()),
        Ok(true)
    );
    let theirs = there.record(&setup);
    assert_eq!(
        logs_in(&setup, Some(&theirs), PASSWORD, &alice(), &alice()),
        Some(true)
    );
    there.stretches = false;
    let unopened = Err("the envelope does not open".to_owned());
    assert_eq!(
        there.logs_in((&setup, Some(&ours)), (PASSWORD, 0), &alice(), &alice()),
        unopened,
        "without Argon2"
    );
}

/// Blocks of Unicode in which something is composed, and spaces and controls; all of them older
/// than any Python that runs this.
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
fn either_client_makes_the_same_bytes_of_what_is_typed() {
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
        let there = opaque
            .ask("prepare", &[("typed", typed.as_bytes())])
            .map(|said| said["password"].to_vec());
        let here =
            Password::new(Zeroizing::new(typed.clone())).map(|password| password.bytes().to_vec());
        assert_eq!(here.is_err(), there.is_err(), "{typed:?}");
        match (here, there) {
            (Ok(here), Ok(there)) => assert_eq!(here, there, "{typed:?}"),
            _ => refused += 1,
        }
    }
    assert!(
        (100..1_900).contains(&refused),
        "{refused} of them have control characters"
    );
}
