//! Lines through a real sshd.

mod bootstrap;
mod copies;
pub(crate) mod sshd;
mod ways;

use serde_json::Value;
use sshd::{Sshd, command, generate, plain, run, script, ssh_runs, wait_for_no_ssh};
use testkit::{ServerProcess, Stage, Terminal};

use crate::stage;

/// A server that only the machine `bastion` can reach, with which `alice` has joined that way; its
/// name here is `bastion:PORT`.
fn joined() -> Option<(Stage, Sshd, ServerProcess)> {
    let stage = stage();
    let sshd = Sshd::start(&stage, "bastion", "")?;
    let server = stage.serve(&[]);
    let said = run(
        &stage,
        &[
            "join",
            &server.invite(),
            "--as",
            "alice",
            "--via-ssh",
            "bastion",
        ],
    )
    .ok();
    assert!(
        said.contains(&format!(
            "joined bastion:{} through ssh to bastion as alice",
            port(&server)
        )),
        "{said}"
    );
    Some((stage, sshd, server))
}

fn port(server: &ServerProcess) -> String {
    server.address.rsplit(':').next().unwrap().to_owned()
}

fn listed(stage: &Stage) -> Vec<Value> {
    let list = stage.run(&["trust", "list", "--json"]).ok();
    list.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What was joined through ssh is reached so by every command, without being told again.
#[test]
fn the_way_of_the_join_is_remembered() {
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
    let said = run(&stage, &["ping", "bastion"]).ok();
    assert!(said.contains("answers through ssh to bastion"), "{said}");
    assert!(said.contains("  ssh          "), "{said}");
    assert!(said.contains("until the first byte came back"), "{said}");
    assert!(said.contains("after ssh was started"), "{said}");
    assert!(!said.contains("resolve"), "{said}");
    stage.write("user/f", b"content");
    run(&stage, &["cp", "f", "bastion:f"]).ok();
    assert_eq!(stage.read("home/f"), b"content");
    run(&stage, &["cp", "bastion:f", "g"]).ok();
    assert_eq!(stage.read("user/g"), b"content");
    run(&stage, &["who", "bastion"]).ok();
    run(&stage, &["user", "--on", "bastion", "list"]).ok();
    assert_eq!(sshd.count(), 6, "each of them went through ssh");
    assert!(
        stage
            .run(&["trust", "list"])
            .ok()
            .contains("through ssh to bastion")
    );
    assert_eq!(listed(&stage)[0]["via"], "bastion");
    assert!(
        !ssh_runs(&stage),
        "nothing of it is left once the command has ended"
    );
}

/// The flag for once, in place of what is remembered; and a file of before, which says nothing of
/// it.
#[test]
fn another_way_for_once() {
    let Some((stage, sshd, server)) = joined() else {
        return;
    };
    let pins = stage.path("client/client/servers.json");
    let text = std::fs::read_to_string(&pins).unwrap();
    assert!(text.contains("\"via\": \"bastion\""), "{text}");
    // `bastion` is no name that can be resolved here.
    run(&stage, &["ping", "bastion", "--via-ssh", "none"]).fails(10, "cannot connect to bastion");
    let text = text.replace("\"host\": \"bastion\"", "\"host\": \"127.0.0.1\"");
    std::fs::write(&pins, &text).unwrap();
    assert!(
        run(&stage, &["ping", "127.0.0.1"])
            .ok()
            .contains("through ssh to bastion")
    );
    assert!(
        run(&stage, &["ping", "127.0.0.1", "--via-ssh", "none"])
            .ok()
            .contains("answers from 127.0.0.1")
    );
    std::fs::write(&pins, text.replace(",\n      \"via\": \"bastion\"", "")).unwrap();
    assert!(
        run(&stage, &["ping", "127.0.0.1"])
            .ok()
            .contains("answers from 127.0.0.1")
    );
    assert_eq!(listed(&stage)[0]["via"], Value::Null);
    // A way that cannot be understood is an error, never a direct line.
    std::fs::write(
        &pins,
        text.replace("\"via\": \"bastion\"", "\"via\": \"-oProxyCommand=x\""),
    )
    .unwrap();
    run(&stage, &["ping", "127.0.0.1"]).fails(31, "no host to go through");
    drop((sshd, server));
}

/// The server is asked who it is through ssh, too, and the way is remembered with the pin.
#[test]
fn an_unknown_server_is_met_through_ssh() {
    let Some((stage, sshd, server)) = joined() else {
        return;
    };
    run(&stage, &["trust", "forget", "bastion"]).ok();
    let target = format!("alice@localhost:{}", port(&server));
    run(&stage, &["ping", &target, "--via-ssh", "bastion"]).fails(11, "not known");
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
        "localhost there is not localhost here"
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

/// Whoever can change what ssh carries is found out: the pin holds from end to end.
/// Proves `first-contact` in docs/faults.md.
#[test]
fn ssh_is_trusted_with_nothing() {
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
        &plain(&stage)
            .replace("\"$@\"", "-W 127.0.0.1:HOSTILE bastion")
            .replace("HOSTILE", other),
    );
    run(&stage, &["ping", "bastion"]).fails(11, "is NOT the server it was");
    hostile.join();
    drop(server);
}

#[test]
fn what_ssh_cannot_do_is_said() {
    let Some((stage, sshd, mut server)) = joined() else {
        return;
    };
    // The server is gone.
    server.kill();
    let said = run(&stage, &["ping", "bastion"]).fails(
        10,
        "no line through ssh to bastion: ssh ended with status 255",
    );
    assert!(said.contains("landline serve"), "{said}");
    assert!(
        said.contains("forwarding failed"),
        "what ssh itself says: {said}"
    );
    // A key that is not let in.
    for name in ["key", "key.pub"] {
        std::fs::remove_file(stage.path("ssh").join(name)).unwrap();
    }
    generate(&stage.path("ssh/other"), "");
    std::fs::rename(stage.path("ssh/other"), stage.path("ssh/key")).unwrap();
    let said = run(&stage, &["ping", "bastion"]).fails(
        10,
        "no line through ssh to bastion: ssh ended with status 255",
    );
    assert!(said.contains("Permission denied"), "{said}");
    // A host key that is not known, and nobody who could be asked.
    std::fs::write(stage.path("ssh/known_hosts"), "").unwrap();
    run(&stage, &["ping", "bastion"]).fails(10, "Host key verification failed");
    // No ssh at all.
    let mut command = command(&stage, &["ping", "bastion"]);
    command.env("PATH", stage.path("ssh"));
    stage
        .run_command(command)
        .fails(10, "there is no program ssh on this machine");
    // One that ends well without having said a word, and one that dies.
    script(&stage, "exit 0");
    run(&stage, &["ping", "bastion"]).fails(10, "ssh ended with status 0");
    script(&stage, "kill -9 $$");
    run(&stage, &["ping", "bastion"]).fails(10, "ssh ended with signal: 9");
    script(&stage, "echo something else; exec sleep 1000");
    run(&stage, &["ping", "bastion"]).fails(14, "not TLS");
    assert!(!ssh_runs(&stage));
    drop(sshd);
}

/// Proves `option-injection` in docs/faults.md.
#[test]
fn a_way_that_could_be_an_option_is_refused() {
    let stage = stage();
    for way in [
        "-oProxyCommand=touch x",
        "-l@host",
        "a,-J",
        "host;id",
        "$(id)",
        "",
    ] {
        let outcome = stage.run(&["ping", "host", &format!("--via-ssh={way}")]);
        outcome.fails(2, "no host to go through");
    }
    stage
        .run(&["join", "landline://x/", "--via-ssh=-x"])
        .fails(2, "no host to go through");
}

/// ssh asks at the terminal, for as long as that takes: the time for a login begins behind it.
#[test]
fn ssh_asks_for_its_passphrase_at_the_terminal() {
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    generate(&stage.path("ssh/locked"), "a phrase");
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
    // Somebody who goes away instead leaves a terminal that shows what is typed, and no ssh.
    let mut terminal = Terminal::start(&command(&stage, &["cp", "f", "bastion:f"]));
    terminal.wait_for("Enter passphrase for key");
    terminal.wait_for_hiding();
    terminal.type_line("\u{3}");
    assert_eq!(terminal.end(), Some(130), "{}", terminal.shown);
    wait_for_no_ssh(&stage);
}

/// More than the 10 s that a login may take.
#[test]
fn what_ssh_takes_is_no_part_of_the_login() {
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    script(&stage, &format!("sleep 11\n{}", plain(&stage)));
    run(&stage, &["ping", "bastion"]).ok();
    run(&stage, &["trust", "forget", "bastion"]).ok();
}
