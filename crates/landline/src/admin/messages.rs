//! The messages of the service `admin`.

use landline_proto::{
    Header, Message, MessageRule, MessageType, Name, ProtocolState,
    login::UserName,
    messages::{Blob, ErrorMessage},
};
use serde::{Deserialize, Serialize};

use super::{
    audit_log::{AuditLines, AuditReport, ShowAudit, VerifyAudit},
    control::ServerStatus,
    paging::{InviteRow, Invites, KeyRow, Keys, LiveSessions, SecretRow, Secrets, UserRow, Users},
    passwords::{RegisterPassword, Registration, RemovePassword, SetPassword},
    secrets::{AddSecret, ListSecrets, RemoveSecret},
};
use crate::{
    Error,
    net::Channel,
    rights::{GivenWord, Quota, Role, Verdict},
};

/// The service's name.
pub(crate) const SERVICE: &str = "admin";

/// The longest lifetime of an invite in seconds.
pub const INVITE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

pub(super) const TYPES: &[MessageType] = &[
    MessageType::of::<Who>(),
    MessageType::of::<Kick>(),
    MessageType::of::<LiveSessions>(),
    MessageType::of::<ListUsers>(),
    MessageType::of::<Users>(),
    MessageType::of::<AddUser>(),
    MessageType::of::<DisableUser>(),
    MessageType::of::<EnableUser>(),
    MessageType::of::<RemoveUser>(),
    MessageType::of::<ListKeys>(),
    MessageType::of::<Keys>(),
    MessageType::of::<AddKeys>(),
    MessageType::of::<RemoveKey>(),
    MessageType::of::<MakeInvite>(),
    MessageType::of::<NewInvite>(),
    MessageType::of::<ListInvites>(),
    MessageType::of::<Invites>(),
    MessageType::of::<RevokeInvite>(),
    MessageType::of::<RegisterPassword>(),
    MessageType::of::<Registration>(),
    MessageType::of::<SetPassword>(),
    MessageType::of::<RemovePassword>(),
    MessageType::of::<ListSecrets>(),
    MessageType::of::<Secrets>(),
    MessageType::of::<AddSecret>(),
    MessageType::of::<RemoveSecret>(),
    MessageType::of::<ShowServer>(),
    MessageType::of::<GrantRights>(),
    MessageType::of::<RevokeRights>(),
    MessageType::of::<CheckRight>(),
    MessageType::of::<Verdict>(),
    MessageType::of::<ShowAudit>(),
    MessageType::of::<AuditLines>(),
    MessageType::of::<VerifyAudit>(),
    MessageType::of::<AuditReport>(),
    MessageType::of::<Changed>(),
];

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: waits for a request.
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
        MessageRule::new("list-secrets"),
        MessageRule::new("add-secret"),
        MessageRule::new("remove-secret"),
        MessageRule::new("show-server"),
        MessageRule::new("grant-rights"),
        MessageRule::new("revoke-rights"),
        MessageRule::new("check-right"),
        MessageRule::new("show-audit"),
        MessageRule::new("verify-audit"),
    ],
);
/// Client: has sent `who` or `kick`.
pub(crate) static SESSIONS: ProtocolState =
    ProtocolState::new("admin-sessions", &[MessageRule::new("sessions"), ERROR]);
/// Client: has sent a change.
pub(crate) static CHANGED: ProtocolState =
    ProtocolState::new("admin-changed", &[MessageRule::new("changed"), ERROR]);
/// Client: has sent `check-right`.
pub(super) static VERDICT: ProtocolState =
    ProtocolState::new("admin-verdict", &[MessageRule::new(Verdict::TYPE), ERROR]);
static SECRETS: ProtocolState =
    ProtocolState::new("admin-secrets", &[MessageRule::new("secrets"), ERROR]);
