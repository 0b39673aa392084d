//! `cargo xtask fuzz`: coverage-guided runs of the fuzz targets, and what they add to the corpora.
//!
//! libFuzzer is linked into one program with all targets. The compiler inserts the counters by
//! flags that every release of it knows. So neither a nightly compiler nor cargo-fuzz is needed.
//! No sanitizer is used: `unsafe` code is not what these targets look for, and without one they
//! are ten times as fast.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{package::target, process};

/// What has the compiler count the edges that an input takes, and the values that it compares.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// An input that takes longer is a hang, in seconds.
const HANG_SECONDS: u32 = 10;
/// A process that needs more is a leak, in MiB.
const MEMORY_MIB_MAX: u32 = 1024;
/// The longest input of a run, and of the committed corpora, in bytes.
const INPUT_BYTES_MAX: u32 = 4096;
const KEPT_BYTES_MAX: u32 = 512;

/// How long to fuzz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    Seconds(u64),
    Inputs(u64),
}

impl Amount {
    pub(crate) const DEFAULT: Self = Self::Seconds(60);

    /// Reads `60s`, or a number of inputs.
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let (digits, make): (_, fn(u64) -> Self) = match word.strip_suffix('s') {
            Some(digits) => (digits, Self::Seconds),
            None => (word, Self::Inputs),
        };
        digits
            .parse()
            .map(make)
            .map_err(|_| format!("{word:?} is no amount: write for example 60s, or 1000000 inputs"))
    }

    fn option(self) -> String {
        match self {
            Self::Seconds(seconds) => format!("-max_total_time={seconds}"),
            Self::Inputs(inputs) => format!("-runs={inputs}"),
        }
    }
}

/// Fuzzes a target, or all of them one after the other, and prints a line of figures for each.
pub(crate) fn run(root: &Path, name: &str, amount: Amount) -> Result<(), String> {
    let fuzzer = Fuzzer::build(root)?;
    println!("target               inputs   crashes   peak MiB   kept in the work folder");
    let failed: Vec<String> = fuzzer
        .targets(name)?
        .into_iter()
        .filter_map(|target| fuzzer.fuzz(&target, amount).err())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\nxtask: "))
    }
}

/// Adds to the committed corpora what earlier runs found, as far as it reaches new code.
///
/// No run may go on meanwhile: it replaces the files that it found.
pub(crate) fn grow(root: &Path) -> Result<(), String> {
    let fuzzer = Fuzzer::build(root)?;
    for target in fuzzer.targets("all")? {
        let (committed, found) = (fuzzer.committed(&target), fuzzer.found(&target));
        if !found.is_dir() {
            continue;
        }
        let options = [
            // The fewest inputs that reach all the code, however often they pass it.
            "-set_cover_merge=1".to_owned(),
            "-use_counters=0".to_owned(),
            max_len(KEPT_BYTES_MAX),
        ];
        fuzzer.start(&target, &options, &[&committed, &found])?;
        println!("xtask: {target} has {} inputs", count(&committed)?);
    }
    Ok(())
}

/// The program with all targets, and its folders.
struct Fuzzer {
    program: PathBuf,
    corpora: PathBuf,
    work: PathBuf,
}

impl Fuzzer {
    /// Builds the program.
    fn build(root: &Path) -> Result<Self, String> {
        let triple = host(root)?;
        let mut build = process::cargo(
            &[
                "build",
                "--locked",
                "--profile",
                "fuzz",
                // With a triple, the flags are not used for build scripts and macros.
                "--target",
                &triple,
                "-p",
                "landline-fuzz",
                "--features",
                "libfuzzer",
            ],
            root,
        );
        build.env("RUSTFLAGS", COVERAGE.join(" "));
        process::run(build)?;
        let target = target()?;
        Ok(Self {
            program: target.join(triple).join("fuzz").join("landline-fuzz"),
            corpora: root.join("fuzz").join("corpus"),
            work: target.join("fuzz-work"),
        })
    }

