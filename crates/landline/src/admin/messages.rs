//! The messages of the service `admin`.

use landline_proto::{
    Header, Message, MessageRule, ProtocolState,
    header::integer,
    login::UserName,
    messages::{Blob, ErrorMessage},
};
use serde::{Deserialize, Serialize};

use super::{
    lists::{InviteRow, KeyRow, UserRow},
    passwords::{RegisterPassword, Registration, RemovePassword, SetPassword},
};
use crate::{Error, net::Channel, rights::Role};

/// The service's name.
pub(crate) const SERVICE: &str = "admin";

/// How long an invite may be good for at most, in seconds.
pub const INVITE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: between two requests.
pub(crate) static REQUESTS: ProtocolState = ProtocolState::new(
    "admin-requests",
    &[
        MessageRule::new("who"),
        MessageRule::new("kick"),
        MessageRule::new("list-users"),
        MessageRule::new("add-user"),
        MessageRule::new("disable-user"),
        MessageRule::new("enable-user"),
        MessageRule::new("remove-user"),
        MessageRule::new("list-keys"),
        MessageRule::new("add-keys"),
        MessageRule::new("remove-key"),
        MessageRule::new("make-invite"),
        MessageRule::new("list-invites"),
        MessageRule::new("revoke-invite"),
        MessageRule::new("register-password"),
        MessageRule::new("set-password"),
        MessageRule::new("remove-password"),
    ],
);
/// Client: `who` or `kick` was sent.
pub(crate) static SESSIONS: ProtocolState =
    ProtocolState::new("admin-sessions", &[MessageRule::new("sessions"), ERROR]);
/// Client: a change was asked for.
pub(crate) static CHANGED: ProtocolState =
    ProtocolState::new("admin-changed", &[MessageRule::new("changed"), ERROR]);
static USERS: ProtocolState =
    ProtocolState::new("admin-users", &[MessageRule::new("users"), ERROR]);
static KEYS: ProtocolState = ProtocolState::new("admin-keys", &[MessageRule::new("keys"), ERROR]);
static INVITE: ProtocolState =
    ProtocolState::new("admin-invite", &[MessageRule::new("invite"), ERROR]);
static INVITES: ProtocolState =
    ProtocolState::new("admin-invites", &[MessageRule::new("invites"), ERROR]);
static REGISTRATION: ProtocolState = ProtocolState::new(
    "admin-registration",
    &[MessageRule::new("registration"), ERROR],
);

macro_rules! requests {
    ($($(#[$doc:meta])* $type:ident = $name:literal -> $answer:ident,)*) => {
        /// A request about accounts, keys or invites.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request {
            $($(#[$doc])* $type($type),)*
        }

        $(message!($type = $name);)*

        $(impl From<$type> for Request {
            fn from(request: $type) -> Self {
                Self::$type(request)
            }
        })*

        impl Request {
            /// The request in a header, which the state has let pass.
            ///
            /// # Errors
            /// [`Error::Protocol`] for a header that is not of the shape its type needs.
            pub(crate) fn read(header: &Header) -> Result<Option<Self>, Error> {
                Ok(match header.kind() {
                    $($name => Some(Self::$type(header.read()?)),)*
                    _ => None,
                })
            }

            /// What it is called on the wire and in the log.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$type(_) => $name,)*
                }
            }

            /// Gathers it for sending.
            pub(crate) fn send(&self, channel: &mut Channel) -> Result<(), Error> {
                match self {
                    $(Self::$type(request) => channel.send(request),)*
                }
            }

            /// What its answer is waited for in.
            pub(crate) fn answer_state(&self) -> &'static ProtocolState {
                match self {
                    $(Self::$type(_) => &$answer,)*
                }
            }
        }
    };
}

requests! {
    /// Which accounts there are.
    ListUsers = "list-users" -> USERS,
    /// A new account.
    AddUser = "add-user" -> CHANGED,
    /// An account may not log in any more.
    DisableUser = "disable-user" -> CHANGED,
    /// It may again.
    EnableUser = "enable-user" -> CHANGED,
    /// An account and all that it has is forgotten.
    RemoveUser = "remove-user" -> CHANGED,
    /// Which keys an account has.
    ListKeys = "list-keys" -> KEYS,
    /// Further keys for an account.
    AddKeys = "add-keys" -> CHANGED,
    /// A key may not be used any more.
    RemoveKey = "remove-key" -> CHANGED,
    /// An invite.
    MakeInvite = "make-invite" -> INVITE,
    /// Which invites can still be redeemed.
    ListInvites = "list-invites" -> INVITES,
    /// An invite is void.
    RevokeInvite = "revoke-invite" -> CHANGED,
    /// The server's half of setting a password.
    RegisterPassword = "register-password" -> REGISTRATION,
    /// Another password for an account.
    SetPassword = "set-password" -> CHANGED,
    /// No password for an account.
    RemovePassword = "remove-password" -> CHANGED,
}

