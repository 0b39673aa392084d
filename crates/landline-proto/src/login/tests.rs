//! Both sides meet in memory.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{
    Item, Limits, ProtocolError, message,
    messages::{Blob, Evaluation, KeyTag, Mac, Nonce, Open, Ping, Token, Welcome},
};

fn start() -> Instant {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences matter"
    )]
    Instant::now()
}

fn offer() -> Offer {
    Offer {
        server: "landline/test".into(),
        features: vec!["ping".into()],
        methods: [
            METHOD_SSH_KEY,
            METHOD_INVITE,
            METHOD_SECRET,
            METHOD_PASSWORD,
            METHOD_ATTACH,
        ]
        .map(str::to_owned)
        .to_vec(),
        fingerprint: [7; 32],
        transport: "tcp",
    }
}

fn client(method: &'static str) -> ClientLogin {
    ClientLogin::new(
        "alice".parse().unwrap(),
        method,
        [7; 32],
        "tcp",
        Nonce([1; 32]),
    )
}

fn server() -> ServerLogin {
    ServerLogin::new(offer(), Nonce([2; 32]), start()).unwrap()
}

fn proof(key: &str) -> Proof {
    Proof::Invite {
        key: key.into(),
        signature: Blob(vec![9; 64]),
        token: Token([3; 16]),
    }
}

fn welcome() -> Welcome {
    Welcome {
        user: "alice".parse().unwrap(),
        key: "SHA256:x".into(),
        session: "00".repeat(8),
        proof: None,
        attach: None,
    }
}

#[track_caller]
fn attempt_of(event: Option<ServerEvent>) -> Attempt {
    match event {
        Some(ServerEvent::Attempt(attempt)) => *attempt,
        other => panic!("{other:?} is no attempt"),
    }
}

/// Feeds `bytes` in pieces of `step`.
fn in_pieces<T>(
    bytes: &[u8],
    step: usize,
    mut take: impl FnMut(&mut &[u8]) -> Option<T>,
) -> (Option<T>, Vec<u8>) {
    let mut used = 0;
    for end in (0..bytes.len())
        .step_by(step.max(1))
        .map(|at| (at + step).min(bytes.len()))
    {
        let mut input = &bytes[used..end];
        if let Some(found) = take(&mut input) {
            used = end - input.len();
            return (Some(found), bytes[used..].to_vec());
        }
        used = end - input.len();
    }
    (None, Vec::new())
}

proptest! {
    #[test]
    fn both_sides_reach_the_same_transcript(step in 1usize..600) {
        let (mut server, mut client) = (server(), client(METHOD_INVITE));
        let greeting = server.poll_transmit().unwrap();
        let (event, _) = in_pieces(&greeting, step, |input| client.handle_input(input).unwrap());
        prop_assert_eq!(event, Some(ClientEvent::Greeted));

        let mut flight = Vec::new();
        client.login(proof("ssh-ed25519 AAAA"), &mut flight).unwrap();
        message::encode(&Open { service: "ping".into() }, None, &Limits::SESSION, &mut flight).unwrap();
        message::encode(&Ping {}, None, &Limits::SESSION, &mut flight).unwrap();

        let (attempt, rest) = in_pieces(&flight, step, |input| server.handle_input(input).unwrap());
        let attempt = attempt_of(attempt);
        let exporter = BindingType::TlsExporter;
        prop_assert_eq!(attempt.transcript(&[5; 32]), client.transcript(exporter, &[5; 32]).unwrap());
        prop_assert_ne!(attempt.transcript(&[5; 32]), client.transcript(exporter, &[6; 32]).unwrap());
        // Nothing behind the login was read, and nothing is until it is accepted.
        let mut behind = &rest[..];
        prop_assert!(server.handle_input(&mut behind).unwrap().is_none());
        prop_assert_eq!(behind.len(), rest.len());

        let (answer, mut decoder) = server.accept(&welcome()).unwrap();
        let (event, _) = in_pieces(&answer, step, |input| client.handle_input(input).unwrap());
        prop_assert_eq!(event, Some(ClientEvent::Welcome(welcome())));
        let mut kinds = Vec::new();
        while let Some(Item::Header(header)) = decoder.decode(&mut behind).unwrap() {
            kinds.push(header.kind().to_owned());
        }
        prop_assert_eq!(kinds, ["open", "ping"]);
    }

    /// Proves `panic` in docs/faults.md.
    #[test]
    fn login_survives_garbage(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let _ = server().handle_input(&mut &bytes[..]);
        let _ = client(METHOD_SSH_KEY).handle_input(&mut &bytes[..]);
    }
}

