//! Applies requests, from the network and from the server's machine alike.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use landline_proto::{ErrorCode, login::UserName};

use super::{
    audit_detail::invite_detail,
    control::ServerStatus,
    messages::{
        AddUser, Answer, INVITE_SECONDS_MAX, MakeInvite, NewInvite, RemoveKey, RemoveUser, Request,
    },
    paging::{InviteRow, KeyRow, UserRow},
    rules::{Actor, Rule, Whose},
};
use crate::{
    Error,
    activity::Activity,
    admission::PeerNetwork,
    audit::{Audit, Priority, Reader},
    crypto::Fingerprint,
    keys::{CredentialId, KeyLine, KeyOptions},
    login::Invite,
    net::HostPort,
    password::Passwords,
    paths::{PrivateFolder, Root},
    rights::{GivenRights, Rights, RightsFile, Role, UserRights},
    store::{self, AccountRecord, KeyRecord, Removal, Store, WorkStore},
};

/// The file in the server's folder that lists the server's addresses, one per line.
const ADDRESSES_FILE: &str = "addresses";
/// Far longer than any list of addresses.
const ADDRESSES_BYTES_MAX: u64 = 64 * 1024;

/// Lists the addresses at which clients can reach a server now, at least one.
pub(crate) type Reachable = Box<dyn Fn() -> Vec<HostPort> + Send + Sync>;

/// The accounts, keys, secrets and invites of a server.
pub struct Administration {
    folder: Arc<PrivateFolder>,
    pub(super) store: Arc<Store>,
    /// `None` in a command. A server also forgets removed users when it starts.
    work_store: Option<WorkStore>,
    pub(super) rights: Arc<RightsFile>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) fingerprint: Fingerprint,
    /// The log of changes; `None` if this was opened only to read.
    audit: Option<Audit>,
    /// Lists the server's addresses, once it listens.
    reachable: OnceLock<Reachable>,
    /// Held during a change, so that no change sees another one half done.
    changing: Mutex<()>,
}

/// A user who sends a request over the network.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The user's name.
    pub user: UserName,
    /// The credential of the login.
    pub credential: CredentialId,
    /// Whether the credential may give access that outlives it.
    pub may_grant: bool,
    /// The session's id.
    pub session: String,
    /// The network of the client.
    pub source: PeerNetwork,
    /// The folders that the server serves.
    pub root: Arc<Root>,
}

impl Administration {
    /// Creates the administration of the server that keeps its state in `folder`.
    pub(crate) fn new(
        folder: Arc<PrivateFolder>,
        store: Arc<Store>,
        rights: Arc<RightsFile>,
        passwords: Arc<Passwords>,
        fingerprint: Fingerprint,
        audit: Option<Audit>,
    ) -> Self {
        Self {
            folder,
            store,
            work_store: None,
            rights,
            passwords,
            fingerprint,
            audit,
            reachable: OnceLock::new(),
            changing: Mutex::new(()),
        }
    }

    /// Adds the work store of a running server.
    pub(crate) fn with_work_store(self, work_store: WorkStore) -> Self {
        Self {
            work_store: Some(work_store),
            ..self
        }
    }

    /// The fingerprint that clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Sets the addresses that new invites and secrets name. Only the first call has an effect.
    pub(crate) fn set_reachable(&self, reachable: Reachable) {
        let _ = self.reachable.set(reachable);
    }

    /// The known addresses of the server.
    ///
    /// They are saved for commands that run while the server does not.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads or writes the disk.
    pub(crate) fn addresses(&self) -> Result<Vec<HostPort>, Error> {
        let saved = self.folder.read(ADDRESSES_FILE, ADDRESSES_BYTES_MAX)?;
        let saved = String::from_utf8_lossy(saved.as_deref().unwrap_or_default()).into_owned();
        let Some(reachable) = self.reachable.get() else {
            return saved.lines().map(str::parse).collect();
        };
        let addresses = reachable();
        let lines: String = addresses
            .iter()
            .map(|address| format!("{address}\n"))
            .collect();
        if lines != saved {
            self.folder.write(ADDRESSES_FILE, lines.as_bytes())?;
        }
        Ok(addresses)
    }

    /// The log of changes.
    ///
    /// # Errors
    /// `audit` if this was opened only to read.
    pub(super) fn audit(&self) -> Result<&Audit, Error> {
        self.audit
            .as_ref()
            .ok_or_else(|| Error::here(ErrorCode::Audit, "the audit log is not open"))
    }

