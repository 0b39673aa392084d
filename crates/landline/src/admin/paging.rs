//! Lists of the service `admin`: their rows, and how they are sent in several messages.

use landline_proto::{
    Message, ProtocolError, ProtocolState,
    login::{BindingType, SecretId, UserName},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    net::Channel,
    rights::Role,
    session::{ConnectionInfo, SessionInfo},
};

/// An account, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// Its name.
    pub user: UserName,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was disabled, in seconds since 1970, if it is.
    pub disabled: Option<i64>,
    /// Its role.
    pub role: Role,
    /// The number of its keys.
    pub keys: u32,
    /// Whether it has a password.
    #[serde(default)]
    pub password: bool,
    /// The number of its machine secrets.
    #[serde(default)]
    pub secrets: u32,
    /// Its rights, as `describe` returns them.
    ///
    /// `None` if they are unknown.
    #[serde(default)]
    pub rights: Option<Vec<String>>,
}

/// A key, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The key as a line of authorized_keys.
    pub line: String,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// Why the key cannot be used, if its options are not supported.
    pub refused: Option<String>,
}

/// An open invite, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// The invite's id.
    pub id: String,
    /// `owner`, `account` or `key`.
    pub purpose: String,
    /// The user whom it is for; `None` for any name.
    pub user: Option<String>,
    /// The user who made it; `None` for a command on the server's machine.
    pub made_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
}

/// A machine secret, in a list. The row does not contain the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// The id that the log and logins use.
    pub id: SecretId,
    /// The account that it logs in to.
    pub user: UserName,
    /// The binding that it was made for.
    pub binding: BindingType,
    /// The services that it may use, separated by commas; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
    /// A label for people.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// A live session, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The id of the session.
    pub session: String,
    /// The logged-in user.
    pub user: UserName,
    /// The user's role.
    pub role: Role,
    /// The fingerprint or id of the credential.
    pub key: String,
    /// The method of the login.
    pub method: String,
    /// When the session began, in seconds since 1970.
    pub since: i64,
    /// The connections, the oldest first; none while the session waits for its client.
    pub connections: Vec<ConnectionInfo>,
}

impl SessionRow {
    /// The row of a session whose user has this role.
    pub(super) fn new(info: SessionInfo, role: Role) -> Self {
        Self {
            session: info.session,
            user: info.user,
            role,
            key: info.key,
            method: info.method,
            since: info.since,
            connections: info.connections,
        }
    }
}

/// A message of a list. All messages but the last say that more follow.
pub(crate) trait List: Message {
    type Row: Serialize + Clone;

    fn of(rows: Vec<Self::Row>, more: bool) -> Self;
    fn into_parts(self) -> (Vec<Self::Row>, bool);
}

macro_rules! lists {
    ($($(#[$doc:meta])* $type:ident = $name:literal of $row:ident,)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct $type {
            /// The rows.
            pub rows: Vec<$row>,
            /// Whether another message with more rows follows.
            pub more: bool,
        }
        impl Message for $type {
            const TYPE: &'static str = $name;
        }

        impl List for $type {
            type Row = $row;

            fn of(rows: Vec<$row>, more: bool) -> Self {
                Self { rows, more }
            }

            fn into_parts(self) -> (Vec<$row>, bool) {
                (self.rows, self.more)
            }
        })*
    };
}

lists! {
    /// Server: accounts.
    Users = "users" of UserRow,
    /// Server: keys.
    Keys = "keys" of KeyRow,
    /// Server: open invites.
    Invites = "invites" of InviteRow,
    /// Server: secrets.
    Secrets = "secrets" of SecretRow,
    /// Server: live sessions.
    LiveSessions = "sessions" of SessionRow,
}

/// The largest content of one message, in bytes of JSON. It is smaller than a header may be.
const ROWS_BYTES_MAX: usize = 48 * 1024;

/// The largest number of messages of a list: tens of MiB.
const MESSAGES_MAX: usize = 1024;

/// Sends a list in as many messages as it needs.
///
/// Each message is flushed before `rows` is asked for more, so memory holds only one message.
///
/// # Cancel safety
/// Not cancel-safe.
pub(crate) async fn send_list<L: List>(
    channel: &mut Channel,
    rows: impl IntoIterator<Item = L::Row, IntoIter: Send>,
) -> Result<(), Error> {
    let mut part = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let length = serde_json::to_string(&row).map_or(0, |json| json.len());
        if bytes + length > ROWS_BYTES_MAX && !part.is_empty() {
            channel.send(&L::of(std::mem::take(&mut part), true))?;
            channel.flush().await?;
            bytes = 0;
        }
        bytes += length;
        part.push(row);
    }
    channel.send(&L::of(part, false))
}

/// Receives a list to its end.
///
/// # Cancel safety
/// Not cancel-safe.
pub(crate) async fn receive_list<L: List>(
    channel: &mut Channel,
    state: &ProtocolState,
) -> Result<Vec<L::Row>, Error> {
    let mut all = Vec::new();
    for _ in 0..MESSAGES_MAX {
        let (rows, more) = channel.receive(state).await?.read::<L>()?.into_parts();
        all.extend(rows);
        if !more {
            return Ok(all);
        }
    }
    Err(ProtocolError::BadHeader(format!("in {:?}: a list that does not end", L::TYPE)).into())
}
