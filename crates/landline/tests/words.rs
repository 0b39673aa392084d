//! A service with a right of its own, which is a word of `rights.toml` that only the service knows.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test"
)]

use std::{fs, sync::Arc, time::Duration};

use landline::{
    Error, Server, ServerOptions,
    audit::AuditOptions,
    keys::UserKey,
    login::{AuthMethod, Credential, FirstRequest, Login, connect},
    net::{DialedStream, HostPort},
    paths::PrivateFolder,
    proto::ErrorCode,
};
use testkit::{
    Stage,
    dummy::{ANSWER, DummyService, SERVICE, Shout},
};

fn options(stage: &Stage) -> ServerOptions {
    ServerOptions {
        state: stage.path("server"),
        home: stage.home(),
        connections_max: 8,
        drain_time: Duration::ZERO,
        session_linger: Duration::ZERO,
        exec: None,
        audit: AuditOptions::default(),
    }
}

/// Alice's session with the service.
async fn open(server: &Arc<Server>, method: AuthMethod) -> Login {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve_connection(Box::new(far), ([127, 0, 0, 1], 1).into())
            .await;
    });
    let credential = Credential::new("alice".parse().unwrap(), method);
    let first = FirstRequest::new(SERVICE, &Shout {}).unwrap();
    connect(
        DialedStream::new(Box::new(near)),
        "memory",
        server.fingerprint(),
        &credential,
        Some(&first),
    )
    .await
    .unwrap()
}

/// The error code of the answer, if it is an error.
async fn answer(login: &mut Login) -> Option<ErrorCode> {
    match login.channel.receive(&ANSWER).await {
        Ok(_) => None,
        Err(Error::Failed { code, .. }) => Some(code),
        Err(other) => std::panic::panic_any(other.to_string()),
    }
}

#[tokio::test]
async fn service_brings_the_right_that_it_needs() {
    let stage = Stage::new("unused");
    let server = Server::open_with(&options(&stage), vec![Arc::new(DummyService::default())]);
    let server = Arc::new(server.unwrap());
    let address = HostPort {
        host: "memory".into(),
        port: 1,
    };
    let invite = server
        .owner_invite(move || vec![address.clone()])
        .unwrap()
        .unwrap();
    let folder = PrivateFolder::open_or_create(&stage.path("client")).unwrap();
    let key = Arc::new(UserKey::load_or_create(&folder, "key").unwrap().0);
    let mut session = open(&server, AuthMethod::Invite(key, invite.token)).await;
    assert_eq!(answer(&mut session).await, Some(ErrorCode::Denied));

    let set = |rules: &str| {
        fs::write(stage.path("server/server/rights.toml"), rules).unwrap();
        server.rights().reload().unwrap();
    };
    for (is_on, expected) in [(true, None), (false, Some(ErrorCode::Denied))] {
        set(&format!("[users.alice]\nshout = {is_on}\n"));
        session.channel.send(&Shout {}).unwrap();
        session.channel.flush().await.unwrap();
        assert_eq!(answer(&mut session).await, expected);
    }
}

/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn word_of_removed_service_is_rejected() {
    let stage = Stage::new("unused");
    drop(Server::open_with(&options(&stage), vec![Arc::new(DummyService::default())]).unwrap());
    let path = stage.path("server/server/rights.toml");
    fs::write(path, "[users.alice]\nshout = true\n").unwrap();
    drop(Server::open_with(&options(&stage), vec![Arc::new(DummyService::default())]).unwrap());
    let refused = Server::open(&options(&stage)).err().unwrap().to_string();
    assert!(refused.contains("line 2, column 1"), "{refused}");
}
