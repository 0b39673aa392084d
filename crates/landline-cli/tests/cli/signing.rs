//! Signatures: what is signed, who signs it, and the time limit.
//! Also what a server reveals about keys before the client has signed.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex, mpsc},
};

use landline::{
    keys::UserKey,
    proto::{
        limits::{SIGNING_FROM_SOURCE_MAX, SIGNING_MAX},
        login::key_tag,
        messages::KeyTag,
    },
};
use serde_json::{Value, json};
use testkit::{HostileServer, RawClient, ServerProcess, Stage};

use crate::{
    keys::{RealAgent, ssh_keygen},
    login::client_key,
    stage,
};

fn connected(server: &ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    client
}

fn tag(client: &RawClient, line: &str) -> KeyTag {
    key_tag(&client.exporter(), line)
}

/// The key that the server chooses among these for this user, if any.
fn choice(server: &ServerProcess, user: &str, keys: &[&str]) -> Option<u64> {
    let mut client = connected(server);
    let tags: Vec<KeyTag> = keys.iter().map(|line| tag(&client, line)).collect();
    client
        .send_json(&json!({"type": "keys", "version": 1, "user": user, "keys": tags}))
        .unwrap();
    let answer = client.header().unwrap().unwrap();
    assert_eq!(answer.kind(), "choice");
    answer.read::<Value>().unwrap()["key"].as_u64()
}

/// A client without a key of the user learns nothing: the server chooses none, whether the user
/// exists or not.
/// Proves `user-enumeration` in docs/faults.md.
#[test]
fn key_choice_does_not_reveal_users() {
    let stage = stage();
    let server = stage.joined();
    let line = client_key(&stage).public().line();
    let strange = ["ssh-ed25519 A", "ssh-ed25519 B", "ssh-ed25519 C"];
    for user in ["alice", "ghost"] {
        assert_eq!(choice(&server, user, &strange), None, "{user}");
    }
    assert_eq!(
        choice(&server, "alice", &[strange[0], strange[1], &line]),
        Some(2),
        "the server chooses the stored key"
    );
    assert_eq!(choice(&server, "ghost", &[&line]), None);
    // A choice is worth nothing without a signature, and a tag nothing on another connection.
    let (mut here, elsewhere) = (connected(&server), connected(&server));
    let others = tag(&elsewhere, &line);
    let mut client = connected(&server);
    let tags = [tag(&client, strange[0]), others];
    client
        .send_json(&json!({"type": "keys", "version": 1, "user": "alice", "keys": tags}))
        .unwrap();
    let answer: Value = client.header().unwrap().unwrap().read().unwrap();
    assert_eq!(answer.get("key"), None);
    here.send_json(
        &json!({"type": "keys", "version": 1, "user": "alice", "keys": [tag(&here, &line)]}),
    )
    .unwrap();
    here.header().unwrap();
    here.send_json(&json!({"type": "open", "service": "ping"}))
        .unwrap();
    assert_eq!(
        here.error_code().unwrap().as_deref(),
        Some("unexpected-message")
    );
}

/// 64 clients may take 60 s to sign, 4 of them from one source. Any other client has 10 s.
#[test]
fn interactive_signing_has_a_minute_and_64_slots() {
    let stage = stage();
    let server = stage.joined();
    let key = client_key(&stage);
    let connected_from = |source: Ipv4Addr| {
        let mut client =
            RawClient::connect_from(source, &server.address, &server.fingerprint).unwrap();
        client.greet().unwrap();
        client
    };
    // One source asks for more slots than its share. The other sources alone would fill all slots.
    let others = std::iter::repeat_n(
        SIGNING_FROM_SOURCE_MAX,
        SIGNING_MAX / SIGNING_FROM_SOURCE_MAX,
    );
    let counts = [16].into_iter().chain(others);
    let sources = counts.enumerate().flat_map(|(network, count)| {
        std::iter::repeat_n(
            Ipv4Addr::new(127, 10 + u8::try_from(network).unwrap(), 0, 1),
            count,
        )
    });
    let waiting: Vec<(Ipv4Addr, RawClient)> = sources
        .map(|source| {
            let mut client = connected_from(source);
            client.send_json(&json!({"type": "signing"})).unwrap();
            (source, client)
        })
        .collect();
    // This client connected last, so its 10 s end after those of all others.
    assert_eq!(
        connected(&server).error_code().unwrap().as_deref(),
        Some("login-timeout")
    );
    let mut welcome: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    for (source, mut client) in waiting {
        let login = client.login_header("alice", &key, None);
        let _ = client.send_json(&login);
        if client
            .header()
            .is_ok_and(|header| header.is_some_and(|header| header.kind() == "welcome"))
        {
            *welcome.entry(source).or_default() += 1;
        }
    }
    assert!(
        welcome
            .values()
            .all(|count| *count <= SIGNING_FROM_SOURCE_MAX),
        "{welcome:?}"
    );
    assert_eq!(welcome.values().sum::<usize>(), SIGNING_MAX, "{welcome:?}");
    // The slots are free again.
    let mut client = connected(&server);
    client.send_json(&json!({"type": "signing"})).unwrap();
    client.send_json(&json!({"type": "signing"})).unwrap();
    assert_eq!(
        client.error_code().unwrap().as_deref(),
        Some("unexpected-message")
    );
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn read_message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// A proxy in front of a real agent. It records every request, and holds signatures back until
/// `go`.
fn watched(
    stage: &Stage,
    agent: &RealAgent,
    go: Option<mpsc::Receiver<()>>,
) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let socket = stage.path("watched");
    let listener = UnixListener::bind(&socket).unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (seen, real) = (requests.clone(), agent.socket.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(request) = read_message(&mut stream) else {
                continue;
            };
            let mut behind = UnixStream::connect(&real).unwrap();
            behind.write_all(&string(&request)).unwrap();
            let answer = read_message(&mut behind).unwrap();
            if let (Some(13), Some(go)) = (request.first(), &go) {
                let _ = go.recv();
            }
            seen.lock().unwrap().push(request);
            let _ = stream.write_all(&string(&answer));
        }
    });
    (socket.display().to_string(), requests)
}

