//! A detached job: what is known of it, and the task that follows its supervisor.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use landline_proto::{ErrorCode, Name, login::UserName};
use landline_supervisor::{
    protocol::{self, Order, OutputStream, Report},
    store::JobFolder,
};
use tokio::sync::{oneshot, watch};

use super::{
    super::{
        command::Words,
        messages::{JobInfo, JobState},
        orders::{OrderInbox, TakenOrders},
        supervisor::Supervisor,
    },
    input::InputProgress,
    keyboard::Watcher,
    record::{JobRecord, RecordedWords, now},
    screen::ShownScreen,
};
use crate::{
    Error,
    paths::{PrivateFolder, boot_id},
    session::ServiceContext,
};

/// The file that says why a job is lost.
const LOST_FILE: &str = "lost";
/// The file that says that the end of a job is in the log.
const LOGGED_FILE: &str = "logged";
/// The longest reason that is read.
const LOST_BYTES_MAX: u64 = 4096;
/// The time between two attempts to find out what happened to a job.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// How long the supervisor may take to take an order.
const ORDER_TIME_MAX: Duration = Duration::from_secs(5);
/// The most characters of a command in a list.
const SHOWN_CHARS_MAX: usize = 1000;

/// A detached job.
pub(in super::super) struct Job {
    pub(super) record: JobRecord,
    /// The beginning of the command, for people.
    shown: Name,
    /// What is executed; `None` once the job is over, since nothing has to be checked any more.
    words: Mutex<Option<RecordedWords>>,
    pub(super) folder: PrivateFolder,
    pub(super) progress: watch::Sender<JobProgress>,
    orders: OrderInbox<Notice>,
    /// Who watches it, and how many did.
    watchers: Mutex<Vec<Watcher>>,
    watcher_count: AtomicU64,
}

/// The other end of the orders to a job.
pub(super) type Orders = TakenOrders<Notice>;

/// Who is notified of an order.
pub(super) enum Notice {
    None,
    /// Once it was obeyed. It is `confirm`.
    Confirmed(oneshot::Sender<()>),
    /// Of the screen that it asks for.
    Screen(oneshot::Sender<ShownScreen>),
}

/// What is to be notified of what a supervisor reports, in the order of the orders.
#[derive(Default)]
struct PendingNotices {
    confirmations: VecDeque<oneshot::Sender<()>>,
    screens: VecDeque<oneshot::Sender<ShownScreen>>,
}

/// How far a job has come.
#[derive(Debug, Clone)]
pub(in super::super) struct JobProgress {
    /// Its phase.
    pub(in super::super) phase: Phase,
    /// How many bytes of each output were stored, in the order of [`OutputStream::ALL`].
    pub(in super::super) stored: [u64; 2],
    /// The input of a job that takes any.
    pub(super) input: InputProgress,
    /// When its end was noticed, in milliseconds since 1970.
    pub(super) ended: Option<u64>,
}

/// The phase of a job.
#[derive(Debug, Clone)]
pub(in super::super) enum Phase {
    /// It is being started.
    Starting,
    /// Its program runs.
    Running,
    /// Its supervisor lives and does not answer.
    Silent,
    /// Its program has ended.
    Ended(protocol::Exit),
    /// Its supervisor is gone, for this reason as far as it is known.
    Lost(String),
}

impl JobProgress {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            stored: [0; 2],
            input: InputProgress::default(),
            ended: None,
        }
    }

    /// Whether nothing more happens.
    pub(in super::super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::Lost(_))
    }

    /// How many bytes of an output were stored.
    pub(in super::super) fn stored_of(&self, stream: OutputStream) -> u64 {
        let [stdout, stderr] = self.stored;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }

    fn store(&mut self, stream: OutputStream, offset: u64) {
        let [stdout, stderr] = &mut self.stored;
        match stream {
            OutputStream::Stdout => *stdout = offset,
            OutputStream::Stderr => *stderr = offset,
        }
    }
}

