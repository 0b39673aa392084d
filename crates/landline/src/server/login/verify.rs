//! Who is let in.

use std::{net::IpAddr, sync::Arc};

use data_encoding::HEXLOWER;
use landline_proto::{
    ErrorCode,
    login::{Attempt, BindingType, Proof, SecretId, UserName},
    messages::{Mac, Token},
};

use super::Accepted;
use crate::{
    Error,
    admission::Source,
    audit::{Audit, Entry},
    crypto::{is_same_mac, random},
    keys::{PublicKey, SecretKey},
    password::{BegunPassword, Passwords, remember_source},
    rights::RightsFile,
    session::{Session, check_key_options, objection},
    store::{KeyRecord, Store, invite_id},
};

/// What a login is judged by, apart from what the client says.
pub(super) struct Judge {
    /// Who may do what.
    pub(super) rights: Arc<RightsFile>,
    /// Where it is written down.
    pub(super) audit: Audit,
    /// The passwords.
    pub(super) passwords: Arc<Passwords>,
    /// From where.
    pub(super) peer: IpAddr,
    /// What binds the login to the connection.
    pub(super) exporter: [u8; 32],
}

/// What a client says, and what it refers to.
pub(super) struct Case {
    /// The login.
    pub(super) attempt: Box<Attempt>,
    /// The live session that it names.
    pub(super) live: Option<Session>,
    /// The login by password that it has begun.
    pub(super) begun: Option<BegunPassword>,
}

/// What was proved: a key's fingerprint, or the name of a secret or password; the command that it
/// is for, if it is for one; what proves the server.
struct Proved {
    key: String,
    command: Option<String>,
    server_proof: Option<Mac>,
}

impl Proved {
    fn by(key: String) -> Self {
        Self {
            key,
            command: None,
            server_proof: None,
        }
    }
}

impl Judge {
    /// Decides a login: the proof first, then whether the key, the invite, the secret or the
    /// password is good. Blocking.
    pub(super) fn decide(&self, store: &Store, case: Case) -> Result<Accepted, Error> {
        let Case {
            attempt,
            live,
            begun,
        } = case;
        let login = &attempt.login;
        let user = &login.user;
        let transcript = attempt.transcript(&self.exporter);
        let Proved {
            key,
            command,
            server_proof,
        } = match &login.proof {
            Proof::SshKey { key, signature } => {
                let record = proved(store, user, key, &transcript, &signature.0)?;
                let record =
                    record.ok_or_else(|| refused(user, "no account of this name has this key"))?;
                admit(user, record, self.peer)?
            }
            Proof::Invite {
                key,
                signature,
                token,
            } => {
                proved(store, user, key, &transcript, &signature.0)?;
                self.redeem(store, user, key, token)?
            }
            Proof::Secret {
                secret,
                binding,
                proof,
            } => by_secret(store, user, (secret, *binding), proof, &transcript)?,
            Proof::Password { ke3 } => self.by_password(store, user, begun, &ke3.0)?,
            Proof::Attach { proof, .. } => {
                let binding = live
                    .as_ref()
                    .map_or(BindingType::TlsExporter, |session| session.binding);
                let transcript = attempt.attach_transcript(binding, &self.exporter);
                let session = attached(live, &transcript, proof, user, self.peer, store)?;
                return Ok(Accepted {
                    session,
                    proof: None,
                });
            }
        };
        if !matches!(login.proof, Proof::Password { .. }) && store.password(user)?.is_some() {
            remember_source(store, user, Source::of(self.peer));
        }
        let session = Session {
            user: user.clone(),
            key,
            method: login.proof.method().to_owned(),
            id: HEXLOWER.encode(&random::<8>()),
            invited: matches!(login.proof, Proof::Invite { .. }),
            command,
            binding: login.proof.binding(),
            attach: login.attach.then(|| SecretKey::from_bytes(random())),
            attached: false,
        };
        Ok(Accepted {
            session,
            proof: server_proof,
        })
    }

    fn redeem(
        &self,
        store: &Store,
        user: &UserName,
        key: &str,
        token: &Token,
    ) -> Result<Proved, Error> {
        let key = offered(user, key)?;
        store.redeem(token, user, &key, |invite| {
            has_no_rights(user, invite.is_for_anybody, &self.rights)?;
            if invite
                .made_by
                .as_ref()
                .is_some_and(|maker| !self.rights.is_admin(maker))
            {
                // Taken back with the right to make it.
                return Err(Error::here(
                    ErrorCode::InviteUnknown,
                    "there is no such invite any more",
                ));
            }
            self.audit.record_blocking(Entry::Admin {
                user: None,
                session: None,
                action: "invite-redeem".into(),
                subject: user.to_string(),
                detail: Some(format!(
                    "invite {}, {}",
                    invite_id(token),
                    key.fingerprint()
                )),
            })
        })?;
        let record = store
            .key(user, &key)?
            .ok_or_else(|| refused(user, "the key was removed at once"))?;
        admit(user, record, self.peer)
    }

