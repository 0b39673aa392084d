//! Runs that can be continued on another connection of their client, also at the next server.
//!
//! A run that outlives its connection has a folder with a [`RunRecord`]. Its supervisor listens
//! there, and removes the folder when it ends. A server that starts takes up the runs that it finds
//! and keeps them for their clients, as it keeps a run whose connection was lost.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use landline_proto::{ErrorCode, Name, login::UserName};
use landline_supervisor::{
    protocol::{Order, Report, Store},
    store::JobFolder,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    command::Words,
    foreground::Foreground,
    jobs::{ADOPTION_TIME, END_TIME_MAX, JobTable, RecordedWords, now},
    messages::COMMAND_BYTES_MAX,
    run_record::{RunOwner, RunRecord},
    server::describe,
    start::shown,
    supervisor::Supervisor,
    top::ProgramUsage,
};
use crate::{
    Error, activity::Activity, keys::CredentialId, paths::PrivateFolder, session::ServiceContext,
    store::AccountId,
};

/// The folder of all runs in the server's state.
const FOLDER: &str = "runs";
/// The file in the folder of a run.
const FILE: &str = "record";
/// Longer than any record: JSON may need six bytes for one of the command.
const RECORD_BYTES_MAX: u64 = 6 * COMMAND_BYTES_MAX + 64 * 1024;
/// How many runs of one user may wait for their client at a time.
const WAITING_PER_USER_MAX: usize = 64;
/// How long the holder of a run may take to hand it over.
const HAND_OVER_TIME: Duration = Duration::from_secs(5);
/// The longest time that a run waits for its client.
pub(super) const WAITING_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// The time between two attempts to reach a supervisor.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// The longest time between two attempts to read the folder of a run.
const RETRY_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// The runs that go on for a while when their client is lost. Cloning gives another handle to the
/// same.
#[derive(Clone)]
pub(crate) struct LostRuns(Arc<Runs>);

struct Runs {
    folder: PrivateFolder,
    jobs: JobTable,
    /// By id.
    table: Mutex<BTreeMap<String, LostRun>>,
    /// The ids of those that the adoption takes up.
    found: Mutex<Vec<String>>,
    /// Whether the server ends, and leaves its runs to the next one.
    is_stopping: AtomicBool,
}

struct LostRun {
    user: UserName,
    account: AccountId,
    /// The beginning of the command, for people.
    shown: Name,
    /// When this server has learned of it, in milliseconds since 1970.
    started: u64,
    credential: CredentialId,
    is_waiting: bool,
    claims: mpsc::Sender<Claim>,
}

/// A program that runs for a client. Dropping it ends the program, unless the server ends.
pub(super) struct StartedRun {
    pub(super) id: String,
    pub(super) job: Foreground,
    pub(super) words: Words,
    pub(super) has_terminal: bool,
    owner: RunOwner,
    /// How long it continues when its client is lost.
    on_lost: Duration,
    pub(super) claims: Claims,
    is_settled: bool,
}

/// The wish of a new connection to have a run, answered with the run.
pub(super) struct Claim(oneshot::Sender<StartedRun>);

/// The claims on a run. Dropping this removes the run from the table.
pub(super) struct Claims {
    runs: LostRuns,
    id: String,
    claims: mpsc::Receiver<Claim>,
}