/// Proves `slow-login` in docs/faults.md.
#[test]
fn deadline_does_not_move() {
    let now = start();
    let mut server = ServerLogin::new(offer(), Nonce([2; 32]), now).unwrap();
    assert_eq!(server.poll_timeout(), now + Duration::from_secs(10));
    assert_eq!(
        server.handle_timeout(now + Duration::from_millis(9999)),
        Ok(())
    );
    // Progress that looks valid buys no time.
    assert!(
        server
            .handle_input(&mut &[200u8, 0, 0, 0, b'{'][..])
            .unwrap()
            .is_none()
    );
    assert_eq!(
        server.handle_timeout(now + Duration::from_secs(10)),
        Err(ProtocolError::LoginTimeout)
    );
}

/// Proves `work-before-login` and `out-of-order` in docs/faults.md.
#[test]
fn other_messages_before_login_are_refused() {
    use crate::state::{CLIENT_WELCOME, SERVER_CHANNEL, SERVER_LOGIN, SERVER_STATES};
    let other = ["", "ping", "put", "data", "error "].into_iter();
    let known = SERVER_STATES.iter().flat_map(|state| state.kinds());
    let kinds = known
        .chain(CLIENT_WELCOME.kinds())
        .chain(SERVER_CHANNEL.kinds())
        .chain(other);
    for kind in kinds.filter(|kind| SERVER_LOGIN.kinds().all(|accepted| accepted != *kind)) {
        let json = format!("{{\"type\":\"{kind}\"}}");
        let frame = [&crate::frame::prefix(json.len())[..], json.as_bytes()].concat();
        let error = server().handle_input(&mut &frame[..]).unwrap_err();
        assert!(
            matches!(error, ProtocolError::UnexpectedMessage { .. }),
            "{kind}: {error}"
        );
    }
}

/// Proves `downgrade` in docs/faults.md.
#[test]
fn unoffered_version_or_method_is_refused() {
    let mut only_keys = offer();
    only_keys.methods.truncate(1);
    let mut server = ServerLogin::new(only_keys, Nonce([2; 32]), start()).unwrap();
    let greeting = server.poll_transmit().unwrap();
    let error = client(METHOD_INVITE)
        .handle_input(&mut &greeting[..])
        .unwrap_err();
    assert_eq!(
        error,
        ProtocolError::Method {
            method: "invite".into(),
            offered: "ssh-key".into()
        }
    );

    let mut flight = Vec::new();
    client(METHOD_INVITE)
        .login(proof("k"), &mut flight)
        .unwrap();
    let error = server.handle_input(&mut &flight[..]).unwrap_err();
    assert_eq!(
        error,
        ProtocolError::Method {
            method: "invite".into(),
            offered: "ssh-key".into()
        }
    );
}

#[test]
fn oversized_login_is_rejected_by_client() {
    let error = client(METHOD_SSH_KEY)
        .login(proof(&"k".repeat(4096)), &mut Vec::new())
        .unwrap_err();
    assert!(
        matches!(error, ProtocolError::FrameSize { limit: 4096, .. }),
        "{error}"
    );
}

