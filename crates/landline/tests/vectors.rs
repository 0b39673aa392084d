#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the test keys are copied to where only this user can read them"
)]
//! Replays `docs/vectors/login.json`, `secret.json` and `conversation.json`.
//!
//! It checks which signatures verify, and what our keys and secrets prove.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use data_encoding::{BASE64, HEXLOWER};
use landline::{
    Error,
    keys::{PublicKey, SecretKey, UserKey},
    login::Secret,
    proto::{
        ErrorCode, Header, Limits, MessageType,
        login::{ClientEvent, ClientLogin, METHOD_SECRET, Offer, Proof, ServerEvent, ServerLogin},
        message::encode,
        messages::{Nonce, Open, Ping, Pong},
    },
    server::message_types,
};
use serde_json::Value;
use zeroize::Zeroizing;

const PASSPHRASE: &str = "correct horse";

struct Case {
    name: String,
    transcript: [u8; 64],
    signature: Vec<u8>,
    ok: bool,
}

fn vectors() -> (Value, Vec<Case>) {
    let file: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/login.json")).expect("login.json");
    let text = |value: &Value| value.as_str().expect("a string").as_bytes().to_vec();
    let case = |case: &Value| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        transcript: HEXLOWER
            .decode(&text(&case["transcript"]))
            .unwrap()
            .try_into()
            .expect("64 bytes"),
        signature: BASE64.decode(&text(&case["signature"])).unwrap(),
        ok: case["ok"].as_bool().unwrap(),
    };
    let cases: Vec<Case> = file["cases"].as_array().unwrap().iter().map(case).collect();
    assert!(
        cases.iter().any(|case| case.ok) && cases.iter().any(|case| !case.ok),
        "no cases"
    );
    (file, cases)
}

/// A copy that only its owner can read, since git does not keep such modes.
fn private_copy(text: &[u8], name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path).unwrap().write_all(text).unwrap();
    path
}

fn load(
    name: &str,
    text: &[u8],
    passphrase: impl FnOnce() -> Option<&'static str>,
) -> Result<UserKey, Error> {
    let path = private_copy(text, name);
    let loaded = UserKey::load(&path, |asked| {
        assert_eq!(
            asked, path,
            "{name}: asked for the passphrase of another file"
        );
        let passphrase = passphrase()
            .unwrap_or_else(|| panic!("{name}: asked for the passphrase of a plain key"));
        Ok(Zeroizing::new(passphrase.to_owned()))
    });
    fs::remove_file(&path).unwrap();
    loaded
}

/// Proves `wrong-key` in docs/faults.md.
#[test]
fn signatures_verify_as_in_vectors() {
    let (file, cases) = vectors();
    let line = file["key"].as_str().unwrap();
    let key = PublicKey::parse(line).expect("the key of the vectors");
    assert_eq!(key.line(), line);
    assert_eq!(key.fingerprint(), file["fingerprint"].as_str().unwrap());
    let wrong: Vec<&str> = cases
        .iter()
        .filter(|case| key.verifies(&case.transcript, &case.signature) != case.ok)
        .map(|case| case.name.as_str())
        .collect();
    assert!(
        wrong.is_empty(),
        "verified otherwise than in the vectors: {wrong:#?}"
    );
}

#[test]
fn signatures_match_vectors() {
    let (file, cases) = vectors();
    let plain = include_bytes!("../../../docs/vectors/test_ed25519");
    let locked = include_bytes!("../../../docs/vectors/test_ed25519_encrypted");
    let keys = [
        ("test_ed25519", load("plain", plain, || None)),
        (
            "test_ed25519_encrypted",
            load("locked", locked, || Some(PASSPHRASE)),
        ),
    ];
    for (name, key) in keys {
        let key = key.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(key.public().line(), file["key"].as_str().unwrap(), "{name}");
        for case in cases.iter().filter(|case| case.ok) {
            let signature = key
                .sign(&case.transcript)
                .unwrap_or_else(|error| panic!("{name}, {}: {error}", case.name));
            assert_eq!(
                BASE64.encode(&signature),
                BASE64.encode(&case.signature),
                "{name}, {}",
                case.name
            );
        }
    }
}

#[test]
fn wrong_passphrase_is_rejected() {
    let locked = include_bytes!("../../../docs/vectors/test_ed25519_encrypted");
    assert!(matches!(
        load("refused", locked, || Some("wrong horse")),
        Err(Error::Key { .. })
    ));
}

