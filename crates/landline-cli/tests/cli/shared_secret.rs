//! Logging in by a shared secret.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use landline::login::Secret;
use serde_json::json;
use testkit::{HostileServer, RawClient, ServerProcess, Stage};

use crate::stage;

/// Both values of `--binding`.
const BINDINGS: [&str; 2] = ["exporter", "server-end-point"];

/// Makes a secret of `alice` on the server's machine and writes it to this file.
pub(crate) fn secret(
    stage: &Stage,
    server: &ServerProcess,
    name: &str,
    binding: &str,
) -> (Secret, PathBuf) {
    let path = stage.path(name);
    let file = path.display().to_string();
    let add = [
        "secret",
        "add",
        "alice",
        "--out",
        &file,
        "--public-name",
        &server.address,
        "--binding",
        binding,
        "--label",
        name,
    ];
    let added = stage
        .run_at_server(&[&["--json"], &add[..]].concat())
        .json();
    assert_eq!(added["file"], file);
    let secret = Secret::load(&path).unwrap();
    assert_eq!(added["id"], secret.key().id().to_string());
    (secret, path)
}

#[test]
fn secret_logs_in_until_it_is_removed() {
    for binding in BINDINGS {
        let stage = stage();
        let server = stage.joined();
        let (made, path) = secret(&stage, &server, "user/ci.secret", binding);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // A client without a key that the server knows.
        fs::remove_dir_all(stage.path("client/client")).unwrap();
        stage.run(&["join", "--secret-file", "ci.secret"]).ok();
        let id = made.key().id().to_string();
        let pong = stage.run(&["--json", "ping", "127.0.0.1"]).json();
        assert_eq!(
            (&pong["user"], &pong["key"]),
            (&json!("alice"), &json!(format!("secret:{id}")))
        );
        assert!(
            !stage.path("client/client/id_ed25519").exists(),
            "the client generated a key"
        );
        stage.write("user/artifact", b"built");
        stage
            .run(&["cp", "-q", "artifact", &server.at("artifact")])
            .ok();
        assert_eq!(stage.read("home/artifact"), b"built");

        let listed = stage.run_at_server(&["--json", "secret", "list"]).json();
        assert_eq!(
            (&listed["id"], &listed["user"], &listed["label"]),
            (&json!(id), &json!("alice"), &json!("user/ci.secret"))
        );
        let removed = stage.run_at_server(&["--json", "secret", "remove", &id]);
        assert_eq!(removed.json()["id"], id);
        assert_eq!(stage.run_at_server(&["secret", "list", "alice"]).ok(), "");
        stage
            .run(&["--json", "ping", "127.0.0.1"])
            .fails(12, "login-refused");
        stage
            .run_at_server(&["--json", "secret", "remove", &id])
            .fails(20, "not-found");
        let log = stage
            .run_at_server(&["audit", "show", "--json", "--user", "alice"])
            .ok();
        for action in ["add-secret", "remove-secret"] {
            let told = log
                .lines()
                .filter(|line| line.contains(action) && line.contains(&format!("secret:{id}")));
            assert_eq!(told.count(), 1, "{action}: {log}");
        }
    }
}

/// The file of the secret has the server's fingerprint, and the server proves that it knows the
/// secret.
#[test]
fn secret_login_confirms_first_use_pin() {
    let stage = stage();
    let server = stage.joined();
    secret(&stage, &server, "user/ci.secret", "exporter");
    let mut known: serde_json::Value =
        serde_json::from_slice(&stage.read("client/client/servers.json")).unwrap();
    known["servers"][0]["provisional"] = true.into();
    stage.write("client/client/servers.json", known.to_string().as_bytes());
    let listed = || stage.run(&["--json", "hosts"]).json();
    assert_eq!(listed()["provisional"], true);
    stage.run(&["join", "--secret-file", "ci.secret"]).ok();
    let listed = listed();
    assert_eq!(listed["provisional"], false);
    assert!(listed["secret"].is_string(), "{listed}");
}

#[test]
fn secret_is_printed_or_written_to_private_file() {
    let stage = stage();
    let server = stage.joined();
    let shown = stage.run_at_server(&["secret", "add", "alice"]).ok();
    let shown: Secret = shown.parse().expect("the output is a secret on one line");
    let addresses: Vec<String> = shown.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        addresses.join(" "),
        server.address,
        "the secret has the current address of the server"
    );
    assert_eq!(shown.fingerprint.to_string(), server.fingerprint);

    let taken = stage
        .write("taken", b"something of value")
        .display()
        .to_string();
    stage
        .run_at_server(&["--json", "secret", "add", "alice", "--out", &taken])
        .fails(22, "exists");
    assert_eq!(stage.read("taken"), b"something of value");
    stage
        .run_at_server(&["--json", "secret", "add", "ghost"])
        .fails(20, "not-found");
    let listed = stage.run_at_server(&["secret", "list"]).ok();
    assert_eq!(
        listed.lines().count(),
        1,
        "a secret that could not be printed was not kept: {listed}"
    );
    stage
        .run(&["--json", "secret", "add", "alice"])
        .fails(31, "no-server");
}

