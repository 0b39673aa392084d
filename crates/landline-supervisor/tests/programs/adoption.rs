//! Servers that go and come.

use std::{
    io::{Read, Write},
    time::Duration,
};

use landline_supervisor::protocol::{Order, OutputStream, Size, Start, Status, Step, Store};

use crate::{
    folder::Folder,
    server::{Server, assert_gone, script_start, wait_until},
};

pub(crate) const TESTS: [(&str, fn()); 16] = [
    (
        "adoption_neither_loses_nor_doubles_bytes",
        adoption_neither_loses_nor_doubles_bytes,
    ),
    ("adoption_with_disk_store", adoption_with_disk_store),
    ("newer_server_takes_over", newer_server_takes_over),
    (
        "output_and_exit_wait_for_server",
        output_and_exit_wait_for_server,
    ),
    (
        "input_continues_where_it_was_received",
        input_continues_where_it_was_received,
    ),
    (
        "program_ends_when_no_server_comes",
        program_ends_when_no_server_comes,
    ),
    (
        "program_without_server_for_ever_moves_to_disk",
        program_without_server_for_ever_moves_to_disk,
    ),
    (
        "store_order_moves_output_to_disk",
        store_order_moves_output_to_disk,
    ),
    ("leave_removes_job_folder", leave_removes_job_folder),
    (
        "finished_job_in_memory_is_given_up",
        finished_job_in_memory_is_given_up,
    ),
    ("timeout_ends_program", timeout_ends_program),
    ("stranger_on_socket_is_closed", stranger_on_socket_is_closed),
    (
        "long_path_of_job_folder_works",
        long_path_of_job_folder_works,
    ),
    (
        "job_folder_that_cannot_be_used_is_reported",
        job_folder_that_cannot_be_used_is_reported,
    ),
    (
        "supervisor_without_server_is_idle",
        supervisor_without_server_is_idle,
    ),
    (
        "program_that_cannot_start_leaves_no_files",
        program_that_cannot_start_leaves_no_files,
    ),
];

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

fn adoption_neither_loses_nor_doubles_bytes() {
    let folder = Folder::new();
    let mut server = Server::with_start(folder.start("cat; exit 3", Store::Memory));
    let input = bytes(3_000_000);
    let mut turn = 0;
    while server.sent < input.len() as u64 {
        let from = usize::try_from(server.sent).unwrap();
        let to = input.len().min(from + 100_000);
        server.write(&input[from..to]);
        if turn % 2 == 0 {
            server.disconnect();
        }
        let acknowledged = server.outputs[&1].len() as u64;
        let (adopted, _) = server.adopt(&folder);
        assert!(adopted.stdout.acknowledged <= acknowledged);
        assert!(adopted.input.has_input && !adopted.input.has_end);
        turn += 1;
    }
    server.finish_input();
    let (adopted, _) = server.adopt(&folder);
    if !adopted.input.has_end {
        server.finish_input();
    }
    assert_eq!(server.wait_for_status(), Status::Code(3));
    assert!(server.outputs[&1] == input, "every byte comes back once");
    assert!(turn > 20);
}

fn adoption_with_disk_store() {
    let folder = Folder::new();
    let mut server = Server::with_start(folder.start("cat; exit 3", Store::Disk));
    let input = bytes(1_000_000);
    while server.sent < input.len() as u64 {
        let from = usize::try_from(server.sent).unwrap();
        server.write(&input[from..input.len().min(from + 300_000)]);
        let (adopted, _) = server.adopt(&folder);
        assert_eq!(adopted.store, Store::Disk);
        assert_eq!(adopted.stdout.acknowledged, adopted.stdout.read);
    }
    server.finish_input();
    let exit = server.wait_for_exit();
    assert_eq!(exit.status, Status::Code(3));
    assert_eq!(server.ended.len(), 2, "both outputs have ended before");
    assert_eq!(server.stored[&1], 1_000_000);
    let (output, gaps) = folder.read(OutputStream::Stdout, exit.stdout);
    assert!(output == input && gaps.is_empty());
}

fn newer_server_takes_over() {
    let folder = Folder::new();
    let mut server =
        Server::with_start(folder.start("echo hi; read line; echo $line", Store::Memory));
    server.wait_for_output("hi");
    let (adopted, mut older) = server.adopt(&folder);
    assert_eq!(adopted.pid, server.pid);
    assert_eq!(
        older.read(&mut [0; 10]).unwrap_or(0),
        0,
        "the older is closed"
    );
    server.write(b"there\n");
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.stdout(), "hi\nthere\n");
}

