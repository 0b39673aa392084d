//! Work as another user of the machine.

/// A user without a name who owns no file of the tests.
pub const OTHER_USER: u32 = 65_533;

/// Runs `work` in a thread with this user id. Prints SKIPPED and returns `None` without Linux and
/// root.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> T + Send) -> Option<T> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: another user id needs Linux and root");
        return None;
    }
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let id = rustix::process::Uid::from_raw(user);
            // These calls change this thread only.
            #[cfg(target_os = "linux")]
            rustix::thread::set_thread_res_uid(id, id, id).expect("root may");
            work()
        });
        Some(worker.join().expect("the work has completed"))
    })
}
