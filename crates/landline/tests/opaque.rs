#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
//! Our client against a password server that was written from `docs/protocol.md` and the RFCs alone
//! (`docs/vectors/opaque.py`).
//!
//! The test of our server against such a client is in `src/password/independent.rs`. Needs python3.

use data_encoding::{BASE64, HEXLOWER};
use landline::{
    crypto::Fingerprint,
    password::{Password, PasswordLogin, PasswordParties, PasswordRegistration},
    proto::{
        login::{
            BindingType, ClientLogin, METHOD_PASSWORD, Offer, Proof, ServerEvent, ServerLogin,
            UserName,
        },
        messages::{Blob, Nonce},
    },
};
use serde_json::{Value, json};
use testkit::{Opaque, Said};
use zeroize::Zeroizing;

const PASSWORD: &str = "Pferd, Stäbe 馬 🐎";
const TRANSCRIPT: [u8; 64] = [9; 64];

/// The offset of each field of KE2, and the end of the last one.
const FIELDS: [(&str, usize); 9] = [
    ("evaluated message", 0),
    ("masking nonce", 32),
    ("masked server key", 64),
    ("masked envelope nonce", 96),
    ("masked envelope tag", 128),
    ("server nonce", 192),
    ("server key share", 224),
    ("server mac", 256),
    ("end", 320),
];

/// The independent server, with its record of alice's password.
struct There {
    opaque: Opaque,
    setup: Vec<u8>,
    record: Vec<u8>,
}

/// The user, server and connection that one side assumes.
#[derive(Clone, Copy)]
struct Side {
    user: &'static str,
    certificate: &'static [u8],
    transcript: [u8; 64],
}

const ALICE: Side = Side {
    user: "alice",
    certificate: b"there",
    transcript: TRANSCRIPT,
};

impl Side {
    fn server(&self) -> Fingerprint {
        Fingerprint::of_certificate(self.certificate)
    }

    fn run<T>(&self, work: impl FnOnce(PasswordParties<'_>) -> T) -> T {
        let user: UserName = self.user.parse().unwrap();
        work(PasswordParties {
            user: &user,
            server: self.server(),
        })
    }
}

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned())).unwrap()
}

impl There {
    /// A server on which our client has registered a password.
    fn new() -> Option<Self> {
        let mut opaque = Opaque::start()?;
        let setup = opaque.ask("setup", &[]).unwrap()["setup"].to_vec();
        let (request, begun) = PasswordRegistration::begin(&password(PASSWORD)).unwrap();
        let arguments = [
            ("setup", &setup[..]),
            ("user", b"alice"),
            ("request", &request),
        ];
        let said = opaque
            .ask("respond", &arguments)
            .expect("the server accepts our request");
        let record = ALICE
            .run(|parties| begun.finish(&said["response"], parties))
            .expect("our client accepts the response");
        assert_eq!(
            (request.len(), said["response"].len(), record.len()),
            (32, 64, 192)
        );
        Some(Self {
            opaque,
            setup,
            record,
        })
    }

    /// The server's answer to our KE1, with `side` as its view.
    fn answer(&mut self, ke1: &[u8], side: Side) -> Said {
        let (setup, record, server) = (&self.setup[..], &self.record[..], side.server());
        let arguments = [
            ("setup", setup),
            ("user", side.user.as_bytes()),
            ("server", server.bytes()),
            ("context", &side.transcript),
            ("record", record),
            ("ke1", ke1),
        ];
        let said = self
            .opaque
            .ask("answer", &arguments)
            .expect("our KE1 is one");
        assert_eq!((ke1.len(), said["ke2"].len()), (96, 320));
        said
    }

    /// Begins a login. Returns our state and the server's answer.
    fn begin(&mut self, typed: &str, side: Side) -> (PasswordLogin, Said) {
        let (ke1, begun) = PasswordLogin::begin(&password(typed)).unwrap();
        (begun, self.answer(&ke1, side))
    }

    /// Whether a login with these two views succeeds. `None` if our client rejects the answer.
    fn logs_in(&mut self, typed: &str, client: Side, there: Side) -> Option<bool> {
        let (begun, said) = self.begin(typed, there);
        let ke3 = client.run(|parties| begun.finish(&said["ke2"], parties, &client.transcript))?;
        assert_eq!(ke3.len(), 64);
        Some(self.accepts(&said, &ke3))
    }