impl LostRuns {
    /// Finds the runs that an earlier server has left.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn open(state: &PrivateFolder, jobs: JobTable) -> Result<Self, Error> {
        let folder = state.subfolder(FOLDER)?;
        let found = folder.names()?;
        Ok(Self(Arc::new(Runs {
            folder,
            jobs,
            table: Mutex::default(),
            found: Mutex::new(found),
            is_stopping: AtomicBool::new(false),
        })))
    }

    /// Takes up the runs that were found. Those that do not answer soon are adopted later.
    pub(crate) async fn adopt(&self) {
        let found = std::mem::take(&mut *lock(&self.0.found));
        let mut waiting = JoinSet::new();
        for id in found {
            let (taken_up, is_taken_up) = oneshot::channel();
            tokio::spawn(self.clone().take_up(id, taken_up));
            waiting.spawn(async move {
                // It is dropped where there is nothing to take up.
                let _ = is_taken_up.await;
            });
        }
        let all = async { while waiting.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ADOPTION_TIME, all).await;
    }

    /// Leaves all runs to the next server from now on.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Makes the folder of a run, for its supervisor. A run that ends at once has none.
    ///
    /// # Errors
    /// `io`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes files. They are not durable, as the run is not.
    pub(super) fn create_folder(
        &self,
        id: &str,
        context: &ServiceContext,
        words: &Words,
        has_terminal: bool,
        on_lost: Duration,
    ) -> Result<PathBuf, Error> {
        let owner = RunOwner::of(context);
        let record = RunRecord {
            user: owner.user,
            account: owner.account,
            credential: owner.credential.to_string(),
            session: owner.session,
            words: RecordedWords::from(words),
            terminal: has_terminal,
            on_lost: on_lost.as_secs(),
        };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::here(ErrorCode::State, error.to_string()))?;
        let folder = self.0.folder.subfolder(id)?;
        let written = folder
            .create_file(FILE)
            .and_then(|mut file| file.write_all(&bytes));
        written.map_err(|error| {
            self.remove_folder(id);
            folder_failed(error)
        })?;
        Ok(folder.path_of(""))
    }

    /// Removes the folder of a run without a supervisor. What cannot be removed is found at the
    /// next start. Blocking.
    pub(super) fn remove_folder(&self, id: &str) {
        let _ = self.0.folder.remove_subfolder(id);
    }

    /// Enters a run that was started in this session.
    pub(super) fn register(
        &self,
        id: &str,
        context: &ServiceContext,
        job: Foreground,
        words: Words,
        has_terminal: bool,
        on_lost: Duration,
    ) -> StartedRun {
        let owner = RunOwner::of(context);
        StartedRun {
            claims: self.enter(id, &owner, &words, false),
            id: id.to_owned(),
            job,
            words,
            has_terminal,
            owner,
            on_lost,
            is_settled: false,
        }
    }

    fn enter(&self, id: &str, owner: &RunOwner, words: &Words, is_waiting: bool) -> Claims {
        let (sender, claims) = mpsc::channel(1);
        let run = LostRun {
            user: owner.user.clone(),
            account: owner.account,
            shown: Name(shown(words).into_bytes()),
            started: now(),
            credential: owner.credential.clone(),
            is_waiting,
            claims: sender,
        };
        lock(&self.0.table).insert(id.to_owned(), run);
        Claims {
            runs: self.clone(),
            id: id.to_owned(),
            claims,
        }
    }

    /// Takes a run from the connection that has it, or from where it waits.
    ///
    /// # Errors
    /// `not-found` if there is no such run of this user and credential; `io` if it does not answer.
    pub(super) async fn claim(
        &self,
        id: &str,
        context: &ServiceContext,
    ) -> Result<StartedRun, Error> {
        let session = context.session();
        let is_own = |run: &&LostRun| {
            run.user == session.user
                && run.account == session.account
                && run.credential == session.credential
        };
        let claims = lock(&self.0.table)
            .get(id)
            .filter(is_own)
            .map(|run| run.claims.clone());
        let missing = || Error::here(ErrorCode::NotFound, "the command is not running any more");
        let (sender, receiver) = oneshot::channel();
        let handing_over = async {
            claims?.send(Claim(sender)).await.ok()?;
            receiver.await.ok()
        };
        match tokio::time::timeout(HAND_OVER_TIME, handing_over).await {
            Ok(handed_over) => handed_over.ok_or_else(missing),
            Err(_) => {
                let message = "the command does not answer; its supervisor may be stopped";
                Err(Error::here(ErrorCode::Io, message))
            }
        }
    }

    /// The runs of all users, each with its account, whether they have a client or not.
    pub(super) fn running(&self) -> Vec<(AccountId, ProgramUsage)> {
        let table = lock(&self.0.table);
        let programs = table.iter().map(|(id, run)| {
            let (user, shown) = (run.user.clone(), run.shown.clone());
            let usage = ProgramUsage::new(id.clone(), user, shown, run.started);
            (run.account, usage)
        });
        programs.collect()
    }

    /// Keeps a run whose client was lost until it is claimed, its time is over, or the user may not
    /// run it any more. Then it is ended. `context` is that of the lost connection, if there is
    /// one.
    pub(super) fn keep(&self, mut run: StartedRun, context: Option<ServiceContext>) {
        if !self.begin_waiting(&run.id) {
            run.end();
            return;
        }
        let jobs = self.0.jobs.clone();
        let is_forbidden = jobs.clone().wait_until_forbidden(
            run.owner.user.clone(),
            run.owner.account,
            run.owner.credential.clone(),
            run.words.clone(),
        );
        tokio::spawn(async move {
            let is_session_over = async {
                match &context {
                    Some(context) => drop(context.connection().terminated().await),
                    None => std::future::pending().await,
                }
            };
            let is_time_over = tokio::time::sleep(run.on_lost);
            tokio::pin!(is_forbidden, is_session_over, is_time_over);
            loop {
                let StartedRun { job, claims, .. } = &mut run;
                let claim = tokio::select! {
                    biased;
                    claim = claims.next() => claim,
                    () = &mut is_time_over => None,
                    () = &mut is_session_over => None,
                    () = &mut is_forbidden => None,
                    _ = job.drive() => None,
                };
                let Some(claim) = claim else {
                    return run.end();
                };
                match claim.hand_over(run) {
                    Some(returned) => run = returned,
                    None => return,
                }
            }
        });
    }

    /// Records that a run waits; `false` if too many of its user do.
    fn begin_waiting(&self, id: &str) -> bool {
        let mut table = lock(&self.0.table);
        let Some(user) = table.get(id).map(|run| run.user.clone()) else {
            return false;
        };
        let waiting = table
            .iter()
            .filter(|(other, run)| *other != id && run.is_waiting && run.user == user);
        if waiting.count() >= WAITING_PER_USER_MAX {
            return false;
        }
        if let Some(run) = table.get_mut(id) {
            run.is_waiting = true;
        }
        true
    }

    /// Takes up a run of an earlier server. `taken_up` is dropped once that is done, or there is
    /// nothing to take up.
    async fn take_up(self, id: String, taken_up: oneshot::Sender<()>) {
        let mut pause = RETRY_TIME;
        let record = loop {
            let read = {
                let (runs, id) = (self.clone(), id.clone());
                tokio::task::spawn_blocking(move || runs.read_record(&id)).await
            };
            match read {
                Ok(Ok(Some(record))) => break record,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => {
                    // The first attempt may come just before the end of the supervisor.
                    if pause == RETRY_TIME * 2 {
                        self.0.jobs.note_unreadable(&id, error.to_string());
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_TIME_MAX);
                }
            }
        };
        let Some((owner, words)) = record.owner_and_words() else {
            return;
        };
        // A client that is back already waits for a supervisor that does not answer.
        let claims = self.enter(&id, &owner, &words, true);
        let job = loop {
            let connected = {
                let (runs, id) = (self.clone(), id.clone());
                tokio::task::spawn_blocking(move || runs.connect(&id)).await
            };
            let adopted = match connected {
                Ok(Ok(Some(socket))) => adopt(socket, record.terminal).await,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => Err(error),
            };
            match adopted {
                Ok(job) => break job,
                Err(_) => tokio::time::sleep(RETRY_TIME).await,
            }
        };
        let run = StartedRun {
            id,
            job,
            words,
            has_terminal: record.terminal,
            owner,
            on_lost: Duration::from_secs(record.on_lost).min(WAITING_TIME_MAX),
            claims,
            is_settled: false,
        };
        self.keep(run, None);
        drop(taken_up);
    }

    /// The folder of a run; `None` if the run has no supervisor any more. Then what is left of it
    /// is removed. Blocking.
    fn find(&self, id: &str) -> Result<Option<(PrivateFolder, JobFolder)>, Error> {
        let folder = self.0.folder.subfolder(id)?;
        let files = JobFolder::open(&folder.path_of("")).map_err(folder_failed)?;
        if !files.is_locked().map_err(folder_failed)? {
            // It was killed, or it was never started. Otherwise it had removed the folder.
            self.remove_remains(id);
            return Ok(None);
        }
        Ok(Some((folder, files)))
    }

    /// The record of a run; `None` if the run has no supervisor any more. Blocking.
    fn read_record(&self, id: &str) -> Result<Option<RunRecord>, Error> {
        let Some((folder, _)) = self.find(id)? else {
            return Ok(None);
        };
        let record = folder.read(FILE, RECORD_BYTES_MAX)?.unwrap_or_default();
        let record = serde_json::from_slice(&record);
        record.map_err(|error| Error::here(ErrorCode::State, error.to_string()))
    }

    /// A connection to the supervisor of a run, which answers later; `None` if there is no
    /// supervisor any more. Blocking.
    fn connect(&self, id: &str) -> Result<Option<Supervisor>, Error> {
        let Some((_, files)) = self.find(id)? else {
            return Ok(None);
        };
        let mut supervisor = Supervisor::new(files.connect().map_err(folder_failed)?)?;
        supervisor.order(Order::Adopt);
        Ok(Some(supervisor))
    }

    /// Ends what a run without a supervisor has left, and removes its folder. Blocking.
    fn remove_remains(&self, id: &str) {
        landline_supervisor::kill_remains(id);
        self.remove_folder(id);
    }
}

