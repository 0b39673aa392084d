//! A login is valid on its own connection and once. An altered transcript is rejected.

use std::{process::Command, sync::LazyLock};

use landline::{
    keys::UserKey,
    login::Secret,
    proto::login::{BindingType, METHOD_SECRET, METHOD_SSH_KEY, Transcript, UserName},
};
use serde_json::{Value, json};
use testkit::{NONCE, RawClient, ServerProcess};

use crate::{login::client_key, passwords, shared_secret, stage};

/// The number of logins of each kind.
fn attempts() -> usize {
    if testkit::is_soak() { 2500 } else { 25 }
}

fn greeted(server: &ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    client.greet().unwrap();
    client
}

/// Sends a login on this connection and returns the answer.
fn answer(mut client: RawClient, login: &Value) -> String {
    client.send_json(login).unwrap();
    let header = client.header().unwrap().expect("an answer");
    match header.kind() {
        "error" => header.read::<Value>().unwrap()["code"]
            .as_str()
            .unwrap()
            .to_owned(),
        kind => kind.to_owned(),
    }
}

/// Every kind of login that can be recorded.
struct Logins {
    key: UserKey,
    secrets: Vec<Secret>,
}

impl Logins {
    fn of(&self, client: &RawClient) -> Vec<Value> {
        let by_secret = self
            .secrets
            .iter()
            .map(|secret| client.secret_header("alice", secret));
        std::iter::once(client.login_header("alice", &self.key, None))
            .chain(by_secret)
            .collect()
    }
}

/// Proves `replay` in docs/faults.md.
#[test]
fn recorded_login_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let secrets = ["exporter", "server-end-point"].map(|binding| {
        shared_secret::secret(&stage, &server, &format!("{binding}.secret"), binding).0
    });
    let logins = Logins {
        key: client_key(&stage),
        secrets: secrets.to_vec(),
    };
    let mut recorded = Vec::new();
    for index in 0..logins.secrets.len() + 1 {
        let client = greeted(&server);
        let login = logins.of(&client).swap_remove(index);
        assert_eq!(answer(client, &login), "welcome", "{login}");
        recorded.push(login);
    }
    for round in 0..attempts() {
        for login in &recorded {
            assert_eq!(
                answer(greeted(&server), login),
                "login-refused",
                "round {round}: {login}"
            );
        }
    }
}

/// A login by password is refused on another connection, and after the first message of another
/// login.
/// Proves `replay` in docs/faults.md.
#[test]
fn recorded_password_login_is_refused() {
    let stage = stage();
    let server = passwords::with_bob(&stage);
    let begun = |client: &mut RawClient| {
        let (begin, begun) = client.begin_password("bob", passwords::PASSWORD);
        client.send_json(&begin).unwrap();
        let evaluation = client.header().unwrap().unwrap().read().unwrap();
        (
            begin,
            client
                .password_header("bob", begun, &evaluation)
                .expect("the password is right"),
        )
    };
    let mut first = greeted(&server);
    let (begin, login) = begun(&mut first);
    // This machine is never shut out, so bob has 50 guesses at once.
    // All of it happens within the 10 s that the first connection has.
    let rounds = if testkit::is_soak() { 45 } else { 5 };
    for round in 0..rounds {
        let mut client = greeted(&server);
        client.send_json(&begin).unwrap();
        assert_eq!(client.header().unwrap().unwrap().kind(), "evaluation");
        assert_eq!(answer(client, &login), "login-refused", "round {round}");
    }
    let mut other = greeted(&server);
    let _ = begun(&mut other);
    assert_eq!(
        answer(other, &login),
        "login-refused",
        "on another connection of bob"
    );
    assert_eq!(
        answer(first, &login),
        "welcome",
        "on its own connection it is accepted"
    );
}

/// The client trusts a malicious server, and another server has the same key and secret. The
/// malicious server relays the other's nonce, but cannot log in there.
/// Proves `replay` in docs/faults.md.
#[test]
fn relayed_login_is_refused() {
    let (there, here) = (stage(), stage());
    let (far, near) = (there.joined(), here.joined());
    // The owner of both servers has joined them with the same key.
    std::fs::remove_dir_all(here.path("client")).unwrap();
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([there.path("client"), here.path("client")])
            .status()
            .unwrap()
            .success()
    );
    let secrets = ["exporter", "server-end-point"].map(|binding| {
        shared_secret::secret(&there, &far, &format!("{binding}.secret"), binding).0
    });
    // The client has the same secrets, but believes that they belong to the near server.
    let misled = secrets.clone().map(|mut secret| {
        secret.fingerprint = near.fingerprint.parse().unwrap();
        secret
    });
    let key = client_key(&here);
    for round in 0..attempts() {
        let mut victim = greeted(&near);
        let attacker = greeted(&far);
        victim.greeting = attacker.greeting.clone();
        let mut login = victim.login_header("alice", &key, None);
        assert_eq!(answer(attacker, &login), "login-refused", "round {round}");
        for (misled, right) in misled.iter().zip(&secrets) {
            let attacker = greeted(&far);
            victim.greeting = attacker.greeting.clone();
            login = victim.secret_header("alice", misled);
            login["secret"] = right.key().id().to_string().into();
            assert_eq!(
                answer(attacker, &login),
                "login-refused",
                "round {round}: {:?}",
                right.binding
            );
        }
    }
    let client = greeted(&far);
    let login = client.login_header("alice", &key, None);
    assert_eq!(
        answer(client, &login),
        "welcome",
        "the direct login is accepted"
    );
}