    fn accepts(&mut self, said: &Said, ke3: &[u8]) -> bool {
        self.opaque
            .ask("finish", &[("state", &said["state"]), ("ke3", ke3)])
            .is_ok()
    }

    /// Whether our client accepts a KE2 that was changed on the way.
    fn opens(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let (begun, said) = self.begin(PASSWORD, ALICE);
        let mut ke2 = said["ke2"].to_vec();
        change(&mut ke2);
        assert_ne!(ke2, &said["ke2"], "nothing was changed");
        ALICE
            .run(|parties| begun.finish(&ke2, parties, &TRANSCRIPT))
            .is_some()
    }
}

#[test]
fn independent_opaque_matches_rfc_vectors() {
    Opaque::self_test();
}

/// The headers in a sequence of frames.
fn headers(mut flight: &[u8]) -> Vec<Value> {
    let mut headers = Vec::new();
    while let Some((length, rest)) = flight.split_first_chunk() {
        let (payload, rest) = rest.split_at(i32::from_le_bytes(*length).try_into().unwrap());
        headers.push(serde_json::from_slice(payload).unwrap());
        flight = rest;
    }
    headers
}

#[test]
fn messages_and_binding_match_document() {
    let file: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/transcript.json")).unwrap();
    let case = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["method"] == "password")
        .expect("a case");
    let bytes = |name: &str| {
        <[u8; 32]>::try_from(
            HEXLOWER
                .decode(case[name].as_str().unwrap().as_bytes())
                .unwrap(),
        )
        .unwrap()
    };
    let methods = case["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|method| method.as_str().unwrap().to_owned())
        .collect();
    let (user, fingerprint) = (
        case["user"].as_str().unwrap().parse().unwrap(),
        bytes("fingerprint"),
    );
    let (ours, theirs) = (Nonce(bytes("client_nonce")), Nonce(bytes("server_nonce")));
    let offer = Offer {
        server: "x".into(),
        features: Vec::new(),
        methods,
        fingerprint,
        transport: "tcp",
    };
    let mut server = ServerLogin::new(offer, theirs, std::time::Instant::now()).unwrap();
    let mut client = ClientLogin::new(user, METHOD_PASSWORD, fingerprint, "tcp", ours);

    client
        .handle_input(&mut &server.poll_transmit().unwrap()[..])
        .unwrap();
    let mut flight = Vec::new();
    client.begin_password(vec![1; 96], &mut flight).unwrap();
    client
        .login(
            Proof::Password {
                ke3: Blob(vec![3; 64]),
            },
            &mut flight,
        )
        .unwrap();
    let Some(ServerEvent::Password(begun)) = server.handle_input(&mut &flight[..]).unwrap() else {
        panic!("not begun")
    };
    server.evaluate(vec![2; 320]).unwrap();
    let evaluation = server.poll_transmit().unwrap();

    let exporter = bytes("binding");
    assert_eq!(
        HEXLOWER.encode(&begun.transcript(&exporter)),
        case["transcript"].as_str().unwrap()
    );
    assert_eq!(
        client.transcript(BindingType::TlsExporter, &exporter),
        Some(begun.transcript(&exporter))
    );
    let (nonce, user) = (BASE64.encode(&ours.0), &case["user"]);
    let [ke1, ke2, ke3] =
        [vec![1; 96], vec![2; 320], vec![3; 64]].map(|bytes| BASE64.encode(&bytes));
    assert_eq!(
        headers(&flight),
        [
            json!({"type": "password", "version": 1, "user": user, "nonce": nonce, "ke1": ke1}),
            json!({"type": "login", "version": 1, "user": user, "method": "password", "nonce": nonce, "ke3": ke3}),
        ]
    );
    assert_eq!(
        headers(&evaluation),
        [json!({"type": "evaluation", "ke2": ke2})]
    );
}

