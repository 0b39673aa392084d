//! What happens on a server: the one list that the audit log, the activity bus and the command line
//! share.

mod names;

use std::net::SocketAddr;

use landline_proto::{Name, login::UserName};
use serde::Serialize;

use crate::keys::CredentialId;

/// Something that happens on a server, or is about to.
///
/// It serializes as one JSON object with its name under `event` (`docs/audit.md` has the table).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activity {
    /// The server started.
    Started {
        /// Name and release.
        release: String,
    },
    /// The server stopped normally.
    Stopped {},
    /// The server accepts no more connections and waits for transfers to end.
    Draining {
        /// Open connections.
        connections: usize,
    },
    /// The server found this problem when it opened the audit log. The log continues, and never
    /// verifies again.
    Gap {
        /// The problem.
        problem: String,
    },
    /// The server is about to remove the oldest files of the audit log, to stay within its size.
    Cut {
        /// The sequence number of the last line that is removed.
        through: u64,
        /// The SHA-256 of that line.
        hash: String,
        /// The size of the removed files, in bytes.
        bytes: u64,
    },
    /// A login was accepted. Recorded durably before the server answers.
    Login {
        /// The user.
        user: UserName,
        /// The login method.
        method: String,
        /// The credential that was proved.
        key: CredentialId,
        /// The address of the client.
        peer: SocketAddr,
        /// The id of the session.
        session: String,
        /// Whether the login redeemed an invite, so that the key is new.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        invited: bool,
    },
    /// A further connection was attached to a live session.
    Attached {
        /// The user.
        user: UserName,
        /// The address of the client.
        peer: SocketAddr,
        /// The id of the session.
        session: String,
    },
    /// A session lost its last connection and waits for its client to attach again.
    Disconnected {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
    },
    /// A session ended.
    Logout {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
    },
    /// A connection ended before it was logged in.
    Refused {
        /// The address of the client.
        peer: SocketAddr,
        /// A code of the protocol, or `tls`, `lost` or `evicted`.
        code: String,
        /// The user that the client claimed to be, without proof.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
        /// The login method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// The reason.
        message: String,
    },
    /// A copy is about to start.
    TransferStart {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// Where the content flows.
        direction: Direction,
        /// The path on the server.
        path: Name,
        /// Bytes of content, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
    },
    /// A copy is complete and the receiver has verified it. A `put` is recorded durably before the
    /// server answers.
    Transfer {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// Where the content flowed.
        direction: Direction,
        /// The path on the server.
        path: Name,
        /// Bytes of content.
        length: u64,
        /// The digest of the content.
        digest: String,
    },
    /// Entries are about to be listed, hashed or added up.
    FilesRead {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// What is done.
        action: FileRead,
        /// The path on the server, or the pattern.
        path: Name,
    },
    /// Entries are about to be made, moved or removed. Recorded durably before that.
    FilesChange {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// What is done.
        action: FileChange,
        /// The path on the server, or the pattern.
        path: Name,
        /// The new path of what is moved.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<Name>,
    },
    /// A change of entries has ended.
    FilesChanged {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// What was done.
        action: FileChange,
        /// The path on the server, or the pattern.
        path: Name,
        /// The new path of what was moved.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<Name>,
        /// Files, folders and other entries that were made, moved or removed.
        entries: u64,
        /// How many could not be.
        failures: u64,
    },
    /// A copy of a tree is complete. A `put-tree` is recorded durably before the tree appears.
    Tree {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// Where the content flowed.
        direction: Direction,
        /// The path on the server.
        path: Name,
        /// How many entries the source has.
        entries: u32,
        /// How many files were sent.
        files: u32,
        /// Bytes of content.
        bytes: u64,
        /// How many entries were removed.
        removed: u32,
        /// How many entries could not be copied.
        failures: u32,
        /// The digest of the tree.
        digest: String,
    },
    /// A command is about to run. Recorded durably before it starts.
    RunStart {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// The program and its arguments, quoted for a shell; or the line for the shell.
        command: Name,
        /// Whether a shell reads it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        shell: bool,
        /// Whether it continues without a client.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        detached: bool,
        /// The working folder.
        folder: Name,
        /// The names of the variables that the client sets, with blanks between them.
        #[serde(skip_serializing_if = "String::is_empty")]
        environment: String,
    },
    /// A command has ended.
    RunEnd {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// What it returned, or the signal that ended it; `lost` for a detached job whose
        /// supervisor is gone; absent if the server ended it with the session.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<String>,
        /// Bytes of standard output.
        stdout: u64,
        /// Bytes of standard error.
        stderr: u64,
    },
    /// A signal is about to be sent to a detached job, by a request or by a client that is attached
    /// to it. Recorded durably before that.
    JobSignal {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// The signal's name without `SIG`.
        signal: String,
        /// Whether everything that the job has started is ended.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        tree: bool,
    },
    /// A user is about to attach to a job. Recorded durably before that.
    JobAttach {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// Whose job it is, if its owner has handed the keyboard over to the user.
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<UserName>,
    },
    /// The keyboard of a job changes hands. Recorded durably before that, unless the user who had
    /// it is gone.
    JobHandOver {
        /// The user who hands it over, takes it back or had it last.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// Who gets it.
        to: UserName,
    },
    /// A user is about to see the terminal of a job. Recorded durably before that.
    JobWatch {
        /// The user who watches.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
        /// Whose job it is.
        owner: UserName,
    },
    /// A job that has ended is about to be removed, with its output. Recorded durably before that.
    JobForget {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the job.
        job: String,
    },
    /// The folder of a job or command cannot be used. The server leaves it alone, or tries again.
    JobUnreadable {
        /// The name of the folder, which is the id.
        job: String,
        /// The reason.
        message: String,
    },
    /// The server is about to connect to a host for a user, or has accepted a connection for one.
    /// Recorded durably before it connects.
    ForwardStart {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the connection.
        connection: String,
        /// The host and port as the user named them; of an accepted connection, where it arrived.
        target: String,
        /// The address of the other end.
        address: SocketAddr,
        /// Whether it was accepted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        incoming: bool,
    },
    /// A forwarded connection has ended.
    ForwardEnd {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The id of the connection.
        connection: String,
        /// Bytes to the other end.
        sent: u64,
        /// Bytes from the other end.
        received: u64,
        /// Whether it was reset, or was not made at all.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        reset: bool,
    },
    /// The server is about to listen for a user. Recorded durably.
    ForwardListen {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// The address and port; port 0 for any that is free.
        address: SocketAddr,
    },
    /// A request of a logged-in user was denied or failed.
    Failed {
        /// The user.
        user: UserName,
        /// The id of the session.
        session: String,
        /// A code of the protocol, or `lost`.
        code: String,
        /// The reason.
        message: String,
    },
    /// An account, credential, invite or right is about to change, or a session to be ended.
    /// Recorded durably before that.
    Admin {
        /// The user who asked for it; absent for the server itself and for commands on its
        /// machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
        /// The id of the session, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// The request, such as `add-keys`.
        action: String,
        /// The user, credential, invite or session that it concerns.
        subject: String,
        /// Further facts, never a secret.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// Other rights are about to come into force. Recorded durably before that.
    RightsChange {
        /// How many users the file names.
        users: usize,
        /// The SHA-256 of the file.
        hash: String,
    },
    /// Other rights are in force.
    RightsLoaded {
        /// How many users the file names.
        users: usize,
        /// The SHA-256 of the file.
        hash: String,
    },
    /// The rights file was read and cannot come into force. The earlier rights stay.
    RightsRefused {
        /// What is wrong, and where.
        message: String,
    },
    /// The server could not check for a second which sessions are still valid. They continue until
    /// it can.
    RevocationFailed {
        /// The reason.
        message: String,
    },
    /// Further activities of one kind from one source, which were counted and not recorded one by
    /// one.
    Suppressed {
        /// The address (IPv6: its /64) or user; `*` for several.
        source: String,
        /// The name of the activity.
        of: String,
        /// Its code; empty if it has none.
        code: String,
        /// How many.
        count: u64,
        /// When counting began, as in `time`.
        since: String,
    },
}