static SERVER: ProtocolState = ProtocolState::new(
    "admin-server",
    &[MessageRule::new(ServerStatus::TYPE), ERROR],
);
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
        /// A request about accounts, credentials, invites or rights.
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
            /// Reads the request from a header of one of the allowed types.
            ///
            /// # Errors
            /// [`Error::Protocol`] for a header without the keys that its type needs.
            pub(crate) fn read(header: &Header) -> Result<Option<Self>, Error> {
                Ok(match header.kind() {
                    $($name => Some(Self::$type(header.read()?)),)*
                    _ => None,
                })
            }

            /// The request's name in the protocol and in the log.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$type(_) => $name,)*
                }
            }

            /// Queues the request for sending.
            pub(crate) fn send(&self, channel: &mut Channel) -> Result<(), Error> {
                match self {
                    $(Self::$type(request) => channel.send(request),)*
                }
            }

            /// The protocol state in which the client waits for the answer.
            pub(crate) fn answer_state(&self) -> &'static ProtocolState {
                match self {
                    $(Self::$type(_) => &$answer,)*
                }
            }
        }
    };
}

requests! {
    /// Lists accounts.
    ListUsers = "list-users" -> USERS,
    /// Adds an account.
    AddUser = "add-user" -> CHANGED,
    /// Disables an account.
    DisableUser = "disable-user" -> CHANGED,
    /// Enables a disabled account.
    EnableUser = "enable-user" -> CHANGED,
    /// Removes an account and all that it has.
    RemoveUser = "remove-user" -> CHANGED,
    /// Lists the keys of an account.
    ListKeys = "list-keys" -> KEYS,
    /// Adds keys to an account.
    AddKeys = "add-keys" -> CHANGED,
    /// Removes a key.
    RemoveKey = "remove-key" -> CHANGED,
    /// Makes an invite.
    MakeInvite = "make-invite" -> INVITE,
    /// Lists the open invites.
    ListInvites = "list-invites" -> INVITES,
    /// Revokes an invite.
    RevokeInvite = "revoke-invite" -> CHANGED,
    /// Begins to set a password.
    RegisterPassword = "register-password" -> REGISTRATION,
    /// Sets a password.
    SetPassword = "set-password" -> CHANGED,
    /// Removes a password.
    RemovePassword = "remove-password" -> CHANGED,
    /// Lists machine secrets, without what is secret in them.
    ListSecrets = "list-secrets" -> SECRETS,
    /// Adds a machine secret.
    AddSecret = "add-secret" -> CHANGED,
    /// Removes a machine secret.
    RemoveSecret = "remove-secret" -> SECRETS,
    /// Asks for the server's addresses and state.
    ShowServer = "show-server" -> SERVER,
    /// Gives an existing account rights.
    GrantRights = "grant-rights" -> CHANGED,
    /// Takes rights from an existing account.
    RevokeRights = "revoke-rights" -> CHANGED,
}

impl Request {
    /// Whether the request changes something.
    pub(crate) fn changes_something(&self) -> bool {
        !self.is_list() && !matches!(self, Self::RegisterPassword(_))
    }

    /// Whether the request only lists or shows something.
    pub(crate) fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ListUsers(_)
                | Self::ListKeys(_)
                | Self::ListInvites(_)
                | Self::ListSecrets(_)
                | Self::ShowServer(_)
        )
    }

    /// The name of the account that the request is about.
    pub(crate) fn user(&self) -> Option<&UserName> {
        match self {
            Self::AddUser(AddUser { user, .. })
            | Self::DisableUser(DisableUser { user, .. })
            | Self::EnableUser(EnableUser { user })
            | Self::RemoveUser(RemoveUser { user, .. })
            | Self::ListKeys(ListKeys { user })
            | Self::AddKeys(AddKeys { user, .. })
            | Self::RemoveKey(RemoveKey { user, .. })
            | Self::AddSecret(AddSecret { user, .. })
            | Self::GrantRights(GrantRights { user, .. })
            | Self::RevokeRights(RevokeRights { user, .. }) => Some(user),
            Self::ListUsers(ListUsers { user })
            | Self::ListSecrets(ListSecrets { user })
            | Self::MakeInvite(MakeInvite { user, .. })
            | Self::RegisterPassword(RegisterPassword { user, .. })
            | Self::SetPassword(SetPassword { user, .. })
            | Self::RemovePassword(RemovePassword { user }) => user.as_ref(),
            Self::ListInvites(_)
            | Self::RevokeInvite(_)
            | Self::RemoveSecret(_)
            | Self::ShowServer(_) => None,
        }
    }

    /// The subject for the log: a user or an invite. Empty for a list of everything.
    pub(crate) fn subject(&self) -> String {
        match (self, self.user()) {
            (Self::RemoveKey(RemoveKey { user, key, .. }), _) => format!("{user} {key}"),
            (Self::RevokeInvite(RevokeInvite { id }), _) => id.clone(),
            (_, user) => user.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// Client: lists accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListUsers {
    /// Lists only this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// Client: adds an account.
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
    /// Its home folder, as `rights.toml` writes it: `/srv/bob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Its folders, as `rights.toml` writes them: `rw:~`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Its limits.
    #[serde(default, skip_serializing_if = "Quota::is_empty")]
    pub quota: Quota,
    /// What it may do by words of services, such as `exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<GivenWord>,
}

/// Client: gives an existing account rights. What it has besides stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRights {
    /// The account's name.
    pub user: UserName,
    /// The new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The new home folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Folders, as `rights.toml` writes them. One that the account has gets the new right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// New limits.
    #[serde(default, skip_serializing_if = "Quota::is_empty")]
    pub quota: Quota,
    /// What it may do by words of services, such as `exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<GivenWord>,
}