    /// Opens the audit log to read it.
    ///
    /// # Errors
    /// [`Error::State`]; `not-found` if there is none.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(super) fn open_log(&self) -> Result<Reader, Error> {
        Reader::open_in(&self.folder)?
            .ok_or_else(|| Error::here(ErrorCode::NotFound, "there is no audit log"))
    }

    /// A user's role.
    pub(super) fn role(&self, user: &UserName) -> Role {
        self.rights.role(user)
    }

    /// Why the current rights file is not in force.
    pub(crate) fn rights_problem(&self) -> Option<String> {
        self.rights.problem()
    }

    /// Makes a check which accounts count as admins, so that the last one cannot be removed.
    ///
    /// Owners do, or admins if no owner can log in.
    pub(super) fn admin_filter(&self) -> Result<impl Fn(&AccountRecord) -> bool + use<>, Error> {
        let rules = self.rights.rules();
        let accounts = self.store.accounts()?;
        let is_owner = |account: &AccountRecord| {
            account.can_log_in() && rules.role(&account.name) == Role::Owner
        };
        let least = if accounts.iter().any(is_owner) {
            Role::Owner
        } else {
            Role::Admin
        };
        Ok(move |account: &AccountRecord| rules.role(&account.name) >= least)
    }

    /// Whether the check of a request compares all rights of two accounts.
    pub(super) fn compares_rights(&self, by: &Admin, request: &Request) -> bool {
        let grants = Rule::of(request.kind()).is_some_and(Rule::grants);
        grants && self.rights.role(&by.user) < Role::Owner
    }

    /// Checks that the user `by` may make a request, by the rules that are returned.
    ///
    /// # Errors
    /// `denied`, `credential-limited`, `name-refused`, `not-found`, [`Error::State`].
    ///
    /// # Blocking
    /// Looks up every folder of the account.
    pub(super) fn check(&self, by: &Admin, request: &Request) -> Result<Arc<Rights>, Error> {
        let rules = self.rights.rules();
        self.check_allowed(by, request, &rules)?;
        Ok(rules)
    }

    /// Applies a request of the user `by`, or of a command on the server's machine.
    ///
    /// As `apply_checked`, after it has checked the request.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub fn apply(&self, by: Option<&Admin>, request: &Request) -> Result<Answer, Error> {
        // Before the lock, so that denied requests do not delay others.
        let checked = by.map(|who| self.check(who, request)).transpose()?;
        self.apply_checked(by, request, checked.as_ref())
    }

    /// Applies a request that has been checked by the rules `checked`.
    ///
    /// A change is in the audit log before it is made.
    ///
    /// # Errors
    /// `not-found`, `exists`, `denied`, `last-owner`, `credential-limited`, `key-refused`,
    /// `name-refused`, `rights-full`, `audit`, [`Error::State`]. Nothing has changed then.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(super) fn apply_checked(
        &self,
        by: Option<&Admin>,
        request: &Request,
        checked: Option<&Arc<Rights>>,
    ) -> Result<Answer, Error> {
        let _changing = request.changes_something().then(|| self.lock_changes());
        // Another change may have raised the account's role meanwhile.
        let rules = self.rights.rules();
        if let Some(who) = by
            && !checked.is_some_and(|checked| Arc::ptr_eq(checked, &rules))
        {
            self.check_allowed(who, request, &rules)?;
        }
        let acting =
            by.map(|admin| Arc::new(self.store.on_behalf_of(&admin.user, &admin.credential)));
        let store = acting.as_ref().unwrap_or(&self.store);
        if let Request::RemovePassword(request) = request {
            Self::check_password_is_there(store, request)?;
        }
        // Some changes are recorded once more is known of them. `register-password` is recorded
        // because its answer allows one guess at the password.
        let is_recorded = match request {
            Request::MakeInvite(_)
            | Request::AddSecret(_)
            | Request::RemoveSecret(_)
            | Request::GrantRights(_)
            | Request::RevokeRights(_) => false,
            Request::RegisterPassword(_) => true,
            _ => request.changes_something(),
        };
        if is_recorded {
            self.record_change(by, request, request.subject(), request.audit_detail())?;
        }
        self.execute(store, by, request)
    }

    /// Executes a request that was allowed. Records what [`apply`](Self::apply) has not.
    fn execute(
        &self,
        store: &Store,
        by: Option<&Admin>,
        request: &Request,
    ) -> Result<Answer, Error> {
        let changed = match request {
            Request::ListUsers(request) => {
                let accounts = match &request.user {
                    Some(user) => vec![store.account(user)?],
                    None => store.accounts()?,
                };
                let rows = accounts.into_iter().map(|account| self.user_row(account));
                return Ok(Answer::Users(rows.collect()));
            }
            Request::ListKeys(request) => {
                let keys = store.keys(&request.user)?.into_iter();
                return Ok(Answer::Keys(keys.map(key_row).collect()));
            }
            Request::ListSecrets(request) => return self.secrets(request).map(Answer::Secrets),
            Request::ShowServer(_) => return ServerStatus::of(self).map(Answer::Server),
            Request::ListInvites(_) => {
                let invites = store.invites()?.into_iter();
                return Ok(Answer::Invites(invites.map(invite_row).collect()));
            }
            Request::MakeInvite(make) => {
                return self.invite(store, by, request, make).map(Answer::Invite);
            }
            Request::AddUser(request) => self.add_user(store, by, request),
            Request::GrantRights(grant) => self.grant_rights(by, request, grant),
            Request::RevokeRights(revoke) => self.revoke_rights(by, request, revoke),
            Request::DisableUser(request) => store.take_away(
                &request.user,
                Removal::Disable,
                self.admin_filter()?,
                request.force,
            ),
            Request::EnableUser(request) => store.enable(&request.user),
            Request::RemoveUser(request) => self.remove_user(store, request),
            Request::AddKeys(request) => {
                store.add_keys(&request.user, &self.key_lines(&request.keys)?)
            }
            Request::RemoveKey(request) => {
                let RemoveKey {
                    user,
                    key,
                    keep_jobs,
                } = request;
                store.remove_key(user, key, *keep_jobs, self.admin_filter()?)
            }
            Request::RevokeInvite(request) => store.revoke_invite(&request.id),
            Request::RegisterPassword(request) => {
                return self
                    .register_password(request, by.map(|who| who.source))
                    .map(Answer::Registration);
            }
            Request::AddSecret(add) => self.add_secret(store, add, |detail| {
                self.record_change(by, request, add.user.to_string(), Some(detail))
            }),
            Request::RemoveSecret(remove) => {
                let record = |user: &UserName, detail| {
                    self.record_change(by, request, user.to_string(), Some(detail))
                };
                let removed = self.remove_secret(store, remove, record)?;
                return Ok(Answer::Secrets(vec![removed]));
            }
            Request::SetPassword(request) => self.set_password(store, request),
            Request::RemovePassword(request) => self.remove_password(store, request),
        };
        changed.map(|()| Answer::Changed)
    }

    /// Locks out other changes.
    pub(super) fn lock_changes(&self) -> MutexGuard<'_, ()> {
        // A panic leaves no more half done than a kill does.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a change that is about to be made.
    pub(super) fn record_change(
        &self,
        by: Option<&Admin>,
        request: &Request,
        subject: String,
        detail: Option<String>,
    ) -> Result<(), Error> {
        let priority = by.map_or(Priority::Exempt, |admin| {
            self.rights.role(&admin.user).log_priority()
        });
        let change = Activity::Admin {
            user: by.map(|admin| admin.user.clone()),
            session: by.map(|admin| admin.session.clone()),
            action: request.kind().to_owned(),
            subject,
            detail,
        };
        self.audit()?.record_blocking(change, priority)
    }

    /// Checks that the role of `who` allows a request.
    ///
    /// A user can give another account only rights that they have themselves.
    fn check_allowed(&self, who: &Admin, request: &Request, rules: &Rights) -> Result<(), Error> {
        let Some(rule) = Rule::of(request.kind()) else {
            let problem = format!("no role may {}", request.kind());
            return Err(Error::here(ErrorCode::Denied, problem));
        };
        let actor = Actor {
            role: rules.role(&who.user),
            may_grant: who.may_grant,
            is_by_password: matches!(who.credential, CredentialId::Password(_)),
        };
        let (user, rights) = self.find_account(who, request, rules)?;
        let whose = if user.as_ref() == Some(&who.user) {
            Whose::Own
        } else {
            Whose::Other(rights.role())
        };
        rule.check(actor, whose)?;
        if rule.grants() && whose != Whose::Own {
            rules.check_grant(&who.user, &rights, &who.root)?;
        }
        Ok(())
    }

    /// Finds the account that a request is about, and its rights.
    ///
    /// For a new account these are the rights that it would get.
    fn find_account(
        &self,
        who: &Admin,
        request: &Request,
        rules: &Rights,
    ) -> Result<(Option<UserName>, UserRights), Error> {
        let user = match request {
            Request::AddUser(add) => {
                return Ok((
                    None,
                    self.parse_given(&self.initial_rights(Some(who), add), &add.user)?,
                ));
            }
            Request::RevokeInvite(request) => {
                let invites = self.store.invites()?;
                let invite = invites.into_iter().find(|invite| invite.id == request.id);
                invite.and_then(|invite| invite.user?.parse().ok())
            }
            Request::RemoveSecret(request) => Some(self.find_secret(request.id)?.user),
            request => request.user().cloned(),
        };
        let rights = user.as_ref().and_then(|user| rules.of(user));
        Ok((user.clone(), rights.cloned().unwrap_or_default()))
    }

    /// Adds an account and its initial rights, both or neither.
    fn add_user(&self, store: &Store, by: Option<&Admin>, request: &AddUser) -> Result<(), Error> {
        let AddUser {
            user,
            keys,
            password,
            ..
        } = request;
        let password = password
            .as_ref()
            .map(|record| self.stored_password(record))
            .transpose()?;
        let initial = self.initial_rights(by, request);
        let has_rights = initial != GivenRights::default();
        if store.account(user).is_ok() {
            let problem =
                format!("the account {user} already exists; its rights are in rights.toml");
            return Err(Error::here(ErrorCode::Exists, problem));
        }
        if self.rights.reload()?.of(user).is_some() {
            let problem = format!(
                "rights.toml names {user} already; remove {user} there first, or make an invite for that name"
            );
            return Err(Error::here(ErrorCode::Exists, problem));
        }
        self.parse_given(&initial, user)?;
        store.add_account_with(user, &self.key_lines(keys)?, password.as_ref())?;
        if !has_rights {
            return Ok(());
        }
        self.rights.grant(user, &initial).inspect_err(|_| {
            // No account must remain without its rights.
            let _ = self.store.take_away(user, Removal::Remove, |_| false, true);
        })
    }

    /// Disables an account, removes its rights, and then removes the account.
    ///
    /// If this is interrupted, a later account of the same name does not inherit the rights.
    fn remove_user(&self, store: &Store, request: &RemoveUser) -> Result<(), Error> {
        let RemoveUser { user, force } = request;
        store.take_away(user, Removal::Disable, self.admin_filter()?, *force)?;
        self.rights.withdraw(user)?;
        self.store
            .take_away(user, Removal::Remove, |_| false, true)?;
        match &self.work_store {
            Some(work_store) => work_store.forget_user(user.as_str()),
            None => Ok(()),
        }
    }

    fn user_row(&self, account: AccountRecord) -> UserRow {
        let rights = self.rights.rules();
        UserRow {
            role: rights.role(&account.name),
            rights: self.rights.problem().is_none().then(|| {
                rights
                    .of(&account.name)
                    .map(UserRights::describe)
                    .unwrap_or_default()
            }),
            secrets: account.secrets,
            user: account.name,
            created: account.created,
            disabled: account.disabled,
            keys: account.keys,
            password: account.password,
        }
    }

    fn invite(
        &self,
        store: &Store,
        by: Option<&Admin>,
        request: &Request,
        make: &MakeInvite,
    ) -> Result<NewInvite, Error> {
        if !(1..=INVITE_SECONDS_MAX).contains(&make.seconds) {
            return Err(Error::here(
                ErrorCode::Denied,
                "an invite is valid for 1 second to 30 days",
            ));
        }
        let addresses = self.addresses()?;
        if addresses.is_empty() {
            let problem = "the addresses of this server are unknown, because it has not run yet";
            return Err(Error::here(ErrorCode::NotFound, problem));
        }
        let invite = Invite::new(addresses, self.fingerprint);
        let new = store::InviteDraft {
            user: make.user.clone(),
            made_by: by.map(|admin| admin.user.clone()),
            good_for: Duration::from_secs(make.seconds),
        };
        let purpose = store.put_invite(&invite.token, &new, |id, purpose| {
            let detail = invite_detail(id, purpose, new.good_for);
            self.record_change(by, request, request.subject(), Some(detail))
        })?;
        Ok(NewInvite {
            invite: invite.to_string(),
            purpose: purpose.as_str().to_owned(),
        })
    }
    /// The keys of these lines. Their options may name services and features of this server only.
    fn key_lines(&self, lines: &[String]) -> Result<Vec<KeyLine>, Error> {
        let refused = |error| {
            Error::here(
                ErrorCode::KeyRefused,
                format!("the key is refused: {error}"),
            )
        };
        let keys: Vec<KeyLine> = lines
            .iter()
            .map(|line| KeyLine::parse(line).map_err(refused))
            .collect::<Result<_, _>>()?;
        let known = self.rights.words().services();
        for key in &keys {
            if let Some(services) = key.options.limits().services {
                services.check_known(known)?;
            }
        }
        Ok(keys)
    }
}

fn key_row(key: KeyRecord) -> KeyRow {
    let refused = KeyOptions::parse(&key.options)
        .err()
        .map(|error| error.to_string());
    let parts = [key.options.as_str(), &key.line, &key.comment];
    let line = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    KeyRow {
        fingerprint: key.fingerprint,
        line,
        created: key.created,
        refused,
    }
}

fn invite_row(invite: store::InviteRecord) -> InviteRow {
    InviteRow {
        id: invite.id,
        purpose: invite.purpose.as_str().to_owned(),
        user: invite.user,
        made_by: invite.made_by,
        created: invite.created,
        expires: invite.expires,
    }
}
