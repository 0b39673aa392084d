//! A service with a right of its own: a word of `rights.toml` that nothing else knows.
#![allow(
    clippy::disallowed_methods,
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
    net::{Channel, DialedStream, HostPort},
    paths::PrivateFolder,
    proto::{ErrorCode, Message, MessageRule, ProtocolState, messages::ErrorMessage},
    rights::{Right, RightWord, Switch},
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture},
};
use serde::{Deserialize, Serialize};
use testkit::Stage;

/// Client and server: a word, and its echo.
#[derive(Debug, Serialize, Deserialize)]
struct Shout {}

impl Message for Shout {
    const TYPE: &'static str = "shout";
}

static REQUESTS: ProtocolState =
    ProtocolState::new("shout-requests", &[MessageRule::new(Shout::TYPE)]);
static ANSWER: ProtocolState = ProtocolState::new(
    "shout-answer",
    &[
        MessageRule::new(Shout::TYPE),
        MessageRule::new(ErrorMessage::TYPE),
    ],
);

static SHOUT: RightWord = RightWord {
    name: "shout",
    description: "shout here",
    arguments: None,
    parse: |item| Switch::parse("shout", item),
};

static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: "shout",
    features: &["shout"],
    requests: &REQUESTS,
    other_states: &[],
    rights: &[(Shout::TYPE, Right::Word("shout"))],
    words: &[&SHOUT],
    request_features: &[],
    kept_by: Right::Word("shout"),
    exit_statuses: &[],
};

struct ShoutService;

impl Service for ShoutService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            while context.next_request(channel).await?.is_some() {
                channel.send(&Shout {})?;
                channel.flush().await?;
            }
            Ok(())
        })
    }
}

fn options(stage: &Stage) -> ServerOptions {
    ServerOptions {
        state: stage.path("server"),
        home: stage.home(),
        connections_max: 8,
        drain_time: Duration::ZERO,
        session_linger: Duration::ZERO,
        audit: AuditOptions::default(),
    }
}

/// Alice's session with the service.
async fn open(server: &Arc<Server>, method: AuthMethod) -> Login {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve_connection(Box::new(far), ([127, 0, 0, 1], 1).into(), Arc::new(|_| {}))
            .await;
    });
    let credential = Credential::new("alice".parse().unwrap(), method);
    let first = FirstRequest::new("shout", &Shout {}).unwrap();
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

/// The code of the answer, if that is an error.
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
    let server = Server::open_with(&options(&stage), vec![Arc::new(ShoutService)]);
    let server = Arc::new(server.unwrap());
    let address = HostPort {
        host: "memory".into(),
        port: 1,
    };
    let invite = server
        .owner_invite(|| vec![address.clone()])
        .unwrap()
        .unwrap();
    let folder = PrivateFolder::open_or_create(&stage.path("client")).unwrap();
    let key = Arc::new(UserKey::load_or_create(&folder, "key").unwrap().0);
    let mut session = open(&server, AuthMethod::Invite(key.clone(), invite.token)).await;
    assert_eq!(answer(&mut session).await, Some(ErrorCode::Denied));

    let set = |rules: &str| {
        fs::write(stage.path("server/server/rights.toml"), rules).unwrap();
        server.rights().reload().unwrap();
    };
    set("[users.alice]\nshout = true\n");
    session.channel.send(&Shout {}).unwrap();
    session.channel.flush().await.unwrap();
    assert_eq!(answer(&mut session).await, None);
    // The right that keeps the service goes, and the session with it.
    set("[users.alice]\nshout = false\n");
    assert_eq!(answer(&mut session).await, Some(ErrorCode::Ended));
}

/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn word_of_a_service_that_is_gone_is_a_mistake() {
    let stage = Stage::new("unused");
    drop(Server::open_with(&options(&stage), vec![Arc::new(ShoutService)]).unwrap());
    let path = stage.path("server/server/rights.toml");
    fs::write(path, "[users.alice]\nshout = true\n").unwrap();
    drop(Server::open_with(&options(&stage), vec![Arc::new(ShoutService)]).unwrap());
    let refused = Server::open(&options(&stage)).err().unwrap().to_string();
    assert!(refused.contains("line 2, column 1"), "{refused}");
}
