//! Tests of servers in processes of their own, which fork or lack descriptors.
//!
//! The program runs the tests. With arguments it is a server that the tests start.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod client;
mod descriptors;
mod processes;
mod program;

use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", kind, processes, limits @ ..] => {
            let limits: Vec<usize> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
            program::serve(kind, processes, &limits)
        }
        ["plain", kind, processes] => program::serve_plainly(kind, processes),
        ["hold", model, descriptors_max] => program::hold(model, descriptors_max.parse().unwrap()),
        ["threads"] => println!("{}", program::fork_with_threads()),
        // The arguments of cargo are for a test harness.
        _ => run_all(),
    }
}

fn run_all() {
    for (name, test) in processes::TESTS.iter().chain(&descriptors::TESTS) {
        test();
        println!("test {name} ... ok");
    }
}
