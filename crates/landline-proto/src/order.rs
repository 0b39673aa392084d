//! Which message is accepted when (`docs/protocol.md` section 9): the one table. Whoever receives a
//! header names the state it waits in, and everything that the table does not list there is
//! refused.

use crate::{Header, ProtocolError};

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident = [$($accepted:literal),*];)*) => {
        /// What a side waits for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum State {
            $($(#[$doc])* $state,)*
        }

        impl State {
            /// Every state of either side.
            pub const ALL: &'static [Self] = &[$(Self::$state,)*];

            /// The types accepted in this state.
            pub fn accepts(self) -> &'static [&'static str] {
                match self {
                    $(Self::$state => &[$($accepted),*],)*
                }
            }
        }
    };
}

states! {
    /// Server: who is it?
    ServerLogin = ["keys", "signing", "password", "login"];
    /// Server, a key was chosen.
    ServerChosen = ["signing", "login"];
    /// Server, a login by password was begun.
    ServerPassword = ["login"];
    /// Server, a proof is being made that takes a person.
    ServerSigning = ["login"];
    /// Server, logged in: which service?
    ServerChannel = ["open"];
    /// Server, `ping` channel, between requests.
    ServerPing = ["ping"];
    /// Server, `files` channel, between requests.
    ServerFiles = ["put", "get"];
    /// Server, `admin` channel, between requests.
    ServerAdmin = ["who", "kick", "list-users", "add-user", "disable-user", "enable-user", "remove-user", "list-keys",
        "add-keys", "remove-key", "make-invite", "list-invites", "revoke-invite", "register-password", "set-password",
        "remove-password"];
    /// Client: the server speaks first.
    ClientGreeting = ["greeting", "error"];
    /// Client, `keys` sent.
    ClientChoice = ["choice", "error"];
    /// Client, `password` sent.
    ClientEvaluation = ["evaluation", "error"];
    /// Client, login sent.
    ClientWelcome = ["welcome", "error"];
    /// Client, `ping` sent.
    ClientPong = ["pong", "error"];
    /// Client, `put` sent.
    ClientReady = ["ready", "error"];
    /// Client, `get` sent.
    ClientFile = ["file", "error"];
    /// Client, `who` or `kick` sent.
    ClientSessions = ["sessions", "error"];
    /// Client, a change asked for.
    ClientChanged = ["changed", "error"];
    /// Client, `list-users` sent.
    ClientUsers = ["users", "error"];
    /// Client, `list-keys` sent.
    ClientKeys = ["keys", "error"];
    /// Client, `make-invite` sent.
    ClientInvite = ["invite", "error"];
    /// Client, `list-invites` sent.
    ClientInvites = ["invites", "error"];
    /// Client, `register-password` sent.
    ClientRegistration = ["registration", "error"];
    /// Receiver: the content is next.
    ReceiverData = ["data", "error"];
    /// Receiver: the body is over.
    ReceiverFinish = ["finish", "error"];
    /// Sender, while it sends or after its `finish`.
    SenderDone = ["done", "again", "error"];
}

/// The types that have a body.
const TYPES_WITH_BODY: &[&str] = &["data"];

impl State {
    /// Lets a header pass that is accepted in this state, with a body only if its type has one.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`] for any other.
    pub fn check(self, header: &Header) -> Result<(), ProtocolError> {
        let has_stray_body = header.body().is_some() && !TYPES_WITH_BODY.contains(&header.kind());
        if self.accepts().contains(&header.kind()) && !has_stray_body {
            return Ok(());
        }
        let mut found = header.kind().to_owned();
        found.truncate(found.floor_char_boundary(32));
        if has_stray_body {
            found.push_str(" with a body");
        }
        Err(ProtocolError::UnexpectedMessage {
            found,
            expected: self.accepts().join(" or "),
        })
    }
}
