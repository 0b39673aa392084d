//! Output that is kept on disk.

use std::{path::Path, process::Command, time::Duration};

use landline_supervisor::{
    protocol::{Order, OutputStream, Report, Size, Start, Status, Store},
    store::{IndexRecord, SEGMENT_BYTES_MAX},
};

use crate::{
    folder::Folder,
    server::{Server, assert_gone, wait_until},
};

pub(crate) const TESTS: [(&str, fn()); 9] = [
    (
        "output_is_read_in_order_by_index",
        output_is_read_in_order_by_index,
    ),
    ("most_bytes_leave_a_gap", most_bytes_leave_a_gap),
    ("disk_needs_no_server", disk_needs_no_server),
    (
        "attended_terminal_slows_the_program_down",
        attended_terminal_slows_the_program_down,
    ),
    (
        "lost_server_does_not_stop_a_terminal",
        lost_server_does_not_stop_a_terminal,
    ),
    (
        "killed_supervisor_leaves_no_status",
        killed_supervisor_leaves_no_status,
    ),
    (
        "terminated_supervisor_records_status",
        terminated_supervisor_records_status,
    ),
    ("unread_reports_delay_nothing", unread_reports_delay_nothing),
    ("full_disk_stops_no_program", full_disk_stops_no_program),
];

fn output_is_read_in_order_by_index() {
    let folder = Folder::new();
    // Two pipes have no order, so each line waits until the one before it is stored.
    let script =
        "for n in 1 2 3 4 5; do echo out $n; read stored; echo err $n >&2; read stored; done";
    let mut server = Server::with_start(folder.start(script, Store::Disk));
    for n in 1..=5 {
        for stream in [1, 2] {
            while server.stored.get(&stream) != Some(&(6 * n)) {
                assert_eq!(server.take_one(), None);
            }
            server.write(b"stored\n");
        }
    }
    let exit = server.wait_for_exit();
    let streams = OutputStream::ALL.map(|stream| {
        let stored = if stream == OutputStream::Stdout {
            exit.stdout
        } else {
            exit.stderr
        };
        assert_eq!(folder.job().stored(stream).unwrap(), stored);
        folder.read(stream, stored).0
    });
    let mut records = folder.job().index(0, 1000).unwrap();
    assert_eq!(folder.job().index(1, 2).unwrap(), records[1..3]);
    assert!(folder.job().index(1000, 2).unwrap().is_empty());
    assert!(folder.job().index(u64::MAX, 2).unwrap().is_empty());
    records.push(IndexRecord {
        time: exit.ended,
        stdout: exit.stdout,
        stderr: exit.stderr,
    });
    let mut merged = Vec::new();
    for pair in records.windows(2) {
        assert!(pair[0].time <= pair[1].time);
        let part = |from: u64, to: u64, stream: &[u8]| stream[from as usize..to as usize].to_vec();
        let grown = [
            part(pair[0].stdout, pair[1].stdout, &streams[0]),
            part(pair[0].stderr, pair[1].stderr, &streams[1]),
        ];
        assert!(
            grown.iter().any(Vec::is_empty),
            "one stream grows at a time"
        );
        merged.extend(grown.concat());
    }
    let expected: String = (1..=5).map(|n| format!("out {n}\nerr {n}\n")).collect();
    assert_eq!(String::from_utf8(merged).unwrap(), expected);
}

fn most_bytes_leave_a_gap() {
    let folder = Folder::new();
    let script = "seq -w 1000000; seq -w 100000 >&2";
    let mut server = Server::with_start(Start {
        bytes_max: 4 << 20,
        ..folder.start(script, Store::Disk)
    });
    let exit = server.wait_for_exit();
    assert_eq!((exit.stdout, exit.stderr), (8_000_000, 700_000));
    assert!(folder.job().bytes().unwrap() <= 4 << 20);
    let whole: String = (1..=1_000_000).map(|n| format!("{n:07}\n")).collect();
    let (output, gaps) = folder.read(OutputStream::Stdout, exit.stdout);
    let [(from, to)] = gaps[..] else {
        panic!("{gaps:?}")
    };
    assert_eq!(from, SEGMENT_BYTES_MAX, "the beginning is kept");
    assert!(to <= 7_000_000, "the newest is kept");
    let expected = [
        &whole.as_bytes()[..from as usize],
        &whole.as_bytes()[to as usize..],
    ];
    assert!(output == expected.concat(), "the rest is right");
    let (output, gaps) = folder.read(OutputStream::Stderr, exit.stderr);
    assert_eq!((output.len(), gaps.len()), (700_000, 0));
}

fn attended_terminal_slows_the_program_down() {
    let folder = Folder::new();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let mut server = Server::with_start(Start {
        terminal: Some(size),
        is_attended: true,
        window: 1000,
        ..folder.start("seq 100000; exit 3", Store::Disk)
    });
    let stored = |server: &mut Server, at_least: u64| {
        server.wait_for(|report| matches!(report, Report::Stored { stream: OutputStream::Stdout, offset } if *offset >= at_least))
    };
    stored(&mut server, 1000);
    server.take_for(Duration::from_millis(300));
    let is_there = |offset| folder.job().stored(OutputStream::Stdout).unwrap() == offset;
    assert!(is_there(1000));
    let ack = |limit| Order::OutputAck {
        stream: OutputStream::Stdout,
        offset: 0,
        limit,
    };
    server.order(&ack(5000));
    stored(&mut server, 5000);
    // A client that takes over may begin before that.
    server.order(&ack(4000));
    server.take_for(Duration::from_millis(300));
    assert!(is_there(5000));
    server.order(&Order::Attended(false));
    let exit = server.wait_for_exit();
    assert_eq!((exit.status, exit.stdout), (Status::Code(3), 688_895));
}

