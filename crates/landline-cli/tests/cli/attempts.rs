//! Several attempts at one copy: the new one resumes what the earlier one has stored.

use std::path::PathBuf;

use testkit::{Outcome, wait_for};

use crate::resume::{BLOCK, LENGTH, RelayedServer, event, events, staging};

/// The server has not noticed that the client's connection is lost. The next attempt takes over the
/// transfer.
#[test]
fn half_open_connection_does_not_block_resume() {
    let relayed = RelayedServer::new(15);
    relayed.relay.half_open_after(3 * BLOCK as u64 + 50_000);
    let events = relayed.finish_copy(true, &[]);
    assert!(event(&events, "reconnecting").is_some());
    assert!(event(&events, "resumed-at").is_some(), "{events:?}");
    assert_eq!(relayed.server.event("failed")["code"], "superseded");
}

/// The same copy takes over from an earlier attempt that still makes progress.
/// Proves `early-retry` in docs/faults.md.
#[test]
fn same_copy_takes_over_from_earlier_attempt() {
    let relayed = RelayedServer::new(18);
    relayed.relay.limit(BLOCK as u64 / 4);
    let [from, to] = relayed.arguments(true);
    let earlier = ["cp", "--json", &from, &to];
    let earlier = relayed.stage.command(&earlier).spawn().unwrap();
    wait_for("more than a block", || {
        let parts = staging(&relayed.folder(true));
        let is_far = |part: &PathBuf| part.metadata().is_ok_and(|part| part.len() > BLOCK as u64);
        parts.iter().any(is_far)
    });
    let to = relayed.server.at("copy");
    let outcome = relayed.stage.run(&["cp", "--json", &from, &to]);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let events = events(&outcome);
    assert!(event(&events, "resumed-at").is_some(), "{events:?}");
    Outcome::of(earlier).fails(34, "superseded");
    assert!(relayed.stage.read("home/copy") == relayed.content);
    assert_eq!(staging(&relayed.folder(true)), Vec::<PathBuf>::new());
}

/// With a rate limit the server still receives data of the killed client. The next attempt waits
/// for that and resumes.
#[test]
fn resume_waits_for_data_in_flight() {
    let relayed = RelayedServer::new(16);
    relayed.stage.write_rights(
        "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\nrate = \"2 MiB/s\"\n",
    );
    relayed.server.rights_loaded(&relayed.stage);
    let to = relayed.server.at("copy");
    relayed.kill_copy(&to);
    let outcome = relayed.stage.run(&["cp", "--json", "source", &to]);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let events = events(&outcome);
    let offset = event(&events, "resumed-at").expect("it was resumed")["offset"]
        .as_u64()
        .unwrap();
    assert!(offset >= 2 * BLOCK as u64, "{offset}");
    assert!(relayed.stage.read("home/copy") == relayed.content);
    assert_eq!(staging(&relayed.folder(true)), Vec::<PathBuf>::new());
}

/// With a quota for one copy and one session, the next attempt waits until the earlier one has
/// ended.
#[test]
fn quota_for_one_attempt_allows_resume() {
    let relayed = RelayedServer::new(17);
    let quota = format!(
        "rate = \"2 MiB/s\"\nbytes = {}\nsessions = 1\n",
        LENGTH + BLOCK
    );
    relayed.stage.write_rights(&format!(
        "[users.alice]\nfiles = [\"rw:~\"]\n[users.alice.quota]\n{quota}"
    ));
    relayed.server.rights_loaded(&relayed.stage);
    let to = relayed.server.at("copy");
    relayed.kill_copy(&to);
    let outcome = relayed.stage.run(&["cp", "--json", "source", &to]);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(
        event(&events(&outcome), "resumed-at").is_some(),
        "{}",
        outcome.stderr
    );
    // No block counts twice.
    let [from, again] = ["source".to_owned(), relayed.server.at("copy")];
    assert_eq!(relayed.stage.run(&["cp", &from, &again]).status, Some(0));
    assert_eq!(
        relayed
            .stage
            .run(&["cp", &from, &relayed.server.at("other")])
            .status,
        Some(24)
    );
}
