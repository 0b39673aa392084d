//! Changes of the rights of users.

use landline_proto::{ErrorCode, login::UserName};

use super::{
    Admin, Administration, Request,
    messages::{AddUser, GrantRights, RevokeRights},
    rules,
};
use crate::{
    Error,
    rights::{GivenRights, RevokedRights, Rights, Role, UserRights},
    store::AccountRecord,
};

impl Administration {
    /// Makes the initial rights of a new user.
    ///
    /// An admin with a quota gives the same quota, unless the request names one.
    pub(super) fn initial_rights(&self, by: Option<&Admin>, add: &AddUser) -> GivenRights {
        let rules = self.rights.rules();
        let maker = by.filter(|who| rules.role(&who.user) < Role::Owner);
        GivenRights {
            commands: false,
            role: (add.role > Role::User).then_some(add.role),
            home: add.home.clone(),
            files: add.files.clone(),
            quota: match add.quota.is_empty() {
                true => maker.map(|who| rules.quota(&who.user)).unwrap_or_default(),
                false => add.quota,
            },
            words: add.words.clone(),
        }
    }

    pub(super) fn grant_rights(
        &self,
        by: Option<&Admin>,
        request: &Request,
        grant: &GrantRights,
    ) -> Result<(), Error> {
        let GrantRights {
            user,
            role,
            home,
            files,
            quota,
            words,
        } = grant;
        self.store.account(user)?;
        let given = GivenRights {
            commands: false,
            role: *role,
            home: home.clone(),
            files: files.clone(),
            quota: *quota,
            words: words.clone(),
        };
        self.parse_given(&given, user)?;
        self.rights.give(user, &given, |before, after| {
            self.check_change(by, request, user, before, after)
        })
    }

    pub(super) fn revoke_rights(
        &self,
        by: Option<&Admin>,
        request: &Request,
        revoke: &RevokeRights,
    ) -> Result<(), Error> {
        let RevokeRights {
            user,
            role,
            home,
            files,
            quota,
            words,
        } = revoke;
        self.store.account(user)?;
        let revoked = RevokedRights {
            role: *role,
            home: *home,
            files: files.clone(),
            quota: quota.clone(),
            words: words.clone(),
        };
        self.rights.revoke(user, &revoked, |before, after| {
            self.check_change(by, request, user, before, after)
        })
    }

    /// Checks a change of the rights of `user`, and records it.
    ///
    /// Taking a limit, or a rule for a folder within another one, can extend rights.
    fn check_change(
        &self,
        by: Option<&Admin>,
        request: &Request,
        user: &UserName,
        before: &Rights,
        after: &Rights,
    ) -> Result<(), Error> {
        if let Some(who) = by {
            let nothing = UserRights::default();
            let of = |rights: &Rights| rights.of(user).unwrap_or(&nothing).clone();
            let (old, new) = (of(before), of(after));
            if !who.may_grant && new.exceeds(&old, &who.root) {
                return Err(rules::limited(request.kind()));
            }
            before.check_change(&who.user, &old, &new, &who.root)?;
        }
        self.check_owner_remains(before, after)?;
        self.record_change(by, request, request.subject(), request.audit_detail())
    }

    /// Checks that an owner who can log in remains, or an admin if no owner can log in.
    fn check_owner_remains(&self, before: &Rights, after: &Rights) -> Result<(), Error> {
        let accounts = self.store.accounts()?;
        let has = |rules: &Rights, role: Role| {
            let holds =
                |account: &AccountRecord| account.can_log_in() && rules.role(&account.name) >= role;
            accounts.iter().any(holds)
        };
        let least = if has(before, Role::Owner) {
            Role::Owner
        } else {
            Role::Admin
        };
        if has(before, least) && !has(after, least) {
            let problem = format!("no {least} who can log in would remain; make another one first");
            return Err(Error::here(ErrorCode::LastOwner, problem));
        }
        Ok(())
    }

    /// Parses rights to give to `user`.
    ///
    /// # Errors
    /// `name-refused` if they are malformed.
    pub(super) fn parse_given(
        &self,
        given: &GivenRights,
        user: &UserName,
    ) -> Result<UserRights, Error> {
        given.parse(user, self.rights.words()).map_err(|error| {
            // The line is one of a text that the user has not seen.
            let problem = format!("the rights are not valid: {}", error.problem);
            Error::here(ErrorCode::NameRefused, problem)
        })
    }
}
