//! What a command works with besides its arguments, and what it is: a [`Run`].

use std::{borrow::Cow, ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc};

use landline::{Client, Error};
use landline_classic::Wording;
use landline_lab::Language;

use crate::{
    environment::Environment,
    failure::Failure,
    prompter::{Prompter, Terminal},
    settings::{ServeSettings, Settings},
    streams::{InputStream, OutputStream},
};

/// The world around a command. A test can replace all of it.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    /// The folder of `--state` or `LANDLINE_STATE`.
    pub(crate) state: Option<PathBuf>,
    /// Whether results and failures are printed as JSON, for programs.
    pub(crate) json: bool,
    /// The language of messages that exist in both.
    pub(crate) language: Language,
    /// Standard output, for results.
    pub(crate) out: OutputStream,
    /// Standard error, for messages to people.
    pub(crate) err: OutputStream,
    pub(crate) input: InputStream,
    pub(crate) prompter: Arc<dyn Prompter>,
}

impl Context {
    /// The context of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            environment: Environment::Process,
            state: None,
            json: false,
            language: Language::English,
            out: OutputStream::stdout(),
            err: OutputStream::stderr(),
            input: InputStream::stdin(),
            prompter: Arc::new(Terminal),
        }
    }

    /// The text in the language of this context.
    pub(crate) fn choose(&self, wording: Wording) -> Cow<'static, str> {
        match self.language {
            Language::English => wording.english,
            Language::Chinese => wording.chinese,
        }
    }

    /// The client of this user, with its known servers and its key.
    ///
    /// # Errors
    /// The state folder is unknown or cannot be used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::open(&self.client_state()?)?)
    }

    /// Checks that standard input can be read, for a command that needs it.
    ///
    /// # Errors
    /// It is closed, or open for writing only.
    pub(crate) fn check_input(&self) -> Result<(), Failure> {
        let opened = self.input.open();
        opened.map(drop).map_err(|error| {
            let system = Wording::of_system(&error);
            Failure::from(Error::io("standard input", &error))
                .with_chinese(format!("标准输入：{}", system.chinese))
        })
    }

    /// The state folder of this user's client.
    ///
    /// # Errors
    /// Neither `--state` nor `HOME` names one.
    pub(crate) fn client_state(&self) -> Result<PathBuf, Failure> {
        self.environment.state_folder(self.state.as_deref())
    }

    /// The state folder of this machine's server: `--state`, else the server's settings.
    ///
    /// With `--state` the settings are not read, so that a broken file does not matter.
    ///
    /// # Errors
    /// As [`server_settings`](Self::server_settings).
    pub(crate) fn server_state(&self) -> Result<PathBuf, Failure> {
        if self.state.is_some() {
            return self.client_state();
        }
        Ok(self.server_settings(&ServeSettings::default())?.state)
    }

    /// The settings that `serve` would have with these flags.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(crate) fn server_settings(&self, flags: &ServeSettings) -> Result<Settings, Failure> {
        Settings::read(&self.environment, self.state.as_deref(), flags)
    }
}

/// A command. Its arguments implement this; `commands/mod.rs` registers it.
pub(crate) trait Run: Sized {
    /// Does what is only possible before the runtime starts threads. `Break` ends the command.
    fn prepare(self, _context: &Context) -> ControlFlow<Result<ExitStatus, Failure>, Self> {
        ControlFlow::Continue(self)
    }

    /// Runs the command and decides its exit status.
    ///
    /// # Errors
    /// The reason why the command failed. `main` prints it and exits with its status.
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure>;
}

/// What the process exits with when a command has printed all there is to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExitStatus(pub(crate) u8);

impl ExitStatus {
    pub(crate) const SUCCESS: Self = Self(0);
    /// A rule denies what the user asked about.
    pub(crate) const DENIED: Self = Self(23);
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use landline::paths::{TempDir, local};

    use super::*;
    use crate::test_context::TestContext;

    #[test]
    fn state_folder_of_client_ignores_server_settings() {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let settings = folder.path().join("server.toml");
        local::write(&settings, b"state = \"/srv/landline\"\n").unwrap();
        let mut test = TestContext::new()
            .with_variable("HOME", "/home/alice")
            .with_variable("XDG_STATE_HOME", "/home/alice/state");
        let client = test.context.client_state().unwrap();
        assert_eq!(client, Path::new("/home/alice/state/landline"));
        let flags = ServeSettings {
            config: Some(settings),
            ..ServeSettings::default()
        };
        let server = test.context.server_settings(&flags).unwrap().state;
        assert_eq!(server, Path::new("/srv/landline"));
        assert_eq!(test.context.server_state().unwrap(), client);

        test.context.state = Some("/other".into());
        for state in [
            test.context.client_state().unwrap(),
            test.context.server_state().unwrap(),
            test.context.server_settings(&flags).unwrap().state,
        ] {
            assert_eq!(state, Path::new("/other"));
        }
        folder.remove();
    }

    #[test]
    fn given_state_does_not_read_broken_settings() {
        let mut test = TestContext::new()
            .with_variable("HOME", "/home/alice")
            .with_variable("LANDLINE_DRAIN", "soon");
        assert_eq!(test.context.server_state().unwrap_err().status, 2);
        test.context.state = Some("/other".into());
        assert_eq!(test.context.server_state().unwrap(), Path::new("/other"));
    }
}
