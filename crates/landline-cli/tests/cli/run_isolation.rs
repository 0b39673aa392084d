//! What a command gets nothing of: variables, terminals and networks of others.

use std::{
    fs,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::json;
use testkit::{ServerProcess, Stage, frame, wait_for};

use crate::{
    order::into,
    run::{HOST, wait_for_end},
    shell::AtTerminal,
    stage,
};

/// Variables that change what programs do, and some that a server may have.
const REFUSED: &[&str] = &[
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG",
    "LD_BIND_NOW",
    "GCONV_PATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_TRACE",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TMPDIR",
    "TZDIR",
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "CDPATH",
    "GLOBIGNORE",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "MAIL",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "BROWSER",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "RUBYLIB",
    "RUBYOPT",
    "NODE_OPTIONS",
    "NODE_PATH",
    "JAVA_TOOL_OPTIONS",
    "CLASSPATH",
    "GIT_DIR",
    "GIT_SSH_COMMAND",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_COUNT",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "SSH_AUTH_SOCK",
    "SSH_CONNECTION",
    "SSH_ORIGINAL_COMMAND",
    "SSH_ASKPASS",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "INVOCATION_ID",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "SUDO_COMMAND",
    "http_proxy",
    "LANDLINE_STATE",
    "LANDLINE_JOB",
    "LANDLINE_TERM",
    "LC",
    "LANGX",
    "TERMCAP",
    "TERMINFO",
    "lang",
];
const ALLOWED: &[&str] = &["TERM", "LANG", "LC_ALL", "LC_TIME", "TZ"];

/// A request to print the environment, with these variables.
fn run_env(client: &mut testkit::RawClient, variables: &[String]) {
    let body = format!("env\0{}\0", variables.join("\0"));
    let header = json!({
        "type": "run", "arguments": 1, "environment": variables.len(), "size": body.len(),
    });
    client.send_json(&header).unwrap();
    client.send(&frame(&body)).unwrap();
}

/// Each variable that a program might obey is refused, alone and among 200 others. The server's own
/// are not passed on.
/// Proves `hostile-environment` in docs/faults.md.
#[test]
fn hostile_variables_are_refused() {
    let stage = stage();
    let mut command = stage.serve_command("127.0.0.1:0");
    command.envs(["LD_DEBUG_OUTPUT", "CREDENTIALS_DIRECTORY", "GIT_DIR"].map(|name| (name, "/no")));
    let server = stage.serve_with(command);
    let join = ["join", "-", "--as", "alice"];
    stage.run_with_input(&join, server.invite().as_bytes()).ok();
    let key = crate::login::client_key(&stage);
    let mut client = into("exec-requests", &server, &key);
    let many = |last: &str| -> Vec<String> {
        let names = (0..199).map(|number| format!("LC_{number}=x"));
        names.chain([format!("{last}=x")]).collect()
    };
    let mut refused = |variables: &[String], name: &str| {
        run_env(&mut client, variables);
        assert_eq!(
            client.error_code().unwrap().as_deref(),
            Some("denied"),
            "{name}"
        );
    };
    for name in REFUSED {
        refused(&[format!("{name}=x")], name);
        refused(&many(name), name);
    }
    refused(&["LANG".to_owned()], "a variable without a value");
    refused(&["=x".to_owned()], "a variable without a name");
    let mut run = vec!["run".to_owned()];
    for name in ALLOWED {
        run.extend(["--env".to_owned(), format!("{name}=C")]);
    }
    run.extend([HOST, "--", "env"].map(str::to_owned));
    let outcome = stage.run(&run).ok();
    let mut names: Vec<&str> = outcome
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    let own = ["HOME", "LANDLINE_JOB", "LOGNAME", "PATH", "SHELL", "USER"];
    let mut expected = [ALLOWED, &own].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// A program that types into terminals: into each of its streams, and into that of its session.
/// Prints what the system said, and then what was typed into its own terminal.
const TYPIST: &str = r#"
import fcntl, os, sys, termios
def type_into(fd):
    try:
        for byte in b"typed\n":
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([byte]))
        return "typed"
    except OSError as error:
        return os.strerror(error.errno)
try:
    own = os.open("/dev/tty", os.O_RDWR)
except OSError as error:
    own = None
    print("session:", os.strerror(error.errno))
if own is None:
    print("streams:", *(type_into(fd) for fd in range(3)), sep=",")
else:
    said = type_into(own)
    print("own:", os.ttyname(own) == "/dev/tty" or os.fstat(0).st_rdev != 0, os.getsid(0) == os.getpid(), flush=True)
    if said == "typed":
        print("read:", sys.stdin.readline().strip())
    else:
        print("refused:", said)
print("over", flush=True)
"#;

/// A server with a controlling terminal of its own, and the other side of that.
fn server_at_a_terminal(stage: &Stage) -> (ServerProcess, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let serve = stage.serve_command("127.0.0.1:0");
    let mut command = wrapped(&["setsid", "--ctty"], &serve);
    command
        .stdin(Stdio::from(slave))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (stage.serve_with(command), master)
}

/// The command after these words.
pub(crate) fn wrapped(words: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(words[0]);
    wrapped.args(&words[1..]).arg(command.get_program());
    wrapped.args(command.get_args()).env_clear();
    let variables = command.get_envs();
    wrapped.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// A command has no terminal but its own, so it can type into no other, whether the system allows
/// that or not.
/// Proves `terminal-hijack` in docs/faults.md.
#[test]
fn command_types_into_its_own_terminal_only() {
    let stage = stage();
    let (server, _terminal) = server_at_a_terminal(&stage);
    let join = ["join", "-", "--as", "alice"];
    stage.run_with_input(&join, server.invite().as_bytes()).ok();
    stage.write("home/typist", TYPIST.as_bytes());
    let nowhere = stage.run(&["run", HOST, "--", "python3", "typist"]).ok();
    let refused = "Inappropriate ioctl for device";
    assert_eq!(
        nowhere,
        format!(
            "session: No such device or address\nstreams:,{refused},{refused},{refused}\nover\n"
        )
    );
    let run = ["run", "--pty", HOST, "--", "python3", "typist"];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    assert_eq!(client.terminal.end(), Some(0));
    let shown = &client.terminal.shown;
    assert!(
        shown.contains("own: True True") && shown.contains("over"),
        "{shown}"
    );
    // What it typed came back to it, or the system refuses such typing (dev.tty.legacy_tiocsti).
    assert!(
        shown.contains("read: typed") || shown.contains("refused: "),
        "{shown}"
    );
}

/// The connection carries nothing any more, and neither side learns of it. The server ends what its
/// client has left.
/// Proves `leftover-process` in docs/faults.md.
#[test]
fn silent_network_ends_whole_process_tree() {
    let can_have_network = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .status();
    if !can_have_network.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a network of its own needs Linux, root, unshare and ip");
        return;
    }
    let stage = stage();
    let serve = stage.serve_command("127.0.0.1:0");
    let script = "ip link set lo up && exec \"$@\"";
    let mut command = wrapped(&["unshare", "--net", "sh", "-c", script, "sh"], &serve);
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = stage.serve_with(command);
    let pid = server.id().to_string();
    let within = ["nsenter", "--net", "--target", &pid];
    let invite = stage.path("invite");
    fs::write(&invite, server.invite()).unwrap();
    let joined = wrapped(&within, &stage.command(&["join", "-", "--as", "alice"]))
        .stdin(fs::File::open(&invite).unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(joined.unwrap().success());
    let left = "setsid sh -c 'echo $$ > a; exec sleep 1000' &
        (sh -c 'echo $$ > b; exec sleep 1000' &)
        sh -c 'echo $$ > c; kill -STOP $$' &
        echo $$ > d; trap '' TERM; while :; do echo line; sleep 0.1; done";
    let run = ["run", "--on-lost", "end:1s", HOST, "--", "sh", "-c", left];
    let mut client = wrapped(&within, &stage.command(&run))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let files = ["a", "b", "c", "d"].map(|name| stage.home().join(name));
    wait_for("four processes", || {
        let is_written = |file| fs::read(file).is_ok_and(|text| text.ends_with(b"\n"));
        files.iter().all(is_written)
    });
    let cut = wrapped(
        &within,
        Command::new("ip").args(["link", "set", "lo", "down"]),
    )
    .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    .status();
    assert!(cut.unwrap().success());
    client.kill().unwrap();
    client.wait().unwrap();
    for file in &files {
        wait_for_end(&format!("{}", file.display()), file);
    }
}
