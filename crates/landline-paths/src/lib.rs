//! The only crate of landline that opens paths.
//!
//! A lint keeps `std::fs` out of all other crates.
//!
//! - [`Root`] and [`Grant`] open what an account may reach. Neither `..` nor a symbolic link leads
//!   out of a granted folder.
//! - [`Destination`] and [`StagedFile`] make a file appear whole or not at all.
//! - [`TreeSource`], [`TreeTarget`] and [`TreeGuard`] are the ends of a copy of a tree. [`Folder`]
//!   makes, lists and changes the entries of one folder, and [`walk_tree`] visits all below it.
//! - [`NamedEntry`] is an entry that a path of a peer names. [`PathPattern`] names several, and
//!   [`ProtectedFolders`] are those that keep their place.
//! - [`PrivateFolder`] is a state folder that no other user can read. [`SocketPath`] is a socket in
//!   it, and [`FileWatch`] reports changes of a file in it.
//! - [`local`] opens paths that the user of this process named, with that user's authority.
//! - [`name`] is the rule for paths and names from a peer.
//! - [`AtomicFile`] replaces a small file as a whole.
//! - [`TempDir`] is a temporary folder.
//!
//! # Blocking
//! Every function that opens, reads or writes a file blocks.
#![allow(
    clippy::disallowed_methods,
    reason = "this crate is where paths are opened"
)]

mod acl;
mod atomic_file;
mod attributes;
mod cause;
mod entries;
mod error;
mod file_system;
mod folder;
mod grant;
mod grant_index;
pub mod local;
pub mod name;
mod pattern;
mod platform;
mod preflight;
mod private;
mod procfs;
mod random;
mod resolve;
mod root;
mod socket;
mod source_file;
mod staged;
mod temp_dir;
mod times;
mod tree;
mod users;
mod walk;
mod watch;

pub use std::fs::File;

pub use acl::{
    ACL_ENTRIES_MAX, ACL_NAME_BYTES_MAX, Accounts, Acl, AclAccount, AclEntry, AclSubject, FileAcls,
    HAS_ACLS, file_acls, set_file_acls,
};
pub use atomic_file::AtomicFile;
pub use attributes::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_BYTES_MAX, Attribute,
    copy_attributes, set_file_attributes,
};
pub use cause::{cause_named, cause_names, cause_of, replace_system_texts};
pub use entries::{EntryKind, EntryStat, FileTime, Space};
pub use error::{Error, ErrorKind, describe};
pub use file_system::{
    Extent, FileSystem, clone_content, copy_content, extent_at, punch_hole, set_file_mode,
    set_file_modified, start_write_back, sync_file,
};
pub use folder::{Destination, Folder};
pub use grant::Grant;
pub use grant_index::GrantIndex;
pub use name::RemotePath;
pub use pattern::NamePattern;
pub use platform::{is_root, user_id};
pub use preflight::check_space;
pub use private::{FolderLock, PrivateFolder, create_secret_file, read_secret_file};
pub use procfs::{boot_id, read_proc};
pub use random::staging_name;
pub use root::{Matches, NamedEntry, PathPattern, ProtectedFolders, Root};
pub use socket::SocketPath;
pub use source_file::{SourceFile, SourceIdentity};
pub use staged::{DIRECT_ALIGNMENT, StagePlan, StagedFile, sweep};
pub use temp_dir::{TempDir, anonymous_file};
pub use tree::{TreeAccess, TreeGuard, TreeOrigin, TreePlace, TreeSource, TreeTarget};
pub use users::{home_of_user, login_shell, user_name};
pub use walk::{FolderReader, TreeVisitor, Visit, WALK_PATH_BYTES_MAX, walk_tree};
pub use watch::FileWatch;