fn output_and_exit_wait_for_server() {
    let folder = Folder::new();
    let mut server = Server::with_start(
        folder.start("read line; echo $line; echo e >&2; exit 6", Store::Memory),
    );
    server.write(b"late\n");
    server.wait_until_input_is_taken();
    server.disconnect();
    assert_gone(server.pid);
    for _ in 0..2 {
        server.acknowledges = false;
        server.adopt(&folder);
        let exit = server.wait_for_exit();
        assert_eq!(exit.status, Status::Code(6));
        assert_eq!((exit.stdout, exit.stderr), (5, 2));
        assert_eq!(server.ended.len(), 2);
        assert_eq!(server.stdout(), "late\n");
    }
}

fn input_continues_where_it_was_received() {
    let folder = Folder::new();
    let start = folder.start("sleep 0.5; cat | wc -c", Store::Memory);
    let mut server = Server::with_start(start);
    let input = bytes(200_000);
    server.write(&input);
    let (adopted, _) = server.adopt(&folder);
    let received = usize::try_from(adopted.input.received).unwrap();
    assert!(adopted.input.taken <= adopted.input.received);
    server.write(&input[received..]);
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.stdout().trim(), "200000");
}

/// Proves `leftover-process` in docs/faults.md.
fn program_ends_when_no_server_comes() {
    let folder = Folder::new();
    let server = Server::with_start(Start {
        on_lost: Duration::from_millis(300),
        ..folder.start("setsid sleep 1000 & wait", Store::Memory)
    });
    server.disconnect();
    assert_gone(server.pid);
    wait_until("the job folder is removed", || !folder.path().exists());
}

fn program_without_server_for_ever_moves_to_disk() {
    let folder = Folder::new();
    let mut server = Server::with_start(Start {
        on_lost: Duration::MAX,
        ..folder.start(
            "echo one; read line; echo two; sleep 0.2; exit 9",
            Store::Memory,
        )
    });
    server.wait_for_output("one");
    server.write(b"\n");
    server.wait_until_input_is_taken();
    server.disconnect();
    wait_until("there is a status", || {
        folder.job().exit().unwrap().is_some()
    });
    let exit = folder.job().exit().unwrap().unwrap();
    assert_eq!((exit.status, exit.stdout), (Status::Code(9), 8));
    let (output, gaps) = folder.read(OutputStream::Stdout, 8);
    assert!(output.ends_with(b"two\n"));
    if output.len() == 4 {
        assert_eq!(gaps, [(0, 4)], "what a client has is not stored");
    }
}

fn store_order_moves_output_to_disk() {
    let folder = Folder::new();
    let script = "head -c 50000 /dev/zero; read line; head -c 100000 /dev/zero; exit 4";
    let mut server = Server::with_start(folder.start(script, Store::Memory));
    server.acknowledges = false;
    while server.outputs[&1].len() < 50_000 {
        server.take_one();
    }
    let stream = OutputStream::Stdout;
    server.order(&Order::OutputAck {
        stream,
        offset: 20_000,
        limit: 1 << 20,
    });
    server.order(&Order::Store);
    server.order(&Order::Store);
    // On its way when the store changed, so it means nothing.
    server.order(&Order::OutputAck {
        stream,
        offset: 20_000,
        limit: 0,
    });
    server.write(b"\n");
    let exit = server.wait_for_exit();
    assert_eq!((exit.status, exit.stdout), (Status::Code(4), 150_000));
    assert_eq!(server.stored[&1], 150_000);
    let (output, gaps) = folder.read(stream, exit.stdout);
    assert_eq!((output.len(), gaps), (130_000, vec![(0, 20_000)]));
    assert_eq!(folder.job().exit().unwrap(), Some(exit));
    assert_eq!(server.next(), None, "the supervisor needs no server");
}

fn leave_removes_job_folder() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("record"), "of the server").unwrap();
    let mut server = Server::with_start(folder.start("echo text", Store::Memory));
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert!(folder.job().is_locked().unwrap());
    assert_eq!(folder.names(), ["lock", "record", "socket"]);
    server.order(&Order::Leave);
    assert_eq!(server.next(), None);
    wait_until("the job folder is removed", || !folder.path().exists());
}

fn finished_job_in_memory_is_given_up() {
    let folder = Folder::new();
    let mut server = Server::with_start(Start {
        on_lost: Duration::from_millis(200),
        ..folder.start("echo text", Store::Memory)
    });
    assert_eq!(server.wait_for_status(), Status::Code(0));
    server.disconnect();
    wait_until("the job folder is removed", || !folder.path().exists());
}

