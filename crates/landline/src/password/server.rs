//! A server's side of passwords: what it stores, looks up and counts around OPAQUE.

use std::time::Instant;

use landline_proto::{
    ErrorCode, ProtocolError,
    login::{PasswordAttempt, PasswordId, UserName},
};

use super::{PasswordParties, PasswordSetup, PendingLogin, is_record};
use crate::{
    Error,
    admission::{Guess, Guesses, Source, TooMany},
    crypto::{Fingerprint, sha256},
    store::{Store, StoredPassword},
};

/// The passwords of a server.
pub struct Passwords {
    setup: PasswordSetup,
    fingerprint: Fingerprint,
    guesses: Guesses,
}

/// A login by password that was begun.
pub(crate) struct BegunPassword {
    user: UserName,
    source: Source,
    transcript: [u8; 64],
    pending: PendingLogin,
    /// Which password it is, if there is one.
    id: Option<PasswordId>,
    guess: Guess,
}

impl BegunPassword {
    /// Who it is said to be.
    pub(crate) fn user(&self) -> &UserName {
        &self.user
    }
}

impl Passwords {
    /// The passwords in `store`, of the server with this fingerprint; `None` in a build without
    /// passwords. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
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

    /// Answers the first message of a login, from `source`, with KE2, whoever it is. It counts as a
    /// guess until it is [`finish`](Self::finish)ed well: with the answer a client can see by
    /// itself whether the password was right. Blocking.
    ///
    /// # Errors
    /// `too-many-guesses`, `bad-header`, [`Error::State`].
    pub(crate) fn begin(
        &self,
        store: &Store,
        attempt: &PasswordAttempt,
        exporter: &[u8],
        source: Source,
    ) -> Result<(Vec<u8>, BegunPassword), Error> {
        let user = attempt.begin.user.clone();
        let transcript = attempt.transcript(exporter);
        let guess = self.count_guess(store, &user, source)?;
        let stored = store.password(&user)?;
        let (record, id) = stored
            .map(|password| (password.record, password.id))
            .unzip();
        let (ke1, parties) = (
            &attempt.begin.ke1.0,
            PasswordParties {
                user: &user,
                server: self.fingerprint,
            },
        );
        let answer = self
            .setup
            .answer(parties, record.as_deref(), ke1, &transcript);
        let (ke2, pending) = answer.ok_or_else(|| {
            ProtocolError::BadHeader("in \"password\": ke1 is no KE1 of OPAQUE".into())
        })?;
        Ok((
            ke2,
            BegunPassword {
                user,
                source,
                transcript,
                pending,
                id,
                guess,
            },
        ))
    }

    /// Which password the login was proved by; `None` if it was not. What is proved was no guess,
    /// and from there the account is known. Blocking.
    pub(crate) fn finish(
        &self,
        store: &Store,
        begun: BegunPassword,
        ke3: &[u8],
    ) -> Option<PasswordId> {
        let BegunPassword {
            user,
            source,
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
        self.guesses.take_back(guess);
        remember_source(store, &user, source);
        Some(id)
    }

    /// The server's half of setting a password for `user`. Asked for from elsewhere it counts as a
    /// guess, as it would answer one, but of somebody who is logged in: strangers' tries are
    /// nothing to it. Blocking.
    ///
    /// # Errors
    /// `too-many-guesses`, `bad-header`, [`Error::State`].
    pub(crate) fn register(
        &self,
        user: &UserName,
        request: &[u8],
        source: Option<Source>,
    ) -> Result<Vec<u8>, Error> {
        if let Some(source) = source {
            self.guesses
                .count(user, source, true, Instant::now())
                .map_err(|too_many| refused(user, too_many))?;
        }
        let response = self.setup.evaluate(user, request);
        response.ok_or_else(|| {
            ProtocolError::BadHeader("\"request\" is no RegistrationRequest of OPAQUE".into())
                .into()
        })
    }

    /// What is to be stored for this record.
    ///
    /// # Errors
    /// `bad-header` for one that is none.
    pub(crate) fn password_of(record: Vec<u8>) -> Result<StoredPassword, Error> {
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

    fn count_guess(&self, store: &Store, user: &UserName, source: Source) -> Result<Guess, Error> {
        // Behind this machine's own address stand all who come through tunnels.
        let is_known =
            !source.is_this_machine() && store.is_known_source(user, &source.to_string())?;
        self.guesses
            .count(user, source, is_known, Instant::now())
            .map_err(|too_many| refused(user, too_many))
    }
}

fn refused(user: &UserName, TooMany { remaining }: TooMany) -> Error {
    let seconds = remaining.as_secs() + 1;
    let problem =
        format!("the password of {user} was tried too often; the next try is in {seconds} s");
    Error::here(ErrorCode::TooManyGuesses, problem)
}

/// Remembers from where an account has logged in, by whatever means: its password keeps a share of
/// tries for that source.
pub(crate) fn remember_source(store: &Store, user: &UserName, source: Source) {
    if !source.is_this_machine() {
        // Not to remember it only makes a later flood of guesses more of a nuisance.
        let _ = store.note_source(user, &source.to_string());
    }
}

/// What a password with this record is called: another one for each, as a record holds keys that
/// were made for it alone.
pub(crate) fn password_id(record: &[u8]) -> PasswordId {
    PasswordId(*sha256(record).first_chunk().unwrap_or(&[0; 8]))
}