#[test]
fn unusable_secrets_are_refused() {
    let stage = stage();
    let server = stage.joined();
    let (_, path) = secret(&stage, &server, "user/ci.secret", "exporter");
    let line = fs::read_to_string(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    stage
        .run(&["--json", "join", "--secret-file", "ci.secret"])
        .fails(32, "secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    stage
        .run(&["--json", "join", "--secret-file", "absent"])
        .fails(32, "secret");
    for spoiled in [
        "correct horse battery staple".to_owned(),
        format!("{}hunter2\n", line.split_at(line.rfind('.').unwrap() + 1).0),
        line.replace(&server.fingerprint[1..], "0"),
    ] {
        fs::write(&path, &spoiled).unwrap();
        let said = stage
            .run(&["--json", "join", "--secret-file", "ci.secret"])
            .fails(32, "secret");
        assert!(!said.contains("hunter2"), "{said}");
    }
    // Another fingerprint means another server.
    fs::write(&path, line.replace(&server.fingerprint, &"0".repeat(64))).unwrap();
    stage
        .run(&["--json", "join", "--secret-file", "ci.secret", "--replace"])
        .fails(11, "server-changed");
}

/// The client checks the server's proof. It rejects none at all, garbage, and its own proof.
#[test]
fn server_without_the_secret_is_refused() {
    for answer in ["nothing", "rubbish", "reflected"] {
        let stage = stage();
        let server = HostileServer::start(
            &stage.path("evil"),
            &stage.path("evil"),
            1,
            move |client| {
                client.greet()?;
                let login: serde_json::Value = client.header()?.read().expect("a login");
                let mut welcome = json!({
                    "type": "welcome", "user": login["user"], "key": "secret:0000000000000000", "session": "0000000000000000",
                });
                match answer {
                    "nothing" => {}
                    "rubbish" => {
                        welcome["proof"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()
                    }
                    _ => welcome["proof"] = login["proof"].clone(),
                }
                client.send_json(&welcome)
            },
        );
        let line = format!(
            "landline-secret://alice@{}/#{}.{}",
            server.address,
            server.fingerprint,
            "5".repeat(64)
        );
        let path = stage.write("user/ci.secret", line.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        stage
            .run(&["--json", "join", "--secret-file", "ci.secret"])
            .fails(11, "secret-unproven");
        assert!(
            !stage.path("client/client/servers.json").exists(),
            "{answer}: the client has saved the server"
        );
        server.join();
    }
}

#[test]
fn secret_is_limited_to_its_user_and_binding() {
    let stage = stage();
    let server = stage.joined();
    let connect = || {
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        client.greet().unwrap();
        client
    };
    for binding in BINDINGS {
        let (right, _) = secret(&stage, &server, &format!("{binding}.secret"), binding);
        let mut line = right.reveal().to_string();
        line.pop();
        let wrong: Secret = format!(
            "{line}{}",
            if right.reveal().ends_with('0') {
                '1'
            } else {
                '0'
            }
        )
        .parse()
        .unwrap();
        let mut other_binding = right.clone();
        other_binding.binding = match binding {
            "exporter" => landline::proto::login::BindingType::TlsServerEndPoint,
            _ => landline::proto::login::BindingType::TlsExporter,
        };
        type Make<'a> = &'a dyn Fn(&RawClient) -> serde_json::Value;
        let refused: [(&str, Make<'_>); 5] = [
            ("another user", &|client| {
                client.secret_header("bob", &right)
            }),
            ("another secret", &|client| {
                client.secret_header("alice", &wrong)
            }),
            ("another secret under its id", &|client| {
                let mut header = client.secret_header("alice", &wrong);
                header["secret"] = right.key().id().to_string().into();
                header
            }),
            ("the other binding", &|client| {
                client.secret_header("alice", &other_binding)
            }),
            ("the other binding under its id", &|client| {
                let mut header = client.secret_header("alice", &other_binding);
                header["secret"] = right.key().id().to_string().into();
                header
            }),
        ];
        for (what, make) in refused {
            let mut client = connect();
            client.send_json(&make(&client)).unwrap();
            assert_eq!(
                client.error_code().unwrap().as_deref(),
                Some("login-refused"),
                "{binding}: {what}"
            );
        }
        let mut client = connect();
        client
            .send_json(&client.secret_header("alice", &right))
            .unwrap();
        assert_eq!(
            client.header().unwrap().unwrap().kind(),
            "welcome",
            "{binding}: the unaltered login is accepted"
        );
    }
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn secret_is_only_in_its_file() {
    let stage = stage();
    let server = stage.joined();
    for binding in BINDINGS {
        let (made, path) = secret(&stage, &server, &format!("user/{binding}.secret"), binding);
        let digits = made.reveal().rsplit_once('.').unwrap().1.to_owned();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let outcome = stage.run(&["join", "--secret-file", &file, "--replace"]);
        assert!(!outcome.stderr.contains(&digits));
        assert!(!outcome.ok().contains(&digits));
        assert!(!server.event("login").to_string().contains(&digits));
        let raw: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).unwrap())
            .collect();
        for needle in [digits.as_bytes(), &raw] {
            for folder in ["server", "client"] {
                assert_eq!(
                    crate::secrets::files_with(&stage.path(folder), needle, &[]),
                    Vec::<String>::new()
                );
            }
        }
        for entry in ["cmdline", "environ"] {
            let content = fs::read(format!("/proc/{}/{entry}", server.id())).unwrap();
            assert!(
                !String::from_utf8_lossy(&content).contains(&digits),
                "{entry}"
            );
        }
    }
}
