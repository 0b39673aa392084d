//! Shells and other programs at a terminal: what the terminal shows, and what is left of it.

use std::{path::Path, process::Command};

use rustix::process::Signal;
use testkit::{ServerProcess, Stage, Terminal, wait_for};

use crate::{run::HOST, stage};

/// A client at a terminal of its own, which an independent emulator shows.
pub(crate) struct AtTerminal {
    pub(crate) terminal: Terminal,
    rows: u16,
    columns: u16,
}

impl AtTerminal {
    pub(crate) fn start(stage: &Stage, arguments: &[&str], rows: u16, columns: u16) -> Self {
        Self::start_command(&mut stage.command(arguments), rows, columns)
    }

    pub(crate) fn start_command(command: &mut Command, rows: u16, columns: u16) -> Self {
        command.env("TERM", "xterm-256color");
        Self {
            terminal: Terminal::start_sized(command, rows, columns),
            rows,
            columns,
        }
    }

    /// What the terminal shows after these bytes.
    fn show(&self, bytes: &[u8]) -> vt100::Parser {
        let mut emulator = emulator(self.rows, self.columns);
        emulator.process(bytes);
        emulator
    }

    pub(crate) fn screen(&self) -> vt100::Parser {
        self.show(&self.terminal.bytes)
    }

    /// Waits until the screen is as expected.
    #[track_caller]
    pub(crate) fn wait_for_screen(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let (rows, columns) = (self.rows, self.columns);
        let mut emulator = emulator(rows, columns);
        let mut taken = 0;
        self.terminal.wait_until(what, |bytes| {
            emulator.process(&bytes[taken..]);
            taken = bytes.len();
            is_so(emulator.screen())
        });
    }

    #[track_caller]
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        self.wait_for_screen(text, |screen| screen.contents().contains(text));
    }

    /// Leaves the program, which continues.
    #[track_caller]
    pub(crate) fn detach(&mut self) {
        self.terminal.type_keys(b"\r~d");
        assert_eq!(self.terminal.end(), Some(130), "{}", self.terminal.shown);
    }
}

fn emulator(rows: u16, columns: u16) -> vt100::Parser {
    let size = |count: u16| count.try_into().unwrap();
    vt100::Parser::new(size(rows), size(columns), 0)
}

/// A stage whose server runs, and a shell with a plain prompt at 24 x 80.
pub(crate) fn shell(stage: &Stage, name: &str) -> AtTerminal {
    let mut client = AtTerminal::start(stage, &["shell", HOST, name], 24, 80);
    client
        .terminal
        .wait_until("a prompt", |bytes| !bytes.is_empty());
    client.terminal.type_line("PS1='ready> '; clear");
    client.wait_for_screen("a plain prompt", |screen| {
        screen.contents().starts_with("ready>")
    });
    client
}

fn jobs(stage: &Stage) -> String {
    stage.run(&["--json", "jobs", HOST]).ok()
}

/// A paste, or a program that types, has all of it arrive at once.
#[test]
fn keys_just_before_an_escape_are_delivered() {
    let stage = stage();
    let _server = stage.joined();
    for (number, escape) in ["~d", "~."].into_iter().enumerate() {
        let mut client = shell(&stage, "work");
        let made = stage.home().join(format!("made-{number}"));
        let keys = format!("touch {}\r{escape}", made.display());
        client.terminal.type_keys(keys.as_bytes());
        assert_eq!(client.terminal.end(), Some(130), "{escape}");
        wait_for("the file", || made.exists());
    }
}

#[test]
fn shell_has_the_environment_of_a_login() {
    let stage = stage();
    let server = stage.joined();
    let mut client = shell(&stage, "work");
    client
        .terminal
        .type_line("echo \"$0 $TERM $HOME $USER $LOGNAME\"; pwd; stty size");
    let home = stage.home().canonicalize().unwrap();
    let lines = [
        " xterm-256color ".to_owned(),
        format!("\n{}\n24 80\n", home.display()),
    ];
    for line in lines {
        client.wait_for_text(&line);
    }
    let contents = client.screen().screen().contents();
    let name = contents.lines().nth(1).unwrap();
    assert!(
        name.starts_with('-') && name.split(' ').count() == 5,
        "{name}"
    );
    assert_eq!(server.event("run-start")["shell"], true);
    let row = jobs(&stage);
    assert!(
        row.contains("(login shell)") && row.contains("work"),
        "{row}"
    );
}

