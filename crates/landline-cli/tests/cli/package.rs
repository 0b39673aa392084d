//! The Debian package, and the files that the command writes for it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{ServerProcess, Stage};

use crate::stage;

/// Whether the program is installed. Otherwise prints that the test is skipped.
fn has(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: {program} {} is needed", arguments.join(" "));
    }
    found
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{error}");
    text
}

/// The names of all commands, with dashes for spaces. Each has a snapshot of its help.
fn commands() -> BTreeSet<String> {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help");
    names(&snapshots)
        .iter()
        .map(|name| name.strip_suffix(".txt").unwrap().to_owned())
        .collect()
}

/// Writes the files of the package as `cargo xtask dist` does.
fn write_files(stage: &Stage, folder: &Path) {
    let folder = folder.to_str().unwrap();
    stage.run(&["package-files", folder]).ok();
}

#[test]
fn every_command_has_a_manual_page() {
    let stage = stage();
    let folder = stage.path("package");
    write_files(&stage, &folder);
    check_pages(&folder.join("man"));
}

fn check_pages(folder: &Path) {
    let mut pages = commands();
    pages.insert("landline-ssh".to_owned());
    let expected = pages.iter().map(|name| format!("{name}.1.gz")).collect();
    assert_eq!(names(folder), expected);
    let page = fs::read(folder.join("landline.1.gz")).unwrap();
    // Compressed as well as possible, without a name and a time: `gzip -9n`.
    assert_eq!(page[..9], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2]);
}

#[test]
fn manual_pages_are_shown_without_warnings() {
    if !has("man", &["--version"]) {
        return;
    }
    let stage = stage();
    let folder = stage.path("package");
    write_files(&stage, &folder);
    for page in names(&folder.join("man")) {
        let output = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(folder.join("man").join(&page))
            .env("MANWIDTH", "80")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("SYNOPSIS"), "{page}: {text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{page}");
    }
}

/// A stage with a server that the client knows as `nas`, and the completion scripts.
fn stage_with_completions() -> (Stage, ServerProcess, PathBuf) {
    let stage = stage();
    let server = stage.serve(&[]);
    let invite = server.invite();
    stage
        .run(&["join", &invite, "--as", "alice", "--name", "nas"])
        .ok();
    let folder = stage.path("package");
    write_files(&stage, &folder);
    (stage, server, folder.join("completions"))
}

/// Runs a shell that finds the command under test in its PATH.
fn run_shell(stage: &Stage, shell: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/bin:/bin", profile_folder().display());
    run(Command::new(shell)
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("HOME", stage.path("user"))
        .env("LANDLINE_STATE", stage.path("client"))
        .current_dir(stage.path("user")))
}

/// The words before the cursor where a machine is expected, and the completion.
const MACHINES: &[(&str, &str)] = &[
    ("ping", "nas"),
    ("trust replace", "nas"),
    ("hosts rename", "nas"),
    ("user --on", "nas"),
    ("cp file", "nas:"),
];

#[test]
fn command_prints_the_scripts_of_the_package() {
    let (stage, _server, scripts) = stage_with_completions();
    for (shell, file) in [
        ("bash", "landline.bash"),
        ("fish", "landline.fish"),
        ("zsh", "_landline"),
    ] {
        let printed = stage.run(&["completions", shell]).ok();
        let packaged = std::fs::read_to_string(scripts.join(file)).unwrap();
        assert!(printed.trim_end() == packaged.trim_end(), "{shell}");
    }
}

#[test]
fn bash_completes_machines_and_commands() {
    let (stage, _server, scripts) = stage_with_completions();
    let complete = |words: &str, last: &str| {
        let previous = words.rsplit(' ').next().unwrap();
        let ask = format!(
            "source {}; COMP_WORDS=(landline {words} '{last}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _landline_or_path landline '{last}' {previous} 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            scripts.join("landline.bash").display()
        );
        run_shell(&stage, "bash", &["-c", &ask])
    };
    for (words, offered) in MACHINES {
        assert_eq!(complete(words, "n"), format!("{offered}\n"), "{words}");
    }
    assert_eq!(complete("ping", "x"), "\n");
    assert_eq!(complete("", "pi"), "ping\n");
    assert_eq!(complete("cp", "--rest"), "--restart\n");
}

#[test]
fn fish_completes_machines_and_commands() {
    if !has("fish", &["--version"]) {
        return;
    }
    let (stage, _server, scripts) = stage_with_completions();
    let complete = |line: &str| {
        let script = scripts.join("landline.fish");
        let ask = format!("source {}; complete -C 'landline {line}'", script.display());
        run_shell(&stage, "fish", &["--no-config", "-c", &ask])
    };
    for (words, offered) in MACHINES {
        let found = complete(&format!("{words} n"));
        assert!(
            found
                .lines()
                .any(|line| line.split('\t').next() == Some(offered)),
            "{words}: {found}"
        );
    }
    assert!(complete("pi").starts_with("ping\t"));
}

