//! Tools for black-box tests.
//!
//! They replace no part of the product: the command, TLS, keys and files are real.
//!
//! - [`Stage`]: the `landline` command, a server and clients with folders of their own.
//! - [`RawClient`]: a client that sends any bytes over real TLS.
//! - [`HostileServer`]: a server that shows any certificate and sends any bytes.
//! - [`Relay`]: a connection that a test can cut, slow down or damage.
//! - [`PowerCut`]: a disk whose power is cut.
//! - [`Census`]: everything in a folder, before and after.
//! - [`Mount`]: a disk that a test can fill, and other file systems.
//! - [`Shim`]: a process with one system call that fails.
//! - [`is_soak`], [`time_limit`]: whether loops and times are those of the soak.
//! - [`Opaque`]: login by password, as the RFCs define it, without code of the product.
//! - [`Terminal`]: a command at a terminal, and a user who reads and types.
//! - [`under_systemd`]: a sandbox with its own systemd.
//! - [`as_user`]: work with the rights of another user of the machine.
//! - [`dummy`]: a service that does a little of everything.
//! - [`link`]: an in-memory connection that counts round trips.
#![allow(clippy::disallowed_methods, reason = "tests open what they like")]

mod census;
pub mod dummy;
mod hostile;
pub mod link;
mod mount;
mod opaque;
mod power;
mod raw;
mod relay;
mod shim;
mod soak;
mod stage;
mod systemd;
mod terminal;
mod user;

pub use census::Census;
pub use hostile::{Hostile, HostileServer};
pub use mount::Mount;
pub use opaque::{Opaque, Said};
pub use power::PowerCut;
pub use raw::{NONCE, RawClient, dial_from, frame};
pub use relay::Relay;
pub use shim::{Fault, Shim};
pub use soak::{is_soak, time_limit};
pub use stage::{Outcome, ServerProcess, Stage, wait_for};
pub use systemd::under_systemd;
pub use terminal::Terminal;
pub use user::{OTHER_USER, as_user};
