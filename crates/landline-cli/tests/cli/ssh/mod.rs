//! Connections through a real sshd.

mod bootstrap;
mod copies;
pub(crate) mod sshd;
mod ways;

use serde_json::{Value, json};
use sshd::{Sshd, command, generate_key, run, script, ssh_runs, wait_for_no_ssh, wrapper_script};
use testkit::{ServerProcess, Stage, Terminal};

use crate::stage;

/// A server that only the machine `bastion` can reach. `alice` has joined it as `bastion:PORT`.
fn joined() -> Option<(Stage, Sshd, ServerProcess)> {
    let stage = stage();
    let sshd = Sshd::start(&stage, "bastion", "")?;
    let server = stage.serve(&[]);
    let said = run(
        &stage,
        &[
            "--json",
            "join",
            &server.invite(),
            "--as",
            "alice",
            "--via-ssh",
            "bastion",
        ],
    )
    .json();
    assert_eq!(said["address"], format!("bastion:{}", port(&server)));
    assert_eq!(
        (&said["via"], &said["user"]),
        (&json!("bastion"), &json!("alice"))
    );
    Some((stage, sshd, server))
}

fn port(server: &ServerProcess) -> String {
    server.address.rsplit(':').next().unwrap().to_owned()
}

/// The route by which `landline ping` reaches a server.
fn route(stage: &Stage, arguments: &[&str]) -> Value {
    let ping = [&["--json", "ping"], arguments].concat();
    run(stage, &ping).json()["route"].take()
}

fn listed(stage: &Stage) -> Vec<Value> {
    let list = stage.run(&["hosts", "--json"]).ok();
    list.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every command uses the jump host of the join.
#[test]
fn jump_host_of_join_is_saved() {
    let Some((stage, sshd, server)) = joined() else {
        return;
    };
    assert_eq!(sshd.count(), 1);
    assert_eq!(
        server.event("login")["peer"]
            .as_str()
            .unwrap()
            .split(':')
            .next(),
        Some("127.0.0.1")
    );
    let route = route(&stage, &["bastion"]);
    assert_eq!(route["via"], "bastion");
    let keys: Vec<&String> = route.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["connect", "via"],
        "the client resolved the name itself"
    );
    stage.write("user/f", b"content");
    run(&stage, &["cp", "f", "bastion:f"]).ok();
    assert_eq!(stage.read("home/f"), b"content");
    run(&stage, &["cp", "bastion:f", "g"]).ok();
    assert_eq!(stage.read("user/g"), b"content");
    run(&stage, &["who", "bastion"]).ok();
    run(&stage, &["user", "--on", "bastion", "list"]).ok();
    assert_eq!(sshd.count(), 6, "a command did not connect through ssh");
    assert_eq!(listed(&stage)[0]["via"], "bastion");
    assert!(!ssh_runs(&stage), "ssh still runs after the command");
}

/// `--via-ssh` overrides the saved jump host for one command. A file of an earlier release has no
/// jump hosts.
#[test]
fn via_ssh_option_overrides_saved_route() {
    let Some((stage, sshd, server)) = joined() else {
        return;
    };
    let pins = stage.path("client/client/servers.json");
    let text = std::fs::read_to_string(&pins).unwrap();
    assert!(text.contains("\"via\": \"bastion\""), "{text}");
    // The client cannot resolve `bastion` itself.
    run(&stage, &["--json", "ping", "bastion", "--via-ssh", "none"]).fails(10, "connect");
    let text = text.replace("\"host\": \"bastion\"", "\"host\": \"127.0.0.1\"");
    std::fs::write(&pins, &text).unwrap();
    assert_eq!(route(&stage, &["127.0.0.1"])["via"], "bastion");
    assert_eq!(
        route(&stage, &["127.0.0.1", "--via-ssh", "none"])["address"],
        server.address
    );
    std::fs::write(&pins, text.replace(",\n      \"via\": \"bastion\"", "")).unwrap();
    assert_eq!(route(&stage, &["127.0.0.1"])["address"], server.address);
    assert_eq!(listed(&stage)[0]["via"], Value::Null);
    // A malformed jump host is an error. The client does not connect directly instead.
    std::fs::write(
        &pins,
        text.replace("\"via\": \"bastion\"", "\"via\": \"-oProxyCommand=x\""),
    )
    .unwrap();
    run(&stage, &["--json", "ping", "127.0.0.1"]).fails(31, "state");
    drop((sshd, server));
}

/// The client fetches the fingerprint through ssh too, and saves the jump host with the pin.
#[test]
fn unknown_server_is_trusted_through_ssh() {
    let Some((stage, sshd, server)) = joined() else {
        return;
    };
    run(&stage, &["hosts", "remove", "bastion"]).ok();
    let target = format!("alice@localhost:{}", port(&server));
    run(&stage, &["--json", "ping", &target, "--via-ssh", "bastion"]).fails(11, "unknown-server");
    let said = run(
        &stage,
        &["ping", &target, "--via-ssh", "bastion", "--accept-new"],
    );
    assert!(said.stderr.contains(&server.fingerprint), "{}", said.stderr);
    said.ok();
    let known = &listed(&stage)[0];
    assert_eq!(
        known["address"],
        format!("bastion:{}", port(&server)),
        "localhost means the jump host"
    );
    assert_eq!(
        (known["via"].as_str(), known["provisional"].as_bool()),
        (Some("bastion"), Some(true))
    );
    run(&stage, &["ping", "bastion"]).ok();
    run(&stage, &["ping", &target, "--via-ssh", "bastion"]).ok();
    assert!(!ssh_runs(&stage));
    drop(sshd);
}