fn folder_failed(error: std::io::Error) -> Error {
    Error::io("the folder of the command", &error)
}

/// Waits for the answer of a supervisor.
async fn adopt(mut supervisor: Supervisor, has_terminal: bool) -> Result<Foreground, Error> {
    match supervisor.next().await? {
        Report::Adopted(adopted) if adopted.store == Store::Memory => {
            if has_terminal {
                // The client gets every byte, so its terminal answers.
                supervisor.order(Order::Attended(true));
            }
            Ok(Foreground::adopted(supervisor, &adopted))
        }
        _ => Err(Error::here(
            ErrorCode::Io,
            "the supervisor broke its protocol",
        )),
    }
}

impl StartedRun {
    /// Ends the program at once, and records that.
    ///
    /// A supervisor that does not end it in time is stopped, or its socket is full. Then the
    /// server ends the program without it.
    pub(super) fn end(mut self) {
        self.job.end_at_once();
        self.note_end();
        self.claims.withdraw();
        tokio::spawn(async move {
            let gone = tokio::time::timeout(END_TIME_MAX, self.job.until_gone()).await;
            if gone.is_err() {
                let id = self.id.clone();
                let ending =
                    tokio::task::spawn_blocking(move || landline_supervisor::kill_remains(&id));
                let _ = ending.await;
                self.job.until_gone().await;
            }
            // It may have been killed before it has ended the program.
            let (runs, id) = (self.claims.runs.clone(), self.id.clone());
            let _ = tokio::task::spawn_blocking(move || runs.remove_remains(&id)).await;
        });
    }

