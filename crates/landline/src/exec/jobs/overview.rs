//! The jobs of all users that run now.

use super::{super::top::ProgramUsage, JobTable, lock};

impl JobTable {
    /// The jobs of all users that run now.
    pub(in super::super) fn running(&self) -> Vec<ProgramUsage> {
        let jobs = lock(&self.0.jobs);
        jobs.values()
            .filter(|entry| !entry.job.is_over())
            .map(|entry| {
                let info = entry.job.info();
                let user = entry.job.record.user.clone();
                ProgramUsage {
                    name: info.name,
                    detached: true,
                    ..ProgramUsage::new(info.job, user, info.command, info.started)
                }
            })
            .collect()
    }
}
