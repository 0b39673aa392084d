//! The table of roles and requests: which role may make which request about which account.

use landline_proto::{ErrorCode, login::UserName};

use crate::{
    Error,
    paths::Root,
    rights::{Right, Rights, Role, UserRights},
};

/// The effect of a request on the account that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing.
    Reads,
    /// Removes something.
    Takes,
    /// Gives access, which may outlive the session.
    Grants,
    /// Gives rights. What is new in them is compared with the rights of the sender.
    Extends,
}

/// The users who may make a request about their own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Every user.
    Anyone,
    /// Users who have logged in by password, and admins.
    ByPassword,
    /// Users with a credential that may give access, and admins.
    ByFullCredential,
    /// Admins.
    Admins,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) request: &'static str,
    own: Own,
    /// The lowest role that may make it about another account, if it outranks that one.
    other: Role,
    effect: Effect,
}

macro_rules! rules {
    ($($request:literal: $own:ident, $other:ident, $effect:ident;)*) => {
        pub(crate) static RULES: &[Rule] = &[
            $(Rule {
                request: $request,
                own: Own::$own,
                other: Role::$other,
                effect: Effect::$effect,
            },)*
        ];

        /// The right that each request needs for any account.
        pub(crate) static RIGHTS: &[(&str, Right)] = &[
            $(($request, Own::$own.right()),)*
        ];
    };
}

rules! {
    // request            own         other   what it does
    "who":               Anyone,     Helper, Reads;
    "kick":              Anyone,     Helper, Takes;
    "list-users":        Admins,     Admin,  Reads;
    "add-user":          Admins,     Admin,  Grants;
    "disable-user":      Admins,     Admin,  Takes;
    "enable-user":       Admins,     Admin,  Grants;
    "remove-user":       Admins,     Admin,  Takes;
    "list-keys":         ByFullCredential, Admin, Reads;
    "add-keys":          ByFullCredential, Admin, Grants;
    "remove-key":        ByFullCredential, Admin, Takes;
    "make-invite":       Admins,     Admin,  Grants;
    "list-invites":      Admins,     Admin,  Reads;
    "revoke-invite":     Admins,     Admin,  Takes;
    "register-password": ByPassword, Admin,  Grants;
    "set-password":      ByPassword, Admin,  Grants;
    "remove-password":   ByPassword, Admin,  Takes;
    "list-secrets":      Admins,     Admin,  Reads;
    "add-secret":        Admins,     Admin,  Grants;
    "remove-secret":     Admins,     Admin,  Takes;
    "show-server":       Admins,     Admin,  Reads;
    "grant-rights":      Admins,     Admin,  Extends;
    "revoke-rights":     Admins,     Admin,  Takes;
    "check-right":       Anyone,     Admin,  Reads;
    "show-audit":        Admins,     Admin,  Reads;
    "verify-audit":      Admins,     Admin,  Reads;
}

/// The sender of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor {
    pub(crate) role: Role,
    /// Whether the session's credential may give access that outlives it.
    pub(crate) may_grant: bool,
    /// Whether the login was by password.
    pub(crate) is_by_password: bool,
}

/// The account that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The sender's account.
    Own,
    /// Another account, which has or would get this role.
    Other(Role),
}

impl Own {
    const fn right(self) -> Right {
        match self {
            Self::Anyone | Self::ByPassword | Self::ByFullCredential => Right::Account,
            Self::Admins => Right::Role(Role::Admin),
        }
    }
}

