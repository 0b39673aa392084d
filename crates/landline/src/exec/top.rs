//! What runs on a server, and what it uses.

use std::collections::BTreeMap;

use landline_proto::{
    Message, MessageRule, Name, ProtocolState, login::UserName, messages::ErrorMessage,
};
use landline_supervisor::{JobUsage, sample_usage};
use serde::{Deserialize, Serialize};

use super::{
    jobs::JobTable,
    lost_runs::LostRuns,
    messages::{Finished, SERVICE},
};
use crate::{Error, login::FirstRequest, net::Channel, rights::Role, session::ServiceContext};

/// Client: has sent `top`.
static TOP_ASKED: ProtocolState = ProtocolState::new(
    "exec-top-asked",
    &[
        MessageRule::new("load"),
        MessageRule::new("usage"),
        MessageRule::new("done"),
        MessageRule::new(ErrorMessage::TYPE),
    ],
);

/// Client: asks what runs now. Server: [`MachineLoad`], a [`ProgramUsage`] for each command that
/// runs, then `done`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Top {}

impl Message for Top {
    const TYPE: &'static str = "top";
}

/// Server: how busy the machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLoad {
    /// The number of processors.
    pub processors: u32,
    /// The average number of processes that were ready to run in the last minute, times 100.
    pub load: u64,
    /// The memory, in bytes; 0 if the system does not say.
    pub memory: u64,
    /// The memory that is available to programs, in bytes.
    pub available: u64,
}

impl Message for MachineLoad {
    const TYPE: &'static str = "load";
}

/// Server: what a command that runs uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramUsage {
    /// The id of the job.
    pub job: String,
    /// Its name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who has started it.
    pub user: UserName,
    /// The beginning of its command.
    pub command: Name,
    /// Whether it is a detached job.
    #[serde(default)]
    pub detached: bool,
    /// When it was started, in milliseconds since 1970.
    pub started: u64,
    /// How many processes it has; 0 if the system does not say.
    pub processes: u32,
    /// The processor time of its processes, in microseconds.
    pub processor_time: u64,
    /// Their memory, in bytes.
    pub memory: u64,
}

impl Message for ProgramUsage {
    const TYPE: &'static str = "usage";
}

impl ProgramUsage {
    /// A command of which nothing was measured.
    pub(super) fn new(job: String, user: UserName, command: Name, started: u64) -> Self {
        Self {
            job,
            name: None,
            user,
            command,
            detached: false,
            started,
            processes: 0,
            processor_time: 0,
            memory: 0,
        }
    }

    fn set(&mut self, usage: &JobUsage) {
        self.processes = usage.processes;
        self.processor_time = u64::try_from(usage.processor_time.as_micros()).unwrap_or(u64::MAX);
        self.memory = usage.memory_bytes;
    }
}

/// Serves `top`: the user's own commands, and those of all users for helpers and above.
///
/// # Errors
/// [`Error::Lost`].
pub(super) async fn serve_top(
    channel: &mut Channel,
    context: &ServiceContext,
    jobs: &JobTable,
    runs: &LostRuns,
) -> Result<(), Error> {
    let user = context.user();
    let sees_all = context.rights().role(user) >= Role::Helper;
    let mut programs = jobs.running();
    programs.extend(runs.running());
    // An earlier account may have had the same name.
    let account = context.session().account;
    programs.retain(|(owner, program)| sees_all || (*owner == account && program.user == *user));
    let mut programs: Vec<_> = programs.into_iter().map(|(_, program)| program).collect();
    programs.sort_by_key(|program| program.started);
    let sampled = context.blocking("exec top", |_| Ok(sample_usage())).await;
    let (machine, usages) = sampled?;
    let usages: BTreeMap<&str, &JobUsage> = usages
        .iter()
        .map(|usage| (usage.job.as_str(), usage))
        .collect();
    channel.send(&MachineLoad {
        processors: machine.processors,
        load: machine.load_hundredths,
        memory: machine.memory_bytes,
        available: machine.available_bytes,
    })?;
    for program in &mut programs {
        if let Some(usage) = usages.get(program.job.as_str()) {
            program.set(usage);
        }
        channel.send(program)?;
        channel.flush().await?;
    }
    channel.send(&Finished {})?;
    channel.flush().await
}

/// The first request of a client that asks what runs.
///
/// # Errors
/// None in practice, because the message always fits.
pub fn first_top_request() -> Result<FirstRequest, Error> {
    FirstRequest::new(SERVICE, &Top {})
}

/// Asks once more.
///
/// # Errors
/// [`Error::Lost`].
pub async fn send_top(channel: &mut Channel) -> Result<(), Error> {
    channel.send(&Top {})?;
    channel.flush().await
}

/// Waits for the answer.
///
/// # Errors
/// What the server says, [`Error::Lost`], [`Error::Protocol`].
pub async fn receive_top(channel: &mut Channel) -> Result<(MachineLoad, Vec<ProgramUsage>), Error> {
    let (mut machine, mut programs) = (MachineLoad::default(), Vec::new());
    loop {
        let header = channel.receive(&TOP_ASKED).await?;
        match header.kind() {
            MachineLoad::TYPE => machine = header.read()?,
            ProgramUsage::TYPE => programs.push(header.read()?),
            _ => return Ok((machine, programs)),
        }
    }
}