impl Request {
    /// Whether it is for more than to be told something.
    pub(crate) fn changes_something(&self) -> bool {
        !matches!(
            self,
            Self::ListUsers(_)
                | Self::ListKeys(_)
                | Self::ListInvites(_)
                | Self::RegisterPassword(_)
        )
    }

    /// Whether it only asks for a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ListUsers(_) | Self::ListKeys(_) | Self::ListInvites(_)
        )
    }

    /// The account that it is about, by its name.
    pub(crate) fn user(&self) -> Option<&UserName> {
        match self {
            Self::AddUser(AddUser { user, .. })
            | Self::DisableUser(DisableUser { user, .. })
            | Self::EnableUser(EnableUser { user })
            | Self::RemoveUser(RemoveUser { user, .. })
            | Self::ListKeys(ListKeys { user })
            | Self::AddKeys(AddKeys { user, .. })
            | Self::RemoveKey(RemoveKey { user, .. }) => Some(user),
            Self::ListUsers(ListUsers { user })
            | Self::MakeInvite(MakeInvite { user, .. })
            | Self::RegisterPassword(RegisterPassword { user, .. })
            | Self::SetPassword(SetPassword { user, .. })
            | Self::RemovePassword(RemovePassword { user }) => user.as_ref(),
            Self::ListInvites(_) | Self::RevokeInvite(_) => None,
        }
    }

    /// What it is about, for the log: a user, an invite; nothing for a list of everything.
    pub(crate) fn subject(&self) -> String {
        match (self, self.user()) {
            (Self::RemoveKey(RemoveKey { user, key }), _) => format!("{user} {key}"),
            (Self::RevokeInvite(RevokeInvite { id }), _) => id.clone(),
            (_, user) => user.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// Client: which accounts are there?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListUsers {
    /// Only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// Client: make an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddUser {
    /// Its name.
    pub user: UserName,
    /// Its keys, as lines of authorized_keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Its password: the RegistrationRecord of OPAQUE (RFC 9807).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Blob>,
    /// Its role.
    #[serde(default)]
    pub role: Role,
    /// What `~` means for it, as it stands in the rights: `/srv/bob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Its first rights to files, as they stand in the rights: `rw:~`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Client: let an account log in no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisableUser {
    /// Whose.
    pub user: UserName,
    /// Also if nobody is left who could undo it over the line.
    #[serde(default)]
    pub force: bool,
}

/// Client: let a disabled account log in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnableUser {
    /// Whose.
    pub user: UserName,
}

/// Client: forget an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveUser {
    /// Whose.
    pub user: UserName,
    /// Also if nobody is left who could undo it over the line.
    #[serde(default)]
    pub force: bool,
}

/// Client: which keys has it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListKeys {
    /// Whose.
    pub user: UserName,
}

/// Client: let an account log in with these keys, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddKeys {
    /// Whose.
    pub user: UserName,
    /// The keys, as lines of authorized_keys.
    pub keys: Vec<String>,
}

/// Client: let an account log in with a key no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveKey {
    /// Whose.
    pub user: UserName,
    /// The key's fingerprint, as `ssh-keygen -l` prints it.
    pub key: String,
}

/// Client: make an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeInvite {
    /// For whom: a further key for an account that exists, else a new account of this name; `None`
    /// for a new account of any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// How long it is good for, in seconds; at most 30 days.
    #[serde(deserialize_with = "integer")]
    pub seconds: u64,
}

/// Client: which invites are open?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInvites {}

/// Client: make an invite void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeInvite {
    /// Which, as a list of them calls it.
    pub id: String,
}

/// Client: who is logged in?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {}
message!(Who = "who");

/// Client: end sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kick {
    /// A user, all of whose sessions are meant, or a session's id.
    pub target: String,
}
message!(Kick = "kick");

/// What a request about accounts is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done, and durable.
    Changed,
    /// Accounts.
    Users(Vec<UserRow>),
    /// Keys of an account.
    Keys(Vec<KeyRow>),
    /// Open invites.
    Invites(Vec<InviteRow>),
    /// A new invite.
    Invite(NewInvite),
    /// The server's half of a password.
    Registration(Registration),
}

/// Server: it is done, and durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {}
message!(Changed = "changed");

/// Server: the invite; it is told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvite {
    /// The invite.
    pub invite: String,
    /// `account` or `key`.
    pub purpose: String,
}
message!(NewInvite = "invite");

impl std::fmt::Debug for NewInvite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewInvite")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}
