//! Ending detached jobs whose user may not run them any more.

use std::{sync::Arc, time::Duration};

use landline_proto::login::UserName;
use landline_supervisor::protocol::Order;

use super::{
    super::{
        command::Words,
        start::{action, may_have_terminal},
    },
    END_TIME_MAX, JobTable,
    job::{Job, JobProgress},
    lock,
};
use crate::{Error, keys::CredentialId, store::AccountId};

/// How long a job may take to end when its right is revoked.
const REVOCATION_GRACE: Duration = Duration::from_millis(500);

impl JobTable {
    /// Ends the running jobs whose account, credential or right is gone. Whether all could be
    /// checked.
    pub(super) async fn end_without_right(&self) -> bool {
        let table = self.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let entries: Vec<_> = lock(&table.0.jobs).values().cloned().collect();
            let mut is_complete = true;
            for entry in entries.iter().filter(|entry| !entry.job.is_over()) {
                is_complete &= table.end_if_not_allowed(&entry.job).is_ok();
            }
            is_complete
        });
        checking.await.unwrap_or(false)
    }

    /// Ends a running job whose account, credential or right is gone. Blocking.
    fn end_if_not_allowed(&self, job: &Arc<Job>) -> Result<(), Error> {
        if !self.still_allowed(job)? {
            end_at_once(job);
        }
        Ok(())
    }

    /// Looks at the rights of a job that was just started: they may have been revoked after they
    /// were checked, and before the job was in the table.
    pub(in super::super) async fn check_started(&self, job: &Arc<Job>) {
        let (table, job) = (self.clone(), job.clone());
        let checking = tokio::task::spawn_blocking(move || {
            if table.end_if_not_allowed(&job).is_err() {
                // What cannot be checked is not kept.
                end_at_once(&job);
            }
        });
        let _ = checking.await;
    }

    /// Returns once this user may not run this by the rules and credentials in force.
    pub(in super::super) async fn wait_until_forbidden(
        self,
        user: UserName,
        account: AccountId,
        credential: CredentialId,
        words: Words,
    ) {
        let mut rules = self.0.parts.rights.watch();
        let mut changes = self.0.parts.store.subscribe();
        rules.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = rules.changed() => {}
                Ok(()) = changes.changed() => {}
            }
            let table = self.clone();
            let (user, credential, words) = (user.clone(), credential.clone(), words.clone());
            let checking = tokio::task::spawn_blocking(move || {
                let is_same = table.0.parts.store.account_id(&user)? == Some(account);
                Ok::<_, Error>(
                    is_same && table.is_valid(&user, &credential)? && table.may_run(&user, &words),
                )
            });
            // What cannot be checked is not kept.
            if !matches!(checking.await, Ok(Ok(true))) {
                return;
            }
        }
    }

    /// Whether the user could still start the job by the current rules and credentials. Blocking.
    fn still_allowed(&self, job: &Job) -> Result<bool, Error> {
        let Some(words) = job.words() else {
            return Ok(true);
        };
        let Some(credential) = job.record.credential() else {
            return Ok(false);
        };
        let (user, store) = (&job.record.user, &self.0.parts.store);
        if store.account_id(user)? != Some(job.record.account) {
            return Ok(false);
        }
        if job.has_terminal() && !may_have_terminal(&self.0.parts.rights.rules(), user) {
            return Ok(false);
        }
        Ok(
            (store.keeps_jobs(user, &credential)? || self.is_valid(user, &credential)?)
                && self.may_run(user, &words),
        )
    }

    /// Whether a credential could still log in. A key that has expired meanwhile does not count.
    /// Blocking.
    fn is_valid(&self, user: &UserName, credential: &CredentialId) -> Result<bool, Error> {
        let revoked = self.0.parts.store.revocation_reason(user, credential)?;
        Ok(revoked.is_none())
    }

    /// Whether a user may run this by the current rules. Blocking.
    fn may_run(&self, user: &UserName, words: &Words) -> bool {
        let parts = &self.0.parts;
        let rules = parts.rights.rules();
        rules.may_run_commands(user, parts.share_uid)
            && rules.check(user, &action(words), &parts.root).allowed
    }
}

/// Ends a job whose right is gone. If its supervisor does not do that in time, it is stopped, and
/// the server ends the program without it. Within the runtime.
fn end_at_once(job: &Arc<Job>) {
    job.order(Order::End {
        grace: REVOCATION_GRACE,
    });
    let (job, mut progress) = (job.clone(), job.watch());
    tokio::spawn(async move {
        let over = progress.wait_for(JobProgress::is_over);
        if tokio::time::timeout(END_TIME_MAX, over).await.is_err() {
            let id = job.id().to_owned();
            let ending =
                tokio::task::spawn_blocking(move || landline_supervisor::kill_remains(&id));
            let _ = ending.await;
        }
    });
}
