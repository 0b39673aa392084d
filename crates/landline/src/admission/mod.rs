//! Limits before and during login. No I/O; the time is an argument.
//!
//! - `Admission` limits half-open connections, in all and per network. At a limit it evicts the
//!   oldest connection of the busiest network, so that a new client can always connect.
//! - `Guesses` limits attempts at the password of an account. An attacker cannot lock the owner out
//!   of networks from which the owner has logged in before.
//! - [`Signing`] limits the logins that get more time because a person has to sign.
//! - `Penalties` shut out a network after rejected logins, like OpenSSH's `PerSourcePenalties`.

mod bounded;
mod guesses;
mod half_open;
mod peer_network;
mod penalties;
mod signing;

pub(crate) use guesses::{Guess, Guesses, TooMany};
pub(crate) use half_open::Admission;
pub use half_open::Ticket;
pub use peer_network::PeerNetwork;
pub(crate) use penalties::Penalties;
pub use penalties::Refused;
pub use signing::Signing;
pub(crate) use signing::SigningSlot;
