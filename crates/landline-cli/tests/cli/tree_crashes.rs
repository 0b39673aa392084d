//! Copies of trees that end at any moment: by kill -9 of either side, and by power cuts.
//!
//! A file below an existing folder is the whole old or the whole new one. A new folder is absent or
//! complete. The same command then completes the copy.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use testkit::{Outcome, PowerCut, Relay, ServerProcess, Shim, Stage, wait_for};

use crate::{join_by, noise, resume::staging, stage, trees::write};

/// The most that may be sent again after a kill: one batch.
const BATCH: u64 = 32 << 20;

/// Full lengths are for `cargo xtask soak`.
struct Length {
    files: u64,
    crashes: u64,
}

fn length(crashes: u64) -> Length {
    if testkit::is_soak() {
        Length {
            files: 5_000,
            crashes: 200,
        }
    } else {
        Length {
            files: 250,
            crashes,
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("LANDLINE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("seed {seed}; replay with LANDLINE_SEED={seed}");
    seed
}

/// Reproducible choices.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, end: u64) -> u64 {
        let bytes: Vec<u8> = self.0.by_ref().take(4).collect();
        u64::from(u32::from_le_bytes(
            bytes.try_into().expect("there are enough"),
        )) % end
    }
}

fn relative(number: u64) -> String {
    format!("{}/{}/{number}", number % 5, number % 11)
}

/// A third of the files changes with each version.
fn content(number: u64, version: u64) -> Vec<u8> {
    let length = match number {
        _ if number % 97 == 5 => 0,
        _ if number % 200 == 3 => 400_000,
        _ => 2_000 + (number * 37) % 9_000,
    };
    let of_file = (version + number) / 3;
    noise(
        usize::try_from(length).unwrap(),
        number * 1_000_003 + of_file * 7_919 + 1,
    )
}

fn write_version(tree: &Path, files: u64, version: u64) {
    for number in 0..files {
        let (path, content) = (tree.join(relative(number)), content(number, version));
        if fs::read(&path).ok().as_ref() != Some(&content) {
            write(&path, &content);
        }
    }
}

/// The files below a folder, without staging.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn visit(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.map_while(Result::ok) {
            let path = entry.path();
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(".landline-") {
                continue;
            }
            // A file may be replaced or moved away meanwhile.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => visit(root, &path, found),
                _ => {
                    if let Ok(content) = fs::read(&path) {
                        found.insert(path.strip_prefix(root).unwrap().to_owned(), content);
                    }
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(folder, folder, &mut found);
    found
}

/// A client and a server between which versions of a tree are copied.
struct Crashes {
    server: ServerProcess,
    relay: Relay,
    disk: Option<PowerCut>,
    shim: Option<Shim>,
    /// How often the machine has started.
    boots: u32,
    choices: Choices,
    files: u64,
    version: u64,
    /// The bytes that a whole copy of all files needs.
    whole: u64,
    /// What was sent beyond one whole copy, for each crash of a copy to a new folder.
    sent_again: Vec<u64>,
    stage: Stage,
}

/// One copy that is crashed.
struct Copy {
    up: bool,
    source: PathBuf,
    target: PathBuf,
    /// The version in the target, if it exists.
    old: Option<u64>,
    arguments: Vec<String>,
}

impl Crashes {
    /// With a disk, the receiver's files and the server's state are on it.
    fn new(length: &Length, with_disk: bool) -> Option<Self> {
        let seed = seed();
        let stage = stage();
        let (disk, shim) = match with_disk {
            true => (Some(PowerCut::new(&stage)?), Some(Shim::build(&stage)?)),
            false => (None, None),
        };
        let mut command = stage.serve_command("127.0.0.1:0");
        if let Some(disk) = &disk {
            on_disk(&mut command, disk);
        }
        let server = stage.serve_with(command);
        let relay = Relay::start(&server.address);
        join_by(&stage, &server, &relay.address);
        if let Some(disk) = &disk {
            fs::create_dir(disk.path("near")).unwrap();
            disk.write_back();
        }
        let bytes = usize::try_from(length.crashes + 1).unwrap() * 64;
        Some(Self {
            server,
            relay,
            disk,
            shim,
            boots: 0,
            choices: Choices(noise(bytes, seed ^ 0xdead).into_iter()),
            files: length.files,
            version: 0,
            whole: 0,
            sent_again: Vec::new(),
            stage,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path(name),
            None => self.stage.path(name),
        }
    }

    fn start(&self, copy: &Copy) -> Child {
        let mut command = self.command(copy);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn run(&self, copy: &Copy) -> Outcome {
        self.stage.run_command(self.command(copy))
    }

    fn command(&self, copy: &Copy) -> Command {
        let mut command = self.stage.command(&copy.arguments);
        self.boot(&mut command);
        command
    }

    fn boot(&self, command: &mut Command) {
        if let Some(shim) = &self.shim {
            shim.load_boot(command, &format!("boot-{}", self.boots));
        }
    }

    /// Starts the server again where it was.
    fn serve(&mut self) {
        let mut command = self.stage.serve_command(&self.server.address);
        if let Some(disk) = &self.disk {
            on_disk(&mut command, disk);
        }
        self.boot(&mut command);
        self.server = self.stage.serve_with(command);
    }

    /// The next version, to a new or an existing folder.
    fn next_copy(&mut self) -> Copy {
        let up = self.choices.below(2) == 0;
        let (source, folder) = match (up, &self.disk) {
            (true, _) => (self.stage.path("user/tree"), self.path("home")),
            (false, Some(_)) => (self.path("home/tree"), self.path("near")),
            (false, None) => (self.stage.path("home/tree"), self.stage.path("user")),
        };
        let target = folder.join("copy");
        let was_there = target.exists().then_some(self.version);
        let old = was_there.filter(|_| self.choices.below(2) == 0);
        if old.is_none() {
            let _ = fs::remove_dir_all(&target);
        }
        // The other direction may be behind by some versions.
        let old = old.map(|_| version_of(&files_below(&target), self.files, self.version));
        self.version += 1;
        write_version(&source, self.files, self.version);
        if let Some(disk) = &self.disk {
            disk.write_back();
        }
        let remote = |name| format!("landline://{}/{name}", self.relay.address);
        let (from, to) = match up {
            true => (source.to_str().unwrap().to_owned(), remote("copy")),
            false => (remote("tree"), target.to_str().unwrap().to_owned()),
        };
        let arguments = ["cp", "-q", "--retry", "0", "-rT", &from, &to].map(str::to_owned);
        Copy {
            up,
            source,
            target,
            old,
            arguments: arguments.to_vec(),
        }
    }

    /// Every file is whole. A new folder is complete, if it is there.
    fn check(&self, copy: &Copy) {
        let found = files_below(&copy.target);
        for (path, bytes) in &found {
            let number = path.file_name().unwrap().to_str().unwrap();
            let number: u64 = number.parse().unwrap();
            let is_known = *bytes == content(number, self.version)
                || copy.old.is_some_and(|old| *bytes == content(number, old));
            assert!(is_known, "{}: {} bytes", path.display(), bytes.len());
        }
        let is_complete = found.len() as u64 == self.files;
        let may_be_absent = copy.old.is_none() && found.is_empty() && !copy.target.exists();
        assert!(
            is_complete || may_be_absent,
            "{} of {} files",
            found.len(),
            self.files
        );
    }

    /// Asserts that the target is this version and nothing else is left.
    fn check_complete(&self, copy: &Copy) {
        let found = files_below(&copy.target);
        assert_eq!(found.len() as u64, self.files);
        for (path, bytes) in found {
            let number = path.file_name().unwrap().to_str().unwrap();
            let number: u64 = number.parse().unwrap();
            assert!(bytes == content(number, self.version), "{}", path.display());
        }
    }

    fn nothing_is_left(&self, copy: &Copy) {
        let left = || {
            let beside = copy.target.parent().map(staging);
            [beside.unwrap_or_default(), staging(&copy.target)].concat()
        };
        let what = format!("no staging folder, after a copy with up {}", copy.up);
        wait_for(&what, || left().is_empty());
    }

    /// Waits for a moment of the copy: after some share of its bytes, and some milliseconds.
    fn wait_for_moment(&mut self, child: &mut Child, begun: u64) {
        let share = self.whole * self.choices.below(1_050) / 1_000;
        let after = Duration::from_millis(self.choices.below(40));
        wait_for("the moment of the crash", || {
            self.relay.passed() - begun >= share || child.try_wait().unwrap().is_some()
        });
        std::thread::sleep(after);
    }
}

/// The version that all these files have together.
fn version_of(found: &BTreeMap<PathBuf, Vec<u8>>, files: u64, newest: u64) -> u64 {
    let has = |version: u64| {
        (0..files).all(|number| {
            found.get(Path::new(&relative(number))) == Some(&content(number, version))
        })
    };
    let found = (0..=newest).rev().find(|version| has(*version));
    found.expect("the target is whole before the copy")
}

/// Puts the server's state and home on a disk.
fn on_disk(command: &mut Command, disk: &PowerCut) {
    command
        .env("LANDLINE_STATE", disk.path("server"))
        .env("HOME", disk.path("home"));
}

/// A folder of the target is exchanged for a link and back, as fast as possible, while trees are
/// copied into it and out of it.
/// Proves `link-swap-race` in docs/faults.md.
#[cfg(target_os = "linux")]
#[test]
fn tree_is_not_copied_through_a_swapped_link() {
    use std::sync::atomic::AtomicU64;

    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use testkit::Census;

    let (least_swaps, least_copies) = match testkit::is_soak() {
        true => (100_000, 400),
        false => (5_000, 12),
    };
    let stage = stage();
    let server = stage.joined();
    for (place, content) in [
        ("home/copy/d", &b"old"[..]),
        ("outside", b"outside"),
        ("user/tree/d", b"new"),
    ] {
        for number in 0..20 {
            write(&stage.path(&format!("{place}/{number}")), content);
        }
    }
    write(&stage.path("outside/extra"), b"outside");
    write(&stage.path("home/copy/d/extra"), b"old");
    std::os::unix::fs::symlink(stage.path("outside"), stage.path("home/out")).unwrap();
    let before = Census::of(&stage.path("outside"));
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let tree = stage.path("user/tree").to_str().unwrap().to_owned();
    let mut copies = 0;
    std::thread::scope(|scope| {
        let (stage, done, swaps) = (&stage, &done, &swaps);
        scope.spawn(move || {
            let (folder, link) = (stage.path("home/copy/d"), stage.path("home/out"));
            while !done.load(Ordering::Relaxed) {
                // Fails while a copy has put the folder aside, or made a folder of its own.
                let _ = renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE);
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _over = Over(done);
        while swaps.load(Ordering::Relaxed) < least_swaps || copies < least_copies {
            let number = copies % 20;
            write(
                &stage.path(&format!("user/tree/d/{number}")),
                format!("new {copies}").as_bytes(),
            );
            let (copy, back) = (server.at("copy"), format!("back{copies}"));
            let outcomes = [
                stage.run(&["cp", "-q", "--retry", "0", "-rT", &tree, &copy]),
                stage.run(&["cp", "-q", "--retry", "0", "-rT", &copy, &back]),
                stage.run(&[
                    "sync", "-q", "--retry", "0", "--delete", "--force", &tree, &copy,
                ]),
            ];
            for outcome in outcomes {
                assert_ne!(outcome.status, None, "{outcome:?}");
            }
            for (path, content) in files_below(&stage.path(&format!("user/{back}"))) {
                assert!(content != b"outside", "{} was fetched", path.display());
            }
            fs::remove_dir_all(stage.path(&format!("user/{back}"))).unwrap_or_default();
            copies += 1;
        }
    });
    assert_eq!(Census::of(&stage.path("outside")), before);
    let swaps = swaps.into_inner();
    eprintln!("{swaps} swaps during {copies} rounds");
}

/// Ends the swaps when dropped, also if the test fails.
#[cfg(target_os = "linux")]
struct Over<'a>(&'a AtomicBool);

#[cfg(target_os = "linux")]
impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Proves `half-file` in docs/faults.md.
#[test]
fn tree_killed_at_any_moment_shows_no_half_file() {
    let length = length(10);
    let mut crashes = Crashes::new(&length, false).expect("no disk is needed");
    for round in 0..length.crashes {
        let copy = crashes.next_copy();
        let begun = crashes.relay.passed();
        let mut child = crashes.start(&copy);
        let kills = crashes.choices.below(4);
        eprintln!(
            "round {round}: up {}, over {:?}, kills {kills}",
            copy.up, copy.old
        );
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // What other programs see meanwhile.
            let (files, version, target, old) =
                (crashes.files, crashes.version, &copy.target, copy.old);
            let done = &done;
            let watcher = scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for number in 0..files {
                        let Ok(found) = fs::read(target.join(relative(number))) else {
                            assert!(old.is_none(), "the old file is gone");
                            break;
                        };
                        let is_known = found == content(number, version)
                            || old.is_some_and(|old| found == content(number, old));
                        assert!(is_known, "{} bytes of {number}", found.len());
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            crashes.wait_for_moment(&mut child, begun);
            if kills < 3 {
                crashes.server.kill();
            }
            if kills > 1 {
                child.kill().unwrap();
            }
            child.wait().unwrap();
            done.store(true, Ordering::Relaxed);
            watcher.join().expect("only whole files are visible");
        });
        crashes.check(&copy);
        if kills < 3 {
            crashes.serve();
        }
        let outcome = crashes.run(&copy);
        assert_eq!(outcome.status, Some(0), "round {round}: {outcome:?}");
        crashes.check_complete(&copy);
        crashes.nothing_is_left(&copy);
        let sent = crashes.relay.passed() - begun;
        if copy.old.is_none() {
            let bytes: u64 = files_below(&copy.source)
                .values()
                .map(|it| it.len() as u64)
                .sum();
            crashes.whole = bytes;
            crashes.sent_again.push(sent.saturating_sub(bytes));
            assert!(
                sent < bytes + bytes / 5 + BATCH,
                "round {round}: {sent} bytes for {bytes}"
            );
        }
    }
    crashes.sent_again.sort_unstable();
    let middle = crashes.sent_again.get(crashes.sent_again.len() / 2);
    eprintln!(
        "{} kills; bytes beyond a whole copy to a new folder: median {middle:?}, most {:?}",
        length.crashes,
        crashes.sent_again.last()
    );
}

/// Proves `power-cut` in docs/faults.md.
#[test]
fn acknowledged_tree_survives_power_cut() {
    let length = length(4);
    let Some(mut crashes) = Crashes::new(&length, true) else {
        return;
    };
    for round in 0..length.crashes {
        let copy = crashes.next_copy();
        let begun = crashes.relay.passed();
        let mut child = crashes.start(&copy);
        // Half of the cuts come right after the copy was acknowledged.
        let is_during = crashes.choices.below(2) == 0;
        if is_during {
            crashes.wait_for_moment(&mut child, begun);
        } else {
            assert!(child.wait().unwrap().success(), "round {round}");
        }
        let with_journal = crashes.choices.below(2) == 0;
        eprintln!(
            "round {round}: up {}, over {:?}, during {is_during}, journal {with_journal}",
            copy.up, copy.old
        );
        let disk = crashes.disk.as_ref().expect("a disk");
        if with_journal {
            disk.write_journal();
        }
        // The receiver of a fetched tree has its files on the disk, and must let go of it.
        if is_during && !copy.up {
            let _ = child.kill();
        }
        disk.cut(&mut crashes.server);
        let is_acknowledged = child.wait().unwrap().success();
        if is_acknowledged {
            crashes.check_complete(&copy);
        } else {
            crashes.check(&copy);
        }
        // What the file system knows of unsynced files is not to be trusted after a start.
        crashes.boots += 1;
        crashes.serve();
        let state = crashes.path("server");
        let mut verify = crashes.stage.command(&["audit", "verify"]);
        verify.env("LANDLINE_STATE", state);
        crashes.stage.run_command(verify).ok();
        let outcome = crashes.run(&copy);
        assert_eq!(outcome.status, Some(0), "round {round}: {outcome:?}");
        crashes.check_complete(&copy);
        crashes.whole = crashes.whole.max(crashes.relay.passed() - begun) / 2;
        crashes.nothing_is_left(&copy);
    }
}
