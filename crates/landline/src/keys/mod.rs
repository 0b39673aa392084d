//! Keys: OpenSSH's formats, SSHSIG signatures over a login transcript, ssh-agent, the options of
//! an `authorized_keys` line, what a credential may be used for, and keys derived from shared
//! secrets.

mod agent;
mod authorized_keys;
mod file;
mod limits;
mod public;
mod secret_key;
mod signer;
mod sshsig;
mod user_key;
mod wire;

pub use agent::{Agent, AgentKey};
pub use authorized_keys::{KeyLine, KeyLineError, KeyOptions};
pub use limits::{CredentialLimits, Facility, ServiceSet};
pub use public::{PublicKey, PublicKeyError};
pub use secret_key::SecretKey;
pub use user_key::UserKey;

/// More than any key file needs.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
