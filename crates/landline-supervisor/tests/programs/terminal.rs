//! What the terminal of a program shows, and what it answers.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use landline_supervisor::protocol::{Order, Report, Size, Start, Status, Store};

use crate::{
    emulator::emulate,
    folder::Folder,
    server::{Server, script_start, wait_until},
};

pub(crate) const TESTS: [(&str, fn()); 12] = [
    ("queries_have_one_answer", queries_have_one_answer),
    ("split_query_has_one_answer", split_query_has_one_answer),
    (
        "attended_terminal_answers_itself",
        attended_terminal_answers_itself,
    ),
    (
        "answers_do_not_count_as_input",
        answers_do_not_count_as_input,
    ),
    ("screen_has_modes_and_text", screen_has_modes_and_text),
    ("screen_changes_the_size", screen_changes_the_size),
    (
        "screen_that_is_not_whole_is_drawn_again",
        screen_that_is_not_whole_is_drawn_again,
    ),
    (
        "screen_is_the_same_for_the_next_server",
        screen_is_the_same_for_the_next_server,
    ),
    (
        "program_without_terminal_has_no_screen",
        program_without_terminal_has_no_screen,
    ),
    ("end_hangs_up_a_shell", end_hangs_up_a_shell),
    ("vim_is_brought_back", vim_is_brought_back),
    ("tmux_is_brought_back", tmux_is_brought_back),
];

const SIZE: Size = Size {
    rows: 24,
    columns: 80,
};

fn start(script: &str) -> Start {
    Start {
        terminal: Some(SIZE),
        ..script_start(script)
    }
}

/// Print a query and then its answer, as od does. `ask` waits for one, and `listen` for half a
/// second.
const PRINT_INPUT: &str = "stty raw -echo; \
    listen() { printf \"$1\"; { stty min 0 time 5; cat; } | od -An -c; }; \
    ask() { printf \"$1\"; { stty min 1 time 0; head -c 1; stty min 0 time 5; cat; } | od -An -c; }; ";

/// What od prints for these bytes, without spaces.
fn printed(bytes: &str) -> String {
    bytes.replace('\x1b', "033")
}

/// What the program has printed after `mark`, without spaces.
fn output_after(server: &Server, mark: &str) -> String {
    let output = server.stdout();
    let (_, rest) = output.split_once(mark).unwrap();
    let controls = rest.replace("\x1b", "<ESC>");
    controls.split_whitespace().collect()
}

/// Proves `query-twice` in docs/faults.md.
fn queries_have_one_answer() {
    let script = "printf mark; ask '\\033[c\\033[5n'; ask '\\033[?7$p\\033]11;?\\007'";
    let mut server = Server::with_start(start(&format!("{PRINT_INPUT}{script}")));
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(
        output_after(&server, "mark"),
        format!(
            "<ESC>[c<ESC>[5n{}<ESC>[?7$p<ESC>]11;?\x07{}",
            printed("\x1b[?62;22c\x1b[0n"),
            printed("\x1b[?7;1$y")
        )
    );
}

fn split_query_has_one_answer() {
    let script = "printf 'mark\\033['; sleep 0.2; printf 5; sleep 0.2; ask 'n'";
    let mut server = Server::with_start(start(&format!("{PRINT_INPUT}{script}")));
    assert_eq!(server.wait_for_status(), Status::Code(0));
    let answer = printed("\x1b[0n");
    assert_eq!(output_after(&server, "mark"), format!("<ESC>[5n{answer}"));
}

/// Proves `query-twice` in docs/faults.md.
fn attended_terminal_answers_itself() {
    let folder = Folder::new();
    let script = "printf ready; while word=$(head -c 1); do printf $word; \
        case $word in [A-Z]) listen '\\033[5n';; *) ask '\\033[5n';; esac; \
        printf $word.; stty min 1 time 0; done";
    let script = format!("{PRINT_INPUT}{script}");
    for is_attended in [true, false] {
        let mut server = Server::with_start(Start {
            is_attended,
            ..Start {
                terminal: Some(SIZE),
                ..folder.start(&script, Store::Memory)
            }
        });
        server.wait_for_output("ready");
        let answer = printed("\x1b[0n");
        let ask = |server: &mut Server, word: &str, has_answer: bool| {
            let word = match has_answer {
                true => word.to_owned(),
                false => word.to_uppercase(),
            };
            server.write(word.as_bytes());
            server.wait_for_output(&format!("{word}."));
            let expected = if has_answer { answer.as_str() } else { "" };
            let found = output_after(server, &format!("{word}\x1b[5n"));
            assert_eq!(found, format!("{expected}{word}."));
        };
        ask(&mut server, "a", !is_attended);
        server.order(&Order::Attended(!is_attended));
        ask(&mut server, "b", is_attended);
        server.order(&Order::Attended(true));
        ask(&mut server, "c", false);
        server.adopt(&folder);
        ask(&mut server, "d", true);
        server.order(&Order::End {
            grace: Duration::from_millis(100),
        });
        server.wait_for_exit();
        server.order(&Order::Leave);
        wait_until("the job folder is removed", || !folder.path().exists());
        std::fs::create_dir(folder.path()).unwrap();
    }
}

