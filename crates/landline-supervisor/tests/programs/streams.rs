//! The program's streams, its arguments and what it inherits.

use std::time::Duration;

use landline_supervisor::{
    protocol::{OUTPUT_BYTES_MAX, Order, OutputStream, Size, Start, Status, Step},
    signals,
};

use crate::server::{Server, assert_gone, script_start};

pub(crate) const TESTS: [(&str, fn()); 17] = [
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
    (
        "terminal_has_modes_before_the_program_starts",
        terminal_has_modes_before_the_program_starts,
    ),
    ("broken_protocol_ends_program", broken_protocol_ends_program),
    (
        "output_that_waits_for_server_is_whole",
        output_that_waits_for_server_is_whole,
    ),
    (
        "reader_that_stops_bounds_memory",
        reader_that_stops_bounds_memory,
    ),
    (
        "both_outputs_carry_10_mib_at_once",
        both_outputs_carry_10_mib_at_once,
    ),
    (
        "program_without_input_reads_its_end",
        program_without_input_reads_its_end,
    ),
    (
        "idle_supervisor_uses_no_processor",
        idle_supervisor_uses_no_processor,
    ),
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

fn terminal_has_modes_before_the_program_starts() {
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let mut server = Server::with_start(Start {
        terminal: Some(size),
        // Ctrl-B interrupts, # erases, nothing is echoed, and 99 means nothing here.
        modes: vec![(1, 2), (3, b'#'), (53, 0), (99, 1)],
        ..script_start("stty -a")
    });
    assert_eq!(server.wait_for_status(), Status::Code(0));
    let shown = server.stdout();
    for mode in ["intr = ^B", "erase = #", "-echo ", " iutf8"] {
        assert!(shown.contains(mode), "{mode}: {shown}");
    }
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
        assert_gone(server.pid);
    }
}

/// The rest of the output is in the pipe of a program that has ended, for longer than outputs may
/// be quiet.
fn output_that_waits_for_server_is_whole() {
    let mut server = Server::with_script("head -c 100000 /dev/zero");
    server.acknowledges = false;
    while server.outputs[&1].len() < 65536 {
        server.take_one();
    }
    assert_gone(server.pid);
    server.take_for(Duration::from_millis(900));
    server.acknowledges = true;
    server.order(&Order::OutputAck {
        stream: OutputStream::Stdout,
        offset: 65536,
        limit: 65536 * 2,
    });
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.outputs[&1].len(), 100_000);
}

fn reader_that_stops_bounds_memory() {
    let mut server = Server::with_script("exec yes");
    server.acknowledges = false;
    server.order(&Order::OutputAck {
        stream: OutputStream::Stdout,
        offset: 0,
        limit: u64::MAX,
    });
    while server.outputs[&1].len() < OUTPUT_BYTES_MAX {
        server.take_one();
    }
    server.take_for(Duration::from_millis(300));
    assert_eq!(server.outputs[&1].len(), OUTPUT_BYTES_MAX);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.supervisor()));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib: usize = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(kib < 8 * 1024 + OUTPUT_BYTES_MAX / 1024, "{kib} KiB");
}

fn both_outputs_carry_10_mib_at_once() {
    let mut server = Server::with_script(
        "head -c 10485760 /dev/zero & head -c 10485760 /dev/zero >&2; wait; exit 5",
    );
    let exit = server.wait_for_exit();
    assert_eq!(exit.status, Status::Code(5));
    assert_eq!((exit.stdout, exit.stderr), (10 << 20, 10 << 20));
    assert_eq!(server.outputs[&1].len(), 10 << 20);
    assert_eq!(server.outputs[&2].len(), 10 << 20);
    assert!(exit.started <= exit.ended && exit.started > 1_600_000_000_000);
}

fn program_without_input_reads_its_end() {
    let mut server = Server::with_start(Start {
        has_input: false,
        ..script_start("cat; readlink /proc/self/fd/0")
    });
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.stdout(), "/dev/null\n");
}

fn idle_supervisor_uses_no_processor() {
    let terminal = Some(Size {
        rows: 24,
        columns: 80,
    });
    for (script, terminal) in [
        ("sleep 1000", None),
        ("exec >&- 2>&- <&-; sleep 1000", None),
        ("exec >&- 2>&- <&-; sleep 1000", terminal),
        ("exec yes", None),
    ] {
        let mut server = Server::with_start(Start {
            terminal,
            ..script_start(script)
        });
        server.take_for(Duration::from_millis(500));
        let before = server.supervisor_ticks();
        server.take_for(Duration::from_secs(1));
        let ticks = server.supervisor_ticks() - before;
        assert!(ticks <= 1, "{script}: {ticks} ticks of 10 ms");
    }
}
