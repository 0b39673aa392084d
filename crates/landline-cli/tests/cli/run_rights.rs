//! Which commands `landline run` may run: rights, and the options of keys.

use std::fs;

use testkit::Stage;

use crate::{
    run::{HOST, set_rights, status, words},
    stage,
    users::OwnerAndBob,
};

#[test]
fn rights_decide_which_commands_run() {
    let stage = stage();
    let server = stage.joined();
    fs::create_dir(stage.home().join("sub")).unwrap();
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nfiles = [\"r:~/sub\"]\nhome = \"~\"",
    );
    stage.run(&words(&["true"])).fails(126, "denied");
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nhome = \"~\"\nfiles = [\"r:~/sub\"]\nexec = [[\"echo\", \"...\"], [\"pwd\"]]",
    );
    assert_eq!(
        stage.run(&words(&["echo", "a b", "$HOME"])).stdout,
        b"a b $HOME\n"
    );
    stage.run(&words(&["true"])).fails(126, "denied");
    stage.run(&words(&["/bin/echo"])).fails(126, "denied");
    // The words are those that a shell would make.
    assert_eq!(
        stage.run(&["run", HOST, "echo 'a  b'", "c\\ d"]).stdout,
        b"a  b c d\n"
    );
    let shell = ["--json", "run", HOST, "echo $HOME"];
    stage.run(&shell).fails(126, "denied");
    let folder = |name| ["--json", "run", "--cwd", name, HOST, "--", "pwd"];
    assert_eq!(stage.run(&folder("sub")).status, Some(0));
    stage.run(&folder("/")).fails(126, "denied");
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nhome = \"~\"\nexec = [[\"none\"]]\nshell = true",
    );
    let home = format!("{}\n", stage.home().display());
    assert_eq!(
        stage.run(&["run", HOST, "echo $HOME"]).stdout,
        home.as_bytes()
    );
    assert_eq!(
        stage.run(&["run", "--shell", HOST, "echo 'a  b'"]).stdout,
        b"a  b\n"
    );
    let many: Vec<&str> = std::iter::repeat_n("", 70_000).collect();
    let many = [&["--json", "run", HOST, "--", "true"][..], &many].concat();
    stage.run(&many).fails(255, "name-refused");
    let variable = ["--json", "run", "--env", "LD_PRELOAD=x", HOST, "echo $HOME"];
    stage.run(&variable).fails(126, "denied");
    assert_eq!(
        stage
            .run(&["run", "--env", "TZ=UTC", HOST, "echo $TZ"])
            .stdout,
        b"UTC\n"
    );
}

/// All commands run as the user of the server, so only its owner may run them.
#[test]
fn commands_of_other_users_need_a_setting() {
    let stage = stage();
    let server = stage.joined();
    let rights = "role = \"admin\"\nfiles = [\"rw:~\"]\nexec = \"any\"\nshell = true";
    set_rights(&stage, &server, rights);
    stage.run(&words(&["true"])).fails(126, "denied");
    let address = server.address.clone();
    drop(server);
    let mut command = stage.serve_command(&address);
    command.env("LANDLINE_SHARE_UID", "true");
    let _server = stage.serve_with(command);
    assert_eq!(status(&stage, &["true"]), Some(0));
}

/// The options of a key limit what its sessions may run.
#[test]
fn options_of_key_limit_commands() {
    let stage = stage();
    let _server = stage.joined();
    let line = crate::login::client_key(&stage).public().line();
    let shown = stage
        .run_at_server(&["--json", "user", "keys", "list", "alice"])
        .ok();
    let key: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert!(
        key["line"]
            .as_str()
            .is_some_and(|stored| stored.contains(line.split(' ').nth(1).unwrap()))
    );
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = echo.local_addr().unwrap().to_string();
    for (options, terminal, pipes) in [
        ("no-pty,no-port-forwarding", Some(126), Some(0)),
        ("restrict,landline-services=\"ping\"", Some(126), Some(126)),
        (
            "restrict,landline-services=\"exec.run\"",
            Some(126),
            Some(0),
        ),
        ("landline-services=\"exec\"", Some(0), Some(0)),
    ] {
        let file = stage.write("limited.pub", format!("{options} {line}\n").as_bytes());
        stage
            .run_at_server(&["user", "keys", "add", "alice", file.to_str().unwrap()])
            .ok();
        let run = |option: &[&str]| stage.run(&[&["run"], option, &[HOST, "--", "true"]].concat());
        assert_eq!(run(&["--pty"]).status, terminal, "{options}");
        assert_eq!(run(&[]).status, pipes, "{options}");
        let forward = stage.run(&["run", "-N", "-W", &place, HOST]);
        assert_eq!(forward.status, Some(255), "{options}");
        // Nothing has connected.
        echo.set_nonblocking(true).unwrap();
        assert!(echo.accept().is_err(), "{options}");
    }
}