    /// The targets that `name` means: one, or `all`.
    fn targets(&self, name: &str) -> Result<Vec<String>, String> {
        let all = names(&self.corpora)?;
        match name {
            "all" => Ok(all),
            _ if all.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
            _ => Err(format!(
                "there is no target {name}; these exist: {}",
                all.join(", ")
            )),
        }
    }

    fn committed(&self, target: &str) -> PathBuf {
        self.corpora.join(target)
    }

    fn found(&self, target: &str) -> PathBuf {
        self.work.join("corpus").join(target)
    }

    fn log(&self, target: &str) -> PathBuf {
        self.work.join(format!("{target}.log"))
    }

    /// Fuzzes one target and prints its figures.
    fn fuzz(&self, target: &str, amount: Amount) -> Result<(), String> {
        let (found, crashes) = (self.found(target), self.work.join("crashes").join(target));
        for folder in [&found, &crashes] {
            fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        }
        let options = [
            amount.option(),
            format!("-timeout={HANG_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            max_len(INPUT_BYTES_MAX),
            "-use_value_profile=1".to_owned(),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", crashes.display()),
        ];
        let outcome = self.start(target, &options, &[&found, &self.committed(target)]);
        let log = fs::read_to_string(self.log(target)).unwrap_or_default();
        println!(
            "{target:16} {:>10} {:>9} {:>10} {:>8}",
            figure(&log, "number_of_executed_units"),
            count(&crashes)?,
            figure(&log, "peak_rss_mb"),
            count(&found)?,
        );
        outcome
    }

    /// Runs the program. Its output goes to the log of the target.
    fn start(&self, target: &str, options: &[String], folders: &[&Path]) -> Result<(), String> {
        let log = self.log(target);
        let failed = |why: std::io::Error| format!("{}: {why}", log.display());
        fs::create_dir_all(&self.work).map_err(failed)?;
        let output = File::create(&log).map_err(failed)?;
        let program = self.program.to_string_lossy();
        let mut command = process::command(&program, &[], &self.work);
        command
            .args(options)
            .args(
                folders
                    .iter()
                    .map(|folder| folder as &dyn AsRef<OsStr>)
                    .map(AsRef::as_ref),
            )
            .env("LANDLINE_FUZZ_TARGET", target)
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        let status = command
            .status()
            .map_err(|why| format!("{program}: {why}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "{target} ended with {status}: see {}",
                log.display()
            ))
        }
    }
}

fn max_len(bytes: u32) -> String {
    format!("-max_len={bytes}")
}

/// A figure at the end of libFuzzer's output.
fn figure<'a>(log: &'a str, name: &str) -> &'a str {
    log.lines()
        .filter_map(|line| {
            line.strip_prefix("stat::")?
                .strip_prefix(name)?
                .strip_prefix(':')
        })
        .next_back()
        .map_or("?", str::trim)
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |why: std::io::Error| format!("{}: {why}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(
            entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}

fn count(folder: &Path) -> Result<usize, String> {
    names(folder).map(|names| names.len())
}

/// The triple of this machine.
fn host(root: &Path) -> Result<String, String> {
    let version = process::output(process::command("rustc", &["-vV"], root))?;
    String::from_utf8_lossy(&version)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV does not say which machine this is".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_seconds_or_inputs() {
        assert_eq!(Amount::parse("90s"), Ok(Amount::Seconds(90)));
        assert_eq!(Amount::parse("1000000"), Ok(Amount::Inputs(1_000_000)));
        for wrong in ["", "s", "1m", "-1"] {
            assert!(Amount::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_found_in_the_output() {
        let log =
            "#7 DONE\nstat::number_of_executed_units: 7\nstat::peak_rss_mb:              33\n";
        assert_eq!(figure(log, "number_of_executed_units"), "7");
        assert_eq!(figure(log, "peak_rss_mb"), "33");
        assert_eq!(figure(log, "peak"), "?");
    }
}
