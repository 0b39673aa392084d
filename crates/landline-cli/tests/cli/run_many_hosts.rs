//! `landline run -H`: one command on several servers.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{Outcome, ServerProcess, Stage, wait_for};

use crate::stage;

/// Servers with the names `web1`, `web2` and so on, which alice has joined.
pub(crate) fn servers(stage: &Stage, count: usize) -> Vec<ServerProcess> {
    (1..=count)
        .map(|n| joined(stage, &format!("web{n}"), &format!("127.0.0.{n}:0")))
        .collect()
}

/// A server with this name. Its home is a folder of the same name.
fn joined(stage: &Stage, name: &str, address: &str) -> ServerProcess {
    let mut command = stage.serve_command(address);
    let home = stage.path(name);
    fs::create_dir(&home).unwrap();
    command
        .env("LANDLINE_STATE", stage.path(&format!("{name}-state")))
        .env("HOME", home);
    let server = stage.serve_with(command);
    let join = ["join", "-", "--as", "alice", "--name", name];
    stage.run_with_input(&join, server.invite().as_bytes()).ok();
    server
}

/// A known host at which nothing listens.
pub(crate) fn dead(stage: &Stage) {
    joined(stage, "dead", "127.0.0.8:0").kill();
}

/// A known host that accepts connections and never answers.
pub(crate) fn black_hole(stage: &Stage) -> TcpListener {
    let mut server = joined(stage, "hole", "127.0.0.9:0");
    let address = server.address.clone();
    server.kill();
    server.wait();
    TcpListener::bind(address).unwrap()
}

fn run(stage: &Stage, options: &[&str], argv: &[&str]) -> Outcome {
    stage.run(&[&["run"], options, &["--"], argv].concat())
}

/// The lines of each host without their prefix.
fn by_host(output: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.to_vec()).unwrap().lines() {
        let (host, line) = line.split_once(": ").unwrap();
        hosts
            .entry(host.to_owned())
            .or_default()
            .push(line.to_owned());
    }
    hosts
}

/// Proves `torn-line` in docs/faults.md.
#[test]
fn long_lines_of_many_hosts_are_whole() {
    let stage = stage();
    let _servers = servers(&stage, 5);
    let _hole = black_hole(&stage);
    let script = "
import os, time
for n in range(25):
    line = (b'%d:' % n).ljust(300_000, b'x') + b'\\n' * (n < 24)
    for at in range(0, len(line), 1000):
        os.write(1, line[at:at + 1000])
    time.sleep(0.001)
os.write(2, b'done')
";
    let options = ["-H", "web[1-5],hole", "-j", "20", "--timeout", "60s"];
    let outcome = run(&stage, &options, &["python3", "-c", script]);
    assert_eq!(outcome.status, Some(255), "{}", outcome.stderr);
    assert!(outcome.stdout.ends_with(b"x\n"));
    let hosts = by_host(&outcome.stdout);
    assert_eq!(hosts.len(), 5);
    for (host, lines) in &hosts {
        assert_eq!(lines.len(), 25, "{host}");
        for (n, line) in lines.iter().enumerate() {
            assert!(line.starts_with(&format!("{n}:x")), "{host} {n}");
            assert!(line.len() == 300_000 && line.ends_with('x'), "{host} {n}");
        }
    }
    let errors = by_host(outcome.stderr.as_bytes());
    for n in 1..=5 {
        assert_eq!(errors[&format!("web{n}")], ["done"]);
    }
    assert_eq!(errors["hole"].len(), 1);
}

/// A dead host and one that never answers do not delay the output of the others.
#[test]
fn host_that_is_not_reached_holds_up_none() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    dead(&stage);
    let _hole = black_hole(&stage);
    let hosts = "dead,hole,web[1-2]";
    let options = ["--json", "run", "-H", hosts, "--timeout", "30s", "--"];
    let outcome = stage.run(&[&options[..], &["sh", "-c", "echo $$; exit 3"]].concat());
    assert_eq!(outcome.status, Some(255));
    let events: Vec<Value> = String::from_utf8(outcome.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |host: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["host"] == host)
            .collect()
    };
    for host in ["web1", "web2"] {
        let [output, exit] = of(host)[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (&output["event"], &output["stream"]),
            (&"output".into(), &"stdout".into())
        );
        assert_eq!(
            (&exit["event"], exit["status"].as_i64()),
            (&"exit".into(), Some(3))
        );
        assert!(exit["job"].is_string());
    }
    for host in ["dead", "hole"] {
        let [failed] = of(host)[..] else {
            panic!("{events:?}")
        };
        let code = match host {
            "dead" => "connect",
            _ => "login-timeout",
        };
        assert_eq!(
            (&failed["event"], &failed["code"], failed["status"].as_i64()),
            (&"failed".into(), &code.into(), Some(255))
        );
    }
    assert_eq!(events.last().unwrap()["host"], "hole");
}

