//! Keys of every kind that OpenSSH makes, from files and from a real ssh-agent.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use testkit::{Outcome, Stage, wait_for};

use crate::stage;

/// Makes a key with OpenSSH. Prints SKIPPED and returns `None` without it.
pub(crate) fn ssh_keygen(stage: &Stage, name: &str, options: &[&str]) -> Option<String> {
    let path = stage.path(name).display().to_string();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", name, "-f", &path]).args(options);
    if !options.contains(&"-N") {
        command.args(["-N", ""]);
    }
    match command.status() {
        Ok(status) if status.success() => Some(path),
        _ => {
            eprintln!("SKIPPED: ssh-keygen is needed (openssh-client)");
            None
        }
    }
}

/// A real ssh-agent. Killed when dropped.
pub(crate) struct RealAgent {
    child: Child,
    pub(crate) socket: String,
}

impl RealAgent {
    pub(crate) fn start(stage: &Stage, keys: &[&str]) -> Self {
        let socket = stage.path("agent").display().to_string();
        let mut command = Command::new("ssh-agent");
        command
            .args(["-D", "-a", &socket])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("ssh-agent is part of the same package as ssh-keygen");
        wait_for("the agent's socket", || Path::new(&socket).exists());
        let agent = Self { child, socket };
        for key in keys {
            agent.add(&[key]);
        }
        agent
    }

    pub(crate) fn add(&self, arguments: &[&str]) {
        let mut command = Command::new("ssh-add");
        command
            .arg("-q")
            .args(arguments)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null());
        assert!(command.status().unwrap().success(), "ssh-add {arguments:?}");
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the client with this agent.
pub(crate) fn with_agent(stage: &Stage, agent: &RealAgent, arguments: &[&str]) -> Outcome {
    let mut command = stage.command(arguments);
    command.env("SSH_AUTH_SOCK", &agent.socket);
    stage.run_command(command)
}

fn fingerprint(key: &str) -> String {
    let listed = Command::new("ssh-keygen")
        .args(["-l", "-f", key])
        .output()
        .unwrap();
    String::from_utf8(listed.stdout)
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned()
}

const KINDS: [(&str, &[&str]); 6] = [
    ("ed25519", &["-t", "ed25519"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384", &["-t", "ecdsa", "-b", "384"]),
    ("p521", &["-t", "ecdsa", "-b", "521"]),
    ("rsa2048", &["-t", "rsa", "-b", "2048"]),
    ("rsa4096", &["-t", "rsa", "-b", "4096"]),
];

/// Proves `wrong-key` in docs/faults.md.
#[test]
fn every_key_type_logs_in_from_file() {
    for (name, options) in KINDS {
        let stage = stage();
        let server = stage.serve(&[]);
        let Some(key) = ssh_keygen(&stage, name, options) else {
            return;
        };
        stage
            .run(&["join", &server.invite(), "--as", "bob", "-i", &key])
            .ok();
        let pong = stage.run(&["--json", "ping", "127.0.0.1"]).json();
        assert_eq!(
            (&pong["user"], &pong["key"]),
            (&json!("bob"), &json!(fingerprint(&key))),
            "{name}"
        );
        server.event("login");
        assert_eq!(
            server.event("login")["key"],
            fingerprint(&key),
            "{name}: the log names the verified key"
        );
    }
}

#[test]
fn every_key_type_logs_in_from_agent() {
    for (name, options) in KINDS {
        let stage = stage();
        let server = stage.serve(&[]);
        let Some(key) = ssh_keygen(&stage, name, options) else {
            return;
        };
        let agent = RealAgent::start(&stage, &[&key]);
        // Only the agent has the private key.
        std::fs::remove_file(&key).unwrap();
        let public = format!("{key}.pub");
        with_agent(
            &stage,
            &agent,
            &["join", &server.invite(), "--as", "bob", "-i", &public],
        )
        .ok();
        let pong = with_agent(&stage, &agent, &["--json", "ping", "127.0.0.1"]).json();
        assert_eq!(
            (&pong["user"], &pong["key"]),
            (&json!("bob"), &json!(fingerprint(&public))),
            "{name}"
        );
        stage
            .run(&["--json", "ping", "127.0.0.1"])
            .fails(32, "no-key");
        stage
            .run(&["--json", "ping", "127.0.0.1", "-i", &public])
            .fails(32, "key");
    }
}

/// OpenSSH stores private numbers without leading zeros. That shortens half of all P-521 keys.
#[test]
fn key_with_short_private_number_is_read() {
    let stage = stage();
    for number in 0..12 {
        let Some(key) = ssh_keygen(
            &stage,
            &format!("key{number}"),
            &["-t", "ecdsa", "-b", "521"],
        ) else {
            return;
        };
        landline::keys::UserKey::open(Path::new(&key))
            .unwrap()
            .sign(&[7; 64])
            .unwrap();
    }
}

/// The passphrase is right, so the error names the cipher, and there is no prompt.
/// Proves `unsupported-or-wrong` in docs/faults.md.
#[test]
fn unsupported_cipher_is_named_before_the_passphrase() {
    let stage = stage();
    let server = stage.joined();
    let options = ["-t", "ed25519", "-Z", "3des-cbc", "-N", "a phrase"];
    let Some(key) = ssh_keygen(&stage, "key", &options) else {
        return;
    };
    let message = stage
        .run(&["--json", "ping", "-i", &key, &server.address])
        .fails(32, "key");
    assert!(message.contains("3des-cbc"), "{message}");
}

#[test]
fn every_ssh_keygen_cipher_can_be_unlocked() {
    let stage = stage();
    for cipher in [
        "aes256-ctr",
        "aes128-cbc",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    ] {
        for kind in ["ed25519", "ecdsa", "rsa"] {
            let options = ["-t", kind, "-Z", cipher, "-a", "2", "-N", "a phrase"];
            let Some(key) = ssh_keygen(&stage, &format!("{kind}-{cipher}"), &options) else {
                return;
            };
            let key = landline::keys::UserKey::open(Path::new(&key)).unwrap();
            assert!(
                key.is_locked() && key.sign(&[7; 64]).is_err(),
                "{kind} {cipher}"
            );
            assert!(
                key.unlock("another phrase")
                    .unwrap_err()
                    .to_string()
                    .contains("passphrase"),
                "{kind} {cipher}"
            );
            key.unlock("a phrase").unwrap();
            key.sign(&[7; 64]).unwrap();
        }
    }
}

#[test]
fn many_agent_keys_need_one_login() {
    let stage = stage();
    let server = stage.serve(&[]);
    let mut keys = Vec::new();
    for number in 0..20 {
        let Some(key) = ssh_keygen(&stage, &format!("key{number}"), &["-t", "ed25519"]) else {
            return;
        };
        keys.push(key);
    }
    let agent = RealAgent::start(&stage, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    let public = format!("{}.pub", keys[17]);
    with_agent(
        &stage,
        &agent,
        &["join", &server.invite(), "--as", "bob", "-i", &public],
    )
    .ok();
    server.event("logout");
    // A client that does not know which key it joined with.
    let pins = stage.path("client/client/servers.json");
    let known = std::fs::read_to_string(&pins).unwrap();
    let mut forgotten: serde_json::Value = serde_json::from_str(&known).unwrap();
    forgotten["servers"][0]
        .as_object_mut()
        .unwrap()
        .remove("agent_key");
    std::fs::write(&pins, forgotten.to_string()).unwrap();

    let pong = with_agent(&stage, &agent, &["--json", "ping", "127.0.0.1"]).json();
    assert_eq!(pong["key"], fingerprint(&public));
    let first = server.next_event();
    assert_eq!(
        first["event"], "login",
        "no login was refused before: {first}"
    );
    let remembered: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&pins).unwrap()).unwrap();
    let before: serde_json::Value = serde_json::from_str(&known).unwrap();
    assert_eq!(remembered, before, "the client has saved the key");
}

#[test]
fn client_without_valid_key_is_refused_once() {
    let stage = stage();
    let server = stage.joined();
    server.event("logout");
    let (Some(one), Some(two)) = (
        ssh_keygen(&stage, "one", &["-t", "ed25519"]),
        ssh_keygen(&stage, "two", &["-t", "rsa"]),
    ) else {
        return;
    };
    let agent = RealAgent::start(&stage, &[&one, &two]);
    let pins = stage.path("client/client/servers.json");
    let mut known: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&pins).unwrap()).unwrap();
    known["servers"][0].as_object_mut().unwrap().remove("key");
    std::fs::write(&pins, known.to_string()).unwrap();
    std::fs::remove_file(stage.path("client/client/id_ed25519")).unwrap();
    with_agent(&stage, &agent, &["--json", "ping", "127.0.0.1"]).fails(12, "login-refused");
    assert_eq!(server.next_event()["code"], "login-refused");
}

