//! Verifies the proof of a login against the store.

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
    activity::Activity,
    admin::rules::check_invite,
    admission::PeerNetwork,
    audit::{Audit, Priority},
    crypto::{is_same_mac, random},
    keys::{CredentialId, CredentialLimits, PublicKey, SecretKey},
    password::{Passwords, PendingPasswordLogin, remember_source},
    paths::Root,
    rights::RightsFile,
    session::{Session, Validity, check_key_options, validity},
    store::{KeyRecord, Store, invite_id},
};

/// Verifies logins of one connection.
pub(super) struct Verifier {
    pub(super) rights: Arc<RightsFile>,
    /// The folders that the server serves.
    pub(super) root: Arc<Root>,
    pub(super) audit: Audit,
    pub(super) passwords: Arc<Passwords>,
    /// The client's address.
    pub(super) peer: IpAddr,
    /// Binds the login to the connection.
    pub(super) exporter: [u8; 32],
}

/// A login as the client sent it, with what it refers to.
pub(super) struct LoginRequest {
    pub(super) attempt: Box<Attempt>,
    /// The live session that it names, for a login by `attach`.
    pub(super) live: Option<Session>,
    /// The login by password that the client has begun.
    pub(super) begun: Option<PendingPasswordLogin>,
}

/// A credential that was proved: its name, what it may be used for, and the proof that the server
/// returns (if any).
struct Authenticated {
    credential: CredentialId,
    limits: CredentialLimits,
    server_proof: Option<Mac>,
}

impl Authenticated {
    fn by(credential: CredentialId, limits: CredentialLimits) -> Self {
        Self {
            credential,
            limits,
            server_proof: None,
        }
    }
}

