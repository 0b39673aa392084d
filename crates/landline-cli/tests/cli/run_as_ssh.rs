//! Programs that call ssh, with landline in its place.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use testkit::Stage;

use crate::{
    run::{HOST, set_rights},
    stage,
};

/// A command for another program that calls ssh, with the landline of the stage.
fn with_landline(stage: &Stage, program: &str, arguments: &[&str]) -> Command {
    let landline = stage.command::<&str>(&[]);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LANDLINE_STATE", stage.path("client"))
        .env("HOME", stage.path("user"))
        .env(
            "GIT_SSH_COMMAND",
            format!("{} run", env!("CARGO_BIN_EXE_landline")),
        )
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("PATH", "/usr/bin:/bin")
        .current_dir(landline.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// git needs no right to a shell, and speaks its second protocol.
#[test]
fn git_clones_and_pushes() {
    let stage = stage();
    let server = stage.joined();
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nhome = \"~\"\nexec = [[\"git-upload-pack\", \"...\"], [\"git-receive-pack\", \"...\"]]",
    );
    let git = |arguments: &[&str]| {
        stage
            .run_command(with_landline(&stage, "git", arguments))
            .ok()
    };
    let bare = stage.home().join("a b.git");
    git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
    let port = server.address.rsplit_once(':').unwrap().1;
    let url = format!("ssh://alice@{HOST}:{port}{}", bare.display());
    git(&["clone", "-q", &url, "one"]);
    stage.write("user/one/file", b"content");
    let identity = ["-C", "one", "-c", "user.name=a", "-c", "user.email=a@b"];
    git(&[&identity[..], &["add", "file"]].concat());
    git(&[&identity[..], &["commit", "-q", "-m", "first"]].concat());
    git(&["-C", "one", "push", "-q", "origin", "HEAD:main"]);
    let mut clone = with_landline(
        &stage,
        "git",
        &[
            "-c",
            "protocol.version=2",
            "clone",
            "-q",
            "-b",
            "main",
            &url,
            "two",
        ],
    );
    clone.env("GIT_TRACE_PACKET", stage.path("trace"));
    stage.run_command(clone).ok();
    assert_eq!(stage.read("user/two/file"), b"content");
    assert!(
        String::from_utf8(stage.read("trace"))
            .unwrap()
            .contains("version 2")
    );
    stage.run(&["run", "-G", "-p", port, HOST]).ok();
}

/// Names that a shell would act on arrive as they are, and need no right to a shell.
#[test]
fn rsync_copies_any_name_both_ways() {
    use std::os::unix::ffi::OsStrExt;
    if Command::new("rsync").arg("--version").output().is_err() {
        eprintln!("SKIPPED: rsync is needed");
        return;
    }
    let stage = stage();
    let server = stage.joined();
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nhome = \"~\"\nexec = [[\"rsync\", \"...\"]]",
    );
    stage.write("home/.bashrc", b"echo noise\n");
    let names: [&[u8]; 9] = [
        b"a b",
        b"*",
        b"$HOME",
        b"`x`",
        b"q'\"q",
        b"n\nl",
        b"-dash",
        b"\xff\x80",
        b"a;b",
    ];
    let source = stage.path("user/source");
    fs::create_dir(&source).unwrap();
    for name in names {
        fs::write(source.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let shell = format!("{} run", env!("CARGO_BIN_EXE_landline"));
    let rsync = |from: &str, to: &str| {
        let arguments = ["-a", "-e", &shell, from, to];
        stage
            .run_command(with_landline(&stage, "rsync", &arguments))
            .ok();
    };
    rsync("source/", &format!("{HOST}:there/"));
    rsync(&format!("{HOST}:there/"), "back/");
    rsync(&format!("{HOST}:there/a b"), "one");
    for name in names {
        let copy = stage
            .path("user/back")
            .join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(copy).unwrap(), name);
    }
    assert_eq!(stage.read("user/one"), b"a b");
}

/// Programs that take one word for ssh get the command under another name.
#[test]
fn scp_and_sftp_copy_through_landline_ssh() {
    let stage = stage();
    let server = stage.joined();
    set_rights(
        &stage,
        &server,
        "role = \"owner\"\nhome = \"~\"\nexec = [[\"sftp-server\"]]",
    );
    let ssh = stage.path("landline-ssh");
    symlink(env!("CARGO_BIN_EXE_landline"), &ssh).unwrap();
    let ssh = ssh.to_str().unwrap();
    stage.write("user/file", b"content");
    let port = server.address.rsplit_once(':').unwrap().1;
    let to = format!("alice@{HOST}:copy");
    let up = ["-q", "-S", ssh, "-P", port, "file", &to];
    stage.run_command(with_landline(&stage, "scp", &up)).ok();
    assert_eq!(stage.read("home/copy"), b"content");
    let down = ["-q", "-S", ssh, "-P", port, &to, "back"];
    stage.run_command(with_landline(&stage, "scp", &down)).ok();
    assert_eq!(stage.read("user/back"), b"content");
    stage.write("user/batch", b"rename copy moved\n");
    let batch = [
        "-q",
        "-S",
        ssh,
        "-b",
        "batch",
        "-P",
        port,
        &format!("alice@{HOST}"),
    ];
    stage
        .run_command(with_landline(&stage, "sftp", &batch))
        .ok();
    assert_eq!(stage.read("home/moved"), b"content");
}

/// What ssh would do and landline does not is refused by its name, before anything is connected.
#[test]
fn options_without_meaning_are_refused_by_name() {
    let stage = stage();
    for option in [
        "-A", "-X", "-Y", "-M", "-Sx", "-Oexit", "-g", "-w0:0", "-K", "-Ix", "-bx", "-Bx", "-cx",
        "-mx", "-Fx", "-Ex", "-y", "-Qcipher",
    ] {
        let message = stage
            .run(&["--json", "run", option, HOST, "--", "true"])
            .fails(2, "usage");
        assert!(message.contains(&option[..2]), "{message}");
    }
}

/// Options that programs add to every call of ssh change nothing, or what they change in ssh.
#[test]
fn usual_options_of_ssh_are_taken() {
    let stage = stage();
    let _server = stage.joined();
    for options in [
        &["-4"][..],
        &["-6", "-4"],
        &["-C", "-q", "-T"],
        &["-a", "-x", "-n"],
        &["-oAddressFamily=inet"],
    ] {
        let words = [&["run"], options, &[HOST, "--", "echo", "x"]].concat();
        assert_eq!(stage.run(&words).ok(), "x\n");
    }
    for verbose in ["-v", "-vv", "-vvv"] {
        let outcome = stage.run(&["run", verbose, HOST, "--", "true"]);
        assert_eq!(outcome.status, Some(0));
        assert!(!outcome.stderr.is_empty(), "{verbose}");
    }
    for option in ["-6", "-oAddressFamily=inet6"] {
        let words = ["--json", "run", option, HOST, "--", "true"];
        stage.run(&words).fails(255, "connect");
    }
}

/// `-G` says what a host means, without a connection.
#[test]
fn settings_are_printed_as_ssh_prints_them() {
    let stage = stage();
    let server = stage.joined();
    let (_, port) = server.address.rsplit_once(':').unwrap();
    fs::create_dir(stage.path("user/.ssh")).unwrap();
    let config = "Host inner\n  HostName inner.example\n  User bob\n  ProxyJump gate\n  IdentityFile ~/.ssh/id\n";
    stage.write("user/.ssh/config", config.as_bytes());
    let shown = stage.run(&["run", "-G", HOST]).ok();
    assert!(
        shown.starts_with(&format!(
            "user alice\nhostname {HOST}\nport {port}\nidentityfile "
        )),
        "{shown}"
    );
    drop(server);
    let shown = stage.run(&["run", "-G", "inner"]).ok();
    let expected = format!(
        "user bob\nhostname inner.example\nport 5263\nidentityfile {}\nproxyjump gate\n",
        stage.path("user/.ssh/id").display()
    );
    assert_eq!(shown, expected);
    assert_eq!(
        stage
            .run(&["run", "-G", "-p", "22", "-l", "eve", "host"])
            .ok(),
        "user eve\nhostname host\nport 22\n"
    );
}
