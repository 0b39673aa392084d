//! The jobs of all users that run now.

use super::{super::top::ProgramUsage, JobTable, lock};
use crate::store::AccountId;

impl JobTable {
    /// The jobs of all users that run now, each with its account.
    pub(in super::super) fn running(&self) -> Vec<(AccountId, ProgramUsage)> {
        let jobs = lock(&self.0.jobs);
        jobs.values()
            .filter(|entry| !entry.job.is_over())
            .map(|entry| {
                let info = entry.job.info();
                let record = &entry.job.record;
                let usage = ProgramUsage {
                    name: info.name,
                    detached: true,
                    ..ProgramUsage::new(info.job, record.user.clone(), info.command, info.started)
                };
                (record.account, usage)
            })
            .collect()
    }
}