/// What happened to a job, as its files say.
pub(super) enum Fate {
    Ended(protocol::Exit),
    Alive,
    Lost(String),
}

impl Job {
    /// A job of this record. Its words are kept apart, until it is over.
    pub(super) fn new(
        mut record: JobRecord,
        folder: PrivateFolder,
        phase: Phase,
    ) -> (Self, Orders) {
        let words = std::mem::replace(&mut record.words, RecordedWords::Sftp);
        let shown = shown(&Words::from(&words));
        let (orders, inbox) = OrderInbox::new();
        let progress = watch::Sender::new(JobProgress::new(phase));
        let job = Self {
            record,
            shown,
            words: Mutex::new(Some(words)),
            folder,
            progress,
            orders,
            watchers: Mutex::new(Vec::new()),
            watcher_count: AtomicU64::new(0),
        };
        (job, inbox)
    }

    /// The job's id.
    pub(in super::super) fn id(&self) -> &str {
        &self.record.id
    }

    /// Whose job it is.
    pub(super) fn user(&self) -> &UserName {
        &self.record.user
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.record.name.as_deref() == Some(name)
    }

    /// Its name, or else its id.
    pub(super) fn shown_name(&self) -> &str {
        self.record.name.as_deref().unwrap_or(&self.record.id)
    }

    /// Whether it has a terminal.
    pub(in super::super) fn has_terminal(&self) -> bool {
        self.record.terminal
    }

    /// Whether it takes input.
    pub(in super::super) fn has_input(&self) -> bool {
        self.record.input
    }

    /// How far it has come.
    pub(in super::super) fn progress(&self) -> JobProgress {
        self.progress.borrow().clone()
    }

    /// Notifies of every change of the progress.
    pub(in super::super) fn watch(&self) -> watch::Receiver<JobProgress> {
        self.progress.subscribe()
    }

    /// Whether it takes part in the limit of running jobs.
    pub(super) fn is_over(&self) -> bool {
        self.progress.borrow().is_over()
    }

    /// Gives an order to the supervisor. Once the job is over, nothing happens.
    pub(in super::super) fn order(&self, order: Order) {
        self.queue(order, Notice::None);
    }

    /// Gives an order to the supervisor, with a notice. Once the job is over, or while the
    /// supervisor is silent and many orders wait, nothing happens.
    pub(super) fn queue(&self, order: Order, notice: Notice) {
        self.orders.push(order, notice);
    }