fn answers_do_not_count_as_input() {
    let script = "stty raw -echo; printf '\\033[5n\\033[5nready'; head -c 8 >/dev/null; head -c 5";
    let mut server = Server::with_start(start(script));
    server.wait_for_output("ready");
    server.write(b"input");
    server.wait_until_input_is_taken();
    assert_eq!(server.taken, 5);
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert!(
        server.stdout().ends_with("readyinput"),
        "{}",
        server.stdout()
    );
}

/// The report `screen` after the program has printed `text`.
fn screen(server: &mut Server, size: Size) -> (u64, bool, Vec<u8>) {
    server.order(&Order::Screen { size, history: 200 });
    let report = server.wait_for(|report| matches!(report, Report::Screen { .. }));
    match report {
        Report::Screen {
            offset,
            is_whole,
            bytes,
        } => (offset, is_whole, bytes),
        report => panic!("{report:?}"),
    }
}

/// Checks that an emulator shows the same after the screen as after the output before it.
fn assert_screen_shows_output(server: &mut Server, size: Size) -> Vec<String> {
    let (offset, is_whole, bytes) = screen(
        server,
        Size {
            rows: 0,
            columns: 0,
        },
    );
    assert!(is_whole);
    while (server.outputs[&1].len() as u64) < offset {
        assert_eq!(server.take_one(), None);
    }
    let output = &server.outputs[&1][..usize::try_from(offset).unwrap()];
    let shown = emulate(size.rows, size.columns, &bytes, true);
    assert_eq!(shown, emulate(size.rows, size.columns, output, true));
    let (_, is_whole, bytes) = screen(server, size);
    assert!(is_whole);
    assert_eq!(emulate(size.rows, size.columns, &bytes, true), shown);
    shown
}

/// Proves `screen` in docs/faults.md.
fn screen_has_modes_and_text() {
    let script = "printf 'before\\033[?1049h\\033[?1000h\\033[?1006h\\033[?2004h\\033[?1004h\\033[?25l\
        \\033]2;title\\007\\033[H\\033[48;5;99mtext\\033[38;2;1;2;3m\\303\\251\\344\\270\\226\\033[m'; \
        printf end; read line";
    let mut server = Server::with_start(start(script));
    server.wait_for_output("end");
    let shown = assert_screen_shows_output(&mut server, SIZE);
    assert!(
        shown
            .last()
            .unwrap()
            .contains("[true, false, false, true, true]")
    );
    let (_, _, bytes) = screen(&mut server, SIZE);
    let text = String::from_utf8(bytes).unwrap();
    for sequence in ["\x1b[?1000h", "\x1b[?1004h", "\x1b]2;title\x1b\\", "before"] {
        assert!(text.contains(sequence), "{sequence:?}");
    }
}

fn screen_changes_the_size() {
    let mut server = Server::with_start(start(
        "trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done",
    ));
    server.wait_for_output("ready");
    let (_, _, _) = screen(&mut server, SIZE);
    let (_, _, _) = screen(
        &mut server,
        Size {
            rows: 0,
            columns: 0,
        },
    );
    server.take_for(Duration::from_millis(300));
    assert!(
        !server.stdout().contains("24 80"),
        "an unchanged size is no news"
    );
    let (offset, is_whole, bytes) = screen(
        &mut server,
        Size {
            rows: 50,
            columns: 200,
        },
    );
    assert_eq!((offset, is_whole), (7, true));
    assert!(emulate(50, 200, &bytes, true)[0].starts_with("ready"));
    assert_eq!(server.wait_for_status(), Status::Code(4));
    assert!(server.stdout().ends_with("50 200\r\n"));
}

fn screen_that_is_not_whole_is_drawn_again() {
    let mut server = Server::with_start(start(
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done",
    ));
    server.wait_for_output("ready");
    let huge = Size {
        rows: 10_000,
        columns: 9_000,
    };
    let (_, is_whole, _) = screen(&mut server, huge);
    assert!(!is_whole);
    // The size is another one for an instant, and the last one is that of the order.
    while !server.stdout().trim_end().ends_with("10000 9000") {
        assert_eq!(server.take_one(), None);
    }
}

