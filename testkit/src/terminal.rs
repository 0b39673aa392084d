//! A command at its own terminal, and a user who reads and types.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::stage::SETSID;

/// The longest wait for something that must happen. It only ends a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Restores signals that the test run ignores, for example under nohup.
const DEFAULT_SIGNALS: [&str; 2] = ["env", "--default-signal=HUP,INT,QUIT,TERM"];

/// A running command and its terminal. Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    /// The text that was shown so far.
    pub shown: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where the text begins that came after the last typed line.
    answered: usize,
}

impl Terminal {
    /// Starts `command` with a new terminal as its controlling terminal and its standard streams.
    pub fn start(command: &Command) -> Self {
        Self::start_sized(command, 0, 0)
    }

    /// The same with a terminal of this size.
    pub fn start_sized(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        tcsetwinsize(&master, window_size(rows, columns)).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).expect("its other end");
        let stream = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // util-linux's setsid makes the terminal the controlling one of a new session.
        let mut session = Command::new("setsid");
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        session
            .args(["--ctty", "--wait"])
            .args(DEFAULT_SIGNALS)
            .args(words.skip_while(|word| *word == SETSID));
        session.env_clear().envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        let child = session
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("the command starts");
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().expect("a descriptor");
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails when no process has the terminal open.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
        Self {
            child,
            keyboard,
            screen,
            shown: String::new(),
            bytes: Vec::new(),
            answered: 0,
        }
    }

    /// Waits until the terminal has shown `words`.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        self.wait_from(0, words);
    }

    /// Waits until the terminal has shown `words` after the last typed line.
    #[track_caller]
    pub fn wait_for_next(&mut self, words: &str) {
        self.wait_from(self.answered, words);
    }

    #[track_caller]
    fn wait_from(&mut self, start: usize, words: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.shown[start..].contains(words) {
            match self
                .screen
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.take(&bytes),
                Err(_) => panic!("{words:?} was not shown: {}", self.shown),
            }
        }
    }

    /// Waits until the bytes that were shown so far are as expected.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&[u8]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(&self.bytes) {
            match self
                .screen
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.take(&bytes),
                Err(_) => panic!("{what} was not shown: {:?}", self.shown),
            }
        }
    }

    /// Takes what is shown in this time.
    pub fn look_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(bytes) = self
            .screen
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.take(&bytes);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.shown.push_str(&String::from_utf8_lossy(bytes));
        self.bytes.extend_from_slice(bytes);
    }

    /// Waits until the terminal no longer echoes.
    #[track_caller]
    pub fn wait_for_hiding(&self) {
        crate::wait_for("hidden typing", || !self.shows());
    }

    /// Waits until the terminal echoes again.
    #[track_caller]
    pub fn wait_for_showing(&self) {
        crate::wait_for("visible typing", || self.shows());
    }

    fn shows(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keyboard)
            .expect("a terminal")
            .local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.answered = self.shown.len();
        self.keyboard
            .write_all(format!("{line}\n").as_bytes())
            .expect("the command reads it");
    }

    /// Types keys.
    pub fn type_keys(&mut self, keys: &[u8]) {
        self.answered = self.shown.len();
        self.keyboard
            .write_all(keys)
            .expect("the command reads them");
    }

    /// Gives the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.keyboard, window_size(rows, columns)).expect("a terminal");
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        // setsid has replaced itself by the command.
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until the command ends. Returns its exit status, or `None` if a signal ended it.
    ///
    /// Afterwards `shown` has the whole output.
    pub fn end(&mut self) -> Option<i32> {
        let status = self.child.wait().expect("it can be waited for").code();
        while let Ok(bytes) = self.screen.recv_timeout(PATIENCE) {
            self.take(&bytes);
        }
        status
    }
}

fn window_size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