impl Rule {
    /// The rule for a request, by its type.
    pub(crate) fn of(request: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.request == request)
    }

    /// Whether the request gives access to the account with all its rights.
    pub(crate) fn grants(&self) -> bool {
        self.effect == Effect::Grants
    }

    /// Checks a request.
    ///
    /// # Errors
    /// `denied`; `credential-limited` if only the session's credential prevents it.
    pub(crate) fn check(&self, actor: Actor, whose: Whose) -> Result<(), Error> {
        let Self { request, .. } = self;
        let denied = |problem| Err(Error::here(ErrorCode::Denied, problem));
        let is_allowed = match (whose, self.own) {
            (Whose::Own, Own::Anyone) => true,
            (Whose::Own, Own::ByPassword) => actor.is_by_password || actor.role >= Role::Admin,
            (Whose::Own, Own::ByFullCredential) => actor.may_grant || actor.role >= Role::Admin,
            (Whose::Own, Own::Admins) => actor.role >= Role::Admin,
            (Whose::Other(_), _) => actor.role >= self.other,
        };
        if !is_allowed && whose == Whose::Own && self.own == Own::ByPassword {
            return denied(format!(
                "{request} for one's own password needs a login by that password; an admin can set another one"
            ));
        }
        if !is_allowed && whose == Whose::Own && self.own == Own::ByFullCredential {
            return Err(limited(request));
        }
        if !is_allowed {
            return denied(format!("{request} needs the role {}", self.other));
        }
        if let Whose::Other(role) = whose
            && self.effect != Effect::Reads
            && !actor.role.outranks(role)
        {
            return denied(format!(
                "{request} for an account with the role {role} needs a higher role than {}",
                actor.role
            ));
        }
        if matches!(self.effect, Effect::Grants | Effect::Extends) && !actor.may_grant {
            return Err(limited(request));
        }
        Ok(())
    }
}

/// The credential of the session may not make this request.
pub(super) fn limited(request: &str) -> Error {
    let problem = format!(
        "{request} is about access that outlives this session; log in with a key that has none of the options expiry-time, command, restrict, landline-services and no-*, or by password"
    );
    Error::here(ErrorCode::CredentialLimited, problem)
}

/// Checks that `maker` may still make an invite for `user`.
///
/// # Errors
/// `denied`.
///
/// # Blocking
/// Reads the disk.
pub(crate) fn check_invite(
    rules: &Rights,
    maker: &UserName,
    user: &UserName,
    root: &Root,
) -> Result<(), Error> {
    let nothing = UserRights::default();
    let rights = rules.of(user).unwrap_or(&nothing);
    // The session that made it was allowed to.
    let actor = Actor {
        role: rules.role(maker),
        may_grant: true,
        is_by_password: false,
    };
    let whose = if maker == user {
        Whose::Own
    } else {
        Whose::Other(rights.role())
    };
    if let Some(rule) = Rule::of("make-invite") {
        rule.check(actor, whose)?;
    }
    match whose {
        Whose::Own => Ok(()),
        Whose::Other(_) => rules.check_grant(maker, rights, root),
    }
}

#[cfg(test)]
mod tests {
    use Role::{Admin, Helper, Owner, User};

    use super::*;

    /// Who may act on whom, by hand: for each role of the actor, whether it may do so to its own
    /// account, and to accounts with each role.
    type Row = [(Role, bool, [bool; 4]); 4];

    const READ: Row = [
        (User, false, [false; 4]),
        (Helper, false, [false; 4]),
        (Admin, true, [true; 4]),
        (Owner, true, [true; 4]),
    ];
    const CHANGE: Row = [
        (User, false, [false; 4]),
        (Helper, false, [false; 4]),
        (Admin, true, [true, true, false, false]),
        (Owner, true, [true; 4]),
    ];
    const OWN_READ: Row = [
        (User, true, [false; 4]),
        (Helper, true, [false; 4]),
        (Admin, true, [true; 4]),
        (Owner, true, [true; 4]),
    ];
    const OWN_CHANGE: Row = [
        (User, true, [false; 4]),
        (Helper, true, [false; 4]),
        (Admin, true, [true, true, false, false]),
        (Owner, true, [true; 4]),
    ];
    const SEE_SESSIONS: Row = [
        (User, true, [false; 4]),
        (Helper, true, [true; 4]),
        (Admin, true, [true; 4]),
        (Owner, true, [true; 4]),
    ];
    const END_SESSIONS: Row = [
        (User, true, [false; 4]),
        (Helper, true, [true, false, false, false]),
        (Admin, true, [true, true, false, false]),
        (Owner, true, [true; 4]),
    ];