fn timeout_ends_program() {
    let folder = Folder::new();
    for script in [
        "sleep 1000",
        "trap '' TERM; (trap '' TERM; sleep 1000) & wait",
    ] {
        let mut server = Server::with_start(Start {
            timeout: Some(Duration::from_millis(300)),
            ..folder.start(script, Store::Disk)
        });
        let exit = server.wait_for_exit();
        assert!(exit.timed_out, "{exit:?}");
        assert!(matches!(exit.status, Status::Signal { .. }), "{exit:?}");
    }
    // What the program leaves behind counts too, while it writes.
    let mut server = Server::with_start(Start {
        timeout: Some(Duration::from_millis(2500)),
        ..script_start("yes & exit 5")
    });
    let exit = server.wait_for_exit();
    assert_eq!((exit.status, exit.timed_out), (Status::Code(5), true));
    let mut server = Server::with_start(Start {
        timeout: Some(Duration::from_secs(1000)),
        ..script_start("true")
    });
    assert!(!server.wait_for_exit().timed_out);
}

fn stranger_on_socket_is_closed() {
    let folder = Folder::new();
    let mut server = Server::with_start(folder.start("read line; echo $line", Store::Memory));
    let mut silent = folder.job().connect().unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[1, 0, 0, 0, 11],
        &[3, 0, 0, 0, 9, 2, 0],
    ] {
        let mut stranger = folder.job().connect().unwrap();
        stranger.write_all(bytes).unwrap();
        stranger
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert_eq!(stranger.read(&mut [0; 10]).unwrap_or(0), 0, "{bytes:?}");
    }
    silent
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
    server.write(b"still\n");
    assert_eq!(server.wait_for_status(), Status::Code(0));
    assert_eq!(server.stdout(), "still\n");
}

fn long_path_of_job_folder_works() {
    let folder = Folder::within(&std::env::temp_dir(), &"long/".repeat(60));
    assert!(folder.path().as_os_str().len() > 300);
    let mut server = Server::with_start(Start {
        terminal: Some(Size {
            rows: 24,
            columns: 80,
        }),
        ..folder.start("stty -echo; read line; pwd; exit 8", Store::Disk)
    });
    server.adopt(&folder);
    server.write(b"\n");
    let exit = server.wait_for_exit();
    assert_eq!(exit.status, Status::Code(8));
    let (output, _) = folder.read(OutputStream::Stdout, exit.stdout);
    assert!(output.ends_with(b"/\r\n"), "{output:?}");
}

fn job_folder_that_cannot_be_used_is_reported() {
    let folder = Folder::new();
    let good = folder.start("true", Store::Memory);
    for (path, store, on_lost, errno) in [
        ("/no/such/folder", Store::Memory, 0, 2),
        ("/etc/passwd", Store::Memory, 0, 20),
        ("tmp", Store::Memory, 0, 22),
        ("", Store::Disk, 0, 22),
        ("", Store::Memory, 1, 22),
    ] {
        let mut server = Server::new();
        server.order(&Order::Start(Box::new(Start {
            job_folder: path.as_bytes().to_vec(),
            store,
            on_lost: Duration::from_millis(on_lost),
            ..good.clone()
        })));
        assert_eq!(server.wait_for_start(), Err((Step::Store, errno)), "{path}");
    }
}

fn supervisor_without_server_is_idle() {
    for (script, store) in [
        ("exec yes", Store::Memory),
        ("exec >&- 2>&- <&-; sleep 1000", Store::Memory),
        ("sleep 1000", Store::Disk),
    ] {
        let folder = Folder::new();
        let mut server = Server::with_start(folder.start(script, store));
        server.disconnect();
        let connect = |_| folder.job().connect().unwrap();
        let silent: Vec<_> = (0..5).map(connect).collect();
        std::thread::sleep(Duration::from_millis(500));
        let before = server.supervisor_ticks();
        std::thread::sleep(Duration::from_secs(1));
        let ticks = server.supervisor_ticks() - before;
        assert!(ticks <= 1, "{script}: {ticks} ticks of 10 ms");
        drop(silent);
        server.adopt(&folder);
        server.order(&Order::End {
            grace: Duration::from_millis(100),
        });
        server.wait_for_exit();
    }
}

fn program_that_cannot_start_leaves_no_files() {
    let folder = Folder::new();
    let mut server = Server::new();
    server.order(&Order::Start(Box::new(Start {
        program: b"/no/such/program".to_vec(),
        ..folder.start("", Store::Disk)
    })));
    assert_eq!(server.wait_for_start(), Err((Step::Program, 2)));
    assert!(folder.names().is_empty());
}
