//! How the work to compare rights grows with their number.
//!
//! The work is counted in allocations: each comparison of folders on the disk makes some.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt::Write,
};

use landline::{
    paths::Root,
    proto::login::UserName,
    rights::{RightWords, Rights},
};
use testkit::Stage;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is one of the system's allocator, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts the work to decide that an admin with `count` folders may give all of them.
fn work_for(stage: &Stage, count: usize) -> usize {
    let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
    let srv = stage.path("srv");
    let list = |right: &str| {
        let mut list = String::new();
        for number in 0..count {
            write!(list, "\"{right}:{}/{number}\",", srv.display()).unwrap();
        }
        list
    };
    let text = format!(
        "[users.admin]\nrole = \"admin\"\nfiles = [{}]\n[users.bob]\nfiles = [{}]\n",
        list("rw"),
        list("r"),
    );
    let rights = Rights::parse(&text, &RightWords::default()).unwrap();
    let [admin, bob]: [UserName; 2] = ["admin", "bob"].map(|name| name.parse().unwrap());
    let wanted = rights.of(&bob).unwrap();
    let before = ALLOCATIONS.get();
    rights.check_grant(&admin, wanted, &root).unwrap();
    ALLOCATIONS.get() - before
}

/// Proves `slow-rights` in docs/faults.md.
#[test]
fn work_to_compare_folders_grows_with_their_number() {
    let stage = Stage::new("unused");
    for number in 0..3000 {
        std::fs::create_dir_all(stage.path(&format!("srv/{number}"))).unwrap();
    }
    let (few, many) = (work_for(&stage, 300), work_for(&stage, 3000));
    // Ten times as many folders; with a square it would be a hundred times the work.
    assert!(many < 20 * few, "{few} allocations became {many}");
}

/// Counts the work to parse a file with `count` folders.
fn work_to_parse(count: usize) -> usize {
    let list: Vec<String> = (0..count).map(|n| format!("\"r:/f{n}\",\n")).collect();
    let text = format!("[users.a]\nfiles = [{}]\n", list.concat());
    let before = ALLOCATIONS.get();
    Rights::parse(&text, &RightWords::default()).unwrap();
    ALLOCATIONS.get() - before
}

#[test]
fn work_to_parse_folders_grows_with_their_number() {
    let (few, many) = (work_to_parse(4_000), work_to_parse(40_000));
    // Ten times as many folders; with a square it would be a hundred times the work.
    assert!(many < 20 * few, "{few} allocations became {many}");
}
