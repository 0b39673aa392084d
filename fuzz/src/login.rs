//! The login state machines of both sides.

use std::time::Instant;

use landline_proto::{
    Header, Limits, ProtocolError, VERSION,
    frame::PREFIX_BYTES,
    limits::KEYS_MAX,
    login::{
        BindingType, ClientEvent, ClientLogin, METHOD_ATTACH, METHOD_INVITE, METHOD_PASSWORD,
        METHOD_SECRET, METHOD_SSH_KEY, Offer, Proof, SecretId, ServerEvent, ServerLogin, UserName,
    },
    message,
    messages::{Blob, Greeting, Login, Mac, Nonce, Password, Token, Welcome},
};

use crate::{controls, segmentations};

/// A value that binds the connection and is not sent.
const BINDING: [u8; 32] = [5; 32];
const FINGERPRINT: [u8; 32] = [7; 32];

fn offer(methods: &[&str]) -> Offer {
    Offer {
        server: "landline/fuzz".into(),
        features: vec!["ping".into()],
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        fingerprint: FINGERPRINT,
        transport: "tcp",
    }
}

fn user() -> Option<UserName> {
    "alice".parse().ok()
}

/// The outcome of a login on the server.
///
/// It is the attempt with its transcript, an error, or nothing yet. Without an error it has the
/// number of bytes that were read.
type Served = (Result<Option<(Login, [u8; 64])>, ProtocolError>, usize);

/// The server's side.
///
/// Any segmentation gives the same attempt and reads the same bytes. Nothing after the login is
/// read. A login round-trips.
pub fn server_login(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let methods: &[&str] = if choice % 2 == 0 {
        &[
            METHOD_SSH_KEY,
            METHOD_INVITE,
            METHOD_SECRET,
            METHOD_PASSWORD,
            METHOD_ATTACH,
        ]
    } else {
        &[METHOD_SSH_KEY]
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| serve(&pieces, methods));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");

    let Ok(Some((login, transcript))) = whole.0 else {
        return;
    };
    assert_eq!(login.version, VERSION);
    assert!(
        methods.contains(&login.proof.method()),
        "a method that was not offered"
    );
    if login.proof.method() == METHOD_PASSWORD {
        // A login by password is valid only after its first message.
        return;
    }
    let mut again = Vec::new();
    if message::encode(&login, None, &Limits::LOGIN, &mut again).is_ok() {
        let length = again.len();
        assert_eq!(
            serve(&[&again], methods),
            (Ok(Some((login, transcript))), length)
        );
    }
}

fn serve(pieces: &[&[u8]], methods: &[&str]) -> Served {
    let now = Instant::now();
    let machine = ServerLogin::new(offer(methods), Nonce([2; 32]), now);
    assert!(machine.is_ok(), "the offer fits into a greeting");
    let mut used = 0;
    let Ok(mut server) = machine else {
        return (Ok(None), used);
    };
    server.poll_transmit();
    let deadline = server.poll_timeout();
    for piece in pieces {
        let mut input = *piece;
        let attempt = loop {
            let before = input.len();
            let found = server.handle_input(&mut input);
            used += before - input.len();
            assert_eq!(server.poll_timeout(), deadline, "the deadline moved");
            match found {
                Err(error) => return (Err(error), 0),
                Ok(Some(ServerEvent::Attempt(attempt))) => break Some(attempt),
                Ok(Some(ServerEvent::Asked(keys))) => answer(&mut server, keys.keys.len(), input),
                Ok(Some(ServerEvent::Password(attempt))) => {
                    let transcript = attempt.transcript(&BINDING);
                    assert_ne!(
                        transcript,
                        attempt.transcript(&FINGERPRINT),
                        "not bound to the connection"
                    );
                    let behind = input.len();
                    assert!(
                        matches!(server.handle_input(&mut input), Ok(None))
                            && input.len() == behind,
                        "read on"
                    );
                    assert_eq!(server.evaluate(vec![1; 320]), Ok(()));
                    assert!(server.poll_transmit().is_some(), "no answer");
                }
                Ok(Some(ServerEvent::Signing)) => {}
                Ok(None) => break None,
            }
        };
        let Some(attempt) = attempt else {
            assert!(input.is_empty(), "the machine waits with input left");
            continue;
        };
        let behind = input.len();
        assert!(
            matches!(server.handle_input(&mut input), Ok(None)),
            "a second attempt"
        );
        assert_eq!(input.len(), behind, "bytes after the login were read");
        let transcript = attempt.transcript(&BINDING);
        let bound = transcript != attempt.transcript(&FINGERPRINT);
        let is_to_the_connection = attempt.login.proof.binding() == BindingType::TlsExporter;
        assert_eq!(
            bound, is_to_the_connection,
            "the binding differs from the login"
        );
        accept(server, &attempt.login, input);
        return (Ok(Some((attempt.login, transcript))), used);
    }
    (Ok(None), used)
}