/// The pin protects the connection end to end, even from the jump host.
/// Proves `first-contact` in docs/faults.md.
#[test]
fn jump_host_cannot_replace_server() {
    let Some((stage, _sshd, server)) = joined() else {
        return;
    };
    let hostile =
        testkit::HostileServer::start(&stage.path("one"), &stage.path("one"), 1, |client| {
            client.greet()
        });
    let other = hostile.address.rsplit(':').next().unwrap();
    script(
        &stage,
        &wrapper_script(&stage)
            .replace("\"$@\"", "-W 127.0.0.1:HOSTILE bastion")
            .replace("HOSTILE", other),
    );
    run(&stage, &["--json", "ping", "bastion"]).fails(11, "server-changed");
    hostile.join();
    drop(server);
}

#[test]
fn ssh_failures_are_reported() {
    let Some((stage, sshd, mut server)) = joined() else {
        return;
    };
    // The server has been killed.
    server.kill();
    let failed = |words_of_ssh: &str| {
        let outcome = run(&stage, &["--json", "ping", "bastion"]);
        assert!(outcome.stderr.contains(words_of_ssh), "{outcome:?}");
        outcome.fails(10, "ssh");
    };
    failed("forwarding failed");
    // A key that sshd rejects.
    for name in ["key", "key.pub"] {
        std::fs::remove_file(stage.path("ssh").join(name)).unwrap();
    }
    generate_key(&stage.path("ssh/other"), "");
    std::fs::rename(stage.path("ssh/other"), stage.path("ssh/key")).unwrap();
    failed("Permission denied");
    // An unknown host key, and no terminal to ask at.
    std::fs::write(stage.path("ssh/known_hosts"), "").unwrap();
    failed("Host key verification failed");
    // ssh is not installed.
    let mut command = command(&stage, &["--json", "ping", "bastion"]);
    command.env("PATH", stage.path("ssh"));
    stage.run_command(command).fails(10, "ssh");
    // ssh exits without output, or is killed.
    script(&stage, "exit 0");
    run(&stage, &["--json", "ping", "bastion"]).fails(10, "ssh");
    script(&stage, "kill -9 $$");
    run(&stage, &["--json", "ping", "bastion"]).fails(10, "ssh");
    script(&stage, "echo something else; exec sleep 1000");
    run(&stage, &["--json", "ping", "bastion"]).fails(14, "tls");
    assert!(!ssh_runs(&stage));
    drop(sshd);
}

/// Proves `option-injection` in docs/faults.md.
#[test]
fn jump_host_like_an_option_is_refused() {
    let stage = stage();
    for way in [
        "-oProxyCommand=touch x",
        "-l@host",
        "a,-J",
        "host;id",
        "$(id)",
        "",
    ] {
        let outcome = stage.run(&["--json", "ping", "host", &format!("--via-ssh={way}")]);
        outcome.fails(2, "usage");
    }
    stage
        .run(&["--json", "join", "landline://x/", "--via-ssh=-x"])
        .fails(2, "usage");
}

/// ssh may ask at the terminal for as long as it takes. The time limit of the login begins
/// afterwards.
#[test]
fn ssh_asks_for_passphrase_at_terminal() {
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    generate_key(&stage.path("ssh/locked"), "a phrase");
    let keys = std::fs::read_to_string(stage.path("ssh/locked.pub")).unwrap();
    std::fs::write(stage.path("ssh/key.pub"), keys).unwrap();
    std::fs::rename(stage.path("ssh/locked"), stage.path("ssh/key")).unwrap();
    stage.write("user/f", b"content");
    let mut terminal = Terminal::start(&command(&stage, &["cp", "f", "bastion:f"]));
    terminal.wait_for("Enter passphrase for key");
    terminal.wait_for_hiding();
    terminal.type_line("a phrase");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
    assert_eq!(stage.read("home/f"), b"content");
    // After Ctrl-C the terminal echoes again and no ssh is left.
    let mut terminal = Terminal::start(&command(&stage, &["cp", "f", "bastion:f"]));
    terminal.wait_for("Enter passphrase for key");
    terminal.wait_for_hiding();
    terminal.type_line("\u{3}");
    assert_eq!(terminal.end(), Some(130), "{}", terminal.shown);
    wait_for_no_ssh(&stage);
}

/// ssh takes longer than the 10 s of a login.
#[test]
fn ssh_time_does_not_count_for_login() {
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    script(&stage, &format!("sleep 11\n{}", wrapper_script(&stage)));
    run(&stage, &["ping", "bastion"]).ok();
    run(&stage, &["hosts", "remove", "bastion"]).ok();
}
