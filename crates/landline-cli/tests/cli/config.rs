//! Settings: a flag precedes the environment, which precedes the file. Errors name the source.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;
use testkit::Stage;

use crate::stage;

/// Writes the settings file of this stage's server.
fn settings(stage: &Stage, text: &str) -> PathBuf {
    let folder = stage.path("config/landline");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("server.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    file
}

/// A command that reads this settings file.
fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = stage.command(arguments);
    command
        .env("XDG_CONFIG_HOME", stage.path("config"))
        .env_remove("LANDLINE_STATE");
    command
}

fn shown(stage: &Stage, command: Command) -> Value {
    serde_json::from_str(&stage.run_command(command).ok()).unwrap()
}

#[test]
fn flag_precedes_environment_and_file() {
    let stage = stage();
    let file = settings(
        &stage,
        "# a comment\nlisten = \"127.0.0.1:1\"\ndrain = 7\npublic_name = \"box.example\"\n",
    );
    let mut all = command(&stage, &["config", "--json", "--listen", "127.0.0.1:3"]);
    all.env("LANDLINE_LISTEN", "127.0.0.1:2")
        .env("LANDLINE_DRAIN", "8")
        .env("LANDLINE_STATE", stage.path("elsewhere"));
    let all = shown(&stage, all);
    let is = |name: &str, value: Value, from: &str| {
        assert_eq!(
            (&all[name]["value"], all[name]["from"].as_str()),
            (&value, Some(from)),
            "{all}"
        );
    };
    is("listen", "127.0.0.1:3".into(), "--listen");
    is("drain", 8.into(), "LANDLINE_DRAIN");
    is(
        "public_name",
        "box.example".into(),
        &format!("{} line 4", file.display()),
    );
    is(
        "state",
        stage.path("elsewhere").display().to_string().into(),
        "LANDLINE_STATE",
    );
    is(
        "home",
        stage.path("user").display().to_string().into(),
        "default",
    );
    is("audit_total_mib", 1024.into(), "default");
    is("audit_user_day_mib", 64.into(), "default");
    let text = stage.run_command(command(&stage, &["config"])).ok();
    assert!(
        text.contains(&format!("{} line 2", file.display())),
        "{text}"
    );
    fs::remove_file(file).unwrap();
    stage.run_command(command(&stage, &["config"])).ok();
}