#[test]
fn status_is_the_highest() {
    let stage = stage();
    let _servers = servers(&stage, 3);
    let status = |argv: &[&str]| {
        let outcome = run(&stage, &["-q", "-H", "web[1-3]"], argv);
        assert_eq!(outcome.stdout, b"", "{}", outcome.stderr);
        (outcome.status, outcome.stderr.lines().count())
    };
    let own = "n=${HOME##*web}; exit $((n * 2 - 2))";
    assert_eq!(status(&["sh", "-c", own]), (Some(4), 0));
    assert_eq!(status(&["true"]), (Some(0), 0));
    assert_eq!(status(&["no-such-program"]), (Some(127), 3));
    let summary = run(&stage, &["-H", "web[1-3]"], &["sh", "-c", own]);
    assert_eq!(
        summary.stderr,
        "landline: 3 hosts: 1 ok; status 2: web2; status 4: web3\n"
    );
}

#[test]
fn files_have_the_exact_bytes() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    let script = r"printf 'A\000\377\r\nB'; printf C >&2";
    let options = ["-q", "-H", "web[1-2]", "--output-dir", "new/outputs"];
    let outcome = run(&stage, &options, &["sh", "-c", script]);
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.stderr.as_str()),
        (&b""[..], "")
    );
    for host in ["web1", "web2"] {
        let file = |ending: &str| stage.read(&format!("user/new/outputs/{host}.{ending}"));
        assert_eq!(file("out"), b"A\0\xff\r\nB");
        assert_eq!(file("err"), b"C");
    }
}

/// Names come from options, groups and a file, and each host runs once.
#[test]
fn host_of_several_sets_runs_once() {
    let stage = stage();
    let _servers = servers(&stage, 3);
    let folder = stage.path("user/.config/landline");
    fs::create_dir_all(&folder).unwrap();
    let settings = "[groups]\nweb = [\"web[1-2]\"]\nall = [\"@web\", \"web3\"]\n";
    fs::write(folder.join("client.toml"), settings).unwrap();
    stage.write("user/list", b"# all\n@all\n\n  web2 # again\n");
    for options in [
        &["-H", "@all"][..],
        &["-H", "web1,@all", "-H", "web[1-3]"],
        &["--hosts-file", "list", "-H", "web1"],
    ] {
        let outcome = run(&stage, options, &["sh", "-c", "echo run >> runs; echo ok"]);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert_eq!(by_host(&outcome.stdout).len(), 3);
        for host in ["web1", "web2", "web3"] {
            let runs = stage.path(host).join("runs");
            assert_eq!(fs::read(&runs).unwrap(), b"run\n", "{options:?}");
            fs::remove_file(runs).unwrap();
        }
    }
    for wrong in [
        &["-H", "@none"][..],
        &["-H", "web[3-1]"],
        &["-H", "web[1-10001]"],
        &["--hosts-file", "absent"],
    ] {
        let outcome = run(&stage, wrong, &["true"]);
        assert!(matches!(outcome.status, Some(2 | 20)), "{wrong:?}");
    }
}

/// A loop that reads its hosts or words from standard input keeps it.
#[test]
fn input_of_a_loop_is_left_alone() {
    let stage = stage();
    let _servers = servers(&stage, 2);
    let script = "while read word; do \"$0\" run -q -H 'web[1-2]' -- echo \"$word\"; done";
    let run = stage.command::<&str>(&[]);
    let binary = env!("CARGO_BIN_EXE_landline");
    let mut command = Command::new("sh");
    command
        .args(["-c", script, binary])
        .env_clear()
        .envs(
            run.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::from(
            fs::File::open(stage.write("words", b"one\ntwo\nthree\n")).unwrap(),
        ))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let outcome = stage.run_command(command);
    let hosts = by_host(&outcome.stdout);
    assert_eq!(hosts["web1"], ["one", "two", "three"], "{}", outcome.stderr);
    assert_eq!(hosts["web2"], ["one", "two", "three"]);
    stage.write("user/input", b"copied");
    let options = [
        "run", "-q", "-H", "web[1-2]", "--stdin", "input", "--", "cat",
    ];
    let outcome = stage.run_with_input(&options, b"not sent");
    let hosts = by_host(&outcome.stdout);
    assert_eq!(
        (&hosts["web1"][..], &hosts["web2"][..]),
        (&["copied".to_owned()][..], &["copied".to_owned()][..])
    );
}

