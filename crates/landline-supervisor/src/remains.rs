//! What is left of a job whose supervisor was killed.

/// The variable in which the programs of a job find the job's id.
#[cfg(target_os = "linux")]
pub(crate) const VARIABLE: &str = "LANDLINE_JOB";

/// How long processes that are killed may take to be gone.
#[cfg(target_os = "linux")]
const END_TIME_MAX: std::time::Duration = std::time::Duration::from_millis(500);

/// Ends the processes that a job without a supervisor has left behind: those of this user that have
/// its id in their environment, or are in its control group. Returns how many there were. Their
/// control group is removed, if all of them are gone within half a second.
///
/// Without a group, a process that was given another environment is not found. Systems other than
/// Linux do not say which processes there are, so nothing is ended there.
#[cfg(target_os = "linux")]
pub fn kill_remains(job: &str) -> usize {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let entry = format!("{VARIABLE}={job}");
    let mut killed = Vec::new();
    let mut groups = std::collections::BTreeSet::new();
    for pid in processes() {
        // The handle stays that of this process, even if another one gets the number meanwhile.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let memberships = memberships(pid);
        let is_in_group = crate::group::jobs_in(&memberships).any(|other| other == job);
        let is_its = is_in_group || has_entry(pid, entry.as_bytes());
        if is_its && pidfd_send_signal(&process, Signal::KILL).is_ok() {
            killed.push(process);
            groups.extend(crate::group::folders(job, &memberships));
        }
    }
    if !groups.is_empty() {
        wait_for_end(&killed);
        crate::group::remove(groups);
    }
    killed.len()
}

/// Waits until processes have ended, for a limited time.
#[cfg(target_os = "linux")]
fn wait_for_end(processes: &[rustix::fd::OwnedFd]) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let until = std::time::Instant::now() + END_TIME_MAX;
    for process in processes {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: left.subsec_nanos().into(),
        };
        // It is readable once the process has ended.
        let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
    }
}

/// As on Linux, but nothing is ended.
#[cfg(not(target_os = "linux"))]
pub fn kill_remains(_job: &str) -> usize {
    0
}

#[cfg(target_os = "linux")]
fn has_entry(pid: rustix::process::Pid, entry: &[u8]) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let environment = std::fs::read(path).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|found| found == entry)
}

/// The control groups that a process is in, as `/proc` lists them.
#[cfg(target_os = "linux")]
fn memberships(pid: rustix::process::Pid) -> String {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    std::fs::read_to_string(path).unwrap_or_default()
}

/// All processes but this one.
#[cfg(target_os = "linux")]
fn processes() -> impl Iterator<Item = rustix::process::Pid> {
    let folder = std::fs::read_dir("/proc").into_iter().flatten();
    folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
        .filter(|pid| *pid != rustix::process::getpid())
}
