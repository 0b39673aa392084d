//! A process with one system call that fails, as on a full or broken disk, or that is killed before
//! the call.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::Stage;

/// The source of the library. Its head lists what it can do.
const SOURCE: &str = include_str!("../shim/fail.c");

/// A library that makes one system call of a process fail. All other calls reach the real file
/// system.
pub struct Shim {
    library: PathBuf,
    mark: PathBuf,
}

/// The system call that fails, and the error.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// `write` or `fsync`. Each includes the similar calls.
    pub call: &'a str,
    /// A part of the file's path. Calls for other files succeed and are not counted.
    pub path: &'a str,
    /// The number of the call that fails, from 1.
    pub nth: u32,
    /// The error of the call.
    pub error: rustix::io::Errno,
}

impl Shim {
    /// Compiles the library on the stage. Prints SKIPPED and returns `None` without Linux or a C
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

    /// Preloads the library with this fault into a command. Resets
    /// [`has_struck`](Self::has_struck).
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

    /// Preloads the library so that the command takes `id` for that of this start of the machine.
    pub fn load_boot(&self, command: &mut Command, id: &str) {
        let file = self.mark.with_extension("boot");
        fs::write(&file, id).expect("a file on the stage");
        command
            .env("LD_PRELOAD", &self.library)
            .env("BOOT_ID", file);
    }

    /// Preloads the library so that it kills the command before a call.
    ///
    /// That is the `nth` call of the kind `call` for a file whose path contains `path`, counted
    /// since [`arm`](Self::arm).
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

    /// Whether the call has failed since [`load`](Self::load).
    ///
    /// Every test must check this, since a fault that did not happen proves nothing.
    pub fn has_struck(&self) -> bool {
        self.mark.exists()
    }
}
