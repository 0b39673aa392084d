//! Who may knock: the defence before login. Nothing in here reads or writes; the time is an
//! argument.
//!
//! - [`Admission`] bounds the connections that are not logged in yet, in all and from each source.
//!   At a bound the oldest of the heaviest source goes, never the newcomer: a flood can only crowd
//!   out itself, and the owner gets in.
//! - [`Guesses`] bounds how often an account's password is tried, so that whoever guesses cannot
//!   lock its owner out of where they have logged in before.
//! - [`Signing`] bounds the logins that have more time, since they take a person, in all and from
//!   each source.
//! - [`Penalties`] shut out a source that has had logins refused, as OpenSSH's `PerSourcePenalties`
//!   do.

mod bounded;
mod guesses;
mod half_open;
mod penalties;
mod signing;
mod source;

pub use guesses::{Guess, Guesses, TooMany};
pub use half_open::{Admission, Refused, Ticket};
pub use penalties::Penalties;
pub use signing::{Signing, SigningPlace};
pub use source::Source;
