//! Ends sessions whose account, key, secret or password is not good any more.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;

use crate::{
    Error,
    activity::Activity,
    audit::{Audit, Priority},
    session::{Entered, Sessions, Threads, Validity, validity},
    store::Store,
};

/// The longest time to sleep until a key expires: the clock may be set meanwhile.
const CLOCK_TIME: Duration = Duration::from_secs(10);
/// The time until the next attempt after one that failed.
const RETRY_TIME: Duration = Duration::from_millis(250);
/// A failure is reported once it has happened this many times in a row.
const FAILURES_REPORTED: u32 = 4;
/// How many new connections are examined together.
const ENTRIES_MAX: usize = 256;

/// Ends the sessions of accounts and keys that were removed, disabled or given other options, or
/// that have expired. Never returns.
///
/// All sessions are examined when the store has changed and when a key expires. A new connection is
/// examined by itself: its login may have been decided just before a change, and its session
/// entered just after the others were examined. What keeps the server from that for a second is
/// reported, and retried.
pub(super) async fn watch(store: Arc<Store>, sessions: Sessions, threads: Threads, audit: Audit) {
    let mut changes = store.subscribe();
    let mut entries = sessions.subscribe();
    let mut expiry: Option<i64> = None;
    let mut failures = 0;
    let mut due = Due::All;
    loop {
        let examiner = Examiner {
            store: store.clone(),
            sessions: sessions.clone(),
        };
        let is_all = matches!(due, Due::All);
        match threads.run(move || examiner.examine(due)).await {
            Ok(found) => {
                failures = 0;
                expiry = if is_all {
                    found
                } else {
                    earliest(expiry, found)
                };
                due = next(&mut changes, &mut entries, expiry).await;
            }
            Err(error) => {
                failures += 1;
                if failures == FAILURES_REPORTED {
                    let message = error.to_string();
                    audit.note(Activity::RevocationFailed { message }, Priority::Exempt);
                }
                tokio::time::sleep(RETRY_TIME).await;
                changes.mark_unchanged();
                due = Due::All;
            }
        }
    }
}

/// What is to be examined.
enum Due {
    /// All live sessions.
    All,
    /// Connections that were entered.
    New(Vec<Entered>),
}

/// Waits until something is to be examined.
async fn next(
    changes: &mut tokio::sync::watch::Receiver<()>,
    entries: &mut mpsc::UnboundedReceiver<Entered>,
    expiry: Option<i64>,
) -> Due {
    let mut new = Vec::new();
    tokio::select! {
        biased;
        // The store lives as long as this.
        Ok(()) = changes.changed() => Due::All,
        () = expired(expiry) => Due::All,
        1.. = entries.recv_many(&mut new, ENTRIES_MAX) => Due::New(new),
    }
}

/// Returns at this moment, in seconds since 1970.
async fn expired(moment: Option<i64>) {
    let Some(moment) = moment else {
        return pending().await;
    };
    let moment = UNIX_EPOCH + Duration::from_secs(moment.max(0).cast_unsigned());
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(CLOCK_TIME)).await;
    }
}

fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

struct Examiner {
    store: Arc<Store>,
    sessions: Sessions,
}

impl Examiner {
    /// Ends sessions that could not be logged in any more. Returns when the first key of the others
    /// expires. Blocking.
    fn examine(&self, due: Due) -> Result<Option<i64>, Error> {
        let logins = match due {
            Due::All => self.sessions.logins(),
            Due::New(entered) => entered
                .into_iter()
                .map(|Entered { session, peer }| (session, vec![peer]))
                .collect(),
        };
        let mut expiry = None;
        for (session, peers) in &logins {
            match validity(&self.store, session, peers)? {
                Validity::Valid { until } => expiry = earliest(expiry, until),
                Validity::Revoked(reason) => drop(self.sessions.end(&reason, &session.id)),
            }
        }
        Ok(expiry)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        audit::AuditOptions,
        keys::{CredentialId, KeyLine, KeyOptions, PublicKey},
        paths::{PrivateFolder, TempDir},
        session::{Departure, Remaining, Session, SessionHandle, tests::session},
        store::{Removal, unix_now},
    };

    struct Watched {
        store: Arc<Store>,
        sessions: Sessions,
        key: PublicKey,
        audit: Audit,
        _scratch: TempDir,
        _watching: tokio::task::JoinSet<()>,
    }

