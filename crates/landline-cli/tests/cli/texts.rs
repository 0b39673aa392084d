//! The errors that a user can cause, with their exit statuses and codes.

use std::path::Path;

use serde_json::{Value, json};
use snapbox::{Assert, Data, assert::DEFAULT_ACTION_ENV};
use testkit::{Outcome, ServerProcess, Stage};

use crate::stage;

/// Where a command runs.
#[derive(Clone, Copy)]
enum Place {
    /// On the machine of alice, the owner.
    Client,
    /// On the server's machine.
    Server,
    /// On a machine without state.
    Elsewhere,
}

use Place::{Client, Elsewhere, Server};

/// Commands that fail. `ADDRESS` is the server's address, `PORT` its port, and `INVITE` its invite,
/// which is used up.
const COMMANDS: &[(Place, &str)] = &[
    (Client, "telepathy"),
    (Client, "ls"),
    (Client, "ls folder"),
    (Client, "ls 127.0.0.1:absent"),
    (Client, "ls 127.0.0.1:a*z"),
    (Client, "cat 127.0.0.1:folder"),
    (Client, "mkdir 127.0.0.1:folder"),
    (Client, "mkdir 127.0.0.1:absent/x"),
    (Client, "rm 127.0.0.1:folder"),
    (Client, "rm -r 127.0.0.1:"),
    (Client, "mv 127.0.0.1:folder 127.0.0.1:there"),
    (Client, "mv 127.0.0.1:folder elsewhere:x"),
    (Client, "pign"),
    (Client, "cp"),
    (Client, "cp a"),
    (Client, "cp a b"),
    (Client, "cp absent 127.0.0.1:x"),
    (Client, "cp folder 127.0.0.1:x"),
    (Client, "cp 127.0.0.1:absent x"),
    (Client, "cp file 127.0.0.1:absent/x"),
    (Client, "cp 127.0.0.1:folder x"),
    (Client, "cp -p 127.0.0.1:folder x"),
    (Client, "cp 127.0.0.1: ."),
    (Client, "cp file 127.0.0.1:link"),
    (Client, "cp a:b x"),
    (Client, "sync a:b x"),
    (Client, "cp absent missing 127.0.0.1:"),
    (Client, "cp -r absent missing 127.0.0.1:"),
    (Client, "cp -n file 127.0.0.1:there"),
    (Client, "run -N -L 80:x 127.0.0.1"),
    (Client, "run -N -D localhost:x 127.0.0.1"),
    (Client, "run -W x 127.0.0.1"),
    (Client, "run -W 127.0.0.1:1 127.0.0.1"),
    (Client, "run -N -R 192.0.2.9:80:x:80 127.0.0.1"),
    (Client, "run -N 127.0.0.1 true"),
    (Client, "cp -n 127.0.0.1:there file"),
    (Client, "cp 127.0.0.1:/etc/passwd x"),
    (Client, "cp file 127.0.0.1:PORT"),
    (Client, "cp file 192.0.2.9:"),
    (Client, "cp --quiet --json file 127.0.0.1:x"),
    (Client, "cp --retry soon file 127.0.0.1:x"),
    (Client, "ping"),
    (Client, "ping a:b:c"),
    (Client, "ping ssh://127.0.0.1:1"),
    (Client, "ping http://127.0.0.1"),
    (Client, "ping C:\\x"),
    (Client, "cp file C:\\x"),
    (Client, "cp file sftp://127.0.0.1/x"),
    (Client, "ping 127.0.0.1:1"),
    (Client, "ping 127.0.0.1 -P 0"),
    (Client, "ping 127.0.0.1:1 -P 2"),
    (Client, "ping localhost:PORT"),
    (Client, "ping mallory@127.0.0.1"),
    (Client, "ping 127.0.0.1 -i absent"),
    (Client, "ping 127.0.0.1 -i file"),
    (Client, "ping 127.0.0.1 --password"),
    (Client, "ping 127.0.0.1 --password-fd 9"),
    (Client, "ping 127.0.0.1 --password-file absent"),
    (Client, "ping 127.0.0.1 --via-ssh -x"),
    (Client, "join hello"),
    (Client, "join -"),
    (Client, "join landline://127.0.0.1:1/#x.y"),
    (Client, "join INVITE"),
    (Client, "join INVITE --as b@b"),
    (Client, "join INVITE --name a/b"),
    (Client, "join --secret-file absent"),
    (Client, "join --secret-file file"),
    (Client, "kick 127.0.0.1 ghost"),
    (Client, "passwd 127.0.0.1"),
    (Client, "passwd 127.0.0.1 -i x"),
    (Client, "trust replace 127.0.0.1 00"),
    (Client, "trust replace elsewhere FINGERPRINT"),
    (Client, "trust replace 192.0.2.9 FINGERPRINT"),
    (Client, "hosts rename elsewhere nas"),
    (Client, "hosts rename 127.0.0.1 other"),
    (Client, "hosts rename 192.0.2.9 nas"),
    (Client, "hosts rename 127.0.0.1 a:b"),
    (Client, "hosts remove elsewhere"),
    (Client, "user --on 127.0.0.1 show ghost"),
    (Client, "user --on 127.0.0.1 remove alice"),
    (Server, "user add alice"),
    (Server, "user add ALICE"),
    (Server, "user add a/b"),
    (Server, "user add bob --key file"),
    (Server, "user add bob --key absent"),
    (Server, "user add bob --files everything"),
    (Server, "user add bob --role king"),
    (Server, "user add bob --new-password"),
    (Server, "user grant alice"),
    (Server, "user grant alice --files everything"),
    (Server, "user grant alice --quota bytes=many"),
    (Server, "user revoke alice"),
    (Server, "user revoke alice --files /srv"),
    (Server, "user revoke alice --role"),
    (Server, "user list --password"),
    (Server, "user list --on a:b:c"),
    (Server, "user lits"),
    (Server, "user frobnicate"),
    (Server, "user show ghost"),
    (Server, "user disable alice"),
    (Server, "user remove alice"),
    (Server, "user keys list ghost"),
    (Server, "user keys remove alice SHA256:x"),
    (Server, "user password remove alice"),
    (Server, "user invite alice --ttl 31d"),
    (Server, "user invite alice --public-name bob@nas"),
    (Server, "user invites revoke 00000000"),
    (Server, "secret add ghost"),
    (Server, "secret add alice --services files,"),
    (Server, "secret add alice --services files,chat"),
    (Server, "secret add alice --out file"),
    (Server, "secret remove 0000000000000000"),
    (Server, "check alice fly"),
    (Server, "check alice exec"),
    (Server, "check alice chat -- hello"),
    (Server, "audit show --since yesterday"),
    (Server, "config --config absent.toml"),
    (Server, "config --config file"),
    (Server, "serve --check-config --home absent"),
    (Server, "serve --check-config --listen nonsense"),
    (Server, "serve --listen 127.0.0.1:99999"),
    (Server, "serve --allow-root --listen 127.0.0.1:0"),
    (Server, "service install"),
    (Server, "service install --user --run-as alice"),
    (Elsewhere, "user list"),
    (Elsewhere, "secret list"),
    (Elsewhere, "audit verify"),
    (Elsewhere, "check alice read x"),
    (Elsewhere, "ping ADDRESS"),
    (Elsewhere, "bootstrap none"),
    (Elsewhere, "bootstrap far --binary absent"),
    (Elsewhere, "bootstrap far --binary file"),
    (Elsewhere, "classic serve challenge"),
    (Elsewhere, "classic serve command"),
    (Elsewhere, "classic serve echo --secret-file absent"),
    (Elsewhere, "classic dial text 127.0.0.1:1"),
    (Elsewhere, "classic dial --profile classroom"),
    (Elsewhere, "classic serve echo --listen 192.0.2.1:5264"),
    (Elsewhere, "lab telepathy"),
    (Elsewhere, "lab sticky --lang tlh"),
    (Elsewhere, "lab sticky --svg absent/x.svg"),
];

