//! The project's chores, run as `cargo xtask COMMAND`. Nothing here is shipped.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for the terminal of a developer: it prints, and it reads the repository's own files"
)]

mod bench;
mod fuzz;
mod package;
mod picture;
mod process;
mod test;
mod tidy;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What `cargo xtask help` prints.
const USAGE: &str = "\
The chores of this repository. Run them from anywhere inside it.

cargo xtask test                     install what the tests need (Debian, as root or by sudo),
                                     run every test, then the tidy checks
cargo xtask soak                     run every test with its long loops at full length (kills, power
                                     cuts)
cargo xtask soak disconnects [COUNT] lose the connections of commands COUNT times (1000), at random
                                     bytes
cargo xtask tidy                     check the rules of the house: imports, names, links, lengths,
                                     plain English
cargo xtask prose                    print the punctuation per sentence of each document and the help
cargo xtask public                   print the number of public items of the crate landline
cargo xtask bench copy [ARGS...]     build the binary of profile dist, run bench/copy_bench.py ARGS:
                                     one large file, landline and its peers
cargo xtask bench resume [ARGS...]   likewise bench/resume_bench.py: how soon a killed copy resumes
cargo xtask bench delta [ARGS...]    likewise bench/delta_bench.py: changed parts, and rsync
cargo xtask bench wan [ARGS...]      likewise bench/wan_bench.py: a copy over a long line that loses packets
cargo xtask bench echo [ARGS...]     likewise bench/echo_bench.py: landline-socketserver, C and Python
cargo xtask bench run [ARGS...]      likewise bench/run_bench.py: commands by landline and by ssh
cargo xtask bench forward [ARGS...]  likewise bench/forward_bench.py: -L of landline and of ssh
cargo xtask bench hosts [ARGS...]    likewise bench/hosts_bench.py: a command at 50 servers
cargo xtask bench garbage [ARGS...]  likewise bench/garbage_bench.py: a million garbage connections
cargo xtask bench terminal [ARGS...] likewise bench/terminal_bench.py: sessions that wait for a client
cargo xtask bench tree [ARGS...]     likewise bench/tree_bench.py: 20,000 small files, landline and its peers
cargo xtask dist                     build the binary of profile dist, its manual pages, completions
                                     and units, in target/dist
cargo xtask deb                      the same, packed as a Debian package in target/debian
cargo xtask picture                  draw the terminal in the README from a real session (tmux)
cargo xtask fuzz TARGET [AMOUNT]     fuzz one target, or all, for 60s or as many inputs as AMOUNT says
cargo xtask fuzz grow                add to fuzz/corpus what such runs found, where it reaches new code
cargo xtask help                     this text
";

/// Runs the command named on the command line; an error is printed and makes the exit status 1.
fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(OsString::into_string)
        .collect();
    let outcome = match arguments {
        Ok(words) => dispatch(&words.iter().map(String::as_str).collect::<Vec<_>>()),
        Err(word) => Err(format!(
            "the argument {word:?} is not valid UTF-8: write it in plain characters"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Chooses the command.
fn dispatch(words: &[&str]) -> Result<(), String> {
    match words {
        [] | ["help" | "--help" | "-h", ..] => {
            print!("{USAGE}");
            Ok(())
        }
        ["test"] => test::run(&repository()?),
        ["soak"] => test::soak(&repository()?),
        ["soak", "disconnects"] => test::soak_disconnects(&repository()?, "1000"),
        ["soak", "disconnects", count] => test::soak_disconnects(&repository()?, count),
        ["tidy"] => tidy::run(&repository()?),
        ["prose"] => tidy::print_prose(&repository()?),
        ["public"] => tidy::print_public(&repository()?),
        [
            "bench",
            name @ ("copy" | "resume" | "wan" | "echo" | "run" | "forward" | "hosts" | "garbage"
            | "terminal" | "tree"),
            arguments @ ..,
        ] => bench::run(&repository()?, name, arguments),
        ["dist"] => package::build(&repository()?),
        ["picture"] => picture::draw(&repository()?),
        ["deb"] => package::build_deb(&repository()?),
        ["fuzz", "grow"] => fuzz::grow(&repository()?),
        ["fuzz", target] => fuzz::run(&repository()?, target, fuzz::Amount::DEFAULT),
        ["fuzz", target, amount] => fuzz::run(&repository()?, target, fuzz::Amount::parse(amount)?),
        _ => Err(format!(
            "no such command: {}. These exist:\n\n{USAGE}",
            words.join(" ")
        )),
    }
}

/// The repository's top folder: the nearest one, from the current folder upwards, that holds this
/// crate.
fn repository() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|why| {
        format!("the current folder cannot be read ({why}): change to the repository")
    })?;
    here.ancestors()
        .find(|folder| folder.join("xtask").join("Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            format!(
                "{} is not inside the repository: change to it",
                here.display()
            )
        })
}
