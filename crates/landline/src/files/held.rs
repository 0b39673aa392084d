//! Staging files that no manifest remembers. Whoever makes one holds a lock on it, so that one in
//! the making is told from one that a process has left behind which was killed.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

use crate::{
    login::random,
    paths::{File, Folder},
};

const BEGINNING: &str = ".landline-held-";
const END: &str = ".part";
/// How often another name is tried, where somebody sweeps at the very moment.
const TRIES: usize = 16;

/// Makes such a file. Blocking.
///
/// # Errors
/// What the system says.
pub(super) fn create(folder: &Folder) -> io::Result<(OsString, File)> {
    let name = |beginning: &str| {
        OsString::from(format!(
            "{beginning}{:016x}{END}",
            u64::from_le_bytes(random())
        ))
    };
    for _ in 0..TRIES {
        let name = name(BEGINNING);
        match folder.create_held(&name)? {
            Some(file) => return Ok((name, file)),
            // It may be there where the system cannot say whether it is.
            None => drop(folder.remove(&name)),
        }
    }
    let name = name(".landline-");
    folder.create(&name).map(|file| (name, file))
}

/// Removes what killed processes have left in this folder, and nothing else: what has such a name,
/// is a file of ours, and is held by nobody. What cannot be removed stays. Blocking.
pub(crate) fn sweep(folder: &Folder) {
    for name in folder
        .names()
        .unwrap_or_default()
        .iter()
        .filter(|name| is_held_name(name))
    {
        let _ = folder.remove_left_behind(name);
    }
}

fn is_held_name(name: &OsStr) -> bool {
    let random = name
        .as_bytes()
        .strip_prefix(BEGINNING.as_bytes())
        .and_then(|rest| rest.strip_suffix(END.as_bytes()));
    random.is_some_and(|random| {
        random.len() == 16
            && random
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;

    #[test]
    fn what_is_left_behind_goes_and_all_else_stays() {
        let stage = testkit::Stage::new("unused");
        let root = Root::open_hiding(&stage.home(), &stage.path("server")).unwrap();
        let folder = root.home().unwrap();
        let (left, _) = create(&folder).unwrap();
        let (held, file) = create(&folder).unwrap();
        let strangers = [
            ".landline-0123456789abcdef.part",
            ".landline-held-0123456789abcde.part",
            ".landline-held-0123456789ABCDEF.part",
            ".landline-held-0123456789abcdef.part.txt",
            "thesis.part",
        ];
        strangers
            .iter()
            .for_each(|name| drop(stage.write(&format!("home/{name}"), b"mine")));
        // Of the right name, and not what we make.
        let linked = ".landline-held-00000000000000ff.part";
        rustix::fs::link(stage.home().join("thesis.part"), stage.home().join(linked)).unwrap();
        sweep(&folder);
        let mut there = folder.names().unwrap();
        there.sort();
        let mut expected: Vec<OsString> = strangers.iter().map(OsString::from).collect();
        expected.extend([held.clone(), linked.into()]);
        expected.sort();
        assert_eq!(there, expected, "{left:?} is gone");
        drop(file);
        sweep(&folder);
        assert!(
            !folder.names().unwrap().contains(&held),
            "now nobody holds it"
        );
    }

    #[test]
    fn a_sweep_never_takes_a_file_in_the_making() {
        let stage = testkit::Stage::new("unused");
        let root = Root::open_hiding(&stage.home(), &stage.path("server")).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let folder = root.home().unwrap();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(&folder);
                }
            });
            let folder = root.home().unwrap();
            for round in 0..2000 {
                let (name, file) = create(&folder).unwrap();
                assert!(folder.names().unwrap().contains(&name), "round {round}");
                folder.remove(&name).unwrap();
                drop(file);
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