/// Client: takes rights from an existing account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRights {
    /// The account's name.
    pub user: UserName,
    /// Whether to remove the role.
    #[serde(default)]
    pub role: bool,
    /// Whether to remove the home.
    #[serde(default)]
    pub home: bool,
    /// Folders to remove: `rw:/srv`, or `/srv` with either right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Limits to remove, by their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quota: Vec<String>,
    /// What to remove under words of services, such as `exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<GivenWord>,
}

/// Client: disables an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisableUser {
    /// The account's name.
    pub user: UserName,
    /// Whether to do it to the last admin, too.
    #[serde(default)]
    pub force: bool,
}

/// Client: enables a disabled account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnableUser {
    /// The account's name.
    pub user: UserName,
}

/// Client: removes an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveUser {
    /// The account's name.
    pub user: UserName,
    /// Whether to do it to the last admin, too.
    #[serde(default)]
    pub force: bool,
}

/// Client: lists the keys of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListKeys {
    /// The account's name.
    pub user: UserName,
}

/// Client: adds keys to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddKeys {
    /// The account's name.
    pub user: UserName,
    /// The keys, as lines of authorized_keys.
    pub keys: Vec<String>,
}

/// Client: removes a key of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveKey {
    /// The account's name.
    pub user: UserName,
    /// The key's fingerprint, as `ssh-keygen -l` prints it.
    pub key: String,
    /// Whether the jobs that it has started go on.
    #[serde(default)]
    pub keep_jobs: bool,
}

/// Client: makes an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeInvite {
    /// The user whom the invite is for.
    ///
    /// It adds a key to an existing account, or else makes an account of this name. `None` makes
    /// an account of any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The lifetime in seconds, at most 30 days.
    pub seconds: u64,
}

/// Client: lists the open invites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInvites {}

/// Client: revokes an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeInvite {
    /// The invite's id.
    pub id: String,
}

/// Client: asks for the server's addresses and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowServer {}

/// Client: asks whether a user may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRight {
    /// The user's name.
    pub user: UserName,
    /// `read`, `write`, `role`, or the word of a service.
    pub right: String,
    /// What the right is for, such as a path or the words of a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Name>,
}
message!(CheckRight = "check-right");

/// Client: lists the live sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {}
message!(Who = "who");

/// Client: ends sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kick {
    /// A user, to end all of their sessions, or the id of one session.
    pub target: String,
}
message!(Kick = "kick");

/// The answer to a request about accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The change is durable.
    Changed,
    /// Accounts.
    Users(Vec<UserRow>),
    /// Keys of an account.
    Keys(Vec<KeyRow>),
    /// Open invites.
    Invites(Vec<InviteRow>),
    /// A new invite.
    Invite(NewInvite),
    /// The server's answer to a new password.
    Registration(Registration),
    /// Machine secrets: those listed, or the one that was removed.
    Secrets(Vec<SecretRow>),
    /// The server's addresses and state.
    Server(ServerStatus),
}

/// Server: the change is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {}
message!(Changed = "changed");

/// Server: sends the new invite. The server does not store it.
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
