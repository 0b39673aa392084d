//! The decoders of untrusted input, each as a function of bytes that panics if an invariant breaks.
//!
//! A stream gives the same result however it is cut. Accepted values round-trip.
//!
//! `tests/replay.rs` runs them over the corpus and its mutations in every test run. `libfuzzer/`
//! passes them to libFuzzer.

mod audit;
mod bundle;
mod classic;
mod delta;
mod entries;
mod exec;
mod forward;
mod keys;
mod login;
mod rights;
mod stream;
mod streams;
mod text;
mod tree;

pub use audit::audit;
pub use bundle::bundle;
pub use classic::{
    bursts as classic_bursts, chat as classic_chat, echo as classic_echo,
    headers as classic_headers, login as classic_login, upload as classic_upload,
};
pub use delta::delta;
pub use entries::{pattern, records};
pub use exec::{supervisor, terminal, terminal_output};
pub use forward::socks;
pub use keys::{agent, key_file, pins, ssh_config};
pub use login::{client_login, server_login};
pub use rights::rights;
pub use stream::{frame, header, message, message_types};
pub use streams::streams;
pub use text::{address, host_set, invite, key, key_line, path, secret};
pub use tree::tree;

/// A decoder under test.
pub type Target = fn(&[u8]);

/// Every target by name, which is also the name of its folder in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame", frame),
    ("header", header),
    ("message", message),
    ("message_types", message_types),
    ("streams", streams),
    ("bundle", bundle),
    ("tree", tree),
    ("delta", delta),
    ("supervisor", supervisor),
    ("terminal", terminal),
    ("terminal_output", terminal_output),
    ("socks", socks),
    ("server_login", server_login),
    ("client_login", client_login),
    ("path", path),
    ("pattern", pattern),
    ("records", records),
    ("key", key),
    ("key_line", key_line),
    ("key_file", key_file),
    ("agent", agent),
    ("ssh_config", ssh_config),
    ("pins", pins),
    ("invite", invite),
    ("secret", secret),
    ("address", address),
    ("host_set", host_set),
    ("classic_upload", classic_upload),
    ("classic_bursts", classic_bursts),
    ("classic_chat", classic_chat),
    ("classic_echo", classic_echo),
    ("classic_headers", classic_headers),
    ("classic_login", classic_login),
    ("rights", rights),
    ("audit", audit),
];

/// The input of a stream's target: a byte for the circumstances, a byte for the step, and the
/// stream.
fn controls(input: &[u8]) -> Option<(u8, usize, &[u8])> {
    match input {
        [choice, step, stream @ ..] => Some((*choice, usize::from(*step).max(1), stream)),
        _ => None,
    }
}

/// The stream in pieces: whole, in steps, and in single bytes.
fn segmentations(stream: &[u8], step: usize) -> [Vec<&[u8]>; 3] {
    [
        vec![stream],
        stream.chunks(step).collect(),
        stream.chunks(1).collect(),
    ]
}
