//! The control group of a job. Only Linux has them.
//!
//! All that a program starts is in its group, whatever it does. So the group is ended as a whole,
//! and a server finds what a killed supervisor has left. A group is a folder beside the one that
//! the supervisor is in: version 2, or the freezer of version 1. Where the system does not let the
//! supervisor make one, there is none.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// What the name of a group begins with; the id of the job follows.
const PREFIX: &str = "landline-job-";
/// How long an empty group of another job stays, in case that job is just being started.
const EMPTY_TIME: Duration = Duration::from_secs(60);

/// The group of a job.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    is_freezer: bool,
}

/// What a group has used, as far as the kernel counts it.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GroupUsage {
    /// Processor time of all processes that are or were in it.
    pub(crate) processor_time: Option<Duration>,
    /// The memory that is charged to it, in bytes.
    pub(crate) memory_bytes: Option<u64>,
}

/// A file system of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    /// The group that is at this place.
    root: String,
    is_freezer: bool,
}

impl Group {
    /// Makes the group of a job; `None` where that is not possible.
    pub(crate) fn create(job: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        mounts().iter().find_map(|mount| {
            let folder = mount.folder_of(&own)?.join(format!("{PREFIX}{job}"));
            fs::create_dir(&folder).ok()?;
            let group = Self {
                folder,
                is_freezer: mount.is_freezer,
            };
            // A system may have the folder and not let processes in.
            let is_usable = group.is_freezer || group.folder.join("cgroup.kill").exists();
            if is_usable {
                return Some(group);
            }
            group.remove();
            None
        })
    }

    /// The file in which a process writes `0` to be in the group.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open_entrance(&self) -> io::Result<fs::File> {
        let file = self.folder.join("cgroup.procs");
        fs::OpenOptions::new().write(true).open(file)
    }

    /// Whether no process is in it. Zombies count until they are collected.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes().is_empty()
    }

    /// Sends SIGKILL to all processes in it, so that none starts another meanwhile.
    pub(crate) fn kill(&self) {
        if !self.is_freezer {
            let _ = self.write("cgroup.kill", "1");
            return;
        }
        let _ = self.write("freezer.state", "FROZEN");
        for pid in self.processes() {
            crate::platform::kill(pid, crate::tree::signal(libc::SIGKILL), false);
        }
        let _ = self.write("freezer.state", "THAWED");
    }

    /// Removes the group if no process is in it, and those that other jobs have left empty.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir(&self.folder);
        let Some(parent) = self.folder.parent() else {
            return;
        };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_group = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
            let made = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old =
                |made| SystemTime::now().duration_since(made).unwrap_or_default() > EMPTY_TIME;
            // The kernel refuses to remove one with processes.
            if is_group && made.is_ok_and(is_old) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn processes(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(file))?;
        file.write_all(text.as_bytes())
    }
}

/// The jobs in whose groups a process is, each within the one before. `groups` is its
/// `/proc/PID/cgroup`.
#[cfg(target_os = "linux")]
pub(crate) fn jobs_in(groups: &str) -> impl Iterator<Item = &str> {
    let parts = groups.lines().flat_map(|line| line.split('/'));
    parts.filter_map(|part| part.strip_prefix(PREFIX))
}

/// What the group of a job has used. `groups` is the `/proc/PID/cgroup` of a process in it.
#[cfg(target_os = "linux")]
pub(crate) fn usage(groups: &str) -> GroupUsage {
    let folders = mounts().into_iter().filter_map(|mount| {
        let folder = mount.folder_of(groups)?;
        let is_group = |part: &std::path::Path| {
            let name = part.file_name().unwrap_or_default();
            name.to_str().is_some_and(|name| name.starts_with(PREFIX))
        };
        folder
            .ancestors()
            .find(|part| is_group(part))
            .map(std::path::Path::to_owned)
    });
    let mut usage = GroupUsage::default();
    for folder in folders {
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let microseconds = read("cpu.stat").and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "));
            line?.trim().parse().ok()
        });
        let memory = read("memory.current").and_then(|text| text.trim().parse().ok());
        usage.processor_time = usage
            .processor_time
            .or(microseconds.map(Duration::from_micros));
        usage.memory_bytes = usage.memory_bytes.or(memory);
    }
    usage
}

fn mounts() -> Vec<Mount> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    // Version 2 first.
    found.sort_by_key(|mount| mount.is_freezer);
    found
}

impl Mount {
    /// Reads a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let mut kind = after.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let is_freezer = file_system == "cgroup" && options.split(',').any(|it| it == "freezer");
        if file_system != "cgroup2" && !is_freezer {
            return None;
        }
        Some(Self {
            // A blank in it is written as an escape. Such a place is not used.
            place: place.into(),
            root: root.to_owned(),
            is_freezer,
        })
    }

    /// The folder of the group that a process is in.
    fn folder_of(&self, groups: &str) -> Option<PathBuf> {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let is_here = if self.is_freezer {
                controllers.split(',').any(|it| it == "freezer")
            } else {
                number == "0" && controllers.is_empty()
            };
            is_here.then_some(path)
        })?;
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        // The group is above what is mounted here.
        if below.split('/').any(|part| part == "..") {
            return None;
        }
        Some(self.place.join(below.trim_start_matches('/')))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn group_is_found_below_its_mount() {
        let v2 = "29 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let freezer = "34 25 0:31 /docker/a /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer";
        let other = "35 25 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(Mount::parse(other), None);
        let groups = "6:freezer:/docker/a/x\n3:cpu:/y\n0::/system.slice/l.service\n";
        let folder = |line| Mount::parse(line).unwrap().folder_of(groups);
        assert_eq!(
            folder(v2),
            Some(PathBuf::from("/sys/fs/cgroup/system.slice/l.service"))
        );
        assert_eq!(
            folder(freezer),
            Some(PathBuf::from("/sys/fs/cgroup/freezer/x"))
        );
        let outside = Mount::parse(freezer).unwrap();
        assert_eq!(outside.folder_of("6:freezer:/elsewhere\n"), None);
        assert_eq!(outside.folder_of("6:freezer:/../x\n"), None);
        assert_eq!(outside.folder_of("0::/x\n"), None);
    }

    #[test]
    fn group_names_its_job() {
        let jobs = |groups| jobs_in(groups).collect::<Vec<_>>();
        let groups = "6:freezer:/\n0::/a.slice/landline-job-0123/b/landline-job-4567\n";
        assert_eq!(jobs(groups), ["0123", "4567"]);
        assert!(jobs("0::/system.slice/landline-launcher.service\n").is_empty());
    }

    /// Each way to end a group, as far as this machine has it.
    #[test]
    fn group_ends_all_of_its_processes() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        for mount in mounts() {
            let name = format!("{PREFIX}test-{}", std::process::id());
            let Some(folder) = mount.folder_of(&own).map(|folder| folder.join(name)) else {
                continue;
            };
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Group {
                folder,
                is_freezer: mount.is_freezer,
            };
            let mut child = std::process::Command::new("sleep")
                .arg("1000")
                .spawn()
                .unwrap();
            group
                .write("cgroup.procs", &child.id().to_string())
                .unwrap();
            assert!(!group.is_empty(), "{mount:?}");
            group.kill();
            let status = child.wait().unwrap();
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(signal, Some(libc::SIGKILL), "{mount:?}");
            assert!(group.is_empty(), "{mount:?}");
            group.remove();
            assert!(!group.folder.exists(), "{mount:?}");
        }
    }
}
