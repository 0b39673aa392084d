//! A disk that fails, is full, or loses power.
//! An acknowledged file is there and complete. Any other file is absent or the old one.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use landline::files::{Algorithm, ContentHasher};
use rustix::io::Errno;
use testkit::{Census, Fault, Outcome, PowerCut, Relay, ServerProcess, Shim, Stage, wait_for};

use crate::{noise, resume::staging, stage};

const OLD: &[u8] = b"old and whole";
/// One whole block, which can be resumed, and some writes after it.
const LENGTH: usize = (9 << 20) + 12_345;

/// A client and a server, of which the receiving one can have a fault.
struct Faulty {
    server: ServerProcess,
    shim: Shim,
    content: Vec<u8>,
    stage: Stage,
}

impl Faulty {
    fn new(seed: u64) -> Option<Self> {
        let stage = stage();
        let shim = Shim::build(&stage)?;
        let server = stage.joined();
        let content = noise(LENGTH, seed);
        stage.write("user/source", &content);
        stage.write("home/source", &content);
        Some(Self {
            server,
            shim,
            content,
            stage,
        })
    }

    fn arguments(&self, up: bool) -> [String; 4] {
        let (from, to) = if up {
            ("source".into(), self.server.at("copy"))
        } else {
            (self.server.at("source"), "copy".into())
        };
        ["cp".into(), "--json".into(), from, to]
    }

    fn folder(&self, up: bool) -> PathBuf {
        self.stage.path(if up { "home" } else { "user" })
    }

    /// Copies over `old` with the fault at the receiver.
    ///
    /// Returns `None` if there were too few calls for the fault to strike.
    fn try_copy(&mut self, up: bool, old: Option<&[u8]>, fault: &Fault<'_>) -> Option<Outcome> {
        let copy = self.folder(up).join("copy");
        let _ = fs::remove_file(&copy);
        if let Some(old) = old {
            fs::write(&copy, old).unwrap();
        }
        let mut client = self.stage.command(&self.arguments(up));
        if up {
            let mut server = self.stage.serve_command(&self.server.address);
            self.shim.load(&mut server, fault);
            self.server.kill();
            self.server = self.stage.serve_with(server);
        } else {
            self.shim.load(&mut client, fault);
        }
        let output = client.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = Outcome {
            status: output.status.code(),
            stdout: output.stdout,
            stderr,
        };
        if !self.shim.has_struck() {
            assert_eq!(outcome.status, Some(0), "{fault:?}: {}", outcome.stderr);
            assert!(fs::read(copy).unwrap() == self.content, "{fault:?}");
            return None;
        }
        Some(outcome)
    }

    /// As [`try_copy`](Self::try_copy), and asserts that the old file is still there.
    fn copy(&mut self, up: bool, old: Option<&[u8]>, fault: &Fault<'_>) -> Option<Outcome> {
        let outcome = self.try_copy(up, old, fault)?;
        let found = fs::read(self.folder(up).join("copy")).ok();
        assert!(
            found.as_deref() == old,
            "{fault:?}: the final name; the copy ended with {:?}: {}",
            outcome.status,
            outcome.stderr
        );
        Some(outcome)
    }