    const EXPECTED: [(&str, Row); 25] = [
        ("who", SEE_SESSIONS),
        ("kick", END_SESSIONS),
        ("list-users", READ),
        ("list-keys", OWN_READ),
        ("list-invites", READ),
        ("add-user", CHANGE),
        ("disable-user", CHANGE),
        ("enable-user", CHANGE),
        ("remove-user", CHANGE),
        ("add-keys", OWN_CHANGE),
        ("remove-key", OWN_CHANGE),
        ("make-invite", CHANGE),
        ("revoke-invite", CHANGE),
        ("register-password", CHANGE),
        ("set-password", CHANGE),
        ("remove-password", CHANGE),
        ("list-secrets", READ),
        ("add-secret", CHANGE),
        ("remove-secret", CHANGE),
        ("show-server", READ),
        ("grant-rights", CHANGE),
        ("revoke-rights", CHANGE),
        ("check-right", OWN_READ),
        ("show-audit", READ),
        ("verify-audit", READ),
    ];

    const GRANTS: [&str; 8] = [
        "grant-rights",
        "add-user",
        "add-secret",
        "enable-user",
        "add-keys",
        "make-invite",
        "register-password",
        "set-password",
    ];

    fn code(result: Result<(), Error>) -> Option<ErrorCode> {
        match result {
            Ok(()) => None,
            Err(Error::Failed { code, .. }) => Some(code),
            Err(other) => panic!("{other}"),
        }
    }

    fn actor(role: Role) -> Actor {
        Actor {
            role,
            may_grant: true,
            is_by_password: false,
        }
    }

    /// Every role × own and every other role × every request.
    /// Proves `role-escalation` in docs/faults.md.
    #[test]
    fn every_cell_of_the_table_matches() {
        assert_eq!(RULES.len(), EXPECTED.len());
        for (request, rows) in EXPECTED {
            let rule = Rule::of(request).expect(request);
            let grants = matches!(rule.effect, Effect::Grants | Effect::Extends);
            assert_eq!(grants, GRANTS.contains(&request), "{request}");
            for (role, own, others) in rows {
                let cells = Role::ALL.into_iter().map(Whose::Other).zip(others);
                for (whose, is_allowed) in cells.chain([(Whose::Own, own)]) {
                    let cell = format!("{request} by {role} to {whose:?}");
                    let decided = code(rule.check(actor(role), whose));
                    let expected = (!is_allowed).then_some(ErrorCode::Denied);
                    assert_eq!(decided, expected, "{cell}");
                    // A limited credential allows the same, without what grants.
                    let limited = Actor {
                        may_grant: false,
                        ..actor(role)
                    };
                    let decided = code(rule.check(limited, whose));
                    let is_by_full =
                        rule.own == Own::ByFullCredential && whose == Whose::Own && role < Admin;
                    if (grants || is_by_full) && is_allowed {
                        assert_eq!(decided, Some(ErrorCode::CredentialLimited), "{cell}");
                    } else {
                        assert_eq!(decided, expected, "{cell}");
                    }
                }
            }
        }
    }

    #[test]
    fn own_password_needs_a_login_by_it() {
        for request in ["register-password", "set-password", "remove-password"] {
            let rule = Rule::of(request).unwrap();
            for role in Role::ALL {
                let by_password = Actor {
                    is_by_password: true,
                    ..actor(role)
                };
                assert_eq!(code(rule.check(by_password, Whose::Own)), None);
                let other = code(rule.check(by_password, Whose::Other(User)));
                assert_eq!(other.is_none(), role >= Admin, "{request} by {role}");
            }
        }
    }
}
