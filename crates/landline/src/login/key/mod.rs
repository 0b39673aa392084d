//! People's keys: OpenSSH's formats, SSHSIG signatures over a login transcript, and ssh-agent.

mod agent;
mod file;
mod public;
mod signer;
mod sshsig;
mod user_key;
mod wire;

pub use agent::{Agent, AgentKey};
pub use public::{PublicKey, PublicKeyError};
pub use user_key::UserKey;

/// Far beyond any key file.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
