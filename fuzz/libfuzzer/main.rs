//! libFuzzer's entry to the target that the variable `LANDLINE_FUZZ_TARGET` names.
#![no_main]
#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    clippy::print_stderr,
    reason = "libFuzzer owns the arguments and the exit; the macro writes a file where it asks for one"
)]

use std::sync::OnceLock;

use landline_fuzz::{TARGETS, Target};

/// Chosen once, before the first input.
static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("LANDLINE_FUZZ_TARGET").unwrap_or_default();
        let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
            eprintln!("LANDLINE_FUZZ_TARGET is {name:?}, which is no target");
            std::process::exit(2);
        };
        TARGET.get_or_init(|| *target);
    },
    |input: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(input);
        }
    }
);