    /// Runs the same command without a fault. Returns whether it resumed.
    fn run_again(&self, up: bool, fault: &Fault<'_>) -> bool {
        self.stage.run(&["ping", "127.0.0.1"]).ok();
        let left = staging(&self.folder(up)).len();
        assert!(left <= 1, "{fault:?}: {left} staging files");
        let said = self.stage.run(&self.arguments(up)).ok();
        assert!(
            fs::read(self.folder(up).join("copy")).unwrap() == self.content,
            "{fault:?}"
        );
        let has_resumed = said.contains(r#""resumed-at""#);
        assert_eq!(
            has_resumed,
            left == 1,
            "{fault:?}: a staging file is resumed"
        );
        assert_eq!(
            Census::of(&self.folder(up)).paths(),
            ["copy", "source"],
            "{fault:?}"
        );
        let manifests = if up {
            "server/server/partials"
        } else {
            "client/client/partials"
        };
        assert_eq!(
            Census::of(&self.stage.path(manifests)).paths(),
            Vec::<String>::new(),
            "{fault:?}"
        );
        has_resumed
    }
}

/// Unsynced data may be lost even if a second sync succeeds. So the file gets no name, and no copy
/// resumes it.
/// Proves `failed-sync` in docs/faults.md.
#[test]
fn unsynced_file_is_not_acknowledged() {
    let Some(mut faulty) = Faulty::new(1) else {
        return;
    };
    for up in [true, false] {
        for old in [None, Some(OLD)] {
            let syncs = (1..).find(|&nth| {
                let fault = Fault {
                    call: "fsync",
                    path: "/.landline-",
                    nth,
                    error: Errno::IO,
                };
                let Some(outcome) = faulty.copy(up, old, &fault) else {
                    return true;
                };
                assert_eq!(outcome.status, Some(27), "{}", outcome.stderr);
                assert_eq!(staging(&faulty.folder(up)), Vec::<PathBuf>::new());
                assert!(!faulty.run_again(up, &fault));
                false
            });
            assert!(syncs > Some(1), "the receiver syncs the file");
        }
    }
}

/// A file system that cannot sync, or that lacks another optional step, does not fail the copy.
/// Proves `optional-step` in docs/faults.md.
#[test]
fn unsupported_step_does_not_fail_copy() {
    let Some(mut faulty) = Faulty::new(3) else {
        return;
    };
    for up in [true, false] {
        for error in [Errno::INVAL, Errno::OPNOTSUPP] {
            let path = if up { "/home" } else { "/user" };
            let syncs = (1..).find(|&nth| {
                let fault = Fault {
                    call: "fsync",
                    path,
                    nth,
                    error,
                };
                let Some(outcome) = faulty.try_copy(up, None, &fault) else {
                    return true;
                };
                assert_eq!(outcome.status, Some(0), "{fault:?}: {}", outcome.stderr);
                false
            });
            // The file, and the folder.
            assert!(syncs > Some(2), "{syncs:?}");
        }
    }
}

/// A manifest that cannot be written prevents a resume, and not the copy.
/// Proves `optional-step` in docs/faults.md.
#[test]
fn copy_completes_without_manifest() {
    let Some(mut faulty) = Faulty::new(4) else {
        return;
    };
    for up in [true, false] {
        for (call, error) in [("write", Errno::NOSPC), ("fsync", Errno::INVAL)] {
            let calls = (1..).find(|&nth| {
                let fault = Fault {
                    call,
                    path: "/partials/",
                    nth,
                    error,
                };
                let Some(outcome) = faulty.try_copy(up, Some(OLD), &fault) else {
                    return true;
                };
                assert_eq!(outcome.status, Some(0), "{fault:?}: {}", outcome.stderr);
                let copy = faulty.folder(up).join("copy");
                assert!(fs::read(copy).unwrap() == faulty.content, "{fault:?}");
                assert_eq!(staging(&faulty.folder(up)), Vec::<PathBuf>::new());
                false
            });
            assert!(calls > Some(1), "{call} of the manifest");
        }
    }
}

/// Lets each write to the file fail once. Blocks that had arrived are kept.
fn every_write_fails_once(error: Errno, status: i32) {
    let Some(mut faulty) = Faulty::new(2) else {
        return;
    };
    for up in [true, false] {
        let mut resumed = 0;
        let writes = (1..).find(|&nth| {
            let fault = Fault {
                call: "write",
                path: "/.landline-",
                nth,
                error,
            };
            let old = (nth % 2 == 0).then_some(OLD);
            let Some(outcome) = faulty.copy(up, old, &fault) else {
                return true;
            };
            assert_eq!(
                outcome.status,
                Some(status),
                "{fault:?}: {}",
                outcome.stderr
            );
            resumed += u32::from(faulty.run_again(up, &fault));
            false
        });
        assert!(writes > Some(2), "the file is written more than once");
        assert!(resumed > 0, "at least one copy resumed");
    }
}

/// Proves `disk-full` in docs/faults.md.
#[test]
fn copy_resumes_after_full_disk_at_any_write() {
    every_write_fails_once(Errno::NOSPC, 24);
}

/// Proves `half-file` in docs/faults.md.
#[test]
fn copy_resumes_after_any_write_error() {
    every_write_fails_once(Errno::IO, 27);
}

/// Reproducible choices.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        let bytes: Vec<u8> = self.0.by_ref().take(4).collect();
        u32::from_le_bytes(bytes.try_into().expect("there are enough")) as usize % end
    }
}

/// A server whose state and home are on a disk that loses its power.
struct Power {
    server: ServerProcess,
    disk: PowerCut,
    choices: Choices,
    /// The content that was acknowledged for each name.
    known: BTreeMap<&'static str, Vec<u8>>,
    /// The duration of a copy of [`LONG`], so that a power cut falls into a copy.
    duration: Duration,
    /// The lengths of staging files that have lost their manifest.
    orphans: Vec<u64>,
    /// How many copies resumed after a power cut.
    resumed: u32,
    stage: Stage,
}