#[test]
fn only_registered_password_logs_in() {
    let Some(mut there) = There::new() else {
        return;
    };
    assert_eq!(there.logs_in(PASSWORD, ALICE, ALICE), Some(true));
    // The restarted server has only what it stored.
    there.opaque = Opaque::start().unwrap();
    assert_eq!(
        there.logs_in(PASSWORD, ALICE, ALICE),
        Some(true),
        "after a restart"
    );

    assert_eq!(
        there.logs_in("Pferd, Stabe 馬 🐎", ALICE, ALICE),
        None,
        "another password"
    );
    let bob = Side {
        user: "bob",
        ..ALICE
    };
    assert_eq!(
        there.logs_in(PASSWORD, bob, bob),
        None,
        "the record under another name"
    );
    assert_eq!(
        there.logs_in(PASSWORD, bob, ALICE),
        None,
        "another name at the client alone"
    );
    let elsewhere = Side {
        certificate: b"elsewhere",
        ..ALICE
    };
    assert_eq!(
        there.logs_in(PASSWORD, elsewhere, elsewhere),
        None,
        "another fingerprint"
    );
    assert_eq!(
        there.logs_in(PASSWORD, elsewhere, ALICE),
        None,
        "a relaying server"
    );
    let mut transcript = TRANSCRIPT;
    transcript[63] ^= 1;
    assert_eq!(
        there.logs_in(
            PASSWORD,
            Side {
                transcript,
                ..ALICE
            },
            ALICE
        ),
        None,
        "another connection"
    );

    let mut stolen = There {
        opaque: Opaque::start().unwrap(),
        setup: there.setup.clone(),
        record: there.record.clone(),
    };
    stolen.setup = stolen.opaque.ask("setup", &[]).unwrap()["setup"].to_vec();
    assert_eq!(
        stolen.logs_in(PASSWORD, ALICE, ALICE),
        None,
        "the record on another server"
    );
    there.record.clear();
    assert_eq!(there.logs_in(PASSWORD, ALICE, ALICE), None, "no record");
}

#[test]
fn last_message_fits_only_its_login() {
    let Some(mut there) = There::new() else {
        return;
    };
    let (begun, said) = there.begin(PASSWORD, ALICE);
    let ke3 = ALICE
        .run(|parties| begun.finish(&said["ke2"], parties, &TRANSCRIPT))
        .unwrap();
    for at in [0, 31, 32, 63] {
        let mut changed = ke3.clone();
        changed[at] ^= 0x80;
        assert!(!there.accepts(&said, &changed), "byte {at}");
    }
    let (_, another) = there.begin(PASSWORD, ALICE);
    assert!(!there.accepts(&another, &ke3), "at another login");
    assert!(there.accepts(&said, &ke3));
}

/// A field is rejected even if it is the valid field of another login.
#[test]
fn altered_answer_does_not_open() {
    let Some(mut there) = There::new() else {
        return;
    };
    for pair in FIELDS.windows(2) {
        let ((name, start), (_, end)) = (pair[0], pair[1]);
        for (at, bit) in [(start, 0), (end - 1, 7)] {
            assert!(!there.opens(|ke2| ke2[at] ^= 1 << bit), "{name}, byte {at}");
        }
        let (_, other) = there.begin(PASSWORD, ALICE);
        assert!(
            !there.opens(|ke2| ke2[start..end].copy_from_slice(&other["ke2"][start..end])),
            "{name} of another"
        );
    }
    assert!(
        !there.opens(|ke2| ke2.truncate(319)) && !there.opens(|ke2| ke2.push(0)),
        "another length"
    );
}

/// RFC 9807 section 10.7: our client rejects invalid elements and the identity in every field.
#[test]
fn client_rejects_invalid_element() {
    let Some(mut there) = There::new() else {
        return;
    };
    let published: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/opaque.json")).unwrap();
    let invalid = published["rfc9496"]["invalid"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&published["rfc9496"]["multiples"][0]]);
    for element in invalid.map(|element| {
        HEXLOWER
            .decode(element.as_str().unwrap().as_bytes())
            .unwrap()
    }) {
        let name = HEXLOWER.encode(&element);
        for (field, start) in [FIELDS[0], FIELDS[6]] {
            assert!(
                !there.opens(|ke2| ke2[start..start + 32].copy_from_slice(&element)),
                "{field}: {name}"
            );
        }
        for (field, start) in [("evaluated message", 0), ("server key", 32)] {
            let (request, begun) = PasswordRegistration::begin(&password(PASSWORD)).unwrap();
            let arguments = [
                ("setup", &there.setup[..]),
                ("user", b"alice"),
                ("request", &request),
            ];
            let mut response =
                there.opaque.ask("respond", &arguments).unwrap()["response"].to_vec();
            response[start..start + 32].copy_from_slice(&element);
            let record = ALICE.run(|parties| begun.finish(&response, parties));
            assert!(record.is_none(), "the {field} of a registration: {name}");
        }
    }
}
