//! What a request does, at the machine itself and over the line alike.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use landline_proto::{ErrorCode, login::UserName};

use super::{
    detail::of_invite,
    lists::{InviteRow, KeyRow, UserRow},
    messages::{AddUser, Answer, INVITE_SECONDS_MAX, MakeInvite, NewInvite, RemoveUser, Request},
    rules::{Actor, Rule, Whose},
};
use crate::{
    Error,
    activity::Activity,
    admission::PeerNetwork,
    audit::{Audit, Priority},
    crypto::Fingerprint,
    keys::{CredentialId, KeyLine, KeyOptions},
    login::Invite,
    net::HostPort,
    password::Passwords,
    paths::{PrivateFolder, Root},
    rights::{FirstRights, Rights, RightsFile, Role, UserRights},
    store::{self, AccountRecord, KeyRecord, Removal, Store, WorkStore},
};

/// Where in the server's folder it stands where the server can be reached, an address a line.
const ADDRESSES_FILE: &str = "addresses";
/// Far beyond any list of addresses.
const ADDRESSES_BYTES_MAX: u64 = 64 * 1024;

/// Lists where clients can reach a server now: at least one address.
pub(crate) type Reachable = Box<dyn Fn() -> Vec<HostPort> + Send + Sync>;

/// The accounts, keys, secrets and invites of a server.
pub struct Administration {
    folder: Arc<PrivateFolder>,
    pub(super) store: Arc<Store>,
    /// Known to a server. It forgets removed users when it starts, too.
    work_store: Option<WorkStore>,
    rights: Arc<RightsFile>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) fingerprint: Fingerprint,
    /// Where changes are recorded; `None` where there are to be none.
    audit: Option<Audit>,
    /// Lists where clients can reach the server, once it listens.
    reachable: OnceLock<Reachable>,
    /// Held for one change at a time, so that none finds what another has half done.
    changing: Mutex<()>,
}

/// An admin who asks for something over the line.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Who.
    pub user: UserName,
    /// What was proved at the login.
    pub credential: CredentialId,
    /// Whether that may give anybody access which outlives it.
    pub may_grant: bool,
    /// The session's id.
    pub session: String,
    /// From where.
    pub source: PeerNetwork,
    /// The folders that the server serves.
    pub root: Arc<Root>,
}

impl Administration {
    /// Those in `store`, of the server with this fingerprint that keeps its state in `folder`.
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

    /// The same for a running server, which has this store of work.
    pub(crate) fn with_work_store(self, work_store: WorkStore) -> Self {
        Self {
            work_store: Some(work_store),
            ..self
        }
    }

    /// Who the server is.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Has invites and secrets name the addresses that `reachable` lists when they are made. It is
    /// set once.
    pub(crate) fn set_reachable(&self, reachable: Reachable) {
        let _ = self.reachable.set(reachable);
    }

    /// Where clients can reach the server, as far as that is known. The addresses are saved for
    /// commands that find no server. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
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

    /// Where changes are recorded.
    ///
    /// # Errors
    /// `audit` where this was opened to look only.
    pub(super) fn audit(&self) -> Result<&Audit, Error> {
        self.audit
            .as_ref()
            .ok_or_else(|| Error::here(ErrorCode::Audit, "the audit log is not open"))
    }

    /// Why the rights file, as it is now, is not in force.
    pub(crate) fn rights_problem(&self) -> Option<String> {
        self.rights.problem()
    }

