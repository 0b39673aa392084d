//! Summaries of folders, in place of their entries.

use serde_json::json;
use testkit::{RawClient, frame};

use crate::{
    hostile_server::trusted,
    service_sets::set_options,
    stage,
    tree_records::{SOURCE, begin_request, entry, record},
    trees::write,
};

/// An answer to a summary would tell the user that a folder has nothing else.
#[test]
fn summary_tells_nothing_to_a_key_that_may_only_store() {
    let stage = stage();
    write(&stage.path("home/tree/file"), b"content");
    let server = stage.joined();
    let request = json!({
        "type": "put-tree", "path": "tree", "source": "x", "replace": true, "times": true,
        "placement": "exact", "summaries": true,
    });
    let records = [entry(1, SOURCE, b"tree", 0, b""), record(13, &[0; 20])];
    let expand_one = record(10, &[0; 4]);
    let expand_all = record(10, &[0xff; 4]);
    let answer = |expected: &[u8]| {
        let mut client = begin_request(&stage, &server, &request, &records);
        let kind = |client: &mut RawClient| client.header().unwrap().unwrap().kind().to_owned();
        while kind(&mut client) != "tree" {}
        let is_answer = |record: &[u8]| record[4] == 10;
        let received = client.bytes(|bytes| bytes.windows(9).any(is_answer));
        let received = received.unwrap();
        let is_expected = |record: &[u8]| record == expected;
        received.windows(9).any(is_expected)
    };
    assert!(answer(&expand_one));
    let options = "landline-services=\"files.put\"";
    set_options(&stage, options);
    assert!(answer(&expand_all));
}

/// A hostile server sends a summary where the client compares attributes and links.
#[test]
fn summary_of_a_server_that_was_not_asked_for_is_refused() {
    let stage = stage();
    let mut body = entry(1, SOURCE, b"photos", 0, b"");
    body.extend(record(13, &[0; 20]));
    let server = trusted(&stage, 1, move |client| {
        assert_eq!(client.welcome()?.kind(), "get-tree");
        client.send_json(&json!({"type": "tree", "size": null}))?;
        client.send(&frame(&body))?;
        client.send(&frame([]))
    });
    let into = stage.path("user").to_str().unwrap().to_owned();
    let arguments = [
        "cp",
        "-q",
        "--retry",
        "0",
        "-r",
        "-H",
        "127.0.0.1:photos",
        &into,
    ];
    let outcome = stage.run(&arguments);
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    server.join();
}