impl Verifier {
    /// Verifies the proof first, then whether the key, invite, secret or password is valid.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] or [`Error::RefusedNoGuess`] with the reason for the log; the codes
    /// about invites; `audit`.
    pub(super) fn verify(&self, store: &Store, request: LoginRequest) -> Result<Accepted, Error> {
        let LoginRequest {
            attempt,
            live,
            begun,
        } = request;
        let login = &attempt.login;
        let user = &login.user;
        let transcript = attempt.transcript(&self.exporter);
        let Authenticated {
            credential,
            limits,
            server_proof,
        } = match &login.proof {
            Proof::SshKey { key, signature } => {
                let record = verify_signature(store, user, key, &transcript, &signature.0)?;
                let record = record
                    .ok_or_else(|| login_refused(user, "no account of this name has this key"))?;
                authorize_key(user, record, self.peer)?
            }
            Proof::Invite {
                key,
                signature,
                token,
            } => {
                verify_signature(store, user, key, &transcript, &signature.0)?;
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
                let session = verify_attachment(live, &transcript, proof, user, self.peer, store)?;
                return Ok(Accepted {
                    session,
                    proof: None,
                });
            }
        };
        if !matches!(login.proof, Proof::Password { .. }) && store.password(user)?.is_some() {
            remember_source(store, user, PeerNetwork::of(self.peer));
        }
        let account = store
            .account_id(user)?
            .ok_or_else(|| login_refused(user, "the account was removed"))?;
        let session = Session {
            user: user.clone(),
            account,
            credential,
            method: login.proof.method().to_owned(),
            id: HEXLOWER.encode(&random::<8>()),
            invited: matches!(login.proof, Proof::Invite { .. }),
            limits,
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
    ) -> Result<Authenticated, Error> {
        let key = parse_offered_key(user, key)?;
        store.redeem(token, user, &key, |invite| {
            check_name_is_free(user, invite.is_for_anybody, &self.rights)?;
            let rules = self.rights.rules();
            let is_void = |maker| check_invite(&rules, maker, user, &self.root).is_err();
            if invite.made_by.as_ref().is_some_and(is_void) {
                // An invite loses its validity with its maker's right to make it.
                return Err(Error::here(
                    ErrorCode::InviteUnknown,
                    "there is no such invite any more",
                ));
            }
            let redeemed = Activity::Admin {
                user: None,
                session: None,
                action: "invite-redeem".into(),
                subject: user.to_string(),
                detail: Some(format!(
                    "invite {}, {}",
                    invite_id(token),
                    key.fingerprint()
                )),
            };
            self.audit.record_blocking(redeemed, Priority::Exempt)
        })?;
        let record = store
            .key(user, &key)?
            .ok_or_else(|| login_refused(user, "the key was removed at once"))?;
        authorize_key(user, record, self.peer)
    }

    fn by_password(
        &self,
        store: &Store,
        user: &UserName,
        begun: Option<PendingPasswordLogin>,
        ke3: &[u8],
    ) -> Result<Authenticated, Error> {
        let id = begun.and_then(|begun| self.passwords.finish(store, begun, ke3));
        let id =
            id.ok_or_else(|| login_refused(user, "no account of this name has this password"))?;
        let credential = CredentialId::Password(id);
        // It may have been changed since the first message.
        match store.revocation_reason(user, &credential)? {
            Some(reason) => Err(login_refused(user, reason)),
            None => Ok(Authenticated::by(credential, CredentialLimits::none())),
        }
    }
}

fn by_secret(
    store: &Store,
    user: &UserName,
    (secret, binding): (&SecretId, BindingType),
    proof: &Mac,
    transcript: &[u8; 64],
) -> Result<Authenticated, Error> {
    // The same work for a known and an unknown secret: one look-up and one comparison.
    let stored = store.secret_key(user, secret, binding)?;
    let is_known = stored.is_some();
    let (key, services) = stored.unwrap_or_else(|| (SecretKey::from_bytes([0; 32]), None));
    if !is_same_mac(&key.client_proof(transcript), proof) || !is_known {
        return Err(login_refused(
            user,
            "no account of this name has this secret",
        ));
    }
    let credential = CredentialId::Secret(*secret);
    if let Some(reason) = store.revocation_reason(user, &credential)? {
        return Err(login_refused(user, reason));
    }
    Ok(Authenticated {
        server_proof: Some(key.server_proof(transcript)),
        ..Authenticated::by(credential, CredentialLimits::of_secret(services))
    })
}

/// Refuses a name that has rights already to a client that may choose its own name.
fn check_name_is_free(user: &UserName, is_open: bool, rights: &RightsFile) -> Result<(), Error> {
    if is_open && rights.knows(user)? {
        let problem = format!("{user} has rights already; ask for an invite in that name");
        return Err(Error::here(ErrorCode::InviteUser, problem));
    }
    Ok(())
}

/// The live session to attach to. The attach secret must be proved, and the credential of the
/// session must still be valid from this address.
fn verify_attachment(
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
    let refused = |reason: String| Error::RefusedNoGuess(format!("{user}: {reason}"));
    let session = session.ok_or_else(|| {
        refused("there is no such session, or its attach secret was not proved".into())
    })?;
    if let Validity::Revoked(reason) = validity(store, &session, &[peer])? {
        return Err(refused(reason));
    }
    Ok(Session {
        attached: true,
        ..session
    })
}

/// Verifies the signature and returns the stored key that equals the offered one, if there is one.
/// The work is the same for a known and an unknown key: one look-up and one verification.
fn verify_signature(
    store: &Store,
    user: &UserName,
    key: &str,
    transcript: &[u8; 64],
    signature: &[u8],
) -> Result<Option<KeyRecord>, Error> {
    let offered = parse_offered_key(user, key)?;
    let record = store.key(user, &offered)?;
    let stored = record.as_ref().map(|record| PublicKey::parse(&record.line));
    // A stored key that cannot be read fails every login, in the same time.
    let is_readable = !matches!(stored, Some(None));
    let key = stored.flatten().unwrap_or(offered);
    if !key.verifies(transcript, signature) || !is_readable {
        return Err(login_refused(user, "the signature is not valid"));
    }
    Ok(record)
}

fn parse_offered_key(user: &UserName, key: &str) -> Result<PublicKey, Error> {
    PublicKey::parse(key).ok_or_else(|| login_refused(user, "a key of a type that is not accepted"))
}

/// Checks that a stored key may be used from `peer` now, by the options of its line.
fn authorize_key(user: &UserName, record: KeyRecord, peer: IpAddr) -> Result<Authenticated, Error> {
    match check_key_options(&record, peer) {
        Ok(limits) => Ok(Authenticated::by(
            CredentialId::Key(record.fingerprint),
            limits,
        )),
        Err(reason) => Err(login_refused(
            user,
            format_args!("{}: {reason}", record.fingerprint),
        )),
    }
}

/// The reason why a login is refused, for the log. Clients learn only that it was refused.
pub(super) fn login_refused(user: &UserName, reason: impl std::fmt::Display) -> Error {
    Error::LoginRefused(format!("{user}: {reason}"))
}