    /// Which accounts can undo everything, so that the last one of them stays: owners who can log
    /// in, or admins if there is no such owner.
    pub(super) fn is_kept(&self) -> Result<impl Fn(&AccountRecord) -> bool + use<>, Error> {
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

    /// Does a request on behalf of `by`, or of somebody at the machine itself. A change is in the
    /// audit log before it is made. Blocking.
    ///
    /// # Errors
    /// `not-found`, `exists`, `denied`, `last-owner`, `credential-limited`, `key-refused`,
    /// `name-refused`, `rights-full`, `audit`, [`Error::State`]; nothing has changed then.
    pub fn perform(&self, by: Option<&Admin>, request: &Request) -> Result<Answer, Error> {
        // Nobody holds others up with what is denied.
        if let Some(who) = by {
            self.admit(who, request)?;
        }
        let _alone = request.changes_something().then(|| self.alone());
        // Another change may have made the account of a higher role meanwhile.
        if let Some(who) = by.filter(|_| request.changes_something()) {
            self.admit(who, request)?;
        }
        let acting =
            by.map(|admin| Arc::new(self.store.on_behalf_of(&admin.user, &admin.credential)));
        let store = acting.as_ref().unwrap_or(&self.store);
        if let Request::RemovePassword(request) = request {
            Self::check_password_is_there(store, request)?;
        }
        // An invite has to have a name first. The answer to `register-password` is as good as a try
        // at the password.
        let is_recorded = match request {
            Request::MakeInvite(_) => false,
            Request::RegisterPassword(_) => true,
            _ => request.changes_something(),
        };
        if is_recorded {
            self.record_change(by, request, request.detail())?;
        }
        self.apply(store, by, request)
    }

    /// Does a request that was let pass, and is recorded unless it makes an invite.
    fn apply(&self, store: &Store, by: Option<&Admin>, request: &Request) -> Result<Answer, Error> {
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
            Request::ListInvites(_) => {
                let invites = store.invites()?.into_iter();
                return Ok(Answer::Invites(invites.map(invite_row).collect()));
            }
            Request::MakeInvite(make) => {
                return self.invite(store, by, request, make).map(Answer::Invite);
            }
            Request::AddUser(request) => self.add_user(store, by, request),
            Request::DisableUser(request) => store.take_away(
                &request.user,
                Removal::Disable,
                self.is_kept()?,
                request.force,
            ),
            Request::EnableUser(request) => store.enable(&request.user),
            Request::RemoveUser(request) => self.remove_user(store, request),
            Request::AddKeys(request) => store.add_keys(&request.user, &key_lines(&request.keys)?),
            Request::RemoveKey(request) => {
                store.remove_key(&request.user, &request.key, self.is_kept()?)
            }
            Request::RevokeInvite(request) => store.revoke_invite(&request.id),
            Request::RegisterPassword(request) => {
                return self
                    .register_password(request, by.map(|who| who.source))
                    .map(Answer::Registration);
            }
            Request::SetPassword(request) => self.set_password(store, request),
            Request::RemovePassword(request) => self.remove_password(store, request),
        };
        changed.map(|()| Answer::Changed)
    }

    /// Keeps others from changing anything.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        // What a panic has left half done is no worse than what a kill has.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is about to be changed.
    fn record_change(
        &self,
        by: Option<&Admin>,
        request: &Request,
        detail: Option<String>,
    ) -> Result<(), Error> {
        let priority = by.map_or(Priority::Exempt, |admin| {
            self.rights.role(&admin.user).log_priority()
        });
        let change = Activity::Admin {
            user: by.map(|admin| admin.user.clone()),
            session: by.map(|admin| admin.session.clone()),
            action: request.kind().to_owned(),
            subject: request.subject(),
            detail,
        };
        self.audit()?.record_blocking(change, priority)
    }

