//! The control group of a job. Only Linux has them.
//!
//! All that a program starts is in its group, whatever it does. So the group is ended as a whole,
//! and a server finds what a killed supervisor has left. A group is a folder in that of the group
//! that the supervisor is in: version 2, or the freezer of version 1. Where the system does not let
//! the supervisor make one, there is none. A job may make groups within its own.

use std::{
    fs,
    io::{self, Write},
    path::{Component, Path, PathBuf},
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

    /// Whether no process is in it, or in a group within. Zombies count until they are collected.
    pub(crate) fn is_empty(&self) -> bool {
        processes_in(&self.folder).is_empty()
    }

    /// Sends SIGKILL to all processes in it and in the groups within, so that none starts another
    /// meanwhile.
    pub(crate) fn kill(&self) {
        if !self.is_freezer {
            let _ = self.write("cgroup.kill", "1");
            return;
        }
        let _ = self.write("freezer.state", "FROZEN");
        for pid in processes_in(&self.folder) {
            crate::platform::kill(pid, crate::tree::signal(libc::SIGKILL), false);
        }
        for folder in tree(&self.folder) {
            let _ = write(&folder, "freezer.state", "THAWED");
        }
    }

    /// Removes the group if no process is in it, and those that other jobs have left empty.
    pub(crate) fn remove(&self) {
        remove_empty(&self.folder);
        let Some(parent) = self.folder.parent() else {
            return;
        };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let is_group = job_of(&entry.path()).is_some();
            let made = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old =
                |made| SystemTime::now().duration_since(made).unwrap_or_default() > EMPTY_TIME;
            if is_group && made.is_ok_and(is_old) {
                remove_empty(&entry.path());
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        write(&self.folder, file, text)
    }
}

fn write(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(folder.join(file))?;
    file.write_all(text.as_bytes())
}

/// A group and all groups within, each before those within it.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    for at in 0.. {
        let Some(folder) = folders.get(at) else { break };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let within: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        folders.extend(within);
    }
    folders
}

/// The processes in a group and in all groups within.
fn processes_in(folder: &Path) -> Vec<u32> {
    let lists = tree(folder)
        .into_iter()
        .map(|folder| fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default());
    let lists: String = lists.collect();
    lists.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Removes a group with all groups within, if no process is in any of them.
fn remove_empty(folder: &Path) {
    if !processes_in(folder).is_empty() {
        return;
    }
    for folder in tree(folder).iter().rev() {
        // The kernel refuses to remove one with processes.
        let _ = fs::remove_dir(folder);
    }
}

/// The job whose group has this folder.
fn job_of(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()?.strip_prefix(PREFIX)
}

/// The jobs in whose groups a process is, each within the one before. `groups` is its
/// `/proc/PID/cgroup`.
#[cfg(target_os = "linux")]
pub(crate) fn jobs_in(groups: &str) -> impl Iterator<Item = &str> {
    let parts = groups.lines().flat_map(|line| line.split('/'));
    parts.filter_map(|part| part.strip_prefix(PREFIX))
}

/// The folders of a job's group that a process is in. `groups` is its `/proc/PID/cgroup`.
#[cfg(target_os = "linux")]
pub(crate) fn folders(job: &str, groups: &str) -> Vec<PathBuf> {
    let find = |mount: Mount| {
        let folder = mount.folder_of(groups)?;
        let found = folder.ancestors().find(|part| job_of(part) == Some(job));
        found.map(Path::to_owned)
    };
    mounts().into_iter().filter_map(find).collect()
}

/// Removes groups in which no process is.
#[cfg(target_os = "linux")]
pub(crate) fn remove(folders: impl IntoIterator<Item = PathBuf>) {
    for folder in folders {
        remove_empty(&folder);
    }
}

/// What the group of a job has used. `groups` is the `/proc/PID/cgroup` of a process in it.
#[cfg(target_os = "linux")]
pub(crate) fn usage(groups: &str) -> GroupUsage {
    let folders = mounts().into_iter().filter_map(|mount| {
        let folder = mount.folder_of(groups)?;
        let found = folder.ancestors().find(|part| job_of(part).is_some());
        found.map(Path::to_owned)
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
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // The group is above what is mounted here.
        if below.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        Some(self.place.join(below))
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]
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
        assert_eq!(outside.folder_of("6:freezer:/docker/ab/x\n"), None);
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

    /// A group of this test in each mount that lets this user make one. Prints SKIPPED for the
    /// others.
    fn groups(name: &str) -> Vec<Group> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut groups = Vec::new();
        for is_freezer in [false, true] {
            let mounts = mounts();
            let mut mounts = mounts.iter().filter(|mount| mount.is_freezer == is_freezer);
            let group = mounts.find_map(|mount| {
                let name = format!("{PREFIX}{name}-{}", std::process::id());
                let folder = mount.folder_of(&own)?.join(name);
                fs::create_dir(&folder).ok()?;
                Some(Group { folder, is_freezer })
            });
            match group {
                Some(group) => groups.push(group),
                None if is_freezer => eprintln!("SKIPPED: no freezer group can be made here"),
                None => eprintln!("SKIPPED: no group of version 2 can be made here"),
            }
        }
        groups
    }

    fn sleeping_in(folder: &Path) -> std::process::Child {
        let child = std::process::Command::new("sleep").arg("1000").spawn();
        let child = child.unwrap();
        write(folder, "cgroup.procs", &child.id().to_string()).unwrap();
        child
    }

    /// Each way to end a group, as far as this machine has it.
    #[test]
    fn group_ends_all_of_its_processes() {
        for group in groups("end") {
            let within = group.folder.join("a/b");
            fs::create_dir_all(&within).unwrap();
            for folder in [&group.folder, &within] {
                let mut child = sleeping_in(folder);
                assert!(!group.is_empty(), "{folder:?}");
                group.remove();
                assert!(within.exists(), "{folder:?}");
                group.kill();
                let status = child.wait().unwrap();
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                assert_eq!(signal, Some(libc::SIGKILL), "{folder:?}");
                assert!(group.is_empty(), "{folder:?}");
            }
            group.remove();
            assert!(!group.folder.exists(), "{group:?}");
        }
    }

    /// What a frozen group holds ends as well.
    #[test]
    fn frozen_group_within_ends() {
        for group in groups("frozen").into_iter().filter(|it| it.is_freezer) {
            let within = group.folder.join("a");
            fs::create_dir(&within).unwrap();
            let mut child = sleeping_in(&within);
            write(&within, "freezer.state", "FROZEN").unwrap();
            group.kill();
            child.wait().unwrap();
            group.remove();
            assert!(!group.folder.exists(), "{group:?}");
        }
    }
}
