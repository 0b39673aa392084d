//! Names of machines, and the addresses and ports of servers.

use std::fs;

use serde_json::{Value, json};
use testkit::{ServerProcess, Stage};

use crate::stage;

/// A server that alice has joined under the name `NAS`.
fn named(stage: &Stage) -> ServerProcess {
    let server = stage.serve(&[]);
    join(stage, &server, &["--name", "NAS"]).ok();
    server
}

fn join(stage: &Stage, server: &ServerProcess, options: &[&str]) -> testkit::Outcome {
    let invite = server.invite();
    stage.run(&[&["--json", "join", &invite, "--as", "alice"], options].concat())
}

fn listed(stage: &Stage) -> Vec<Value> {
    let list = stage.run(&["hosts", "--json"]).ok();
    list.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(stage: &Stage) -> Vec<Value> {
    let listed = listed(stage);
    listed.iter().map(|host| host["name"].clone()).collect()
}

#[test]
fn name_stands_for_server_in_every_command() {
    let stage = stage();
    let server = stage.serve(&[]);
    let joined = join(&stage, &server, &["--name", "NAS"]).json();
    assert_eq!(joined["name"], "NAS");
    assert_eq!(joined["address"], server.address);
    for command in [
        "ping nas",
        "ping alice@Nas",
        "who nas",
        "user --on nas list",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        stage.run(&words).ok();
    }
    stage
        .run(&["--json", "kick", "nas", "nobody"])
        .fails(20, "not-found");
    stage.write("user/f", b"x");
    stage.run(&["cp", "f", "nas:"]).ok();
    assert_eq!(stage.read("home/f"), b"x");
    stage.run(&["cp", "alice@nas:f", "g"]).ok();
    assert_eq!(stage.read("user/g"), b"x");
    stage
        .run(&["trust", "replace", "nas", &server.fingerprint])
        .ok();
}

#[test]
fn malformed_name_is_refused_before_the_invite_is_used() {
    let stage = stage();
    let server = stage.serve(&[]);
    for name in ["", "-nas", ".nas", "nas:1", "a/b", "bob@nas", "a b"] {
        join(&stage, &server, &[&format!("--name={name}")]).fails(2, "usage");
    }
    join(&stage, &server, &["--name", "9.nas_-"]).ok();
}

#[test]
fn name_of_another_machine_is_refused_before_the_invite_is_used() {
    let (stage, other_stage) = (stage(), stage());
    let _nas = named(&stage);
    let other = other_stage.serve(&[]);
    join(&stage, &other, &["--name", "nas"]).fails(22, "name-taken");
    // Until now this host name means the first machine.
    join(&stage, &other, &["--name", "127.0.0.1"]).fails(22, "name-taken");
    assert_eq!(names(&stage), ["NAS"]);
    join(&stage, &other, &["--name", "web"]).ok();
    stage
        .run(&["--json", "hosts", "rename", "web", "nAs"])
        .fails(22, "name-taken");
    assert_eq!(names(&stage), ["NAS", "web"]);
}

#[test]
fn rejoined_machine_keeps_its_name() {
    let stage = stage();
    let mut server = named(&stage);
    let address = server.address.clone();
    server.kill();
    fs::remove_dir_all(stage.path("server/server")).unwrap();
    let server = stage.serve_at(&address, &[]);
    join(&stage, &server, &["--replace"]).ok();
    assert_eq!(names(&stage), ["NAS"]);
    assert_eq!(listed(&stage)[0]["fingerprint"], server.fingerprint);
}

#[test]
fn name_comes_before_ssh_alias() {
    let stage = stage();
    let _server = named(&stage);
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    let config = "Host nas\n  HostName nowhere.invalid\n  ProxyJump nowhere.invalid\n\
                  Host web\n  HostName 127.0.0.1\n";
    stage.write("user/.ssh/config", config.as_bytes());
    stage.run(&["ping", "nas"]).ok();
    stage.run(&["ping", "web"]).ok();
    stage.run(&["hosts", "remove", "web"]).ok();
    assert_eq!(listed(&stage), Vec::<Value>::new());
}

#[test]
fn default_port_does_not_change_what_a_host_means() {
    let stage = stage();
    let _server = stage.joined();
    stage.run(&["ping", "127.0.0.1"]).ok();
    let pins = "client/client/servers.json";
    let mut file: Value = serde_json::from_slice(&stage.read(pins)).unwrap();
    let servers = file["servers"].as_array_mut().unwrap();
    let mut default = servers[0].clone();
    default["port"] = json!(5263);
    servers.push(default);
    fs::write(stage.path(pins), file.to_string()).unwrap();
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(2, "ambiguous-server");
}

#[test]
fn damaged_name_in_the_pin_file_is_an_error() {
    let stage = stage();
    let _server = named(&stage);
    let pins = "client/client/servers.json";
    let good = String::from_utf8(stage.read(pins)).unwrap();
    for bad in ["\"a b\"", "\"\"", "7"] {
        let content = good.replace("\"NAS\"", bad);
        assert_ne!(content, good);
        stage.write(pins, content.as_bytes());
        for command in [&["ping", "nas"][..], &["hosts"]] {
            stage
                .run(&[&["--json"], command].concat())
                .fails(31, "state");
        }
        assert_eq!(stage.read(pins), content.as_bytes());
    }
}