#[test]
fn commands_are_granted_and_revoked() {
    let stage = stage();
    let server = stage.joined();
    set_rights(&stage, &server, "role = \"owner\"\nexec = [[\"true\"]]");
    let change = |verb: &str, options: &[&str]| {
        let words = [&["--json", "user", verb, "alice", "--on", HOST], options].concat();
        stage.run(&words)
    };
    let echo = |word| stage.run(&words(&["echo", word]));
    echo("a").fails(126, "denied");
    change(
        "grant",
        &["--exec", "echo *", "--exec", r#"["echo", "-n", "b c"]"#],
    )
    .ok();
    assert_eq!(echo("a").ok(), "a\n");
    assert_eq!(stage.run(&words(&["echo", "-n", "b c"])).ok(), "b c");
    echo("-n").fails(126, "denied");
    stage
        .run(&["--json", "run", HOST, "echo $HOME"])
        .fails(126, "denied");
    change("grant", &["--shell"]).ok();
    stage.run(&["--json", "run", HOST, "echo $HOME"]).ok();
    change("revoke", &["--shell", "--exec", "echo *"]).ok();
    echo("a").fails(126, "denied");
    change("revoke", &["--exec", "echo *"]).fails(20, "not-found");
    change("revoke", &["--exec", "any"]).ok();
    stage.run(&words(&["true"])).fails(126, "denied");
    change("grant", &["--forward", "not a place"]).fails(23, "name-refused");
    change("grant", &["--forward", "any", "--listen", "8080"]).ok();
    let shown = change("show", &[]).ok();
    assert!(
        shown.contains("listen") && shown.contains("forward"),
        "{shown}"
    );
}

/// A key with a command runs it whatever is asked for, within the rights of its user.
#[test]
fn key_with_command_runs_only_that() {
    let stage = stage();
    let server = stage.joined();
    let line = crate::login::client_key(&stage).public().line();
    let set_options = |options: &str| {
        let file = stage.write("limited.pub", format!("{options} {line}\n").as_bytes());
        stage
            .run_at_server(&["user", "keys", "add", "alice", file.to_str().unwrap()])
            .ok();
    };
    let script = r#"command="sh -c 'pwd; echo $TZ; echo $LANDLINE_ORIGINAL_COMMAND; exit 3'""#;
    for options in [script.to_owned(), format!("restrict,{script}")] {
        set_options(&options);
        let home = stage.home().display().to_string();
        for (words, original) in [
            (&["--cwd", "/", HOST, "--", "rm", "a b"][..], "rm 'a b'"),
            (&[HOST, "rm 'a b'; rm c"], "rm 'a b'; rm c"),
            (&["--shell", HOST, "rm *"], "rm *"),
            (&["-s", HOST, "sftp"], "sftp"),
        ] {
            let words = [&["run", "--env", "TZ=UTC"], words].concat();
            let outcome = stage.run(&words);
            let expected = format!("{home}\nUTC\n{original}\n");
            assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected);
            assert_eq!(outcome.status, Some(3));
        }
        let code = "credential-limited";
        stage
            .run(&["--json", "run", "--detach", HOST, "--", "true"])
            .fails(126, code);
        stage.run(&["--json", "jobs", HOST]).fails(23, code);
        stage.run(&["--json", "ping", HOST]).fails(23, code);
        let from = format!("{HOST}:x");
        stage.run(&["--json", "cp", &from, "y"]).fails(23, code);
        let forward = ["--json", "run", "-N", "-W", "127.0.0.1:9", HOST];
        assert_eq!(stage.run(&forward).status, Some(255));
    }
    let terminal = [
        "--json",
        "run",
        "--on-lost",
        "end",
        "--pty",
        HOST,
        "--",
        "true",
    ];
    stage.run(&terminal).fails(126, "credential-limited");
    let log = stage.run_at_server(&["audit", "show"]).ok();
    assert!(log.contains("LANDLINE_ORIGINAL_COMMAND"), "{log}");
    set_options("command=\"true\"");
    set_rights(&stage, &server, "role = \"owner\"\nexec = [[\"false\"]]");
    stage.run(&words(&["false"])).fails(126, "denied");
    set_options("command=\"true | true\"");
    set_rights(&stage, &server, "role = \"owner\"\nexec = [[\"true\"]]");
    stage.run(&words(&["true"])).fails(126, "denied");
}

/// What the rights allow has no effect without the setting, and every command says so.
#[test]
fn commands_of_others_need_share_uid() {
    let mut two = OwnerAndBob::new();
    let checks = |stage: &Stage, expected: i32| {
        for right in [&["shell"][..], &["pty"], &["exec", "--", "id"]] {
            let check = |options: &[&'static str]| [&["check", "bob"], options, right].concat();
            let here = stage.run_at_server(&check(&[]));
            assert_eq!(here.status, Some(expected), "{right:?}: {here:?}");
            let remote = stage.run(&check(&["--on", HOST]));
            assert_eq!(remote.status, Some(expected), "{right:?}: {remote:?}");
        }
    };
    let grant = ["grant", "bob", "--exec", "any", "--shell"];
    for granted in [two.user(&grant), two.remote_user(&grant)] {
        assert_eq!(granted.status, Some(0), "{granted:?}");
        assert!(
            granted.stderr.contains("warning: bob cannot use exec yet")
                && granted.stderr.contains("share_uid"),
            "{granted:?}"
        );
    }
    checks(&two.stage, 23);
    two.bob(&["--json", "run", HOST, "--", "id"])
        .fails(126, "denied");
    two.server.kill();
    let mut command = two.stage.serve_command(&two.server.address);
    command.env("LANDLINE_SHARE_UID", "true");
    two.server = two.stage.serve_with(command);
    checks(&two.stage, 0);
    let granted = two.user(&grant);
    assert_eq!((granted.status, granted.stderr.as_str()), (Some(0), ""));
    assert_eq!(two.bob(&["run", HOST, "--", "true"]).status, Some(0));
}