/// Few names, so that some files are replaced.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LONG: usize = 20 << 20;

impl Power {
    fn new(seed: u64, cuts: u64) -> Option<Self> {
        let stage = stage();
        let disk = PowerCut::new(&stage)?;
        let choices = Choices(noise((cuts as usize + 1) * 32, seed ^ 0xdead).into_iter());
        let server = serve(&stage, &disk, "127.0.0.1:0");
        let known = BTreeMap::new();
        stage
            .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
            .ok();
        let mut power = Self {
            server,
            disk,
            choices,
            known,
            duration: Duration::ZERO,
            orphans: Vec::new(),
            resumed: 0,
            stage,
        };
        // The join of the client was acknowledged too.
        power.cut();
        power.restart();
        let start = Instant::now();
        power.stage.write("user/new", &noise(LONG, seed));
        power.acknowledged(NAMES[0], noise(LONG, seed));
        power.duration = start.elapsed();
        Some(power)
    }

    /// Cuts the power. [`Power::restart`] starts the server on what is left.
    fn cut(&mut self) {
        if self.choices.below(2) == 0 {
            self.disk.write_journal();
        }
        self.disk.cut(&mut self.server);
    }

    fn restart(&mut self) {
        self.server = serve(&self.stage, &self.disk, &self.server.address.clone());
        self.check_audit();
    }

    /// Checks that the audit log is intact and has a line for every acknowledged file.
    fn check_audit(&self) {
        let at_server = |arguments: &[&str]| {
            let mut command = self.stage.command(arguments);
            command.env("LANDLINE_STATE", self.disk.path("server"));
            self.stage.run_command(command).ok()
        };
        at_server(&["audit", "verify"]);
        let shown = at_server(&["audit", "show", "--json"]);
        for (name, content) in &self.known {
            let mut hasher = ContentHasher::new(Algorithm::Blake3);
            hasher.update(content);
            let digest = hasher.finish().to_string();
            let path = self.disk.path("home").join(name).display().to_string();
            let is_written = shown
                .lines()
                .any(|line| line.contains(&digest) && line.contains(&path));
            assert!(
                is_written,
                "{name} was acknowledged and is not in the audit log"
            );
        }
    }

    fn arguments(&self, name: &str) -> [String; 6] {
        ["cp", "--json", "--retry", "0", "new", &self.server.at(name)].map(str::to_owned)
    }