/// Nothing of a shell is kept once its client has seen its end.
#[test]
fn shell_ends_with_its_own_status() {
    let stage = stage();
    let _server = stage.joined();
    for name in [&["work"][..], &[]] {
        let arguments = [&["shell", HOST], name].concat();
        let mut client = AtTerminal::start(&stage, &arguments, 24, 80);
        client.terminal.type_line("exit 3");
        assert_eq!(client.terminal.end(), Some(3));
        assert!(!client.terminal.shown.contains("landline"));
        assert_eq!(jobs(&stage), "");
    }
}

#[test]
fn shell_needs_a_terminal() {
    let stage = stage();
    let _server = stage.joined();
    stage.run(&["--json", "shell", HOST]).fails(2, "usage");
}

/// A shell of another name is another one, and a job is no shell.
#[test]
fn named_shell_is_returned_to() {
    let stage = stage();
    let _server = stage.joined();
    let mut first = shell(&stage, "work");
    first.terminal.type_line("mark=here; echo set");
    first.wait_for_text("\nset\n");
    first.detach();
    let mut again = AtTerminal::start(&stage, &["shell", HOST, "work"], 30, 100);
    again.wait_for_text("\nset\nready>");
    again
        .terminal
        .type_line("clear; echo \"[$mark]\"; stty size");
    again.wait_for_text("[here]\n30 100\n");
    again.detach();
    let mut other = shell(&stage, "other");
    other.terminal.type_line("echo \"[$mark]\"");
    other.wait_for_text("\n[]\n");
    other.detach();
    stage
        .run(&["run", "--detach", "--id", "job", HOST, "--", "sleep", "60"])
        .ok();
    let mut job = AtTerminal::start(&stage, &["--json", "shell", HOST, "job"], 24, 80);
    assert_eq!(job.terminal.end(), Some(255));
    assert!(
        job.terminal.shown.contains("exists"),
        "{}",
        job.terminal.shown
    );
}

/// A shell that has ended without a client is replaced by another one.
#[test]
fn ended_shell_is_replaced() {
    let stage = stage();
    let _server = stage.joined();
    let mut client = shell(&stage, "work");
    let script = "touch begun; until test -e go; do sleep 0.1; done; exit 3";
    client.terminal.type_line(script);
    wait_for("the last command", || stage.home().join("begun").exists());
    client.detach();
    wait_for("the server to see that", || {
        stage.run(&["--json", "who", HOST]).ok().lines().count() == 1
    });
    stage.write("home/go", b"");
    wait_for("the end of the shell", || {
        jobs(&stage).contains("\"ended\"")
    });
    shell(&stage, "work").detach();
    assert_eq!(jobs(&stage).lines().count(), 1);
}

/// The screen is right without a key, at any size.
#[test]
fn full_screen_is_shown_at_another_size() {
    let stage = stage();
    let _server = stage.joined();
    let vim = Path::new("/usr/bin/vim");
    if !vim.exists() {
        eprintln!("skipped: vim is not installed");
        return;
    }
    let text: String = (1..=100).map(|line| format!("line {line}\n")).collect();
    stage.write("home/text", text.as_bytes());
    let mut client = shell(&stage, "work");
    client.terminal.type_line("vim -u NONE -N text");
    client.wait_for_text("line 23\n");
    client.detach();

    let mut wide = AtTerminal::start(&stage, &["shell", HOST, "work"], 40, 120);
    wide.wait_for_text("line 39");
    assert!(wide.screen().screen().alternate_screen());
    wide.terminal.resize(30, 100);
    wide.rows = 30;
    wide.wait_for_screen("30 lines", |screen| {
        let contents = screen.contents();
        contents.contains("line 29") && !contents.contains("line 30")
    });
    wide.detach();
    let mut same = AtTerminal::start(&stage, &["shell", HOST, "work"], 30, 100);
    same.wait_for_screen("30 lines", |screen| {
        let contents = screen.contents();
        contents.contains("line 29") && !contents.contains("line 30")
    });
    same.terminal.type_keys(b":q\r");
    // The main screen beneath it is there, too.
    same.wait_for_screen("the shell", |screen| {
        !screen.alternate_screen() && screen.contents().contains("vim -u NONE -N text")
    });
    same.detach();
}

/// A program that sets modes, and waits.
const MODES: &str = "printf 'before\\n\\033[?1049h\\033[?1000h\\033[?1006h\\033[?2004h\\033[?1004h\\033[?25l\\033[31m\\033]2;title\\007in the middle'; sleep 60";

