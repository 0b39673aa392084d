//! The example client in plain Python against the real server. Needs python3.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use testkit::{Outcome, Stage};

use crate::{noise, shared_secret, stage};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/client.py");

/// Uploads `file` as `name`. Returns `None` without python3.
fn upload(stage: &Stage, secret: &Path, file: &str, name: &str) -> Option<Outcome> {
    let output = Command::new("python3")
        .arg(CLIENT)
        .arg(secret)
        .arg(stage.path(file))
        .arg(name)
        .env_clear()
        .output()
        .ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(Outcome {
        status: output.status.code(),
        stdout: output.stdout,
        stderr,
    })
}

#[test]
fn python_example_uploads_a_file() {
    let stage = stage();
    let server = stage.joined();
    let (_, secret) = shared_secret::secret(&stage, &server, "py.secret", "server-end-point");
    // Longer than a block, and with a partial frame at the end.
    for (name, length) in [("empty", 0), ("small", 5), ("large", 9_000_001)] {
        let content = noise(length, 7);
        stage.write(name, &content);
        let Some(outcome) = upload(&stage, &secret, name, &format!("got-{name}")) else {
            eprintln!("SKIPPED: the example client needs python3");
            return;
        };
        let digest = outcome.ok();
        assert!(
            stage.read(&format!("home/got-{name}")) == content,
            "{name}: other content"
        );
        let transfer = server.event("transfer");
        assert_eq!(transfer["digest"], digest.trim(), "{transfer}");
        let listed = Command::new("sha256sum")
            .arg(stage.path(name))
            .output()
            .unwrap();
        let hex = String::from_utf8(listed.stdout).unwrap()[..64].to_owned();
        assert_eq!(digest.trim(), format!("sha256:{hex}"));
        server.event("logout");
    }
    let log = stage.run_at_server(&["audit", "show", "--json"]).ok();
    assert!(
        log.contains("sha256:") && !log.contains("\"event\":\"failed\""),
        "the client did not finish its connection: {log}"
    );
}

#[test]
fn python_example_checks_server_and_reports_errors() {
    let stage = stage();
    let server = stage.joined();
    let (_, path) = shared_secret::secret(&stage, &server, "py.secret", "server-end-point");
    stage.write("file", b"content");
    let Some(outcome) = upload(&stage, &path, "file", "../file") else {
        eprintln!("SKIPPED: the example client needs python3");
        return;
    };
    let refused = |outcome: Outcome, words: &str| {
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        assert!(outcome.stderr.starts_with(words), "{outcome:?}");
    };
    refused(outcome, "name-refused: ");
    fs::create_dir(stage.path("home/folder")).unwrap();
    let outcome = upload(&stage, &path, "file", "folder").unwrap();
    refused(outcome, "not-a-file: ");

    let line = fs::read_to_string(&path).unwrap();
    let upload = || upload(&stage, &path, "file", "file").unwrap();
    fs::write(&path, line.replace(&server.fingerprint, &"0".repeat(64))).unwrap();
    refused(upload(), "this is not the server");
    fs::write(&path, line.replace("alice@", "bob@")).unwrap();
    refused(upload(), "login-refused: ");
    fs::write(&path, &line).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refused(upload(), "others can read the secret");
    assert!(!stage.path("home/file").exists());
    // A secret for the other binding is a different secret.
    let (_, path) = shared_secret::secret(&stage, &server, "other.secret", "exporter");
    let outcome = self::upload(&stage, &path, "file", "file").unwrap();
    refused(outcome, "login-refused: ");
}

#[test]
fn python_example_is_short_and_has_no_dependencies() {
    let text = fs::read_to_string(CLIENT).unwrap();
    let code: String = text.split("\"\"\"").step_by(2).collect();
    let lines = code
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(
        lines.clone().count() < 60,
        "{} lines of code",
        lines.count()
    );
    assert!(
        code.lines().all(|line| line.len() <= 120),
        "a line is too long to read"
    );
    let imports: Vec<&str> = code
        .lines()
        .filter(|line| line.contains("import"))
        .collect();
    assert_eq!(
        imports,
        ["import base64, hashlib, hmac, json, os, secrets, socket, ssl, struct, sys"]
    );
}
