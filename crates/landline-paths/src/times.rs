//! Sets when entries were modified.

use std::io;

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};

use super::{FileTime, entries::file_time};

/// Sets when an entry was modified, by `set`. Its time of access stays.
///
/// FUSE can ignore a call that sets only one of the two times. Then both are set.
pub(super) fn set_modified(
    set: impl Fn(&Timestamps) -> rustix::io::Result<()>,
    stat: impl Fn() -> rustix::io::Result<Stat>,
    modified: FileTime,
) -> io::Result<()> {
    let mut times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: to_timespec(modified),
    };
    set(&times)?;
    let now = stat()?;
    let found = file_time(now.st_mtime, now.st_mtime_nsec);
    if !found.is_same(modified) {
        times.last_access = to_timespec(file_time(now.st_atime, now.st_atime_nsec));
        set(&times)?;
    }
    Ok(())
}

fn to_timespec(time: FileTime) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn both_times_are_set_where_one_alone_is_ignored() {
        let path = std::env::temp_dir();
        let modified = FileTime {
            seconds: 5,
            nanoseconds: 7,
        };
        for (found, expected) in [(5, 1), (4, 2), (1_000_000, 2)] {
            let calls = Cell::new(0);
            let set = |times: &Timestamps| {
                calls.set(calls.get() + 1);
                let keeps_access = times.last_access.tv_nsec == UTIME_OMIT;
                assert_eq!(keeps_access, calls.get() == 1);
                assert_eq!(times.last_modification, to_timespec(modified));
                Ok(())
            };
            let stat = || {
                let mut stat = rustix::fs::stat(&path)?;
                (stat.st_mtime, stat.st_mtime_nsec) = (found, 0);
                Ok(stat)
            };
            set_modified(set, stat, modified).unwrap();
            assert_eq!(calls.get(), expected, "{found}");
        }
    }
}
