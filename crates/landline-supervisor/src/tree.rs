//! The processes that a program has started, however far away.

use crate::platform;

/// The most looks at the processes for one end of a tree.
const ROUNDS_MAX: usize = 100;

/// Sends SIGKILL to every process that descends from this one. Processes are stopped first, so that
/// none starts another meanwhile.
///
/// Returns whether there was one.
pub(crate) fn kill_descendants() -> bool {
    let mut stopped: Vec<u32> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let new: Vec<u32> = descendants()
            .into_iter()
            .map(|process| process.pid)
            .filter(|pid| !stopped.contains(pid))
            .collect();
        if new.is_empty() {
            break;
        }
        for pid in &new {
            platform::kill(*pid, signal(libc::SIGSTOP), false);
        }
        stopped.extend(new);
    }
    for pid in &stopped {
        platform::kill(*pid, signal(libc::SIGKILL), false);
    }
    !stopped.is_empty()
}

/// Asks every process that descends from this one to end, but for those in one process group.
pub(crate) fn terminate_descendants(but_group: u32) {
    for process in descendants() {
        if process.group != but_group {
            for number in [libc::SIGTERM, libc::SIGCONT] {
                platform::kill(process.pid, signal(number), false);
            }
        }
    }
}

/// Whether a process descends from this one.
pub(crate) fn has_descendants() -> bool {
    !descendants().is_empty()
}

/// A signal as the protocol has it.
pub(crate) fn signal(number: libc::c_int) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// A process that descends from another, as the system lists it.
struct Descendant {
    pid: u32,
    parent: u32,
    /// The process group.
    group: u32,
}

/// The processes that descend from this one, parents before children. Zombies do not count.
/// Systems other than Linux do not say.
fn descendants() -> Vec<Descendant> {
    let mut others: Vec<Descendant> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| Descendant::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut found: Vec<Descendant> = Vec::new();
    let mut ancestor = std::process::id();
    for at in 0.. {
        found.extend(others.extract_if(.., |process| process.parent == ancestor));
        match found.get(at) {
            Some(process) => ancestor = process.pid,
            None => break,
        }
    }
    found
}

impl Descendant {
    /// `None` for one that is gone, or has ended and was not collected.
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        (state != "Z").then_some(Self { pid, parent, group })
    }
}
