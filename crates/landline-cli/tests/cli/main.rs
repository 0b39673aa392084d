//! Black-box tests of the command: real processes, files, TLS and keys, on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test"
)]

mod attach;
mod attempts;
mod audit;
mod budgets;
mod changes;
mod classic;
mod config;
mod control;
mod copy;
mod copy_between;
mod copy_command;
mod copy_compressed;
mod copy_faults;
mod copy_many_hosts;
mod copy_progress;
mod copy_several;
mod delta;
mod disconnects;
mod disk_full;
mod durability;
mod early;
mod entries;
mod entries_changed;
mod example;
mod files_bad_input;
mod first_login;
mod flood;
mod forward;
mod guessing;
mod hand_over;
mod hold;
mod hostile_server;
mod hosts;
mod identity;
mod inherited;
mod job_access;
mod jobs;
mod keys;
mod kill;
mod lab;
mod limits;
mod local_admin;
mod login;
mod order;
mod package;
mod passwords;
mod passwords_bound;
mod remote_admin;
mod replay;
mod resume;
mod rights;
mod roles;
mod run;
mod run_as_ssh;
mod run_cases;
mod run_isolation;
mod run_many_hosts;
mod run_restart;
mod run_rights;
mod secrets;
mod serve;
mod service;
mod service_live;
mod service_sets;
mod shared_secret;
mod shell;
mod shell_lost;
mod signing;
mod ssh;
mod store;
mod sync;
mod sync_options;
mod sync_safety;
mod texts;
mod top;
mod tree_acls;
mod tree_attributes;
mod tree_crashes;
mod tree_followed;
mod tree_leftovers;
mod tree_links;
mod tree_records;
mod tree_reports;
mod tree_sparse;
mod tree_summaries;
mod tree_unprivileged;
mod trees;
mod trust;
mod unfinished;
mod user_enumeration;
mod user_invites;
mod users;
mod watch;

use testkit::{ServerProcess, Stage};

/// The prompts of the command at a terminal: for a password, for a new password, and for trust.
///
/// They are defined here only. A test that looks for a prompt would otherwise pass after a prompt
/// is reworded.
const ASKS_PASSWORD: &str = "Password for bob";
const ASKS_NEW_PASSWORD: &str = "New password for bob, ";
const ASKS_TRUST: &str = "gave you: ";

/// A fresh stage for the command under test.
fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_landline"))
}

/// Joins as alice at these addresses, separated by commas, in place of those in the invite.
fn join_by(stage: &Stage, server: &ServerProcess, addresses: &str) {
    let invite = server.invite();
    let (_, secret) = invite.split_once('#').unwrap();
    let invite = format!("landline://{addresses}/#{secret}");
    stage
        .run_with_input(&["join", "-", "--as", "alice"], invite.as_bytes())
        .ok();
}

/// Reproducible bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
