//! The program's streams, its arguments and what it inherits.

use std::time::Duration;

use landline_supervisor::{
    protocol::{Order, OutputStream, Size, Start, Status, Step},
    signals,
};

use crate::server::{Server, script_start};

pub(crate) const TESTS: [(&str, fn()); 11] = [
    (
        "program_gets_arguments_and_environment",
        program_gets_arguments_and_environment,
    ),
    (
        "streams_are_separate_and_binary",
        streams_are_separate_and_binary,
    ),
    ("input_of_1_mib_comes_back", input_of_1_mib_comes_back),
    (
        "end_of_input_does_not_end_output",
        end_of_input_does_not_end_output,
    ),
    (
        "unread_output_stops_at_window",
        unread_output_stops_at_window,
    ),
    (
        "output_that_is_not_wanted_ends_its_writer",
        output_that_is_not_wanted_ends_its_writer,
    ),
    ("closed_input_is_reported", closed_input_is_reported),
    (
        "program_that_cannot_start_is_reported",
        program_that_cannot_start_is_reported,
    ),
    ("program_inherits_nothing", program_inherits_nothing),
    (
        "terminal_has_size_and_resizes",
        terminal_has_size_and_resizes,
    ),
    ("broken_protocol_ends_program", broken_protocol_ends_program),
];

fn program_gets_arguments_and_environment() {
    let mut server = Server::new();
    server.order(&Order::Start(Box::new(Start {
        program: b"/bin/sh".to_vec(),
        arguments: [
            "name",
            "-c",
            "printf '%s|' \"$0\" \"$@\" \"$(pwd)\" \"$(env | sort)\"",
            "zero",
            "$(x);'\"",
            "",
            "a\nb",
        ]
        .map(|word| word.as_bytes().to_vec())
        .to_vec(),
        environment: vec![b"A=1=2".to_vec(), b"PATH=/bin:/usr/bin".to_vec()],
        folder: b"/usr".to_vec(),
        window: 1000,
        ..script_start("")
    })));
    server.wait_for_start().unwrap();
    assert_eq!(server.wait_for_status(), Status::Code(0));
    let lines = server.stdout();
    assert!(
        lines.starts_with("zero|$(x);'\"||a\nb|/usr|A=1=2\n"),
        "{lines}"
    );
}

fn streams_are_separate_and_binary() {
    let mut server = Server::with_script("printf 'A\\000\\377\\r\\n'; printf B >&2; exit 7");
    assert_eq!(server.wait_for_status(), Status::Code(7));
    assert_eq!(server.outputs[&1], b"A\0\xff\r\n");
    assert_eq!(server.outputs[&2], b"B");
    assert_eq!(server.ended.len(), 2, "both outputs have ended before");
}

fn input_of_1_mib_comes_back() {
    let mut server = Server::with_script("cat; exit 3");
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    server.write(&bytes);
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(3));
    assert!(server.outputs[&1] == bytes, "every byte comes back");
}

fn end_of_input_does_not_end_output() {
    let mut server = Server::with_script("sort; sleep 0.2; echo after");
    server.write(b"b\na\n");
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.stdout(), "a\nb\nafter\n");
}

fn unread_output_stops_at_window() {
    let mut server = Server::with_script("head -c 300000 /dev/zero");
    server.acknowledges = false;
    while server.outputs[&1].len() < 65536 {
        server.take_one();
    }
    server.take_for(Duration::from_millis(300));
    assert_eq!(server.outputs[&1].len(), 65536, "the window is what comes");
    server.acknowledges = true;
    let stream = OutputStream::Stdout;
    server.order(&Order::OutputAck {
        stream,
        offset: 65536,
        limit: 65536 * 2,
    });
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.outputs[&1].len(), 300_000);
}

fn output_that_is_not_wanted_ends_its_writer() {
    let mut server = Server::with_script("exec yes");
    server.wait_for_output("y");
    let stream = OutputStream::Stdout;
    server.order(&Order::OutputStop { stream });
    let signal = signals::number("PIPE").unwrap();
    assert_eq!(
        server.wait_for_status(),
        Status::Signal {
            signal,
            has_core: false
        }
    );
}

fn closed_input_is_reported() {
    let mut server = Server::with_script("exec <&-; echo closed; sleep 0.2");
    server.wait_for_output("closed");
    while !server.input_stopped {
        server.take_one();
    }
    assert_eq!(server.wait_for_status(), Status::Code(0));
}

fn program_that_cannot_start_is_reported() {
    for (program, folder, expected) in [
        ("/no/such/program", "/", (Step::Program, 2)),
        ("/etc/passwd", "/", (Step::Program, 13)),
        ("/bin/sh", "/no/such/folder", (Step::Folder, 2)),
    ] {
        let mut server = Server::new();
        server.order(&Order::Start(Box::new(Start {
            program: program.as_bytes().to_vec(),
            folder: folder.as_bytes().to_vec(),
            ..script_start("")
        })));
        assert_eq!(server.wait_for_start(), Err(expected), "{program} {folder}");
    }
}

/// Proves `inherited-by-commands` in docs/faults.md.
fn program_inherits_nothing() {
    let mut server = Server::with_script(
        "ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; umask; env | sort; echo x >/dev/stderr",
    );
    assert_eq!(server.wait_for_status(), Status::Code(0));
    let found = server.stdout();
    let lines: Vec<&str> = found.lines().collect();
    // 3 is the folder that ls reads.
    assert_eq!(
        lines,
        [
            "0",
            "1",
            "2",
            "3",
            "SigBlk:\t0000000000000000",
            "SigIgn:\t0000000000000000",
            "0022",
            "PATH=/usr/bin:/bin",
            "PWD=/",
        ]
    );
    assert_eq!(server.outputs[&2], b"x\n");
}

fn terminal_has_size_and_resizes() {
    let mut server = Server::new();
    let size = |rows, columns| Size { rows, columns };
    server.order(&Order::Start(Box::new(Start {
        terminal: Some(size(40, 133)),
        ..script_start("trap 'stty size; exit 4' WINCH; stty size; test -t 2 && echo tty; while :; do sleep 0.05; done")
    })));
    server.wait_for_start().unwrap();
    server.wait_for_output("tty");
    assert_eq!(server.stdout(), "40 133\r\ntty\r\n");
    server.order(&Order::Resize(size(0, 0)));
    server.order(&Order::Resize(size(50, 200)));
    assert_eq!(server.wait_for_status(), Status::Code(4));
    assert!(
        server.stdout().ends_with("50 200\r\n"),
        "{:?}",
        server.stdout()
    );
}

fn broken_protocol_ends_program() {
    for order in [
        Order::Input {
            offset: 1,
            bytes: Vec::new(),
        },
        Order::OutputAck {
            stream: OutputStream::Stdout,
            offset: 1,
            limit: 1 << 20,
        },
        Order::Start(Box::new(script_start("true"))),
    ] {
        let mut server = Server::with_script("sleep 1000");
        server.order(&order);
        while server.next().is_some() {}
        crate::server::assert_gone(server.pid);
    }
}