/// Proves `screen-left` in docs/faults.md.
#[test]
fn terminal_is_restored_on_leave() {
    let stage = stage();
    let _server = stage.joined();
    let run = ["run", "--pty", HOST, "--", "sh", "-c", MODES];
    type Leave = fn(&mut AtTerminal);
    let ways: [(&str, Leave); 3] = [
        ("~d", |client| client.terminal.type_keys(b"\r~d")),
        ("~.", |client| client.terminal.type_keys(b"\r~.")),
        ("SIGTERM", |client| client.terminal.signal(Signal::TERM)),
    ];
    for (how, leave) in ways {
        let mut client = AtTerminal::start(&stage, &run, 24, 80);
        client.wait_for_text("in the middle");
        assert!(client.screen().screen().alternate_screen());
        leave(&mut client);
        client.terminal.wait_for_showing();
        assert_eq!(client.terminal.end(), Some(130), "{how}");
        assert_plain(&client, how);
        let contents = client.screen().screen().contents();
        assert!(contents.starts_with("before\n"), "{how}: {contents}");
    }
}

#[track_caller]
fn assert_plain(client: &AtTerminal, how: &str) {
    let emulator = client.screen();
    let screen = emulator.screen();
    assert!(!screen.alternate_screen(), "{how}");
    assert!(!screen.bracketed_paste(), "{how}");
    assert!(!screen.hide_cursor(), "{how}");
    assert_eq!(
        screen.mouse_protocol_mode(),
        vt100::MouseProtocolMode::None,
        "{how}"
    );
    assert_eq!(screen.fgcolor(), vt100::Color::Default, "{how}");
}

/// A terminal without modes of programs gets none of the sequences that undo them.
/// Proves `screen-left` in docs/faults.md.
#[test]
fn plain_program_leaves_plain_output() {
    let stage = stage();
    let _server = stage.joined();
    let run = ["run", "--pty", HOST, "--", "sh", "-c", "printf bye; exit 4"];
    for _ in 0..5 {
        let mut client = AtTerminal::start(&stage, &run, 24, 80);
        assert_eq!(client.terminal.end(), Some(4));
        assert_eq!(client.terminal.shown, "bye");
    }
    assert_eq!(jobs(&stage), "");
}

#[test]
fn fresh_terminal_gets_the_modes() {
    let stage = stage();
    let _server = stage.joined();
    let run = ["run", "--pty", HOST, "--", "sh", "-c", MODES];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    client.wait_for_text("in the middle");
    client.detach();
    let row = jobs(&stage);
    let job: serde_json::Value = serde_json::from_str(row.trim()).unwrap();
    let attach = ["attach", HOST, job["job"].as_str().unwrap()];
    let mut fresh = AtTerminal::start(&stage, &attach, 24, 80);
    fresh.wait_for_screen("the screen with its modes", |screen| {
        screen.contents().contains("in the middle")
            && screen.alternate_screen()
            && screen.bracketed_paste()
            && screen.hide_cursor()
            && screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None
    });
    fresh.terminal.wait_for("\x1b]2;title");
    fresh.detach();
    assert_plain(&fresh, "attach");
}

#[test]
fn job_has_size_of_terminal() {
    let stage = stage();
    let _server = stage.joined();
    let run = ["run", "--pty", HOST, "--", "stty", "size"];
    for _ in 0..20 {
        let mut client = AtTerminal::start(&stage, &run, 40, 133);
        assert_eq!(client.terminal.end(), Some(0));
        assert_eq!(client.terminal.shown, "40 133\r\n");
    }
    assert_eq!(stage.run(&run).stdout, b"24 80\r\n");
}

#[test]
fn unknown_terminal_is_replaced() {
    let stage = stage();
    let _server = stage.joined();
    let script = "echo $TERM $LANDLINE_TERM $COLORTERM";
    let mut command = stage.command(&["run", "--pty", HOST, "--", "sh", "-c", script]);
    command
        .env("TERM", "no-such-terminal")
        .env("COLORTERM", "truecolor");
    let mut terminal = Terminal::start(&command);
    assert_eq!(terminal.end(), Some(0));
    assert_eq!(
        terminal.shown,
        "xterm-256color no-such-terminal truecolor\r\n"
    );
}