#[test]
fn secret_proofs_match_vectors() {
    let file: Value = serde_json::from_str(include_str!("../../../docs/vectors/secret.json"))
        .expect("secret.json");
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 10, "the file has too few cases");
    for case in cases {
        let text = |key: &str| case[key].as_str().expect("a string");
        let name = text("name");
        let secret: Secret = text("line")
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(*secret.reveal(), text("line"), "{name}");
        assert_eq!(secret.binding.as_str(), text("binding_type"), "{name}");
        assert_eq!(
            secret.fingerprint.to_string(),
            text("fingerprint"),
            "{name}"
        );
        let key = secret.key();
        assert_eq!(key.id().to_string(), text("id"), "{name}");
        let transcript: [u8; 64] = HEXLOWER
            .decode(text("transcript").as_bytes())
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(
            BASE64.encode(&key.client_proof(&transcript).0),
            text("client_proof"),
            "{name}"
        );
        assert_eq!(
            BASE64.encode(&key.server_proof(&transcript).0),
            text("server_proof"),
            "{name}"
        );
    }
}

/// Every type of message: keys that are null, missing, or of the wrong type.
#[test]
fn keys_of_message_types_match_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/types.json")).expect("types.json");
    let types: BTreeMap<(&str, &str), MessageType> = message_types()
        .map(|(service, kind)| ((service, kind.name), kind))
        .collect();
    let (mut tried, mut wrong) = (BTreeSet::new(), Vec::new());
    for entry in file["types"].as_array().unwrap() {
        let (service, header) = (entry["service"].as_str().unwrap(), &entry["header"]);
        let name = (service, header["type"].as_str().unwrap());
        let kind = types
            .get(&name)
            .unwrap_or_else(|| panic!("no type {name:?}"));
        tried.insert(name);
        for (is_right, changes) in [(true, &entry["good"]), (false, &entry["bad"])] {
            for change in changes.as_array().unwrap() {
                let mut header = header.clone();
                let change = change.as_object().unwrap();
                header.as_object_mut().unwrap().extend(change.clone());
                let decoded = Header::decode(&serde_json::to_vec(&header).unwrap()).unwrap();
                let found = kind.check(&decoded).map_err(|error| error.code());
                let expected = if is_right {
                    Ok(())
                } else {
                    Err(ErrorCode::BadHeader)
                };
                if found != expected {
                    wrong.push(format!("{header}: {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let untried: Vec<_> = types.keys().filter(|name| !tried.contains(*name)).collect();
    assert!(untried.is_empty(), "types without vectors: {untried:?}");
}

/// The conversation of section 19 with our client, our server and the bytes of the document.
#[test]
fn documented_conversation_logs_in() {
    let file: Value = serde_json::from_str(include_str!("../../../docs/vectors/conversation.json"))
        .expect("conversation.json");
    let messages: Vec<Vec<u8>> = file["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            HEXLOWER
                .decode(message["bytes"].as_str().unwrap().as_bytes())
                .unwrap()
        })
        .collect();
    let document = include_str!("../../../docs/protocol.md");
    for message in &messages {
        let (length, text) = message.split_at(4);
        let length: Vec<String> = length.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!(
            "\n{}  {}\n",
            length.join(" "),
            str::from_utf8(text).unwrap()
        );
        assert!(document.contains(&line), "section 19 does not show {line}");
    }
    let [greeting, login, open, ping, welcome, pong] = messages.as_slice() else {
        panic!("the conversation does not have six messages");
    };
    let nonce = |key: &str| {
        let bytes = HEXLOWER.decode(file[key].as_str().unwrap().as_bytes());
        Nonce(bytes.unwrap().try_into().unwrap())
    };
    let secret: Secret = file["line"].as_str().unwrap().parse().unwrap();
    let key = secret.key();
    let fingerprint = *secret.fingerprint.bytes();

    let mut client = ClientLogin::new(
        secret.user.clone(),
        METHOD_SECRET,
        fingerprint,
        "tcp",
        nonce("client_nonce"),
    );
    let event = client.handle_input(&mut greeting.as_slice()).unwrap();
    assert_eq!(event, Some(ClientEvent::Greeted));
    let transcript = client.transcript(secret.binding, &[]).unwrap();
    assert_eq!(HEXLOWER.encode(&transcript), file["transcript"]);
    let proof = Proof::Secret {
        secret: key.id(),
        binding: secret.binding,
        proof: key.client_proof(&transcript),
    };
    let mut sent = Vec::new();
    client.login(proof, &mut sent).unwrap();
    encode(
        &Open {
            service: "ping".to_owned(),
        },
        None,
        &Limits::LOGIN,
        &mut sent,
    )
    .unwrap();
    encode(&Ping {}, None, &Limits::LOGIN, &mut sent).unwrap();
    assert_eq!(sent, [login.as_slice(), open, ping].concat());

    let offer = client.greeting().unwrap().clone();
    let offer = Offer {
        server: offer.server,
        features: offer.features,
        methods: offer.methods,
        fingerprint,
        transport: "tcp",
    };
    let mut server = ServerLogin::new(offer, nonce("server_nonce"), Instant::now()).unwrap();
    assert_eq!(server.poll_transmit().as_ref(), Some(greeting));
    let Some(ServerEvent::Attempt(attempt)) = server.handle_input(&mut sent.as_slice()).unwrap()
    else {
        panic!("no login");
    };
    assert_eq!(attempt.transcript(&[]), transcript);

    let Some(ClientEvent::Welcome(accepted)) =
        client.handle_input(&mut welcome.as_slice()).unwrap()
    else {
        panic!("no welcome");
    };
    assert_eq!(accepted.proof, Some(key.server_proof(&transcript)));
    let (mut answer, _) = server.accept(&accepted).unwrap();
    encode(&Pong {}, None, &Limits::SESSION, &mut answer).unwrap();
    assert_eq!(answer, [welcome.as_slice(), pong].concat());
}

/// Valid signatures of every other key type, and signatures with one error each.
/// Proves `wrong-key` in docs/faults.md.
#[test]
fn key_types_verify_as_in_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/keys.json")).expect("keys.json");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |name: &str| file[name].as_array().expect("a list").clone();
    let transcript = HEXLOWER
        .decode(text(&file["transcript"]).as_bytes())
        .unwrap()
        .try_into()
        .expect("64 bytes");
    let mut keys = std::collections::HashMap::new();
    for key in list("keys") {
        let parsed =
            PublicKey::read(&text(&key["line"])).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(parsed.line(), text(&key["line"]));
        assert_eq!(parsed.fingerprint(), text(&key["fingerprint"]));
        keys.insert(text(&key["name"]), parsed);
    }
    assert_eq!(keys.len(), 7);
    let mut wrong = Vec::new();
    for case in list("cases") {
        let signature = BASE64.decode(text(&case["signature"]).as_bytes()).unwrap();
        for (name, key) in &keys {
            let is_due = *name == text(&case["key"]) && case["ok"] == true;
            if key.verifies(&transcript, &signature) != is_due {
                wrong.push(format!("{name}: {}: {}", case["key"], case["name"]));
            }
            let mut other = transcript;
            other[0] ^= 1;
            assert!(
                !key.verifies(&other, &signature),
                "{name}: {} verified for another transcript",
                case["name"]
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "verified otherwise than in the vectors: {wrong:#?}"
    );
    for line in list("lines") {
        assert_eq!(
            PublicKey::parse(&text(&line["line"])).is_some(),
            line["ok"] == true,
            "{line}"
        );
    }
}

#[test]
fn key_tags_match_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../docs/vectors/keys.json")).expect("keys.json");
    let tags = file["tags"].as_array().expect("a list");
    assert!(!tags.is_empty());
    for tag in tags {
        let binding = HEXLOWER
            .decode(tag["binding"].as_str().unwrap().as_bytes())
            .unwrap();
        let found = landline::proto::login::key_tag(&binding, tag["key"].as_str().unwrap());
        assert_eq!(BASE64.encode(&found.0), tag["tag"].as_str().unwrap());
    }
}

#[test]
fn attach_proofs_match_vectors() {
    let file: Value = serde_json::from_str(include_str!("../../../docs/vectors/attach.json"))
        .expect("attach.json");
    for case in file["cases"].as_array().unwrap() {
        let text = |key: &str| case[key].as_str().expect("a string").as_bytes();
        let secret =
            SecretKey::from_bytes(BASE64.decode(text("secret")).unwrap().try_into().unwrap());
        let transcript: [u8; 64] = HEXLOWER
            .decode(text("transcript"))
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(
            BASE64
                .encode(&secret.attach_proof(&transcript).0)
                .as_bytes(),
            text("proof"),
            "{}",
            case["name"]
        );
    }
}
