//! The one room in which paths are opened. Nothing else in this crate or the command calls
//! `std::fs`: a lint sees to it.
//!
//! - [`Root`] and [`Grant`]: what an account may reach, below folder handles that nothing leads out
//!   of.
//! - [`Folder`]: one opened folder in which files are staged, renamed and synced.
//! - [`PrivateFolder`]: a state folder that nobody else can read.
//! - [`local`]: paths that the user of this process named, with the user's own authority.
//! - [`ScratchFolder`]: a temporary folder.
//! - [`Document`]: a small file that the user asked for.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the room in which paths are opened"
)]

mod document;
mod folder;
mod grant;
mod kernel;
pub mod local;
mod platform;
mod private;
mod root;
mod scratch;
mod source;

pub use document::Document;
pub use folder::{Destination, Folder};
pub use grant::Grant;
pub use private::{FolderLock, PrivateFolder, create_secret_file, read_secret_file};
pub use root::Root;
pub use scratch::{ScratchFolder, nameless_file};
pub use source::{Source, SourceIdentity};
pub use std::fs::File;

pub(crate) use kernel::kernel_text;
pub(crate) use platform::start_write_back;
pub use platform::{is_root, user_id};
