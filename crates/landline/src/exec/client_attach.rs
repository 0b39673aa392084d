//! A client that follows a job, from another connection too.

use landline_proto::{ErrorCode, Message};

use super::{
    CommandCarrier, RunningCommand,
    client::streams_from,
    client_input::ClientInput,
    messages::{
        ATTACHED, AttachToJob, Attached, CLIENT_RUNNING, Finished, Keyboard, SCREEN, SERVICE,
        Screen, TerminalSize, WatchJob,
    },
};
use crate::{
    Error,
    login::FirstRequest,
    net::{Channel, Received},
};

impl RunningCommand {
    /// Waits for the answer to [`AttachToJob`] or [`WatchJob`], or to the request for a job to
    /// which the client attaches at once.
    ///
    /// # Errors
    /// `not-found`, `denied`, [`Error::Lost`], [`Error::Protocol`].
    pub async fn receive_attached(channel: &mut Channel) -> Result<Self, Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        let screen = receive_screen(channel, &attached).await?;
        Ok(Self {
            job: attached.job,
            has_terminal: attached.terminal,
            has_input: attached.input,
            is_watching: attached.terminal && !attached.input,
            begin: [attached.stdin, attached.stdout, attached.stderr],
            owner: attached.owner,
            screen,
            answered: attached.answered,
        })
    }
}

