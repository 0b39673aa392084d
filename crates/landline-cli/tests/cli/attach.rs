//! Attaching further connections to a session.

use landline::{keys::SecretKey, proto::messages::AttachSecret};
use serde_json::{Value, json};
use testkit::{RawClient, ServerProcess, Stage, wait_for};

use crate::{login::client_key, shared_secret, stage};

/// The first connection of a session, logged in by key, with an attach secret.
struct First {
    client: RawClient,
    session: String,
    secret: SecretKey,
}

fn greeted(server: &ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    client
}

/// Logs in with this header and requests an attach secret.
fn first(mut client: RawClient, mut login: Value) -> First {
    login["attach"] = true.into();
    client.send_json(&login).unwrap();
    let welcome: Value = client.header().unwrap().unwrap().read().unwrap();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    let AttachSecret(secret) =
        serde_json::from_value(welcome["attach"].clone()).expect("an attach secret");
    let session = welcome["session"].as_str().unwrap().to_owned();
    First {
        client,
        session,
        secret: SecretKey::from_bytes(secret),
    }
}

fn by_key(stage: &Stage, server: &ServerProcess) -> First {
    let client = greeted(server);
    let login = client.login_header("alice", &client_key(stage), None);
    first(client, login)
}

/// Returns the server's answer to a login: the welcome or the whole error.
fn answer(client: &mut RawClient, login: &Value) -> Value {
    client.send_json(login).unwrap();
    client.header().unwrap().expect("an answer").read().unwrap()
}

fn ping(client: &mut RawClient) {
    client
        .send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    client.send_json(&json!({"type": "ping"})).unwrap();
    assert_eq!(client.header().unwrap().unwrap().kind(), "pong");
}

#[test]
fn session_ends_with_last_connection() {
    let stage = stage();
    let server = stage.joined();
    let First {
        client: mut one,
        session,
        secret,
    } = by_key(&stage, &server);
    let mut two = greeted(&server);
    let login = two.attach_header("alice", &session, &secret);
    let welcome = answer(&mut two, &login);
    assert_eq!(
        (&welcome["type"], &welcome["session"]),
        (&json!("welcome"), &json!(session)),
        "{welcome}"
    );
    assert_eq!(
        welcome.get("attach"),
        None,
        "an attached connection gets no secret"
    );
    assert_eq!(server.event("attached")["session"], session);
    ping(&mut one);
    ping(&mut two);
    one.finish().unwrap();
    assert!(one.header().unwrap().is_none());

    // The second connection keeps the session alive.
    let mut three = greeted(&server);
    let login = three.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut three, &login)["type"], "welcome");
    ping(&mut three);
    for mut last in [two, three] {
        last.finish().unwrap();
        assert!(last.header().unwrap().is_none());
    }
    loop {
        // The connection of the join belonged to another session.
        if server.event("logout")["session"] == session {
            break;
        }
    }
    let mut late = greeted(&server);
    let login = late.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut late, &login)["code"], "login-refused");
}

/// The client gets the same answer, to the byte, whatever is wrong.
/// Proves `replay` and `user-enumeration` in docs/faults.md.
#[test]
fn invalid_attach_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let first = by_key(&stage, &server);
    let (session, secret) = (first.session.as_str(), &first.secret);
    let mut unasked = greeted(&server);
    let login = unasked.login_header("alice", &client_key(&stage), None);
    let unasked_session = answer(&mut unasked, &login)["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let recorded = greeted(&server).attach_header("alice", session, secret);
    let unknown = SecretKey::from_bytes([0; 32]);
    type Make<'a> = &'a dyn Fn(&RawClient) -> Value;
    let refused: [(&str, Make<'_>); 7] = [
        ("recorded on another connection", &|_| recorded.clone()),
        ("another session", &|client| {
            client.attach_header("alice", "0123456789abcdef", secret)
        }),
        ("another secret", &|client| {
            client.attach_header("alice", session, &unknown)
        }),
        ("another user", &|client| {
            client.attach_header("bob", session, secret)
        }),
        ("a session without an attach secret", &|client| {
            client.attach_header("alice", &unasked_session, secret)
        }),
        (
            "a session without an attach secret, with an unknown key",
            &|client| client.attach_header("alice", &unasked_session, &unknown),
        ),
        ("the proof of a login", &|client| {
            let mut login = client.attach_header("alice", session, secret);
            let binding = landline::proto::login::BindingType::TlsExporter;
            login["proof"] =
                json!(secret.client_proof(&client.transcript("alice", "attach", binding, |_| {})));
            login
        }),
    ];
    let mut answers = Vec::new();
    for (what, make) in refused {
        let mut client = greeted(&server);
        let login = make(&client);
        let answer = answer(&mut client, &login);
        assert_eq!(answer["code"], "login-refused", "{what}");
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let mut client = greeted(&server);
    let login = client.attach_header("alice", session, secret);
    assert_eq!(
        answer(&mut client, &login)["type"],
        "welcome",
        "the unaltered login is accepted"
    );
}

/// A client whose session was ended may not know that yet.
/// Proves `login-lockout` in docs/faults.md.
#[test]
fn attach_to_ended_session_is_no_guess() {
    let stage = stage();
    let server = stage.joined();
    let first = by_key(&stage, &server);
    stage.run(&["kick", "127.0.0.1", "alice"]).ok();
    let source = std::net::Ipv4Addr::new(127, 9, 0, 1);
    let connected = || {
        let client = RawClient::connect_from(source, &server.address, &server.fingerprint);
        let mut client = client.unwrap();
        client.greet().unwrap();
        client
    };
    for _ in 0..5 {
        let mut late = connected();
        let login = late.attach_header("alice", &first.session, &first.secret);
        assert_eq!(answer(&mut late, &login)["code"], "login-refused");
    }
    let mut client = connected();
    let login = client.login_header("alice", &client_key(&stage), None);
    assert_eq!(answer(&mut client, &login)["type"], "welcome");
}

/// Revoking the credential of a session ends all its connections. No further connection can attach.
/// Proves `late-revocation` in docs/faults.md.
#[test]
fn revocation_ends_all_connections_of_session() {
    let stage = stage();
    let server = stage.joined();
    let (made, _) = shared_secret::secret(&stage, &server, "ci.secret", "exporter");
    let client = greeted(&server);
    let login = client.secret_header("alice", &made);
    let First {
        client: mut one,
        session,
        secret,
    } = first(client, login);
    let mut two = greeted(&server);
    let login = two.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut two, &login)["type"], "welcome");
    ping(&mut one);
    ping(&mut two);
    stage
        .run_at_server(&["secret", "remove", &made.key().id().to_string()])
        .ok();
    for client in [&mut one, &mut two] {
        assert_eq!(client.error_code().unwrap().as_deref(), Some("ended"));
    }
    let mut late = greeted(&server);
    let login = late.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut late, &login)["code"], "login-refused");
}

