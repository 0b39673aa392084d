//! Runs that can be continued on another connection of their client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::{mpsc, oneshot};

use super::{jobs::JobTable, server::StartedJob};
use crate::{Error, keys::CredentialId, session::ServiceContext};

/// How many runs of one user may wait for their client at a time.
const WAITING_PER_USER_MAX: usize = 64;
/// How long the holder of a run may take to hand it over.
const HAND_OVER_TIME: Duration = Duration::from_secs(5);
/// The longest time that a run waits for its client.
pub(super) const WAITING_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// The runs that go on for a while when their client is lost. Cloning gives another handle to the
/// same.
#[derive(Clone, Default)]
pub(crate) struct LostRuns(Arc<Mutex<BTreeMap<String, LostRun>>>);

struct LostRun {
    user: UserName,
    credential: CredentialId,
    is_waiting: bool,
    claims: mpsc::Sender<Claim>,
}

/// The wish of a new connection to have a run, answered with the run.
pub(super) struct Claim(oneshot::Sender<StartedJob>);

/// The claims on a run. Dropping this removes the run from the table.
pub(super) struct Claims {
    runs: LostRuns,
    id: String,
    claims: mpsc::Receiver<Claim>,
}

impl LostRuns {
    /// Enters a run of this session.
    pub(super) fn register(&self, id: &str, context: &ServiceContext) -> Claims {
        let (sender, claims) = mpsc::channel(1);
        let run = LostRun {
            user: context.user().clone(),
            credential: context.session().credential.clone(),
            is_waiting: false,
            claims: sender,
        };
        self.lock().insert(id.to_owned(), run);
        Claims {
            runs: self.clone(),
            id: id.to_owned(),
            claims,
        }
    }

    /// Takes a run from the connection that has it, or from where it waits.
    ///
    /// # Errors
    /// `not-found` if there is no such run of this user and credential.
    pub(super) async fn claim(
        &self,
        id: &str,
        context: &ServiceContext,
    ) -> Result<StartedJob, Error> {
        let is_own = |run: &&LostRun| {
            run.user == *context.user() && run.credential == context.session().credential
        };
        let claims = self
            .lock()
            .get(id)
            .filter(is_own)
            .map(|run| run.claims.clone());
        let missing = || Error::here(ErrorCode::NotFound, "the command is not running any more");
        let (sender, receiver) = oneshot::channel();
        let handing_over = async {
            claims?.send(Claim(sender)).await.ok()?;
            receiver.await.ok()
        };
        let handed_over = tokio::time::timeout(HAND_OVER_TIME, handing_over).await;
        handed_over.ok().flatten().ok_or_else(missing)
    }

    /// Keeps a run whose client was lost until it is claimed, its time is over, or the user may not
    /// run it any more. Then it is ended.
    pub(super) fn keep(&self, mut run: StartedJob, jobs: JobTable, context: ServiceContext) {
        if !self.begin_waiting(&run.claims.id) {
            run.job.end_at_once();
            run.note_end(&context);
            return;
        }
        tokio::spawn(async move {
            let allowed = jobs.watch_rights(
                context.user().clone(),
                context.session().credential.clone(),
                run.words.clone(),
            );
            let StartedJob {
                job,
                claims,
                on_lost,
                ..
            } = &mut run;
            let claim = tokio::select! {
                biased;
                claim = claims.next() => claim,
                () = tokio::time::sleep(*on_lost) => None,
                _ = context.connection().terminated() => None,
                () = allowed => None,
                _ = job.drive() => None,
            };
            match claim {
                Some(claim) => claim.hand_over(run, &context),
                None => {
                    run.job.end_at_once();
                    run.note_end(&context);
                }
            }
        });
    }

    /// Notes that a run waits; `false` if too many of its user do.
    fn begin_waiting(&self, id: &str) -> bool {
        let mut runs = self.lock();
        let Some(user) = runs.get(id).map(|run| run.user.clone()) else {
            return false;
        };
        let waiting = runs
            .values()
            .filter(|run| run.is_waiting && run.user == user);
        if waiting.count() >= WAITING_PER_USER_MAX {
            return false;
        }
        if let Some(run) = runs.get_mut(id) {
            run.is_waiting = true;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LostRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claims {
    /// The next claim.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Claim> {
        self.claims.recv().await
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.id);
    }
}

impl Claim {
    /// Hands a run over. If the new connection is gone already, the run is ended.
    pub(super) fn hand_over(self, run: StartedJob, context: &ServiceContext) {
        if let Some(entry) = run.claims.runs.lock().get_mut(&run.id) {
            entry.is_waiting = false;
        }
        if let Err(mut run) = self.0.send(run) {
            run.job.end_at_once();
            run.note_end(context);
        }
    }
}
