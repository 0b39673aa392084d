//! Roles, and who may act on whose account.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::audit::Priority;

/// What a user may do to sessions and accounts. Each role includes those before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees and ends their own sessions.
    #[default]
    User,
    /// Sees all sessions, and ends those of users.
    Helper,
    /// Manages the accounts of users and helpers.
    Admin,
    /// Manages all accounts.
    Owner,
}

impl Role {
    /// The limits of the audit log that apply to a user with this role.
    pub(crate) fn log_priority(self) -> Priority {
        match self {
            Self::User | Self::Helper => Priority::Limited,
            Self::Admin => Priority::Admin,
            Self::Owner => Priority::Exempt,
        }
    }

    /// All roles, the lowest first.
    pub const ALL: [Self; 4] = [Self::User, Self::Helper, Self::Admin, Self::Owner];

    /// The role as `rights.toml` and the protocol write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Helper => "helper",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether this role may act on another account that has the role `target`.
    ///
    /// Owners act on every account; the others on lower roles only.
    pub(crate) fn outranks(self, target: Self) -> bool {
        self == Self::Owner || target < self
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is owner, admin, helper or user")]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(RoleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outranks_follows_the_order_of_roles() {
        let outranked = |role: Role| {
            let below = Role::ALL.into_iter().filter(|other| role.outranks(*other));
            below.collect::<Vec<_>>()
        };
        assert_eq!(outranked(Role::User), []);
        assert_eq!(outranked(Role::Helper), [Role::User]);
        assert_eq!(outranked(Role::Admin), [Role::User, Role::Helper]);
        assert_eq!(outranked(Role::Owner), Role::ALL);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::json!(role), role.as_str());
        }
        assert_eq!("Owner".parse::<Role>(), Err(RoleError));
    }
}