#[test]
fn bad_setting_is_refused_with_its_source() {
    let stage = stage();
    for (text, line) in [
        ("drain = 1\nlisten_on = \"x\"\n", 2),
        ("[audit]\nfile = 1\n", 1),
        ("drain = \"soon\"\n", 1),
        ("connections = 0\n", 1),
        ("drain = [1]\n", 1),
        ("drain = 1\ndrain = 2\n", 2),
        ("drain = \n", 1),
        ("home = \"relative\"\n", 1),
        ("allow_root = \"perhaps\"\n", 1),
        ("public_name = \"a b\"\n", 1),
        ("public_name = \"example.org:5263\"\n", 1),
        ("public_name = \"alice@example.org\"\n", 1),
    ] {
        settings(&stage, text);
        for arguments in [
            &["--json", "serve", "--check-config"][..],
            &["--json", "config"],
            &["--json", "serve"],
        ] {
            let message = stage
                .run_command(command(&stage, arguments))
                .fails(2, "settings");
            assert!(message.contains(&format!("line {line}")), "{message}");
        }
    }
    let file = settings(&stage, "drain = 1\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    stage
        .run_command(command(&stage, &["--json", "config"]))
        .fails(2, "settings");
    let mut variable = command(&stage, &["--json", "config", "--config", "/nonexistent"]);
    stage.run_command(variable).fails(2, "settings");
    settings(&stage, "");
    variable = command(&stage, &["--json", "config"]);
    variable.env("LANDLINE_CONNECTIONS", "many");
    stage.run_command(variable).fails(2, "settings");
}

/// It must not become another folder, and not be ignored.
/// Proves `lossy-path` in docs/faults.md.
#[test]
fn folder_that_is_not_utf8_is_refused() {
    let stage = stage();
    let folder = OsStr::from_bytes(b"/f\xff");
    for option in ["--home", "--state"] {
        let mut config = command(&stage, &["--json", "config", option]);
        config.arg(folder);
        stage.run_command(config).fails(2, "settings");
    }
    for variable in ["LANDLINE_HOME", "LANDLINE_STATE"] {
        let mut config = command(&stage, &["--json", "config"]);
        config.env(variable, folder);
        stage.run_command(config).fails(2, "settings");
    }
}

#[test]
fn home_may_be_written_as_tilde() {
    let stage = stage();
    settings(&stage, "state = \"~/state\"\nhome = \"~\"\n");
    let home = stage.path("user");
    let all = shown(&stage, command(&stage, &["config", "--json"]));
    for (name, expected) in [("state", home.join("state")), ("home", home.clone())] {
        assert_eq!(all[name]["value"], expected.display().to_string(), "{name}");
    }
    let mut by_variable = command(&stage, &["config", "--json", "--home=~/served"]);
    by_variable.env("LANDLINE_STATE", "~/other");
    let all = shown(&stage, by_variable);
    for (name, expected) in [("state", "other"), ("home", "served")] {
        let expected = home.join(expected).display().to_string();
        assert_eq!(all[name]["value"], expected, "{name}");
    }
}

/// Proves `misleading-error` in docs/faults.md.
#[test]
fn toml_error_is_one_line_with_its_place() {
    let stage = stage();
    settings(&stage, "drain = 1\nlisten = 127.0.0.1:7000\n");
    let outcome = stage.run_command(command(&stage, &["config"]));
    assert_eq!(outcome.status, Some(2));
    assert!(!outcome.stderr.contains("\\n"), "{}", outcome.stderr);
    for expected in ["line 2", "listen = 127.0.0.1:7000"] {
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
}

#[test]
fn check_config_validates_and_writes_nothing() {
    let stage = stage();
    let (state, home) = (stage.path("new-state"), stage.home());
    settings(
        &stage,
        &format!("state = {state:?}\nhome = {home:?}\nlisten = \"127.0.0.1:0\"\n"),
    );
    stage
        .run_command(command(&stage, &["serve", "--check-config"]))
        .ok();
    assert!(!state.exists());
    stage
        .run_command(command(
            &stage,
            &[
                "--json",
                "serve",
                "--check-config",
                "--home",
                "/nonexistent",
            ],
        ))
        .fails(2, "settings");
    stage
        .run_command(command(
            &stage,
            &["--json", "serve", "--check-config", "--listen", "nonsense"],
        ))
        .fails(30, "listen");
    // The server would not start with these rules.
    let folder = landline::paths::PrivateFolder::open_or_create(&state)
        .unwrap()
        .subfolder("server")
        .unwrap();
    folder
        .write("rights.toml", b"[users.alice]\nfiles = 7\n")
        .unwrap();
    stage
        .run_command(command(&stage, &["--json", "serve", "--check-config"]))
        .fails(31, "state");
}

#[test]
fn server_and_commands_use_the_settings_file() {
    let stage = stage();
    let (state, home) = (stage.path("new-state"), stage.path("srv"));
    fs::create_dir(&home).unwrap();
    settings(
        &stage,
        &format!(
            "state = {state:?}\nhome = {home:?}\nlisten = \"127.0.0.1:0\"\nallow_root = true\n"
        ),
    );
    let server = stage.serve_with(command(&stage, &["serve", "--json"]));
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    stage.write("user/f", b"content");
    stage.run(&["cp", "f", &server.at("f")]).ok();
    assert_eq!(stage.read("srv/f"), b"content");
    let said = stage
        .run_command(command(&stage, &["audit", "show", "--user", "alice"]))
        .ok();
    assert!(said.contains("transfer-start"), "{said}");
    stage.run_command(command(
        &stage,
        &["secret", "add", "alice", "--public-name", "127.0.0.1"],
    ));
    let said = stage.run_command(command(&stage, &["audit", "show"])).ok();
    assert!(said.contains("action=add-secret"), "{said}");
}
