//! Rights: what each user may do, and changes of rights during a session.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use landline::rights::{Right, Role};
use serde_json::{Value, json};
use testkit::{Census, RawClient, ServerProcess, Stage, wait_for};

use crate::{
    noise,
    order::{TABLE, into, message, row, states, write_endless},
    stage,
};

const RULES: &str = r#"
[users.alice]
files = ["rw:~", "r:~/archive"]
exec = [["git", "..."]]
chat = true
"#;

/// Writes these rules and waits until the server has applied them.
fn apply_rules(stage: &Stage, server: &ServerProcess, rules: &str) {
    stage.write_rights(rules);
    server.rights_loaded(stage);
}

/// `landline check` on the server's machine.
fn check(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landline"));
    command
        .env_clear()
        .env("LANDLINE_STATE", stage.path("server"))
        .env("HOME", stage.home());
    let output = command
        .arg("check")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap().trim().to_owned(),
    )
}

/// The running server defines `~`, not the settings of the user who asks.
#[test]
fn check_uses_home_of_server() {
    let stage = stage();
    let (own, other) = (stage.home(), stage.path("other"));
    for folder in [own.join("here"), other.join("there")] {
        fs::create_dir_all(folder).unwrap();
    }
    let rules = "[users.alice]\nhome = \"~\"\nfiles = [\"r:~/here\", \"r:~/there\"]\n";
    for (home, served, not_served) in [(&other, "there/x", "here/x"), (&own, "here/x", "there/x")] {
        let _server = stage.serve(&["--home", home.to_str().unwrap()]);
        stage.write_rights(rules);
        assert_eq!(
            check(&stage, &["alice", "read", served]).0,
            Some(0),
            "{served}"
        );
        assert_eq!(
            check(&stage, &["alice", "read", not_served]).0,
            Some(23),
            "{not_served}"
        );
    }
    // An earlier release does not record the home. Then the settings define it.
    fs::remove_file(stage.path("server/server/home")).unwrap();
    assert_eq!(check(&stage, &["alice", "read", "here/x"]).0, Some(0));
}