/// The end of the connection to the server lifts the limit, too.
fn lost_server_does_not_stop_a_terminal() {
    let folder = Folder::new();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let server = Server::with_start(Start {
        terminal: Some(size),
        is_attended: true,
        window: 1000,
        on_lost: Duration::MAX,
        ..folder.start("seq 100000; exit 3", Store::Disk)
    });
    drop(server);
    wait_until("the end is recorded", || {
        folder.job().exit().unwrap().is_some()
    });
    assert_eq!(folder.job().exit().unwrap().unwrap().stdout, 688_895);
}

fn disk_needs_no_server() {
    let folder = Folder::new();
    let go = folder.path().with_extension("go");
    let wait = format!("until test -e {}; do sleep 0.05; done", go.display());
    let script = format!("read line; {wait}; seq 100000; exit 7");
    let start = folder.start(&script, Store::Disk);
    let mut server = Server::with_start(start);
    server.write(b"\n");
    server.wait_until_input_is_taken();
    let supervisor = server.supervisor();
    drop(server);
    assert!(folder.job().is_locked().unwrap());
    assert_eq!(folder.job().exit().unwrap(), None);
    std::fs::write(&go, "").unwrap();
    assert_gone(supervisor);
    std::fs::remove_file(&go).unwrap();
    assert!(!folder.job().is_locked().unwrap());
    assert_eq!(
        folder.names(),
        ["1-0000000000000000", "index", "lock", "status"]
    );
    let exit = folder.job().exit().unwrap().unwrap();
    assert_eq!(exit.status, Status::Code(7));
    assert_eq!(
        folder.read(OutputStream::Stdout, exit.stdout).0.len(),
        588_895
    );
    std::fs::write(folder.path().join("status"), "damaged").unwrap();
    assert!(folder.job().exit().is_err());
}

fn killed_supervisor_leaves_no_status() {
    let folder = Folder::new();
    let mut server = Server::with_start(folder.start("echo text; sleep 1000", Store::Disk));
    while server.stored.get(&1) != Some(&5) {
        assert_eq!(server.take_one(), None);
    }
    kill(server.supervisor(), "KILL");
    assert_eq!(server.next(), None);
    wait_until("the lock is free", || !folder.job().is_locked().unwrap());
    assert_eq!(folder.job().exit().unwrap(), None);
    assert!(folder.job().connect().is_err());
    assert_eq!(folder.job().stored(OutputStream::Stdout).unwrap(), 5);
    kill(server.pid, "KILL");
}

fn terminated_supervisor_records_status() {
    let folder = Folder::new();
    let server = Server::with_start(Start {
        on_lost: Duration::MAX,
        ..folder.start("sleep 1000", Store::Disk)
    });
    kill(server.supervisor(), "TERM");
    wait_until("there is a status", || {
        folder.job().exit().unwrap().is_some()
    });
    let exit = folder.job().exit().unwrap().unwrap();
    assert!(
        matches!(exit.status, Status::Signal { signal: 15, .. }),
        "{exit:?}"
    );
}

/// A server that reads nothing keeps neither the program nor the supervisor.
fn unread_reports_delay_nothing() {
    let folder = Folder::new();
    let script = "head -c 20000000 /dev/zero; exit 2";
    let server = Server::with_start(folder.start(script, Store::Disk));
    let supervisor = server.supervisor();
    wait_until("there is a status", || {
        folder.job().exit().unwrap().is_some()
    });
    assert_gone(supervisor);
}

/// Runs [`full_disk`] where it can have a small disk.
fn full_disk_stops_no_program() {
    let folder = Folder::new();
    let status = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=400k none \"$1\" && exec \"$0\" full-disk \"$1\"",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(folder.path())
        .status();
    match status.ok().and_then(|status| status.code()) {
        Some(0) => {}
        // How a test that panics ends.
        Some(101) => panic!("see above"),
        _ => println!("no small disk can be had here: not tested"),
    }
}

/// Fills the disk at `place`, and makes room again.
pub(crate) fn full_disk(place: &Path) {
    let folder = Folder::within(place, "job");
    let script = "head -c 1000000 /dev/zero; echo full; read line; echo more; exit 3";
    let mut server = Server::with_start(folder.start(script, Store::Disk));
    while server
        .stored
        .get(&1)
        .is_none_or(|stored| *stored < 1_000_005)
    {
        assert_eq!(server.take_one(), None);
    }
    let stored = folder.job().stored(OutputStream::Stdout).unwrap();
    assert!((100_000..500_000).contains(&stored), "{stored}");
    let first = folder.path().join("1-0000000000000000");
    std::fs::write(first, "").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    server.write(b"\n");
    let exit = server.wait_for_exit();
    assert_eq!((exit.status, exit.stdout), (Status::Code(3), 1_000_010));
    let (output, gaps) = folder.read(OutputStream::Stdout, exit.stdout);
    assert_eq!((output, gaps), (b"more\n".to_vec(), vec![(0, 1_000_005)]));
    assert_eq!(folder.job().exit().unwrap(), Some(exit));

    // With no room for the status, the end is reported all the same.
    let folder = Folder::within(place, "other");
    let script = "head -c 1000000 /dev/zero; exit 4";
    let mut server = Server::with_start(folder.start(script, Store::Disk));
    assert_eq!(server.wait_for_status(), Status::Code(4));
    assert_eq!(folder.job().exit().unwrap(), None);
    assert!(folder.job().is_locked().unwrap(), "it is tried again");
    std::fs::write(folder.path().join("1-0000000000000000"), "").unwrap();
    wait_until("there is a status", || {
        folder.job().exit().unwrap().is_some()
    });
}

fn kill(pid: u32, signal: &str) {
    let killed = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}
