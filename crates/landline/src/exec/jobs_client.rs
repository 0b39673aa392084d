//! The client's half of requests about detached jobs.

use landline_proto::{ErrorCode, Message};

use super::messages::{
    AttachToJob, Finished, ForgetJob, JOB_AWAITED, JOBS_ASKED, JobInfo, KillJob, LOG_ASKED,
    ListJobs, LogPart, ReadLog, SERVICE, TRANSIT_TIME_MAX, WaitForJob,
};
use crate::{
    Error,
    login::FirstRequest,
    net::{Channel, Received},
};

/// A request about detached jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobRequest {
    /// What is known of all jobs of the user.
    List,
    /// Wait until a job has ended.
    Wait {
        /// Its id or name.
        job: String,
    },
    /// Send a signal to a job.
    Kill {
        /// Its id or name.
        job: String,
        /// The signal's name without `SIG`.
        signal: String,
        /// Whether everything that the job has started is ended.
        tree: bool,
    },
    /// Remove a job that has ended, with its output.
    Forget {
        /// Its id or name.
        job: String,
    },
}

impl JobRequest {
    /// The request to send with the login.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if a name is too long.
    pub fn first_request(&self) -> Result<FirstRequest, Error> {
        match self.clone() {
            Self::List => FirstRequest::new(SERVICE, &ListJobs {}),
            Self::Wait { job } => FirstRequest::new(SERVICE, &WaitForJob { job }),
            Self::Kill { job, signal, tree } => {
                FirstRequest::new(SERVICE, &KillJob { job, signal, tree })
            }
            Self::Forget { job } => FirstRequest::new(SERVICE, &ForgetJob { job }),
        }
    }

    /// Sends the request on a channel that has served another one.
    ///
    /// # Errors
    /// An error that the server sends, [`Error::Lost`].
    pub async fn send(&self, channel: &mut Channel) -> Result<(), Error> {
        match self.clone() {
            Self::List => channel.send(&ListJobs {})?,
            Self::Wait { job } => channel.send(&WaitForJob { job })?,
            Self::Kill { job, signal, tree } => channel.send(&KillJob { job, signal, tree })?,
            Self::Forget { job } => channel.send(&ForgetJob { job })?,
        }
        channel.flush().await
    }

    /// Waits for the answer: the jobs that it is about, if it brings any. After an error that the
    /// server sends, the channel can carry a further request. While it waits for the end of a job,
    /// it notices a server that is gone within 30 s.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive(&self, channel: &mut Channel) -> Result<Vec<JobInfo>, Error> {
        if matches!(self, Self::Wait { .. }) {
            channel.limit_transit_time(TRANSIT_TIME_MAX);
            let header = channel.receive_or_probe(&JOB_AWAITED).await?;
            return Ok(vec![header.read()?]);
        }
        let mut jobs = Vec::new();
        loop {
            let header = channel.receive(&JOBS_ASKED).await?;
            if header.kind() == Finished::TYPE {
                return Ok(jobs);
            }
            jobs.push(header.read()?);
        }
    }
}

/// A part of the output of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Whether it is standard error; else it is standard output, or what the terminal shows.
    pub is_stderr: bool,
    /// How many bytes of this output came before.
    pub offset: u64,
    /// When it was written or later, in milliseconds since 1970.
    pub time: u64,
    /// How many bytes are not kept any more; there are none to show then.
    pub dropped: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What comes next in the output of a job.
#[derive(Debug)]
pub enum LogItem {
    /// A part of it.
    Chunk(LogChunk),
    /// Nothing more, and what is known of the job.
    End(Box<JobInfo>),
}

impl ReadLog {
    /// The request to send with the login.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub fn first_request(&self) -> Result<FirstRequest, Error> {
        FirstRequest::new(SERVICE, self)
    }

    /// What comes next. A server that is gone is noticed within 30 s.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`].
    pub async fn next(channel: &mut Channel) -> Result<LogItem, Error> {
        channel.limit_transit_time(TRANSIT_TIME_MAX);
        let header = channel.receive_or_probe(&LOG_ASKED).await?;
        if header.kind() == JobInfo::TYPE {
            return Ok(LogItem::End(Box::new(header.read()?)));
        }
        let part: LogPart = header.read()?;
        let mut bytes = Vec::new();
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match channel.receive_prompt_data(&mut buffer).await? {
                Received::Data(_) => bytes.extend_from_slice(&buffer),
                Received::End(_) => break,
            }
        }
        if !(1..=2).contains(&part.stream) {
            let message = format!("the server sends output {}, which no job has", part.stream);
            return Err(Error::here(ErrorCode::BadHeader, message));
        }
        Ok(LogItem::Chunk(LogChunk {
            is_stderr: part.stream == 2,
            offset: part.offset,
            time: part.time,
            dropped: part.dropped,
            bytes,
        }))
    }
}

impl AttachToJob {
    /// The request to send with the login.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub fn first_request(&self) -> Result<FirstRequest, Error> {
        FirstRequest::new(SERVICE, self)
    }

    /// Sends the request on a channel that has served another one.
    ///
    /// # Errors
    /// An error that the server sends, [`Error::Lost`].
    pub async fn send(&self, channel: &mut Channel) -> Result<(), Error> {
        channel.send(self)?;
        channel.flush().await
    }
}
