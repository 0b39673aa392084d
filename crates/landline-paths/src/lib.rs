//! The only code of landline that opens paths. A lint keeps `std::fs` out of every other crate.
//!
//! - [`Root`] and [`Grant`]: what an account may reach, opened below folder handles that neither
//!   `..` nor a symbolic link leads out of.
//! - [`Folder`] and [`Destination`]: one opened folder, in which files are staged, renamed and
//!   synced.
//! - [`PrivateFolder`]: a state folder that no other user can read.
//! - [`SocketPath`] and [`FileWatch`]: a socket in such a folder, and changes of a file in it.
//! - [`local`]: paths that the user of this process named, opened with that user's authority.
//! - [`name`]: the rule for paths and names from a peer.
//! - [`StagedFile`]: a file that appears whole or not at all.
//! - [`ScratchFolder`]: a temporary folder.
//! - [`Document`]: a small file that is replaced as a whole.
//!
//! Every function that opens, reads or writes blocks.
#![allow(
    clippy::disallowed_methods,
    reason = "this crate is where paths are opened"
)]

mod document;
mod error;
mod folder;
mod grant;
mod kernel;
pub mod local;
pub mod name;
mod platform;
mod private;
mod random;
mod root;
mod scratch;
mod socket;
mod source;
mod staged;
mod watch;

pub use std::fs::File;

pub use document::Document;
pub use error::{Error, ErrorKind, describe};
pub use folder::{Destination, Folder};
pub use grant::Grant;
pub use kernel::kernel_text;
pub use name::RemotePath;
pub use platform::{is_root, start_write_back, user_id};
pub use private::{FolderLock, PrivateFolder, create_secret_file, read_secret_file};
pub use random::staging_name;
pub use root::Root;
pub use scratch::{ScratchFolder, nameless_file};
pub use socket::SocketPath;
pub use source::{Source, SourceIdentity};
pub use staged::{StagePlan, StagedFile, sweep};
pub use watch::FileWatch;