    fn by_password(
        &self,
        store: &Store,
        user: &UserName,
        begun: Option<BegunPassword>,
        ke3: &[u8],
    ) -> Result<Proved, Error> {
        let id = begun.and_then(|begun| self.passwords.finish(store, begun, ke3));
        let id = id.ok_or_else(|| refused(user, "no account of this name has this password"))?;
        let name = format!("password:{id}");
        // It may have been changed since the first message.
        match store.objection(user, &name)? {
            Some(objection) => Err(refused(user, objection)),
            None => Ok(Proved::by(name)),
        }
    }
}

fn by_secret(
    store: &Store,
    user: &UserName,
    (secret, binding): (&SecretId, BindingType),
    proof: &Mac,
    transcript: &[u8; 64],
) -> Result<Proved, Error> {
    // Known or not, the same work is done: one look-up and one comparison, with a key of nobody if
    // there is none.
    let stored = store.secret_key(user, secret, binding)?;
    let is_known = stored.is_some();
    let key = stored.unwrap_or_else(|| SecretKey::from_bytes([0; 32]));
    if !is_same_mac(&key.client_proof(transcript), proof) || !is_known {
        return Err(refused(user, "no account of this name has this secret"));
    }
    let name = format!("secret:{secret}");
    if let Some(objection) = store.objection(user, &name)? {
        return Err(refused(user, objection));
    }
    Ok(Proved {
        server_proof: Some(key.server_proof(transcript)),
        ..Proved::by(name)
    })
}

/// Sees to it that whoever may choose a name gets none that somebody has in mind for another.
fn has_no_rights(user: &UserName, is_open: bool, rights: &RightsFile) -> Result<(), Error> {
    if is_open && rights.knows(user)? {
        let problem = format!("{user} has rights already; ask for an invite in that name");
        return Err(Error::here(ErrorCode::InviteUser, problem));
    }
    Ok(())
}

/// The live session to which this connection is attached, where its attach secret is proved, and
/// what it was logged in with could still be used, and from here.
fn attached(
    live: Option<Session>,
    transcript: &[u8; 64],
    proof: &Mac,
    user: &UserName,
    peer: IpAddr,
    store: &Store,
) -> Result<Session, Error> {
    let secret = live.as_ref().and_then(|session| session.attach.clone());
    let key = secret
        .clone()
        .unwrap_or_else(|| SecretKey::from_bytes([0; 32]));
    let proved = is_same_mac(&key.attach_proof(transcript), proof);
    let session = live.filter(|session| proved && secret.is_some() && session.user == *user);
    let session = session.ok_or_else(|| {
        refused(
            user,
            "there is no such session, or its attach secret was not proved",
        )
    })?;
    if let Some(objection) = objection(store, &session, &[peer])? {
        return Err(refused(user, objection));
    }
    Ok(Session {
        attached: true,
        ..session
    })
}

/// The stored key that equals the offered one, if there is one, once the signature was verified.
/// Known or not, the same work is done: one look-up and one verification, by the stored key if
/// there is one.
fn proved(
    store: &Store,
    user: &UserName,
    key: &str,
    transcript: &[u8; 64],
    signature: &[u8],
) -> Result<Option<KeyRecord>, Error> {
    let offered = offered(user, key)?;
    let record = store.key(user, &offered)?;
    let stored = record
        .as_ref()
        .and_then(|record| PublicKey::parse(&record.line));
    if !stored
        .as_ref()
        .unwrap_or(&offered)
        .verifies(transcript, signature)
    {
        return Err(refused(user, "the signature does not fit"));
    }
    Ok(record)
}

fn offered(user: &UserName, key: &str) -> Result<PublicKey, Error> {
    PublicKey::parse(key).ok_or_else(|| refused(user, "a key of a type that is not accepted"))
}

/// A stored key that may be used from `peer` now, by what stands in its line.
fn admit(user: &UserName, record: KeyRecord, peer: IpAddr) -> Result<Proved, Error> {
    match check_key_options(&record, peer) {
        Ok(command) => Ok(Proved {
            command,
            ..Proved::by(record.fingerprint)
        }),
        Err(reason) => Err(refused(
            user,
            format_args!("{}: {reason}", record.fingerprint),
        )),
    }
}

/// Why somebody is not let in, for the log: they all hear the same.
pub(super) fn refused(user: &UserName, reason: impl std::fmt::Display) -> Error {
    Error::LoginRefused(format!("{user}: {reason}"))
}
