//! Keys: OpenSSH's formats and signatures, ssh-agent, and keys of shared secrets.
//!
//! The limits of credentials, such as the options of an `authorized_keys` line, are here too.

mod agent;
mod authorized_keys;
mod credential_id;
mod file;
pub(crate) mod foreign;
mod limits;
mod public;
mod secret_key;
mod signer;
mod sshsig;
mod user_key;
mod wire;

pub(crate) use agent::Agent;
pub use agent::AgentKey;
pub use authorized_keys::KeyLine;
pub(crate) use authorized_keys::{KeyLineError, KeyOptions};
pub use credential_id::CredentialId;
pub use limits::ServiceSet;
pub(crate) use limits::{CredentialLimits, Facility};
pub use public::PublicKey;
pub(crate) use public::PublicKeyError;
pub use secret_key::SecretKey;
pub use user_key::UserKey;

/// More than any key file needs.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