impl CommandCarrier {
    /// The request to attach to a job again on a new channel, after what was written here. With
    /// `is_spoiled`, the terminal shows something else, and gets the whole screen.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub async fn attach_request(
        &mut self,
        job: &str,
        terminal: Option<TerminalSize>,
        is_spoiled: bool,
    ) -> Result<FirstRequest, Error> {
        // What a thread is writing counts once it was written.
        self.stdout.settle_now().await;
        self.stderr.settle_now().await;
        let request = AttachToJob {
            job: job.to_owned(),
            stdout: Some(self.stdout.total).filter(|_| !is_spoiled),
            stderr: self.stderr.total,
            owner: Some(self.keyboard.owner).filter(|owner| *owner > 0),
            exact: !self.stdout.is_for_terminal(),
            terminal,
            ..AttachToJob::default()
        };
        request.first_request()
    }

    /// Waits for the answer to it. [`carry`](Self::carry) then continues at the exact byte, or with
    /// the screen if this client was far behind. Returns whether it is the screen.
    ///
    /// # Errors
    /// `not-found` if there is no such job; `superseded` if another client has it by now; `io` if
    /// output was dropped meanwhile; [`Error::Lost`], [`Error::Protocol`].
    pub async fn attach_again(&mut self, channel: &mut Channel) -> Result<bool, Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        if let Some(screen) = receive_screen(channel, &attached).await? {
            self.stdout.show_screen(screen, attached.stdout);
        }
        let have = [self.stdout.total, self.stderr.total];
        // What another user typed has moved the offsets.
        let mut has_input = !self.keyboard.was_lent && self.stdin.go_back(attached.stdin);
        if !has_input && attached.terminal {
            // What was typed meanwhile is not known here, so nothing of it is sent again.
            self.stdin.begin_at(attached.stdin);
            has_input = true;
        }
        if have != [attached.stdout, attached.stderr] || !has_input {
            let message = "the job continues, but its streams do not match those of this client";
            return Err(Error::here(ErrorCode::Io, message));
        }
        self.stdout.set_answered(attached.answered);
        self.keyboard.owner = attached.owner;
        self.keyboard.is_here = true;
        self.keyboard.is_offering = false;
        self.restart_streams([attached.stdin, attached.stdout, attached.stderr]);
        Ok(attached.screen)
    }

    /// Waits for the answer to [`AttachToJob`] with an [offer](super::CarryOutcome::Offered) on a
    /// new channel, on which [`carry`](Self::carry) then begins with the screen. This client
    /// has the keyboard until `superseded` ends that channel.
    ///
    /// # Errors
    /// `superseded` or `denied` if it is not offered any more; [`Error::Lost`],
    /// [`Error::Protocol`].
    pub async fn take_keyboard(&mut self, channel: &mut Channel) -> Result<(), Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        let screen = receive_screen(channel, &attached).await?;
        self.stdout.settle_now().await;
        self.stderr.settle_now().await;
        self.stdout
            .show_screen(screen.unwrap_or_default(), attached.stdout);
        self.stdout.settle_now().await;
        self.stderr.total = attached.stderr;
        // The server has stopped the input of the watcher.
        self.forget_typed(attached.stdin);
        self.keyboard.is_watching = false;
        self.keyboard.is_guest = true;
        self.keyboard.owner = attached.owner;
        self.restart_streams([attached.stdin, attached.stdout, attached.stderr]);
        Ok(())
    }

    /// Waits for the answer to [`WatchJob`] on a new channel, on which [`carry`](Self::carry) then
    /// begins again with the screen.
    ///
    /// # Errors
    /// `denied`, `not-found` if the job has ended; [`Error::Lost`], [`Error::Protocol`].
    pub async fn watch_again(&mut self, channel: &mut Channel) -> Result<(), Error> {
        let attached: Attached = channel.receive(&ATTACHED).await?.read()?;
        self.stdout.settle_now().await;
        self.stderr.settle_now().await;
        self.stdout.total = attached.stdout;
        self.stderr.total = attached.stderr;
        self.forget_typed(attached.stdin);
        self.keyboard.owner = 0;
        self.keyboard.is_watching = true;
        self.keyboard.is_guest = false;
        self.restart_streams([attached.stdin, attached.stdout, attached.stderr]);
        Ok(())
    }

    /// Waits until the server has nothing more to say about a command that was carried to its end.
    /// The channel can carry a further request then.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`], [`Error::Protocol`].
    pub async fn release(channel: &mut Channel) -> Result<(), Error> {
        while channel.receive(&CLIENT_RUNNING).await?.kind() != Finished::TYPE {}
        Ok(())
    }

    /// Drops all that was typed, and begins at this offset.
    fn forget_typed(&mut self, offset: u64) {
        self.stdin = ClientInput::new(offset);
        while self.input.try_recv().is_ok() {}
    }

    fn restart_streams(&mut self, begin: [u64; 3]) {
        self.streams = streams_from(begin);
        for output in [&self.stdout, &self.stderr] {
            if output.parts.is_none() {
                self.streams.stop(output.stream);
            }
        }
        self.stdin.write(&mut self.streams);
    }
}

impl WatchJob {
    /// The request to take an [offer](super::CarryOutcome::Offered) of the keyboard of this job.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub fn keyboard_request(
        &self,
        offer: &Keyboard,
        terminal: Option<TerminalSize>,
    ) -> Result<FirstRequest, Error> {
        let request = AttachToJob {
            job: self.job.clone(),
            user: offer.user.clone(),
            offer: offer.offer,
            terminal,
            ..AttachToJob::default()
        };
        request.first_request()
    }

    /// The request to send with the login.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the job's name is too long.
    pub fn first_request(&self) -> Result<FirstRequest, Error> {
        FirstRequest::new(SERVICE, self)
    }
}

/// Receives the screen that comes after `attached`, if one does.
async fn receive_screen(
    channel: &mut Channel,
    attached: &Attached,
) -> Result<Option<Vec<u8>>, Error> {
    if !attached.screen {
        return Ok(None);
    }
    let _: Screen = channel.receive(&SCREEN).await?.read()?;
    let (mut screen, mut buffer) = (Vec::new(), Vec::new());
    loop {
        buffer.clear();
        match channel.receive_data(&mut buffer).await? {
            Received::Data(_) => screen.extend_from_slice(&buffer),
            Received::End(_) => return Ok(Some(screen)),
        }
    }
}