/// A client without a TLS exporter attaches with the binding of its login only.
#[test]
fn attach_uses_binding_of_login() {
    use landline::proto::login::BindingType::{TlsExporter, TlsServerEndPoint};
    let stage = stage();
    let server = stage.joined();
    for (binding, used, other) in [
        ("exporter", TlsExporter, TlsServerEndPoint),
        ("server-end-point", TlsServerEndPoint, TlsExporter),
    ] {
        let (made, _) = shared_secret::secret(&stage, &server, binding, binding);
        let client = greeted(&server);
        let login = client.secret_header("alice", &made);
        let first = first(client, login);
        let attach = |binding| {
            let mut client = greeted(&server);
            let login = client.attach_header_bound("alice", &first.session, &first.secret, binding);
            let answer = answer(&mut client, &login);
            (client, answer)
        };
        assert_eq!(attach(other).1["code"], "login-refused", "{binding}");
        let (mut client, welcome) = attach(used);
        assert_eq!(welcome["type"], "welcome", "{binding}: {welcome}");
        ping(&mut client);
    }
}

/// A client whose network changed attaches again without a login.
#[test]
fn session_survives_lost_connection() {
    let stage = stage();
    let server = stage.joined();
    let First {
        client,
        session,
        secret,
    } = by_key(&stage, &server);
    // The connection breaks without a `finish`.
    drop(client);
    wait_for("a session without a connection", || {
        let sessions = stage.run(&["who", "127.0.0.1", "--json"]).ok();
        sessions.lines().any(|line| {
            let info: Value = serde_json::from_str(line).unwrap();
            info["session"] == *session && info["connections"] == json!([])
        })
    });
    let mut again = greeted(&server);
    let login = again.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut again, &login)["type"], "welcome");
    ping(&mut again);
    drop(again);
    // An attached connection may wait for its channel without a deadline. A kick or a disabled
    // account still ends the session.
    stage.run(&["kick", "127.0.0.1", &session]).ok();
    let mut late = greeted(&server);
    let login = late.attach_header("alice", &session, &secret);
    assert_eq!(answer(&mut late, &login)["code"], "login-refused");
    loop {
        if server.event("logout")["session"] == *session {
            break;
        }
    }
}

/// A quota of sessions ignores how many connections a session has. That number has its own limit.
#[test]
fn attached_connections_have_their_own_limit() {
    let stage = stage();
    let server = stage.joined();
    server.event("logout");
    stage.write_rights("[users.alice]\nfiles = [\"rw:~\"]\nquota = { sessions = 1 }\n");
    server.rights_loaded(&stage);
    let First {
        client: mut one,
        session,
        secret,
    } = by_key(&stage, &server);
    ping(&mut one);
    let attached = || {
        let mut client = greeted(&server);
        let login = client.attach_header("alice", &session, &secret);
        let answer = answer(&mut client, &login);
        (client, answer)
    };
    let mut further: Vec<RawClient> = (1..16)
        .map(|number| {
            let (mut client, answer) = attached();
            assert_eq!(answer["type"], "welcome", "{number}: {answer}");
            ping(&mut client);
            client
        })
        .collect();
    assert_eq!(
        attached().1["code"],
        "too-many-sessions",
        "the seventeenth connection is refused"
    );
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(38, "too-many-sessions");
    let mut last = further.pop().unwrap();
    last.finish().unwrap();
    assert!(last.header().unwrap().is_none());
    testkit::wait_for("its place", || attached().1["type"] == "welcome");
}
