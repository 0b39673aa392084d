//! What is left of a job whose supervisor was killed.

/// The variable in which the programs of a job find the job's id.
#[cfg(target_os = "linux")]
pub(crate) const VARIABLE: &str = "LANDLINE_JOB";

/// Ends the processes that a job without a supervisor has left behind: those of this user that have
/// its id in their environment, or are in its control group. Returns how many there were.
///
/// Without a group, a process that was given another environment is not found. Systems other than
/// Linux do not say which processes there are, so nothing is ended there.
#[cfg(target_os = "linux")]
pub fn kill_remains(job: &str) -> usize {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let entry = format!("{VARIABLE}={job}");
    let mut killed = 0;
    for pid in processes() {
        // The handle stays that of this process, even if another one gets the number meanwhile.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let is_its = has_entry(pid, entry.as_bytes()) || is_in_group(pid, job);
        if is_its && pidfd_send_signal(&process, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    killed
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

#[cfg(target_os = "linux")]
fn is_in_group(pid: rustix::process::Pid, job: &str) -> bool {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let groups = std::fs::read_to_string(path).unwrap_or_default();
    crate::group::jobs_in(&groups).any(|other| other == job)
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
