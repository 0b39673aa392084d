//! Where a client begins to follow a job.

use std::{sync::Arc, time::Duration};

use landline_supervisor::{
    protocol::{OutputStream, Size},
    store::{JobFolder, Piece},
};

use super::{
    super::{
        messages::{AnsweredPart, AttachToJob, STDERR, STDOUT, TerminalSize},
        terminal::OutputFilter,
    },
    attach::BEHIND_BYTES_MAX,
    job::{Job, JobProgress},
    keyboard::{InputOwner, OfferedKeyboard},
    log::blocking,
    screen::{ShownScreen, read_last_screen},
};
use crate::Error;

/// How long the end of a job may take to be recorded, when its supervisor is gone.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// Where a client begins to follow a job.
pub(super) struct Beginning {
    pub(super) outputs: [AttachedOutput; 2],
    pub(super) owner: Option<InputOwner>,
    /// How much input the job was given before.
    pub(super) stdin: u64,
    pub(super) screen: Option<ShownScreen>,
    pub(super) answered: Option<AnsweredPart>,
}

impl Beginning {
    fn outputs(request: &AttachToJob) -> [AttachedOutput; 2] {
        let stdout = request.stdout.unwrap_or(0);
        [
            AttachedOutput::new(OutputStream::Stdout, STDOUT, stdout),
            AttachedOutput::new(OutputStream::Stderr, STDERR, request.stderr),
        ]
    }

    /// At the output that the client has not got, as far as it is kept.
    pub(super) async fn at_pipes(
        job: &Arc<Job>,
        files: &Arc<JobFolder>,
        request: &AttachToJob,
    ) -> Result<Self, Error> {
        let (now, mut outputs) = (job.progress(), Self::outputs(request));
        for output in &mut outputs {
            output.skip_dropped(files, &now).await?;
        }
        // From here on, what another client sends is not taken.
        let owned = job.has_input().then(|| job.own_input(request.owner));
        let (owner, stdin) = owned.transpose()?.unzip();
        Ok(Self {
            outputs,
            owner: owner.map(|number| InputOwner {
                job: job.clone(),
                number,
                is_guest: false,
            }),
            stdin: stdin.unwrap_or(0),
            screen: None,
            answered: None,
        })
    }

    /// At the screen of the job, unless the client is not far behind.
    pub(super) async fn at_terminal(
        job: &Arc<Job>,
        files: &Arc<JobFolder>,
        request: &AttachToJob,
        offered: Option<&OfferedKeyboard>,
    ) -> Result<Self, Error> {
        let mut beginning = Self {
            outputs: Self::outputs(request),
            owner: None,
            stdin: job.progress().input.sent,
            screen: None,
            answered: None,
        };
        let screen = beginning.own_terminal(job, request, offered).await?;
        let now = job.progress();
        let screen = match screen {
            Some(screen) => screen,
            None if request.stdout.is_none() => {
                let (files, stored) = (files.clone(), now.stored_of(OutputStream::Stdout));
                blocking(move || read_last_screen(&files, stored)).await?
            }
            None => {
                for output in &mut beginning.outputs {
                    output.skip_dropped(files, &now).await?;
                }
                return Ok(beginning);
            }
        };
        let [stdout, _] = &mut beginning.outputs;
        // A guest begins with the screen.
        if let Some(from) = request.stdout.filter(|_| offered.is_none()) {
            stdout.skip_dropped(files, &now).await?;
            // A client that has nothing yet gets everything.
            let is_near = screen.offset.saturating_sub(from) <= BEHIND_BYTES_MAX;
            let gets_output = from == 0 || is_near || request.exact;
            if gets_output && stdout.offset == from || request.exact {
                return Ok(beginning);
            }
        }
        stdout.offset = screen.offset;
        beginning.screen = Some(screen);
        beginning.answered = None;
        Ok(beginning)
    }

    /// Makes the client the owner of the keyboard. Returns the screen from which on its terminal
    /// shows the output; `None` if the job is over.
    async fn own_terminal(
        &mut self,
        job: &Arc<Job>,
        request: &AttachToJob,
        offered: Option<&OfferedKeyboard>,
    ) -> Result<Option<ShownScreen>, Error> {
        let mut progress = job.watch();
        if progress.borrow().is_over() {
            return Ok(None);
        }
        let size = size_of(request);
        let (keyboard, screen) = match offered {
            Some(offered) => job.lend_keyboard(offered, size)?,
            None => job.own_terminal(request.owner, size)?,
        };
        self.stdin = keyboard.stdin;
        self.owner = Some(InputOwner {
            job: job.clone(),
            number: keyboard.number,
            is_guest: offered.is_some(),
        });
        match job.wait_for_screen(screen).await {
            Ok(screen) => {
                job.set_guest_from(keyboard.number, screen.offset);
                self.answered = keyboard.answered(&screen);
                Ok(Some(screen))
            }
            Err(error) => {
                // It may have ended meanwhile.
                let is_over = async { progress.wait_for(JobProgress::is_over).await.is_ok() };
                let is_over = tokio::time::timeout(END_TIME_MAX, is_over).await;
                if is_over != Ok(true) {
                    return Err(error);
                }
                self.owner = None;
                Ok(None)
            }
        }
    }
}

/// An output on its way from the files to the client.
pub(super) struct AttachedOutput {
    pub(super) stream: OutputStream,
    pub(super) number: u64,
    /// How many bytes were read.
    pub(super) offset: u64,
    /// What the client has no credit for yet.
    pub(super) pending: Vec<u8>,
    /// What a guest must not get is left out.
    pub(super) filter: Option<OutputFilter>,
    pub(super) is_stopped: bool,
    pub(super) is_finished: bool,
}

impl AttachedOutput {
    fn new(stream: OutputStream, number: u64, offset: u64) -> Self {
        Self {
            stream,
            number,
            offset,
            pending: Vec::new(),
            filter: None,
            is_stopped: false,
            is_finished: false,
        }
    }

    /// Goes to the first byte that is kept.
    async fn skip_dropped(
        &mut self,
        files: &Arc<JobFolder>,
        now: &JobProgress,
    ) -> Result<(), Error> {
        let stored = now.stored_of(self.stream);
        self.offset = self.offset.min(stored);
        while let Piece::Gap { to } = self.read_piece(files, stored, 1).await? {
            self.offset = to;
        }
        Ok(())
    }

    pub(super) async fn read_piece(
        &self,
        files: &Arc<JobFolder>,
        stored: u64,
        bytes_max: usize,
    ) -> Result<Piece, Error> {
        let (files, stream, offset) = (files.clone(), self.stream, self.offset);
        blocking(move || {
            let piece = files.read(stream, offset, stored, bytes_max);
            piece.map_err(|error| Error::io("the output of the job", &error))
        })
        .await
    }
}

/// The size of the client's terminal.
pub(super) fn size_of(request: &AttachToJob) -> Option<Size> {
    request.terminal.and_then(TerminalSize::to_supervisor)
}
