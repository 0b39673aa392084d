//! The server's side of passwords: the store and the guess limits around OPAQUE.

use std::time::Instant;

use landline_proto::{
    ErrorCode, ProtocolError,
    login::{PasswordAttempt, PasswordId, UserName},
};

use super::{PasswordParties, PasswordSetup, PendingLogin, is_record};
use crate::{
    Error,
    admission::{Guess, Guesses, PeerNetwork, TooMany},
    crypto::{Fingerprint, sha256},
    store::{Store, StoredPassword},
};

/// The passwords of a server.
pub struct Passwords {
    setup: PasswordSetup,
    fingerprint: Fingerprint,
    guesses: Guesses,
}

/// A login by password that waits for the client's last message.
pub(crate) struct PendingPasswordLogin {
    user: UserName,
    network: PeerNetwork,
    transcript: [u8; 64],
    pending: PendingLogin,
    /// The id of the user's password; `None` if the user has none.
    id: Option<PasswordId>,
    guess: Guess,
}

impl PendingPasswordLogin {
    /// The user that the client claims to be.
    pub(crate) fn user(&self) -> &UserName {
        &self.user
    }
}

impl Passwords {
    /// The passwords in `store`, of the server with this fingerprint.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes the store.
    pub(crate) fn open(store: &Store, fingerprint: Fingerprint) -> Result<Self, Error> {
        let setup = store.password_setup(PasswordSetup::generate)?;
        let setup = PasswordSetup::parse(&setup)
            .ok_or_else(|| Error::state("the store", "what it needs for passwords is damaged"))?;
        Ok(Self {
            setup,
            fingerprint,
            guesses: Guesses::default(),
        })
    }

    /// Answers the first message of a login with KE2, for any user name.
    ///
    /// The login counts as a guess until [`finish`](Self::finish) succeeds. With KE2 a client can
    /// find out by itself whether the password was right.
    ///
    /// # Errors
    /// `too-many-guesses`, `bad-header`, [`Error::State`].
    ///
    /// # Blocking
    /// Reads the store.
    pub(crate) fn begin(
        &self,
        store: &Store,
        attempt: &PasswordAttempt,
        exporter: &[u8],
        network: PeerNetwork,
    ) -> Result<(Vec<u8>, PendingPasswordLogin), Error> {
        let user = attempt.begin.user.clone();
        let transcript = attempt.transcript(exporter);
        let guess = self.count_guess(store, &user, network)?;
        let stored = store.password(&user)?;
        let (record, id) = stored
            .map(|password| (password.record, password.id))
            .unzip();
        let ke1 = &attempt.begin.ke1.0;
        let parties = PasswordParties {
            user: &user,
            server: self.fingerprint,
        };
        let answer = self
            .setup
            .answer(parties, record.as_deref(), ke1, &transcript);
        let (ke2, pending) = answer.ok_or_else(|| {
            ProtocolError::BadHeader("in \"password\": ke1 is no KE1 of OPAQUE".into())
        })?;
        Ok((
            ke2,
            PendingPasswordLogin {
                user,
                network,
                transcript,
                pending,
                id,
                guess,
            },
        ))
    }

    /// Checks the last message of a login; the id of the proved password.
    ///
    /// A right password refunds the guess, and makes the peer network known for the account.
    ///
    /// # Blocking
    /// Writes the store.
    pub(crate) fn finish(
        &self,
        store: &Store,
        begun: PendingPasswordLogin,
        ke3: &[u8],
    ) -> Option<PasswordId> {
        let PendingPasswordLogin {
            user,
            network,
            transcript,
            pending,
            id,
            guess,
        } = begun;
        let parties = PasswordParties {
            user: &user,
            server: self.fingerprint,
        };
        let is_proved = pending.accepts(ke3, parties, &transcript);
        let id = id.filter(|_| is_proved)?;
        self.guesses.refund(guess);
        remember_source(store, &user, network);
        Some(id)
    }

    /// The server's half of setting a password for `user`.
    ///
    /// A request from the network counts as a guess, because its answer helps to guess. The user is
    /// logged in, so the limit for unknown networks does not apply.
    ///
    /// # Errors
    /// `too-many-guesses`, `bad-header`, [`Error::State`].
    ///
    /// # Blocking
    /// Computes OPAQUE.
    pub(crate) fn register(
        &self,
        user: &UserName,
        request: &[u8],
        network: Option<PeerNetwork>,
    ) -> Result<Vec<u8>, Error> {
        if let Some(network) = network {
            self.guesses
                .count(user, network, true, Instant::now())
                .map_err(|too_many| guess_limit_error(user, too_many))?;
        }
        let response = self.setup.evaluate(user, request);
        response.ok_or_else(|| {
            ProtocolError::BadHeader("\"request\" is no RegistrationRequest of OPAQUE".into())
                .into()
        })
    }

    /// The password to store for this record.
    ///
    /// # Errors
    /// `bad-header` if the record is malformed.
    pub(crate) fn stored_password(record: Vec<u8>) -> Result<StoredPassword, Error> {
        if !is_record(&record) {
            return Err(ProtocolError::BadHeader(
                "\"record\" is no RegistrationRecord of OPAQUE".into(),
            )
            .into());
        }
        Ok(StoredPassword {
            id: password_id(&record),
            record,
        })
    }

    fn count_guess(
        &self,
        store: &Store,
        user: &UserName,
        network: PeerNetwork,
    ) -> Result<Guess, Error> {
        // All tunnels share the address of this machine.
        let is_known =
            !network.is_this_machine() && store.is_known_source(user, &network.to_string())?;
        self.guesses
            .count(user, network, is_known, Instant::now())
            .map_err(|too_many| guess_limit_error(user, too_many))
    }
}

fn guess_limit_error(user: &UserName, TooMany { remaining }: TooMany) -> Error {
    let seconds = remaining.as_secs() + 1;
    let problem =
        format!("the password of {user} was tried too often; the next try is in {seconds} s");
    Error::here(ErrorCode::TooManyGuesses, problem)
}

/// Records that an account has logged in from this network, by any method.
///
/// The network then has its own share of attempts at the account's password.
pub(crate) fn remember_source(store: &Store, user: &UserName, network: PeerNetwork) {
    if !network.is_this_machine() {
        // Ignored: the network then only shares the limit of unknown ones.
        let _ = store.note_source(user, &network.to_string());
    }
}

/// The id of the password with this record.
///
/// Each record has its own keys, so each has its own id.
pub(crate) fn password_id(record: &[u8]) -> PasswordId {
    PasswordId(*sha256(record).first_chunk().unwrap_or(&[0; 8]))
}
