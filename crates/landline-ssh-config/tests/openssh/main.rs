#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]
//! Compares this crate with the real ssh over generated files.

mod generator;
mod productions;
mod real;

use std::{fs, path::Path};

use generator::{Case, Generator};
use landline_ssh_config::{ConfigFile, Error, HostConfig, Query, read};
use real::{Ssh, TestHome};

/// The files that are compared.
const FILES: usize = 1000;
/// The files that this crate may reject although ssh reads them, in percent.
const UNSUPPORTED_PERCENT_MAX: usize = 12;

fn seed() -> u64 {
    std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1)
}

/// Proves `ssh-config` in docs/faults.md.
#[test]
fn generated_files_are_read_as_ssh_reads_them() {
    let ssh = Ssh::find();
    let seed = seed();
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let home = TestHome::new();
    let mut generator = Generator::new(seed, &ssh);
    let (mut read_by_both, mut rejected_by_both, mut unsupported) = (0, 0, 0);
    let mut differences = Vec::new();
    for number in 0..FILES {
        let case = generator.next_case();
        home.write(&case);
        let real = ssh.read(&home, &case);
        match (&real, ours(&home, &ssh, &case)) {
            (Ok(real), Ok(ours)) => {
                read_by_both += 1;
                differences.extend(
                    real.differences(&ours, &case, &ssh)
                        .into_iter()
                        .map(|what| format!("file {number}: {what}\n{case}")),
                );
            }
            (Err(message), Err(error)) => {
                rejected_by_both += 1;
                if let Error::Malformed { line, .. } = &error
                    && message.contains(" line ")
                    && !message.contains(&format!("line {line}"))
                {
                    differences.push(format!("file {number}: {error}; ssh: {message}\n{case}"));
                }
            }
            (Ok(_), Err(Error::Unsupported { problem, .. })) => {
                unsupported += 1;
                generator.count(format!("read by ssh alone: {problem}"));
            }
            (Ok(_), Err(error)) => {
                differences.push(format!("file {number}: ssh reads it; {error}\n{case}"));
            }
            (Err(message), Ok(_)) => {
                differences.push(format!("file {number}: ssh rejects it: {message}\n{case}"));
            }
        }
    }
    for (production, count) in &generator.counts {
        eprintln!("{count:6} {production}");
    }
    eprintln!(
        "{FILES} files: {read_by_both} read by both, {rejected_by_both} rejected by both, \
         {unsupported} read by ssh alone"
    );
    let shown = differences.iter().take(5).cloned().collect::<Vec<_>>();
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        shown.join("\n")
    );
    assert!(read_by_both >= FILES / 3, "too few files are valid");
    assert!(unsupported * 100 <= FILES * UNSUPPORTED_PERCENT_MAX);
    let unused = generator.unused();
    assert!(unused.is_empty(), "never produced: {unused:?}");
}

fn ours(home: &TestHome, ssh: &Ssh, case: &Case) -> Result<HostConfig, Error> {
    let variable = |name: &str| {
        let value = case.variables.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| value.into())
    };
    let query = Query {
        host: &case.host,
        user: case.user.as_deref(),
        local_user: &ssh.local_user,
        home: home.path(),
        variable: &variable,
    };
    read(&[ConfigFile::User(home.config())], &query)
}

/// Writes a file of a case, and makes the folders above it.
fn write(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