#[test]
fn zsh_completes_machines() {
    if !has("zsh", &["-c", "zmodload zsh/zpty"]) {
        return;
    }
    let (stage, _server, scripts) = stage_with_completions();
    for (words, offered) in MACHINES {
        // zsh completes at a terminal only. `zpty -r` waits for the pattern.
        let ask = format!(
            "zmodload zsh/zpty
             zpty shell 'zsh -f -i'
             zpty -w shell 'fpath=({} $fpath); autoload -U compinit; compinit -u -D; print rea\"\"dy'
             zpty -r shell text '*ready*'
             zpty -w -n shell $'landline {words} n\\t'
             zpty -r shell text '*{words} {offered}*'",
            scripts.display()
        );
        run_shell(&stage, "timeout", &["30", "zsh", "-f", "-c", &ask]);
    }
}

/// Packs the command under test as `cargo xtask deb` packs the one of profile `dist`.
fn build_deb(stage: &Stage) -> PathBuf {
    let deb = stage.path("landline.deb");
    let files = profile_folder().join("package");
    // It may have pages of commands that are gone.
    let _ = fs::remove_dir_all(&files);
    write_files(stage, &files);
    let profile = match profile_folder().file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        name => name.unwrap(),
    }
    .to_owned();
    run(Command::new("cargo")
        .args([
            "deb",
            "--package",
            "landline-cli",
            "--no-build",
            "--no-strip",
        ])
        .args(["--fast", "--offline", "--locked", "--profile", &profile])
        .arg("--output")
        .arg(&deb)
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    deb
}

#[test]
fn unpacked_package_is_complete_and_serves() {
    if !has("cargo", &["deb", "--version"]) || !has("dpkg-deb", &["--version"]) {
        return;
    }
    let stage = stage();
    let deb = build_deb(&stage);
    let root = stage.path("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root));
    check_files(&root);
    check_policy(&deb);
    check_units(&root);
    let control = stage.path("control");
    run(Command::new("dpkg-deb").arg("-e").arg(&deb).arg(&control));
    check_script(&control);
    check_user(&root);

    let binary = root.join("usr/bin/landline");
    let version = run(Command::new(&binary).arg("--version"));
    assert_eq!(version, format!("landline {}\n", env!("CARGO_PKG_VERSION")));
    let installed = Stage::new(binary.to_str().unwrap());
    let server = installed.serve(&[]);
    let invite = server.invite();
    installed.run(&["join", &invite, "--as", "alice"]).ok();
    installed.run(&["ping", &server.address]).ok();
}

fn check_files(root: &Path) {
    check_pages(&root.join("usr/share/man/man1"));
    for file in [
        "bash-completion/completions/landline",
        "zsh/vendor-completions/_landline",
        "fish/vendor_completions.d/landline.fish",
        "doc/landline/LICENSE-MIT",
        "doc/landline/copyright",
        "doc/landline/changelog.gz",
        "doc/landline/changelog.Debian.gz",
        "doc/landline/README.md",
        "doc/landline/docs/guide.md",
    ] {
        assert!(root.join("usr/share").join(file).is_file(), "{file}");
    }
    let link = fs::read_link(root.join("usr/bin/landline-ssh")).unwrap();
    assert_eq!(link, Path::new("landline"));
}

/// Checks the package with lintian, which knows the policy of Debian.
fn check_policy(deb: &Path) {
    if !has("lintian", &["--version"]) {
        return;
    }
    let output = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning"])
        // The binary of a test is not stripped, and Debian has no bug that the package closes.
        .arg("--suppress-tags")
        .arg("unstripped-binary-or-object,initial-upload-closes-no-bugs")
        .arg(deb)
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{found}");
}

fn check_units(root: &Path) {
    let units = root.join("usr/lib/systemd/system");
    let service = fs::read_to_string(units.join("landline.service")).unwrap();
    for line in ["ExecStart=\"/usr/bin/landline\" serve", "User=landline"] {
        assert!(service.lines().any(|it| it == line), "{line}: {service}");
    }
    let socket = fs::read_to_string(units.join("landline.socket")).unwrap();
    assert!(socket.contains("\nListenStream=5263\n"), "{socket}");
    let launcher = fs::read_to_string(units.join("landline-launcher.service")).unwrap();
    assert!(launcher.contains("\nUser=landline\n"), "{launcher}");
    let socket = fs::read_to_string(units.join("landline-launcher.socket")).unwrap();
    assert!(socket.contains("\nSocketUser=landline\n"), "{socket}");
}

/// Installing the package creates the user and starts no server.
fn check_script(control: &Path) {
    let script = fs::read_to_string(control.join("postinst")).unwrap();
    let user = script.find("systemd-sysusers").unwrap();
    let folder = script.find("systemd-tmpfiles").unwrap();
    assert!(user < folder, "{script}");
    assert!(!script.contains("deb-systemd-invoke start"), "{script}");
}

fn check_user(root: &Path) {
    let folders = fs::read_to_string(root.join("usr/lib/tmpfiles.d/landline.conf")).unwrap();
    assert_eq!(folders, "d /var/lib/landline 0700 landline landline -\n");
    if !has("systemd-sysusers", &["--version"]) {
        return;
    }
    fs::create_dir(root.join("etc")).unwrap();
    run(Command::new("systemd-sysusers")
        .arg(format!("--root={}", root.display()))
        .arg("landline.conf"));
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.starts_with("landline:"), "{users}");
    assert!(
        users.ends_with(":/var/lib/landline:/usr/sbin/nologin\n"),
        "{users}"
    );
}

/// The folder in which cargo has built the command under test.
fn profile_folder() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_landline"));
    binary.parent().unwrap().to_path_buf()
}