/// An agent that sends a fixed answer to every request.
fn odd_agent(stage: &Stage, answer: &'static [u8]) -> String {
    use std::{io::Read, os::unix::net::UnixListener};
    let socket = stage.path("odd-agent");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 5];
            let _ = stream.read_exact(&mut request);
            let _ = stream.write_all(answer);
        }
    });
    socket.display().to_string()
}

#[test]
fn failing_agent_is_skipped_with_warning() {
    let answers: [&'static [u8]; 6] = [
        b"",
        b"\xff\xff\xff\xff",
        b"\x00\x04\x00\x01",
        b"\x00\x00\x00\x01\x05",
        b"\x00\x00\x00\x05\x0c\xff\xff\xff\xff",
        b"\x00\x00\x00\x06\x0c\x00\x00\x00\x00!",
    ];
    for answer in answers {
        let stage = stage();
        let _server = stage.joined();
        let pins = stage.path("client/client/servers.json");
        let mut known: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&pins).unwrap()).unwrap();
        known["servers"][0].as_object_mut().unwrap().remove("key");
        std::fs::write(&pins, known.to_string()).unwrap();
        let mut command = stage.command(&["ping", "127.0.0.1"]);
        let socket = odd_agent(&stage, answer);
        command.env("SSH_AUTH_SOCK", &socket);
        let outcome = stage.run_command(command);
        assert!(
            outcome.stderr.contains(&socket),
            "{answer:?}: {}",
            outcome.stderr
        );
        outcome.ok();
    }
}
