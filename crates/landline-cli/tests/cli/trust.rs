//! Trust in a server, on first use and later. An error never counts as trust.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use testkit::{HostileServer, Mount, ServerProcess, Stage, Terminal};

use crate::{ASKS_TRUST, stage};

/// A server that `alice` has joined, and her client after it has forgotten the server.
fn forgotten(stage: &Stage) -> ServerProcess {
    let server = stage.joined();
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    server.event("logout");
    server
}

fn at(server: &ServerProcess) -> String {
    format!("alice@{}", server.address)
}

/// Answers the prompts at a terminal up to the one about trust. The client has a key.
fn asked_about_trust(stage: &Stage, arguments: &[&str]) -> Terminal {
    let mut terminal = Terminal::start(&stage.command(arguments));
    terminal.wait_for("Enter to log in with a key");
    terminal.wait_for_hiding();
    terminal.type_line("");
    terminal.wait_for(ASKS_TRUST);
    terminal
}

fn listed(stage: &Stage) -> Vec<Value> {
    let list = stage.run(&["hosts", "--json"]).ok();
    list.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn unknown_server_is_trusted_after_yes() {
    let stage = stage();
    let server = forgotten(&stage);
    let mut terminal = asked_about_trust(&stage, &["--json", "ping", &at(&server)]);
    assert!(
        terminal.shown.contains(&server.fingerprint),
        "{}",
        terminal.shown
    );
    // The client asks after it has closed the connection for the fingerprint.
    assert_eq!(server.next_event()["event"], "refused");
    assert_eq!(
        listed(&stage),
        Vec::<Value>::new(),
        "the client saved the server before the answer"
    );
    terminal.type_line("perhaps");
    terminal.wait_for("This question is about trust");
    terminal.type_line("yes");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    let pong: Value = serde_json::from_str(terminal.shown.lines().last().unwrap()).unwrap();
    assert_eq!(pong["user"], "alice");
    let [known] = &listed(&stage)[..] else {
        panic!("one server")
    };
    assert_eq!(known["fingerprint"], server.fingerprint);
    assert_eq!(known["provisional"], true);
    // From now on the client does not ask.
    stage.run(&["ping", "127.0.0.1"]).ok();
}

#[test]
fn typed_fingerprint_is_not_provisional() {
    let stage = stage();
    let server = forgotten(&stage);
    let mut terminal = asked_about_trust(&stage, &["ping", &at(&server)]);
    terminal.type_line(&server.fingerprint);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(listed(&stage)[0]["provisional"], false);
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn only_yes_trusts_the_server() {
    let other = "0".repeat(64);
    for (answers, code) in [
        (&["no"][..], "not-trusted"),
        (&["\u{4}"], "not-trusted"),
        (&["y", "Yes", "ok"], "not-trusted"),
        (&[other.as_str()], "server-changed"),
    ] {
        let stage = stage();
        let server = forgotten(&stage);
        let mut terminal = asked_about_trust(&stage, &["--json", "ping", &at(&server)]);
        for answer in answers {
            terminal.type_line(answer);
        }
        assert_eq!(terminal.end(), Some(11), "{answers:?}: {}", terminal.shown);
        assert!(
            terminal.shown.contains(&format!(r#""code":"{code}""#)),
            "{answers:?}: {}",
            terminal.shown
        );
        assert_eq!(listed(&stage), Vec::<Value>::new(), "{answers:?}");
    }
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn unknown_server_without_terminal_needs_option() {
    let stage = stage();
    let server = forgotten(&stage);
    stage
        .run(&["--json", "ping", &at(&server)])
        .fails(11, "unknown-server");
    stage.write("user/f", b"x");
    let outcome = stage.run(&[
        "cp",
        "--accept-new",
        "f",
        &format!("landline://alice@{}/f", server.address),
    ]);
    assert!(
        outcome.stderr.contains(&server.fingerprint),
        "the error names the option: {}",
        outcome.stderr
    );
    outcome.ok();
    assert_eq!(stage.read("home/f"), b"x");
    assert_eq!(listed(&stage)[0]["provisional"], true);
}

/// An interceptor with another certificate, against a client that knows the server and one that
/// does not.
/// Proves `first-contact` in docs/faults.md.
#[test]
fn interceptor_is_not_taken_for_known_server() {
    let stage = stage();
    let server = forgotten(&stage);
    let hostile = HostileServer::start(
        &stage.path("hostile"),
        &stage.path("hostile"),
        2,
        |client| client.greet(),
    );
    stage.run(&["ping", "--accept-new", &at(&server)]).ok();
    let mut known = listed(&stage).remove(0);
    // The address now leads to the interceptor.
    let port: u16 = hostile.address.rsplit(':').next().unwrap().parse().unwrap();
    for key in ["address", "agent_key", "secret"] {
        known.as_object_mut().unwrap().remove(key);
    }
    let object = known.as_object_mut().unwrap();
    object.insert("host".into(), "127.0.0.1".into());
    object.insert("port".into(), port.into());
    if object["key"].is_null() {
        object.remove("key");
    }
    fs::write(
        stage.path("client/client/servers.json"),
        json!({ "servers": [known] }).to_string(),
    )
    .unwrap();
    stage
        .run(&["--json", "ping", "--accept-new", &hostile.address])
        .fails(11, "server-changed");
    // There is no question at a terminal either.
    let mut terminal = Terminal::start(&stage.command(&["ping", &hostile.address]));
    assert_eq!(terminal.end(), Some(11));
    assert!(!terminal.shown.contains(ASKS_TRUST), "{}", terminal.shown);
    hostile.join();
}

/// A certificate without its key is also rejected on first use.
/// Proves `pin-without-key` in docs/faults.md.
#[test]
fn certificate_without_its_key_prompts_nothing() {
    let stage = stage();
    let hostile = HostileServer::start(&stage.path("one"), &stage.path("two"), 1, |_| Ok(()));
    stage
        .run(&["--json", "ping", "--accept-new", &hostile.address])
        .fails(11, "server-unproven");
    assert_eq!(listed(&stage), Vec::<Value>::new());
}

/// Proves `first-contact` in docs/faults.md.
#[test]
fn unusable_pin_file_refuses_first_use() {
    let stage = stage();
    let server = forgotten(&stage);
    let pins = stage.path("client/client/servers.json");
    for content in ["", "rubbish", "{\"servers\":[{}]}", "[]"] {
        fs::write(&pins, content).unwrap();
        stage
            .run(&["--json", "ping", "--accept-new", &at(&server)])
            .fails(31, "state");
        assert_eq!(
            fs::read_to_string(&pins).unwrap(),
            content,
            "the file is unchanged"
        );
    }
    fs::remove_file(&pins).unwrap();
    fs::create_dir(&pins).unwrap();
    stage
        .run(&["--json", "ping", "--accept-new", &at(&server)])
        .fails(31, "state");
    fs::remove_dir(&pins).unwrap();
    // The lock file cannot be created.
    let lock = stage.path("client/client/servers.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    stage
        .run(&["--json", "ping", "--accept-new", &at(&server)])
        .fails(31, "state");
    fs::remove_dir(&lock).unwrap();
    stage.run(&["ping", "--accept-new", &at(&server)]).ok();
}

/// The client saves the pin before it logs in. If it cannot, it does not log in.
/// Proves `first-contact` in docs/faults.md.
#[test]
fn pin_that_cannot_be_saved_refuses_login() {
    let stage = stage();
    let server = forgotten(&stage);
    let state = stage.path("small");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let Some(_disk) = Mount::disk(&state, "size=64k") else {
        return;
    };
    fs::create_dir(state.join("client")).unwrap();
    fs::set_permissions(state.join("client"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(
        stage.path("client/client/id_ed25519"),
        state.join("client/id_ed25519"),
    )
    .unwrap();
    fs::write(state.join("client/servers.lock"), b"").unwrap();
    let _ = fs::write(state.join("filler"), vec![0; 1 << 20]);
    let outcome = stage.run(&[
        "--json",
        "--state",
        state.to_str().unwrap(),
        "ping",
        "--accept-new",
        &at(&server),
    ]);
    outcome.fails(31, "state");
    assert_eq!(server.next_event()["event"], "refused");
}

#[test]
fn trust_is_replaced_and_forgotten() {
    let stage = stage();
    let server = stage.joined();
    let other = "1".repeat(64);
    stage
        .run(&["--json", "trust", "replace", "127.0.0.1", "00"])
        .fails(2, "usage");
    stage
        .run(&["--json", "trust", "replace", "elsewhere", &other])
        .fails(11, "unknown-server");
    stage.run(&["trust", "replace", "127.0.0.1", &other]).ok();
    let changed = stage.run(&["ping", "127.0.0.1"]);
    assert_eq!(changed.status, Some(11));
    assert!(
        !changed.stderr.contains(&format!(
            "replace {} {}",
            server.address, server.fingerprint
        )),
        "the question offers to trust the server: {changed:?}"
    );
    stage
        .run(&["trust", "replace", &server.address, &server.fingerprint])
        .ok();
    stage.run(&["ping", "127.0.0.1"]).ok();
    let key = stage.path("client/client/id_ed25519").display().to_string();
    assert_eq!(listed(&stage)[0]["key"], key);
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    assert_eq!(listed(&stage), Vec::<Value>::new());
    stage
        .run(&["--json", "hosts", "remove", "127.0.0.1"])
        .fails(11, "unknown-server");
}

/// ~/.ssh/config sets the host, the user, the key and the agent.
#[test]
fn ssh_config_is_honored() {
    let stage = stage();
    let server = stage.serve(&[]);
    let Some(key) = crate::keys::ssh_keygen(&stage, "key", &["-t", "ecdsa"]) else {
        return;
    };
    let port = server.address.rsplit(':').next().unwrap();
    stage
        .run(&["join", &server.invite(), "--as", "bob", "-i", &key])
        .ok();
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    stage.write(
        "user/.ssh/more",
        format!("Host web\n  IdentityFile {key}\n  IdentitiesOnly yes\n").as_bytes(),
    );
    let config = "Include more\nHost web\n  HostName 127.0.0.1\n  User bob\n  Port 1\nMatch exec true\n  User mallory\n";
    stage.write("user/.ssh/config", config.as_bytes());
    let pong = stage
        .run(&["--json", "ping", "--accept-new", &format!("web:{port}")])
        .json();
    assert_eq!(pong["user"], "bob");
    assert!(pong["key"].as_str().unwrap().starts_with("SHA256:"));
    assert_eq!(listed(&stage)[0]["address"], server.address);
    // A Host of ssh_config also names a known server.
    assert_eq!(stage.run(&["--json", "ping", "web"]).json()["user"], "bob");
    stage
        .run(&["trust", "replace", "web", &server.fingerprint])
        .ok();
    assert_eq!(
        listed(&stage)[0]["provisional"],
        false,
        "the server was trusted after a yes"
    );
    // Another user could write to this file, and so choose the server.
    fs::set_permissions(
        stage.path("user/.ssh/more"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    stage.run(&["--json", "ping", "web"]).fails(1, "ssh-config");
    stage.write("user/.ssh/more", b"IdentitiesOnly perhaps");
    fs::set_permissions(
        stage.path("user/.ssh/more"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    stage.run(&["--json", "ping", "web"]).fails(1, "ssh-config");
}

/// A line that ssh rejects, or that landline cannot read as ssh does, ends the command.
///
/// Proves `ssh-config` in docs/faults.md.
#[test]
fn unreadable_ssh_config_line_is_named() {
    let stage = stage();
    let server = stage.joined();
    let address = server.address.as_str();
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    for (text, line) in [
        ("\u{feff}Host other\n  HostName 192.0.2.99\n", 1),
        (
            "Host x\n  User bob\nHost \"other\n  HostName 192.0.2.99\n",
            3,
        ),
        ("Host x\nHots other\n  HostName 192.0.2.99\n", 2),
        ("Match version x\n  HostName 192.0.2.99\n", 1),
        ("IdentityFile ${LANDLINE_UNSET}/key\n", 1),
    ] {
        stage.write("user/.ssh/config", text.as_bytes());
        let outcome = stage.run(&["--json", "ping", address]);
        let place = format!("config line {line}: ");
        assert!(outcome.stderr.contains(&place), "{outcome:?}");
        outcome.fails(1, "ssh-config");
    }
    let files = [
        "Host 127.0.0.1\n  ProxyCommand none\nHost *\n  ProxyJump gate.invalid\n",
        "Match host *.example exec \"exit 1\"\n  User x\nMatch localuser OTHER\n  HostName x\n",
        "Host *.example\n  IdentityFile none\n",
    ];
    for text in files {
        stage.write("user/.ssh/config", text.as_bytes());
        let outcome = stage.run(&["ping", address]);
        assert_eq!(outcome.stderr, "", "{text}");
        outcome.ok();
    }
}

/// The client chooses a locked key first, and unlocks it before it connects again.
#[test]
fn passphrase_prompt_holds_no_connection() {
    let stage = stage();
    let server = stage.serve(&[]);
    let options = ["-t", "ed25519", "-a", "2", "-N", "a phrase"];
    let Some(key) = crate::keys::ssh_keygen(&stage, "key", &options) else {
        return;
    };
    let Some(other) = crate::keys::ssh_keygen(&stage, "other", &["-t", "ed25519"]) else {
        return;
    };
    let mut joining =
        Terminal::start(&stage.command(&["join", &server.invite(), "--as", "bob", "-i", &key]));
    joining.wait_for("Passphrase");
    joining.wait_for_hiding();
    joining.type_line("a phrase");
    assert_eq!(joining.end(), Some(0), "{}", joining.shown);
    server.event("logout");
    stage.run(&["hosts", "remove", "127.0.0.1"]).ok();
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    let config = format!("User bob\nIdentityFile {other}\nIdentityFile {key}\n");
    stage.write("user/.ssh/config", config.as_bytes());

    let mut terminal = Terminal::start(&stage.command(&["ping", "--accept-new", &server.address]));
    terminal.wait_for("Passphrase");
    terminal.wait_for_hiding();
    // One connection for the fingerprint, and one to choose the key.
    assert_eq!(server.next_event()["event"], "refused");
    assert_eq!(server.next_event()["event"], "refused");
    terminal.type_line("a phrase");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(server.next_event()["event"], "login");
    assert!(
        !terminal.shown.contains("a phrase"),
        "the terminal showed the passphrase"
    );
}