    fn acknowledged(&mut self, name: &'static str, content: Vec<u8>) {
        let said = self.stage.run(&self.arguments(name)).ok();
        self.resumed += u32::from(said.contains(r#""resumed-at""#));
        self.known.insert(name, content);
    }

    /// Removes staging files without a manifest. Manifests are not synced, so a power cut can take
    /// one and leave the staging file.
    fn clear(&mut self) {
        for path in staging(&self.disk.path("home")) {
            self.orphans.push(fs::metadata(&path).unwrap().len());
            fs::remove_file(path).unwrap();
        }
    }

    fn round(&mut self, round: u64) {
        let name = NAMES[self.choices.below(NAMES.len())];
        let lengths = [1, 5_000, 300_000, 9 << 20];
        let is_during = round.is_multiple_of(2);
        let length = if is_during {
            LONG / 2 + self.choices.below(LONG / 2)
        } else {
            lengths[self.choices.below(4)]
        };
        let content = noise(length, round + 100);
        self.stage.write("user/new", &content);
        if is_during {
            let mut client = self.stage.command(&self.arguments(name));
            let client = client
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let moments = [self.choices.below(500), self.choices.below(500)];
            for moment in moments {
                std::thread::sleep(self.duration.mul_f64(moment as f64 / 1000.0));
                if moment % 2 == 0 && moment == moments[0] {
                    self.disk.write_back();
                }
            }
            self.cut();
            if client.wait_with_output().unwrap().status.success() {
                self.known.insert(name, content.clone());
            }
        } else {
            self.acknowledged(name, content.clone());
            self.cut();
        }
        self.check(Some((name, &content)));
        self.restart();
        // The same command with the same source may resume what the power cut has left.
        self.acknowledged(name, content);
        self.check(None);
        self.clear();
    }

    /// Checks that every name has the content that was acknowledged last. A copy that was cut off
    /// may have succeeded too.
    fn check(&self, unsure: Option<(&str, &[u8])>) {
        for name in NAMES {
            let found = fs::read(self.disk.path("home").join(name)).ok();
            let is_new =
                unsure.is_some_and(|(unsure, new)| unsure == name && found.as_deref() == Some(new));
            let (found, known) = (found.as_ref(), self.known.get(name));
            assert!(
                is_new || found == known,
                "{name}: {:?}, not {:?}",
                found.map(Vec::len),
                known.map(Vec::len)
            );
        }
        let mut others = Census::of(&self.disk.path("home")).paths();
        others.retain(|path| !NAMES.contains(&&path[..]) && !path.ends_with(".part"));
        assert_eq!(others, Vec::<String>::new());
    }
}

fn serve(stage: &Stage, disk: &PowerCut, address: &str) -> ServerProcess {
    let mut command = stage.serve_command(address);
    command
        .env("LANDLINE_STATE", disk.path("server"))
        .env("HOME", disk.path("home"));
    stage.serve_with(command)
}

/// Proves `power-cut` in docs/faults.md.
#[test]
fn acknowledged_data_survives_power_cut() {
    let seed = std::env::var("LANDLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1u64);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    let cuts = if testkit::is_soak() { 200 } else { 4 };
    let Some(mut power) = Power::new(seed, cuts) else {
        return;
    };
    for round in 0..cuts {
        power.round(round);
    }
    let (resumed, orphans) = (power.resumed, &power.orphans);
    eprintln!(
        "{cuts} cuts, {resumed} copies resumed; staging files left without a manifest, in bytes: {orphans:?}"
    );
    assert!(
        orphans.is_empty(),
        "staging files without a manifest: {orphans:?}"
    );
}

/// What of an interrupted copy is durable when the power fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Durable {
    /// More than two blocks, and the manifest.
    Everything,
    /// The manifest only. Its blocks may be lost.
    Manifest,
}

/// The copy resumes after the blocks that are left. It does not trust a manifest whose blocks are
/// lost.
/// Proves `power-cut` in docs/faults.md.
#[test]
fn copy_resumes_after_power_cut() {
    for durable in [Durable::Everything, Durable::Manifest] {
        let stage = stage();
        let Some(disk) = PowerCut::new(&stage) else {
            return;
        };
        let mut server = serve(&stage, &disk, "127.0.0.1:0");
        let relay = Relay::start(&server.address);
        let both = format!("{},{}", relay.address, server.address);
        crate::join_by(&stage, &server, &both);
        disk.write_back();
        let content = noise(2 * LONG, 11);
        stage.write("user/new", &content);
        // The power is cut during the copy.
        relay.hold_after(24 << 20);
        let arguments = [
            "cp",
            "--json",
            "--retry",
            "0",
            "new",
            &format!("landline://{}/copy", relay.address),
        ]
        .map(str::to_owned);
        let mut client = stage.command(&arguments);
        let client = client
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let arrived = || {
            staging(&disk.path("home"))
                .first()
                .map_or(0, |part| fs::metadata(part).map_or(0, |it| it.len()))
        };
        wait_for("more than two blocks", || arrived() > 17 << 20);
        match durable {
            Durable::Everything => disk.write_back(),
            Durable::Manifest => {
                for manifest in fs::read_dir(disk.path("server/server/partials")).unwrap() {
                    fs::File::open(manifest.unwrap().path())
                        .unwrap()
                        .sync_all()
                        .unwrap();
                }
            }
        }
        disk.cut(&mut server);
        relay.release();
        assert_eq!(
            client.wait_with_output().unwrap().status.code(),
            Some(10),
            "the connection broke"
        );
        assert!(!disk.path("home/copy").exists());

        server = serve(&stage, &disk, &server.address.clone());
        let said = stage.run(&arguments).ok();
        assert!(
            fs::read(disk.path("home/copy")).unwrap() == content,
            "{durable:?}: the content"
        );
        let offset = said.lines().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            (event["event"] == "resumed-at").then(|| event["offset"].as_u64().unwrap())
        });
        if durable == Durable::Everything {
            assert!(
                offset >= Some(16 << 20),
                "the copy resumes after the durable blocks: {offset:?}"
            );
        }
        assert_eq!(
            staging(&disk.path("home")),
            Vec::<PathBuf>::new(),
            "{durable:?}"
        );
        assert_eq!(
            Census::of(&disk.path("server/server/partials")).paths(),
            Vec::<String>::new(),
            "{durable:?}"
        );
        drop(server);
    }
}