/// The client asks an agent for its keys and for signatures of logins in its own namespace, and for
/// nothing else.
/// Proves `agent-abuse` in docs/faults.md.
#[test]
fn agent_signs_only_logins() {
    let stage = stage();
    let server = stage.serve(&[]);
    let Some(key) = ssh_keygen(&stage, "key", &["-t", "rsa"]) else {
        return;
    };
    let agent = RealAgent::start(&stage, &[&key]);
    std::fs::remove_file(&key).unwrap();
    let (socket, requests) = watched(&stage, &agent, None);
    let run = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("SSH_AUTH_SOCK", &socket);
        stage.run_command(command)
    };
    run(&[
        "join",
        &server.invite(),
        "--as",
        "bob",
        "-i",
        &format!("{key}.pub"),
    ])
    .ok();
    run(&["ping", "127.0.0.1"]).ok();
    // The client does not answer a server that asks for another signature.
    let hostile = HostileServer::start(
        &stage.path("hostile"),
        &stage.path("hostile"),
        2,
        |client| {
            client.greet()?;
            let keys: Value = client.header()?.read().expect("a question");
            assert_eq!(keys["type"], "keys");
            client.send_json(&json!({"type": "choice", "key": 0}))?;
            let mut login = client.header()?;
            // The agent took longer than a moment.
            if login.kind() == "signing" {
                login = client.header()?;
            }
            assert_eq!(login.kind(), "login");
            client.send_json(&json!({"type": "sign", "data": "AAAAIA=="}))
        },
    );
    run(&["hosts", "remove", "127.0.0.1"]).ok();
    run(&[
        "--json",
        "ping",
        "--accept-new",
        &format!("bob@{}", hostile.address),
    ])
    .fails(13, "unexpected-message");
    hostile.join();
    let requests = requests.lock().unwrap();
    let signed: Vec<&Vec<u8>> = requests.iter().filter(|request| request[0] != 11).collect();
    assert_eq!(
        signed.len(),
        3,
        "one signature each for the join, the ping and the hostile server"
    );
    for request in signed {
        assert_eq!(request[0], 13, "the request is neither list nor sign");
        let blob = u32::from_be_bytes(request[1..5].try_into().unwrap()) as usize;
        let data = &request[5 + blob + 4..];
        let due = [
            b"SSHSIG".to_vec(),
            string(b"landline-auth-v1"),
            string(b""),
            string(b"sha512"),
        ]
        .concat();
        assert!(data.starts_with(&due), "{data:?}");
        assert_eq!(
            data.len(),
            due.len() + 4 + 64 + 4,
            "the data ends with a hash and the flags"
        );
    }
}

/// A key that must be touched: the client announces that signing may take a while, and then logs
/// in.
#[test]
fn client_announces_interactive_signature() {
    let stage = stage();
    let Some(key) = ssh_keygen(&stage, "key", &["-t", "ed25519"]) else {
        return;
    };
    let agent = RealAgent::start(&stage, &[&key]);
    std::fs::remove_file(&key).unwrap();
    let (touch, go) = mpsc::channel();
    let (socket, _) = watched(&stage, &agent, Some(go));
    let hostile = HostileServer::start(
        &stage.path("hostile"),
        &stage.path("hostile"),
        2,
        move |client| {
            client.greet()?;
            let question = client.header()?;
            assert_eq!(question.kind(), "keys");
            client.send_json(&json!({"type": "choice", "key": 0}))?;
            let word = client.header()?;
            assert_eq!(word.kind(), "signing");
            touch.send(()).expect("the agent is still waiting");
            let login: Value = client.header()?.read().expect("a login");
            assert_eq!(login["method"], "ssh-key");
            client.send_json(
                &json!({"type": "error", "code": "login-refused", "message": "end of the test"}),
            )
        },
    );
    let mut command = stage.command(&["--json", "ping", "--accept-new", &hostile.address]);
    command.env("SSH_AUTH_SOCK", &socket);
    stage.run_command(command).fails(12, "login-refused");
    hostile.join();
}

/// An old agent signs RSA with SHA-1 whatever the client asks for. The client notices and does not
/// send the signature.
/// Proves `agent-abuse` in docs/faults.md.
#[test]
fn invalid_signature_is_not_sent() {
    let stage = stage();
    let server = stage.serve(&[]);
    let Some(key) = ssh_keygen(&stage, "key", &["-t", "ed25519"]) else {
        return;
    };
    let own = UserKey::open(std::path::Path::new(&key)).unwrap();
    let socket = stage.path("bad-agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let blob = own.public().blob().to_vec();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(request) = read_message(&mut stream) else {
                continue;
            };
            let answer = match request.first() {
                Some(11) => [&[12, 0, 0, 0, 1][..], &string(&blob), &string(b"bad")].concat(),
                _ => [
                    &[14][..],
                    &string(&[string(b"ssh-ed25519"), string(&[1; 64])].concat()),
                ]
                .concat(),
            };
            let _ = stream.write_all(&string(&answer));
        }
    });
    let mut command = stage.command(&[
        "join",
        &server.invite(),
        "--as",
        "bob",
        "-i",
        &format!("{key}.pub"),
        "--json",
    ]);
    command.env("SSH_AUTH_SOCK", &socket);
    stage.run_command(command).fails(32, "key");
    assert_eq!(
        server.next_event()["code"],
        "lost",
        "the server received no login"
    );
}
