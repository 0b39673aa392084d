//! Work with the rights of another user of the machine.

/// A user who is neither root nor anybody in the tests' folders.
pub const OTHER_USER: u32 = 65_533;

/// Does `work` in a thread that has the rights of the user of this number. `None`, said aloud,
/// without Linux and root.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> T + Send) -> Option<T> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the rights of another user need Linux and root");
        return None;
    }
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let id = rustix::process::Uid::from_raw(user);
            // Of this thread alone.
            #[cfg(target_os = "linux")]
            rustix::thread::set_thread_res_uid(id, id, id).expect("root may");
            work()
        });
        Some(worker.join().expect("the work is done"))
    })
}
