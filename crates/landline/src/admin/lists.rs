//! Lists of the service `admin`: their rows, and how they travel.

use landline_proto::{
    Message, ProtocolError, ProtocolState,
    login::{BindingType, SecretId, UserName},
};
use serde::{Deserialize, Serialize};

use crate::{Error, net::Channel, rights::Role, session::SessionInfo};

/// An account, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// Its name.
    pub user: UserName,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Since when it is disabled, if it is.
    pub disabled: Option<i64>,
    /// Its role.
    pub role: Role,
    /// How many keys it has.
    pub keys: u32,
    /// Whether it has a password.
    #[serde(default)]
    pub password: bool,
    /// How many secrets of machines it has.
    #[serde(default)]
    pub secrets: u32,
    /// What it may do, as `describe` says it; `None` where
    /// that is not known.
    #[serde(default)]
    pub rights: Option<Vec<String>>,
}

/// A key, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The line of authorized_keys.
    pub line: String,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// Why it cannot be used, if its options are not understood.
    pub refused: Option<String>,
}

/// An open invite, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// What it is called.
    pub id: String,
    /// `owner`, `account` or `key`.
    pub purpose: String,
    /// For whom, if it is for somebody.
    pub user: Option<String>,
    /// Who has made it; `None` for somebody at the machine itself.
    pub made_by: Option<String>,
    /// When, in seconds since 1970.
    pub created: i64,
    /// Until when it is good, in seconds since 1970.
    pub expires: i64,
}

/// A secret of a machine, in a list: nothing of what is secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// What it is called by the log and by logins.
    pub id: SecretId,
    /// Whose it is.
    pub user: UserName,
    /// What it was made for.
    pub binding: BindingType,
    /// The services that it may use, with commas between them; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
    /// What its maker calls it.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// A list's answer, which may take several messages: all but the last say that there are more.
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
            /// Whether another message with more of them follows.
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
    LiveSessions = "sessions" of SessionInfo,
}

/// The most that one message of a list carries, in bytes of JSON: it fits into a header with room
/// to spare.
const ROWS_BYTES_MAX: usize = 48 * 1024;

/// The most messages that a list may take: tens of MiB.
const MESSAGES_MAX: usize = 1024;

/// Sends a list in as many messages as it takes, all but the last of which have left before more
/// rows are asked for: of a long list whose rows are made one by one, no more is held than one
/// message. Not cancel-safe.
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

/// Receives a list to its end. Not cancel-safe.
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