/// The proof of a server is not valid as the proof of a client.
/// Proves `replay` in docs/faults.md.
#[test]
fn reflected_proof_is_refused() {
    let stage = stage();
    let server = stage.joined();
    for binding in ["exporter", "server-end-point"] {
        let (secret, _) =
            shared_secret::secret(&stage, &server, &format!("{binding}.secret"), binding);
        let client = greeted(&server);
        let mut login = client.secret_header("alice", &secret);
        let transcript = client.transcript("alice", METHOD_SECRET, secret.binding, |_| {});
        login["proof"] = json!(secret.key().server_proof(&transcript));
        assert_eq!(answer(client, &login), "login-refused", "{binding}");
    }
}

/// The transcript covers everything that an attacker would change to downgrade a login.
/// Proves `downgrade` in docs/faults.md.
#[test]
fn login_with_altered_transcript_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let (secret, _) = shared_secret::secret(&stage, &server, "ci.secret", "exporter");
    let key = client_key(&stage);
    static STRIPPED: LazyLock<[String; 1]> = LazyLock::new(|| [METHOD_SSH_KEY.to_owned()]);
    static LONGER: LazyLock<[String; 4]> =
        LazyLock::new(|| [METHOD_SSH_KEY, "invite", METHOD_SECRET, "none"].map(str::to_owned));
    static BOB: LazyLock<UserName> = LazyLock::new(|| "bob".parse().unwrap());
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut Transcript<'_>));
    let spoils: [Spoil<'_>; 10] = [
        ("nothing", &|_| {}),
        ("methods stripped", &|transcript| {
            transcript.methods = &*STRIPPED
        }),
        ("methods added", &|transcript| transcript.methods = &*LONGER),
        ("no methods", &|transcript| transcript.methods = &[]),
        ("another version", &|transcript| transcript.version = 0),
        ("another transport", &|transcript| {
            transcript.transport = "quic"
        }),
        ("another method", &|transcript| transcript.method = "invite"),
        ("another binding type", &|transcript| {
            transcript.binding_type = BindingType::TlsServerEndPoint
        }),
        ("another server", &|transcript| {
            transcript.fingerprint = &[0; 32]
        }),
        ("another user", &|transcript| transcript.user = &BOB),
    ];
    for (what, spoil) in spoils {
        let expected = if what == "nothing" {
            "welcome"
        } else {
            "login-refused"
        };
        let client = greeted(&server);
        let transcript = client.transcript("alice", METHOD_SECRET, secret.binding, spoil);
        let mut login = client.secret_header("alice", &secret);
        login["proof"] = json!(secret.key().client_proof(&transcript));
        assert_eq!(answer(client, &login), expected, "secret: {what}");

        let client = greeted(&server);
        let transcript =
            client.transcript("alice", METHOD_SSH_KEY, BindingType::TlsExporter, spoil);
        let mut login = client.login_header("alice", &key, None);
        login["signature"] = json!(landline::proto::messages::Blob(
            key.sign(&transcript).unwrap()
        ));
        assert_eq!(answer(client, &login), expected, "key: {what}");
    }
    for version in [0, 2] {
        let client = greeted(&server);
        let mut login = client.secret_header("alice", &secret);
        login["version"] = version.into();
        assert_eq!(answer(client, &login), "version");
    }
    let client = greeted(&server);
    let login =
        json!({"type": "login", "version": 1, "user": "alice", "method": "none", "nonce": NONCE});
    assert_eq!(answer(client, &login), "method");
}

/// The server rejects an older TLS version and another ALPN. Needs python3.
/// Proves `downgrade` in docs/faults.md.
#[test]
fn older_tls_or_other_alpn_is_refused() {
    const SCRIPT: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if sys.argv[3] == '1.2':
    context.maximum_version = ssl.TLSVersion.TLSv1_2
if sys.argv[4]:
    context.set_alpn_protocols([sys.argv[4]])
host, port = sys.argv[1], int(sys.argv[2])
try:
    with context.wrap_socket(socket.create_connection((host, port))) as line:
        line.sendall(b'\\x0c\\0\\0\\0{\"type\":\"x\"}')
        heard = b''
        while piece := line.recv(4096):
            heard += piece
        print(line.version(), 'listens' if b'unexpected-message' in heard else 'is deaf')
except (ssl.SSLError, ConnectionError) as error:
    print('refused', error)
";
    let stage = stage();
    let server = stage.joined();
    let (host, port) = server.address.split_once(':').unwrap();
    let attempt = |version: &str, alpn: &str| -> Option<String> {
        let output = Command::new("python3")
            .args(["-c", SCRIPT, host, port, version, alpn])
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(right) = attempt("1.3", "landline/1") else {
        eprintln!("SKIPPED: another TLS needs python3");
        return;
    };
    assert_eq!(right, "TLSv1.3 listens");
    for (version, alpn) in [
        ("1.2", "landline/1"),
        ("1.3", "landline/0"),
        ("1.3", "h2"),
        ("1.3", ""),
    ] {
        let said = attempt(version, alpn).unwrap();
        assert!(
            said.starts_with("refused") || said.ends_with("is deaf"),
            "{version} {alpn}: {said}"
        );
    }
}