/// `SNAPSHOTS=overwrite` rewrites the file.
/// Proves `useless-advice` in docs/faults.md.
#[test]
fn failures_match_snapshot() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    stage.run(&["join", &invite, "--as", "alice"]).ok();
    add_machines(&stage);
    stage.write("user/file", b"file\n");
    stage.write("user/a:b", b"file\n");
    stage.write("home/there", b"there\n");
    std::os::unix::fs::symlink("there", stage.path("home/link")).unwrap();
    for folder in ["user/folder", "home/folder"] {
        std::fs::create_dir(stage.path(folder)).unwrap();
    }
    let (_, port) = server.address.split_once(':').unwrap();
    let mut text = String::new();
    for (place, command) in COMMANDS {
        let line = command
            .replace("ADDRESS", &server.address)
            .replace("PORT", port)
            .replace("FINGERPRINT", &"0".repeat(64))
            .replace("INVITE", &invite);
        let arguments: Vec<&str> = line.split(' ').collect();
        let outcome = run(&stage, *place, &arguments);
        let failed = run(&stage, *place, &[&["--json"], &arguments[..]].concat());
        assert_eq!(failed.status, outcome.status, "{command}");
        text.push_str(&format!(
            "$ landline {command}\n{}{}\n\n",
            without_values(&outcome.stderr, &stage, &server),
            status_and_code(&failed),
        ));
    }
    assert!(!text.contains("os error"), "a number says nothing");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/failures.txt");
    Assert::new()
        .action_env(DEFAULT_ACTION_ENV)
        .eq(text, Data::read_from(&file, None).raw());
}

