//! How programs end, and what they leave behind.

use std::time::Duration;

use landline_supervisor::protocol::{Order, Start, Status};

use crate::server::{Server, assert_gone, script_start};

pub(crate) const TESTS: [(&str, fn()); 9] = [
    ("status_is_code_or_signal", status_is_code_or_signal),
    ("signal_reaches_process_group", signal_reaches_process_group),
    (
        "process_left_behind_does_not_delay_end",
        process_left_behind_does_not_delay_end,
    ),
    (
        "closed_outputs_do_not_end_program",
        closed_outputs_do_not_end_program,
    ),
    ("end_kills_whole_tree", end_kills_whole_tree),
    (
        "end_asks_other_process_groups_first",
        end_asks_other_process_groups_first,
    ),
    (
        "server_that_vanishes_ends_tree",
        server_that_vanishes_ends_tree,
    ),
    ("usage_is_reported", usage_is_reported),
    (
        "last_words_on_a_terminal_arrive",
        last_words_on_a_terminal_arrive,
    ),
];

fn status_is_code_or_signal() {
    for (script, status) in [
        ("true", Status::Code(0)),
        ("exit 255", Status::Code(255)),
        (
            "kill -9 $$",
            Status::Signal {
                signal: 9,
                has_core: false,
            },
        ),
    ] {
        assert_eq!(
            Server::with_script(script).wait_for_status(),
            status,
            "{script}"
        );
    }
}

fn signal_reaches_process_group() {
    let mut server =
        Server::with_script("trap 'echo caught; exit 9' INT; echo ready; sleep 1000 & wait");
    server.wait_for_output("ready");
    server.order(&Order::Signal { signal: 2 });
    assert_eq!(server.wait_for_status(), Status::Code(9));
    assert_eq!(server.stdout(), "ready\ncaught\n");
}

fn process_left_behind_does_not_delay_end() {
    let mut server = Server::with_script("sleep 1000 & echo $!");
    assert_eq!(server.wait_for_status(), Status::Code(0));
    let left: u32 = server.stdout().trim().parse().unwrap();
    assert!(
        std::path::Path::new(&format!("/proc/{left}")).exists(),
        "a process in the background stays"
    );
    drop(server);
    let mut killer = Server::with_script(&format!("kill {left}"));
    assert_eq!(killer.wait_for_status(), Status::Code(0));
    assert_gone(left);
}

fn closed_outputs_do_not_end_program() {
    let mut server = Server::with_script("exec >&- 2>&-; sleep 0.3; exit 9");
    assert_eq!(server.wait_for_status(), Status::Code(9));
}

/// A child in its own session, one that ignores SIGTERM, a stopped one, and one whose parent has
/// ended.
const FAMILY: &str = "setsid sleep 1000 & echo $!
    (trap '' TERM; sleep 1000) & echo $!
    sleep 1000 & kill -STOP $!; echo $!
    sh -c 'setsid sleep 1000 & echo $!'
    trap '' TERM
    echo ready
    while :; do sleep 1; done";

/// The processes of [`FAMILY`].
fn family(server: &mut Server) -> Vec<u32> {
    server.wait_for_output("ready");
    let lines = server.stdout();
    let pids = lines.lines().filter_map(|line| line.parse().ok());
    let pids: Vec<u32> = pids.chain([server.pid]).collect();
    assert_eq!(pids.len(), 5, "{lines}");
    pids
}

/// Proves `leftover-process` in docs/faults.md.
fn end_kills_whole_tree() {
    let mut server = Server::with_script(FAMILY);
    let pids = family(&mut server);
    server.order(&Order::End {
        grace: Duration::from_millis(200),
    });
    assert_eq!(
        server.wait_for_status(),
        Status::Signal {
            signal: 9,
            has_core: false
        }
    );
    pids.into_iter().for_each(assert_gone);
}

fn end_asks_other_process_groups_first() {
    let script = "setsid sh -c 'trap \"echo asked; exit\" TERM; echo ready; \
                  while :; do sleep 0.05; done' & wait";
    let mut server = Server::with_script(script);
    server.wait_for_output("ready");
    server.order(&Order::End {
        grace: Duration::from_secs(600),
    });
    server.wait_for_output("asked");
    server.wait_for_exit();
}

/// Proves `leftover-process` in docs/faults.md.
fn server_that_vanishes_ends_tree() {
    let mut server = Server::with_script(FAMILY);
    let pids = family(&mut server);
    drop(server);
    pids.into_iter().for_each(assert_gone);
}

fn usage_is_reported() {
    let mut server = Server::with_script("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done");
    let exit = server.wait_for_exit();
    assert!(exit.user_time > Duration::ZERO, "{exit:?}");
    assert!(exit.memory_bytes_max > 100_000, "{exit:?}");
}

fn last_words_on_a_terminal_arrive() {
    for _ in 0..20 {
        let mut server = Server::new();
        server.order(&Order::Start(Box::new(Start {
            terminal: Some(landline_supervisor::protocol::Size {
                rows: 24,
                columns: 80,
            }),
            ..script_start("printf bye; exit 4")
        })));
        server.wait_for_start().unwrap();
        assert_eq!(server.wait_for_status(), Status::Code(4));
        assert_eq!(server.stdout(), "bye");
    }
}