    /// A store with alice and her key, whose sessions are watched.
    fn watched() -> Watched {
        let pair = ssh_key::private::Ed25519Keypair::from_seed(&[1; 32]);
        let key = ssh_key::PublicKey::from(pair.public).to_openssh().unwrap();
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder =
            PrivateFolder::open_or_create(&scratch.create_folder("state").unwrap()).unwrap();
        let (audit, _) = Audit::open(&folder, &AuditOptions::default()).unwrap();
        let watched = Watched {
            audit,
            _scratch: scratch,
            store: Arc::new(Store::open(Path::new(":memory:")).unwrap()),
            sessions: Sessions::default(),
            key: PublicKey::parse(&key).unwrap(),
            _watching: tokio::task::JoinSet::new(),
        };
        let alice = "alice".parse().unwrap();
        watched
            .store
            .add_account(&alice, &[watched.key.clone().into()])
            .unwrap();
        watched
    }

    impl Watched {
        fn start(&mut self) {
            self._watching.spawn(watch(
                self.store.clone(),
                self.sessions.clone(),
                Threads::start("test", 1).unwrap(),
                self.audit.clone(),
            ));
        }

        /// A session of alice, who has logged in by her key as it is now.
        fn session(&self) -> Session {
            let mut alice = session("alice", "1");
            let keys = self.store.keys_of(&alice.user).unwrap();
            alice.limits = KeyOptions::parse(&keys[0].options).unwrap().limits();
            alice.credential = CredentialId::Key(self.key.fingerprint());
            alice.attach = Some(crate::keys::SecretKey::from_bytes([1; 32]));
            alice
        }

        fn begin(&self) -> SessionHandle {
            let peer = ([127, 0, 0, 1], 1).into();
            self.sessions.begin(self.session(), peer, None).unwrap()
        }

        fn set_options(&self, options: &str) {
            let line = format!("{options} {}", self.key.line());
            let alice = "alice".parse().unwrap();
            let line = KeyLine::parse(&line).unwrap();
            self.store.add_keys(&alice, &[line]).unwrap();
        }

        fn disable(&self) {
            let alice = "alice".parse().unwrap();
            self.store
                .take_away(&alice, Removal::Disable, |_| false, true)
                .unwrap();
        }
    }

    async fn within_a_moment(handle: &SessionHandle) -> Error {
        let limit = Duration::from_secs(5);
        tokio::time::timeout(limit, handle.terminated())
            .await
            .expect("the session is ended")
    }

    #[tokio::test]
    async fn change_ends_sessions() {
        let mut watched = watched();
        let handle = watched.begin();
        watched.start();
        watched.disable();
        within_a_moment(&handle).await;
    }

    /// A login that was decided before the change, and whose session is entered after it.
    #[tokio::test]
    async fn session_entered_after_change_is_ended() {
        let mut watched = watched();
        watched.start();
        watched.disable();
        tokio::time::sleep(Duration::from_millis(50)).await;
        within_a_moment(&watched.begin()).await;
    }

    #[tokio::test]
    async fn expired_key_ends_sessions_in_time() {
        let mut watched = watched();
        let expires = unix_now() + 2;
        let moment = time::OffsetDateTime::from_unix_timestamp(expires).unwrap();
        let moment = format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second()
        );
        watched.set_options(&format!("expiry-time=\"{moment}\""));
        watched.start();
        let connected = watched.begin();
        let reason = within_a_moment(&connected).await;
        let late = unix_now() - expires;
        assert_eq!(reason.code_str(), "ended");
        assert!((0..2).contains(&late), "{late} s late");
    }

    /// A session that waits for its client to attach again has no connection to be examined by.
    #[tokio::test]
    async fn session_without_connection_is_ended() {
        let mut watched = watched();
        let handle = watched.begin();
        let linger = Duration::from_secs(60);
        let Remaining::Waiting(waiting) = handle.deregister(Departure::Lost, linger) else {
            panic!("it waits");
        };
        watched.start();
        watched.set_options("expiry-time=\"20200101Z\"");
        let over = tokio::time::timeout(Duration::from_secs(5), waiting.wait_until_over()).await;
        assert!(over.expect("the session is ended"));
    }
}