/// Adds a machine with two ports to the known servers.
fn add_machines(stage: &Stage) {
    let pins = "client/client/servers.json";
    let mut file: Value = serde_json::from_slice(&stage.read(pins)).unwrap();
    let servers = file["servers"].as_array_mut().unwrap();
    for (port, name) in [(1, "other"), (2, "third")] {
        let fingerprint = port.to_string().repeat(64);
        servers.push(json!({
            "name": name, "host": "192.0.2.9", "port": port, "fingerprint": fingerprint, "user": "alice",
        }));
    }
    stage.write(pins, file.to_string().as_bytes());
}

fn run(stage: &Stage, place: Place, arguments: &[&str]) -> Outcome {
    let mut command = stage.command(arguments);
    match place {
        Client => {}
        Server => {
            command.env("LANDLINE_STATE", stage.path("server"));
        }
        Elsewhere => {
            command.env("LANDLINE_STATE", stage.path("nothing"));
        }
    }
    stage.run_command(command)
}

/// The text without values that differ between runs.
fn without_values(text: &str, stage: &Stage, server: &ServerProcess) -> String {
    let (_, port) = server.address.split_once(':').unwrap();
    let mut text = text.to_owned();
    while let Some((before, after)) = text.split_once("SHA256:") {
        let rest =
            after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/".contains(c));
        text = format!("{before}KEY{rest}");
    }
    if let Some((before, after)) = text.split_once("(process ") {
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        text = format!("{before}(process PID{rest}");
    }
    text.replace(&stage.path("").display().to_string(), "STAGE/")
        .replace(&server.fingerprint, "FINGERPRINT")
        .replace(&server.address, "ADDRESS")
        .replace(port, "PORT")
}

fn status_and_code(failed: &Outcome) -> String {
    let last = failed.stderr.lines().last().unwrap();
    let failure: Value = serde_json::from_str(last).unwrap();
    assert_eq!(failure["status"].as_i64(), failed.status.map(i64::from));
    format!(
        "[status {}, {}]",
        failure["status"],
        failure["code"].as_str().unwrap()
    )
}