/// A login that would ask fails, and the others run.
#[test]
fn login_that_would_ask_fails() {
    let stage = stage();
    let _servers = servers(&stage, 1);
    let stranger = stage.serve_at("127.0.0.7:0", &[]);
    let hosts = format!("web1,{}", stranger.address);
    let outcome = run(&stage, &["-H", &hosts], &["echo", "ok"]);
    assert_eq!(outcome.status, Some(255));
    assert_eq!(outcome.stdout, b"web1: ok\n");
    assert!(
        outcome
            .stderr
            .starts_with(&format!("{}: ", stranger.address))
    );
}

#[test]
fn options_for_one_host_are_refused() {
    let stage = stage();
    for words in [
        &["-H", "web1", "--pty", "--", "true"][..],
        &["-H", "web1", "-t", "true"],
        &["-H", "web1", "-G", "true"],
        &["-H", "web1", "-s", "sftp"],
        &["-H", "web1", "--stdin", "-", "cat"],
        &["-H", "web1", "--password-fd", "0", "true"],
        &["-H", "web1"],
        &["-H", "web1", "nas", "--", "true"],
        &["-j", "3", "nas", "true"],
        &["--output-dir", "x", "nas", "true"],
    ] {
        stage
            .run(&[&["--json", "run"], words].concat())
            .fails(2, "usage");
    }
}

/// A server is killed and started again, and another does not come back. Each line arrives once.
#[test]
fn commands_continue_after_lost_connections() {
    let stage = stage();
    let mut servers = servers(&stage, 3);
    let script = "seq 10; until test -e killed; do sleep 0.1; done; seq 11 20; exit 4";
    let options = [
        "run",
        "--on-lost",
        "end:60s",
        "-H",
        "web[1-3]",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut child = stage.command(&options).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut output = Vec::new();
    while by_host(&output).len() < 3 {
        stdout.read_until(b'\n', &mut output).unwrap();
    }
    let address = servers[1].address.clone();
    servers[1].kill();
    servers[2].kill();
    for host in ["web1", "web2", "web3"] {
        stage.write(&format!("{host}/killed"), b"");
    }
    let mut command = stage.serve_command(&address);
    command
        .env("LANDLINE_STATE", stage.path("web2-state"))
        .env("HOME", stage.path("web2"));
    let _again = stage.serve_with(command);
    stdout.read_to_end(&mut output).unwrap();
    let outcome = Outcome::of(child);
    let lines = by_host(&output);
    let all: Vec<String> = (1..=20).map(|i| i.to_string()).collect();
    assert_eq!(
        (&lines["web1"], &lines["web2"]),
        (&all, &all),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.status, Some(255));
    let both = ["status 4: web1, web2;", "status 4: web2, web1;"];
    assert!(
        both.iter().any(|text| outcome.stderr.contains(text)),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("failed: web3"),
        "{}",
        outcome.stderr
    );
    stage
        .run(&[
            "--json",
            "run",
            "--on-lost",
            "keep",
            "-H",
            "web1",
            "--",
            "true",
        ])
        .fails(2, "usage");
}

#[test]
fn signal_ends_the_command_at_all_hosts() {
    let stage = stage();
    let _servers = servers(&stage, 3);
    let _hole = black_hole(&stage);
    let script = "echo $$ > pid; exec sleep 1000";
    let mut child = stage
        .command(&["run", "-H", "web[1-3],hole", "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    let pids = ["web1", "web2", "web3"].map(|host| stage.path(host).join("pid"));
    wait_for("three programs", || {
        pids.iter()
            .all(|pid| fs::read(pid).is_ok_and(|text| text.ends_with(b"\n")))
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for pid in pids {
        let pid = fs::read_to_string(pid).unwrap();
        let folder = std::path::Path::new("/proc").join(pid.trim());
        wait_for("the program's end", || {
            match fs::read_to_string(folder.join("stat")) {
                Ok(stat) => stat.contains(") Z "),
                Err(_) => true,
            }
        });
    }
}