/// Chooses the last of the offered keys.
fn answer(server: &mut ServerLogin, keys: usize, mut input: &[u8]) {
    let behind = input.len();
    assert!(
        matches!(server.handle_input(&mut input), Ok(None)) && input.len() == behind,
        "input was read before the answer"
    );
    assert!((1..=KEYS_MAX).contains(&keys), "{keys} keys");
    assert_eq!(server.choose(Some(keys - 1)), Ok(()));
    assert!(server.poll_transmit().is_some(), "no answer");
}

/// Continues with the bytes after the login.
fn accept(server: ServerLogin, login: &Login, mut behind: &[u8]) {
    let welcome = Welcome {
        user: login.user.clone(),
        key: "SHA256:x".into(),
        session: "00".repeat(8),
        proof: None,
        attach: None,
    };
    let accepted = server.accept(&welcome);
    assert!(accepted.is_ok(), "the welcome fits");
    let Ok((_, mut decoder)) = accepted else {
        return;
    };
    assert!(
        decoder.at_boundary(),
        "the session does not begin between two messages"
    );
    while let Ok(Some(_)) = decoder.decode(&mut behind) {}
}

/// A client that has read all of its input.
struct Conversation {
    events: Vec<ClientEvent>,
    error: Option<ProtocolError>,
    used: usize,
    client: ClientLogin,
}

/// The client's side.
///
/// Any segmentation gives the same events and reads the same bytes. A server with the same greeting
/// computes the client's transcript.
pub fn client_login(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let Some(user) = user() else { return };
    let method = match choice % 4 {
        0 => METHOD_SSH_KEY,
        1 => METHOD_INVITE,
        2 => METHOD_SECRET,
        _ => METHOD_PASSWORD,
    };
    let new = || ClientLogin::new(user.clone(), method, FINGERPRINT, "tcp", Nonce([1; 32]));
    let [whole, steps, bytes] =
        segmentations(stream, step).map(|pieces| converse(new(), method, &pieces));
    for other in [&steps, &bytes] {
        assert_eq!(
            (&whole.events, &whole.error, whole.used),
            (&other.events, &other.error, other.used)
        );
        assert_eq!(whole.client.greeting(), other.client.greeting());
        assert_eq!(
            whole.client.transcript(BindingType::TlsExporter, &BINDING),
            other.client.transcript(BindingType::TlsExporter, &BINDING)
        );
    }
    let greeted = whole.events.first() == Some(&ClientEvent::Greeted);
    assert_eq!(whole.client.greeting().is_some(), greeted);
    if let Some(greeting) = whole.client.greeting() {
        check_greeting(greeting, method);
        meet(&whole.client, greeting, method);
    }
}

fn converse(mut client: ClientLogin, method: &str, pieces: &[&[u8]]) -> Conversation {
    let (mut events, mut used) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = *piece;
        loop {
            match client.handle_input(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => events.push(event),
                Err(error) => {
                    return Conversation {
                        events,
                        error: Some(error),
                        used: 0,
                        client,
                    };
                }
            }
            if method == METHOD_PASSWORD && matches!(events.last(), Some(ClientEvent::Greeted)) {
                assert_eq!(client.begin_password(vec![1; 96], &mut Vec::new()), Ok(()));
            }
            if !matches!(
                events.last(),
                Some(ClientEvent::Greeted | ClientEvent::Evaluated(_))
            ) {
                used += piece.len() - input.len();
                return Conversation {
                    events,
                    error: None,
                    used,
                    client,
                };
            }
        }
        assert!(input.is_empty(), "the machine waits with input left");
        used += piece.len();
    }
    Conversation {
        events,
        error: None,
        used,
        client,
    }
}

