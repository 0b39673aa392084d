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

mod ending;
mod server;
mod streams;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "supervisor") {
        landline_supervisor::main().unwrap();
        return;
    }
    // A test harness takes a filter; so does this.
    let filter = words.iter().find(|word| !word.starts_with('-'));
    for (name, test) in streams::TESTS.iter().chain(&ending::TESTS) {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
