//! `cargo xtask test`: sets up what the tests need, runs all of them, then the tidy checks.

use std::path::Path;

use crate::{process, tidy};

/// A program the tests use beyond Rust itself.
struct Need {
    /// The program looked for.
    program: &'static str,
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
    /// Whether Debian starts a server as soon as they are installed.
    starts: bool,
}

impl Need {
    const fn new(program: &'static str, packages: &'static [&'static str]) -> Self {
        Self {
            program,
            packages,
            starts: false,
        }
    }

    /// Whether installing it would do more to this machine than tests may.
    fn is_left_to_people(&self) -> bool {
        self.starts && Path::new("/run/systemd/system").exists()
    }
}

/// Everything the tests and checks use beyond Rust itself.
const NEEDS: [Need; 11] = [
    Need::new("ssh-keygen", &["openssh-client"]),
    // The tests start their own; where systemd runs, installing it would start another that
    // listens on all addresses.
    Need {
        starts: true,
        ..Need::new("sshd", &["openssh-server"])
    },
    Need::new("python3", &["python3"]),
    // gcc only recommends the C library's headers, and recommended packages are left out.
    Need::new("cc", &["gcc", "libc6-dev"]),
    Need::new("git", &["git"]),
    Need::new("rsync", &["rsync"]),
    // Both are only started, in a sandbox; this machine may well run without them.
    Need::new("systemd-run", &["systemd"]),
    Need::new("dbus-daemon", &["dbus"]),
    Need::new("man", &["man-db"]),
    Need::new("zsh", &["zsh"]),
    Need::new("fish", &["fish"]),
];

/// Sets up, tests, tidies. Every part runs even when one before it failed; the error names all that
/// failed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let parts = [
        set_up(root),
        process::run(process::cargo(&["test", "--workspace", "--locked"], root)),
        tidy::run(root),
    ];
    let failed: Vec<String> = parts.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\nxtask: "))
    }
}

/// Runs every test with the long loops whole: `LANDLINE_SOAK` tells them so.
pub(crate) fn soak(root: &Path) -> Result<(), String> {
    let mut tests = process::cargo(
        &["test", "--workspace", "--locked", "--", "--nocapture"],
        root,
    );
    tests.env("LANDLINE_SOAK", "1");
    set_up(root).and(process::run(tests))
}

/// Loses the connection of commands so many times.
pub(crate) fn soak_disconnects(root: &Path, count: &str) -> Result<(), String> {
    if count.parse::<u32>().is_err() {
        return Err(format!("{count:?} is not a number of disconnects"));
    }
    let words = [
        "test",
        "-p",
        "landline-cli",
        "--test",
        "cli",
        "--locked",
        "--",
        "--nocapture",
        "disconnects::",
    ];
    let mut tests = process::cargo(&words, root);
    tests.env("LANDLINE_DISCONNECTS", count);
    process::run(tests)
}

/// Installs what is missing where that can be done, and names what is missing where it cannot.
fn set_up(root: &Path) -> Result<(), String> {
    let (left, missing): (Vec<_>, Vec<_>) = missing()
        .into_iter()
        .partition(|need| need.is_left_to_people());
    if !left.is_empty() {
        println!("xtask: {}", advice(&left));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = installer(root) else {
        println!("xtask: {}", advice(&missing));
        return Ok(());
    };
    install(root, prefix, &missing).map_err(|why| format!("{why}; {}", advice(&missing)))
}

/// The needs whose program is nowhere on this machine.
fn missing() -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| process::find(need.program).is_none())
        .collect()
}

/// The words to put before `apt-get`, or nothing where packages cannot be installed from here.
fn installer(root: &Path) -> Option<&'static [&'static str]> {
    process::find("apt-get")?;
    let user = process::output(process::command("id", &["-u"], root)).ok()?;
    if user.trim_ascii() == b"0" {
        Some(&[])
    } else if process::succeeds(process::command("sudo", &["-n", "true"], root)) {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}

/// Installs the packages of `missing`.
fn install(root: &Path, prefix: &[&str], missing: &[&Need]) -> Result<(), String> {
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    apt_get(root, prefix, &["update"])?;
    apt_get(
        root,
        prefix,
        &[
            ["install", "-y", "--no-install-recommends"].as_slice(),
            &packages,
        ]
        .concat(),
    )
}

/// Runs `apt-get` so that no package asks a question.
fn apt_get(root: &Path, prefix: &[&str], arguments: &[&str]) -> Result<(), String> {
    let words = [
        prefix,
        &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
        arguments,
    ]
    .concat();
    let Some((program, rest)) = words.split_first() else {
        return Err("no command to run: this is a mistake in xtask/src/test.rs".to_owned());
    };
    process::run(process::command(program, rest, root))
}

/// What is missing, and what to do about it.
fn advice(missing: &[&Need]) -> String {
    let programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    format!(
        "missing: {}. Tests that need one of them are skipped and say so; install it (Debian: apt-get install {})",
        programs.join(", "),
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_programs_and_packages() {
        let text = advice(
            &NEEDS
                .iter()
                .filter(|need| need.program == "ssh-keygen")
                .collect::<Vec<_>>(),
        );
        assert!(text.contains("missing: ssh-keygen."), "{text}");
        assert!(text.contains("apt-get install openssh-client"), "{text}");
    }
}
