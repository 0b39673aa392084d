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

/// Whether a process descends from this one.
pub(crate) fn has_descendants() -> bool {
    !descendants().is_empty()
}

/// A signal as the protocol has it.
pub(crate) fn signal(number: libc::c_int) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// The processes that descend from this one, parents before children. Zombies do not count.
/// Systems other than Linux do not say.
fn descendants() -> Vec<u32> {
    let processes: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let mut found = vec![std::process::id()];
    let mut at = 0;
    while let Some(ancestor) = found.get(at).copied() {
        let children = processes.iter().filter(|(_, parent)| *parent == ancestor);
        found.extend(children.map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// The parent of a process; `None` for one that is gone, or has ended and was not collected.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z").then_some(fields.next()?.parse().ok()?)
}
