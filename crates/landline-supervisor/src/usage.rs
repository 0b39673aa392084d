//! What the programs of all jobs of this user use.

use std::time::Duration;

/// What the processes of one job use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobUsage {
    /// The job's id.
    pub job: String,
    /// How many processes it has, its supervisor included.
    pub processes: u32,
    /// The processor time of these processes. It includes those that have ended, if the job has a
    /// control group; else those of them that one of these has waited for.
    pub processor_time: Duration,
    /// The memory that is charged to the control group of the job, or else that is resident, in
    /// bytes. Memory that several processes share counts for each then.
    pub memory_bytes: u64,
}

/// The machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MachineUsage {
    /// The number of processors.
    pub processors: u32,
    /// The average number of processes that were ready to run in the last minute, times 100.
    pub load_hundredths: u64,
    /// The memory, in bytes; 0 if the system does not say.
    pub memory_bytes: u64,
    /// The memory that is available to programs, in bytes.
    pub available_bytes: u64,
}

/// Looks at all processes of this user that belong to jobs. Systems other than Linux do not say
/// which processes there are, so there are none.
///
/// A process belongs to the job in whose control group it is, or whose id is in its environment, or
/// to that of its parent.
///
/// # Blocking
/// Reads files in `/proc`.
pub fn sample_usage() -> (MachineUsage, Vec<JobUsage>) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = MachineUsage {
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
        ..linux::machine()
    };
    (machine, linux::jobs())
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::{JobUsage, MachineUsage};

    pub(super) fn machine() -> MachineUsage {
        MachineUsage::default()
    }

    pub(super) fn jobs() -> Vec<JobUsage> {
        Vec::new()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::{BTreeMap, HashMap},
        fs,
        time::Duration,
    };

    use super::{JobUsage, MachineUsage};
    use crate::{
        group::{self, GroupUsage},
        remains::VARIABLE,
    };

    /// A process as `/proc/PID/stat` describes it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct ProcessStat {
        parent: u32,
        ticks: u64,
        pages: u64,
    }

    pub(super) fn machine() -> MachineUsage {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let bytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_ascii_whitespace().nth(1));
            kibibytes.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let load = read("/proc/loadavg");
        let load = load.split(' ').next().unwrap_or_default().replace('.', "");
        MachineUsage {
            processors: 0,
            load_hundredths: load.parse().unwrap_or(0),
            memory_bytes: bytes("MemTotal"),
            available_bytes: bytes("MemAvailable"),
        }
    }

    pub(super) fn jobs() -> Vec<JobUsage> {
        let mut processes = HashMap::new();
        let mut jobs = HashMap::new();
        let mut groups: BTreeMap<String, GroupUsage> = BTreeMap::new();
        for pid in pids() {
            let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some(process) = parse_stat(&String::from_utf8_lossy(&stat)) else {
                continue;
            };
            processes.insert(pid, process);
            let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if let Some(job) = group::jobs_in(&memberships).last() {
                if !groups.contains_key(job) {
                    groups.insert(job.to_owned(), group::usage(&memberships));
                }
                jobs.insert(pid, job.to_owned());
                continue;
            }
            // Those of other users cannot be read.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if let Some(job) = job_of(&environment) {
                jobs.insert(pid, job);
            }
        }
        let mut all = gather(&processes, jobs);
        for usage in &mut all {
            if let Some(group) = groups.get(&usage.job) {
                usage.processor_time = group.processor_time.unwrap_or(usage.processor_time);
                usage.memory_bytes = group.memory_bytes.unwrap_or(usage.memory_bytes);
            }
        }
        all
    }

    fn pids() -> impl Iterator<Item = u32> {
        let folder = fs::read_dir("/proc").into_iter().flatten();
        folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
    }

    /// The job in an environment.
    fn job_of(environment: &[u8]) -> Option<String> {
        let mut entries = environment.split(|byte| *byte == 0);
        let value = entries.find_map(|entry| {
            let rest = entry.strip_prefix(VARIABLE.as_bytes())?;
            rest.strip_prefix(b"=")
        })?;
        String::from_utf8(value.to_vec()).ok()
    }

    pub(super) fn parse_stat(stat: &str) -> Option<ProcessStat> {
        // The name in parentheses may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(ProcessStat {
            parent: u32::try_from(number(1)?).ok()?,
            // In user and kernel mode, its own and of children that it waited for.
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            pages: number(21)?,
        })
    }

    /// Adds the processes of each job up. `jobs` has those that name theirs.
    pub(super) fn gather(
        processes: &HashMap<u32, ProcessStat>,
        mut jobs: HashMap<u32, String>,
    ) -> Vec<JobUsage> {
        // The parent of a program that names no job is its supervisor.
        let supervisors: Vec<(u32, String)> = jobs
            .iter()
            .filter_map(|(pid, job)| {
                let parent = processes.get(pid)?.parent;
                (parent > 1 && !jobs.contains_key(&parent)).then(|| (parent, job.clone()))
            })
            .collect();
        jobs.extend(supervisors);
        let mut all: BTreeMap<String, JobUsage> = BTreeMap::new();
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let page_bytes = rustix::param::page_size() as u64;
        for (pid, process) in processes {
            let Some(job) = nearest_job(*pid, processes, &jobs) else {
                continue;
            };
            let usage = all.entry(job.to_owned()).or_insert_with(|| JobUsage {
                job: job.to_owned(),
                processes: 0,
                processor_time: Duration::ZERO,
                memory_bytes: 0,
            });
            usage.processes += 1;
            let milliseconds = process.ticks.saturating_mul(1000) / ticks_per_second;
            usage.processor_time += Duration::from_millis(milliseconds);
            usage.memory_bytes += process.pages * page_bytes;
        }
        all.into_values().collect()
    }

    /// The job of a process, or of the nearest process above it that has one.
    fn nearest_job<'a>(
        mut pid: u32,
        processes: &HashMap<u32, ProcessStat>,
        jobs: &'a HashMap<u32, String>,
    ) -> Option<&'a str> {
        // While it is read, the tree may change into one with a loop.
        for _ in 0..processes.len() {
            if let Some(job) = jobs.get(&pid) {
                return Some(job);
            }
            pid = processes.get(&pid)?.parent;
        }
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn stat_with_any_name_is_parsed() {
            let stat = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 5 6 7 8 20 0 1 0 99 4096 12 0";
            let process = parse_stat(stat).unwrap();
            assert_eq!((process.parent, process.ticks, process.pages), (3, 26, 12));
            for bad in [
                "",
                "7 (a",
                "7 (a) S",
                "7 (a) S x 7 7 0 -1 4 1 0 0 0 5 6 7 8 20 0 1 0 9 4 12",
            ] {
                assert_eq!(parse_stat(bad), None, "{bad}");
            }
        }

        #[test]
        fn processes_belong_to_the_nearest_job_above() {
            let process = |parent| ProcessStat {
                parent,
                ticks: 0,
                pages: 1,
            };
            // 10 and 20 supervise; 12 has another environment, 13 was left to its supervisor.
            let tree = [
                (1, 0),
                (5, 1),
                (10, 1),
                (11, 10),
                (12, 11),
                (13, 10),
                (20, 1),
                (21, 20),
                (30, 31),
                (31, 30),
            ];
            let processes = tree.map(|(pid, parent)| (pid, process(parent))).into();
            let jobs = [(11, "a"), (21, "b")].map(|(pid, job)| (pid, job.to_owned()));
            let found: Vec<_> = gather(&processes, jobs.into())
                .into_iter()
                .map(|usage| (usage.job, usage.processes))
                .collect();
            assert_eq!(found, [("a".to_owned(), 4), ("b".to_owned(), 2)]);
        }
    }
}