#[test]
fn check_names_the_deciding_line() {
    let stage = stage();
    let _server = stage.joined();
    assert_eq!(
        check(&stage, &["alice", "write", "x"]),
        (Some(0), "allowed: line 21: files \"rw:~\"".into())
    );
    assert_eq!(
        check(&stage, &["alice", "role", "admin"]),
        (Some(0), "allowed: line 20: role = \"owner\"".into())
    );
    stage.write_rights(RULES);
    fs::create_dir(stage.path("home/archive")).unwrap();
    for (arguments, status, said) in [
        (
            &["alice", "exec", "--", "rm", "-rf", "/"][..],
            23,
            "denied: line 4: no pattern of exec matches",
        ),
        (
            &["alice", "exec", "--", "git; rm"],
            23,
            "denied: line 4: no pattern of exec matches",
        ),
        (
            &["alice", "read", "archive/x"],
            0,
            "allowed: line 3: files \"r:~/archive\"",
        ),
        (
            &["alice", "write", "archive/x"],
            23,
            "denied: line 3: files \"r:~/archive\"",
        ),
        (&["alice", "chat"], 0, "allowed: line 5: chat = true"),
        (
            &["alice", "role", "helper"],
            23,
            "denied: line 2: there is no role in [users.alice]",
        ),
        (&["bob", "chat"], 23, "denied: there is no [users.bob]"),
    ] {
        assert_eq!(
            check(&stage, arguments),
            (Some(status), said.to_owned()),
            "{arguments:?}"
        );
    }
    let (status, said) = check(&stage, &["alice", "read", "/etc/passwd"]);
    assert!(
        status == Some(23) && said.ends_with(": rw:~, r:~/archive"),
        "{said}"
    );
    let (status, said) = check(&stage, &["alice", "--json", "exec", "--", "ls"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status, Some(23));
    assert_eq!(
        said,
        json!({"allowed": false, "line": 4, "reason": "no pattern of exec matches"})
    );
}

/// Paths of a user with a home are relative to it, with `~` and without.
#[test]
fn paths_are_relative_to_user_home() {
    let stage = stage();
    let server = stage.joined();
    let shared = stage.path("shared");
    fs::create_dir_all(shared.join("deep")).unwrap();
    stage.write("user/f", b"f");
    stage.write("home/secret", b"secret");
    apply_rules(
        &stage,
        &server,
        &format!(
            "[users.alice]\nhome = {0:?}\nfiles = [\"rw:~\", \"r:~/deep\"]\n",
            shared.display().to_string()
        ),
    );
    for path in ["a", "~/b", "./c"] {
        stage.run(&["cp", "f", &server.at(path)]).ok();
    }
    stage.run(&["cp", "f", &server.at("")]).ok();
    assert_eq!(Census::of(&shared).paths(), ["a", "b", "c", "deep", "f"]);
    stage.run(&["cp", &server.at("a"), "fetched"]).ok();
    for (path, code) in [("deep/x", "denied"), ("../x", "name-refused")] {
        stage
            .run(&["--json", "cp", "f", &server.at(path)])
            .fails(23, code);
    }
    let secret = stage.home().join("secret").display().to_string();
    for path in ["secret", &secret] {
        let outcome = stage.run(&["cp", &server.at(path), "-"]);
        assert!(
            matches!(outcome.status, Some(20 | 23)),
            "{path}: {outcome:?}"
        );
    }
    assert_eq!(check(&stage, &["alice", "write", "x"]).0, Some(0));
    assert_eq!(check(&stage, &["alice", "write", "~/deep/x"]).0, Some(23));
    assert_eq!(check(&stage, &["alice", "read", &secret]).0, Some(23));

    // A granted folder below the server's home is created at the first write.
    apply_rules(
        &stage,
        &server,
        "[users.alice]\nhome = \"~/own\"\nfiles = [\"rw:~\"]\n",
    );
    stage.run(&["cp", "f", &server.at("a")]).ok();
    assert_eq!(stage.read("home/own/a"), b"f");
    // Without a home, paths are relative to the first folder.
    apply_rules(
        &stage,
        &server,
        &format!(
            "[users.alice]\nfiles = [\"rw:{}/deep\"]\n",
            shared.display()
        ),
    );
    stage.run(&["cp", "f", &server.at("a")]).ok();
    assert_eq!(fs::read(shared.join("deep/a")).unwrap(), b"f");
}

/// A word of a service is checked by the rules of the service.
#[test]
fn check_refuses_unknown_word() {
    let stage = stage();
    let _server = stage.joined();
    for arguments in [
        &["alice", "fly"][..],
        &["alice", "chat", "--", "hello"],
        &["alice", "exec"],
        &["alice", "role", "root"],
    ] {
        let mut command = vec!["--json", "check"];
        command.extend(arguments);
        stage.run_at_server(&command).fails(2, "usage");
    }
}

/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn server_refuses_broken_or_foreign_rights() {
    let stage = stage();
    drop(stage.joined());
    let path = stage.path("server/server/rights.toml");
    let refused = || {
        let command = stage.serve_command("127.0.0.1:0");
        let message = stage.run_command(command).fails(31, "state");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        message
    };
    stage.write_rights("[users.alice]\nfile = [\"rw:~\"]\n");
    let message = refused();
    assert!(message.contains("line 2, column 1"), "{message}");
    stage.write_rights("[users.alice]\nfiles = [\"rw:~\"\n");
    let message = refused();
    assert!(message.contains("line 2"), "{message}");
    stage.write_rights(RULES);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    refused();
    std::os::unix::fs::symlink(stage.write("elsewhere", RULES.as_bytes()), &path).unwrap();
    refused();
    stage.write_rights("");
    drop(stage.serve(&[]));
}

/// Proves `rights-fail-open` in docs/faults.md.
#[test]
fn edited_rights_apply_to_live_session() {
    let stage = stage();
    let server = stage.joined();
    fs::create_dir(stage.path("home/archive")).unwrap();
    stage.write("home/archive/old", b"old");
    stage.write("user/file", b"new");
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(
        client
            .login("alice", &crate::login::client_key(&stage), None)
            .unwrap(),
        "welcome"
    );
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    let mut answer = |path: &str| {
        let put = json!({"type": "put", "path": path, "length": 0, "mode": 420, "replace": false});
        client.send_json(&put).unwrap();
        client.error_code().unwrap()
    };
    assert_eq!(answer("archive/old").as_deref(), Some("exists"));
    apply_rules(&stage, &server, RULES);
    assert_eq!(answer("archive/old").as_deref(), Some("denied"));

    // If the file is broken, the earlier rules stay, and the event names the line.
    stage.write_rights("[users.alice]\nfiles = [\"rw:~\", 3]\n");
    let refused = server.event("rights-refused");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("rights.toml: line 2, column 18: ")
    );
    assert_eq!(answer("archive/old").as_deref(), Some("denied"));
    stage.run(&["cp", "file", &server.at("x")]).ok();

    // SIGHUP applies the rules at once.
    stage.write_rights("[users.alice]\nfiles = [\"rw:~\"]\n");
    server.hang_up();
    server.rights_loaded(&stage);
    assert_eq!(answer("archive/old").as_deref(), Some("exists"));

    apply_rules(&stage, &server, "[users.bob]\nfiles = [\"rw:~\"]\n");
    assert_eq!(server.event("logout")["user"], "alice");
    assert_eq!(
        client.error_code().unwrap().as_deref(),
        Some("ended"),
        "alice has lost all rights"
    );
    stage
        .run(&["--json", "cp", "file", &server.at("x")])
        .fails(23, "denied");
    stage
        .run(&["--json", "cp", &server.at("x"), "y"])
        .fails(23, "denied");
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// Starts a copy from standard input that waits for more data, in a folder that has `entries`
/// entries with the staging file.
fn slow_put(stage: &Stage, server: &ServerProcess, path: &str, entries: usize) -> Child {
    let mut child = stage
        .command(&["cp", "-", &server.at(path)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"begun").unwrap();
    wait_for("the staging file", || {
        fs::read_dir(stage.home()).unwrap().count() == entries
    });
    child
}

/// Proves `late-revocation` in docs/faults.md.
#[test]
fn withdrawn_right_ends_running_work() {
    let stage = stage();
    let server = stage.joined();
    let mut child = slow_put(&stage, &server, "x", 1);
    // The end of the input is no reason for the end of the command.
    let stdin = child.stdin.take();
    // A change that keeps the right ends no work.
    apply_rules(&stage, &server, "[users.alice]\nfiles = [\"rw:~\"]\n");
    assert!(stage.path("home").read_dir().unwrap().count() == 1);
    let start = Instant::now();
    apply_rules(&stage, &server, "[users.alice]\nfiles = [\"r:~\"]\n");
    let failed = server.event("failed");
    assert_eq!(failed["code"], "ended");
    assert!(start.elapsed() <= testkit::time_limit(Duration::from_secs(2)));
    server.event("logout");
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(
        output.status.code(),
        Some(35),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The server removes the staging file a little later.
    wait_for("the empty home", || {
        Census::of(&stage.home()).paths().is_empty()
    });

    // A client that reads nothing is ended too.
    stage.write("home/big", &noise(64 << 20, 5));
    let mut child = stage
        .command(&["cp", &server.at("big"), "-"])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    apply_rules(&stage, &server, "[users.alice]\nfiles = [\"r:/srv\"]\n");
    assert_eq!(server.event("failed")["code"], "ended");
    server.event("logout");
    drop(stdout);
    assert_ne!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn session_quota_is_enforced_at_login() {
    let stage = stage();
    let server = stage.joined();
    apply_rules(
        &stage,
        &server,
        "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\nsessions = 1\n",
    );
    let child = slow_put(&stage, &server, "x", 1);
    stage
        .run(&["--json", "ping", "127.0.0.1"])
        .fails(38, "too-many-sessions");
    assert_eq!(server.event("refused")["code"], "too-many-sessions");
    drop(child.wait_with_output().unwrap());
    server.event("logout");
    stage.run(&["ping", "127.0.0.1"]).ok();
}

const ADMIN: Right = Right::Role(Role::Admin);
/// Requests that a user may make about their own account.
const OWN_ACCOUNT_ONLY: [&str; 4] = ["list-keys", "add-keys", "remove-key", "check-right"];

/// Sets of rights, and the rules that grant them.
const ROLES: &[(&[Right], &str)] = &[
    (&[], ""),
    (&[], "[users.alice]\n"),
    (&[Right::Read], "[users.alice]\nfiles = [\"r:~\"]\n"),
    (
        &[Right::Read, Right::Write],
        "[users.alice]\nfiles = [\"rw:~\"]\n",
    ),
    (
        &[Right::Read],
        "[users.alice]\nhome = \"~\"\nfiles = [\"r:~\", \"rw:~/elsewhere\"]\n",
    ),
    (&[], "[users.alice]\nrole = \"helper\"\n"),
    (&[ADMIN], "[users.alice]\nrole = \"admin\"\n"),
    (&[], "[users.alice]\nchat = true\n"),
    (&[], "[users.alice]\nexec = \"any\"\n"),
    (&[], "[users.alice]\nforward = \"any\"\n"),
    (&[], "[users.alice]\nlisten = \"any\"\n"),
    (
        &[ADMIN],
        "[users.alice]\nexec = \"any\"\nchat = true\nrole = \"owner\"\n",
    ),
    (
        &[ADMIN],
        "[users.alice]\nexec = \"any\"\npty = true\nrole = \"owner\"\n",
    ),
];

/// Sends every message in every state, for every set of rights. The server denies a message whose
/// right is missing, and does not act on it.
/// Proves `out-of-order` and `rights-fail-open` in docs/faults.md.
#[test]
fn every_message_is_denied_without_its_right() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    stage.write("home/kept", b"kept");
    write_endless(&stage);
    fs::create_dir(stage.path("home/elsewhere")).unwrap();
    let types: BTreeSet<&str> = TABLE
        .iter()
        .map(|row| row.kind)
        .chain(["exec", "chat"])
        .collect();
    // A later one could have what an earlier message leaves for a moment.
    let census = Census::of(&stage.home());
    for (role, rules) in ROLES {
        apply_rules(&stage, &server, rules);
        let has = |right: Right| {
            matches!(right, Right::Nothing | Right::Account)
                || role.contains(&right)
                || ["exec", "forward", "listen"]
                    .iter()
                    .any(|word| right == Right::Word(word) && rules.contains(word))
        };
        for state in states() {
            // Reaching the state needs rights too.
            let is_reachable = match state {
                "files-receiver-data" | "files-receiver-finish" => has(Right::Write),
                "files-sender" | "files-delta" | "files-working" | "files-tree" => has(Right::Read),
                // Commands run as the user of the server, so only owners may run them.
                "exec-server-running" | "exec-server-busy" => {
                    rules.contains("exec") && rules.contains("owner")
                }
                "exec-server-watched" => {
                    rules.contains("exec")
                        && rules.contains("owner")
                        && ["pty", "shell"].iter().any(|word| rules.contains(word))
                }
                _ => true,
            };
            for kind in &types {
                let mut client = into(state, &server, &key);
                let mut header = message(kind);
                if state == "admin-requests" {
                    // With alice as the target, the server would refuse to remove the last admin.
                    header["user"] = if kind.ends_with("-password") {
                        "alice"
                    } else {
                        "ghost"
                    }
                    .into();
                }
                if *kind == "run" {
                    header["size"] = 1.into();
                }
                client.send_json(&header).unwrap();
                client.finish().unwrap();
                // Before the login the connection may end without an error. Where the table expects
                // an error, that fails the test.
                let code = client.error_code().unwrap_or_default();
                let cell = format!("{kind:?} in {state:?} by {role:?}: {code:?}");
                match row(state, kind).map(|row| row.right) {
                    _ if !is_reachable => assert_eq!(code.as_deref(), Some("denied"), "{cell}"),
                    None => assert_eq!(code.as_deref(), Some("unexpected-message"), "{cell}"),
                    // Users may set their own password only after a login by password, and manage
                    // keys and ask about rights only of their own account.
                    Some(Right::Account)
                        if !has(ADMIN)
                            && (kind.ends_with("-password") || OWN_ACCOUNT_ONLY.contains(kind)) =>
                    {
                        assert_eq!(code.as_deref(), Some("denied"), "{cell}");
                    }
                    Some(right) if !has(right) => {
                        assert_eq!(code.as_deref(), Some("denied"), "{cell}")
                    }
                    Some(_) => assert_ne!(code.as_deref(), Some("denied"), "{cell}"),
                }
                wait_for("an unchanged home", || Census::of(&stage.home()) == census);
            }
        }
    }
}

const HALF_A_MEBIBYTE: usize = 512 << 10;

#[test]
fn byte_quota_returns_replaced_bytes() {
    let stage = stage();
    let server = stage.joined();
    apply_rules(
        &stage,
        &server,
        "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\nbytes = \"1 MiB\"\n",
    );
    stage.write("user/half", &noise(HALF_A_MEBIBYTE, 1));
    stage.write("user/more", &noise(HALF_A_MEBIBYTE + 1, 2));
    stage.run(&["cp", "half", &server.at("a")]).ok();
    stage.run(&["cp", "half", &server.at("b")]).ok();
    stage
        .run(&["--json", "cp", "half", &server.at("c")])
        .fails(24, "no-space");
    stage
        .run(&["--json", "cp", "more", &server.at("b")])
        .fails(24, "no-space");
    // The length of a stream is not known in advance. Its bytes are released when it exceeds the
    // quota.
    stage
        .run_with_input(
            &["--json", "cp", "-", &server.at("b")],
            &noise(HALF_A_MEBIBYTE + 1, 3),
        )
        .fails(24, "no-space");
    assert_eq!(Census::of(&stage.home()).paths(), ["a", "b"]);
    stage
        .run_with_input(&["cp", "-", &server.at("b")], &noise(HALF_A_MEBIBYTE, 4))
        .ok();
    stage
        .run_with_input(&["cp", "-", &server.at("b")], b"smaller")
        .ok();
    stage
        .run(&["--json", "cp", "more", &server.at("c")])
        .fails(24, "no-space");
    stage
        .run_with_input(
            &["cp", "-", &server.at("c")],
            &noise(HALF_A_MEBIBYTE - 7, 5),
        )
        .ok();
    // A file that another program has removed does not count.
    fs::remove_file(stage.path("home/a")).unwrap();
    stage.run(&["cp", "half", &server.at("d")]).ok();
    assert_eq!(Census::of(&stage.home()).paths(), ["b", "c", "d"]);
    // A higher quota applies at once. Counted bytes stay counted across a restart.
    let address = server.address.clone();
    drop(server);
    let server = stage.serve_at(&address, &[]);
    stage
        .run(&["--json", "cp", "half", &server.at("e")])
        .fails(24, "no-space");
    apply_rules(
        &stage,
        &server,
        "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\nbytes = \"2 MiB\"\n",
    );
    stage.run(&["cp", "half", &server.at("e")]).ok();
}

#[test]
fn file_quota_counts_files() {
    let stage = stage();
    let server = stage.joined();
    apply_rules(
        &stage,
        &server,
        "[users.alice]\nfiles = [\"rw:~\"]\nquota = { files = 2 }\n",
    );
    stage.write("user/f", b"");
    stage.run(&["cp", "f", &server.at("a")]).ok();
    let slow = slow_put(&stage, &server, "b", 2);
    stage
        .run(&["--json", "cp", "f", &server.at("c")])
        .fails(24, "no-space");
    // Until a file is replaced, it counts twice for other copies, also for the slow one.
    testkit::Outcome::of(slow).ok();
    stage.run(&["cp", "f", &server.at("a")]).ok();
    stage
        .run(&["--json", "cp", "f", &server.at("c")])
        .fails(24, "no-space");
    fs::remove_file(stage.path("home/b")).unwrap();
    stage.run(&["cp", "f", &server.at("c")]).ok();
}