fn screen_is_the_same_for_the_next_server() {
    let folder = Folder::new();
    let mut server = Server::with_start(Start {
        terminal: Some(SIZE),
        ..folder.start(
            "printf '\\033[?2004h\\033[31mred\\033]2;na'; read line; printf 'me\\007x'; read line",
            Store::Disk,
        )
    });
    wait_until("there is output", || {
        server.order(&Order::Screen {
            size: SIZE,
            history: 0,
        });
        let report = server.wait_for(|report| matches!(report, Report::Screen { .. }));
        matches!(report, Report::Screen { offset: 16, .. })
    });
    // The title that has begun belongs to the output after the screen.
    let before = screen(&mut server, SIZE);
    server.disconnect();
    server.adopt(&folder);
    assert_eq!(screen(&mut server, SIZE), before);
    server.write(b"\n");
    server.wait_until_input_is_taken();
    wait_until("the rest of the output is there", || {
        let (_, _, bytes) = screen(&mut server, SIZE);
        String::from_utf8(bytes)
            .unwrap()
            .contains("\x1b]2;name\x1b\\")
    });
}

fn program_without_terminal_has_no_screen() {
    let mut server = Server::with_script("sleep 1000");
    server.order(&Order::Attended(true));
    server.order(&Order::Screen {
        size: SIZE,
        history: 0,
    });
    while server.next().is_some() {}
    crate::server::assert_gone(server.pid);
}

/// A shell that is not killed can save its history.
fn end_hangs_up_a_shell() {
    let mut server = Server::with_start(start("PS1=ready exec sh -i"));
    server.wait_for_output("ready");
    server.write(b"trap 'echo saved' HUP; echo $((20 + 22))\n");
    server.wait_for_output("42");
    server.order(&Order::End {
        grace: Duration::from_secs(1000),
    });
    server.wait_for_output("saved");
    server.write(b"trap - HUP; kill -HUP $$\n");
    let hang_up = Status::Signal {
        signal: 1,
        has_core: false,
    };
    assert_eq!(server.wait_for_status(), hang_up);
}

/// Whether a program is there; says so if not.
fn is_there(program: &str) -> bool {
    let is_there = Path::new(program).exists();
    if !is_there {
        println!("{program} is not installed: nothing is tested with it");
    }
    is_there
}

/// Waits until an emulator that got the screen shows `text`.
fn wait_until_shown(server: &mut Server, size: Size, text: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, _, bytes) = screen(server, size);
        let shown = emulate(size.rows, size.columns, &bytes, true);
        if shown.iter().any(|line| line.contains(text)) {
            return;
        }
        assert!(Instant::now() < end, "{text:?} is not in {shown:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Proves `screen` in docs/faults.md.
fn vim_is_brought_back() {
    if !is_there("/usr/bin/vim") {
        return;
    }
    let folder = Folder::new();
    let lines: Vec<String> = (1..200)
        .map(|number| format!("line {number} of the file"))
        .collect();
    std::fs::write(folder.path().join("lines.txt"), lines.join("\n")).unwrap();
    let script = format!(
        "cd '{}'; TERM=xterm-256color exec vim -u NONE -i NONE -n -c 'set nocp ruler mouse=a' lines.txt",
        folder.path().display()
    );
    let mut server = Server::with_start(start(&script));
    wait_until_shown(&mut server, SIZE, "line 22 of the file");
    assert_screen_shows_output(&mut server, SIZE);
    server.write(b"\x06:vsplit\rihello \x1b");
    wait_until_shown(&mut server, SIZE, "hello ");
    let shown = assert_screen_shows_output(&mut server, SIZE);
    assert!(shown.last().unwrap().contains("[true,"), "{shown:?}");
    // Another size, and no key.
    let large = Size {
        rows: 40,
        columns: 120,
    };
    screen(&mut server, large);
    wait_until_shown(&mut server, large, "line 59 of the file");
    server.write(b"\x1b:qa!\r");
    assert_eq!(server.wait_for_status(), Status::Code(0));
}

fn tmux_is_brought_back() {
    if !is_there("/usr/bin/tmux") {
        return;
    }
    let folder = Folder::new();
    // Keys that come at once are keys, and not a paste.
    let settings = "set -g assume-paste-time 0\nset -g status-right ''";
    std::fs::write(folder.path().join("conf"), settings).unwrap();
    let script = format!(
        "cd '{}'; TERM=xterm-256color LANG=C.UTF-8 exec tmux -f conf -S socket new 'echo first; cat'",
        folder.path().display()
    );
    let mut server = Server::with_start(start(&script));
    wait_until_shown(&mut server, SIZE, "first");
    server.write(b"typed\r\x02\"");
    wait_until_shown(&mut server, SIZE, "\u{2500}\u{2500}\u{2500}");
    server.take_for(Duration::from_millis(500));
    assert_screen_shows_output(&mut server, SIZE);
    server.order(&Order::End {
        grace: Duration::from_millis(100),
    });
    server.wait_for_status();
}