    /// Gives an order to the supervisor, and waits until it was obeyed.
    ///
    /// # Errors
    /// `io` if the supervisor does not answer in time, or the job is over. A supervisor that is
    /// stopped obeys once it continues.
    pub(in super::super) async fn order_and_wait(&self, order: Order) -> Result<(), Error> {
        let (sender, confirmed) = oneshot::channel();
        self.order(order);
        self.queue(Order::Confirm, Notice::Confirmed(sender));
        let message = match tokio::time::timeout(ORDER_TIME_MAX, confirmed).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) if self.is_over() => {
                "the job did not accept the signal; landline jobs shows its state"
            }
            // While many orders wait, only the confirmation is refused.
            _ => "the job does not answer yet; it gets the signal when it does",
        };
        Err(Error::here(ErrorCode::Io, message))
    }

    /// Enters a watcher, until the returned value is dropped.
    pub(super) fn enter_watcher(self: &Arc<Self>, context: &ServiceContext) -> WatcherEntry {
        let number = self.watcher_count.fetch_add(1, Ordering::Relaxed);
        self.watchers().push(Watcher {
            number,
            user: context.user().clone(),
            context: context.clone(),
        });
        WatcherEntry {
            job: self.clone(),
            number,
        }
    }

    pub(super) fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the files of the job. Blocking.
    ///
    /// # Errors
    /// `io`.
    pub(in super::super) fn open_files(&self) -> Result<JobFolder, Error> {
        let opened = JobFolder::open(&self.folder.path_of(""));
        opened.map_err(|error| Error::io("the folder of the job", &error))
    }

    /// What is known of it, for its user.
    pub(in super::super) fn info(&self) -> JobInfo {
        let progress = self.progress();
        let [stdout, stderr] = progress.stored;
        let (state, exit, reason) = match progress.phase {
            Phase::Starting => (JobState::Starting, None, None),
            Phase::Running => (JobState::Running, None, None),
            Phase::Silent => (JobState::Silent, None, None),
            Phase::Ended(exit) => (JobState::Ended, Some(exit), None),
            Phase::Lost(reason) => (JobState::Lost, None, Some(reason)),
        };
        JobInfo {
            job: self.record.id.clone(),
            name: self.record.name.clone(),
            state,
            command: self.shown.clone(),
            folder: self.record.folder.clone(),
            terminal: self.record.terminal,
            started: self.record.started,
            ended: exit.map(|exit| exit.ended).or(progress.ended),
            stdout,
            stderr,
            exit: exit.map(super::super::messages::Exit::from),
            reason,
            watchers: self
                .watchers()
                .iter()
                .map(|watcher| watcher.user.clone())
                .chain(progress.input.guest.map(|guest| guest.user))
                .collect(),
        }
    }

    /// What is executed, while it runs.
    pub(super) fn words(&self) -> Option<Words> {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.as_ref().map(Words::from)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if matches!(phase, Phase::Ended(_) | Phase::Lost(_)) {
            *self.words.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.progress.send_modify(|progress| {
            match &phase {
                Phase::Ended(exit) => progress.stored = [exit.stdout, exit.stderr],
                Phase::Lost(_) => progress.ended = Some(now()),
                _ => {}
            }
            progress.phase = phase;
        });
    }

    pub(super) fn set_stored(&self, stored: [u64; 2]) {
        self.progress
            .send_modify(|progress| progress.stored = stored);
    }

    /// What the files of the job say. Blocking.
    pub(super) fn find_out(&self) -> Result<Fate, Error> {
        let files = self.open_files()?;
        let failed = |error| Error::io("the folder of the job", &error);
        // The supervisor records the end while it holds the lock.
        let is_locked = files.is_locked().map_err(failed)?;
        if let Some(exit) = files.exit().map_err(failed)? {
            return Ok(Fate::Ended(exit));
        }
        if is_locked {
            return Ok(Fate::Alive);
        }
        if let Some(reason) = self.folder.read(LOST_FILE, LOST_BYTES_MAX)? {
            return Ok(Fate::Lost(String::from_utf8_lossy(&reason).into_owned()));
        }
        let reason = if self.record.boot == boot_id() {
            "its supervisor was ended by another program"
        } else {
            "the machine was restarted"
        };
        Ok(Fate::Lost(reason.to_owned()))
    }

    /// What a job without a supervisor had stored. Blocking.
    pub(super) fn find_stored(&self) -> Result<[u64; 2], Error> {
        let files = self.open_files()?;
        let failed = |error| Error::io("the output of the job", &error);
        let [stdout, stderr] = OutputStream::ALL.map(|stream| files.stored(stream));
        Ok([stdout.map_err(failed)?, stderr.map_err(failed)?])
    }

    /// Records why the job is lost. Blocking.
    pub(super) fn write_lost(&self, reason: &str) -> Result<(), Error> {
        Ok(self.folder.write(LOST_FILE, reason.as_bytes())?)
    }

    /// Whether the end of the job is in the log. Blocking.
    pub(super) fn is_logged(&self) -> bool {
        self.folder.identity(LOGGED_FILE).is_some()
    }

    /// Records that it is. Blocking.
    pub(super) fn set_logged(&self) {
        let _ = self.folder.create_file(LOGGED_FILE);
    }

    /// Connects to the supervisor of a job that runs, which answers later.
    ///
    /// # Errors
    /// `io`.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Supervisor, Error> {
        let job = self.clone();
        let connecting = tokio::task::spawn_blocking(move || {
            let files = job.open_files()?;
            let connected = files.connect();
            connected.map_err(|error| Error::io("the supervisor of the job", &error))
        });
        let socket = connecting
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
        let mut supervisor = Supervisor::new(socket)?;
        supervisor.order(Order::Adopt);
        Ok(supervisor)
    }

    /// Follows the supervisor until the job is over or the supervisor is gone.
    pub(super) async fn follow(&self, supervisor: &mut Supervisor, orders: &mut Orders) {
        let mut pending = PendingNotices::default();
        while !self.is_over() {
            tokio::select! {
                report = supervisor.next() => match report {
                    Ok(report) => self.take(report, &mut pending),
                    Err(_) => return,
                },
                first = orders.next() => {
                    // They belong together, if several are there.
                    let further = std::iter::from_fn(|| orders.take());
                    for (order, notice) in std::iter::once(first).chain(further) {
                        if supervisor.order(order) {
                            pending.add(notice);
                        }
                    }
                    supervisor.send_now();
                }
            }
        }
    }

    /// Waits until there may be news of a supervisor that is gone.
    pub(super) async fn pause() {
        tokio::time::sleep(RETRY_TIME).await;
    }

    fn take(&self, report: Report, pending: &mut PendingNotices) {
        match report {
            Report::Stored { stream, offset } => self
                .progress
                .send_modify(|progress| progress.store(stream, offset)),
            Report::InputAck { offset } => self
                .progress
                .send_modify(|progress| progress.input.taken = offset),
            Report::InputStop => self
                .progress
                .send_modify(|progress| progress.input.has_stopped = true),
            Report::Adopted(adopted) => self.progress.send_modify(|progress| {
                progress.phase = Phase::Running;
                progress.input.sent = adopted.input.received;
                progress.input.taken = adopted.input.taken;
                progress.input.has_end = adopted.input.has_end;
                progress.input.has_stopped = adopted.input.has_stopped;
                progress.input.unattended_from.get_or_insert(0);
            }),
            Report::Screen {
                offset,
                is_whole,
                bytes,
            } => {
                if let Some(screen) = pending.screens.pop_front() {
                    let _ = screen.send(ShownScreen {
                        offset,
                        is_whole,
                        bytes,
                    });
                }
            }
            Report::Confirmed => {
                if let Some(confirmation) = pending.confirmations.pop_front() {
                    let _ = confirmation.send(());
                }
            }
            Report::Exited(exit) => self.set_phase(Phase::Ended(exit)),
            Report::Started { .. }
            | Report::Failed { .. }
            | Report::Output { .. }
            | Report::OutputEnd { .. } => {}
        }
    }
}

impl PendingNotices {
    fn add(&mut self, notice: Notice) {
        match notice {
            Notice::None => {}
            Notice::Confirmed(sender) => self.confirmations.push_back(sender),
            Notice::Screen(sender) => self.screens.push_back(sender),
        }
    }
}

/// A watcher among those of a job.
pub(super) struct WatcherEntry {
    job: Arc<Job>,
    pub(super) number: u64,
}

impl Drop for WatcherEntry {
    fn drop(&mut self) {
        self.job
            .watchers()
            .retain(|watcher| watcher.number != self.number);
        self.job.withdraw_offer(self.number);
    }
}

/// The beginning of a command, for people.
fn shown(words: &Words) -> Name {
    let line = words.to_line();
    match str::from_utf8(&line) {
        Ok(line) => Name(
            line.chars()
                .take(SHOWN_CHARS_MAX)
                .collect::<String>()
                .into(),
        ),
        Err(_) => Name(line.into_iter().take(SHOWN_CHARS_MAX).collect()),
    }
}