/// While a client is attached, its terminal answers. Otherwise the server does.
/// Proves `query-twice` in docs/faults.md.
#[test]
fn query_has_one_answer() {
    let stage = stage();
    let _server = stage.joined();
    // It prints how many bytes come as an answer, once the file is there.
    let script = "stty raw -echo min 0 time 10; printf 'begun\\033[6n'; \
                  printf '<%s>' \"$(dd bs=32 count=1 2>/dev/null | wc -c | tr -d ' ')\"; \
                  until test -e go; do sleep 0.1; done; printf '\\033[6n'; \
                  stty min 1 time 0; printf '[%s]' \"$(dd bs=32 count=1 2>/dev/null | wc -c | tr -d ' ')\"; touch asked; sleep 60";
    let run = ["run", "--pty", HOST, "--", "sh", "-c", script];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    // This terminal is asked, and does not answer.
    client.terminal.wait_for("begun\x1b[6n<0>");
    client.detach();
    wait_for("the server to see that", || {
        stage.run(&["--json", "who", HOST]).ok().lines().count() == 1
    });
    stage.write("home/go", b"");
    let row = jobs(&stage);
    let job: serde_json::Value = serde_json::from_str(row.trim()).unwrap();
    wait_for("the second query", || stage.home().join("asked").exists());
    let attach = ["attach", HOST, job["job"].as_str().unwrap()];
    let mut again = AtTerminal::start(&stage, &attach, 24, 80);
    // The answer was like ESC [ 1 ; 9 R, and this terminal is not asked.
    again.wait_for_screen("the answer of the server", |screen| {
        let contents = screen.contents();
        contents.contains('[') && !contents.contains("[0]")
    });
    assert!(
        !again.terminal.shown.contains("\x1b[6n"),
        "{:?}",
        again.terminal.shown
    );
    again.detach();
}

#[test]
fn terminal_needs_its_right() {
    let stage = stage();
    let server = stage.joined();
    let set = |rules: &str| {
        stage.write_rights(&format!(
            "[users.alice]\nrole = \"owner\"\nexec = \"any\"\n{rules}"
        ));
        server.rights_loaded(&stage);
    };
    let run = ["--json", "run", "--pty", HOST, "--", "true"];
    let open = || {
        let mut client = AtTerminal::start(&stage, &["--json", "shell", HOST], 24, 80);
        client.terminal.type_line("exit 7");
        client.terminal.end()
    };
    set("");
    stage.run(&run).fails(126, "denied");
    assert_eq!(open(), Some(126));
    set("pty = true\n");
    assert_eq!(stage.run(&run).status, Some(0));
    assert_eq!(open(), Some(126));
    set("shell = true\n");
    assert_eq!(stage.run(&run).status, Some(0));
    assert_eq!(open(), Some(7));
    // A terminal whose right is gone ends: its program is hung up.
    let detached = [
        "run", "--pty", "--detach", "--id", "sleeps", HOST, "--", "sleep", "1000",
    ];
    stage.run(&detached).ok();
    set("");
    assert_eq!(stage.run(&["wait", HOST, "sleeps"]).status, Some(129));
}

/// The clipboard can be written and not be read.
#[test]
fn clipboard_is_not_read() {
    let stage = stage();
    let _server = stage.joined();
    let script = "printf 'a\\033]52;c;?\\007b\\033]52;c;aGk=\\007c'";
    let run = ["run", "--pty", HOST, "--", "sh", "-c", script];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    assert_eq!(client.terminal.end(), Some(0));
    assert_eq!(client.terminal.shown, "ab\x1b]52;c;aGk=\x07c");
    // A file gets every byte.
    assert_eq!(
        stage.run(&run).stdout,
        b"a\x1b]52;c;?\x07b\x1b]52;c;aGk=\x07c"
    );
}

/// Escapes are for a person at a terminal, and can be switched off.
#[test]
fn escapes_are_for_terminals() {
    let stage = stage();
    let _server = stage.joined();
    let outcome = stage.run_with_input(&["run", HOST, "--", "cat"], b"\n~.\n");
    assert_eq!(outcome.stdout, b"\n~.\n");
    let run = ["run", "-e", "none", "--pty", HOST, "--", "head", "-n", "2"];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    client.terminal.type_keys(b"\r~.\r");
    assert_eq!(client.terminal.end(), Some(0));
    let run = ["run", "-e", "^", "--pty", HOST, "--", "sleep", "60"];
    let mut client = AtTerminal::start(&stage, &run, 24, 80);
    client.terminal.wait_for_hiding();
    client.terminal.type_keys(b"^.");
    assert_eq!(client.terminal.end(), Some(130));
}

/// The server's own process, for tests that stop it.
pub(crate) fn restart(stage: &Stage, server: &mut ServerProcess) -> ServerProcess {
    server.kill();
    stage.serve_at(&server.address.clone(), &[])
}
