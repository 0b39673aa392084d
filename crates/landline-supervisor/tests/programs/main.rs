//! Tests of supervisors in processes of their own.
//!
//! The program runs the tests. With the argument `supervisor` it is the supervisor that they start.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod adoption;
mod disk;
mod emulator;
mod ending;
mod folder;
mod frozen;
mod server;
mod streams;
mod terminal;
mod throughput;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("supervisor") => return landline_supervisor::main().unwrap(),
        Some(frozen::WORD) => return supervisor_v1::main().unwrap(),
        Some("full-disk") => return disk::full_disk(std::path::Path::new(&words[1])),
        Some("throughput") => return throughput::measure(),
        _ => {}
    }
    // A test harness takes a filter; so does this.
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let tests = streams::TESTS.iter().chain(&ending::TESTS);
    let tests = tests.chain(&adoption::TESTS).chain(&disk::TESTS);
    let tests = tests.chain(&frozen::TESTS).chain(&terminal::TESTS);
    for (name, test) in tests {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
