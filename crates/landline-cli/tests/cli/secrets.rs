//! Secrets appear only in their own file: in no argument, environment, output, log or other file.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use testkit::Stage;

use crate::stage;

/// Regular files below `folder` that contain `needle`, except `allowed`.
pub(crate) fn files_with(folder: &Path, needle: &[u8], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle, allowed));
        } else if path.is_file() && !allowed.iter().any(|name| path.ends_with(name)) {
            let content = fs::read(&path).unwrap();
            if content.windows(needle.len()).any(|window| window == needle) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn invite_token_is_only_in_its_file() {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    let token = invite.rsplit('.').next().unwrap().to_owned();
    let mode = fs::metadata(server.invite_file().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for file in ["cmdline", "environ"] {
        let content = fs::read(format!("/proc/{}/{file}", server.id())).unwrap();
        assert!(
            !String::from_utf8_lossy(&content).contains(&token),
            "{file}"
        );
    }
    let outcome = stage.run_with_input(&["join", "-", "--as", "alice"], invite.as_bytes());
    assert!(!outcome.stderr.contains(&token));
    assert!(!outcome.ok().contains(&token));
    assert!(!server.event("login").to_string().contains(&token));
    stage
        .run_with_input(&["--json", "join", "-", "--as", "bob"], invite.as_bytes())
        .fails(12, "invite-used");
    assert!(!server.event("refused").to_string().contains(&token));
    let raw: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&token[i * 2..i * 2 + 2], 16).unwrap())
        .collect();
    for needle in [token.as_bytes(), &raw] {
        assert_eq!(
            files_with(&stage.path("server"), needle, &["server/invite"]),
            Vec::<String>::new()
        );
        assert_eq!(
            files_with(&stage.path("client"), needle, &[]),
            Vec::<String>::new()
        );
    }
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn state_secrets_are_readable_by_owner_only() {
    let stage = stage();
    let _server = stage.joined();
    let mode = |name: &str| fs::metadata(stage.path(name)).unwrap().permissions().mode() & 0o777;
    for folder in ["server/server", "client/client"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in [
        "server/server/identity.key",
        "client/client/id_ed25519",
        "client/client/servers.json",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

/// Proves `secret-exposure` in docs/faults.md.
#[test]
fn passphrase_prompt_does_not_show_input() {
    let stage = stage();
    let server = stage.serve(&[]);
    let phrase = "correct horse battery";
    let path = stage.path("key").display().to_string();
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", phrase, "-f", &path])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: ssh-keygen is needed (openssh-client)");
        return;
    }
    let screen = typed(
        &stage,
        &[
            "--json",
            "join",
            &server.invite(),
            "--as",
            "bob",
            "-i",
            &path,
        ],
        phrase,
    );
    let Some(screen) = screen else {
        eprintln!("SKIPPED: a terminal needs python3");
        return;
    };
    assert!(
        screen.contains("Passphrase for") && screen.contains(r#""user":"bob""#),
        "{screen}"
    );
    assert!(!screen.contains(phrase), "{screen}");
    let ping = ["--json", "ping", "127.0.0.1"];
    let screen = typed(&stage, &ping, "another phrase").unwrap();
    assert!(screen.contains(r#""code":"key""#), "{screen}");
}

/// Runs the command on a pseudo-terminal, types a line at each prompt for a passphrase, only Enter
/// at one for a password, and returns the screen. Needs python3.
fn typed(stage: &Stage, arguments: &[&str], line: &str) -> Option<String> {
    const SCRIPT: &str = "
import os, pty, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
screen, typed = b'', 0
while True:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    screen += piece
    asked = screen.count(b'Passphrase for') + screen.count(b'Password for')
    if typed < asked:
        # The prompt is there a moment before echo is off; no person types that fast.
        while termios.tcgetattr(fd)[3] & termios.ECHO:
            time.sleep(0.01)
        is_password = screen.rfind(b'Password for') > screen.rfind(b'Passphrase for')
        os.write(fd, (b'' if is_password else os.environ['LINE'].encode()) + b'\\n')
        typed += 1
os.waitpid(pid, 0)
sys.stdout.buffer.write(screen)
";
    let output = std::process::Command::new("python3")
        .args(["-c", SCRIPT, env!("CARGO_BIN_EXE_landline")])
        .args(arguments)
        .env("LINE", line)
        .env("LANDLINE_STATE", stage.path("client"))
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
