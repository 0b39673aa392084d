//! The frozen supervisor of version 1 speaks today's protocol: a server of today can use it.

use landline_supervisor::protocol::{Order, OutputStream, Report, Size, Start, Status, Store};

use crate::{
    folder::Folder,
    server::{Server, script_start, wait_until},
};

pub(crate) const TESTS: [(&str, fn()); 4] = [
    ("frozen_supervisor_runs", frozen_supervisor_runs),
    ("frozen_supervisor_is_adopted", frozen_supervisor_is_adopted),
    ("frozen_supervisor_stores", frozen_supervisor_stores),
    (
        "frozen_supervisor_reports_screen",
        frozen_supervisor_reports_screen,
    ),
];

/// The word for which this program is the frozen supervisor.
pub(crate) const WORD: &str = "supervisor-v1";

fn frozen_supervisor_runs() {
    let mut server = Server::launch(WORD);
    server.order(&Order::Start(Box::new(script_start(""))));
    server.wait_for_start().unwrap();
    let input = vec![b'x'; 300_000];
    server.write(&input);
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(21));
    assert!(server.outputs[&1] == [&b"v1\n"[..], &input].concat());
    assert_eq!(server.outputs[&2], b"frozen\n");
    assert_eq!(server.ended.len(), 2);
}

fn frozen_supervisor_is_adopted() {
    let folder = Folder::new();
    let mut server = Server::launch(WORD);
    server.order(&Order::Start(Box::new(folder.start("", Store::Memory))));
    server.wait_for_start().unwrap();
    server.write(b"one ");
    server.disconnect();
    let (adopted, _) = server.adopt(&folder);
    assert_eq!(adopted.store, Store::Memory);
    server.write(&b"one two"[usize::try_from(adopted.input.received).unwrap()..]);
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(21));
    assert_eq!(server.stdout(), "v1\none two");
    server.order(&Order::Leave);
    assert_eq!(server.next(), None);
    wait_until("the job folder is removed", || !folder.path().exists());
}

fn frozen_supervisor_stores() {
    let folder = Folder::new();
    let mut server = Server::launch(WORD);
    server.order(&Order::Start(Box::new(folder.start("", Store::Disk))));
    server.wait_for_start().unwrap();
    server.write(b"text");
    server.wait_until_input_is_taken();
    assert!(folder.job().is_locked().unwrap());
    server.order(&Order::Confirm);
    server.wait_for(|report| *report == Report::Confirmed);
    server.order(&Order::Signal { signal: 2 });
    let exit = server.wait_for_exit();
    let signal = Status::Signal {
        signal: 2,
        has_core: false,
    };
    assert_eq!((exit.status, exit.stdout, exit.stderr), (signal, 7, 7));
    assert_eq!(folder.read(OutputStream::Stdout, 7).0, b"v1\ntext");
    assert_eq!(folder.job().index(0, 10).unwrap().len(), 1);
    wait_until("the lock is free", || !folder.job().is_locked().unwrap());
    assert_eq!(folder.job().exit().unwrap(), Some(exit));
}

fn frozen_supervisor_reports_screen() {
    let folder = Folder::new();
    let size = |rows, columns| Size { rows, columns };
    let mut server = Server::launch(WORD);
    server.order(&Order::Start(Box::new(Start {
        terminal: Some(size(24, 80)),
        ..folder.start("", Store::Disk)
    })));
    server.wait_for_start().unwrap();
    server.order(&Order::Attended(true));
    for (size, expected) in [
        (size(0, 0), &b"\x1bc24x80"[..]),
        (size(40, 133), &b"\x1bc40x133"[..]),
    ] {
        let history = 0;
        server.order(&Order::Screen { size, history });
        let report = server.wait_for(|report| matches!(report, Report::Screen { .. }));
        let Report::Screen {
            offset,
            is_whole,
            bytes,
        } = report
        else {
            panic!("{report:?}");
        };
        assert_eq!((offset, is_whole, &bytes[..]), (3, true, expected));
    }
    server.finish_input();
    assert_eq!(server.wait_for_status(), Status::Code(21));
}