/// The proof of an end-point is worth something on any connection to the server, and only where it
/// says that it is one.
#[test]
fn transcript_holds_binding_of_login() {
    let greeting = server().poll_transmit().unwrap();
    let mut client = client(METHOD_SECRET);
    client.handle_input(&mut &greeting[..]).unwrap();
    let transcripts = [BindingType::TlsExporter, BindingType::TlsServerEndPoint].map(|binding| {
        let mut flight = Vec::new();
        client
            .login(
                Proof::Secret {
                    secret: SecretId([4; 8]),
                    binding,
                    proof: Mac([8; 32]),
                },
                &mut flight,
            )
            .unwrap();
        let attempt = attempt_of(server().handle_input(&mut &flight[..]).unwrap());
        let transcript = attempt.transcript(&[5; 32]);
        assert_eq!(Some(transcript), client.transcript(binding, &[5; 32]));
        let elsewhere = attempt.transcript(&[6; 32]) == transcript;
        assert_eq!(
            elsewhere,
            binding == BindingType::TlsServerEndPoint,
            "{binding:?}"
        );
        transcript
    });
    assert_ne!(transcripts[0], transcripts[1]);
}

#[test]
fn login_needs_fields_of_its_method() {
    let nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let login = |rest: &str| {
        let json =
            format!(r#"{{"type":"login","version":1,"user":"alice","nonce":"{nonce}",{rest}}}"#);
        server().handle_input(
            &mut &[&crate::frame::prefix(json.len())[..], json.as_bytes()].concat()[..],
        )
    };
    let id = "0011223344556677";
    for rest in [
        r#""method":"ssh-key","key":"k""#.to_owned(),
        r#""method":"ssh-key","signature":"AAAA""#.to_owned(),
        r#""method":"invite","key":"k","signature":"AAAA""#.to_owned(),
        r#""method":"invite","key":"k","signature":"AAAA","token":null"#.to_owned(),
        format!(r#""method":"secret","secret":"{id}""#),
        format!(r#""method":"secret","proof":"{nonce}""#),
        format!(r#""method":"secret","secret":"{id}","proof":"AAAA""#),
        format!(
            r#""method":"secret","secret":"{}","proof":"{nonce}""#,
            &id[1..]
        ),
        format!(
            r#""method":"secret","secret":"{}","proof":"{nonce}""#,
            "AABBCCDDEEFF0011"
        ),
        format!(r#""method":"secret","secret":"{id}","proof":"{nonce}","binding":"tls-unique""#),
        r#""method":"password""#.to_owned(),
        r#""method":"password","ke3":"A""#.to_owned(),
        format!(r#""method":"attach","proof":"{nonce}""#),
        format!(r#""method":"attach","session":"{id}""#),
        format!(r#""method":"attach","session":"0","proof":"{nonce}""#),
        format!(r#""method":"attach","session":"{id}","proof":"{nonce}","attach":1"#),
    ] {
        let error = login(&rest).unwrap_err();
        assert!(
            matches!(error, ProtocolError::BadHeader(_)),
            "{rest}: {error}"
        );
    }
    let attempt = login(&format!(
        r#""method":"secret","secret":"{id}","proof":"{nonce}","more":[1]"#
    ))
    .unwrap();
    let attempt = attempt_of(attempt);
    assert_eq!(
        attempt.login.proof.binding(),
        BindingType::TlsExporter,
        "it is the default"
    );
    let error = login(r#""method":"x509""#).unwrap_err();
    assert!(matches!(error, ProtocolError::Method { .. }), "{error}");
}

#[test]
fn keys_are_offered_once_and_caller_extends_deadline() {
    let now = start();
    let (mut server, mut client) = (
        ServerLogin::new(offer(), Nonce([2; 32]), now).unwrap(),
        client(METHOD_INVITE),
    );
    client
        .handle_input(&mut &server.poll_transmit().unwrap()[..])
        .unwrap();
    let mut flight = Vec::new();
    client
        .ask(
            vec![KeyTag([1; 32]), key_tag(&[5; 32], "ssh-ed25519 AAAA")],
            &mut flight,
        )
        .unwrap();
    client.signing(&mut flight).unwrap();
    client
        .login(proof("ssh-ed25519 AAAA"), &mut flight)
        .unwrap();

    let mut input = &flight[..];
    let Some(ServerEvent::Asked(keys)) = server.handle_input(&mut input).unwrap() else {
        panic!("not asked")
    };
    assert_eq!(keys.keys[1], key_tag(&[5; 32], "ssh-ed25519 AAAA"));
    assert_ne!(
        keys.keys[1],
        key_tag(&[6; 32], "ssh-ed25519 AAAA"),
        "a key has another tag on another connection"
    );
    assert!(
        server.handle_input(&mut input).unwrap().is_none(),
        "read on before it had answered"
    );
    server.choose(Some(1)).unwrap();
    let answer = server.poll_transmit().unwrap();
    assert_eq!(
        client.handle_input(&mut &answer[..]).unwrap(),
        Some(ClientEvent::Chosen(Some(1)))
    );

    assert!(matches!(
        server.handle_input(&mut input).unwrap(),
        Some(ServerEvent::Signing)
    ));
    assert_eq!(server.poll_timeout(), now + Duration::from_secs(10));
    server.extend();
    assert_eq!(server.poll_timeout(), now + Duration::from_secs(60));
    attempt_of(server.handle_input(&mut input).unwrap());
    assert!(input.is_empty());
}

#[test]
fn repeated_or_late_message_is_refused() {
    let (mut asks, mut signs) = (Vec::new(), Vec::new());
    client(METHOD_SSH_KEY)
        .ask(vec![KeyTag([1; 32])], &mut asks)
        .unwrap();
    client(METHOD_SSH_KEY).signing(&mut signs).unwrap();
    for flight in [[&asks[..], &asks], [&signs, &signs], [&signs, &asks]] {
        let mut server = server();
        assert!(server.handle_input(&mut &flight[0][..]).unwrap().is_some());
        server.choose(Some(0)).unwrap();
        let error = server.handle_input(&mut &flight[1][..]).unwrap_err();
        assert!(
            matches!(error, ProtocolError::UnexpectedMessage { .. }),
            "{error}"
        );
    }
}

#[test]
fn password_login_transcript_covers_first_message() {
    let (mut server, mut client) = (server(), client(METHOD_PASSWORD));
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
    let mut input = &flight[..];
    let Some(ServerEvent::Password(begun)) = server.handle_input(&mut input).unwrap() else {
        panic!("not begun")
    };
    assert_eq!(begun.begin.ke1, Blob(vec![1; 96]));
    assert!(
        server.handle_input(&mut input).unwrap().is_none(),
        "read on before it had answered"
    );
    server.evaluate(vec![2; 320]).unwrap();
    let answer = server.poll_transmit().unwrap();
    let event = client.handle_input(&mut &answer[..]).unwrap();
    assert_eq!(
        event,
        Some(ClientEvent::Evaluated(Evaluation {
            ke2: Blob(vec![2; 320])
        }))
    );
    let attempt = attempt_of(server.handle_input(&mut input).unwrap());
    let transcript = attempt.transcript(&[5; 32]);
    assert_eq!(
        Some(transcript),
        client.transcript(BindingType::TlsExporter, &[5; 32])
    );
    assert_eq!(begun.transcript(&[5; 32]), transcript);
    assert_ne!(begun.transcript(&[6; 32]), transcript, "another connection");
}

#[test]
fn password_login_must_match_its_first_message() {
    let begin = |user: &str, nonce: u8| {
        let mut flight = Vec::new();
        let user = user.parse().unwrap();
        let mut client =
            ClientLogin::new(user, METHOD_PASSWORD, [7; 32], "tcp", Nonce([nonce; 32]));
        client.begin_password(vec![1; 96], &mut flight).unwrap();
        (client, flight)
    };
    let by_password = || Proof::Password {
        ke3: Blob(vec![3; 64]),
    };
    let second = |begun: &[u8], then: &ClientLogin, proof: Proof| {
        let mut server = server();
        assert!(matches!(
            server.handle_input(&mut &begun[..]),
            Ok(Some(ServerEvent::Password(_)))
        ));
        server.evaluate(vec![2; 320]).unwrap();
        let mut flight = Vec::new();
        then.login(proof, &mut flight).unwrap();
        server.handle_input(&mut &flight[..])
    };
    let (alice, begun) = begin("alice", 1);
    assert!(second(&begun, &alice, by_password()).is_ok());
    for (then, proof) in [
        (begin("bob", 1).0, by_password()),
        (begin("alice", 2).0, by_password()),
        (alice, proof("ssh-ed25519 AAAA")),
    ] {
        let error = second(&begun, &then, proof).unwrap_err();
        assert!(matches!(error, ProtocolError::BadHeader(_)), "{error}");
    }
    // Without a beginning, begun twice, or behind another question.
    let (alice, begun) = begin("alice", 1);
    let mut flight = Vec::new();
    alice.login(by_password(), &mut flight).unwrap();
    let error = server().handle_input(&mut &flight[..]).unwrap_err();
    assert!(
        matches!(error, ProtocolError::UnexpectedMessage { .. }),
        "{error}"
    );
    let mut asks = Vec::new();
    client(METHOD_SSH_KEY)
        .ask(vec![KeyTag([1; 32])], &mut asks)
        .unwrap();
    for first in [&begun, &asks] {
        let mut server = server();
        server.handle_input(&mut &first[..]).unwrap();
        server.evaluate(vec![2; 320]).unwrap();
        let error = server.handle_input(&mut &begun[..]).unwrap_err();
        assert!(
            matches!(error, ProtocolError::UnexpectedMessage { .. }),
            "{error}"
        );
    }
    let mut not_offered = offer();
    not_offered
        .methods
        .retain(|method| method != METHOD_PASSWORD);
    let mut server = ServerLogin::new(not_offered, Nonce([2; 32]), start()).unwrap();
    let error = server.handle_input(&mut &begun[..]).unwrap_err();
    assert!(matches!(error, ProtocolError::Method { .. }), "{error}");
}

#[test]
fn server_may_choose_no_key() {
    let (mut server, mut client) = (server(), client(METHOD_SSH_KEY));
    client
        .handle_input(&mut &server.poll_transmit().unwrap()[..])
        .unwrap();
    client.ask(vec![KeyTag([1; 32])], &mut Vec::new()).unwrap();
    server.choose(None).unwrap();
    assert_eq!(
        client
            .handle_input(&mut &server.poll_transmit().unwrap()[..])
            .unwrap(),
        Some(ClientEvent::Chosen(None))
    );
}

#[test]
fn unoffered_key_or_too_many_keys_are_rejected() {
    let (mut server, mut client) = (server(), client(METHOD_SSH_KEY));
    client
        .handle_input(&mut &server.poll_transmit().unwrap()[..])
        .unwrap();
    client.ask(vec![KeyTag([1; 32])], &mut Vec::new()).unwrap();
    server.choose(Some(1)).unwrap();
    let error = client
        .handle_input(&mut &server.poll_transmit().unwrap()[..])
        .unwrap_err();
    assert!(matches!(error, ProtocolError::BadHeader(_)), "{error}");
    for count in [0, 65] {
        let mut flight = Vec::new();
        client
            .ask(vec![KeyTag([1; 32]); count], &mut flight)
            .unwrap();
        let error = self::server().handle_input(&mut &flight[..]).unwrap_err();
        assert!(matches!(error, ProtocolError::BadHeader(_)), "{error}");
    }
}
