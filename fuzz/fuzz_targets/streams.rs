//! libFuzzer's entry to [`landline_fuzz::streams`].
#![no_main]
#![allow(
    clippy::disallowed_methods,
    reason = "the macro writes a file where libFuzzer asks for one"
)]

libfuzzer_sys::fuzz_target!(|input: &[u8]| landline_fuzz::streams(input));
