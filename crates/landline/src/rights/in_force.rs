//! Which rules a server has in force, for whoever changes them at the machine: what was granted
//! there can be used when the command ends.

use std::{
    io::{Seek, Write},
    time::{Duration, Instant},
};

use crate::{
    audit::Hash,
    paths::{File, PrivateFolder},
};

/// The hash of the file whose rules are in force. A server that runs holds a lock on it.
const NAME: &str = "rights.in-force";
/// Far beyond a hash.
const BYTES_MAX: u64 = 1024;
/// How long somebody waits for a server, which follows within a second.
const WAIT_TIME: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// How often a server that starts tries to have the file, which somebody may just be looking at.
const TRIES: u32 = 10;

/// A server's word, for as long as it runs. Nothing depends on it but how long somebody waits.
#[derive(Debug)]
pub(super) struct InForce(Option<File>);

impl InForce {
    /// For a server that starts. Blocking.
    pub(super) fn of_server(folder: &PrivateFolder) -> Self {
        for _ in 0..TRIES {
            if let Ok(Some(file)) = folder.open_locked(NAME) {
                return Self(Some(file));
            }
            std::thread::sleep(LOOK_TIME);
        }
        Self(None)
    }

    /// These rules are in force. Blocking.
    pub(super) fn say(&self, text: &str) {
        let Some(mut file) = self.0.as_ref() else {
            return;
        };
        // Whoever reads half of it looks again.
        let _ = file
            .rewind()
            .and_then(|()| file.write_all(said(text).as_bytes()));
    }
}

/// Waits until the rules of a file that was just written are in force at a server that runs. What
/// keeps a server from them is for the server to say: it is not waited for for long. Blocking.
pub(super) fn wait(folder: &PrivateFolder, text: &str) {
    let (start, expected) = (Instant::now(), said(text));
    while start.elapsed() < WAIT_TIME {
        let is_in_force = || matches!(folder.read(NAME, BYTES_MAX), Ok(Some(bytes)) if bytes == expected.as_bytes());
        let is_served = || matches!(folder.open_locked(NAME), Ok(None));
        if is_in_force() || !is_served() {
            return;
        }
        std::thread::sleep(LOOK_TIME);
    }
}

/// Of one length, so that it can be written over another.
fn said(text: &str) -> String {
    format!("{}\n", Hash::of(text.as_bytes()))
}