    /// Records the end of the program, which the client has been told of.
    pub(super) fn finish(mut self) {
        self.job.release();
        self.note_end();
    }

    fn note_end(&mut self) {
        self.is_settled = true;
        let [stdout, stderr] = self.job.output_bytes();
        let RunOwner { user, session, .. } = self.owner.clone();
        let activity = Activity::RunEnd {
            user,
            session,
            job: self.id.clone(),
            status: self.job.exit().map(|exit| describe(exit.status)),
            stdout,
            stderr,
        };
        self.claims.runs.0.jobs.note(&self.owner.user, activity);
    }
}

impl Drop for StartedRun {
    fn drop(&mut self) {
        let runs = &self.claims.runs.0;
        if !self.is_settled && !runs.is_stopping.load(Ordering::Relaxed) {
            self.job.end_at_once();
            let (runs, id) = (self.claims.runs.clone(), self.id.clone());
            self.note_end();
            // The order may not have left, if the supervisor is stopped.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    tokio::time::sleep(END_TIME_MAX).await;
                    let ending = tokio::task::spawn_blocking(move || {
                        landline_supervisor::kill_remains(&id);
                        let files = JobFolder::open(&runs.0.folder.path_of(&id));
                        let is_locked = files.and_then(|files| files.is_locked());
                        if is_locked.is_ok_and(|is_locked| !is_locked) {
                            runs.remove_folder(&id);
                        }
                    });
                    let _ = ending.await;
                });
            }
        }
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

    /// Removes the run from the table, so that no further claim finds it.
    fn withdraw(&self) {
        lock(&self.runs.0.table).remove(&self.id);
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Claim {
    /// Hands a run over. Returns it if the new connection is gone already.
    pub(super) fn hand_over(self, run: StartedRun) -> Option<StartedRun> {
        if let Some(entry) = lock(&run.claims.runs.0.table).get_mut(&run.id) {
            entry.is_waiting = false;
        }
        self.0.send(run).err()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
