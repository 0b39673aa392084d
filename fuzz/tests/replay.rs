#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the corpus is read from this package's own folder"
)]
//! Runs every target over its corpus, and over mutations of it from a fixed seed.

use std::{fmt::Write, fs, panic, path::Path};

use landline_fuzz::{TARGETS, Target};

const SEED: u64 = 0x6c61_6e64_6c69_6e65;
const MUTATIONS: usize = 2_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) as usize) % end.max(1)
    }

    /// The begin and end of a part of at most `longest` within `length`.
    fn part(&mut self, length: usize, longest: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        (from, from + self.below((length - from).min(longest) + 1))
    }
}

/// The files of a target, sorted by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(files.len() > 1, "{target}: too few seeds");
    files
}

/// Runs a target. A failure prints `what` and the input.
#[allow(
    clippy::print_stderr,
    reason = "the test harness shows it with the failure"
)]
fn run(name: &str, target: Target, what: &str, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| target(input)) {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        eprintln!("the target {name} failed on {what}: {hex}");
        panic::resume_unwind(cause);
    }
}

/// Bytes that decoders treat as special.
const SPECIAL: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\n",
    b" ",
    b"/",
    b"..",
    b"~",
    b":",
    b"@",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b",",
    b"-",
    b"%",
    b"#",
    b"null",
    b"1e400",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\x10\0\0",
    b"\"size\":",
    b"\"type\":",
    b"landline://",
    b".landline-",
    b".part",
];

fn mutate(random: &mut Random, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut input = files[random.below(files.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        match random.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.next() as u8,
            2 => {
                let (from, to) = random.part(input.len(), 8);
                input.drain(from..to);
            }
            3 => input.truncate(random.below(input.len() + 1)),
            4 => {
                let (from, to) = random.part(input.len(), 64);
                let part = input[from..to].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let other = &files[random.below(files.len())].1;
                let (from, to) = random.part(other.len(), other.len());
                let (start, end) = random.part(input.len(), 64);
                input.splice(start..end, other[from..to].iter().copied());
            }
            6 => {
                let special = SPECIAL[random.below(SPECIAL.len())];
                let end = if random.below(2) == 0 {
                    at
                } else {
                    input.len().min(at + special.len())
                };
                input.splice(at..end, special.iter().copied());
            }
            _ if !input.is_empty() => {
                input[at] = input[at].wrapping_add(if random.below(2) == 0 { 1 } else { 255 })
            }
            _ => input.push(random.next() as u8),
        }
    }
    input
}

/// Proves `panic` in docs/faults.md.
#[test]
fn corpus_passes() {
    for &(name, target) in TARGETS {
        for (file, input) in corpus(name) {
            run(name, target, &file, &input);
        }
        run(name, target, "nothing", &[]);
    }
}

/// Proves `panic` in docs/faults.md.
#[test]
fn mutations_of_the_corpus_pass() {
    println!("the seed is {SEED:#x}");
    for &(name, target) in TARGETS {
        let files = corpus(name);
        let mut random = Random(SEED);
        for number in 0..MUTATIONS {
            let input = mutate(&mut random, &files);
            run(
                name,
                target,
                &format!("mutation {number} of the seed {SEED:#x}"),
                &input,
            );
        }
    }
}