/// Where the content of a copy flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the server.
    Put,
    /// From the server.
    Get,
}

impl Direction {
    /// The name of the request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// How entries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRead {
    /// Listed.
    List,
    /// Hashed.
    Sum,
    /// Added up.
    Usage,
    /// Asked for the space of their file system.
    Space,
}

impl FileRead {
    /// The name of the request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Sum => "sum",
            Self::Usage => "usage",
            Self::Space => "space",
        }
    }
}

/// How entries are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    /// A folder is made.
    MakeFolder,
    /// Entries are renamed or moved.
    Move,
    /// Entries are removed.
    Remove,
}

impl FileChange {
    /// The name of the request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MakeFolder => "make-folder",
            Self::Move => "move",
            Self::Remove => "remove",
        }
    }
}

/// An activity with its place in the order of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The sequence number in the audit log, which restarts keep. `None` for an activity that
    /// could not be written there.
    pub seq: Option<u64>,
    /// When it was recorded: RFC 3339 in UTC with microseconds.
    pub time: String,
    /// What happens.
    #[serde(flatten)]
    pub activity: Activity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_serializes_under_its_name() {
        let user: UserName = "alice".parse().unwrap();
        let session = String::new;
        let activities = [
            Activity::Stopped {},
            Activity::Draining { connections: 1 },
            Activity::RightsRefused { message: session() },
            Activity::Logout {
                user,
                session: session(),
            },
        ];
        for activity in activities {
            assert_eq!(
                serde_json::to_value(&activity).unwrap()["event"],
                activity.name()
            );
        }
        assert_eq!(
            serde_json::to_value(Direction::Get).unwrap(),
            Direction::Get.as_str()
        );
    }
}
