//! Names of machines, and addresses and ports of servers.

use std::{collections::BTreeSet, fs, net::TcpListener};

use serde_json::{Value, json};
use testkit::{ServerProcess, Stage, Terminal};

use crate::{shared_secret, stage};

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

fn port(server: &ServerProcess) -> &str {
    server.address.rsplit(':').next().unwrap()
}

/// The keys of a row of a table in docs/scripting.md.
fn documented_keys(command: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scripting.md");
    let text = fs::read_to_string(path).unwrap();
    let begin = format!("| `{command}` | ");
    let row = text.lines().find_map(|line| line.strip_prefix(&begin));
    let row = row.unwrap_or_else(|| panic!("no row of {command}"));
    let words = row.split('`').skip(1).step_by(2);
    let is_key = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    words.filter(is_key).map(str::to_owned).collect()
}

#[test]
fn join_prints_the_documented_keys() {
    let stage = stage();
    let server = stage.serve(&[]);
    let joined = join(&stage, &server, &[]).json();
    let printed = joined.as_object().unwrap().keys().cloned();
    assert_eq!(printed.collect::<BTreeSet<_>>(), documented_keys("join"));
}

#[test]
fn every_command_accepts_machine_name() {
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
        .run(&["--json", "kick", "nas", "ghost"])
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
fn join_by_secret_saves_name() {
    let stage = stage();
    let server = stage.joined();
    shared_secret::secret(&stage, &server, "user/ci.secret", "exporter");
    fs::remove_dir_all(stage.path("client/client")).unwrap();
    stage
        .run(&["join", "--secret-file", "ci.secret", "--name", "nas"])
        .ok();
    assert_eq!(names(&stage), ["nas"]);
    stage.run(&["ping", "nas"]).ok();
}

#[test]
fn malformed_name_does_not_use_invite() {
    let stage = stage();
    let server = stage.serve(&[]);
    for name in ["", "-nas", ".nas", "nas:1", "a/b", "bob@nas", "a b"] {
        join(&stage, &server, &[&format!("--name={name}")]).fails(2, "usage");
    }
    join(&stage, &server, &["--name", "9.nas_-"]).ok();
}

#[test]
fn taken_name_does_not_use_invite() {
    let (stage, other_stage) = (stage(), stage());
    let _nas = named(&stage);
    let other = other_stage.serve(&[]);
    join(&stage, &other, &["--name", "nas"]).fails(22, "name-taken");
    // So far this host name means the first machine.
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
fn hosts_are_listed_renamed_and_removed() {
    let stage = stage();
    let server = named(&stage);
    let localhost = format!("localhost:{}", port(&server));
    let list = stage.run(&["hosts"]).ok();
    let [_, row] = list.lines().collect::<Vec<_>>()[..] else {
        panic!("{list}")
    };
    let cells: Vec<&str> = row.split_whitespace().collect();
    let key = stage.path("client/client/id_ed25519").display().to_string();
    assert_eq!(
        cells,
        [
            "NAS",
            &server.address,
            "alice",
            "key",
            &key,
            "default",
            "confirmed",
            &server.fingerprint
        ]
    );
    assert_eq!(
        listed(&stage),
        [json!({
            "name": "NAS", "address": server.address, "user": "alice",
            "fingerprint": server.fingerprint, "provisional": false, "key": key,
            "agent_key": null, "secret": null, "password": false, "via": null,
        })]
    );

    stage.run(&["hosts", "rename", "nas", "nas2"]).ok();
    stage.run(&["ping", "nas2"]).ok();
    stage
        .run(&["--json", "hosts", "rename", "nas", "x"])
        .fails(11, "unknown-server");
    // A change of case is a rename too, and an address can be given instead of a name.
    let renamed = ["--json", "hosts", "rename", &server.address, "NAS2"];
    assert_eq!(stage.run(&renamed).json()["name"], "NAS2");

    stage.run(&["ping", "--accept-new", &localhost]).ok();
    stage.run(&["hosts", "rename", &localhost, "here"]).ok();
    stage.run(&["hosts", "remove", "here"]).ok();
    assert_eq!(names(&stage), ["NAS2"]);
    // Addresses of the machine that have no name are removed with it.
    stage.run(&["ping", "--accept-new", &localhost]).ok();
    assert_eq!(names(&stage), [json!("NAS2"), Value::Null]);
    stage.run(&["hosts", "remove", "nas2"]).ok();
    assert_eq!(listed(&stage), Vec::<Value>::new());
    stage
        .run(&["--json", "hosts", "remove", "nas2"])
        .fails(11, "unknown-server");
}

#[test]
fn name_moves_between_addresses_of_a_machine() {
    let stage = stage();
    let server = named(&stage);
    let localhost = format!("localhost:{}", port(&server));
    stage.run(&["ping", "--accept-new", &localhost]).ok();
    stage.run(&["hosts", "rename", &localhost, "nas"]).ok();
    let listed = listed(&stage);
    let [old, new] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (&old["name"], &new["name"]),
        (&Value::Null, &json!("nas")),
        "{listed:?}"
    );
    assert_eq!(new["address"], localhost);
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
fn host_with_several_servers_is_ambiguous() {
    let (stage, other_stage) = (stage(), stage());
    let nas = named(&stage);
    let other = other_stage.serve(&[]);
    join(&stage, &other, &[]).ok();
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(2, "ambiguous-server");
    stage.write("user/f", b"x");
    let outcome = stage.run(&["cp", "f", "127.0.0.1:"]);
    let choices = format!("NAS ({}), {}", nas.address, other.address);
    assert!(outcome.stderr.contains(&choices), "{outcome:?}");
    assert!(outcome.stderr.contains("-P PORT"), "{outcome:?}");
    let port = port(&other);
    stage.run(&["cp", "-P", port, "f", "127.0.0.1:"]).ok();
    assert_eq!(other_stage.read("home/f"), b"x");
    // The error advises this for commands without `-P`.
    let rename = ["hosts", "rename", "127.0.0.1", "x"];
    let outcome = stage.run(&rename);
    assert!(outcome.stderr.contains("HOST:PORT"), "{outcome:?}");
    assert!(!outcome.stderr.contains("-P"), "{outcome:?}");
    // The port can be given with the name of a machine.
    let pong = stage.run(&["--json", "ping", "-P", port, "nas"]).json();
    assert_eq!(pong["fingerprint"], other.fingerprint);
}

#[test]
fn default_port_does_not_change_the_host() {
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
fn remote_path_like_known_port_is_refused() {
    let stage = stage();
    let server = named(&stage);
    let port = port(&server);
    stage.write("user/f", b"x");
    for host in ["127.0.0.1", "nas", "alice@nas", "localhost"] {
        let path = format!("{host}:{port}");
        stage.run(&["--json", "cp", "f", &path]).fails(2, "usage");
        stage.run(&["--json", "cp", &path, "."]).fails(2, "usage");
    }
    assert!(!stage.path(&format!("home/{port}")).exists());
    // The error advises this.
    stage.run(&["cp", "-P", port, "f", "127.0.0.1:"]).ok();
    assert_eq!(stage.read("home/f"), b"x");
    stage.run(&["cp", "f", &format!("nas:./{port}")]).ok();
    assert_eq!(stage.read(&format!("home/{port}")), b"x");
    let url = format!("landline://nas/{port}");
    stage.run(&["cp", &url, "g"]).ok();
    assert_eq!(stage.read("user/g"), b"x");
}

#[test]
fn port_option_is_checked() {
    let stage = stage();
    let server = stage.joined();
    for port in ["0", "65536", "x"] {
        stage
            .run(&["--json", "ping", "-P", port, "127.0.0.1"])
            .fails(2, "usage");
    }
    stage
        .run(&["--json", "ping", "-P", "1", &server.address])
        .fails(2, "usage");
    stage
        .run(&["ping", "-P", port(&server), &server.address])
        .ok();
    stage
        .run(&["who", "--port", port(&server), "127.0.0.1"])
        .ok();
    stage
        .run(&["user", "--on", "127.0.0.1", "-P", port(&server), "list"])
        .ok();
}

/// The path that `cp` prints after the digest.
fn printed_path(stdout: &str) -> &str {
    stdout.trim_end().split_once("  ").unwrap().1
}

#[test]
fn printed_addresses_can_be_pasted_back() {
    let stage = stage();
    let server = named(&stage);
    stage.write("user/f", b"x");
    for (options, destination) in [
        (&[][..], "nas:".to_owned()),
        (&[], "alice@127.0.0.1:".to_owned()),
        (&["-P", port(&server)], "127.0.0.1:f".to_owned()),
        (&[], format!("landline://alice@{}/f", server.address)),
    ] {
        let copied = stage
            .run(&[&["cp"], options, &["f", &destination]].concat())
            .ok();
        stage.run(&["cp", printed_path(&copied), "g"]).ok();
        assert_eq!(stage.read("user/g"), b"x", "{copied}");
        fs::remove_file(stage.path("user/g")).unwrap();
    }
    for host in listed(&stage) {
        stage.run(&["ping", host["address"].as_str().unwrap()]).ok();
    }
}

#[test]
fn printed_ipv6_address_can_be_pasted_back() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("no IPv6 on this machine");
        return;
    }
    let stage = stage();
    let server = stage.serve_at("[::1]:0", &[]);
    join(&stage, &server, &[]).ok();
    assert!(server.address.starts_with("[::1]:"), "{}", server.address);
    stage.write("user/f", b"x");
    let copied = stage.run(&["cp", "f", "[::1]:"]).ok();
    assert!(printed_path(&copied).starts_with("[::1]:/"), "{copied}");
    stage.run(&["cp", printed_path(&copied), "g"]).ok();
    let address = listed(&stage)[0]["address"].as_str().unwrap().to_owned();
    stage.run(&["ping", &address]).ok();
}

#[test]
fn json_shows_paths_as_typed() {
    let stage = stage();
    let server = named(&stage);
    stage.write("user/f", b"x");
    let paths = [
        ("./f", "alice@NAS:f"),
        ("f", &format!("landline://{}/f", server.address)),
        ("landline://nas/f", "./g"),
    ];
    for (source, destination) in paths {
        let events = stage.run(&["--json", "cp", source, destination]).ok();
        let start: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
        assert_eq!(start["event"], "start");
        assert_eq!(start["source"], source);
        assert_eq!(start["destination"], destination);
    }
}

#[test]
fn moved_machine_is_named_without_terminal() {
    let stage = stage();
    let server = named(&stage);
    let localhost = format!("localhost:{}", port(&server));
    let message = stage
        .run(&["--json", "ping", &localhost])
        .fails(11, "unknown-server");
    assert!(message.contains("NAS"), "{message}");
    let outcome = stage.run(&["ping", &localhost]);
    assert!(
        outcome.stderr.contains("use NAS, or add") && outcome.stderr.contains("--accept-new"),
        "{outcome:?}"
    );
    assert_eq!(names(&stage), ["NAS"], "the address was not saved");

    stage.run(&["ping", "--accept-new", &localhost]).ok();
    let listed = listed(&stage);
    let [known, added] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(added["address"], localhost);
    assert_eq!(added["name"], Value::Null);
    for same in ["fingerprint", "user", "key", "provisional"] {
        assert_eq!(added[same], known[same], "{same}");
    }
    stage.run(&["ping", "localhost"]).ok();
}

#[test]
fn moved_machine_is_offered_at_terminal() {
    let stage = stage();
    let server = named(&stage);
    let localhost = format!("localhost:{}", port(&server));
    for (answer, status, count) in [("no", 11, 1), ("yes", 0, 2)] {
        let mut terminal = Terminal::start(&stage.command(&["--json", "ping", &localhost]));
        terminal.wait_for("Answer yes or no: ");
        let machine = format!("NAS ({})", server.address);
        assert!(terminal.shown.contains(&machine), "{}", terminal.shown);
        assert!(
            terminal.shown.contains(&server.fingerprint),
            "{}",
            terminal.shown
        );
        assert_eq!(
            listed(&stage).len(),
            1,
            "the address was saved before the answer"
        );
        terminal.type_line(answer);
        assert_eq!(terminal.end(), Some(status), "{}", terminal.shown);
        let refused = terminal.shown.contains(r#""code":"not-trusted""#);
        assert_eq!(refused, answer == "no", "{}", terminal.shown);
        assert_eq!(listed(&stage).len(), count);
    }
    assert_eq!(listed(&stage)[1]["provisional"], false);
}

/// A machine's name does not make another server at its address trusted.
#[test]
fn known_name_does_not_trust_another_server() {
    let (stage, other_stage) = (stage(), stage());
    let _nas = named(&stage);
    let other = other_stage.serve(&[]);
    let message = stage
        .run(&["--json", "ping", "-P", port(&other), "nas"])
        .fails(11, "unknown-server");
    assert!(!message.contains("NAS"), "{message}");
}

#[test]
fn damaged_name_in_pin_file_is_an_error() {
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
