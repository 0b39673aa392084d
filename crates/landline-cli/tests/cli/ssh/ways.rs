//! Which jump hosts the client uses: the saved ones, those of ssh_config, or several.

use std::fs;

use super::{
    joined, listed, port, route,
    sshd::{Sshd, run, ssh_runs, wait_for_no_ssh},
};
use crate::stage;

/// `ProxyJump` in ~/.ssh/config applies as for ssh, and is read for each connection. `--via-ssh`
/// precedes it.
#[test]
fn proxy_jump_is_read_from_ssh_config() {
    let stage = stage();
    let Some(sshd) = Sshd::start(&stage, "bastion", "") else {
        return;
    };
    let server = stage.serve(&[]);
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    let config = |text: &str| stage.write("user/.ssh/config", text.as_bytes());
    config("Host 127.0.0.* !127.0.0.9\n  ProxyJump bastion\n");
    run(&stage, &["join", &server.invite(), "--as", "alice"]).ok();
    assert_eq!(sshd.count(), 1);
    assert_eq!(listed(&stage)[0]["address"], server.address);
    assert_eq!(
        listed(&stage)[0]["via"],
        serde_json::Value::Null,
        "ssh_config was read again"
    );
    assert_eq!(route(&stage, &["127.0.0.1"])["via"], "bastion");
    assert_eq!(
        route(&stage, &["127.0.0.1", "--via-ssh", "none"])["address"],
        server.address
    );
    config("Host 127.0.0.1\n  ProxyJump none\nHost *\n  ProxyJump bastion\n");
    assert_eq!(route(&stage, &["127.0.0.1"])["address"], server.address);
    config("Match host 127.0.0.1 user alice\n  ProxyJump nowhere.invalid\n");
    run(&stage, &["--json", "ping", "alice@127.0.0.1"]).fails(10, "ssh");
    run(
        &stage,
        &["--json", "ping", "alice@127.0.0.1", "--via-ssh", "bastion"],
    )
    .fails(11, "unknown-server");
    // A name that only ssh_config knows, of a server that is not yet known.
    config("Host web\n  HostName 127.0.0.1\n  User alice\n  ProxyJump bastion\n");
    run(&stage, &["hosts", "remove", &server.address]).ok();
    run(
        &stage,
        &["ping", &format!("web:{}", port(&server)), "--accept-new"],
    )
    .ok();
    assert_eq!(listed(&stage)[0]["address"], server.address);
    assert_eq!(route(&stage, &["web"])["via"], "bastion");
    // landline runs no ProxyCommand, and does not silently connect in another way.
    config("ProxyCommand nc %h %p\n");
    run(&stage, &["hosts", "remove", &server.address]).ok();
    let alice = format!("alice@{}", server.address);
    let ping = ["--json", "ping", alice.as_str(), "--accept-new"];
    run(&stage, &ping).fails(1, "ssh-config");
    run(&stage, &[&ping[..], &["--via-ssh", "none"]].concat()).ok();
    config("ProxyJump -oProxyCommand=x\n");
    run(&stage, &["--json", "ping", "web"]).fails(1, "ssh-config");
    assert!(!ssh_runs(&stage));
}

/// The jump host of a join precedes ssh_config.
#[test]
fn saved_jump_host_precedes_ssh_config() {
    let Some((stage, sshd, _server)) = joined() else {
        return;
    };
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    stage.write("user/.ssh/config", b"ProxyJump nowhere.invalid\n");
    run(&stage, &["ping", "bastion"]).ok();
    assert_eq!(sshd.count(), 2);
    let pins = stage.path("client/client/servers.json");
    let text = fs::read_to_string(&pins).unwrap();
    fs::write(
        &pins,
        text.replace("\"via\": \"bastion\"", "\"via\": \"none\""),
    )
    .unwrap();
    run(&stage, &["--json", "ping", "bastion"]).fails(10, "connect");
}

/// A `LocalCommand` of ssh prints nothing into the connection.
///
/// Proves `ssh-noise` in docs/faults.md.
#[test]
fn local_command_of_ssh_does_not_run() {
    let Some((stage, _sshd, _server)) = joined() else {
        return;
    };
    let rest = stage.path("ssh/rest");
    let mut text = fs::read_to_string(&rest).unwrap();
    text += "PermitLocalCommand yes\nLocalCommand echo connecting\n";
    fs::write(&rest, text).unwrap();
    run(&stage, &["ping", "bastion"]).ok();
}

/// Only the first jump host can reach the second one.
#[test]
fn two_jump_hosts_are_used_in_order() {
    let stage = stage();
    let Some(outer) = Sshd::start(&stage, "outer", "") else {
        return;
    };
    let Some(inner) = Sshd::start(&stage, "inner", "AllowTcpForwarding local") else {
        return;
    };
    let server = stage.serve(&[]);
    run(
        &stage,
        &[
            "join",
            &server.invite(),
            "--as",
            "alice",
            "--via-ssh",
            "outer,inner",
        ],
    )
    .ok();
    assert_eq!((outer.count(), inner.count()), (1, 1));
    let name = format!("inner:{}", port(&server));
    assert_eq!(
        (&listed(&stage)[0]["address"], &listed(&stage)[0]["via"]),
        (&name.into(), &"outer,inner".into())
    );
    assert_eq!(route(&stage, &["inner"])["via"], "outer,inner");
    assert_eq!((outer.count(), inner.count()), (2, 2));
    // ssh starts another ssh for the first host. That one ends too.
    wait_for_no_ssh(&stage);
    assert!(
        inner.log().is_empty() || !inner.log().contains("fatal"),
        "{}",
        inner.log()
    );
}
