//! A process one of whose system calls fails, as on a disk that is full or broken, or that is
//! killed right before one.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::Stage;

/// What is preloaded; its head says what it can do and what it cannot.
const SOURCE: &str = include_str!("../shim/fail.c");

/// A library to preload into a process, so that one of its system calls fails. The real file system
/// is below it: only what the test asks for goes wrong.
pub struct Shim {
    library: PathBuf,
    mark: PathBuf,
}

/// Which system call fails, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// `write` or `fsync`; either stands for its relatives too.
    pub call: &'a str,
    /// What the path of the file has to contain: calls for other files work, and are not counted.
    pub path: &'a str,
    /// Which of the calls, from 1. It fails once.
    pub nth: u32,
    /// How it fails.
    pub error: rustix::io::Errno,
}

impl Shim {
    /// Compiles the library on the stage. `None`, said aloud, where there is no Linux or no C
    /// compiler.
    pub fn build(stage: &Stage) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            eprintln!("SKIPPED: failing system calls need Linux");
            return None;
        }
        let source = stage.write("fail.c", SOURCE.as_bytes());
        let library = stage.path("fail.so");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl");
        let Ok(output) = compiler.stdin(Stdio::null()).output() else {
            eprintln!("SKIPPED: failing system calls need a C compiler (gcc, libc6-dev)");
            return None;
        };
        assert!(
            output.status.success(),
            "fail.c: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(Self {
            library,
            mark: stage.path("fail.mark"),
        })
    }

    /// Lets this command, once started, have the fault; what an earlier one did is forgotten.
    pub fn load(&self, command: &mut Command, fault: &Fault<'_>) {
        let _ = fs::remove_file(&self.mark);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAIL_MARK", &self.mark)
            .env("FAIL_CALL", fault.call)
            .env("FAIL_PATH", fault.path)
            .env("FAIL_NTH", fault.nth.to_string())
            .env("FAIL_ERRNO", fault.error.raw_os_error().to_string());
    }

    /// Has this command, once started, killed right before the `nth` call of the kind `call` for a
    /// file whose path contains `path`, counted from [`arm`](Self::arm) on.
    pub fn load_kill(&self, command: &mut Command, call: &str, path: &str, nth: u32) {
        let fault = Fault {
            call,
            path,
            nth,
            error: rustix::io::Errno::IO,
        };
        self.load(command, &fault);
        let _ = fs::remove_file(self.arm_file());
        command
            .env("FAIL_ERRNO", "0")
            .env("FAIL_ARM", self.arm_file());
    }

    /// Begins to count the calls of [`load_kill`](Self::load_kill).
    pub fn arm(&self) {
        fs::write(self.arm_file(), "").expect("a file on the stage");
    }

    fn arm_file(&self) -> PathBuf {
        self.mark.with_extension("arm")
    }

    /// Whether the call has failed since [`load`](Self::load). A test has to ask: a fault that
    /// never came about proves nothing.
    pub fn has_struck(&self) -> bool {
        self.mark.exists()
    }
}
