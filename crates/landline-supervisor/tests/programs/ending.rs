//! How programs end, and what they leave behind.

use std::time::Duration;

use landline_supervisor::protocol::{Order, OutputStream, Size, Start, Status, Store};

use crate::{
    folder::Folder,
    server::{Server, assert_gone, script_start, wait_until},
};

pub(crate) const TESTS: [(&str, fn()); 15] = [
    (
        "supervisor_without_program_leaves_on_sigterm",
        supervisor_without_program_leaves_on_sigterm,
    ),
    ("status_is_code_or_signal", status_is_code_or_signal),
    ("signal_reaches_process_group", signal_reaches_process_group),
    (
        "process_left_behind_does_not_delay_end",
        process_left_behind_does_not_delay_end,
    ),
    (
        "late_output_of_own_group_arrives",
        late_output_of_own_group_arrives,
    ),
    (
        "open_output_of_terminal_is_no_loss",
        open_output_of_terminal_is_no_loss,
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
    ("group_ends_with_its_job", group_ends_with_its_job),
    ("remains_in_a_group_are_ended", remains_in_a_group_are_ended),
    ("groups_of_version_2_end_jobs", groups_of_version_2_end_jobs),
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
    for (script, left_open) in [
        ("sleep 1000 & echo $!", true),
        ("setsid sleep 1000 & echo $!", true),
        ("sleep 1000 >/dev/null 2>&1 & echo $!", false),
    ] {
        let mut server = Server::with_script(script);
        let exit = server.wait_for_exit();
        assert_eq!(exit.status, Status::Code(0), "{script}");
        assert_eq!(exit.left_open, left_open, "{script}");
        let left: u32 = server.stdout().trim().parse().unwrap();
        assert!(
            std::path::Path::new(&format!("/proc/{left}")).exists(),
            "a process in the background stays: {script}"
        );
        drop(server);
        let mut killer = Server::with_script(&format!("kill {left}"));
        assert_eq!(killer.wait_for_status(), Status::Code(0));
        assert_gone(left);
    }
}

/// As the program of `exec > >(...)` in a shell, which outlives it for a moment.
fn late_output_of_own_group_arrives() {
    let mut server = Server::with_script("(sleep 0.7; echo late) & echo early");
    let exit = server.wait_for_exit();
    assert_eq!(server.stdout(), "early\nlate\n");
    assert!(!exit.left_open);
}

fn open_output_of_terminal_is_no_loss() {
    let mut start = script_start("trap '' HUP; sleep 1000 & echo $!");
    start.terminal = Some(Size {
        rows: 24,
        columns: 80,
    });
    let mut server = Server::with_start(start);
    let exit = server.wait_for_exit();
    assert!(!exit.left_open);
    let left: u32 = server.stdout().trim().parse().unwrap();
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

/// The supervisors of this program.
fn supervisors() -> Vec<i32> {
    let own = std::env::current_exe().unwrap();
    let words = [own.as_os_str().as_encoded_bytes(), b"supervisor", b""].join(&0);
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it == words))
        .collect()
}

/// A supervisor in reserve does not stay when the system shuts down.
fn supervisor_without_program_leaves_on_sigterm() {
    let others = supervisors();
    let mut server = Server::new();
    let found = supervisors();
    let [pid] = found
        .into_iter()
        .filter(|pid| !others.contains(pid))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.next().is_none());
}

/// The group of the process with this number, if it is that of a job.
fn group_of(pid: u32) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut paths = groups.lines().filter_map(|line| line.rsplit(':').next());
    let is_of_a_job = |path: &&str| path.contains("/landline-job-");
    paths.find(is_of_a_job).map(str::to_owned)
}

/// Whether there is a control group of this path.
fn has_group(path: &str) -> bool {
    ["", "/unified", "/freezer"]
        .iter()
        .any(|mount| std::path::Path::new(&format!("/sys/fs/cgroup{mount}{path}")).exists())
}

/// A job with a group, and its processes; `None` where this machine gives no group.
fn grouped_family(folder: &Folder) -> Option<(Server, Vec<u32>, String)> {
    let mut server = Server::with_start(folder.start(
        // What forgets its environment is in the group all the same.
        "env -i setsid sleep 1000 & echo $!; echo ready; trap '' TERM; while :; do sleep 1; done",
        Store::Disk,
    ));
    let log = || folder.read(OutputStream::Stdout, stored(folder)).0;
    wait_until("two processes", || log().ends_with(b"ready\n"));
    let text = String::from_utf8(log()).unwrap();
    let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let Some(group) = group_of(server.pid) else {
        println!("SKIPPED: this user cannot make control groups");
        server.order(&Order::End {
            grace: Duration::ZERO,
        });
        server.wait_for_status();
        return None;
    };
    assert_eq!(
        pids.iter().map(|pid| group_of(*pid)).collect::<Vec<_>>(),
        [Some(group.clone())]
    );
    let pids = [&pids[..], &[server.pid]].concat();
    Some((server, pids, group))
}

fn stored(folder: &Folder) -> u64 {
    folder.job().stored(OutputStream::Stdout).unwrap()
}

/// Proves `leftover-process` in docs/faults.md.
fn group_ends_with_its_job() {
    let folder = Folder::within(&std::env::temp_dir(), "0123456789abcdef");
    let Some((mut server, pids, group)) = grouped_family(&folder) else {
        return;
    };
    let (_, usage) = landline_supervisor::sample_usage();
    let usage = usage.iter().find(|usage| usage.job == "0123456789abcdef");
    assert!(usage.is_some_and(|usage| usage.processes >= 3), "{usage:?}");
    server.order(&Order::End {
        grace: Duration::from_millis(200),
    });
    server.wait_for_status();
    pids.into_iter().for_each(assert_gone);
    wait_until("the end of the group", || !has_group(&group));
}

/// A supervisor was killed. What it had started is found by its group.
/// Proves `leftover-process` in docs/faults.md.
fn remains_in_a_group_are_ended() {
    let folder = Folder::within(&std::env::temp_dir(), "fedcba9876543210");
    let Some((server, pids, group)) = grouped_family(&folder) else {
        return;
    };
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid)).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let supervisor = rest.split_whitespace().nth(1).unwrap().parse().unwrap();
    let supervisor = rustix::process::Pid::from_raw(supervisor).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    wait_until("the end of the supervisor", || {
        !folder.job().is_locked().unwrap()
    });
    landline_supervisor::kill_remains("fedcba9876543210");
    pids.into_iter().for_each(assert_gone);
    wait_until("the end of the group", || !has_group(&group));
}

/// The same with control groups of version 2 only, which are mounted for this test alone.
/// Proves `leftover-process` in docs/faults.md.
fn groups_of_version_2_end_jobs() {
    let script = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let within = |program: &std::ffi::OsStr, test: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(program).arg(test).output()
    };
    if !within("true".as_ref(), "").is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: to mount control groups needs Linux, root and unshare");
        return;
    }
    let own = std::env::current_exe().unwrap();
    for test in ["group_ends_with_its_job", "remains_in_a_group_are_ended"] {
        let output = within(own.as_os_str(), test).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{test}: {said}{errors}");
        assert_eq!(said, format!("test {test} ... ok\n"));
    }
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