    /// Checks that `who` may make a request, by the table of roles and requests. What it gives to
    /// another account they have to have themselves.
    fn admit(&self, who: &Admin, request: &Request) -> Result<(), Error> {
        let rules = self.rights.rules();
        let Some(rule) = Rule::of(request.kind()) else {
            let problem = format!("nobody may {}", request.kind());
            return Err(Error::here(ErrorCode::Denied, problem));
        };
        let actor = Actor {
            role: rules.role(&who.user),
            may_grant: who.may_grant,
            is_by_password: matches!(who.credential, CredentialId::Password(_)),
        };
        let (user, rights) = self.account_of(who, request, &rules)?;
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

    /// The account that a request is about, if there is one, and what it may do or would.
    fn account_of(
        &self,
        who: &Admin,
        request: &Request,
        rules: &Rights,
    ) -> Result<(Option<UserName>, UserRights), Error> {
        let user = match request {
            Request::AddUser(add) => {
                return Ok((
                    None,
                    parse_first(&self.first_rights(Some(who), add), &add.user)?,
                ));
            }
            Request::RevokeInvite(request) => {
                let invites = self.store.invites()?;
                let invite = invites.into_iter().find(|invite| invite.id == request.id);
                invite.and_then(|invite| invite.user?.parse().ok())
            }
            request => request.user().cloned(),
        };
        let rights = user.as_ref().and_then(|user| rules.of(user));
        Ok((user.clone(), rights.cloned().unwrap_or_default()))
    }

    /// What a new user may do at first. An admin with a quota gives the same quota.
    fn first_rights(&self, by: Option<&Admin>, add: &AddUser) -> FirstRights {
        let rules = self.rights.rules();
        let maker = by.filter(|who| rules.role(&who.user) < Role::Owner);
        FirstRights {
            role: add.role,
            home: add.home.clone(),
            files: add.files.clone(),
            quota: maker.map(|who| rules.quota(&who.user)).unwrap_or_default(),
        }
    }

    /// Makes an account and gives it its first rights, both or neither.
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
        let first = self.first_rights(by, request);
        let has_rights = first != FirstRights::default();
        if store.account(user).is_ok() {
            let problem =
                format!("there is an account {user} already; what it may do stands in rights.toml");
            return Err(Error::here(ErrorCode::Exists, problem));
        }
        if self.rights.reload()?.of(user).is_some() {
            let problem = format!(
                "{user} stands in the rights already; take it out there first, or make an invite in that name"
            );
            return Err(Error::here(ErrorCode::Exists, problem));
        }
        parse_first(&first, user)?;
        store.add_account_with(user, &key_lines(keys)?, password.as_ref())?;
        if !has_rights {
            return Ok(());
        }
        self.rights.grant(user, &first).inspect_err(|_| {
            // An account that is not what it was to be is none.
            let _ = self.store.take_away(user, Removal::Remove, |_| false, true);
        })
    }

    /// Disables the account, takes its rights, and removes it: whatever breaks this off, nobody of
    /// the same name inherits rights.
    fn remove_user(&self, store: &Store, request: &RemoveUser) -> Result<(), Error> {
        let RemoveUser { user, force } = request;
        store.take_away(user, Removal::Disable, self.is_kept()?, *force)?;
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
                "an invite is good for 1 second to 30 days",
            ));
        }
        let addresses = self.addresses()?;
        if addresses.is_empty() {
            let problem = "it is not known where this server can be reached, as it has not run yet";
            return Err(Error::here(ErrorCode::NotFound, problem));
        }
        let invite = Invite::new(addresses, self.fingerprint);
        let new = store::InviteDraft {
            user: make.user.clone(),
            made_by: by.map(|admin| admin.user.clone()),
            good_for: Duration::from_secs(make.seconds),
        };
        let purpose = store.put_invite(&invite.token, &new, |id, purpose| {
            self.record_change(by, request, Some(of_invite(id, purpose, new.good_for)))
        })?;
        Ok(NewInvite {
            invite: invite.to_string(),
            purpose: purpose.as_str().to_owned(),
        })
    }
}

fn parse_first(first: &FirstRights, user: &UserName) -> Result<UserRights, Error> {
    first.parse(user).map_err(|error| {
        let problem = format!("the rights to files are refused: {error}");
        Error::here(ErrorCode::NameRefused, problem)
    })
}

fn key_lines(lines: &[String]) -> Result<Vec<KeyLine>, Error> {
    let refused = |error| {
        Error::here(
            ErrorCode::KeyRefused,
            format!("the key is refused: {error}"),
        )
    };
    lines
        .iter()
        .map(|line| KeyLine::parse(line).map_err(refused))
        .collect()
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