fn check_greeting(greeting: &Greeting, method: &str) {
    assert!(greeting.versions.contains(&VERSION));
    assert!(greeting.methods.iter().any(|offered| offered == method));
    // The transcript joins them with commas.
    assert!(
        greeting
            .methods
            .iter()
            .all(|offered| !offered.is_empty() && !offered.contains(','))
    );
    let mut out = Vec::new();
    if message::encode(greeting, None, &Limits::LOGIN, &mut out).is_ok() {
        let again = Header::decode(out.get(PREFIX_BYTES..).unwrap_or_default());
        assert_eq!(
            again.and_then(|header| header.read::<Greeting>()).as_ref(),
            Ok(greeting)
        );
    }
}

/// Checks that a server with this greeting accepts the client's login, with the same transcript.
fn meet(client: &ClientLogin, greeting: &Greeting, method: &str) {
    let offer = Offer {
        server: greeting.server.clone(),
        features: greeting.features.clone(),
        methods: greeting.methods.clone(),
        fingerprint: FINGERPRINT,
        transport: "tcp",
    };
    let Ok(mut server) = ServerLogin::new(offer, greeting.nonce, Instant::now()) else {
        return;
    };
    let mut flight = Vec::new();
    if method == METHOD_PASSWORD {
        return meet_by_password(client, server);
    }
    let (key, signature) = ("ssh-ed25519 AAAA".to_owned(), Blob(vec![9; 64]));
    let proof = match method {
        METHOD_SSH_KEY => Proof::SshKey { key, signature },
        METHOD_INVITE => Proof::Invite {
            key,
            signature,
            token: Token([3; 16]),
        },
        _ => Proof::Secret {
            secret: SecretId([4; 8]),
            binding: BindingType::TlsExporter,
            proof: Mac([6; 32]),
        },
    };
    assert_eq!(client.login(proof, &mut flight), Ok(()));
    let attempt = server.handle_input(&mut &flight[..]);
    assert!(
        matches!(attempt, Ok(Some(ServerEvent::Attempt(_)))),
        "the server rejected the login: {attempt:?}"
    );
    if let Ok(Some(ServerEvent::Attempt(attempt))) = attempt {
        assert_eq!(
            Some(attempt.transcript(&BINDING)),
            client.transcript(BindingType::TlsExporter, &BINDING)
        );
    }
}

/// The same for a login by password, which takes two messages.
fn meet_by_password(client: &ClientLogin, mut server: ServerLogin) {
    let Some(user) = user() else { return };
    let begin = Password {
        version: VERSION,
        user,
        nonce: Nonce([1; 32]),
        ke1: Blob(vec![1; 96]),
    };
    let mut flight = Vec::new();
    assert_eq!(
        message::encode(&begin, None, &Limits::LOGIN, &mut flight),
        Ok(())
    );
    assert_eq!(
        client.login(
            Proof::Password {
                ke3: Blob(vec![3; 64])
            },
            &mut flight
        ),
        Ok(())
    );
    let mut input = &flight[..];
    let transcript = client.transcript(BindingType::TlsExporter, &BINDING);
    let begun = server.handle_input(&mut input);
    assert!(
        matches!(begun, Ok(Some(ServerEvent::Password(_)))),
        "the server rejected the first message: {begun:?}"
    );
    if let Ok(Some(ServerEvent::Password(begun))) = begun {
        assert_eq!(Some(begun.transcript(&BINDING)), transcript);
    }
    assert_eq!(server.evaluate(vec![2; 320]), Ok(()));
    let attempt = server.handle_input(&mut input);
    assert!(
        matches!(attempt, Ok(Some(ServerEvent::Attempt(_)))),
        "the server rejected the login: {attempt:?}"
    );
    if let Ok(Some(ServerEvent::Attempt(attempt))) = attempt {
        assert_eq!(Some(attempt.transcript(&BINDING)), transcript);
    }
}
